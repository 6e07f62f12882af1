//! A relay that has come, or come back, is sent the messages that others took while it was away, for
//! those who read nowhere else; and it is shown what is public as it is now: it was away when
//! something was published, or it has lost what it had.
//!
//! The events are those that were signed before, so a relay that has them has nothing to do (INV-6).

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trade::Timestamp;

use super::OutboxError;
use crate::clock::Clock;
use crate::nostr::{Event, JsonUtil as _, RelayError, Relays, Subscriptions};
use crate::store::Reader;

/// Events sent to one relay at once.
const SIDE_BY_SIDE: usize = 8;

/// Orders read at once.
const PAGE: u32 = 200;

/// How much later than it happened the loss of a relay may be noticed.
const NOTICED_WITHIN: Duration = Duration::from_mins(15);

/// Messages that are older are not sent anew, however long the relay was away.
const OF_USE: Duration = Duration::from_hours(24);

/// If there are more messages, the newest.
const MOST_MESSAGES: u32 = 5_000;

#[derive(Debug)]
pub struct Arrivals {
    pub reader: Reader,
    pub relays: Relays,
    pub clock: Arc<dyn Clock>,
}

/// What a relay did with what it was shown.
#[derive(Debug, Default, Clone, Copy)]
struct Shown {
    taken: usize,
    /// Many relays refuse what is older than what they have, which is as well.
    refused: usize,
    has_left: bool,
}

impl Arrivals {
    pub async fn run(self, shutdown: CancellationToken) {
        let greeting = join_all((0..self.relays.count()).map(|relay| self.greet(relay)));
        tokio::select! {
            () = shutdown.cancelled() => {}
            // Nobody listens any more, so nobody comes.
            _ = greeting => shutdown.cancelled().await,
        }
    }

    /// Shows one relay everything, each time it comes.
    async fn greet(&self, relay: usize) {
        let mut subscriptions = self.relays.subscriptions();
        let mut greeted = 0;
        // Since when it was away, until it has been sent what it missed.
        let mut away_since: Option<Timestamp> = None;
        while let Some((arrivals, received_until)) =
            more_arrivals(&mut subscriptions, relay, greeted).await
        {
            greeted = arrivals;
            let since = away_since.map_or(received_until, |since| since.min(received_until));
            away_since = Some(since);
            match self.show_all(relay, since).await {
                Ok(shown) => {
                    tracing::debug!(relay, ?shown, "what it missed was sent");
                    away_since = away_since.filter(|_| shown.has_left);
                }
                Err(error) => {
                    let error = crate::error_chain(&error);
                    tracing::error!(error, "what a relay missed cannot be read");
                }
            }
        }
    }

    async fn show_all(&self, relay: usize, away_since: Timestamp) -> Result<Shown, OutboxError> {
        let now = self.clock.now();
        let mut shown = Shown::default();
        let since = before(away_since, NOTICED_WITHIN).max(before(now, OF_USE));
        let messages = self.reader.list_sent(since, now, MOST_MESSAGES).await?;
        self.show(relay, messages, &mut shown).await;
        let own_events = self.reader.list_own_events().await?;
        self.show(relay, own_events, &mut shown).await;
        let mut after = None;
        while !shown.has_left {
            let page = self.reader.list_shown(now, after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            self.show(relay, page.into_iter().map(|(_, event)| event), &mut shown).await;
        }
        Ok(shown)
    }

    async fn show(
        &self,
        relay: usize,
        events: impl IntoIterator<Item = String>,
        shown: &mut Shown,
    ) {
        let answers = futures::stream::iter(events)
            .map(|event| async move {
                let event = Event::from_json(event)
                    .map_err(|_| OutboxError::Unreadable("a saved event"))?;
                Ok::<_, OutboxError>(self.relays.publish_to(relay, &event).await?)
            })
            .buffer_unordered(SIDE_BY_SIDE);
        let mut answers = std::pin::pin!(answers);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(()) => shown.taken += 1,
                Err(OutboxError::Relay(RelayError::NoneConnected)) => {
                    shown.has_left = true;
                    return;
                }
                Err(error) => {
                    shown.refused += 1;
                    tracing::debug!(error = crate::error_chain(&error), "an event was not taken");
                }
            }
        }
    }
}

/// How often it has come, once that is more than known, and until when it had been heard before.
async fn more_arrivals(
    subscriptions: &mut watch::Receiver<Subscriptions>,
    relay: usize,
    known: u64,
) -> Option<(u64, Timestamp)> {
    let has_come = |now: &Subscriptions| now.openings_of(relay) > known;
    let now = subscriptions.wait_for(has_come).await.ok()?;
    Some((now.openings_of(relay), now.received_until(relay)?))
}

fn before(at: Timestamp, time: Duration) -> Timestamp {
    Timestamp(at.0.saturating_sub_unsigned(time.as_secs()))
}
