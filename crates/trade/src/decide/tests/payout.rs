use std::time::Duration;

use crate::fixture::{
    MAKER, NOW, OWED, STRANGER, SUCCEEDED, Story, TAKER, add_invoice, bolt11, check, failed, hold,
    invoice, invoice_hash, payment, secret, unanswered,
};
use crate::{
    Attempt, Command, Destination, FailureReason, HoldStatus, Invoice, Kind, Msats, Observation,
    PaymentStatus, PayoutPurpose, PayoutState, Policy, Ppm, Preimage, Refusal, Sats,
};

const MINUTE: Duration = Duration::from_mins(1);
const SENDING: PayoutState = PayoutState::Sending;

fn attempt(story: &Story) -> Attempt {
    let payout = story.order.payout(PayoutPurpose::Buyer).cloned().expect("a payout");
    payout.attempt.expect("an attempt")
}

/// A payout to this invoice, about to be sent for the first time.
fn paying_to(given: Invoice) -> Story {
    let mut story = Story::sell_awaiting_invoice();
    let destination = Destination::Bolt11(given);
    story.says(TAKER, Command::AddInvoice { destination, secret: secret(1) });
    let mut story = story.opened().paid();
    story.says(TAKER, Command::FiatSent);
    story.says(MAKER, Command::Release);
    story
}

fn acked() -> Story {
    let mut story = Story::paying(Kind::Sell);
    story.hears(payment(1, PaymentStatus::InFlight { index: 1 }));
    story
}

fn fails(story: &mut Story, index: u64) -> crate::fixture::Told {
    story.hears(payment(1, failed(index, FailureReason::NoRoute)))
}

// spec: P1 P2 K-38
#[test]
fn the_attempt_is_saved_with_the_decision_to_send_byte_for_byte_and_with_limits() {
    let mut story = Story::settling(Kind::Sell);

    let told = story.hears(hold(1, HoldStatus::Settled));

    assert!(told.lines.contains(&"LND: send payout i1".to_owned()));
    let attempt = attempt(&story);
    assert_eq!((attempt.hash, attempt.bolt11.as_str()), (invoice_hash(1), "lnbcrt1"));
    assert_eq!(attempt.amount, None, "the invoice has one of its own");
    assert_eq!((attempt.max_fee, attempt.cltv_limit), (Sats(199), 432));
    assert_eq!((attempt.tries, attempt.acked), (1, false));
}

// spec: P2
#[test]
fn the_amount_goes_with_an_invoice_that_has_none() {
    let mut story = paying_to(Invoice { amount: None, ..invoice(1) });
    story.hears(hold(1, HoldStatus::Settled));

    assert_eq!(attempt(&story).amount, Some(OWED));
}

// spec: K-42
#[test]
fn the_cap_on_routing_fees_never_falls_below_ten_sats() {
    let policy = crate::fixture::policy();
    let cap = |policy: &Policy, amount| policy.routing_fee_limit(Sats(amount));

    assert_eq!(cap(&policy, 500), Sats(10));
    assert_eq!(cap(&policy, 1_000), Sats(10));
    assert_eq!(cap(&policy, 1_001), Sats(10));
    assert_eq!(cap(&policy, 100_000), Sats(200));
    assert_eq!(cap(&Policy { max_routing_fee: Ppm(0), ..policy }, 100_000), Sats(10));
}

// spec: K-63
#[test]
fn an_invoice_that_expired_during_the_trade_is_not_sent_and_the_buyer_is_asked_at_once() {
    let mut story = paying_to(Invoice { expires_at: NOW.after(MINUTE * 61), ..invoice(1) });
    story.after(MINUTE * 61);

    let told = story.hears(hold(1, HoldStatus::Settled));

    assert_eq!(told.place, "PayingBuyer(NeedsInvoice)");
    assert_eq!(
        told.lines.get(3).map(String::as_str),
        Some("taker: add-invoice {settled-hold-invoice, 99700 sats, buyer, seller, lnbcrt1}")
    );
    assert!(!told.lines.iter().any(|line| line.contains("send payout")));
}

