//! Outgoing payments.

use std::time::Duration;

use devnet::{BUYER, Lightning};
use mostrod::lightning::{InvoiceState, LightningError, LightningNode, NewHold, NewPayment};
use trade::EscrowEvidence::Required;
use trade::{FailureReason, HoldStatus, Msats, PaymentHash, PaymentStatus, Sats};

use crate::corpus;
use crate::fixture::{Fixture, all, hash_of, hold_at, index, last, next, payment, until};

// measured: pay_first_update
// spec: P4
pub(crate) async fn a_payment_reports_in_flight_at_once_and_its_preimage_at_the_end(
    fixture: &Fixture<impl Lightning>,
) {
    let invoice = fixture.buyer_hold().await;

    let first = fixture.ours.send(payment(&invoice.bolt11)).await.expect("an answer");

    let PaymentStatus::InFlight { index } = first else { panic!("{first:?}") };
    let mut follow = fixture.ours.follow(invoice.hash);
    assert_eq!(next(&mut follow).await, Some(first));
    let held = |status: &InvoiceState| matches!(status, InvoiceState::Accepted);
    until(fixture.buyer.watch(invoice.hash), held).await;
    fixture.buyer.settle_hold(invoice.preimage, Required).await.expect("an answer");
    let paid = PaymentStatus::Succeeded { index, receipt: invoice.preimage, fee: Msats::ZERO };
    assert!(last(follow).await == paid, "the payment has the buyer's preimage");
}

// measured: pay_zero_with_amt
pub(crate) async fn a_payment_that_has_ended_is_reported_by_one_update(
    fixture: &Fixture<impl Lightning>,
) {
    let bolt11 = fixture.invoice(None).await;
    let hash = hash_of(&bolt11);
    let amount = Some(Sats(777));
    fixture.ours.send(NewPayment { amount, ..payment(&bolt11) }).await.expect("an answer");
    let end = last(fixture.ours.follow(hash)).await;

    assert!(matches!(end, PaymentStatus::Succeeded { .. }), "{end:?}");
    assert_eq!(fixture.ours.payment_status(hash).await.expect("an answer"), end);
    assert_eq!(all(fixture.ours.follow(hash)).await, [end]);
}

// measured: track_unknown
pub(crate) async fn an_unknown_payment_is_unknown_and_its_stream_is_empty(
    fixture: &Fixture<impl Lightning>,
) {
    let hash = PaymentHash([7; 32]);
    let status = fixture.ours.payment_status(hash).await.expect("an answer");

    assert_eq!(status, PaymentStatus::Unknown);
    assert_eq!(all(fixture.ours.follow(hash)).await, []);
}

// measured: send_again
// spec: P5
pub(crate) async fn a_payment_in_flight_is_not_sent_twice(fixture: &Fixture<impl Lightning>) {
    let invoice = fixture.payment_in_flight().await;
    let before = fixture.ours.payment_status(invoice.hash).await.expect("an answer");

    let again = fixture.ours.send(payment(&invoice.bolt11)).await.expect("an answer");

    assert!(matches!(again, PaymentStatus::InFlight { .. }), "{again:?}");
    assert_eq!(again, before);
}

// measured: send_again
// spec: P5
pub(crate) async fn a_paid_invoice_is_not_paid_twice(fixture: &Fixture<impl Lightning>) {
    let invoice = fixture.payment_in_flight().await;
    fixture.buyer.settle_hold(invoice.preimage, Required).await.expect("an answer");
    let paid = last(fixture.ours.follow(invoice.hash)).await;

    let again = fixture.ours.send(payment(&invoice.bolt11)).await.expect("an answer");

    assert!(matches!(again, PaymentStatus::Succeeded { .. }), "{again:?}");
    assert_eq!(again, paid);
}

// measured: send_again
pub(crate) async fn a_failed_payment_can_be_sent_again_under_a_higher_index(
    fixture: &Fixture<impl Lightning>,
) {
    let invoice = fixture.payment_in_flight().await;
    fixture.buyer.cancel_hold(invoice.hash).await.expect("an answer");
    let first = last(fixture.ours.follow(invoice.hash)).await;
    assert_refused(first);

    let again = fixture.ours.send(payment(&invoice.bolt11)).await.expect("an answer");
    let second = last(fixture.ours.follow(invoice.hash)).await;

    assert!(index(again) > index(first), "{first:?}, then {again:?}");
    assert_eq!(index(again), index(second));
    assert_refused(second);
}

