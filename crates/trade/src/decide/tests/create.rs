use std::time::Duration;

use crate::fixture::{
    MAKER, NOW, OWED, Scene, Story, TAKER, bolt11, check, invoice, lines, new_order, place,
};
use crate::{
    Account, Destination, Invoice, Kind, Msats, Network, NewOrder, NodeKey, PublicStatus, Refusal,
    Sats, Sender, Timestamp, create,
};

fn refusal(scene: &Scene, sender: Sender, new: NewOrder) -> Option<Refusal> {
    create(crate::OrderId([7; 16]), sender, Some(1), new, &scene.env()).err()
}

fn sell() -> NewOrder {
    new_order(Kind::Sell)
}

fn buy_with(invoice: Invoice) -> NewOrder {
    NewOrder { destination: Some(Destination::Bolt11(invoice)), ..new_order(Kind::Buy) }
}

// spec: T1 FL-F1 K-25
#[test]
fn a_new_order_enters_the_book_and_its_maker_is_answered() {
    for kind in [Kind::Sell, Kind::Buy] {
        let story = Story::born(new_order(kind));

        assert_eq!(place(&story.order), "Pending");
        assert_eq!(story.order.public_status(), PublicStatus::Pending);
        assert_eq!(
            lines(&story.last),
            [
                "maker: new-order {pending, 100000 sats} #4 (answers new-order)",
                "account: maker used index 4",
            ]
        );
    }
}

// spec: T1 I11
#[test]
fn the_fee_of_a_fixed_order_is_frozen_at_creation() {
    let story = Story::sell();

    let quote = story.order.terms.quote.expect("a fixed price");
    assert_eq!(quote.fee(), Sats(300));
    assert_eq!(quote.to_hold(), Sats(100_300));
    assert_eq!(quote.to_pay_out(), Sats(99_700));
}

// spec: T1 K-02 K-03 K-62 D26
#[test]
fn a_new_order_is_refused_for_the_first_thing_that_is_wrong() {
    type Mend = fn(&mut Scene, &mut NewOrder);

    // Each case mends what it was refused for.
    let mut new = NewOrder {
        kind: None,
        fiat_code: "eur".to_owned(),
        fiat_amount: 0,
        min_amount: Some(10),
        max_amount: None,
        amount: -1,
        payment_method: " ".to_owned(),
        premium: 1,
        destination: Some(Destination::Unsupported),
        expires_at: None,
        names_a_mint: true,
    };
    let banned = Account { is_banned: true, ..Account::default() };
    let mut scene = Scene { account: banned, ..Scene::new() };
    let stale = Sender { trade_index: Some(0), ..MAKER };
    let mends: [(Refusal, Mend); 13] = [
        (Refusal::NotAuthorized, |scene, _| scene.account.is_banned = false),
        (Refusal::InvalidOrderKind, |_, new| new.kind = Some(Kind::Buy)),
        (Refusal::InvalidFiatCurrency, |_, new| new.fiat_code = "EUR".to_owned()),
        (Refusal::InvalidAmount, |_, new| new.min_amount = None),
        (Refusal::InvalidAmount, |_, new| new.fiat_amount = 50),
        (Refusal::InvalidAmount, |_, new| new.amount = 99),
        (Refusal::InvalidParameters, |_, new| new.premium = 0),
        (Refusal::InvalidParameters, |_, new| new.payment_method = "x".repeat(501)),
        (Refusal::InvalidParameters, |_, new| new.payment_method = "x".repeat(500)),
        (Refusal::InvalidMintUrl, |_, new| new.names_a_mint = false),
        (Refusal::OutOfRangeSatsAmount, |_, new| new.amount = 100_000),
        (Refusal::InvalidInvoice, |_, new| new.destination = Some(bolt11(1))),
        (Refusal::InvalidTradeIndex, |_, _| ()),
    ];

    for (expected, mend) in mends {
        assert_eq!(refusal(&scene, stale, new.clone()), Some(expected), "{new:?}");
        mend(&mut scene, &mut new);
    }
    assert_eq!(refusal(&scene, MAKER, new), None);
}