// spec: FL-F8 P9 K-41
#[test]
fn the_first_failure_is_told_and_the_same_invoice_is_tried_again() {
    let mut story = Story::paying(Kind::Sell);

    check(
        &fails(&mut story, 1),
        "PayingBuyer(Due)",
        &["taker: payment-failed {2 left, every 60 s}"],
    );
    check(&story.wakes(), "PayingBuyer(Due)", &[]);
    story.after(MINUTE);
    check(&story.wakes(), "PayingBuyer(Sending)", &["LND: send payout i1"]);
    assert_eq!(attempt(&story).tries, 2);
}

// spec: FL-F8 P9 K-25
#[test]
fn after_the_last_failure_the_buyer_is_asked_for_another_invoice() {
    let mut story = Story::paying(Kind::Sell);
    fails(&mut story, 1);
    story.after(MINUTE).wakes();
    check(&fails(&mut story, 2), "PayingBuyer(Due)", &[]);
    story.after(MINUTE).wakes();

    check(
        &fails(&mut story, 3),
        "PayingBuyer(NeedsInvoice)",
        &["taker: add-invoice {settled-hold-invoice, 99700 sats, buyer, seller, lnbcrt1}"],
    );

    story.after(MINUTE * 60);
    check(&story.wakes(), "PayingBuyer(NeedsInvoice)", &[]);
    check(
        &story.says(TAKER, add_invoice(2)),
        "PayingBuyer(Sending)",
        &["taker: invoice-updated (answers add-invoice)", "LND: send payout i2"],
    );
    let paid = PaymentStatus::Succeeded { index: 4, receipt: Preimage([1; 32]), fee: Msats::ZERO };
    check(
        &story.hears(payment(2, paid)),
        "Ended(Success)",
        &["taker: purchase-completed", "taker: rate", "books: Lightning to Buyer 99700000 msats"],
    );
}

// spec: FL-F8
#[test]
fn another_destination_begins_with_all_its_attempts() {
    let mut story = Story::paying(Kind::Sell);
    fails(&mut story, 1);
    story.says(TAKER, add_invoice(2));

    let told = story.hears(payment(2, failed(2, FailureReason::Timeout)));

    let first = "taker: payment-failed {2 left, every 60 s}";
    check(&told, "PayingBuyer(Due)", &[first]);
}

// spec: K-40
#[test]
fn a_single_attempt_is_told_and_then_the_buyer_is_asked() {
    let mut story = Story::paying(Kind::Sell);
    story.scene.policy.payout_attempts = 1;

    check(
        &fails(&mut story, 1),
        "PayingBuyer(NeedsInvoice)",
        &[
            "taker: payment-failed {0 left, every 60 s}",
            "taker: add-invoice {settled-hold-invoice, 99700 sats, buyer, seller, lnbcrt1}",
        ],
    );
}

// spec: P9
#[test]
fn a_buyers_node_that_refuses_the_invoice_is_not_asked_again() {
    let mut story = Story::paying(Kind::Sell);

    let told = story.hears(payment(1, failed(1, FailureReason::IncorrectPaymentDetails)));

    assert_eq!(told.place, "PayingBuyer(NeedsInvoice)");
    assert_eq!(story.order.payout(PayoutPurpose::Buyer).map(|payout| payout.failures), Some(1));
}

// spec: P9 FL-F8
#[test]
fn a_failure_while_our_own_node_was_unwell_is_not_the_buyers() {
    for reason in [FailureReason::NoRoute, FailureReason::IncorrectPaymentDetails] {
        let mut story = Story::paying(Kind::Sell);
        story.scene.lnd_unwell_at = Some(story.scene.now);

        let told = story.hears(payment(1, failed(1, reason)));

        check(&told, "PayingBuyer(Due)", &[]);
        assert_eq!(story.order.payout(PayoutPurpose::Buyer).map(|payout| payout.failures), Some(0));
    }
    let mut story = Story::paying(Kind::Sell);
    story.scene.lnd_unwell_at = Some(crate::Timestamp(NOW.0.saturating_sub(1)));
    assert_eq!(fails(&mut story, 1).lines.len(), 1, "that was before the send");
}