// measured: payee_offline, send_again
pub(crate) async fn a_payment_can_succeed_after_it_failed(fixture: &Fixture<impl Lightning>) {
    let bolt11 = fixture.invoice(Some(Sats(500))).await;
    fixture.stop(BUYER).await;
    fixture.ours.send(payment(&bolt11)).await.expect("an answer");
    let failed = last(fixture.ours.follow(hash_of(&bolt11))).await;
    assert!(matches!(failed, PaymentStatus::Failed { .. }), "{failed:?}");
    fixture.start(BUYER).await;

    fixture.ours.send(payment(&bolt11)).await.expect("an answer");
    let paid = last(fixture.ours.follow(hash_of(&bolt11))).await;

    assert!(matches!(paid, PaymentStatus::Succeeded { .. }), "{paid:?}");
    assert!(index(paid) > index(failed));
}

// measured: payee_offline
pub(crate) async fn a_payment_to_a_node_that_is_down_fails_without_a_route(
    fixture: &Fixture<impl Lightning>,
) {
    let bolt11 = fixture.invoice(Some(Sats(500))).await;
    fixture.stop(BUYER).await;

    fixture.ours.send(payment(&bolt11)).await.expect("an answer");

    let end = last(fixture.ours.follow(hash_of(&bolt11))).await;
    let PaymentStatus::Failed { reason, .. } = end else { panic!("{end:?}") };
    assert_eq!(reason, FailureReason::NoRoute);
}

// measured: pay_no_balance
pub(crate) async fn a_payment_above_our_balance_fails_locally(fixture: &Fixture<impl Lightning>) {
    let amount = Sats(100_000_000_000);
    let invoice = hold_at(&fixture.buyer, |hold| NewHold { amount, ..hold }).await;

    fixture.ours.send(payment(&invoice.bolt11)).await.expect("an answer");

    let end = last(fixture.ours.follow(invoice.hash)).await;
    let PaymentStatus::Failed { reason, .. } = end else { panic!("{end:?}") };
    assert_eq!(reason, FailureReason::InsufficientBalance);
}

// measured: send_expired
pub(crate) async fn an_expired_invoice_that_was_never_sent_stays_unknown(
    fixture: &Fixture<impl Lightning>,
) {
    let invoice = hold_at(&fixture.buyer, short_lived).await;
    until(fixture.buyer.watch(invoice.hash), |status| *status == InvoiceState::Canceled).await;

    assert_refused_call(&fixture.ours.send(payment(&invoice.bolt11)).await);

    let status = fixture.ours.payment_status(invoice.hash).await.expect("an answer");
    assert_eq!(status, PaymentStatus::Unknown);
}

// measured: send_expired
// spec: P5
pub(crate) async fn an_expired_invoice_hides_the_payment_that_is_in_flight(
    fixture: &Fixture<impl Lightning>,
) {
    let invoice = hold_at(&fixture.buyer, short_lived).await;
    fixture.ours.send(payment(&invoice.bolt11)).await.expect("an answer");
    let unpaid = hold_at(&fixture.buyer, short_lived).await;
    until(fixture.buyer.watch(unpaid.hash), |status| *status == InvoiceState::Canceled).await;

    assert_refused_call(&fixture.ours.send(payment(&invoice.bolt11)).await);

    let status = fixture.ours.payment_status(invoice.hash).await.expect("an answer");
    assert!(matches!(status, PaymentStatus::InFlight { .. }), "{status:?}");
    fixture.buyer.settle_hold(invoice.preimage, Required).await.expect("an answer");
    let end = last(fixture.ours.follow(invoice.hash)).await;
    assert!(matches!(end, PaymentStatus::Succeeded { .. }), "{end:?}");
}

// measured: pay_self, pay_other_network, pay_zero_without_amt, pay_amt_given_twice, pay_cltv_too_small, pay_cltv_too_big, pay_min_final_over_limit
// spec: P5
pub(crate) async fn a_payment_refused_before_registration_stays_unknown(
    fixture: &Fixture<impl Lightning>,
) {
    let own = fixture.open_escrow().await.bolt11;
    let open = fixture.invoice(None).await;
    let fixed = fixture.invoice(Some(Sats(500))).await;
    let slow = hold_at(&fixture.buyer, |hold| NewHold { cltv_delta: 500, ..hold }).await.bolt11;
    let abroad = golden("mainnet-9997-sat");

    for wrong in [
        payment(&own),
        payment(&abroad),
        payment(&open),
        payment(&slow),
        NewPayment { amount: Some(Sats(500)), ..payment(&fixed) },
        NewPayment { cltv_limit: 20, ..payment(&fixed) },
        NewPayment { cltv_limit: 2_017, ..payment(&fixed) },
    ] {
        let hash = wrong.hash;
        assert_refused_call(&fixture.ours.send(wrong).await);
        let status = fixture.ours.payment_status(hash).await.expect("an answer");
        assert_eq!(status, PaymentStatus::Unknown);
    }
}

