use std::time::Duration;

use crate::fixture::{
    ACCEPTED, EXPIRES_AT, GUARD, MAKER, Story, TAKER, WARNING, add_invoice, check, hold, hold_hash,
    opened,
};
use crate::{
    Alarm, Backlog, BlockHeight, Command, HoldStatus, Input, Kind, PublicStatus, Question, Refusal,
    Seen,
};

const DUTY: Duration = Duration::from_mins(15);

// spec: T23 FL-T3 K-12
#[test]
fn an_order_leaves_the_book_when_its_time_is_up_and_its_maker_hears_of_it() {
    for mut story in Story::every_book_order() {
        story.after(Duration::from_secs(86_399));
        check(&story.wakes(), "Pending", &[]);
        story.after(Duration::from_secs(1));

        check(&story.wakes(), "Ended(Expired)", &["maker: canceled"]);

        assert_eq!(story.order.public_status(), PublicStatus::Canceled);
        assert_eq!(story.order.status(), crate::Status::Expired);
    }
}

// spec: T19 FL-T1
#[test]
fn a_taker_that_gives_no_invoice_in_time_loses_the_order() {
    let mut story = Story::sell_awaiting_invoice();
    story.after(Duration::from_secs(899));
    check(&story.wakes(), "AwaitingInvoice", &[]);
    story.after(Duration::from_secs(1));

    check(
        &story.wakes(),
        "Pending",
        &["taker: canceled", "maker: new-order {pending, 100000 sats, seller}"],
    );
}

// spec: T20 FL-T2 INV-3
#[test]
fn a_maker_that_gives_no_invoice_in_time_ends_its_order_and_the_taker_is_refunded() {
    let mut story = Story::buy_awaiting_invoice();
    story.after(DUTY);

    check(
        &story.wakes(),
        "Ended(Canceled)",
        &["LND: cancel hold h1", "maker: canceled", "taker: canceled"],
    );
}

// spec: C7 K-60
#[test]
fn lnd_is_asked_before_a_seller_is_late() {
    let mut story = Story::awaiting_hold(Kind::Sell);
    story.after(Duration::from_secs(899));
    check(&story.wakes(), "AwaitingHold", &[]);
    story.after(Duration::from_secs(1));

    assert_eq!(story.asks(Input::Deadline), Question::HoldStatus { hash: hold_hash(1) });
}

// spec: T15 FL-T1 INV-3
#[test]
fn a_taker_that_does_not_pay_in_time_loses_the_order() {
    let mut story = Story::awaiting_hold(Kind::Buy);
    story.after(DUTY).asked(HoldStatus::Open);

    check(
        &story.wakes(),
        "Pending",
        &[
            "LND: cancel hold h1",
            "taker: canceled",
            "maker: new-order {pending, 100000 sats, buyer, lnbcrt1}",
        ],
    );
}

// spec: T16 FL-T2 INV-3
#[test]
fn a_maker_that_does_not_pay_in_time_ends_its_order() {
    let mut story = Story::awaiting_hold(Kind::Sell);
    story.after(DUTY).asked(HoldStatus::Open);

    check(
        &story.wakes(),
        "Ended(Canceled)",
        &["LND: cancel hold h1", "maker: canceled", "taker: canceled"],
    );
}

// spec: C7 T10 T11
#[test]
fn a_seller_that_has_paid_after_all_is_not_late() {
    let mut sell = Story::awaiting_hold(Kind::Sell);
    sell.after(DUTY).asked(ACCEPTED);
    assert_eq!(sell.wakes().place, "Active");

    let mut buy = Story::buy().taken().opened();
    buy.after(DUTY).asked(ACCEPTED);
    assert_eq!(buy.wakes().place, "AwaitingInvoice");
}

// spec: C12 C7
#[test]
fn a_hold_that_ran_out_at_lnd_is_an_unpaid_one() {
    let mut story = Story::awaiting_hold(Kind::Sell);
    story.after(DUTY).asked(HoldStatus::Canceled);

    check(&story.wakes(), "Ended(Canceled)", &["maker: canceled", "taker: canceled"]);
}

// spec: C10 INV-3 K-21
#[test]
fn a_payment_after_the_timeout_starts_nothing_and_is_still_owed_back() {
    let mut story = Story::awaiting_hold(Kind::Buy);
    story.after(DUTY).asked(HoldStatus::Open).wakes();

    check(&story.hears(hold(1, ACCEPTED)), "Pending", &["LND: cancel hold h1"]);

    let owed = story.order.hold(hold_hash(1)).map(|hold| hold.seen);
    assert!(matches!(owed, Some(Seen::Accepted { .. })));
    story.hears(hold(1, HoldStatus::Canceled));
    assert_eq!(story.order.hold(hold_hash(1)), None);
}