// spec: P5 INV-2
#[test]
fn no_answer_is_no_verdict() {
    let mut story = Story::paying(Kind::Sell);

    check(&story.hears(unanswered(1)), "PayingBuyer(Sending)", &[]);
    story.after(MINUTE * 600);
    check(&story.wakes(), "PayingBuyer(Sending)", &[]);
    check(
        &story.hears(payment(1, PaymentStatus::InFlight { index: 1 })),
        "PayingBuyer(Sending)",
        &[],
    );
    assert!(attempt(&story).acked);
}

// spec: P6
#[test]
fn a_send_that_lnd_does_not_know_is_sent_again_after_the_quiet_time() {
    let mut story = Story::paying(Kind::Sell);
    let unknown = || payment(1, PaymentStatus::Unknown);

    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[]);
    story.hears(unanswered(1));
    story.after(Duration::from_secs(59));
    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[]);
    story.after(Duration::from_secs(1));
    check(&story.hears(unknown()), "PayingBuyer(Sending)", &["LND: send payout i1"]);
    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[]);

    assert_eq!((attempt(&story).hash, attempt(&story).tries), (invoice_hash(1), 2));
}

// spec: P6
#[test]
fn the_quiet_time_begins_anew_when_lnd_was_away() {
    let mut story = Story::paying(Kind::Sell);
    let unknown = || payment(1, PaymentStatus::Unknown);
    story.hears(unanswered(1));
    story.after(MINUTE * 10);
    story.scene.lnd_unwell_at = Some(story.scene.now);

    story.after(Duration::from_secs(59));
    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[]);
    story.after(Duration::from_secs(1));
    check(&story.hears(unknown()), "PayingBuyer(Sending)", &["LND: send payout i1"]);
}

// spec: P6 D13
#[test]
fn a_payment_that_lnd_knew_and_has_forgotten_freezes_the_payout() {
    let mut story = acked();
    let unknown = || payment(1, PaymentStatus::Unknown);

    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[]);
    story.after(MINUTE);
    check(&story.hears(unknown()), "Frozen(PayoutForgotten)", &["alarm: PayoutForgotten"]);

    check(&story.hears(unknown()), "Frozen(PayoutForgotten)", &[]);
    story.after(MINUTE * 600);
    check(&story.wakes(), "Frozen(PayoutForgotten)", &[]);
    assert_eq!(story.refuses(TAKER, add_invoice(2)), Refusal::NotAllowedByStatus);
    assert_eq!(story.order.status(), crate::Status::SettledHoldInvoice);
}

// spec: P6 P3
#[test]
fn a_frozen_payout_is_ended_by_lnds_own_word() {
    let frozen = || {
        let mut story = acked();
        story.hears(payment(1, PaymentStatus::Unknown));
        story.after(MINUTE).hears(payment(1, PaymentStatus::Unknown));
        story
    };

    assert_eq!(frozen().hears(payment(1, SUCCEEDED)).place, "Ended(Success)");
    assert_eq!(fails(&mut frozen(), 1).place, "PayingBuyer(Due)");
}

fn htlc(is_missing: bool) -> Observation {
    Observation::Htlc { hash: invoice_hash(1), index: 1, is_missing }
}

/// In flight, and LND has been away since.
fn acked_before_a_restart() -> Story {
    let mut story = acked();
    story.after(MINUTE);
    story.scene.lnd_unwell_at = Some(story.scene.now);
    story
}

// spec: P12 D13
#[test]
fn a_payment_that_never_left_lnd_freezes_the_payout_and_its_buyer_hears_of_a_delay() {
    let mut story = acked_before_a_restart();

    check(&story.hears(htlc(true)), "PayingBuyer(Sending)", &[]);
    story.after(Duration::from_secs(299));
    check(&story.hears(htlc(true)), "PayingBuyer(Sending)", &[]);
    story.after(Duration::from_secs(1));
    check(
        &story.hears(htlc(true)),
        "Frozen(PayoutDangling)",
        &["taker: payment-failed {3 left, every 60 s}", "alarm: PayoutDangling"],
    );

    story.after(MINUTE * 600);
    check(&story.hears(htlc(true)), "Frozen(PayoutDangling)", &[]);
    assert_eq!(story.refuses(TAKER, add_invoice(2)), Refusal::NotAllowedByStatus);
}

