//! Payouts that LND refuses, or does not answer (D39).
#![expect(clippy::arithmetic_side_effects, reason = "small times: a slip ends the test")]

use std::time::Duration;

use crate::fixture::{
    SUCCEEDED, Story, TAKER, add_invoice, check, failed, invoice_hash, payment, refused, unanswered,
};
use crate::{
    Attempt, Cause, FailureReason, Kind, Note, OrderId, PaymentStatus, PayoutPurpose, PayoutState,
    Refusal,
};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const ASKED: &str = "taker: add-invoice {settled-hold-invoice, 99700 sats, buyer, seller, lnbcrt1}";
const TOLD: &str = "taker: payment-failed {2 left, every 60 s}";
const SEND: &str = "LND: send payout i1";

fn unknown() -> crate::Observation {
    payment(1, PaymentStatus::Unknown)
}

fn attempt(story: &Story) -> Attempt {
    story
        .order
        .payout(PayoutPurpose::Buyer)
        .cloned()
        .and_then(|payout| payout.attempt)
        .expect("an attempt")
}

/// LND refuses the send that was decided on, and knows nothing of it, twice.
fn refuses(story: &mut Story) -> crate::fixture::Told {
    story.hears(refused(1));
    story.hears(unknown());
    story.after(MINUTE).hears(unknown())
}

/// A payout whose first call went unanswered and whose second was refused.
fn refused_in_doubt() -> Story {
    let mut story = Story::paying(Kind::Sell);
    story.hears(unanswered(1));
    story.after(MINUTE).hears(unknown());
    story.hears(refused(1));
    story
}

/// The same with an invoice that outlasts everything.
fn lasting(mut story: Story) -> Story {
    let far = story.scene.now.after(HOUR * 1_000);
    story.order.destination.as_mut().expect("a destination").expires_at = far;
    let attempt =
        story.order.payout_mut(PayoutPurpose::Buyer).and_then(|payout| payout.attempt.as_mut());
    attempt.expect("an attempt").expires_at = far;
    story
}

/// As it is when LND has refused two other orders since it last took one.
fn among_others() -> Story {
    let mut story = Story::paying(Kind::Sell);
    story.scene.refused_orders = vec![OrderId([1; 16]), OrderId([2; 16])];
    story
}

// spec: D39 P5
#[test]
fn a_refused_send_has_failed_when_lnd_twice_does_not_know_it_a_quiet_time_apart() {
    let mut story = Story::paying(Kind::Sell);

    check(&story.hears(refused(1)), "PayingBuyer(Sending)", &[]);
    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[]);
    story.after(Duration::from_secs(59));
    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[]);
    assert_eq!(story.refuses(TAKER, add_invoice(2)), Refusal::NotAllowedByStatus);
    story.after(Duration::from_secs(1));
    check(&story.hears(unknown()), "PayingBuyer(Due)", &[TOLD]);
    assert_eq!(story.last.cause, Cause::PayoutRefused);
}

// spec: D39
#[test]
fn the_quiet_time_of_a_refusal_begins_anew_when_lnd_was_away() {
    let mut story = Story::paying(Kind::Sell);
    story.hears(refused(1));
    story.hears(unknown());
    story.after(MINUTE);
    story.scene.lnd_unwell_at = Some(story.scene.now);

    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[]);
}

// spec: D39 FL-F8 P9
#[test]
fn after_as_many_refusals_as_a_destination_has_tries_the_buyer_is_asked_for_another_invoice() {
    let mut story = Story::paying(Kind::Sell);
    check(&refuses(&mut story), "PayingBuyer(Due)", &[TOLD]);
    for end in [("PayingBuyer(Due)", &[][..]), ("PayingBuyer(NeedsInvoice)", &[ASKED])] {
        story.after(MINUTE);
        check(&story.wakes(), "PayingBuyer(Sending)", &[SEND]);
        check(&refuses(&mut story), end.0, end.1);
    }

    check(
        &story.says(TAKER, add_invoice(2)),
        "PayingBuyer(Sending)",
        &["taker: invoice-updated (answers add-invoice)", "LND: send payout i2"],
    );
}

