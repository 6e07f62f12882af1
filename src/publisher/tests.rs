use nostr_sdk::JsonUtil as _;
use trade::{OrderId, Timestamp};

use super::*;
use crate::outbox::tests::clock::{MONTH, with_a_strict_relay};
use crate::outbox::tests::{OutboxFixture, readiness};
use crate::retry::LONGEST_RETRY;

const NOW: Timestamp = Timestamp(1_800_000_000);
const ORDER: PublicationId = PublicationId::Order(OrderId([1; 16]));

/// The event that was signed for a due row, and that no relay accepted.
async fn waiting(publisher: &Publisher, id: PublicationId) -> Event {
    let due = publisher.reader.list_publications_due(NOW.after(LONGEST_RETRY), 9).await.unwrap();
    let row = due.into_iter().find(|row| row.id == id).expect("it is due");
    Event::from_json(row.event.expect("it was signed before it could not be sent")).unwrap()
}

fn tag(event: &Event, name: &str) -> Option<String> {
    let tag = event.tags.iter().find(|tag| tag.as_slice()[0] == name)?;
    tag.content().map(str::to_owned)
}

// spec: D15
#[tokio::test]
async fn an_order_is_published_with_the_network_that_lnd_named_last() {
    let (fixture, _) = OutboxFixture::new(vec![], 0, 0).await;
    let (lnd, health) = tokio::sync::watch::channel(Some(readiness("regtest")));
    let mut publisher = Publisher { health, ..fixture.publisher("mainnet") };

    publisher.update_from_lnd();
    lnd.send_replace(None);
    publisher.update_from_lnd();
    publisher.publish_due().await.unwrap();

    let event = waiting(&publisher, ORDER).await;
    assert_eq!(tag(&event, "network").as_deref(), Some("regtest"));
}

// spec: D15
#[tokio::test]
async fn an_event_shows_the_state_at_the_time_of_signing() {
    // The order was created and has ended before anything was published.
    let (fixture, _) = OutboxFixture::new(vec![], 0, 0).await;
    let publisher = fixture.publisher("regtest");

    publisher.publish_due().await.unwrap();

    assert_eq!(tag(&waiting(&publisher, ORDER).await, "s").as_deref(), Some("canceled"));
}

#[tokio::test]
async fn the_nodes_own_events_wait_until_it_is_reachable() {
    let (fixture, _) = OutboxFixture::new(vec![], 0, 0).await;
    let mut publisher = fixture.publisher("regtest");

    publisher.renew_own_events().await;

    let due = publisher.reader.list_publications_due(NOW, 9).await.unwrap();
    assert_eq!(due.iter().map(|row| row.id).collect::<Vec<_>>(), [ORDER]);
}

#[tokio::test]
async fn the_profile_is_published_once_and_the_other_own_events_at_intervals_or_when_lnd_changes() {
    use PublicationId::{Info, Profile, RelayList};

    let (fixture, _relay) = with_a_strict_relay(0).await;
    let mut publisher = fixture.publisher("regtest");
    let renewed = async |publisher: &mut Publisher| {
        publisher.update_from_lnd();
        publisher.renew_own_events().await;
        let due = publisher.reader.list_publications_due(NOW, 9).await.unwrap();
        let ids: Vec<_> = due.iter().map(|row| row.id).filter(|id| *id != ORDER).collect();
        publisher.publish_due().await.unwrap();
        ids
    };
    assert_eq!(renewed(&mut publisher).await, [Info, Profile, RelayList]);
    assert_eq!(renewed(&mut publisher).await, []);
    fixture.clock.advance(Duration::from_mins(1));
    assert_eq!(renewed(&mut publisher).await, [RelayList]);
    let (_, health) = tokio::sync::watch::channel(Some(readiness("signet")));
    publisher.health = health;
    assert_eq!(renewed(&mut publisher).await, [Info]);
    fixture.clock.advance(Duration::from_mins(5));
    assert_eq!(renewed(&mut publisher).await, [Info, RelayList]);
}

// spec: D30 D41
#[tokio::test]
async fn an_order_dated_by_a_fast_clock_is_published_with_the_present_time() {
    let (fixture, _relay) = with_a_strict_relay(0).await;
    let publisher = fixture.publisher("regtest");
    fixture.clock.set(NOW.after(MONTH));
    publisher.publish_due().await.unwrap();

    fixture.clock.set(NOW);
    publisher.engine.write(Write::RetryWhatLiesAhead).await.unwrap();
    publisher.publish_due().await.unwrap();

    let due = publisher.reader.list_publications_due(NOW.after(MONTH), 9).await.unwrap();
    assert!(due.is_empty(), "{due:?}");
    let shown = publisher.reader.list_shown(NOW, None, 9).await.unwrap();
    let event = Event::from_json(&shown[0].1).unwrap();
    assert_eq!(time_of(&event), NOW);
}

// spec: D30 D41
#[tokio::test]
async fn an_own_event_dated_by_a_fast_clock_is_published_with_the_present_time() {
    let (fixture, _relay) = with_a_strict_relay(0).await;
    let publisher = fixture.publisher("regtest");
    publisher.engine.write(Write::RenewPublication(PublicationId::RelayList)).await.unwrap();
    fixture.clock.set(NOW.after(MONTH));
    publisher.publish_due().await.unwrap();
    let due = publisher.reader.list_publications_due(NOW.after(MONTH * 2), 9).await.unwrap();
    assert!(due.iter().any(|row| row.id == PublicationId::RelayList), "{due:?}");

    fixture.clock.set(NOW);
    publisher.engine.write(Write::RetryWhatLiesAhead).await.unwrap();
    publisher.publish_due().await.unwrap();

    let due = publisher.reader.list_publications_due(NOW.after(MONTH), 9).await.unwrap();
    assert!(due.is_empty(), "{due:?}");
    let own = publisher.reader.list_own_events().await.unwrap();
    assert_eq!(time_of(&Event::from_json(&own[0]).unwrap()), NOW);
}

// spec: D30 INV-7
#[test]
fn the_next_event_is_later_than_the_last_unless_that_was_from_the_future_and_never_accepted() {
    let next = |last, accepted, now| {
        let times = EventTimes { last: Timestamp(last), accepted: Timestamp(accepted) };
        times.next(Timestamp(now)).0
    };

    assert_eq!(next(100, 100, 5_000), 5_000);
    assert_eq!(next(5_000, 100, 5_000), 5_001, "two in a second");
    assert_eq!(next(90_000, 90_000, 5_000), 90_001, "some relay has the last one");
    assert_eq!(next(90_000, 100, 5_000), 5_000);
    assert_eq!(next(90_000, 80_000, 5_000), 80_001, "some relay has one from the future");
    assert_eq!(next(5_900, 100, 5_000), 5_901, "relays may have accepted it without an answer");
}
