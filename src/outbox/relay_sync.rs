//! Brings a relay up to date when its subscription opens: it is sent the messages that others accepted
//! while it was away, for clients that use no other relay, and the current public events, which it may
//! have missed or lost.
//!
//! The events are those that were signed before, so a relay that has them ignores them.

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
const MAX_CONCURRENT: usize = 8;

/// Orders read at once.
const PAGE_SIZE: u32 = 200;

/// How long the loss of a relay may stay undetected.
const DETECTION_TIME: Duration = Duration::from_mins(15);

/// Older messages are not sent again, however long the relay was away.
const MAX_MESSAGE_AGE: Duration = Duration::from_hours(24);

/// If there are more messages, the newest ones are sent.
const MAX_MESSAGES: u32 = 5_000;

#[derive(Debug)]
pub struct RelaySync {
    pub reader: Reader,
    pub relays: Relays,
    pub clock: Arc<dyn Clock>,
}

/// What a relay did with the events it was sent.
#[derive(Debug, Default, Clone, Copy)]
struct SyncResult {
    accepted: usize,
    /// Many relays refuse an event that is older than theirs, which is no failure.
    refused: usize,
    is_disconnected: bool,
}

impl RelaySync {
    pub async fn run(self, shutdown: CancellationToken) {
        let all_relays = join_all((0..self.relays.count()).map(|relay| self.keep_in_sync(relay)));
        tokio::select! {
            () = shutdown.cancelled() => {}
            // The listener has ended, so no relay connects any more.
            _ = all_relays => shutdown.cancelled().await,
        }
    }

    /// Sends one relay everything, each time its subscription opens.
    async fn keep_in_sync(&self, relay: usize) {
        let mut subscriptions = self.relays.subscriptions();
        let mut openings = 0;
        // Since when it was away, until it has been sent what it missed.
        let mut away_since: Option<Timestamp> = None;
        while let Some((count, received_until)) =
            next_opening(&mut subscriptions, relay, openings).await
        {
            openings = count;
            let since = away_since.map_or(received_until, |since| since.min(received_until));
            away_since = Some(since);
            match self.send_all(relay, since).await {
                Ok(result) => {
                    tracing::debug!(relay, ?result, "a relay was sent what it missed");
                    away_since = away_since.filter(|_| result.is_disconnected);
                }
                Err(error) => {
                    let error = crate::error_chain(&error);
                    tracing::error!(error, "what a relay missed cannot be read");
                }
            }
        }
    }

    async fn send_all(
        &self,
        relay: usize,
        away_since: Timestamp,
    ) -> Result<SyncResult, OutboxError> {
        let now = self.clock.now();
        let mut result = SyncResult::default();
        let since = before(away_since, DETECTION_TIME).max(before(now, MAX_MESSAGE_AGE));
        let messages = self.reader.list_sent(since, now, MAX_MESSAGES).await?;
        self.send(relay, messages, &mut result).await;
        let own_events = self.reader.list_own_events().await?;
        self.send(relay, own_events, &mut result).await;
        let mut after = None;
        while !result.is_disconnected {
            let page = self.reader.list_shown(now, after, PAGE_SIZE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            self.send(relay, page.into_iter().map(|(_, event)| event), &mut result).await;
        }
        Ok(result)
    }

    async fn send(
        &self,
        relay: usize,
        events: impl IntoIterator<Item = String>,
        result: &mut SyncResult,
    ) {
        let answers = futures::stream::iter(events)
            .map(|event| async move {
                let event = Event::from_json(event)
                    .map_err(|_| OutboxError::Unreadable("a saved event"))?;
                Ok::<_, OutboxError>(self.relays.publish_to(relay, &event).await?)
            })
            .buffer_unordered(MAX_CONCURRENT);
        let mut answers = std::pin::pin!(answers);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(()) => result.accepted += 1,
                Err(OutboxError::Relay(RelayError::NoneConnected)) => {
                    result.is_disconnected = true;
                    return;
                }
                Err(error) => {
                    result.refused += 1;
                    tracing::debug!(
                        error = crate::error_chain(&error),
                        "an event was not accepted"
                    );
                }
            }
        }
    }
}

/// Waits until a relay's subscription has opened more often than `known`. Returns how often, and until
/// when everything from the relay had been received before.
async fn next_opening(
    subscriptions: &mut watch::Receiver<Subscriptions>,
    relay: usize,
    known: u64,
) -> Option<(u64, Timestamp)> {
    let has_opened = |now: &Subscriptions| now.openings_of(relay) > known;
    let now = subscriptions.wait_for(has_opened).await.ok()?;
    Some((now.openings_of(relay), now.received_until(relay)?))
}

fn before(at: Timestamp, time: Duration) -> Timestamp {
    Timestamp(at.0.saturating_sub_unsigned(time.as_secs()))
}
