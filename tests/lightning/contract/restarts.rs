//! Nodes that are killed or stopped while a hold or a payment is open.

use std::future::ready;

use devnet::{HUB, Lightning, SELLER};
use futures::StreamExt;
use futures::stream::BoxStream;
use mostrod::lightning::{InvoiceState, LightningNode, Lnd};
use trade::EscrowEvidence::Required;
use trade::{HoldStatus, PaymentStatus};

use super::payments::assert_refused;
use crate::fixture::{Escrow, Fixture, HOLD_EXPIRY_DELTA, all, index, last, next, payment, until};

// measured: kill_open
pub(crate) async fn an_open_hold_survives_a_kill_and_can_be_paid(
    fixture: &Fixture<impl Lightning>,
) {
    let escrow = fixture.open_escrow().await;

    restart(fixture, HUB).await;

    fixture.seller_pays(&escrow).await;
    let status = fixture.ours.settle_hold(escrow.preimage, Required).await.expect("an answer");
    assert_eq!(status, InvoiceState::Settled);
}

// measured: kill_accepted
// spec: E2
pub(crate) async fn an_accepted_hold_survives_a_kill_and_can_be_settled_or_canceled(
    fixture: &Fixture<impl Lightning>,
) {
    let (to_settle, to_cancel) = (fixture.held_escrow().await, fixture.durable_escrow().await);

    restart(fixture, HUB).await;

    let mut watch = fixture.ours.watch(to_settle.hash);
    assert!(matches!(next(&mut watch).await, Some(InvoiceState::Accepted)));
    let status = fixture.ours.settle_hold(to_settle.preimage, Required).await.expect("an answer");
    assert_eq!(status, InvoiceState::Settled);
    let status = fixture.ours.cancel_hold(to_cancel.hash).await.expect("an answer");
    assert_eq!(status, InvoiceState::Canceled);
    let learned = fixture.end_of_seller_payment(to_settle.hash).await;
    assert!(matches!(learned, PaymentStatus::Succeeded { .. }), "{learned:?}");
    assert_refused(fixture.end_of_seller_payment(to_cancel.hash).await);
}

// measured: kill_after_settle
pub(crate) async fn a_settled_hold_stays_settled_when_lnd_is_killed_right_after(
    fixture: &Fixture<impl Lightning>,
) {
    let escrow = fixture.durable_escrow().await;
    fixture.ours.settle_hold(escrow.preimage, Required).await.expect("an answer");

    restart(fixture, HUB).await;

    let status = fixture.ours.hold_status(escrow.hash).await.expect("an answer");
    assert_eq!(status, HoldStatus::Settled);
    let learned = fixture.end_of_seller_payment(escrow.hash).await;
    assert!(matches!(learned, PaymentStatus::Succeeded { .. }), "{learned:?}");
}

// measured: kill_during_settle
// spec: E2
pub(crate) async fn a_settle_interrupted_by_a_kill_can_be_repeated(
    fixture: &Fixture<impl Lightning>,
) {
    let escrow = fixture.durable_escrow().await;
    let (answer, ()) =
        futures::join!(fixture.ours.settle_hold(escrow.preimage, Required), fixture.kill(HUB));
    fixture.start(HUB).await;

    let found = fixture.ours.hold_status(escrow.hash).await.expect("an answer");
    assert!(matches!(found, HoldStatus::Accepted { .. } | HoldStatus::Settled), "{found:?}");
    if let Ok(answered) = answer {
        let is_settled = (answered == InvoiceState::Settled, found == HoldStatus::Settled);
        assert_eq!(is_settled.0, is_settled.1, "the state before the kill is the state after it");
    }
    let status = fixture.ours.settle_hold(escrow.preimage, Required).await.expect("an answer");
    assert_eq!(status, InvoiceState::Settled);
}

// measured: payer_restart
pub(crate) async fn a_settle_works_while_the_payer_is_down(fixture: &Fixture<impl Lightning>) {
    let escrow = fixture.held_escrow().await;
    fixture.kill(SELLER).await;

    let status = fixture.ours.settle_hold(escrow.preimage, Required).await.expect("an answer");

    assert_eq!(status, InvoiceState::Settled);
    fixture.start(SELLER).await;
    let learned = fixture.end_of_seller_payment(escrow.hash).await;
    assert!(matches!(learned, PaymentStatus::Succeeded { .. }), "{learned:?}");
}

// measured: auto_cancel_while_down
pub(crate) async fn a_horizon_that_passes_while_lnd_is_down_cancels_the_hold_when_it_is_back(
    fixture: &Fixture<impl Lightning>,
) {
    let escrow = fixture.durable_escrow().await;
    let status = fixture.ours.hold_status(escrow.hash).await.expect("an answer");
    let HoldStatus::Accepted { expires_at, .. } = status else { panic!("{status:?}") };
    let left = expires_at.0 - HOLD_EXPIRY_DELTA - fixture.height().await.0;

    fixture.kill(HUB).await;
    fixture.mine(left).await;
    fixture.start(HUB).await;

    until(fixture.ours.watch(escrow.hash), |status| *status == InvoiceState::Canceled).await;
    assert_refused(fixture.end_of_seller_payment(escrow.hash).await);
}

