//! What an escrow must be worth (D10, D33).

use std::time::Duration;

use crate::fixture::{
    ASKED, EXPIRES_AT, MAKER, Story, TAKER, add_invoice, check, hold, invoice, new_order, opened,
    secret,
};
use crate::{Command, Destination, HoldStatus, Invoice, Kind, Msats, NewOrder, OrderState};

// spec: D10 T10
#[test]
fn an_escrow_one_percent_over_is_accepted_and_the_tip_is_income() {
    let paid = Msats(101_303_000);
    let mut story = Story::awaiting_hold(Kind::Sell);

    assert_eq!(
        story.hears(hold(1, HoldStatus::Accepted { paid, expires_at: EXPIRES_AT })).place,
        "Active"
    );

    story.says(TAKER, Command::FiatSent);
    story.says(MAKER, Command::Release);
    let told = story.hears(hold(1, HoldStatus::Settled));
    let books: Vec<_> = told.lines.iter().filter(|line| line.starts_with("books")).collect();
    assert_eq!(
        books,
        [
            "books: Buyer to Lightning 99700000 msats",
            "books: FeeIncome to Lightning 600000 msats",
            "books: OverpaymentIncome to Lightning 1003000 msats",
        ]
    );
}

// spec: D10 I11
#[test]
fn one_percent_of_a_small_escrow_is_counted_to_the_millisat() {
    // 150 sats and no fee: 1 % is a sat and a half.
    for (paid, place) in [(151_500, "Active"), (151_501, "Ended(Canceled)")] {
        let mut story = Story::born(NewOrder { amount: 150, ..new_order(Kind::Sell) });
        let bare = Destination::Bolt11(Invoice { amount: None, ..invoice(1) });
        let take = Command::TakeSell { destination: Some(bare), secret: secret(1) };
        story.says(TAKER, take);
        story.hears(opened(1));

        let accepted = HoldStatus::Accepted { paid: Msats(paid), expires_at: EXPIRES_AT };
        assert_eq!(story.hears(hold(1, accepted)).place, place, "{paid}");
    }
}

// spec: D10 T15 T16
#[test]
fn an_escrow_more_than_one_percent_over_is_given_back_and_counts_as_unpaid() {
    let over = HoldStatus::Accepted { paid: Msats(101_303_001), expires_at: EXPIRES_AT };

    let mut sell = Story::awaiting_hold(Kind::Sell);
    check(
        &sell.hears(hold(1, over)),
        "Ended(Canceled)",
        &["LND: cancel hold h1", "maker: canceled", "taker: canceled"],
    );

    let mut buy = Story::buy().taken().opened();
    check(
        &buy.hears(hold(1, over)),
        "Pending",
        &[
            "LND: cancel hold h1",
            "taker: canceled",
            "maker: new-order {pending, 100000 sats, buyer}",
        ],
    );
}

/// What LND may call an accepted escrow that is not what was asked for.
const TOO_LITTLE: [Msats; 3] = [Msats::ZERO, Msats(100_299_000), Msats(100_299_999)];

fn accepted(paid: Msats) -> HoldStatus {
    HoldStatus::Accepted { paid, expires_at: EXPIRES_AT }
}

// spec: D33 T10 T15 T16 INV-3
#[test]
fn an_escrow_below_what_was_asked_is_given_back_with_an_alarm_and_counts_as_unpaid() {
    for paid in TOO_LITTLE {
        let mut sell = Story::awaiting_hold(Kind::Sell);
        check(
            &sell.hears(hold(1, accepted(paid))),
            "Ended(Canceled)",
            &[
                "LND: cancel hold h1",
                "maker: canceled",
                "taker: canceled",
                "alarm: EscrowBelowAsked",
            ],
        );

        let mut buy = Story::buy().taken().opened();
        check(
            &buy.hears(hold(1, accepted(paid))),
            "Pending",
            &[
                "LND: cancel hold h1",
                "taker: canceled",
                "maker: new-order {pending, 100000 sats, buyer}",
                "alarm: EscrowBelowAsked",
            ],
        );
    }
}

// spec: D33 T10
#[test]
fn an_escrow_of_exactly_what_was_asked_starts_the_trade() {
    let mut story = Story::awaiting_hold(Kind::Sell);
    assert_eq!(story.hears(hold(1, accepted(ASKED))).place, "Active");
}

// spec: D33 T12 INV-1
#[test]
fn nobody_relies_on_an_escrow_that_is_below_what_was_asked_when_the_invoice_comes() {
    for paid in TOO_LITTLE {
        let mut story = Story::buy_awaiting_invoice();
        check(
            &story.asked(accepted(paid)).says(MAKER, add_invoice(1)),
            "Pending",
            &[
                "maker: cant-do {not_allowed_by_status} (answers add-invoice)",
                "LND: cancel hold h1",
                "taker: canceled",
                "maker: new-order {pending, 100000 sats, buyer}",
                "alarm: EscrowBelowAsked",
            ],
        );
    }
}

// spec: D33 C6 C7
#[test]
fn an_escrow_below_what_was_asked_stands_in_the_way_of_no_cancel_and_still_alarms() {
    let mut canceled = Story::awaiting_hold(Kind::Sell);
    check(
        &canceled.asked(accepted(Msats::ZERO)).says(TAKER, Command::Cancel),
        "Pending",
        &[
            "LND: cancel hold h1",
            "taker: canceled (answers cancel)",
            "maker: new-order {pending, 100000 sats, seller}",
            "alarm: EscrowBelowAsked",
        ],
    );

    let mut late = Story::awaiting_hold(Kind::Sell);
    late.after(Duration::from_mins(15)).asked(accepted(Msats::ZERO));
    check(
        &late.wakes(),
        "Ended(Canceled)",
        &["LND: cancel hold h1", "maker: canceled", "taker: canceled", "alarm: EscrowBelowAsked"],
    );
}

// spec: D33 I1 I2
#[test]
fn the_books_of_an_escrow_accepted_for_too_little_add_up_to_what_came_in() {
    for (paid, books) in [
        (
            Msats::ZERO,
            &[
                "books: Buyer to EscrowShortfall 99700000 msats",
                "books: FeeIncome to EscrowShortfall 600000 msats",
            ][..],
        ),
        (
            Msats(60_000_001),
            &[
                "books: Buyer to Lightning 60000001 msats",
                "books: Buyer to EscrowShortfall 39699999 msats",
                "books: FeeIncome to EscrowShortfall 600000 msats",
            ],
        ),
        (
            Msats(100_299_000),
            &[
                "books: Buyer to Lightning 99700000 msats",
                "books: FeeIncome to Lightning 599000 msats",
                "books: FeeIncome to EscrowShortfall 1000 msats",
            ],
        ),
    ] {
        // As an older version would have accepted it.
        let mut story = Story::settling(Kind::Sell);
        let OrderState::Settling { held, .. } = &mut story.order.state else {
            unreachable!("it settles")
        };
        held.paid = paid;

        let told = story.hears(hold(1, HoldStatus::Settled));
        let booked: Vec<_> = told.lines.iter().filter(|line| line.starts_with("books")).collect();
        assert_eq!(booked, books, "{paid}");
    }
}
