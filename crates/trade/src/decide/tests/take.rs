use std::time::Duration;

use crate::fixture::{
    MAKER, NOW, STRANGER, Scene, Story, TAKER, add_invoice, bolt11, check, hold, hold_hash,
    invoice, invoice_hash, new_order, opened, secret,
};
use crate::{
    Account, Command, Destination, Effect, HoldStatus, IdentityKey, Invoice, Kind, LnCommand,
    NewOrder, NodeKey, OrderState, PreparingFrom, PublicStatus, Refusal, Seen, Sender,
};

fn take_sell(destination: Option<Destination>) -> Command {
    Command::TakeSell { destination, secret: secret(1) }
}

fn take_buy() -> Command {
    Command::TakeBuy { secret: secret(1) }
}

fn fitting_take(kind: Kind) -> Command {
    match kind {
        Kind::Sell => take_sell(Some(bolt11(1))),
        Kind::Buy => take_buy(),
    }
}

// spec: T7 FL-F2 K-25 D14
#[test]
fn a_buyer_without_an_invoice_is_asked_for_one() {
    let mut story = Story::sell();

    let told = story.says(TAKER, take_sell(None));

    check(
        &told,
        "AwaitingInvoice",
        &[
            "taker: add-invoice {waiting-buyer-invoice, 99700 sats, no expiry} #9 (answers take)",
            "maker: waiting-buyer-invoice #4",
            "account: taker used index 9",
        ],
    );
    assert_eq!(story.order.public_status(), PublicStatus::InProgress);
    assert!(story.order.holds.is_empty(), "LND hears nothing yet");
}

// spec: T8 FL-F3 E1 D17 K-33 K-11
#[test]
fn a_take_that_needs_a_hold_saves_its_preimage_and_tells_nobody_before_lnd_has_it() {
    for mut story in Story::every_book_order() {
        let told = story.says(TAKER, fitting_take(story.order.terms.kind));

        check(
            &told,
            "PreparingHold",
            &[
                "LND: add hold of 100300 sats, 960 s to pay, 144 blocks h1",
                "account: taker used index 9",
            ],
        );
        let saved = story.order.hold(hold_hash(1)).expect("the hold is saved");
        assert_eq!((saved.preimage, saved.seen), (secret(1).preimage, Seen::Wanted));
        assert_eq!(story.order.public_status(), PublicStatus::InProgress);
    }
}

// spec: T8
#[test]
fn the_memo_of_a_hold_names_the_trade_and_says_what_happens_to_the_sats() {
    let story = Story::sell().taken();

    let [Effect::Lightning(LnCommand::AddHold { memo, .. })] = story.last.effects.as_slice() else {
        unreachable!("{:?}", story.last.effects)
    };
    for words in ["abababab-abab-abab-abab-abababababab", "50 EUR", "frozen", "release", "return"] {
        assert!(memo.contains(words), "{memo}");
    }
}

// spec: T7 T8 K-02 K-03 K-29 C1
#[test]
fn a_take_is_refused_for_the_first_thing_that_is_wrong() {
    type Mend = fn(&mut Story);

    // Each case mends what it was refused for.
    let mut story = Story::buy();
    story.scene.account = Account { is_banned: true, has_duty: true, last_index: Some(9) };
    story.order.state = OrderState::Ended(crate::Outcome::Canceled);
    story.scene.now = story.order.terms.expires_at;
    story.scene.policy.max_order_amount = crate::Sats(1_000);
    let bad = || take_sell(Some(Destination::Unsupported));
    let own = Sender { identity: MAKER.identity, ..TAKER };
    let mends: [(Refusal, Sender, Mend); 9] = [
        (Refusal::NotAuthorized, own, |story| story.scene.account.is_banned = false),
        (Refusal::PendingOrderExists, own, |story| story.scene.account.has_duty = false),
        (Refusal::InvalidOrderKind, own, |story| story.order.terms.kind = Kind::Sell),
        (Refusal::InvalidOrderStatus, own, |story| story.order.state = OrderState::Pending),
        (Refusal::InvalidOrderStatus, own, |story| story.scene.now = NOW),
        (Refusal::InvalidPubkey, own, |_| ()),
        (Refusal::InvalidPubkey, Sender { trade: MAKER.trade, ..TAKER }, |_| ()),
        (Refusal::OutOfRangeSatsAmount, TAKER, |story| {
            story.scene.policy.max_order_amount = crate::Sats(100_000);
        }),
        (Refusal::InvalidInvoice, TAKER, |_| ()),
    ];

    for (expected, sender, mend) in mends {
        assert_eq!(story.refuses(sender, bad()), expected);
        mend(&mut story);
    }
    assert_eq!(story.refuses(TAKER, take_sell(Some(bolt11(1)))), Refusal::InvalidTradeIndex);
    story.scene.account.last_index = Some(8);
    assert_eq!(story.says(TAKER, take_sell(Some(bolt11(1)))).place, "PreparingHold");
}

