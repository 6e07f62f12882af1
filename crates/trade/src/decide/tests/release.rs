use crate::fixture::{
    ACCEPTED, MAKER, OWED, STRANGER, SUCCEEDED, Story, TAKER, check, hold, hold_hash, payment,
};
use crate::{
    Command, HoldDecision, HoldStatus, Kind, LedgerAccount, Msats, PayoutPurpose, PayoutState,
    Refusal,
};

// spec: T24 FL-F7 K-25 D14
#[test]
fn fiat_sent_is_told_to_both_and_answered_to_the_buyer() {
    check(
        &Story::active(Kind::Sell).says(TAKER, Command::FiatSent),
        "FiatSent",
        &[
            "maker: fiat-sent-ok {peer taker}",
            "taker: fiat-sent-ok {peer maker} (answers fiat-sent)",
        ],
    );
    check(
        &Story::active(Kind::Buy).says(MAKER, Command::FiatSent),
        "FiatSent",
        &[
            "taker: fiat-sent-ok {peer maker}",
            "maker: fiat-sent-ok {peer taker} (answers fiat-sent)",
        ],
    );
}

// spec: T24
#[test]
fn fiat_sent_is_the_buyers_word_and_only_in_an_active_trade() {
    let active = Story::active(Kind::Sell);
    assert_eq!(active.refuses(MAKER, Command::FiatSent), Refusal::InvalidPubkey);
    assert_eq!(active.refuses(STRANGER, Command::FiatSent), Refusal::InvalidPubkey);

    let elsewhere = [
        Story::sell(),
        Story::sell_awaiting_invoice(),
        Story::awaiting_hold(Kind::Sell),
        Story::fiat_sent(Kind::Sell),
        Story::paying(Kind::Sell),
        Story::success(Kind::Sell),
    ];
    for story in elsewhere {
        assert_eq!(story.refuses(TAKER, Command::FiatSent), Refusal::InvalidOrderStatus);
    }
}

// spec: T29 D16 E2 INV-4 P0
#[test]
fn a_release_is_an_intent_of_which_nobody_is_told_before_lnd_says_settled() {
    let mut story = Story::fiat_sent(Kind::Sell);

    let told = story.says(MAKER, Command::Release);

    check(&told, "Settling", &["LND: settle hold h1"]);
    let decision = story.order.hold(hold_hash(1)).and_then(|hold| hold.decision);
    assert_eq!(decision, Some(HoldDecision::Settle), "in the commit that asks for it");
    assert_eq!(story.order.status(), crate::Status::FiatSent);
    assert_eq!(story.order.payouts, [], "the buyer is not owed yet");
}

// spec: T29
#[test]
fn a_release_is_the_sellers_word_and_only_after_fiat_was_sent() {
    let fiat_sent = Story::fiat_sent(Kind::Sell);
    assert_eq!(fiat_sent.refuses(TAKER, Command::Release), Refusal::InvalidPeer);
    assert_eq!(fiat_sent.refuses(STRANGER, Command::Release), Refusal::InvalidPeer);
    assert_eq!(Story::active(Kind::Sell).refuses(TAKER, Command::Release), Refusal::InvalidPeer);

    let elsewhere = [
        Story::sell(),
        Story::sell_awaiting_invoice(),
        Story::awaiting_hold(Kind::Sell),
        Story::active(Kind::Sell),
        Story::paying(Kind::Sell),
        Story::success(Kind::Sell),
    ];
    for story in elsewhere {
        assert_eq!(story.refuses(MAKER, Command::Release), Refusal::NotAllowedByStatus);
    }
    // Nobody sells in a buy order that is in the book.
    assert_eq!(Story::buy().refuses(MAKER, Command::Release), Refusal::NotAllowedByStatus);
}

