//! A relay that has come, or come back, is shown what is public as it is now: it was away when
//! something was published, or it has lost what it had.
//!
//! The events are those that were signed before, so a relay that has them has nothing to do.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::join_all;
use tokio::sync::watch;

use super::OutboxError;
use crate::clock::Clock;
use crate::nostr::{Event, Hearing, JsonUtil as _, RelayError, Relays};
use crate::store::Reader;
use crate::tasks::Shutdown;
use crate::wire::tags;

/// Events sent to one relay at once.
const SIDE_BY_SIDE: usize = 8;

/// Orders read at once.
const PAGE: u32 = 200;

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
    pub async fn run(self, mut shutdown: Shutdown) {
        let greeting = join_all((0..self.relays.count()).map(|relay| self.greet(relay)));
        tokio::select! {
            () = shutdown.requested() => {}
            // Nobody listens any more, so nobody comes.
            _ = greeting => shutdown.requested().await,
        }
    }

    /// Shows one relay everything, each time it comes.
    async fn greet(&self, relay: usize) {
        let mut hearing = self.relays.hearing();
        let mut greeted = 0;
        while let Some(arrivals) = more_arrivals(&mut hearing, relay, greeted).await {
            greeted = arrivals;
            match self.show_all(relay).await {
                Ok(shown) => tracing::debug!(relay, ?shown, "the public events were shown"),
                Err(error) => {
                    tracing::error!(error = crate::chain(&error), "the public book cannot be read");
                }
            }
        }
    }

    async fn show_all(&self, relay: usize) -> Result<Shown, OutboxError> {
        let now = self.clock.now();
        let mut shown = Shown::default();
        let of_node = self.reader.list_addressable(tags::OF_NODE).await?;
        self.show(relay, of_node, &mut shown).await;
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
                    .map_err(|_| OutboxError::Unreadable("a saved public event"))?;
                Ok::<_, OutboxError>(self.relays.publish_at(relay, &event).await?)
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
                    tracing::debug!(error = crate::chain(&error), "a public event was not taken");
                }
            }
        }
    }
}

async fn more_arrivals(
    hearing: &mut watch::Receiver<Hearing>,
    relay: usize,
    known: u64,
) -> Option<u64> {
    let now = hearing.wait_for(|now| now.arrivals_of(relay) > known).await.ok()?;
    Some(now.arrivals_of(relay))
}