// spec: K-29
#[test]
fn a_maker_in_full_privacy_cannot_take_its_own_order_either() {
    let private = Sender { identity: IdentityKey(MAKER.trade.0), ..MAKER };
    let mut story = Story::sell();
    story.order.maker = private.party();

    assert_eq!(story.refuses(private, take_sell(None)), Refusal::InvalidPubkey);
}

// spec: C1 INV-5
#[test]
fn the_second_taker_comes_too_late() {
    for story in [Story::sell().taken(), Story::sell_awaiting_invoice()] {
        assert_eq!(story.refuses(STRANGER, take_sell(None)), Refusal::InvalidOrderStatus);
        assert_eq!(story.refuses(TAKER, take_sell(None)), Refusal::InvalidOrderStatus);
    }
    let story = Story::buy().taken();
    assert_eq!(story.refuses(STRANGER, take_buy()), Refusal::InvalidOrderStatus);
}

// spec: C3 INV-5
#[test]
fn between_a_take_and_the_makers_cancel_the_first_wins() {
    let mut canceled = Story::sell();
    canceled.says(MAKER, Command::Cancel);
    assert_eq!(canceled.refuses(TAKER, take_sell(None)), Refusal::InvalidOrderStatus);
    assert_eq!(canceled.order.public_status(), PublicStatus::Canceled);

    let taken = Story::active(Kind::Sell);
    assert_eq!(taken.refuses(MAKER, Command::Cancel), Refusal::NotAllowedByStatus);
}

// spec: C4 INV-5 K-07
#[test]
fn between_a_take_and_the_end_of_the_book_window_the_first_wins() {
    let mut story = Story::sell();
    story.scene.now = story.order.terms.expires_at;
    assert_eq!(story.refuses(TAKER, take_sell(None)), Refusal::InvalidOrderStatus);

    let mut taken = Story::sell_awaiting_invoice();
    let until = taken.order.deadline(24).at.expect("a duty ends");
    taken.order.terms.expires_at = NOW;
    check(&taken.wakes(), "AwaitingInvoice", &[]);
    assert!(until > NOW);
}

// spec: T8 D26
#[test]
fn a_take_with_an_invoice_that_cannot_be_paid_is_refused() {
    let mut story = Story::sell();
    let own_node = Invoice { payee: NodeKey([2; 33]), ..invoice(1) };

    for bad in [Destination::Unsupported, Destination::Bolt11(own_node)] {
        assert_eq!(story.refuses(TAKER, take_sell(Some(bad))), Refusal::InvalidInvoice);
    }
    story.scene.payout_hash_is_known = true;
    assert_eq!(story.refuses(TAKER, take_sell(Some(bolt11(1)))), Refusal::InvalidInvoice);
}

// spec: K-18
#[test]
fn an_invoice_from_creation_that_has_aged_is_asked_for_again() {
    let soon = Invoice { expires_at: NOW.after(Duration::from_hours(2)), ..invoice(1) };
    let destination = Some(Destination::Bolt11(soon));
    let born =
        || Story::born(NewOrder { destination: destination.clone(), ..new_order(Kind::Buy) });

    let fresh = born().taken();
    let mut aged = born();
    aged.after(Duration::from_mins(61));
    let aged = aged.taken();

    assert_eq!(fresh.order.destination.map(|invoice| invoice.hash), Some(invoice_hash(1)));
    assert_eq!(aged.order.destination, None);
    assert_eq!(aged.opened().paid().order.state.status(), crate::Status::WaitingBuyerInvoice);
}

