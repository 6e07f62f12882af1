//! Messages that a clock running ahead has dated or postponed, once the clock is corrected.

use super::*;
use crate::nostr::time_of;

/// A relay with a correct clock that refuses events from the future and old ones.
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

/// A fixture with such a relay, and the values that must not be dropped before it.
pub(crate) async fn with_a_strict_relay(people: u8) -> (OutboxFixture, impl Drop) {
    let relay = LocalRelay::new(RelayBuilder::default().write_policy(Strict));
    relay.run().await.unwrap();
    let (fixture, listener) =
        OutboxFixture::new(vec![relay.url().await.to_string()], people, 0).await;
    let (sender, cursor) = tokio::sync::watch::channel(NOW);
    let mut listening = JoinSet::new();
    listening.spawn(async move {
        let _alive = (relay, sender);
        listener.run(cursor).await;
    });
    let mut subscriptions = fixture.outbox.messenger.relays.subscriptions();
    subscriptions.wait_for(crate::nostr::Subscriptions::is_reachable).await.unwrap();
    (fixture, listening)
}

pub(crate) const MONTH: Duration = Duration::from_hours(30 * 24);

// spec: D31 D41
#[tokio::test]
async fn a_message_dated_by_a_fast_clock_is_sent_once_the_clock_is_corrected() {
    let (fixture, _relay) = with_a_strict_relay(1).await;
    fixture.clock.set(NOW.after(MONTH));
    fixture.run_due().await;
    assert_eq!(fixture.count("event is not null and seals = 0 and attempts = 1").await, 1);

    fixture.clock.set(NOW);
    fixture.outbox.engine.write(Write::RetryWhatLiesAhead).await.unwrap();
    fixture.run_due().await;

    assert_eq!(fixture.count("done_at is not null and seals = 1").await, 1);
}

// spec: D31
#[tokio::test]
async fn a_message_that_relays_refuse_as_too_old_is_resealed_at_once() {
    let (fixture, _relay) = with_a_strict_relay(1).await;
    fixture.clock.set(Timestamp(NOW.0 - 1_800));
    fixture.outbox.engine.write(Write::RetryWhatLiesAhead).await.unwrap();
    fixture.run_due().await;
    assert_eq!(fixture.count("event is not null and seals = 0 and attempts = 1").await, 1);

    fixture.clock.set(NOW);
    fixture.run_due().await;

    assert_eq!(fixture.count("done_at is not null and seals = 1").await, 1);
}

// spec: D31 INV-6
#[tokio::test]
async fn a_message_stays_the_same_while_no_relay_answers() {
    let (fixture, _) = OutboxFixture::new(vec![], 1, 0).await;
    for _ in 0..5 {
        fixture.run_due().await;
        fixture.clock.advance(LONGEST_RETRY);
    }

    assert_eq!(fixture.count("attempts = 5 and event is not null and seals = 0").await, 1);
}
