use std::time::Duration;

use crate::fixture::{
    ACCEPTED, ASKED, EXPIRES_AT, GUARD, MAKER, STRANGER, Story, TAKER, WARNING, add_invoice, check,
    hold, hold_hash, opened, request, secret,
};
use crate::{
    Backlog, BlockHeight, Command, Held, HoldDecision, HoldStatus, Kind, OrderState, Question,
    Refusal, Seen,
};

fn decision_of(story: &Story) -> Option<HoldDecision> {
    story.order.hold(hold_hash(1)).and_then(|hold| hold.decision)
}

fn end_of(story: &Story) -> (Option<HoldDecision>, Seen) {
    let hold = story.last.order.hold(hold_hash(1)).expect("a hold");
    (hold.decision, hold.seen)
}

// spec: T10 FL-F2 FL-F3 INV-1 E4 K-25
#[test]
fn a_paid_escrow_starts_the_trade_of_a_sell_order() {
    let mut story = Story::awaiting_hold(Kind::Sell);

    check(
        &story.hears(hold(1, ACCEPTED)),
        "Active",
        &[
            "maker: buyer-took-order {active, 100300 sats, buyer, seller}",
            "taker: hold-invoice-payment-accepted {active, 99700 sats, buyer, seller}",
        ],
    );

    let held = Held { hash: hold_hash(1), paid: ASKED, expires_at: EXPIRES_AT };
    assert_eq!(story.order.state, OrderState::Active { held });
}

// spec: T10 FL-F5 INV-1 K-25
#[test]
fn a_paid_escrow_starts_the_trade_of_a_buy_order_with_an_invoice() {
    let mut story = Story::awaiting_hold(Kind::Buy);

    check(
        &story.hears(hold(1, ACCEPTED)),
        "Active",
        &[
            "taker: buyer-took-order {active, 100300 sats, buyer, seller}",
            "maker: hold-invoice-payment-accepted {active, 99700 sats, buyer, seller}",
        ],
    );
}

// spec: T11 FL-F4 INV-1 E4 K-25
#[test]
fn a_paid_escrow_without_a_destination_asks_the_buyer_for_one() {
    let mut story = Story::buy().taken().opened();

    check(
        &story.hears(hold(1, ACCEPTED)),
        "AwaitingInvoice",
        &[
            "maker: add-invoice {waiting-buyer-invoice, 99700 sats}",
            "taker: waiting-buyer-invoice",
            "maker: add-invoice {reputation, 7 reviews}",
        ],
    );
}

// spec: T12 FL-F4 INV-1 K-20 K-25
#[test]
fn the_buyers_invoice_starts_the_trade_if_the_escrow_is_still_there() {
    let mut story = Story::buy_awaiting_invoice();
    let input = request(MAKER, add_invoice(1));

    assert_eq!(story.asks(input.clone()), Question::HoldStatus { hash: hold_hash(1) });
    story.asked(ACCEPTED);
    check(
        &story.does(input),
        "Active",
        &[
            "taker: buyer-took-order {active, 100300 sats, buyer, seller}",
            "maker: hold-invoice-payment-accepted {active, 99700 sats, buyer, seller, lnbcrt1} \
             (answers add-invoice)",
        ],
    );
}

// spec: T12 C13 K-20 K-02
#[test]
fn a_buyer_whose_invoice_finds_the_escrow_gone_is_refused_and_hears_why() {
    let mut story = Story::buy_awaiting_invoice();

    let told = story.asked(HoldStatus::Canceled).says(MAKER, add_invoice(1));

    check(
        &told,
        "Ended(Canceled)",
        &[
            "maker: cant-do {not_allowed_by_status} (answers add-invoice)",
            "maker: hold-invoice-payment-canceled",
            "taker: hold-invoice-payment-canceled",
            "maker: canceled",
            "taker: canceled",
        ],
    );
}

// spec: T12 D13 K-02
#[test]
fn a_buyer_whose_invoice_finds_the_escrow_in_doubt_is_refused() {
    for (status, place, alarm) in [
        (HoldStatus::Unknown, "Frozen(HoldForgotten)", "alarm: HoldForgotten"),
        (HoldStatus::Settled, "Frozen(SettledWithoutDecision)", "alarm: SettledWithoutDecision"),
    ] {
        let mut story = Story::buy_awaiting_invoice();

        let told = story.asked(status).says(MAKER, add_invoice(1));

        let answer = "maker: cant-do {not_allowed_by_status} (answers add-invoice)";
        check(&told, place, &[answer, alarm]);
    }
}