// spec: T8 FL-F3 K-52 K-25 D14
#[test]
fn once_lnd_has_the_invoice_of_a_taken_sell_order_both_sides_hear_of_it() {
    let mut story = Story::sell().taken();

    let told = story.hears(opened(1));

    check(
        &told,
        "AwaitingHold",
        &[
            "maker: pay-invoice {reputation, 7 reviews}",
            "maker: pay-invoice {waiting-payment, 100300 sats} lnbcrthold1 #4",
            "taker: waiting-seller-to-pay #9 (answers take)",
        ],
    );
}

// spec: T8 FL-F4 FL-F5 K-25 D14
#[test]
fn once_lnd_has_the_invoice_of_a_taken_buy_order_both_sides_hear_of_it() {
    for mut story in [Story::buy().taken(), Story::buy_with_invoice().taken()] {
        let told = story.hears(opened(1));

        check(
            &told,
            "AwaitingHold",
            &[
                "taker: pay-invoice {waiting-payment, 100300 sats} lnbcrthold1 #9 (answers take)",
                "maker: waiting-seller-to-pay #4",
            ],
        );
    }
}

// spec: T9 FL-F2 E1 K-25
#[test]
fn an_invoice_given_after_the_take_leads_to_the_hold() {
    let mut story = Story::sell_awaiting_invoice();

    check(
        &story.says(TAKER, add_invoice(1)),
        "PreparingHold",
        &["LND: add hold of 100300 sats, 960 s to pay, 144 blocks h1"],
    );
    check(
        &story.hears(opened(1)),
        "AwaitingHold",
        &[
            "maker: pay-invoice {reputation, 7 reviews}",
            "maker: pay-invoice {waiting-payment, 100300 sats} lnbcrthold1 #4",
            "taker: waiting-seller-to-pay #9 (answers add-invoice)",
        ],
    );
}

// spec: T9
#[test]
fn the_invoice_is_the_buyers_to_give_and_only_when_it_is_asked_for() {
    let story = Story::sell_awaiting_invoice();
    assert_eq!(story.refuses(MAKER, add_invoice(1)), Refusal::InvalidPeer);
    assert_eq!(story.refuses(STRANGER, add_invoice(1)), Refusal::InvalidPeer);

    // Nobody is the buyer of a sell order in the book.
    assert_eq!(Story::sell().refuses(STRANGER, add_invoice(1)), Refusal::NotAllowedByStatus);
    assert_eq!(Story::buy().refuses(MAKER, add_invoice(1)), Refusal::NotAllowedByStatus);
    for story in [Story::sell().taken(), Story::active(Kind::Sell), Story::success(Kind::Sell)] {
        assert_eq!(story.refuses(TAKER, add_invoice(2)), Refusal::NotAllowedByStatus);
    }
}

// spec: T9 C26 K-24
#[test]
fn an_invoice_with_a_known_payment_hash_is_refused() {
    let mut story = Story::sell_awaiting_invoice();
    story.scene.payout_hash_is_known = true;
    assert_eq!(story.refuses(TAKER, add_invoice(1)), Refusal::InvalidInvoice);

    // A stranger's invoice with the hash of our own escrow would be paid by LND without a word.
    let mut escrow = Story::buy_awaiting_invoice();
    escrow.asked(crate::fixture::ACCEPTED);
    let own = Destination::Bolt11(Invoice { hash: hold_hash(1), ..invoice(1) });
    let command = Command::AddInvoice { destination: own, secret: secret(2) };
    assert_eq!(escrow.refuses(MAKER, command), Refusal::InvalidInvoice);
}

// spec: D17
#[test]
fn a_take_that_lnd_does_not_serve_in_time_is_undone_and_gives_its_index_back() {
    for mut story in Story::every_book_order() {
        let before = story.order.clone();
        story.scene.account.last_index = Some(8);
        story = story.taken();

        story.after(Duration::from_secs(7));
        check(&story.wakes(), "PreparingHold", &[]);
        story.after(Duration::from_secs(1));
        check(
            &story.wakes(),
            "Pending",
            &[
                "LND: cancel hold h1",
                "taker: cant-do {not_allowed_by_status} (answers take)",
                "account: taker gets index 9 back, last is 8",
            ],
        );

        story.order.holds.clear();
        assert_eq!(story.order, before, "the order is as it was");
    }
}

