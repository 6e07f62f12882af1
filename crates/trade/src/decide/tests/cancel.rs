use crate::fixture::{
    ACCEPTED, EXPIRES_AT, MAKER, STRANGER, Story, TAKER, WARNING, add_invoice, check, hold,
    hold_hash, request,
};
use crate::{Command, HoldStatus, Kind, PublicStatus, Question, Refusal};

// spec: T21 FL-C1 K-25
#[test]
fn a_maker_takes_its_order_out_of_the_book() {
    for mut story in Story::every_book_order() {
        let told = story.says(MAKER, Command::Cancel);

        check(&told, "Ended(Canceled)", &["maker: canceled (answers cancel)"]);
        assert_eq!(story.order.public_status(), PublicStatus::Canceled);
    }
}

// spec: T21
#[test]
fn an_order_in_the_book_is_canceled_by_its_maker_only() {
    for story in Story::every_book_order() {
        assert_eq!(story.refuses(STRANGER, Command::Cancel), Refusal::IsNotYourOrder);
    }
}

// spec: T17 FL-C4 K-25
#[test]
fn a_taker_that_gives_no_invoice_may_leave() {
    let mut story = Story::sell_awaiting_invoice();

    let told = story.says(TAKER, Command::Cancel);

    check(
        &told,
        "Pending",
        &["taker: canceled (answers cancel)", "maker: new-order {pending, 100000 sats, seller}"],
    );
    assert_eq!(story.order.public_status(), PublicStatus::Pending);
}

// spec: T17 FL-C4 INV-3 E7
#[test]
fn a_taker_that_has_paid_may_leave_before_the_buyer_gives_an_invoice() {
    let mut story = Story::buy_awaiting_invoice();

    let told = story.says(TAKER, Command::Cancel);

    check(
        &told,
        "Pending",
        &[
            "LND: cancel hold h1",
            "taker: canceled (answers cancel)",
            "maker: new-order {pending, 100000 sats, buyer}",
        ],
    );
    assert_eq!(story.order.holds.len(), 1, "the refund is a debt until LND agrees");
}

// spec: T18 FL-C3 K-25 INV-3
#[test]
fn a_maker_may_leave_while_an_invoice_is_awaited() {
    check(
        &Story::sell_awaiting_invoice().says(MAKER, Command::Cancel),
        "Ended(Canceled)",
        &["maker: canceled (answers cancel)", "taker: canceled"],
    );
    check(
        &Story::buy_awaiting_invoice().says(MAKER, Command::Cancel),
        "Ended(Canceled)",
        &["LND: cancel hold h1", "maker: canceled (answers cancel)", "taker: canceled"],
    );
}

// spec: C6 K-60
#[test]
fn lnd_is_asked_before_an_unpaid_hold_is_voided() {
    for kind in [Kind::Sell, Kind::Buy] {
        let story = Story::awaiting_hold(kind);
        for who in [MAKER, TAKER] {
            let question = Question::HoldStatus { hash: hold_hash(1) };
            assert_eq!(story.asks(request(who, Command::Cancel)), question);
        }
        assert_eq!(story.refuses(STRANGER, Command::Cancel), Refusal::InvalidPubkey);
    }
}

// spec: T13 FL-C4 C6 INV-3 K-18 K-25
#[test]
fn a_taker_may_leave_before_the_hold_is_paid() {
    let mut sell = Story::awaiting_hold(Kind::Sell);
    check(
        &sell.asked(HoldStatus::Open).says(TAKER, Command::Cancel),
        "Pending",
        &[
            "LND: cancel hold h1",
            "taker: canceled (answers cancel)",
            "maker: new-order {pending, 100000 sats, seller}",
        ],
    );
    assert_eq!((sell.order.taker, sell.order.destination), (None, None));

    let mut buy = Story::awaiting_hold(Kind::Buy);
    check(
        &buy.asked(HoldStatus::Open).says(TAKER, Command::Cancel),
        "Pending",
        &[
            "LND: cancel hold h1",
            "taker: canceled (answers cancel)",
            "maker: new-order {pending, 100000 sats, buyer, lnbcrt1}",
        ],
    );
    assert!(buy.order.destination.is_some(), "what the maker gave at creation stays");
}

// spec: T14 FL-C3 C6 INV-3 K-25
#[test]
fn a_maker_may_leave_before_the_hold_is_paid() {
    for kind in [Kind::Sell, Kind::Buy] {
        for status in [HoldStatus::Open, HoldStatus::Canceled] {
            let mut story = Story::awaiting_hold(kind);

            let told = story.asked(status).says(MAKER, Command::Cancel);

            let rest = ["maker: canceled (answers cancel)", "taker: canceled"];
            check(&told, "Ended(Canceled)", &["LND: cancel hold h1", rest[0], rest[1]]);
        }
    }
}