// spec: T1 I11
#[test]
fn an_order_whose_fee_leaves_the_buyer_nothing_is_refused() {
    let mut scene = Scene::new();
    scene.policy.fee = crate::Ppm(2_000_000);

    assert_eq!(refusal(&scene, MAKER, sell()), Some(Refusal::OutOfRangeSatsAmount));
}

// spec: T1 D26
#[test]
fn market_and_range_orders_are_refused_while_they_are_not_built() {
    let scene = Scene::new();
    let market = NewOrder { amount: 0, ..sell() };
    let range = NewOrder { min_amount: Some(10), max_amount: Some(50), ..market.clone() };

    for new in [market, range.clone()] {
        assert_eq!(refusal(&scene, MAKER, new), Some(Refusal::InvalidParameters));
    }
    // What is wrong with a range in itself comes first.
    for (min, max, amount) in [(50, 10, 0), (10, 10, 0), (-1, 10, 0), (10, 50, 1_000)] {
        let new =
            NewOrder { min_amount: Some(min), max_amount: Some(max), amount, ..range.clone() };
        assert_eq!(refusal(&scene, MAKER, new), Some(Refusal::InvalidAmount));
    }
}

// spec: T1 I11
#[test]
fn the_limits_of_the_node_are_inclusive() {
    let scene = Scene::new();

    for (amount, expected) in [
        (99, Some(Refusal::OutOfRangeSatsAmount)),
        (100, None),
        (1_000_000, None),
        (1_000_001, Some(Refusal::OutOfRangeSatsAmount)),
    ] {
        assert_eq!(refusal(&scene, MAKER, NewOrder { amount, ..sell() }), expected, "{amount}");
    }
}

// spec: K-28
#[test]
fn an_order_stays_in_the_book_as_long_as_its_maker_asks_within_bounds() {
    let day = Duration::from_hours(24);
    let soon = NOW.after(Duration::from_secs(1));

    for (asked, end) in [
        (None, NOW.after(day)),
        (Some(Timestamp(0)), NOW.after(day)),
        (Some(NOW), NOW.after(day)),
        (Some(soon), soon),
        (Some(NOW.after(day * 16)), NOW.after(day * 15)),
        (Some(Timestamp(i64::MAX)), NOW.after(day * 15)),
    ] {
        let story = Story::born(NewOrder { expires_at: asked.map(|at| at.0), ..sell() });
        assert_eq!(story.order.terms.expires_at, end, "asked for {asked:?}");
    }
}

// spec: K-01 K-02 D22
#[test]
fn a_trade_index_must_be_given_and_must_grow() {
    let mut scene = Scene::new();
    scene.account.last_index = Some(4);

    for index in [None, Some(-1), Some(0), Some(3), Some(4)] {
        let sender = Sender { trade_index: index, ..MAKER };
        assert_eq!(refusal(&scene, sender, sell()), Some(Refusal::InvalidTradeIndex), "{index:?}");
    }
    assert_eq!(refusal(&scene, Sender { trade_index: Some(5), ..MAKER }, sell()), None);
}

// spec: K-01 D22
#[test]
fn full_privacy_keeps_the_index_as_sent_and_has_no_account() {
    let scene = Scene::new();
    let private =
        |index| Sender { identity: crate::IdentityKey(MAKER.trade.0), trade_index: index, ..MAKER };

    for index in [None, Some(0), Some(8)] {
        let decision = create(crate::OrderId([7; 16]), private(index), None, sell(), &scene.env())
            .expect("an order");
        assert_eq!(decision.account, None);
        assert_eq!(decision.order.maker.index, index);
    }
    assert_eq!(refusal(&scene, private(Some(-1)), sell()), Some(Refusal::InvalidTradeIndex));
}