// spec: C16 D16
#[test]
fn while_lnd_settles_no_party_changes_anything() {
    for kind in [Kind::Sell, Kind::Buy] {
        let story = Story::settling(kind);
        let (buyer, seller) = (story.buyer(), story.seller());

        assert_eq!(story.refuses(seller, Command::Release), Refusal::NotAllowedByStatus);
        assert_eq!(story.refuses(seller, Command::Cancel), Refusal::NotAllowedByStatus);
        assert_eq!(story.refuses(buyer, Command::Cancel), Refusal::NotAllowedByStatus);
        assert_eq!(story.refuses(buyer, Command::FiatSent), Refusal::NotAllowedByStatus);
        let command = crate::fixture::add_invoice(2);
        assert_eq!(story.refuses(buyer, command), Refusal::NotAllowedByStatus);
    }
}

// spec: D16 D13
#[test]
fn in_a_frozen_trade_no_party_changes_anything() {
    let mut story = Story::fiat_sent(Kind::Sell);
    story.hears(hold(1, HoldStatus::Canceled));

    for (who, command) in [
        (MAKER, Command::Release),
        (MAKER, Command::Cancel),
        (TAKER, Command::Cancel),
        (TAKER, Command::FiatSent),
        (TAKER, crate::fixture::add_invoice(2)),
    ] {
        assert_eq!(story.refuses(who, command), Refusal::NotAllowedByStatus);
    }
}

// spec: T29 T34 FL-F7 P0 K-13 K-25 D17
#[test]
fn settled_pays_the_buyer_and_answers_the_release() {
    let mut story = Story::settling(Kind::Sell);

    let told = story.hears(hold(1, HoldStatus::Settled));

    check(
        &told,
        "PayingBuyer(Sending)",
        &[
            "taker: released",
            "maker: hold-invoice-payment-settled (answers release)",
            "maker: rate",
            "LND: send payout i1",
            "books: Buyer to Lightning 99700000 msats",
            "books: FeeIncome to Lightning 600000 msats",
        ],
    );
    assert_eq!(story.order.payout(PayoutPurpose::Buyer).map(|payout| payout.amount), Some(OWED));
    assert_eq!(story.order.status(), crate::Status::SettledHoldInvoice);
}

// spec: T34 C16 K-13 INV-5
#[test]
fn settled_counts_once() {
    let mut story = Story::paying(Kind::Sell);
    let before = story.order.clone();

    for status in [HoldStatus::Settled, ACCEPTED, HoldStatus::Canceled, HoldStatus::Unknown] {
        assert_eq!(story.hears(hold(1, status)).lines, [""; 0]);
        assert_eq!(story.order, before);
    }
}

// spec: T32 FL-F7 C19 P4 K-39 I1
#[test]
fn the_receipt_the_end_of_the_debt_and_the_messages_are_one_commit() {
    let mut story = Story::paying(Kind::Sell);

    let told = story.hears(payment(1, SUCCEEDED));

    check(
        &told,
        "Ended(Success)",
        &[
            "taker: purchase-completed",
            "taker: rate",
            "books: Lightning to Buyer 99700000 msats",
            "books: Lightning to RoutingFees 1500 msats",
        ],
    );
    let payout = story.order.payout(PayoutPurpose::Buyer).cloned().expect("the debt is on record");
    assert_eq!(payout.state, PayoutState::Paid { fee: Msats(1_500) });
    assert!(payout.attempt.is_some_and(|attempt| attempt.receipt.is_some()));
}

// spec: C19 INV-2 I4
#[test]
fn a_success_reported_twice_is_one_success() {
    let mut story = Story::success(Kind::Buy);
    let before = story.order.clone();

    check(&story.hears(payment(1, SUCCEEDED)), "Ended(Success)", &[]);

    assert_eq!(story.order, before);
}

// spec: I1
#[test]
fn after_a_finished_trade_nobody_owes_the_buyer() {
    let mut story = Story::settling(Kind::Sell);
    let mut owed = i128::default();
    story.hears(hold(1, HoldStatus::Settled));
    let settled = story.last.postings.clone();
    story.hears(payment(1, SUCCEEDED));

    for posting in settled.iter().chain(&story.last.postings) {
        let amount = i128::from(posting.amount.0);
        for (account, sign) in [(posting.credit, 1), (posting.debit, -1)] {
            if account == LedgerAccount::Buyer {
                owed = owed.saturating_add(amount.saturating_mul(sign));
            }
        }
    }
    assert_eq!(owed, 0);
}