// spec: P12 P9
#[test]
fn a_dangling_payout_is_sent_again_once_lnd_has_called_it_failed() {
    let mut story = acked_before_a_restart();
    story.hears(htlc(true));
    story.after(MINUTE * 5).hears(htlc(true));

    check(&fails(&mut story, 1), "PayingBuyer(Due)", &[]);
    story.after(MINUTE);
    check(&story.wakes(), "PayingBuyer(Sending)", &["LND: send payout i1"]);
}

// spec: P12
#[test]
fn a_payment_is_not_dangling_while_lnd_may_still_send_its_htlc() {
    let mut never_away = acked();
    never_away.hears(htlc(true));
    let never_away = never_away.after(MINUTE * 5).hears(htlc(true)).place;
    let mut seen_between = acked_before_a_restart();
    seen_between.hears(htlc(true));
    seen_between.after(MINUTE * 4).hears(htlc(false));
    let seen_between = seen_between.after(MINUTE).hears(htlc(true)).place;
    let mut away_again = acked_before_a_restart();
    away_again.hears(htlc(true));
    away_again.after(MINUTE * 4);
    away_again.scene.lnd_unwell_at = Some(away_again.scene.now);
    let away_again = away_again.after(MINUTE).hears(htlc(true)).place;
    let of_another_try = {
        let mut story = acked_before_a_restart();
        let other = || Observation::Htlc { hash: invoice_hash(1), index: 2, is_missing: true };
        story.hears(other());
        story.after(MINUTE * 5).hears(other()).place
    };

    for place in [never_away, seen_between, away_again, of_another_try] {
        assert_eq!(place, "PayingBuyer(Sending)");
    }
}

// spec: P3 D20
#[test]
fn the_end_of_an_earlier_try_says_nothing_about_this_one() {
    let mut story = Story::paying(Kind::Sell);
    fails(&mut story, 1);
    story.after(MINUTE).wakes();

    check(&fails(&mut story, 1), "PayingBuyer(Sending)", &[]);
    assert_eq!(story.order.payout(PayoutPurpose::Buyer).map(|payout| payout.failures), Some(1));

    // It counts as "unknown": after the quiet time the same invoice is sent again.
    story.hears(unanswered(1));
    story.after(MINUTE);
    check(&fails(&mut story, 1), "PayingBuyer(Sending)", &["LND: send payout i1"]);
    check(&fails(&mut story, 2), "PayingBuyer(Due)", &[]);
}

// spec: P6
#[test]
fn an_answer_from_before_the_acknowledgement_freezes_nothing() {
    let mut story = acked();
    let unknown = || payment(1, PaymentStatus::Unknown);
    let in_flight = || payment(1, PaymentStatus::InFlight { index: 1 });

    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[]);
    check(&story.hears(in_flight()), "PayingBuyer(Sending)", &[]);
    story.after(MINUTE);
    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[]);
    story.after(Duration::from_secs(59));
    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[]);
}

// spec: P3 D20
#[test]
fn old_news_of_an_earlier_registration_is_not_the_end_of_a_later_one() {
    let mut story = acked();
    story.hears(payment(1, PaymentStatus::InFlight { index: 2 }));

    story.hears(payment(1, PaymentStatus::InFlight { index: 1 }));
    check(&fails(&mut story, 1), "PayingBuyer(Sending)", &[]);

    assert_eq!(attempt(&story).payment_index, 2);
}

// spec: P3 D20
#[test]
fn once_acknowledged_a_try_is_ended_by_its_own_index_only() {
    let mut story = acked();
    assert_eq!(attempt(&story).payment_index, 1);

    check(&fails(&mut story, 2), "PayingBuyer(Sending)", &[]);
    check(
        &fails(&mut story, 1),
        "PayingBuyer(Due)",
        &["taker: payment-failed {2 left, every 60 s}"],
    );
}

