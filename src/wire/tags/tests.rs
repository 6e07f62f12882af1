use nostr_sdk::{Event, JsonUtil};
use serde_json::Value;

use super::*;

const GOLDEN: &str = include_str!("../../../tests/golden/events_public.json");

const MONTH: Duration = Duration::from_hours(30 * 24);

/// An event of the golden file, and its draft.
fn golden(name: &str) -> (Event, Draft) {
    let file: Value = serde_json::from_str(GOLDEN).unwrap();
    let rows = file["vectors"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}"));
    let event = Event::from_json(row["event"].to_string()).unwrap();
    let draft = Draft {
        kind: event.kind,
        content: event.content.clone(),
        tags: event.tags.iter().cloned().collect(),
    };
    (event, draft)
}

#[track_caller]
fn check_order(name: &str, entry: &BookEntry, now: i64) {
    let (_, expected) = golden(name);
    assert_eq!(order(entry, &identity(), Timestamp(now), MONTH), expected, "{name}");
}

fn identity() -> NodeIdentity {
    NodeIdentity {
        pubkey: golden("relay list").0.pubkey,
        instance: Some(" Test Node ".into()),
        relays: vec!["wss://relay.example.com".into(), "wss://relay2.example.com".into()],
        networks: vec!["regtest".into()],
    }
}

fn maker() -> UserInfo {
    UserInfo { rating: 4.5, reviews: 12, operating_days: 100, since: Some(1_751_328_000) }
}

/// The golden order: EUR 10 at the market price, one percent above.
fn entry(status: Listing) -> BookEntry {
    BookEntry {
        id: OrderId(*uuid::uuid!("308e1272-d5f4-47e6-bd97-3504baea9c23").as_bytes()),
        kind: Kind::Sell,
        status,
        fiat_code: "EUR".into(),
        amount: Sats::ZERO,
        fiat_amount: Fiat(10),
        payment_method: "face to face,bank transfer".into(),
        premium: 1,
        created_at: Timestamp(1_760_000_000),
        expires_at: Timestamp(1_760_086_400),
    }
}

fn terms() -> NodeTerms {
    NodeTerms {
        version: "0.1.0".into(),
        commit_hash: "0123456789abcdef0123456789abcdef01234567".into(),
        max_order_amount: Sats(1_000_000),
        min_order_amount: Sats(100),
        expiration_hours: 24,
        expiration_seconds: 900,
        fiat_currencies: vec!["USD".into(), "EUR".into()],
        max_orders_per_response: 10,
        fee: Ppm(600),
        pow: 0,
        protocol_version: 2,
        hold_invoice_cltv_delta: 144,
        escrow_deadline_margin_blocks: 24,
        lnd: Some(LndNode {
            version: "0.18.5-beta commit=v0.18.5-beta".into(),
            pubkey: "02eec7245d6b7d2ccb30380bfbe2a3648cd7a942653f5aa340edcea1f283686619".into(),
            commit_hash: "0123456789abcdef".into(),
            alias: "alias".into(),
            chains: vec!["bitcoin".into()],
            networks: vec!["regtest".into()],
            uris: vec![
                "02eec7245d6b7d2ccb30380bfbe2a3648cd7a942653f5aa340edcea1f283686619@127.0.0.1:9735"
                    .into(),
            ],
        }),
        invoice_expiration_window: 3_600,
        hold_invoice_expiration_window: 300,
        serbero: None,
    }
}

// spec: D1
#[test]
fn an_order_in_the_book_shows_its_maker_and_its_source() {
    let market = entry(Listing::Pending(maker()));
    check_order("order pending, market price", &market, 1_760_000_000);
    check_order("order pending again", &market, 1_760_000_700);

    let fixed = BookEntry { amount: Sats(10_000), premium: 0, ..market.clone() };
    check_order("order pending, fixed amount", &fixed, 1_760_000_000);

    let private = entry(Listing::Pending(UserInfo::default()));
    check_order("order pending, full-privacy maker", &private, 1_760_000_000);
}

#[test]
fn an_order_that_left_the_book_shows_its_agreed_terms() {
    let taken = BookEntry { amount: Sats(10_000), ..entry(Listing::InProgress) };
    check_order("order in-progress", &taken, 1_760_000_060);

    let paid = BookEntry { status: Listing::Success, ..taken };
    check_order("order success", &paid, 1_760_000_900);

    check_order("order canceled", &entry(Listing::Canceled), 1_760_000_950);
}

// spec: D1
#[test]
fn a_draft_signed_at_a_given_time_is_the_golden_event() {
    let node = Keys::parse(&"11".repeat(32)).unwrap();
    // One second after an earlier revision of the same second: the draft stays as it was.
    let (golden, _) = golden("order in-progress, same second as a previous revision");
    let taken = BookEntry { amount: Sats(10_000), ..entry(Listing::InProgress) };
    let draft = order(&taken, &identity(), Timestamp(1_760_000_060), MONTH);

    let event = draft.sign(&node, Timestamp(1_760_000_061)).unwrap();
    assert_eq!(event.id, golden.id);
    assert!(event.verify().is_ok());
}