// spec: D17 D22
#[test]
fn an_undone_take_in_full_privacy_has_no_index_to_give_back() {
    let mut story = Story::sell();
    let private = Sender { identity: IdentityKey(TAKER.trade.0), ..TAKER };
    story.says(private, take_sell(Some(bolt11(1))));
    story.after(Duration::from_secs(8));

    let told = story.wakes();

    let answer = "taker: cant-do {not_allowed_by_status} (answers take)";
    check(&told, "Pending", &["LND: cancel hold h1", answer]);
}

// spec: D17
#[test]
fn an_invoice_that_lnd_does_not_serve_in_time_leaves_the_duty_with_its_old_deadline() {
    let mut story = Story::sell_awaiting_invoice();
    let before = story.order.clone();
    story.after(Duration::from_mins(5));
    story.says(TAKER, add_invoice(1));
    story.after(Duration::from_secs(8));

    check(
        &story.wakes(),
        "AwaitingInvoice",
        &["LND: cancel hold h1", "taker: cant-do {not_allowed_by_status} (answers add-invoice)"],
    );

    story.order.holds.clear();
    assert_eq!(story.order, before, "the order is as it was");
}

// spec: D17 E1
#[test]
fn a_hold_that_lnd_canceled_before_anybody_had_its_invoice_undoes_the_take_at_once() {
    let mut story = Story::sell().taken();

    let told = story.hears(hold(1, HoldStatus::Canceled));

    check(
        &told,
        "Pending",
        &[
            "taker: cant-do {not_allowed_by_status} (answers take)",
            "account: taker gets index 9 back, last is none",
        ],
    );
    assert!(story.order.holds.is_empty(), "there is nothing to give back");
}

// spec: D17 C10
#[test]
fn the_invoice_of_an_undone_take_comes_too_late() {
    let mut story = Story::sell().taken();
    story.after(Duration::from_secs(8));
    story.wakes();

    check(&story.hears(opened(1)), "Pending", &[]);
}

// spec: D17 T13
#[test]
fn the_taker_may_cancel_while_lnd_is_asked_for_the_invoice() {
    let mut story = Story::sell().taken();

    let told = story.says(TAKER, Command::Cancel);

    check(
        &told,
        "Pending",
        &[
            "LND: cancel hold h1",
            "taker: canceled (answers cancel)",
            "maker: new-order {pending, 100000 sats, seller}",
        ],
    );
}

// spec: D17 T14
#[test]
fn the_maker_may_cancel_while_lnd_is_asked_for_the_invoice() {
    let mut story = Story::sell().taken();

    let told = story.says(MAKER, Command::Cancel);

    check(
        &told,
        "Ended(Canceled)",
        &["LND: cancel hold h1", "maker: canceled (answers cancel)", "taker: canceled"],
    );
}

// spec: D17 D5
#[test]
fn the_time_for_lnds_answer_does_not_run_while_relays_are_unreachable() {
    let mut story = Story::sell_awaiting_invoice();
    story.says(TAKER, add_invoice(1));
    let gap = Duration::from_mins(20);
    story.after(gap);

    check(&story.does(crate::Input::ExtendDeadlines { offline_for: gap }), "PreparingHold", &[]);
    check(&story.wakes(), "PreparingHold", &[]);

    let OrderState::PreparingHold(preparing) = &story.order.state else { unreachable!() };
    let duty_ends = NOW.after(Duration::from_mins(15)).after(gap);
    assert_eq!(preparing.from, PreparingFrom::AwaitingInvoice { until: duty_ends });
}

// spec: E1
#[test]
fn lnds_acknowledgement_may_be_repeated() {
    let mut story = Story::awaiting_hold(Kind::Sell);
    let before = story.order.clone();

    check(&story.hears(opened(1)), "AwaitingHold", &[]);

    assert_eq!(story.order, before);
}

// spec: T8
#[test]
fn the_take_of_an_unknown_reputation_shows_zeros() {
    let mut story = Story::born_in(
        Scene { taker: crate::Reputation::default(), ..Scene::new() },
        new_order(Kind::Sell),
    )
    .taken();

    assert_eq!(
        story.hears(opened(1)).lines.first().map(String::as_str),
        Some("maker: pay-invoice {reputation, 0 reviews}")
    );
}

// spec: T7 T8
#[test]
fn an_order_is_taken_by_the_command_of_its_kind() {
    assert_eq!(Story::sell().refuses(TAKER, take_buy()), Refusal::InvalidOrderKind);
    assert_eq!(Story::buy().refuses(TAKER, take_sell(None)), Refusal::InvalidOrderKind);
}
