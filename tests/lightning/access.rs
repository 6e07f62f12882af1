//! Being let in, and knowing whether LND is ready: told by the simulated node only.

use std::path::PathBuf;

use devnet::{MOSTRO, SELLER};
use lnd_sim::{LndSim, LndState, Rpc};
use mostrod::lightning::{LightningError, LightningNode, Lnd, LndAccess, RIGHTS};
use trade::{
    BlockHeight, FailureReason, HoldStatus, Network as Chain, NodeKey, PaymentHash, PaymentStatus,
};

use crate::simulated::stage;
use crate::stage::{Stage, access, last, new_hold, payment};

const NOBODYS_HASH: PaymentHash = PaymentHash([7; 32]);

// measured: state_package
// spec: E6 P9
#[tokio::test]
async fn a_node_that_is_up_says_who_it_is_and_that_all_may_begin() {
    let stage = stage().await;

    let readiness = stage.ours.readiness().await.expect("it is up");

    assert!(readiness.may_escrow() && readiness.may_pay(), "{readiness:?}");
    assert_eq!(readiness.channels_active, 2);
    assert_eq!(readiness.height, BlockHeight(stage.network.height()));
    let node = stage.network.node(MOSTRO).expect("it is there");
    assert_eq!(Some(readiness.identity.key), NodeKey::from_hex(&node.pubkey));
    assert_eq!(readiness.identity.network, Chain::Regtest);
    assert_eq!(readiness.node.networks, ["regtest"]);
}

// spec: E6 P9
#[tokio::test]
async fn a_node_out_of_sync_may_begin_nothing() {
    let stage = stage().await;
    stage.network.set_synced(MOSTRO, false).expect("it is there");

    let readiness = stage.ours.readiness().await.expect("it is up");

    assert!(!readiness.may_escrow() && !readiness.may_pay(), "{readiness:?}");
}

// measured: links_down
// spec: P9
#[tokio::test]
async fn a_node_without_a_channel_up_may_not_pay_and_would_fail_for_its_own_reason() {
    let stage = stage().await;
    let invoice = stage.undecided_buyer().await;
    stage.network.set_channels_active(MOSTRO, false).expect("it is there");

    let readiness = stage.ours.readiness().await.expect("it is up");
    assert!(readiness.may_escrow() && !readiness.may_pay(), "{readiness:?}");

    stage.ours.send(payment(&invoice.bolt11)).await.expect("an answer");
    let end = last(stage.ours.follow(invoice.hash)).await;
    let PaymentStatus::Failed { reason, .. } = end else { panic!("{end:?}") };
    assert_eq!(reason, FailureReason::InsufficientBalance);
}

// measured: startup
#[tokio::test]
async fn a_node_that_is_not_fully_started_knows_what_it_has_and_nothing_of_what_it_has_not() {
    let stage = stage().await;
    let escrow = stage.held_escrow().await;
    let invoice = stage.payment_in_flight().await;
    stage.network.set_state(MOSTRO, LndState::RpcActive).expect("it is there");

    let readiness = stage.ours.readiness().await.expect("it answers");
    assert!(!readiness.may_escrow() && !readiness.may_pay(), "{readiness:?}");
    let status = stage.ours.hold_status(escrow.hash).await.expect("an answer");
    assert!(matches!(status, HoldStatus::Accepted { .. }), "{status:?}");
    let status = stage.ours.payment_status(invoice.hash).await.expect("an answer");
    assert!(matches!(status, PaymentStatus::InFlight { .. }), "{status:?}");
    let answer = stage.ours.hold_status(NOBODYS_HASH).await;
    assert!(matches!(answer, Err(LightningError::Starting)), "{answer:?}");
    let answer = stage.ours.payment_status(NOBODYS_HASH).await;
    assert!(matches!(answer, Err(LightningError::Starting)), "{answer:?}");
}