// spec: T12 K-20
#[test]
fn a_bad_invoice_is_refused_before_lnd_is_asked() {
    let mut story = Story::buy_awaiting_invoice();
    story.scene.payout_hash_is_known = true;

    assert_eq!(story.refuses(MAKER, add_invoice(1)), Refusal::InvalidInvoice);
    assert_eq!(story.refuses(TAKER, add_invoice(1)), Refusal::InvalidPeer);
}

// spec: C9
#[test]
fn a_repeated_acceptance_changes_nothing() {
    let mut stories = vec![Story::active(Kind::Sell), Story::fiat_sent(Kind::Buy)];
    stories.push(Story::buy_awaiting_invoice());
    stories.push(Story::settling(Kind::Sell));

    for mut story in stories {
        let before = story.order.clone();
        assert_eq!(story.hears(hold(1, ACCEPTED)).lines, [""; 0]);
        assert_eq!(story.order, before);
    }
}

// spec: C11
#[test]
fn the_end_of_a_hold_that_was_given_back_changes_only_the_debt() {
    for end in [HoldStatus::Canceled, HoldStatus::Unknown] {
        let mut story = Story::awaiting_hold(Kind::Buy);
        story.asked(HoldStatus::Open).says(TAKER, Command::Cancel);
        assert_eq!(decision_of(&story), Some(HoldDecision::Cancel));

        check(&story.hears(hold(1, end)), "Pending", &[]);
        assert!(story.order.holds.is_empty(), "nothing is owed any more");
    }
}

// spec: C12 T15 T16
#[test]
fn an_unpaid_hold_that_lnd_canceled_ends_the_wait() {
    let mut sell = Story::awaiting_hold(Kind::Sell);
    check(
        &sell.hears(hold(1, HoldStatus::Canceled)),
        "Ended(Canceled)",
        &["maker: canceled", "taker: canceled"],
    );

    let mut buy = Story::awaiting_hold(Kind::Buy);
    check(
        &buy.hears(hold(1, HoldStatus::Canceled)),
        "Pending",
        &["taker: canceled", "maker: new-order {pending, 100000 sats, buyer, lnbcrt1}"],
    );
}

// spec: C13 T27 K-22
#[test]
fn a_lost_escrow_ends_a_trade_in_which_no_fiat_was_sent() {
    for mut story in [Story::active(Kind::Sell), Story::buy_awaiting_invoice()] {
        check(
            &story.hears(hold(1, HoldStatus::Canceled)),
            "Ended(Canceled)",
            &[
                "maker: hold-invoice-payment-canceled",
                "taker: hold-invoice-payment-canceled",
                "maker: canceled",
                "taker: canceled",
            ],
        );
    }
}

// spec: D40 C13 C20
#[test]
fn a_lost_escrow_ends_no_trade_before_what_was_said_in_time_is_decided() {
    for backlog in [Backlog::Reading, Backlog::Unreachable] {
        let mut story = Story::active(Kind::Sell);
        story.scene.backlog = backlog;
        check(&story.hears(hold(1, HoldStatus::Canceled)), "Active", &[]);
        assert_ne!(end_of(&story).1, Seen::Canceled, "LND is asked again");

        story.says(TAKER, Command::FiatSent);

        assert_eq!(story.hears(hold(1, HoldStatus::Canceled)).place, "Frozen(EscrowLost)");
    }
}

// spec: D40 C13 T27
#[test]
fn a_lost_escrow_whose_messages_cannot_be_had_ends_the_trade_three_blocks_past_the_margin() {
    let mut story = Story::active(Kind::Sell);
    story.scene.backlog = Backlog::Unreachable;
    check(&story.at(GUARD.above(2)).hears(hold(1, HoldStatus::Canceled)), "Active", &[]);

    story.at(GUARD.above(3));
    assert_eq!(story.hears(hold(1, HoldStatus::Canceled)).place, "Ended(Canceled)");
}

// spec: C13 K-22 D13
#[test]
fn a_lost_escrow_freezes_a_trade_in_which_fiat_was_sent() {
    let mut story = Story::fiat_sent(Kind::Sell);

    check(
        &story.hears(hold(1, HoldStatus::Canceled)),
        "Frozen(EscrowLost)",
        &[
            "maker: hold-invoice-payment-canceled",
            "taker: hold-invoice-payment-canceled",
            "alarm: EscrowLost",
        ],
    );

    assert_eq!(story.order.status(), crate::Status::FiatSent, "the parties' status stays");
    assert_eq!(story.refuses(MAKER, Command::Release), Refusal::NotAllowedByStatus);
}