// spec: C8 K-20
#[test]
fn between_the_buyers_invoice_and_its_timeout_the_first_wins() {
    let mut late = Story::buy_awaiting_invoice();
    late.after(DUTY).wakes();
    assert_eq!(late.refuses(MAKER, add_invoice(1)), Refusal::NotAllowedByStatus);

    let mut in_time = Story::buy_awaiting_invoice();
    in_time.after(DUTY).asked(ACCEPTED).says(MAKER, add_invoice(1));
    check(&in_time.wakes(), "Active", &[]);
}

// spec: T9 T11
#[test]
fn every_duty_has_its_own_time() {
    let mut story = Story::buy().taken();
    story.after(Duration::from_secs(5)).hears(opened(1));
    story.after(Duration::from_mins(14)).hears(hold(1, ACCEPTED));
    story.after(Duration::from_mins(14));

    check(&story.wakes(), "AwaitingInvoice", &[]);
}

// spec: D5
#[test]
fn waiting_deadlines_do_not_run_while_relays_are_unreachable() {
    let gap = Duration::from_hours(1);
    for mut story in [
        Story::awaiting_hold(Kind::Sell),
        Story::sell_awaiting_invoice(),
        Story::buy_awaiting_invoice(),
    ] {
        let before = story.order.deadline(24);
        story.after(gap);

        assert_eq!(story.does(Input::ExtendDeadlines { offline_for: gap }).lines, [""; 0]);

        let after = story.order.deadline(24);
        assert_eq!(after.at, before.at.map(|at| at.after(gap)));
        assert_eq!(after.height, before.height, "blocks go on");
        assert_eq!(story.wakes().lines, [""; 0]);
    }
}

// spec: D5
#[test]
fn the_book_window_and_the_payout_run_on_while_relays_are_unreachable() {
    let gap = Duration::from_hours(1);
    for mut story in [Story::sell(), Story::active(Kind::Sell), Story::paying(Kind::Sell)] {
        let before = story.order.clone();
        story.does(Input::ExtendDeadlines { offline_for: gap });
        assert_eq!(story.order, before);
    }
}

// spec: T27 E5 D21 INV-3 FL-T4
#[test]
fn a_trade_without_fiat_is_canceled_when_its_escrow_reaches_the_margin() {
    let mut story = Story::active(Kind::Sell);
    check(&story.at(before(GUARD)).wakes(), "Active", &[]);

    check(
        &story.at(GUARD).wakes(),
        "Ended(Canceled)",
        &["LND: cancel hold h1", "maker: canceled", "taker: canceled"],
    );
}

// spec: D40 T27 T24 C14 C20
#[test]
fn at_no_height_is_a_trade_canceled_before_what_was_said_in_time_is_decided() {
    let mut story = Story::active(Kind::Sell);
    story.scene.backlog = Backlog::Reading;
    check(&story.at(EXPIRES_AT).wakes(), "Active", &[]);

    story.says(TAKER, Command::FiatSent);

    story.scene.backlog = Backlog::Decided;
    story.wakes();
    check(&story.says(MAKER, Command::Release), "Settling(Near)", &["LND: settle hold h1"]);
}

// spec: D40 T27
#[test]
fn without_relays_a_trade_is_canceled_three_blocks_past_the_margin() {
    let mut story = Story::active(Kind::Sell);
    story.scene.backlog = Backlog::Unreachable;
    check(&story.at(GUARD.above(2)).wakes(), "Active", &[]);

    assert_eq!(story.at(GUARD.above(3)).wakes().place, "Ended(Canceled)");
}

// spec: T20 E5 D21
#[test]
fn an_escrow_without_an_invoice_is_given_back_at_the_margin() {
    let mut story = Story::buy_awaiting_invoice();
    check(&story.at(before(GUARD)).wakes(), "AwaitingInvoice", &[]);

    check(
        &story.at(GUARD).wakes(),
        "Ended(Canceled)",
        &["LND: cancel hold h1", "maker: canceled", "taker: canceled"],
    );
}

// spec: C14 INV-5 E5
#[test]
fn fiat_sent_before_the_guardian_looks_keeps_the_escrow() {
    let mut story = Story::active(Kind::Sell);
    story.at(GUARD).says(TAKER, Command::FiatSent);

    check(&story.wakes(), "FiatSent(Reached)", &["alarm: HorizonReached"]);
}