// spec: D39 D20 P3
#[test]
fn an_old_failure_is_as_good_as_unknown_to_a_refused_try() {
    let mut story = Story::paying(Kind::Sell);
    let old = || payment(1, failed(1, FailureReason::NoRoute));
    story.hears(old());
    story.after(MINUTE).wakes();
    story.hears(refused(1));

    check(&story.hears(old()), "PayingBuyer(Sending)", &[]);
    check(&story.after(MINUTE).hears(old()), "PayingBuyer(Due)", &[]);
    assert_eq!(story.order.payout(PayoutPurpose::Buyer).map(|payout| payout.failures), Some(2));
}

// spec: D39 P5 INV-2
#[test]
fn a_payment_that_lnd_knows_is_not_ended_by_a_refusal() {
    let mut story = Story::paying(Kind::Sell);
    story.hears(refused(1));
    story.hears(unknown());

    let in_flight = || payment(1, PaymentStatus::InFlight { index: 1 });
    check(&story.hears(in_flight()), "PayingBuyer(Sending)", &[]);
    check(&story.hears(refused(1)), "PayingBuyer(Sending)", &[]);
    story.after(MINUTE);
    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[]);
    assert_eq!(story.hears(payment(1, SUCCEEDED)).place, "Ended(Success)");
}

// spec: D39 P6 P7 P8 INV-2
#[test]
fn a_refusal_ends_nothing_while_another_call_of_the_hash_may_still_arrive() {
    let mut story = refused_in_doubt();

    story.hears(unknown());
    story.after(MINUTE);
    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[SEND]);
    story.hears(refused(1));
    assert_eq!(story.refuses(TAKER, add_invoice(2)), Refusal::NotAllowedByStatus);

    story.after(HOUR * 24);
    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[]);
    story.after(MINUTE);
    check(&story.hears(unknown()), "PayingBuyer(NeedsInvoice)", &[ASKED]);
    assert_eq!(story.last.cause, Cause::InvoiceExpired);
}

// spec: D39
#[test]
fn a_restart_of_lnd_answers_the_calls_before_it() {
    let mut story = refused_in_doubt();
    story.after(Duration::from_secs(1));
    story.scene.lnd_restarted_at = Some(story.scene.now);

    story.hears(unknown());
    check(&story.after(MINUTE).hears(unknown()), "PayingBuyer(Due)", &[TOLD]);
}

// spec: D39
#[test]
fn a_restart_of_lnd_before_a_call_does_not_answer_it_even_if_the_clock_went_back() {
    let mut story = Story::paying(Kind::Sell);
    story.scene.lnd_restarted_at = Some(story.scene.now.after(HOUR));
    story.hears(unanswered(1));
    story.after(MINUTE).hears(unknown());
    story.hears(refused(1));

    story.hears(unknown());
    check(&story.after(MINUTE).hears(unknown()), "PayingBuyer(Sending)", &[SEND]);
}

// spec: D39 D20
#[test]
fn what_lnd_has_known_since_an_unanswered_call_is_not_in_doubt() {
    let mut story = Story::paying(Kind::Sell);
    story.hears(unanswered(1));
    story.hears(payment(1, failed(1, FailureReason::NoRoute)));
    story.after(MINUTE).wakes();

    assert_eq!(refuses(&mut story).place, "PayingBuyer(Due)");
}

// spec: D39 P6
#[test]
fn each_try_has_the_limits_in_force_when_it_is_decided_on() {
    let mut resent = Story::paying(Kind::Sell);
    resent.hears(unanswered(1));
    let mut tried_again = Story::paying(Kind::Sell);
    refuses(&mut tried_again);
    for story in [&mut resent, &mut tried_again] {
        story.scene.policy.payout_cltv_limit = 600;
        story.scene.policy.max_routing_fee = crate::Ppm(1_000);
        story.after(MINUTE);
    }
    resent.hears(unknown());
    tried_again.wakes();

    for story in [resent, tried_again] {
        let attempt = attempt(&story);
        assert_eq!((attempt.tries, attempt.cltv_limit), (2, 600));
        assert_eq!(attempt.max_fee, crate::Sats(99));
    }
}