// spec: C6 T10 K-60
#[test]
fn a_cancel_that_crosses_the_payment_is_refused_and_the_trade_starts() {
    let mut story = Story::awaiting_hold(Kind::Sell);

    let told = story.asked(ACCEPTED).says(TAKER, Command::Cancel);

    check(
        &told,
        "Active",
        &[
            "taker: cant-do {not_allowed_by_status} (answers cancel)",
            "maker: buyer-took-order {active, 100300 sats, buyer, seller}",
            "taker: hold-invoice-payment-accepted {active, 99700 sats, buyer, seller}",
        ],
    );
}

// spec: C6 T11
#[test]
fn a_cancel_that_crosses_the_payment_of_a_buy_order_asks_for_the_invoice() {
    let mut story = Story::buy().taken().opened();

    let told = story.asked(ACCEPTED).says(MAKER, Command::Cancel);

    assert_eq!(told.place, "AwaitingInvoice");
    assert_eq!(
        told.lines.first().map(String::as_str),
        Some("maker: cant-do {not_allowed_by_status} (answers cancel)")
    );
}

// spec: C6 D10 D21 T14
#[test]
fn a_payment_that_is_given_back_does_not_stand_in_the_way_of_a_cancel() {
    let paid = crate::Msats(200_000_000);
    let too_much = HoldStatus::Accepted { paid, expires_at: EXPIRES_AT };
    let mut overpaid = Story::awaiting_hold(Kind::Buy);
    overpaid.asked(too_much);
    let mut late = Story::awaiting_hold(Kind::Buy);
    late.at(WARNING).asked(ACCEPTED);

    for mut story in [overpaid, late] {
        check(
            &story.says(MAKER, Command::Cancel),
            "Ended(Canceled)",
            &["LND: cancel hold h1", "maker: canceled (answers cancel)", "taker: canceled"],
        );
    }
}

// spec: C6
#[test]
fn an_answer_about_another_hold_is_no_answer() {
    let mut story = Story::awaiting_hold(Kind::Sell);
    story.scene.facts =
        vec![crate::Fact::HoldSeen { hash: hold_hash(2), status: HoldStatus::Open }];

    let question = Question::HoldStatus { hash: hold_hash(1) };
    assert_eq!(story.asks(request(TAKER, Command::Cancel)), question);
}

// spec: C6 C10 K-21 K-60
#[test]
fn a_payment_that_arrives_after_the_cancel_starts_nothing() {
    let mut story = Story::awaiting_hold(Kind::Sell);
    story.asked(HoldStatus::Open).says(MAKER, Command::Cancel);

    check(&story.hears(hold(1, ACCEPTED)), "Ended(Canceled)", &["LND: cancel hold h1"]);
    check(&story.hears(hold(1, ACCEPTED)), "Ended(Canceled)", &[]);

    assert_eq!(story.order.holds.len(), 1, "the refund is still owed");
}

// spec: FL-C1 FL-C3
#[test]
fn a_canceled_order_says_so_to_whoever_cancels_it() {
    let mut story = Story::sell_awaiting_invoice();
    story.says(MAKER, Command::Cancel);

    for who in [MAKER, TAKER, STRANGER] {
        assert_eq!(story.refuses(who, Command::Cancel), Refusal::OrderAlreadyCanceled);
    }
}

// spec: C15
#[test]
fn an_order_that_is_over_or_settled_is_not_canceled_by_anybody() {
    let mut expired = Story::sell();
    expired.scene.now = expired.order.terms.expires_at;
    expired.wakes();

    for story in [Story::success(Kind::Sell), Story::paying(Kind::Buy), expired] {
        for who in [MAKER, TAKER, STRANGER] {
            assert_eq!(story.refuses(who, Command::Cancel), Refusal::NotAllowedByStatus);
        }
    }
}

// spec: T17 T18
#[test]
fn a_stranger_cancels_nothing_and_learns_nothing() {
    let stories = [
        Story::sell().taken(),
        Story::sell_awaiting_invoice(),
        Story::buy_awaiting_invoice(),
        Story::active(Kind::Sell),
        Story::fiat_sent(Kind::Sell),
        Story::settling(Kind::Sell),
    ];
    for story in stories {
        assert_eq!(story.refuses(STRANGER, Command::Cancel), Refusal::InvalidPubkey);
    }
}

// spec: D14 T13
#[test]
fn a_former_taker_is_a_stranger() {
    let mut story = Story::sell_awaiting_invoice();
    story.says(TAKER, Command::Cancel);

    assert_eq!(story.refuses(TAKER, Command::Cancel), Refusal::IsNotYourOrder);
    assert_eq!(story.refuses(TAKER, add_invoice(1)), Refusal::NotAllowedByStatus);
}