// spec: P3 D20
#[test]
fn an_old_success_is_a_success() {
    let mut story = Story::paying(Kind::Sell);
    fails(&mut story, 1);
    story.after(MINUTE).wakes();

    assert_eq!(story.hears(payment(1, SUCCEEDED)).place, "Ended(Success)");
}

// spec: P8
#[test]
fn an_expired_invoice_that_lnd_never_knew_is_given_up_after_two_answers() {
    let mut story = Story::paying(Kind::Sell);
    story.hears(unanswered(1));
    story.after(MINUTE * 60 * 24);
    let unknown = || payment(1, PaymentStatus::Unknown);

    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[]);
    story.after(Duration::from_secs(59));
    check(&story.hears(unknown()), "PayingBuyer(Sending)", &[]);
    assert_eq!(story.refuses(TAKER, add_invoice(2)), Refusal::NotAllowedByStatus);
    story.after(Duration::from_secs(1));
    check(
        &story.hears(unknown()),
        "PayingBuyer(NeedsInvoice)",
        &["taker: add-invoice {settled-hold-invoice, 99700 sats, buyer, seller, lnbcrt1}"],
    );
}

// spec: P8
#[test]
fn an_expired_invoice_that_lnd_knows_is_waited_for() {
    let mut story = acked();
    story.after(MINUTE * 60 * 24);
    let in_flight = PaymentStatus::InFlight { index: 1 };

    check(&story.hears(payment(1, in_flight)), "PayingBuyer(Sending)", &[]);
    assert_eq!(story.hears(payment(1, SUCCEEDED)).place, "Ended(Success)");
}

// spec: P7 C18 INV-2 I4
#[test]
fn another_invoice_is_refused_while_a_payment_is_unresolved() {
    let mut silent = Story::paying(Kind::Sell);
    silent.hears(unanswered(1));
    for story in [Story::paying(Kind::Sell), silent, acked()] {
        assert_eq!(story.refuses(TAKER, add_invoice(2)), Refusal::NotAllowedByStatus);
    }
}

// spec: P7 C18 INV-2
#[test]
fn a_payment_that_lnd_takes_up_again_after_its_failure_is_awaited_again() {
    let mut due = Story::paying(Kind::Sell);
    fails(&mut due, 1);
    let mut asked = Story::paying(Kind::Sell);
    asked.hears(payment(1, failed(1, FailureReason::IncorrectPaymentDetails)));

    for mut story in [due, asked] {
        story.hears(payment(1, PaymentStatus::InFlight { index: 1 }));
        assert_ne!(
            story.order.payout(PayoutPurpose::Buyer).map(|payout| payout.state),
            Some(SENDING)
        );

        let again = story.hears(payment(1, PaymentStatus::InFlight { index: 2 }));
        check(&again, "PayingBuyer(Sending)", &[]);
        assert_eq!(story.refuses(TAKER, add_invoice(2)), Refusal::NotAllowedByStatus);
        assert_eq!(fails(&mut story, 1).place, "PayingBuyer(Sending)");
        assert_ne!(fails(&mut story, 2).place, "PayingBuyer(Sending)");
    }
}

/// A payout to another invoice than the first.
fn paying_another() -> Story {
    let mut story = Story::paying(Kind::Sell);
    fails(&mut story, 1);
    story.says(TAKER, add_invoice(2));
    story
}

// spec: P7 I4
#[test]
fn a_payment_to_an_invoice_that_was_given_up_calls_a_person_before_there_is_another() {
    let sending = paying_another();
    let mut due = paying_another();
    due.hears(payment(2, failed(1, FailureReason::NoRoute)));

    for mut story in [sending, due] {
        let told = story.hears(payment(1, SUCCEEDED));

        check(&told, "Frozen(PaidThoughGivenUp)", &["alarm: PaidThoughGivenUp"]);
        check(&story.hears(payment(1, SUCCEEDED)), "Frozen(PaidThoughGivenUp)", &[]);
        check(
            &story.hears(payment(2, failed(1, FailureReason::NoRoute))),
            "Frozen(PaidThoughGivenUp)",
            &[],
        );
        story.after(MINUTE * 600);
        check(&story.wakes(), "Frozen(PaidThoughGivenUp)", &[]);
        assert_eq!(story.refuses(TAKER, add_invoice(2)), Refusal::NotAllowedByStatus);
    }
}