// spec: D39
#[test]
fn three_orders_in_a_row_are_our_fault_and_retried_hourly_without_a_word_to_count() {
    let mut story = among_others();

    check(&story.hears(refused(1)), "PayingBuyer(Sending)", &["alarm: PayoutsRefused"]);
    story.hears(unknown());
    let told = story.after(MINUTE).hears(unknown());
    check(&told, "PayingBuyer(Due)", &["taker: payment-failed {3 left, every 3600 s}"]);
    for _ in 0..5 {
        story.after(MINUTE * 59);
        check(&story.wakes(), "PayingBuyer(Due)", &[]);
        story.after(MINUTE);
        check(&story.wakes(), "PayingBuyer(Sending)", &[SEND]);
        check(&refuses(&mut story), "PayingBuyer(Due)", &[]);
    }
    assert_eq!(story.order.payout(PayoutPurpose::Buyer).map(|payout| payout.failures), Some(0));
}

// spec: D39
#[test]
fn the_same_order_refused_three_times_is_no_row_of_three() {
    let mut story = Story::paying(Kind::Sell);
    story.scene.refused_orders = vec![OrderId([1; 16])];

    story.hears(refused(1));
    assert_eq!(story.scene.refused_orders, [OrderId([1; 16]), story.order.id]);
    story.hears(unknown());
    story.after(MINUTE).hears(unknown());
    story.after(MINUTE).wakes();
    check(&story.hears(refused(1)), "PayingBuyer(Sending)", &[]);
}

// spec: D39
#[test]
fn whatever_lnd_takes_ends_the_row_of_refused_orders() {
    let in_flight = payment(1, PaymentStatus::InFlight { index: 1 });
    for news in [in_flight, payment(1, SUCCEEDED), payment(1, failed(1, FailureReason::NoRoute))] {
        let mut story = among_others();
        story.hears(news);
        assert_eq!(story.last.notes, [Note::RefusedOrders(vec![])]);
    }
}

// spec: D39 K-63
#[test]
fn a_buyer_whose_invoice_expires_while_the_fault_is_ours_is_asked_at_that_moment() {
    let mut story = among_others();
    let expires_at = attempt(&story).expires_at;
    story.scene.now = crate::Timestamp(expires_at.0.saturating_sub(600));
    refuses(&mut story);

    assert_eq!(
        story.order.payout(PayoutPurpose::Buyer).map(|payout| payout.state),
        Some(PayoutState::Due { at: expires_at })
    );
    story.scene.now = expires_at;
    check(&story.wakes(), "PayingBuyer(NeedsInvoice)", &[ASKED]);
}

// spec: D39
#[test]
fn an_invoice_that_has_expired_is_no_fault_of_ours() {
    let mut story = among_others();
    story.scene.now = attempt(&story).expires_at;

    check(&story.hears(refused(1)), "PayingBuyer(Sending)", &[]);
    assert_eq!(story.scene.refused_orders.len(), 2);
}

// spec: D39 D13
#[test]
fn a_payout_that_is_refused_for_a_day_is_frozen() {
    let mut story = lasting(among_others());
    let begun_at = story.scene.now;
    while refuses(&mut story).place == "PayingBuyer(Due)" {
        story.after(HOUR).wakes();
    }

    assert_eq!(crate::fixture::place(&story.order), "Frozen(PayoutRefused)");
    let hours = story.scene.now.since(begun_at).as_secs() / 3_600;
    assert_eq!((hours, attempt(&story).tries), (24, 25));
}

// spec: D39 P6 D13
#[test]
fn sends_that_nobody_answers_become_rare_and_then_a_persons() {
    let mut story = lasting(Story::paying(Kind::Sell));
    let mut sends = 1;
    story.hears(unanswered(1));
    for _ in 0..72 * 60 {
        let told = story.after(MINUTE).hears(unknown());
        if told.lines == [SEND] {
            sends += 1;
            story.hears(unanswered(1));
        }
    }
    assert_eq!(
        (sends, crate::fixture::place(&story.order).as_str()),
        (26, "Frozen(PayoutRefused)")
    );
    assert_eq!(attempt(&story).hash, invoice_hash(1));
    assert_eq!(story.hears(payment(1, SUCCEEDED)).place, "Ended(Success)");
}

// spec: D39
#[test]
fn an_lnd_that_was_away_for_a_day_is_not_one_that_refuses() {
    let mut story = lasting(Story::paying(Kind::Sell));
    story.hears(unanswered(1));

    check(&story.after(HOUR * 30).hears(unknown()), "PayingBuyer(Sending)", &[SEND]);
    story.hears(unanswered(1));
    check(&story.after(MINUTE).hears(unknown()), "PayingBuyer(Sending)", &[SEND]);
}
