//! What a clock that ran ahead has dated and put off, once it is right again (D30, D31, D41).

use nostr_sdk::JsonUtil as _;

use super::*;
use crate::wire::tags::{NodeTerms, Profile};

/// A relay with a right clock, which takes nothing from the future, nor from long ago.
#[derive(Debug)]
struct Strict;

impl WritePolicy for Strict {
    fn admit_event<'a>(
        &'a self,
        event: &'a Event,
        _from: &'a SocketAddr,
    ) -> BoxedFuture<'a, PolicyResult> {
        let gap = time_of(event).0.abs_diff(NOW.0);
        Box::pin(std::future::ready(if gap > 300 {
            PolicyResult::Reject("event creation date is too far off".to_owned())
        } else {
            PolicyResult::Accept
        }))
    }
}

/// A world with such a relay, and whatever must live as long as it.
async fn with_a_strict_relay(people: u8) -> (World, impl Drop) {
    let relay = LocalRelay::new(RelayBuilder::default().write_policy(Strict));
    relay.run().await.unwrap();
    let (world, listener) = World::new(vec![relay.url().await.to_string()], people, 0).await;
    let (cursor, heard) = tokio::sync::watch::channel(NOW);
    let mut listening = JoinSet::new();
    listening.spawn(async move {
        let _alive = (relay, cursor);
        listener.run(heard).await;
    });
    let mut hearing = world.outbox.messenger.relays.hearing();
    hearing.wait_for(crate::nostr::Hearing::is_hearing).await.unwrap();
    (world, listening)
}

const MONTH: Duration = Duration::from_hours(30 * 24);

// spec: D31 D41
#[tokio::test]
async fn a_message_that_a_fast_clock_dated_goes_out_once_the_clock_is_right() {
    let (world, _relay) = with_a_strict_relay(1).await;
    world.clock.set(NOW.after(MONTH));
    world.look().await;
    assert_eq!(world.count("event is not null and seals = 0 and attempts = 1").await, 1);

    world.clock.set(NOW);
    world.outbox.engine.retry_what_lies_ahead().await.unwrap();
    world.look().await;

    assert_eq!(world.count("done_at is not null and seals = 1").await, 1);
}

// spec: D31
#[tokio::test]
async fn a_message_that_relays_call_too_old_is_sealed_anew_at_once() {
    let (world, _relay) = with_a_strict_relay(1).await;
    world.clock.set(Timestamp(NOW.0 - 1_800));
    world.outbox.engine.retry_what_lies_ahead().await.unwrap();
    world.look().await;
    assert_eq!(world.count("event is not null and seals = 0 and attempts = 1").await, 1);

    world.clock.set(NOW);
    world.look().await;

    assert_eq!(world.count("done_at is not null and seals = 1").await, 1);
}

// spec: D31 INV-6
#[tokio::test]
async fn silence_of_the_relays_changes_no_bytes() {
    let (world, _) = World::new(vec![], 1, 0).await;
    for _ in 0..5 {
        world.look().await;
        world.clock.advance(LONGEST_RETRY);
    }

    assert_eq!(world.count("attempts = 5 and event is not null and seals = 0").await, 1);
}

// spec: D30 D41
#[tokio::test]
async fn an_order_that_a_fast_clock_dated_is_published_with_the_present_time() {
    let (world, _relay) = with_a_strict_relay(0).await;
    let book = world.book("regtest");
    world.clock.set(NOW.after(MONTH));
    book.look(&Reported::default()).await.unwrap();

    world.clock.set(NOW);
    world.outbox.engine.retry_what_lies_ahead().await.unwrap();
    book.look(&Reported::default()).await.unwrap();

    let due = world.outbox.reader.list_book_due(NOW.after(MONTH), 9).await.unwrap();
    assert!(due.is_empty(), "{due:?}");
    let shown = world.outbox.reader.list_shown(NOW, None, 9).await.unwrap();
    let event = Event::from_json(&shown[0].1).unwrap();
    assert_eq!(time_of(&event), NOW);
}

// spec: D30 D41
#[tokio::test]
async fn what_the_node_says_of_itself_recovers_from_a_clock_that_was_ahead() {
    let (world, _relay) = with_a_strict_relay(0).await;
    let node_events = world.node_events();
    let draft = || crate::wire::tags::relay_list(&["wss://relay.example".to_owned()]);
    world.clock.set(NOW.after(MONTH));
    assert!(node_events.try_publish(draft()).await.is_err());
    assert!(node_events.try_publish(draft()).await.is_err());

    world.clock.set(NOW);
    node_events.try_publish(draft()).await.unwrap();

    let times = world.outbox.reader.find_addressable(10_002, "").await.unwrap();
    assert_eq!(times, Some((NOW, NOW)));
}

// spec: D30 INV-7
#[test]
fn the_next_event_is_later_than_the_last_but_for_one_from_the_future_that_nobody_took() {
    let next = |last, taken, now| {
        let times = Times { last: Timestamp(last), taken: Timestamp(taken) };
        times.next(Timestamp(now)).0
    };

    assert_eq!(next(100, 100, 5_000), 5_000);
    assert_eq!(next(5_000, 100, 5_000), 5_001, "two in a second");
    assert_eq!(next(90_000, 90_000, 5_000), 90_001, "some relay has the last one");
    assert_eq!(next(90_000, 100, 5_000), 5_000);
    assert_eq!(next(90_000, 80_000, 5_000), 80_001, "some relay has one from the future");
    assert_eq!(next(5_900, 100, 5_000), 5_901, "relays may have taken it without a word");
}

impl World {
    fn node_events(&self) -> NodeEvents {
        let Book { reader, engine, relays, node, health, clock, imprint, .. } =
            self.book("regtest");
        let terms = NodeTerms {
            version: "1".to_owned(),
            commit_hash: "unknown".to_owned(),
            max_order_amount: Sats(1),
            min_order_amount: Sats(1),
            expiration_hours: 24,
            expiration_seconds: 900,
            fiat_currencies: vec![],
            max_orders_per_response: 10,
            fee: trade::Ppm(0),
            pow: 0,
            protocol_version: 2,
            hold_invoice_cltv_delta: 144,
            escrow_deadline_margin_blocks: 24,
            lnd: None,
            invoice_expiration_window: 3_000,
            hold_invoice_expiration_window: 300,
            serbero: None,
        };
        let profile = Profile::default();
        let (terms_interval, relays_interval) = (MONTH, MONTH);
        NodeEvents {
            reader,
            engine,
            relays,
            node,
            health,
            clock,
            imprint,
            terms,
            profile,
            terms_interval,
            relays_interval,
        }
    }
}
