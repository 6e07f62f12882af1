//! The connection to LND, cut or half-open.

use devnet::Lightning;
use futures::FutureExt as _;
use futures::future::join_all;
use mostrod::lightning::{LightningError, LightningNode};
use trade::EscrowEvidence::Required;
use trade::HoldStatus;

use super::restarts::attached;
use crate::fixture::{Fixture, all, new_hold, payment, with_short_deadline};

// spec: E3 P5
pub(crate) async fn a_broken_connection_ends_streams_without_a_final_state_and_is_replaced(
    fixture: &Fixture<impl Lightning>,
) {
    let (escrow, invoice) = (fixture.held_escrow().await, fixture.payment_in_flight().await);
    let (ours, link) = fixture.linked().await;
    let (watch, follow) = attached(&ours, &escrow, &invoice).await;

    link.cut();

    assert_eq!(all(watch).await, []);
    assert_eq!(all(follow).await, []);
    drop(attached(&ours, &escrow, &invoice).await);
}

// spec: E3 P5
pub(crate) async fn every_call_over_a_dead_connection_has_a_deadline(
    fixture: &Fixture<impl Lightning>,
) {
    let invoice = fixture.buyer_hold().await;
    let (hold, preimage) = new_hold();
    let (ours, link) = fixture.linked().await;
    ours.readiness().await.expect("it is up");
    link.swallow();
    let node = with_short_deadline(&ours);

    let calls = [
        node.add_hold(hold.clone()).map(Result::err).boxed(),
        node.settle_hold(preimage, Required).map(Result::err).boxed(),
        node.cancel_hold(hold.hash).map(Result::err).boxed(),
        node.hold_status(hold.hash).map(Result::err).boxed(),
        node.send(payment(&invoice.bolt11)).map(Result::err).boxed(),
        node.payment_status(invoice.hash).map(Result::err).boxed(),
        node.find_htlc(invoice.hash).map(Result::err).boxed(),
        node.readiness().map(Result::err).boxed(),
    ];
    let (errors, watched, followed) = futures::join!(
        join_all(calls),
        all(node.watch(hold.hash)),
        all(node.follow(invoice.hash)),
    );

    for error in errors {
        assert!(matches!(error, Some(LightningError::Unreachable { .. })), "{error:?}");
    }
    assert_eq!((watched, followed), (vec![], vec![]));
    let status = fixture.ours.hold_status(hold.hash).await.expect("an answer");
    assert_eq!(status, HoldStatus::Unknown, "it never arrived");
}