// measured: pay_no_secret, pay_amp, pay_garbage, decode_other_network
// spec: D44
pub(crate) async fn every_invoice_of_the_corpus_is_read_or_refused_as_expected(
    fixture: &Fixture<impl Lightning>,
) {
    let mut differences = Vec::new();
    for case in corpus::cases() {
        let read = fixture.decode_error(&case.bolt11).await;
        let sent = fixture.payment_error(&case.bolt11, case.amount_msat).await;
        if !corpus::is_as_expected(case.decode.as_deref(), read.as_deref())
            || !corpus::is_as_expected(case.send.as_deref(), sent.as_deref())
        {
            differences.push(format!("{}: {read:?}, {sent:?}", case.name));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

// measured: pay_zero_with_amt
pub(crate) async fn an_invoice_without_an_amount_is_paid_with_our_amount(
    fixture: &Fixture<impl Lightning>,
) {
    let bolt11 = fixture.invoice(None).await;

    let amount = Some(Sats(777));
    fixture.ours.send(NewPayment { amount, ..payment(&bolt11) }).await.expect("an answer");

    let end = last(fixture.ours.follow(hash_of(&bolt11))).await;
    assert!(matches!(end, PaymentStatus::Succeeded { .. }), "{end:?}");
}

// measured: pay_cltv_just_enough
pub(crate) async fn a_time_lock_just_long_enough_is_enough(fixture: &Fixture<impl Lightning>) {
    let invoice = hold_at(&fixture.buyer, |hold| NewHold { cltv_delta: 80, ..hold }).await;

    let limited = NewPayment { cltv_limit: 84, ..payment(&invoice.bolt11) };
    let first = fixture.ours.send(limited).await.expect("an answer");

    assert!(matches!(first, PaymentStatus::InFlight { .. }), "{first:?}");
    let held = |status: &InvoiceState| matches!(status, InvoiceState::Accepted);
    until(fixture.buyer.watch(invoice.hash), held).await;
}

// measured: own_hash
pub(crate) async fn another_nodes_invoice_with_the_hash_of_our_escrow_is_paid(
    fixture: &Fixture<impl Lightning>,
) {
    let escrow = fixture.held_escrow().await;
    let foreign = hold_at(&fixture.buyer, |hold| NewHold { hash: escrow.hash, ..hold }).await;

    let first = fixture.ours.send(payment(&foreign.bolt11)).await.expect("an answer");

    assert!(matches!(first, PaymentStatus::InFlight { .. }), "{first:?}");
    let status = fixture.ours.hold_status(escrow.hash).await.expect("an answer");
    assert!(matches!(status, HoldStatus::Accepted { .. }), "{status:?}");
}

// spec: P12
pub(crate) async fn only_a_payment_in_flight_is_matched_with_an_htlc(
    fixture: &Fixture<impl Lightning>,
) {
    let invoice = fixture.payment_in_flight().await;

    let htlc = fixture.ours.find_htlc(invoice.hash).await.expect("an answer").expect("in flight");
    assert_eq!(htlc.missing_from, None);

    fixture.buyer.cancel_hold(invoice.hash).await.expect("an answer");
    last(fixture.ours.follow(invoice.hash)).await;
    assert_eq!(fixture.ours.find_htlc(invoice.hash).await.expect("an answer"), None);
    let never_sent = PaymentHash([9; 32]);
    assert_eq!(fixture.ours.find_htlc(never_sent).await.expect("an answer"), None);
}

/// The payee has refused it.
#[track_caller]
pub(crate) fn assert_refused(status: PaymentStatus) {
    let PaymentStatus::Failed { reason, .. } = status else { panic!("{status:?}") };
    assert_eq!(reason, FailureReason::IncorrectPaymentDetails);
}

#[track_caller]
fn assert_refused_call(answer: &Result<PaymentStatus, LightningError>) {
    assert!(matches!(answer, Err(LightningError::Refused { .. })), "{answer:?}");
}

/// Long enough for a payment on a busy machine.
fn short_lived(hold: NewHold) -> NewHold {
    NewHold { expiry: Duration::from_secs(5), ..hold }
}

fn golden(name: &str) -> String {
    let text = include_str!("../../golden/invoices.json");
    let file: serde_json::Value = serde_json::from_str(text).expect("the golden file is JSON");
    file["invoices"][name]["bolt11"].as_str().expect("a golden invoice").to_owned()
}