// spec: E2 INV-4 D16
#[test]
fn an_escrow_that_lnd_gave_back_before_it_was_settled_freezes_the_trade() {
    for end in [HoldStatus::Canceled, HoldStatus::Unknown] {
        let mut story = Story::settling(Kind::Sell);

        check(
            &story.hears(hold(1, end)),
            "Frozen(EscrowLost)",
            &[
                "maker: hold-invoice-payment-canceled",
                "taker: hold-invoice-payment-canceled",
                "alarm: EscrowLost",
            ],
        );
        assert_eq!(end_of(&story), (Some(HoldDecision::Settle), Seen::Canceled));
        assert_eq!(story.order.payouts, [], "nobody is owed anything");
    }
}

// spec: E2 E7 INV-4
#[test]
fn the_decision_on_a_hold_is_written_once() {
    let mut given_back = Story::active(Kind::Sell);
    given_back.at(GUARD).wakes();
    assert_eq!(decision_of(&given_back), Some(HoldDecision::Cancel));
    assert_eq!(given_back.refuses(MAKER, Command::Release), Refusal::NotAllowedByStatus);

    let mut taken = Story::settling(Kind::Sell);
    assert_eq!(decision_of(&taken), Some(HoldDecision::Settle));
    check(&taken.at(EXPIRES_AT).wakes(), "Settling(Reached)", &["alarm: SettleAtHorizon"]);
    assert_eq!(taken.refuses(MAKER, Command::Cancel), Refusal::NotAllowedByStatus);
    assert_eq!(decision_of(&taken), Some(HoldDecision::Settle));
}

// spec: INV-4 D13
#[test]
fn a_hold_that_settles_without_our_decision_freezes_the_trade() {
    let stories = [
        Story::sell().taken(),
        Story::awaiting_hold(Kind::Sell),
        Story::buy_awaiting_invoice(),
        Story::active(Kind::Buy),
        Story::fiat_sent(Kind::Sell),
    ];
    for mut story in stories {
        check(
            &story.hears(hold(1, HoldStatus::Settled)),
            "Frozen(SettledWithoutDecision)",
            &["alarm: SettledWithoutDecision"],
        );
    }
}

// spec: INV-4
#[test]
fn a_hold_that_settles_although_we_gave_it_back_is_an_alarm_and_no_trade() {
    let mut story = Story::active(Kind::Sell);
    story.at(GUARD).wakes();

    let told = story.hears(hold(1, HoldStatus::Settled));

    check(&told, "Ended(Canceled)", &["alarm: SettledThoughCanceled"]);
    assert_eq!(end_of(&story), (Some(HoldDecision::Cancel), Seen::Settled));
}

// spec: D13
#[test]
fn a_hold_that_lnd_has_forgotten_freezes_the_trade() {
    for mut story in [Story::awaiting_hold(Kind::Sell), Story::active(Kind::Buy)] {
        let told = story.hears(hold(1, HoldStatus::Unknown));

        check(&told, "Frozen(HoldForgotten)", &["alarm: HoldForgotten"]);
    }
}

// spec: D13 INV-3 I7
#[test]
fn a_forgotten_hold_is_watched_on_however_often_lnd_does_not_know_it() {
    let mut story = Story::active(Kind::Sell);
    story.hears(hold(1, HoldStatus::Unknown));

    check(&story.hears(hold(1, HoldStatus::Unknown)), "Frozen(HoldForgotten)", &[]);

    let kept = story.order.hold(hold_hash(1)).map(|hold| hold.seen);
    assert!(matches!(kept, Some(Seen::Accepted { .. })), "nobody gave the sats back: {kept:?}");
    let told = story.hears(hold(1, HoldStatus::Settled));
    check(&told, "Frozen(HoldForgotten)", &["alarm: SettledWithoutDecision"]);
}

// spec: E1
#[test]
fn a_hold_that_lnd_does_not_know_yet_may_still_be_on_its_way_there() {
    let mut story = Story::sell().taken();

    check(&story.hears(hold(1, HoldStatus::Unknown)), "PreparingHold", &[]);
    assert_eq!(story.opened().order.state.status(), crate::Status::WaitingPayment);
}

// spec: INV-5 C10
#[test]
fn news_of_a_hold_the_order_never_had_changes_nothing() {
    for mut story in [Story::awaiting_hold(Kind::Sell), Story::active(Kind::Sell)] {
        let before = story.order.clone();
        for status in [HoldStatus::Unknown, ACCEPTED, HoldStatus::Settled, HoldStatus::Canceled] {
            assert_eq!(story.hears(hold(7, status)).lines, [""; 0]);
            assert_eq!(story.order, before);
        }
    }
}

