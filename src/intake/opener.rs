//! Opens an event: the message in it, whether it is honoured, and the lane it is handled in.

use std::sync::Arc;
use std::time::Duration;

use trade::Timestamp;

use super::age::{self, Age};
use super::handler::order_id;
use super::lanes::Lane;
use crate::nostr::{Dropped, Event, EventRequirements, Keys, Opened, Transport, open, precheck};
use crate::store::{EventId, Part, Reader, StoreError};
use crate::wire::message::MAX_EVENT_BYTES;

/// How long to wait when the database does not answer.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(super) struct Opener {
    pub(super) node: Keys,
    pub(super) pow: u8,
    pub(super) transports: Arc<[Transport]>,
    pub(super) catch_up: Duration,
    pub(super) reader: Reader,
}

/// A message with a proven sender that is to be handled.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) opened: Opened,
    pub(super) lane: Lane,
    pub(super) bytes: usize,
    pub(super) age: Age,
    /// When the sender's running trade began.
    pub(super) taken_at: Option<Timestamp>,
}

impl Opener {
    /// Decrypts and checks an event, on a thread for blocking work. None if it is to be ignored, which
    /// includes an event that was acted on before.
    pub(super) async fn open(self, event: Event, at: Timestamp) -> Option<Received> {
        let bytes = event.content.len();
        let id = event.id;
        let log = move |dropped: &Dropped| tracing::debug!(event.id = %id, %dropped, "dropped");
        let candidate = precheck(event, &self.node, &self.required()).inspect_err(log).ok()?;
        if self.is_remembered(EventId(id.to_bytes())).await {
            return None;
        }
        let node = self.node.clone();
        let opening =
            tokio::task::spawn_blocking(move || open(&candidate, &node).inspect_err(log).ok());
        let opened = opening.await.inspect_err(|error| {
            tracing::error!(%error, "opening an event panicked; please report this");
        });
        let opened = opened.ok()??;
        // The same message may come in another wrap.
        if let Some(rumor) = opened.rumor_id
            && self.is_remembered(EventId(rumor.to_bytes())).await
        {
            return None;
        }
        self.judged(opened, bytes, at).await
    }

    fn required(&self) -> EventRequirements<'_> {
        let max_bytes = MAX_EVENT_BYTES as usize;
        EventRequirements { pow: self.pow, max_bytes, transports: &self.transports }
    }

    async fn judged(&self, opened: Opened, bytes: usize, at: Timestamp) -> Option<Received> {
        let part = self.part_of(&opened).await;
        let taken_at = part.and_then(|part| part.taken_at);
        let age = self.age(&opened, at, taken_at);
        if let Age::Stale(reason) = age {
            tracing::debug!(event.id = %opened.event_id, reason, "not honoured");
            return None;
        }
        // Only the parties of a running order may use its lane: others could delay them.
        let lane = match (part, opened.message.body.id) {
            (Some(_), Some(order)) => Lane::Order(order_id(order)),
            _ => Lane::Sender(opened.sender),
        };
        Some(Received { opened, lane, bytes, age, taken_at })
    }

    pub(super) fn age(&self, opened: &Opened, at: Timestamp, taken_at: Option<Timestamp>) -> Age {
        age::judge(opened, at, self.catch_up, taken_at)
    }

    async fn part_of(&self, opened: &Opened) -> Option<Part> {
        let order = order_id(opened.message.body.id?);
        loop {
            match self.reader.find_part(order, opened.sender).await {
                Ok(part) => return part,
                Err(error) => pause_after(&error).await,
            }
        }
    }

    async fn is_remembered(&self, id: EventId) -> bool {
        loop {
            match self.reader.is_remembered(id).await {
                Ok(answer) => return answer,
                Err(error) => pause_after(&error).await,
            }
        }
    }
}

/// Without an answer of the database a message cannot be judged: it waits.
async fn pause_after(error: &StoreError) {
    tracing::warn!(%error, "the database does not answer; a message is retried in {RETRY:?}");
    tokio::time::sleep(RETRY).await;
}