// spec: P7 I4
#[test]
fn a_second_payment_of_one_debt_is_an_alarm() {
    let mut story = paying_another();
    assert_eq!(story.hears(payment(2, SUCCEEDED)).place, "Ended(Success)");

    check(&story.hears(payment(1, SUCCEEDED)), "Ended(Success)", &["alarm: PaidThoughGivenUp"]);
}

// spec: C18 C26 K-24 P7
#[test]
fn another_invoice_must_be_the_buyers_payable_and_new() {
    let mut story = Story::paying(Kind::Sell);
    fails(&mut story, 1);

    assert_eq!(story.refuses(MAKER, add_invoice(2)), Refusal::InvalidPeer);
    assert_eq!(story.refuses(STRANGER, add_invoice(2)), Refusal::InvalidPeer);
    let wrong = Destination::Bolt11(Invoice { amount: Some(Msats(1)), ..invoice(2) });
    for destination in [Destination::Unsupported, wrong] {
        let command = Command::AddInvoice { destination, secret: secret(2) };
        assert_eq!(story.refuses(TAKER, command), Refusal::InvalidInvoice);
    }
    story.scene.payout_hash_is_known = true;
    let command = Command::AddInvoice { destination: bolt11(2), secret: secret(2) };
    assert_eq!(story.refuses(TAKER, command), Refusal::InvalidInvoice);
}

// spec: D20 C26 P7
#[test]
fn the_invoice_that_failed_last_may_be_named_again_and_counts_on() {
    let mut story = Story::paying(Kind::Sell);
    story.hears(payment(1, failed(1, FailureReason::IncorrectPaymentDetails)));

    assert_eq!(story.says(TAKER, add_invoice(1)).place, "PayingBuyer(Sending)");
    assert_eq!((attempt(&story).base_index, attempt(&story).tries), (1, 2));
    check(&fails(&mut story, 1), "PayingBuyer(Sending)", &[]);
}

// spec: D44 D20
#[test]
fn another_invoice_with_the_hash_of_the_present_one_is_invalid_and_the_same_text_is_not() {
    let mut due = Story::paying(Kind::Sell);
    fails(&mut due, 1);
    let mut asked = Story::paying(Kind::Sell);
    asked.hears(payment(1, failed(1, FailureReason::IncorrectPaymentDetails)));

    for mut story in [due, asked] {
        let other = Invoice { text: "lnbcrt1other".to_owned(), ..invoice(1) };
        let command = add(Destination::Bolt11(other));
        assert_eq!(story.refuses(TAKER, command), Refusal::InvalidInvoice);

        let shouted = Invoice { text: invoice(1).text.to_uppercase(), ..invoice(1) };
        let told = story.says(TAKER, add(Destination::Bolt11(shouted)));
        assert_eq!(told.place, "PayingBuyer(Sending)");
    }
}

fn add(destination: Destination) -> Command {
    Command::AddInvoice { destination, secret: secret(2) }
}

// spec: C17 INV-2 I4
#[test]
fn a_second_tick_sends_nothing() {
    let mut story = Story::paying(Kind::Sell);
    fails(&mut story, 1);
    story.after(MINUTE);

    check(&story.wakes(), "PayingBuyer(Sending)", &["LND: send payout i1"]);
    check(&story.wakes(), "PayingBuyer(Sending)", &[]);
}

// spec: C20 K-23 I9
#[test]
fn a_settled_order_is_paid_or_has_a_moment_or_a_person_to_wait_for() {
    let mut story = Story::settling(Kind::Sell);
    assert!(
        story.hears(hold(1, HoldStatus::Settled)).lines.contains(&"LND: send payout i1".into())
    );
    let state = |story: &Story| story.order.payout(PayoutPurpose::Buyer).map(|payout| payout.state);
    assert_eq!(state(&story), Some(PayoutState::Sending));

    fails(&mut story, 1);
    let at = story.scene.now.after(MINUTE);
    assert_eq!(state(&story), Some(PayoutState::Due { at }));
    assert_eq!(story.order.deadline(24).at, Some(at));
}
