//! Why LND or its client is not ready, on the simulated node only.

use devnet::{HUB, SELLER};
use lnd_sim::{LndState, Rpc};
use mostrod::lightning::{LightningError, LightningNode, Lnd, LndAccess, RIGHTS};
use trade::{HoldStatus, PaymentHash, PaymentStatus};

use crate::fixture::{access, with_macaroon};
use crate::simulated::fixture;

const NOBODYS_HASH: PaymentHash = PaymentHash([7; 32]);

// simulated only: real nodes are out of sync for milliseconds
// spec: E6 P9
#[tokio::test]
async fn an_unsynced_node_may_start_nothing() {
    let fixture = fixture().await;
    fixture.network.set_synced(HUB, false).expect("the node exists");

    let readiness = fixture.ours.readiness().await.expect("it is up");

    assert!(!readiness.may_escrow() && !readiness.may_pay(), "{readiness:?}");
}

// measured: startup
// simulated only: real nodes are in this state for a second
#[tokio::test]
async fn a_starting_node_answers_for_known_hashes_and_reports_others_as_starting() {
    let fixture = fixture().await;
    let escrow = fixture.held_escrow().await;
    let invoice = fixture.payment_in_flight().await;
    fixture.network.set_state(HUB, LndState::RpcActive).expect("the node exists");

    let readiness = fixture.ours.readiness().await.expect("it answers");
    assert!(!readiness.may_escrow() && !readiness.may_pay(), "{readiness:?}");
    let status = fixture.ours.hold_status(escrow.hash).await.expect("an answer");
    assert!(matches!(status, HoldStatus::Accepted { .. }), "{status:?}");
    let status = fixture.ours.payment_status(invoice.hash).await.expect("an answer");
    assert!(matches!(status, PaymentStatus::InFlight { .. }), "{status:?}");
    let answer = fixture.ours.hold_status(NOBODYS_HASH).await;
    assert!(matches!(answer, Err(LightningError::Starting)), "{answer:?}");
    let answer = fixture.ours.payment_status(NOBODYS_HASH).await;
    assert!(matches!(answer, Err(LightningError::Starting)), "{answer:?}");
}

// simulated only: a network's nodes have wallets, and start in milliseconds
#[tokio::test]
async fn a_missing_wallet_and_a_start_in_progress_are_distinguished() {
    let fixture = fixture().await;
    for (state, remedy) in [
        (LndState::NonExisting, "LND has no wallet yet: create one"),
        (LndState::WaitingToStart, "LND is still starting: wait for it"),
    ] {
        fixture.network.set_state(HUB, state).expect("the node exists");

        let error = fixture.ours.readiness().await.expect_err("not ready");

        assert_eq!(error.to_string(), remedy);
    }
}

// simulated only: real nodes have one version
#[tokio::test]
async fn an_lnd_that_is_too_old_and_a_custom_build_are_distinguished() {
    let fixture = fixture().await;
    fixture.network.set_version(HUB, "0.19.3-beta commit=v0.19.3-beta").expect("the node exists");
    let error = fixture.ours.readiness().await.expect_err("no call is made");
    assert!(matches!(error, LightningError::TooOld { .. }), "{error:?}");

    fixture.network.set_version(HUB, "our-own").expect("the node exists");
    assert!(fixture.ours.readiness().await.expect("it is up").may_pay());
}

// simulated only: another node's macaroon is refused in the same way
#[tokio::test]
async fn a_revoked_macaroon_is_reported_as_the_cause() {
    let fixture = fixture().await;
    let sim = &fixture.network;
    let revoked = sim.bake_macaroon(HUB, 77, &RIGHTS.map(str::to_owned)).expect("it is baked");
    sim.delete_macaroon(HUB, 77).expect("it is deleted");

    let error = with_macaroon(sim, &revoked).readiness().await.expect_err("not let in");

    let LightningError::Forbidden { .. } = error else { panic!("{error:?}") };
    assert!(error.to_string().contains("`lnd_macaroon_file`"), "{error}");
}

// simulated only: real nodes do not count calls
#[tokio::test]
async fn permissions_are_probed_once_for_each_macaroon() {
    let fixture = fixture().await;
    for _ in 0..2 {
        fixture.ours.readiness().await.expect("let in");
    }
    assert_eq!(fixture.network.calls(Rpc::AddHoldInvoice), 1);
    fixture.network.renew_macaroon(HUB).expect("it is renewed");
    fixture.ours.readiness().await.expect("let in");
    assert_eq!(fixture.network.calls(Rpc::AddHoldInvoice), 2);
    assert_eq!(fixture.network.calls(Rpc::SendPaymentV2), 2);
}

// simulated only: real nodes do not count calls
// spec: D3
#[tokio::test]
async fn a_node_with_another_certificate_is_sent_nothing() {
    let fixture = fixture().await;
    let cert_file = access(&fixture.network, SELLER).cert_file;
    let access = LndAccess { cert_file, ..access(&fixture.network, HUB) };
    fixture.network.reset_calls();

    Lnd::new(access).expect("a URL").readiness().await.expect_err("it does not connect");

    assert_eq!(fixture.network.calls(Rpc::GetState), 0);
}
