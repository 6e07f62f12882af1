//! Access to LND, and its readiness.

use devnet::{BUYER, HUB, Lightning, SELLER};
use mostrod::lightning::{InvoiceState, LightningError, LightningNode, Lnd, LndAccess, RIGHTS};
use trade::EscrowEvidence::Required;
use trade::{FailureReason, HoldStatus, Network as Chain, NodeKey, PaymentStatus, Sats};

use crate::fixture::{Fixture, access, last, new_hold, payment, until, with_macaroon};

// measured: state_package
// spec: E6 P9
pub(crate) async fn a_node_that_is_ready_reports_its_identity_and_readiness(
    fixture: &Fixture<impl Lightning>,
) {
    let before = fixture.height().await;
    fixture.mine(2).await;

    let readiness = fixture.ours.readiness().await.expect("it is up");

    assert!(readiness.may_escrow() && readiness.may_pay(), "{readiness:?}");
    assert_eq!(readiness.channels_active, Some(2));
    assert_eq!(readiness.height.0, before.0 + 2);
    let node = fixture.network.access(HUB).expect("the node exists");
    assert_eq!(Some(readiness.identity.key), NodeKey::from_hex(&node.pubkey));
    assert_eq!(readiness.identity.network, Chain::Regtest);
    assert_eq!(readiness.node.networks, ["regtest"]);
}

// measured: links_down
// spec: P9
pub(crate) async fn a_node_without_an_active_channel_is_not_ready_to_pay_and_fails_locally(
    fixture: &Fixture<impl Lightning>,
) {
    let invoice = fixture.buyer_hold().await;
    fixture.kill(SELLER).await;
    fixture.kill(BUYER).await;

    let readiness = fixture.wait_for_active_channels(0).await;
    assert!(readiness.may_escrow() && !readiness.may_pay(), "{readiness:?}");

    fixture.ours.send(payment(&invoice.bolt11)).await.expect("an answer");
    let end = last(fixture.ours.follow(invoice.hash)).await;
    let PaymentStatus::Failed { reason, .. } = end else { panic!("{end:?}") };
    assert_eq!(reason, FailureReason::InsufficientBalance);
}

// measured: locked_wallet
pub(crate) async fn a_locked_wallet_is_reported_and_every_state_is_unknown_meanwhile(
    fixture: &Fixture<impl Lightning>,
) {
    let escrow = fixture.durable_escrow().await;
    fixture.stop(HUB).await;
    fixture.network.start_locked(HUB).await.expect("it starts");

    let error = fixture.ours.readiness().await.expect_err("not ready");
    assert_eq!(error.to_string(), "LND's wallet is locked: unlock it");
    let answer = fixture.ours.hold_status(escrow.hash).await;
    assert!(answer.is_err(), "{answer:?}");
    let answer = fixture.ours.payment_status(escrow.hash).await;
    assert!(answer.is_err(), "{answer:?}");

    fixture.network.unlock(HUB).await.expect("it is unlocked");
    let status = fixture.ours.hold_status(escrow.hash).await.expect("an answer");
    assert!(matches!(status, HoldStatus::Accepted { .. }), "{status:?}");
}

// measured: uri_macaroon
pub(crate) async fn the_documented_permissions_are_enough_for_a_whole_trade(
    fixture: &Fixture<impl Lightning>,
) {
    let ours = fixture.allowed(&RIGHTS).await;

    assert!(ours.readiness().await.expect("an answer").may_pay());
    let (hold, preimage) = new_hold();
    let hash = hold.hash;
    let bolt11 = ours.add_hold(hold).await.expect("added").bolt11;
    fixture.seller.send(payment(&bolt11)).await.expect("an answer");
    until(ours.watch(hash), |status| matches!(status, InvoiceState::Accepted)).await;
    assert_eq!(
        ours.settle_hold(preimage, Required).await.expect("an answer"),
        InvoiceState::Settled
    );
    assert_eq!(ours.cancel_hold(hash).await.expect("an answer"), InvoiceState::Settled);
    assert_eq!(last(ours.watch(hash)).await, InvoiceState::Settled);
    let bolt11 = fixture.invoice(Some(Sats(500))).await;
    let payment = payment(&bolt11);
    let hash = payment.hash;
    ours.send(payment).await.expect("an answer");
    let end = last(ours.follow(hash)).await;
    assert!(matches!(end, PaymentStatus::Succeeded { .. }), "{end:?}");
    assert_eq!(ours.find_htlc(hash).await.expect("an answer"), None);
}