// measured: locked_wallet
#[tokio::test]
async fn a_locked_or_missing_wallet_is_named_and_nothing_is_known_meanwhile() {
    let stage = stage().await;
    let escrow = stage.held_escrow().await;

    for (state, remedy) in [
        (LndState::Locked, "LND's wallet is locked: unlock it"),
        (LndState::NonExisting, "LND has no wallet yet: create one"),
        (LndState::WaitingToStart, "LND is still starting: wait for it"),
    ] {
        stage.network.set_state(MOSTRO, state).expect("it is there");

        let error = stage.ours.readiness().await.expect_err("not ready");
        assert_eq!(error.to_string(), remedy);
        let answer = stage.ours.hold_status(escrow.hash).await;
        assert!(answer.is_err(), "{answer:?}");
        let answer = stage.ours.payment_status(escrow.hash).await;
        assert!(answer.is_err(), "{answer:?}");
    }
}

// measured: uri_macaroon
#[tokio::test]
async fn the_rights_that_operators_are_asked_for_are_enough_for_a_whole_trade() {
    let stage = stage().await;
    let calls = RIGHTS.map(str::to_owned);
    let macaroon = stage.network.bake_macaroon(MOSTRO, 77, &calls).expect("it is baked");
    let ours = with_macaroon(&stage, &macaroon);

    assert!(ours.readiness().await.expect("an answer").may_pay());
    let (hold, preimage) = new_hold();
    let hash = hold.hash;
    let bolt11 = ours.add_hold(hold).await.expect("added").bolt11;
    stage.seller.send(payment(&bolt11)).await.expect("an answer");
    assert_eq!(ours.settle_hold(preimage).await.expect("an answer"), HoldStatus::Settled);
    assert_eq!(ours.cancel_hold(hash).await.expect("an answer"), HoldStatus::Settled);
    assert_eq!(last(ours.watch(hash)).await, HoldStatus::Settled);
    let bolt11 = stage.invoice(Some(trade::Sats(500))).await;
    let payment = payment(&bolt11);
    let hash = payment.hash;
    ours.send(payment).await.expect("an answer");
    let end = last(ours.follow(hash)).await;
    assert!(matches!(end, PaymentStatus::Succeeded { .. }), "{end:?}");
}

// measured: uri_macaroon
#[tokio::test]
async fn a_macaroon_that_lnd_refuses_is_named_as_the_cause() {
    let stage = stage().await;
    let sim = &stage.network;
    let revoked = sim.bake_macaroon(MOSTRO, 77, &RIGHTS.map(str::to_owned)).expect("it is baked");
    sim.delete_macaroon(MOSTRO, 77).expect("it is deleted");
    let narrow = sim.bake_macaroon(MOSTRO, 78, &[RIGHTS[0].to_owned()]).expect("it is baked");
    let seller = sim.node("seller").expect("it is there").macaroon;
    let of_another_node = std::fs::read(seller).expect("readable");

    for macaroon in [revoked, narrow, of_another_node, b"no macaroon".to_vec()] {
        let error = with_macaroon(&stage, &macaroon).readiness().await.expect_err("not let in");
        let LightningError::Forbidden { .. } = error else { panic!("{error:?}") };
        assert!(error.to_string().contains("`lnd_macaroon_file`"), "{error}");
    }
}

// measured: uri_macaroon
// spec: E6 P9
#[tokio::test]
async fn a_right_that_is_missing_is_named_and_nothing_is_begun_without_it() {
    let stage = stage().await;
    for missing in &RIGHTS[2..] {
        let calls: Vec<String> =
            RIGHTS.iter().filter(|right| *right != missing).map(|right| (*right).into()).collect();
        let macaroon = stage.network.bake_macaroon(MOSTRO, 77, &calls).expect("it is baked");

        let readiness = with_macaroon(&stage, &macaroon).readiness().await.expect("let in");

        let call = missing.rsplit('/').next().expect("a name");
        assert_eq!(readiness.lacks, [call]);
        assert!(!readiness.may_escrow() && !readiness.may_pay(), "{readiness:?}");
        let told = readiness.shortcoming().expect("something to say");
        assert!(told.contains(call) && told.contains("lncli bakemacaroon"), "{told}");
    }
}

