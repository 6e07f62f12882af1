//! What a clock that ran ahead has dated and put off, once it is right again (D31, D41).

use super::*;
use crate::nostr::time_of;

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

/// A fixture with such a relay, and whatever must live as long as it.
pub(crate) async fn with_a_strict_relay(people: u8) -> (OutboxFixture, impl Drop) {
    let relay = LocalRelay::new(RelayBuilder::default().write_policy(Strict));
    relay.run().await.unwrap();
    let (fixture, listener) =
        OutboxFixture::new(vec![relay.url().await.to_string()], people, 0).await;
    let (cursor, heard) = tokio::sync::watch::channel(NOW);
    let mut listening = JoinSet::new();
    listening.spawn(async move {
        let _alive = (relay, cursor);
        listener.run(heard).await;
    });
    let mut subscriptions = fixture.outbox.messenger.relays.subscriptions();
    subscriptions.wait_for(crate::nostr::Subscriptions::is_reachable).await.unwrap();
    (fixture, listening)
}

pub(crate) const MONTH: Duration = Duration::from_hours(30 * 24);

// spec: D31 D41
#[tokio::test]
async fn a_message_that_a_fast_clock_dated_goes_out_once_the_clock_is_right() {
    let (fixture, _relay) = with_a_strict_relay(1).await;
    fixture.clock.set(NOW.after(MONTH));
    fixture.look().await;
    assert_eq!(fixture.count("event is not null and seals = 0 and attempts = 1").await, 1);

    fixture.clock.set(NOW);
    fixture.outbox.engine.write(Write::RetryWhatLiesAhead).await.unwrap();
    fixture.look().await;

    assert_eq!(fixture.count("done_at is not null and seals = 1").await, 1);
}

// spec: D31
#[tokio::test]
async fn a_message_that_relays_call_too_old_is_sealed_anew_at_once() {
    let (fixture, _relay) = with_a_strict_relay(1).await;
    fixture.clock.set(Timestamp(NOW.0 - 1_800));
    fixture.outbox.engine.write(Write::RetryWhatLiesAhead).await.unwrap();
    fixture.look().await;
    assert_eq!(fixture.count("event is not null and seals = 0 and attempts = 1").await, 1);

    fixture.clock.set(NOW);
    fixture.look().await;

    assert_eq!(fixture.count("done_at is not null and seals = 1").await, 1);
}

// spec: D31 INV-6
#[tokio::test]
async fn silence_of_the_relays_changes_no_bytes() {
    let (fixture, _) = OutboxFixture::new(vec![], 1, 0).await;
    for _ in 0..5 {
        fixture.look().await;
        fixture.clock.advance(LONGEST_RETRY);
    }

    assert_eq!(fixture.count("attempts = 5 and event is not null and seals = 0").await, 1);
}