// spec: C10 INV-3 INV-5
#[test]
fn a_retaken_order_stands_on_its_new_hold_and_owes_the_old_one() {
    let mut story = Story::awaiting_hold(Kind::Buy);
    story.asked(HoldStatus::Open).says(TAKER, Command::Cancel);
    story.says(STRANGER, Command::TakeBuy { secret: secret(2) });
    story.hears(opened(2));

    story.hears(hold(1, ACCEPTED));
    assert_eq!(story.order.state.hold(), Some(hold_hash(2)), "the old hold starts nothing");
    assert_eq!(story.order.status(), crate::Status::WaitingPayment);

    check(&story.hears(hold(1, HoldStatus::Canceled)), "AwaitingHold", &[]);
    assert_eq!(story.hears(hold(2, ACCEPTED)).place, "Active");
}

// spec: D21 INV-1 E5
#[test]
fn an_escrow_paid_too_close_to_its_end_is_given_back_and_counts_as_unpaid() {
    let before = BlockHeight(WARNING.0.saturating_sub(1));
    let mut in_time = Story::awaiting_hold(Kind::Sell);
    assert_eq!(in_time.at(before).hears(hold(1, ACCEPTED)).place, "Active");

    let mut sell = Story::awaiting_hold(Kind::Sell);
    check(
        &sell.at(WARNING).hears(hold(1, ACCEPTED)),
        "Ended(Canceled)",
        &["LND: cancel hold h1", "maker: canceled", "taker: canceled"],
    );

    let mut buy = Story::buy().taken().opened();
    assert_eq!(buy.at(WARNING).hears(hold(1, ACCEPTED)).place, "Pending");
}

// spec: D21 INV-1 T10 T11
#[test]
fn an_escrow_is_not_relied_on_before_the_tip_of_the_chain_is_known() {
    for mut story in [Story::awaiting_hold(Kind::Sell), Story::buy().taken().opened()] {
        let waiting = story.order.state.clone();
        story.scene.is_at_tip = false;
        story.hears(hold(1, ACCEPTED));
        assert_eq!(story.order.state, waiting);
        check(&story.hears(hold(1, ACCEPTED)), "AwaitingHold", &[]);
    }

    let mut is_near = Story::awaiting_hold(Kind::Sell);
    is_near.scene.is_at_tip = false;
    is_near.hears(hold(1, ACCEPTED));
    is_near.scene.is_at_tip = true;
    assert_eq!(is_near.hears(hold(1, ACCEPTED)).place, "Active");

    let mut is_gone = Story::awaiting_hold(Kind::Sell);
    is_gone.scene.is_at_tip = false;
    assert_eq!(is_gone.at(WARNING).hears(hold(1, ACCEPTED)).place, "Ended(Canceled)");
}

// spec: D21 INV-1 C6 C7
#[test]
fn an_escrow_that_nobody_relies_on_yet_is_neither_canceled_nor_overdue() {
    let mut story = Story::awaiting_hold(Kind::Sell);
    story.scene.is_at_tip = false;

    check(
        &story.asked(ACCEPTED).says(TAKER, Command::Cancel),
        "AwaitingHold",
        &["taker: cant-do {not_allowed_by_status} (answers cancel)"],
    );
    check(&story.after(Duration::from_hours(1)).asked(ACCEPTED).wakes(), "AwaitingHold", &[]);
}

// spec: D21 T12 INV-1
#[test]
fn an_invoice_given_before_the_tip_of_the_chain_is_known_is_refused() {
    let mut story = Story::buy_awaiting_invoice();
    story.scene.is_at_tip = false;
    story.asked(ACCEPTED);

    assert_eq!(story.refuses(MAKER, add_invoice(1)), Refusal::NotAllowedByStatus);
}

// spec: D21 T12 INV-1
#[test]
fn an_invoice_given_too_close_to_the_end_of_the_escrow_comes_too_late() {
    let before = BlockHeight(WARNING.0.saturating_sub(1));
    let mut in_time = Story::buy_awaiting_invoice();
    in_time.at(before).asked(ACCEPTED);
    assert_eq!(in_time.says(MAKER, add_invoice(1)).place, "Active");

    let mut late = Story::buy_awaiting_invoice();
    late.at(WARNING).asked(ACCEPTED);
    check(
        &late.says(MAKER, add_invoice(1)),
        "Pending",
        &[
            "maker: cant-do {not_allowed_by_status} (answers add-invoice)",
            "LND: cancel hold h1",
            "taker: canceled",
            "maker: new-order {pending, 100000 sats, buyer}",
        ],
    );
}