// spec: D1
#[test]
fn an_order_of_the_core_is_listed_with_its_own_terms() {
    use trade::{FiatAmount, IdentityKey, Kind, OrderState, Party, Price, Quote, Terms, TradeKey};

    let maker_keys =
        Party { trade: TradeKey([1; 32]), identity: IdentityKey([2; 32]), index: Some(1) };
    let order = Order {
        id: entry(Listing::Canceled).id,
        version: 0,
        terms: Terms {
            kind: Kind::Sell,
            fiat_code: "EUR".into(),
            fiat: FiatAmount::Fixed(Fiat(10)),
            price: Price::Fixed,
            payment_method: "face to face,bank transfer".into(),
            quote: Quote::new(Fiat(10), Sats(10_000), Sats(3)),
            created_at: Timestamp(1_760_000_000),
            expires_at: Timestamp(1_760_086_400),
        },
        maker: maker_keys,
        taker: None,
        taken_at: None,
        destination: None,
        state: OrderState::Pending,
        holds: Vec::new(),
        payouts: vec![],
    };
    let maker = Reputation {
        rating_milli: 4_500,
        reviews: 12,
        operating_days: 100,
        since: Some(Timestamp(1_751_328_000)),
    };
    check_order("order pending, fixed amount", &BookEntry::of(&order, maker), 1_760_000_000);
}

#[test]
fn an_order_published_before_lnd_answered_is_on_an_unknown_network() {
    let node = NodeIdentity { networks: Vec::new(), ..identity() };
    let draft = order(&entry(Listing::InProgress), &node, Timestamp(0), MONTH);
    assert!(draft.tags.contains(&tag("network", "unknown")));
}

#[test]
fn payment_methods_are_split_at_commas_and_empty_ones_dropped() {
    let entry = BookEntry { payment_method: ",a, b,,".into(), ..entry(Listing::Canceled) };
    let draft = order(&entry, &identity(), Timestamp(0), MONTH);
    assert!(draft.tags.contains(&tag_of("pm", vec!["a".into(), " b".into()])));
}

#[test]
fn the_y_tag_of_a_node_without_a_name_has_the_protocol_only() {
    for instance in [None, Some("  ".to_owned())] {
        let node = NodeIdentity { instance, ..identity() };
        assert_eq!(node.y_tag(), tag("y", "mostro"));
    }
}

// spec: D4
#[test]
fn the_info_event_has_the_terms_of_the_node() {
    assert_eq!(node_terms(&terms(), &identity()), golden("info, bonds off").1);
}

#[test]
fn the_info_event_has_the_work_required_of_new_keys() {
    let tags = node_terms(&NodeTerms { pow: 8, ..terms() }, &identity()).tags;
    assert!(tags.contains(&tag("pow", 8)) && tags.contains(&tag("pow_first_contact", 8)));
}

#[test]
fn the_tag_of_a_dispute_assistant_is_the_last_but_one() {
    let key = IdentityKey([5; 32]);
    let tags = node_terms(&NodeTerms { serbero: Some(key), ..terms() }, &identity()).tags;
    let last = [tag("serbero", "05".repeat(32)), tag("maintenance_mode", "false")];
    assert!(tags.ends_with(&last), "{tags:?}");
}

#[test]
fn an_order_that_left_the_book_is_kept_for_as_long_as_the_settings_say() {
    let week = Duration::from_hours(7 * 24);
    let taken = order(&entry(Listing::InProgress), &identity(), Timestamp(1_000), week);
    assert!(taken.tags.contains(&tag("expiration", 605_800)));
    let pending = order(&entry(Listing::Pending(maker())), &identity(), Timestamp(1_000), week);
    assert!(pending.tags.contains(&tag("expiration", 1_760_086_400)));
}

#[test]
fn fees_are_written_as_plain_decimal_fractions() {
    let texts = [0, 600, 6_000, 1_000_000, 1_500_000, 1].map(|ppm| fraction(Ppm(ppm)));
    assert_eq!(texts, ["0", "0.0006", "0.006", "1", "1.5", "0.000001"]);
}

#[test]
fn the_relay_list_names_each_relay() {
    assert_eq!(relay_list(&identity().relays), golden("relay list").1);
}

#[test]
fn the_profile_has_what_is_configured_with_normalized_urls() {
    let all = Profile {
        name: Some("Test Node".into()),
        about: Some("about".into()),
        picture: Some(Url::parse("https://example.com/p.png").unwrap()),
        website: Some(Url::parse("https://example.com").unwrap()),
    };
    assert_eq!(profile(&all), golden("metadata").1);
    assert!(Profile::default().is_empty());
}