// spec: T1 K-26 K-32 K-34
#[test]
fn an_invoice_given_at_creation_is_for_amount_less_fee_to_the_millisat() {
    let scene = Scene::new();
    let smallest = NewOrder {
        amount: 100,
        ..buy_with(Invoice { amount: Some(Msats(100_000)), ..invoice(1) })
    };

    for (amount, expected) in [
        (None, None),
        (OWED.to_msats(), None),
        (Some(Msats(100_000_000)), Some(Refusal::InvalidInvoice)),
        (Some(Msats(99_700_001)), Some(Refusal::InvalidInvoice)),
        (Some(Msats(99_699_999)), Some(Refusal::InvalidInvoice)),
        (Some(Msats(1)), Some(Refusal::InvalidInvoice)),
    ] {
        let new = buy_with(Invoice { amount, ..invoice(1) });
        assert_eq!(refusal(&scene, MAKER, new), expected, "{amount:?}");
    }
    assert_eq!(refusal(&scene, MAKER, smallest), None);
}

// spec: T1 K-35 C26 K-24 D26
#[test]
fn an_invoice_that_this_node_could_not_pay_is_refused() {
    let mut scene = Scene::new();
    let own = NodeKey([2; 33]);
    let hour = Duration::from_hours(1);
    let short = Timestamp(NOW.after(hour).0.saturating_sub(1));

    for bad in [
        Invoice { payee: own, ..invoice(1) },
        Invoice { network: Network::Mainnet, ..invoice(1) },
        Invoice { min_final_cltv: 145, ..invoice(1) },
        Invoice { expires_at: short, ..invoice(1) },
    ] {
        assert_eq!(refusal(&scene, MAKER, buy_with(bad)), Some(Refusal::InvalidInvoice));
    }
    let good = Invoice { min_final_cltv: 144, expires_at: NOW.after(hour), ..invoice(1) };
    assert_eq!(refusal(&scene, MAKER, buy_with(good.clone())), None);
    let address = NewOrder { destination: Some(Destination::Unsupported), ..new_order(Kind::Buy) };
    assert_eq!(refusal(&scene, MAKER, address), Some(Refusal::InvalidInvoice));

    scene.payout_hash_is_known = true;
    assert_eq!(refusal(&scene, MAKER, buy_with(good)), Some(Refusal::InvalidInvoice));
}

// spec: K-35
#[test]
fn before_the_first_contact_with_lnd_chain_and_payee_go_unchecked() {
    let scene = Scene { node: None, ..Scene::new() };
    let foreign = Invoice { payee: NodeKey([2; 33]), network: Network::Mainnet, ..invoice(1) };

    assert_eq!(refusal(&scene, MAKER, buy_with(foreign)), None);
}

// spec: K-27
#[test]
fn the_invoice_of_a_sell_order_is_ignored() {
    let story = Story::born(NewOrder { destination: Some(Destination::Unsupported), ..sell() });

    assert_eq!(story.order.destination, None);
}

// spec: K-53
#[test]
fn a_banned_identity_neither_makes_nor_takes() {
    let mut story = Story::sell();
    story.scene.account.is_banned = true;

    assert_eq!(refusal(&story.scene, MAKER, sell()), Some(Refusal::NotAuthorized));
    let take = crate::Command::TakeSell { destination: None, secret: crate::fixture::secret(1) };
    assert_eq!(story.refuses(TAKER, take), Refusal::NotAuthorized);
}

// spec: K-53
#[test]
fn a_ban_does_not_touch_a_running_trade() {
    let mut story = Story::active(Kind::Sell);
    story.scene.account.is_banned = true;

    let told = story.says(TAKER, crate::Command::FiatSent);

    check(
        &told,
        "FiatSent",
        &[
            "maker: fiat-sent-ok {peer taker}",
            "taker: fiat-sent-ok {peer maker} (answers fiat-sent)",
        ],
    );
}