// spec: C14
#[test]
fn fiat_sent_after_the_guardian_looked_comes_too_late() {
    let mut story = Story::active(Kind::Sell);
    story.at(GUARD).wakes();

    assert_eq!(story.refuses(TAKER, Command::FiatSent), Refusal::InvalidOrderStatus);
}

// spec: E5 D21 D6
#[test]
fn a_paid_trade_near_the_end_of_its_escrow_alarms_twice_and_keeps_the_escrow() {
    let mut story = Story::fiat_sent(Kind::Sell);
    check(&story.at(before(WARNING)).wakes(), "FiatSent", &[]);
    check(&story.at(WARNING).wakes(), "FiatSent(Near)", &["alarm: HorizonNear"]);
    check(&story.at(before(GUARD)).wakes(), "FiatSent(Near)", &[]);
    check(&story.at(GUARD).wakes(), "FiatSent(Reached)", &["alarm: HorizonReached"]);
    check(&story.at(EXPIRES_AT).wakes(), "FiatSent(Reached)", &[]);

    assert_eq!(story.says(MAKER, Command::Release).place, "Settling(Near)");
}

// spec: E5 D21 D23 I9
#[test]
fn a_settle_that_lnd_does_not_confirm_alarms_near_the_end_of_the_escrow_and_at_its_margin() {
    let mut story = Story::settling(Kind::Sell);
    check(&story.at(before(WARNING)).wakes(), "Settling", &[]);
    check(&story.at(WARNING).wakes(), "Settling(Near)", &["alarm: SettleNearHorizon"]);
    check(&story.at(before(GUARD)).wakes(), "Settling(Near)", &[]);
    check(&story.at(GUARD).wakes(), "Settling(Reached)", &["alarm: SettleAtHorizon"]);
    check(&story.at(EXPIRES_AT).wakes(), "Settling(Reached)", &[]);

    let told = story.hears(hold(1, HoldStatus::Settled));
    assert_eq!(told.place, "PayingBuyer(Sending)", "LND's word still counts");
}

// spec: E5 D21
#[test]
fn what_was_said_of_a_missing_release_is_said_anew_of_a_missing_settle_at_the_margin() {
    let mut near = Story::fiat_sent(Kind::Sell);
    near.at(WARNING).wakes();
    near.says(MAKER, Command::Release);
    check(&near.wakes(), "Settling(Near)", &[]);
    check(&near.at(GUARD).wakes(), "Settling(Reached)", &["alarm: SettleAtHorizon"]);

    let mut reached = Story::fiat_sent(Kind::Sell);
    reached.at(GUARD).wakes();
    reached.says(MAKER, Command::Release);
    check(&reached.wakes(), "Settling(Reached)", &["alarm: SettleAtHorizon"]);
}

// spec: E5 D21 I9
#[test]
fn what_was_said_last_of_the_end_of_an_escrow_can_be_said_again() {
    for (mut story, near, reached) in [
        (Story::fiat_sent(Kind::Sell), Alarm::HorizonNear, Alarm::HorizonReached),
        (Story::settling(Kind::Sell), Alarm::SettleNearHorizon, Alarm::SettleAtHorizon),
    ] {
        assert_eq!(story.order.state.horizon_alarm(), None);
        story.at(WARNING).wakes();
        assert_eq!(story.order.state.horizon_alarm(), Some(near));
        story.at(GUARD).wakes();
        assert_eq!(story.order.state.horizon_alarm(), Some(reached));
    }
    let mut over = Story::settling(Kind::Sell);
    over.at(GUARD).wakes();
    over.hears(hold(1, HoldStatus::Settled));
    assert_eq!(over.order.state.horizon_alarm(), None, "the escrow is ours");
}

// spec: I9
#[test]
fn an_order_that_waits_for_nobody_has_a_deadline() {
    let stories = vec![
        Story::sell(),
        Story::sell().taken(),
        Story::awaiting_hold(Kind::Sell),
        Story::sell_awaiting_invoice(),
        Story::buy_awaiting_invoice(),
        Story::active(Kind::Sell),
        Story::fiat_sent(Kind::Sell),
        Story::settling(Kind::Sell),
    ];
    for story in stories {
        let deadline = story.order.deadline(24);
        assert!(deadline.at.is_some() || deadline.height.is_some(), "{:?}", story.order.state);
    }
}

fn before(height: BlockHeight) -> BlockHeight {
    height.before(1)
}