// measured: kill_in_flight
// spec: P5
pub(crate) async fn a_payment_in_flight_survives_a_kill_and_ends_as_the_payee_decides(
    fixture: &Fixture<impl Lightning>,
) {
    let (wanted, unwanted) = (fixture.payment_in_flight().await, fixture.payment_in_flight().await);

    restart(fixture, HUB).await;

    for invoice in [&wanted, &unwanted] {
        let status = fixture.ours.payment_status(invoice.hash).await.expect("an answer");
        assert!(matches!(status, PaymentStatus::InFlight { .. }), "{status:?}");
        let again = fixture.ours.send(payment(&invoice.bolt11)).await.expect("an answer");
        assert_eq!(again, status, "not sent twice");
    }
    fixture.buyer.settle_hold(wanted.preimage, Required).await.expect("an answer");
    fixture.buyer.cancel_hold(unwanted.hash).await.expect("an answer");
    let paid = last(fixture.ours.follow(wanted.hash)).await;
    assert!(matches!(paid, PaymentStatus::Succeeded { .. }), "{paid:?}");
    assert_refused(last(fixture.ours.follow(unwanted.hash)).await);
}

// measured: kill_in_flight
// spec: P5
pub(crate) async fn a_payment_that_ends_while_lnd_is_down_is_reported_when_it_is_back(
    fixture: &Fixture<impl Lightning>,
) {
    let (wanted, unwanted) = (fixture.payment_in_flight().await, fixture.payment_in_flight().await);

    fixture.kill(HUB).await;
    fixture.buyer.settle_hold(wanted.preimage, Required).await.expect("an answer");
    fixture.buyer.cancel_hold(unwanted.hash).await.expect("an answer");
    fixture.start(HUB).await;

    let paid = last(fixture.ours.follow(wanted.hash)).await;
    assert!(matches!(paid, PaymentStatus::Succeeded { .. }), "{paid:?}");
    assert_refused(last(fixture.ours.follow(unwanted.hash)).await);
}

// measured: kill_after_first_update
pub(crate) async fn the_first_update_is_durable(fixture: &Fixture<impl Lightning>) {
    let invoice = fixture.buyer_hold().await;
    let first = fixture.ours.send(payment(&invoice.bolt11)).await.expect("an answer");

    restart(fixture, HUB).await;

    // In flight permanently, in flight, or failed without a route, depending on the moment of the kill.
    let status = fixture.ours.payment_status(invoice.hash).await.expect("an answer");
    assert_eq!(index(status), index(first));
}

// measured: final_survives
// spec: P5
pub(crate) async fn a_final_state_survives_a_kill(fixture: &Fixture<impl Lightning>) {
    let (wanted, unwanted) = (fixture.payment_in_flight().await, fixture.payment_in_flight().await);
    fixture.buyer.settle_hold(wanted.preimage, Required).await.expect("an answer");
    fixture.buyer.cancel_hold(unwanted.hash).await.expect("an answer");
    let paid = last(fixture.ours.follow(wanted.hash)).await;
    let failed = last(fixture.ours.follow(unwanted.hash)).await;

    restart(fixture, HUB).await;

    assert_eq!(all(fixture.ours.follow(wanted.hash)).await, [paid]);
    assert_eq!(all(fixture.ours.follow(unwanted.hash)).await, [failed]);
    let again = fixture.ours.send(payment(&wanted.bolt11)).await.expect("an answer");
    assert_eq!(again, paid, "not sent twice");
}

// measured: stream_ends
// spec: E3
pub(crate) async fn streams_end_without_a_final_state_when_lnd_stops(
    fixture: &Fixture<impl Lightning>,
) {
    let (escrow, invoice) = (fixture.held_escrow().await, fixture.payment_in_flight().await);
    let (watch, follow) = attached(&fixture.ours, &escrow, &invoice).await;

    fixture.stop(HUB).await;

    assert_eq!(all(watch).await, []);
    assert_eq!(all(follow).await, []);
    fixture.start(HUB).await;
    drop(attached(&fixture.ours, &escrow, &invoice).await);
}

// measured: stream_ends
// spec: E3
pub(crate) async fn streams_end_without_a_final_state_when_lnd_is_killed(
    fixture: &Fixture<impl Lightning>,
) {
    let (escrow, invoice) = (fixture.held_escrow().await, fixture.payment_in_flight().await);
    let (watch, follow) = attached(&fixture.ours, &escrow, &invoice).await;

    fixture.kill(HUB).await;

    assert_eq!(all(watch).await, []);
    assert_eq!(all(follow).await, []);
    fixture.start(HUB).await;
    drop(attached(&fixture.ours, &escrow, &invoice).await);
}

/// Streams of both, after their first item, the current state.
pub(super) async fn attached<'a>(
    node: &'a Lnd,
    escrow: &Escrow,
    invoice: &Escrow,
) -> (BoxStream<'a, InvoiceState>, BoxStream<'a, PaymentStatus>) {
    let mut watch = node.watch(escrow.hash);
    let first = next(&mut watch).await;
    assert!(matches!(first, Some(InvoiceState::Accepted)), "{first:?}");
    let mut follow = node.follow(invoice.hash);
    let first = next(&mut follow).await;
    assert!(matches!(first, Some(PaymentStatus::InFlight { .. })), "{first:?}");
    // The payment's stream may still report its HTLC.
    let is_news = |status: &PaymentStatus| !matches!(status, PaymentStatus::InFlight { .. });
    (watch, follow.filter(move |status| ready(is_news(status))).boxed())
}

async fn restart(fixture: &Fixture<impl Lightning>, node: &str) {
    fixture.kill(node).await;
    fixture.start(node).await;
}