// measured: uri_macaroon
pub(crate) async fn a_macaroon_that_lnd_refuses_is_reported_as_the_cause(
    fixture: &Fixture<impl Lightning>,
) {
    let network = &fixture.network;
    let narrow = network.bake_macaroon(HUB, 78, &RIGHTS[1..2]).await.expect("it is baked");
    let sellers = network.access(SELLER).expect("the node exists").macaroon;
    let of_another_node = std::fs::read(sellers).expect("readable");

    for macaroon in [narrow, of_another_node, b"no macaroon".to_vec()] {
        let error = with_macaroon(network, &macaroon).readiness().await.expect_err("not let in");
        let LightningError::Forbidden { .. } = error else { panic!("{error:?}") };
        assert!(error.to_string().contains("`lnd_macaroon_file`"), "{error}");
    }
}

// measured: uri_macaroon
// spec: E6 P9
pub(crate) async fn a_missing_permission_is_reported_and_nothing_is_started_without_it(
    fixture: &Fixture<impl Lightning>,
) {
    for missing in &RIGHTS[1..] {
        let calls: Vec<&str> = RIGHTS.into_iter().filter(|right| right != missing).collect();

        let readiness = fixture.allowed(&calls).await.readiness().await.expect("let in");

        let call = missing.rsplit('/').next().expect("a name");
        assert_eq!(readiness.lacks, [call]);
        assert!(!readiness.may_escrow() && !readiness.may_pay(), "{readiness:?}");
        let text = readiness.shortcoming().expect("a shortcoming");
        assert!(text.contains(call) && text.contains("lncli bakemacaroon"), "{text}");
    }
}

// measured: uri_macaroon
// spec: P5 E3
pub(crate) async fn a_call_that_is_not_allowed_says_nothing_about_money(
    fixture: &Fixture<impl Lightning>,
) {
    let escrow = fixture.held_escrow().await;
    let invoice = fixture.payment_in_flight().await;
    let ours = fixture.allowed(&RIGHTS[..2]).await;

    let errors = [
        ours.hold_status(escrow.hash).await.err(),
        ours.settle_hold(escrow.preimage, Required).await.err(),
        ours.cancel_hold(escrow.hash).await.err(),
        ours.payment_status(invoice.hash).await.err(),
        ours.send(payment(&invoice.bolt11)).await.err(),
    ];

    for error in errors {
        assert!(matches!(error, Some(LightningError::Forbidden { .. })), "{error:?}");
    }
}

// measured: uri_macaroon
pub(crate) async fn a_renewed_macaroon_is_used_at_the_next_call(fixture: &Fixture<impl Lightning>) {
    let ours = fixture.allowed(&RIGHTS[..2]).await;
    assert!(!ours.readiness().await.expect("let in").lacks.is_empty());

    // The same macaroon file.
    fixture.allowed(&RIGHTS).await;

    assert!(ours.readiness().await.expect("let in").lacks.is_empty());
}

pub(crate) async fn a_renewed_certificate_is_used_at_the_next_dial(
    fixture: &Fixture<impl Lightning>,
) {
    fixture.ours.readiness().await.expect("reached");

    fixture.network.renew_certificate(HUB).await.expect("it is renewed");

    // The call on the old connection may fail; the next one connects again.
    if fixture.ours.readiness().await.is_err() {
        fixture.ours.readiness().await.expect("reached again");
    }
}

pub(crate) async fn a_node_with_another_certificate_is_reported_with_the_file(
    fixture: &Fixture<impl Lightning>,
) {
    let sellers = access(&fixture.network, SELLER).cert_file;
    let access = LndAccess { cert_file: sellers.clone(), ..access(&fixture.network, HUB) };

    let error =
        Lnd::new(access).expect("a URL").readiness().await.expect_err("it does not connect");

    let LightningError::OtherCertificate { path } = error else { panic!("{error:?}") };
    assert_eq!(path, sellers);
}