// measured: uri_macaroon
#[tokio::test]
async fn rights_are_asked_for_once_and_a_new_macaroons_anew() {
    let stage = stage().await;
    for _ in 0..2 {
        stage.ours.readiness().await.expect("let in");
    }
    assert_eq!(stage.network.calls(Rpc::AddHoldInvoice), 1);
    stage.network.renew_macaroon(MOSTRO).expect("it is renewed");
    stage.ours.readiness().await.expect("let in");
    assert_eq!(stage.network.calls(Rpc::AddHoldInvoice), 2);
    assert_eq!(stage.network.calls(Rpc::SendPaymentV2), 2);
}

// measured: uri_macaroon
// spec: P5 E3
#[tokio::test]
async fn a_call_that_is_not_allowed_says_nothing_about_money() {
    let stage = stage().await;
    let escrow = stage.held_escrow().await;
    let invoice = stage.payment_in_flight().await;
    let calls = RIGHTS[..2].iter().map(|right| (*right).to_owned()).collect::<Vec<_>>();
    let macaroon = stage.network.bake_macaroon(MOSTRO, 77, &calls).expect("it is baked");
    let ours = with_macaroon(&stage, &macaroon);

    let errors = [
        ours.hold_status(escrow.hash).await.err(),
        ours.settle_hold(escrow.preimage).await.err(),
        ours.cancel_hold(escrow.hash).await.err(),
        ours.payment_status(invoice.hash).await.err(),
        ours.send(payment(&invoice.bolt11)).await.err(),
    ];

    for error in errors {
        assert!(matches!(error, Some(LightningError::Forbidden { .. })), "{error:?}");
    }
}

// measured: uri_macaroon
#[tokio::test]
async fn a_renewed_macaroon_is_used_at_the_next_call() {
    let stage = stage().await;
    stage.ours.readiness().await.expect("let in");

    stage.network.renew_macaroon(MOSTRO).expect("it is renewed");

    stage.ours.readiness().await.expect("let in again");
}

#[tokio::test]
async fn a_renewed_certificate_is_used_at_the_next_dial() {
    let stage = stage().await;
    stage.ours.readiness().await.expect("reached");

    stage.network.renew_certificate(MOSTRO).expect("it is renewed");

    answered_at_last(&stage.ours).await;
}

#[tokio::test]
async fn a_node_with_another_certificate_is_sent_nothing() {
    let stage = stage().await;
    let sellers = access(&stage.network, SELLER).cert_file;
    let access = LndAccess { cert_file: sellers.clone(), ..access(&stage.network, MOSTRO) };
    stage.network.forget_calls();

    let error = Lnd::new(access).expect("a URL").readiness().await.expect_err("not dialed");

    let LightningError::OtherCertificate { path } = error else { panic!("{error:?}") };
    assert_eq!(path, sellers);
    assert_eq!(stage.network.calls(Rpc::GetState), 0);
}

/// A client of our node that brings this macaroon.
fn with_macaroon(stage: &Stage<LndSim>, macaroon: &[u8]) -> Lnd {
    let access = access(&stage.network, MOSTRO);
    let macaroon_file: PathBuf = access.macaroon_file.with_file_name("baked.macaroon");
    std::fs::write(&macaroon_file, macaroon).expect("written");
    Lnd::new(LndAccess { macaroon_file, ..access }).expect("a URL")
}

/// The call that finds the old connection broken may fail; the next one dials.
async fn answered_at_last(node: &Lnd) {
    if node.readiness().await.is_err() {
        node.readiness().await.expect("reached again");
    }
}
