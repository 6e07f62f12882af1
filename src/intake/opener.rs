//! Opens an event: the message in it, whether it is honoured, and the lane it is handled in.

use std::sync::Arc;
use std::time::Duration;

use trade::{Destination, Policy, Timestamp};

use super::age::{self, Age};
use super::handler::order_id;
use super::lanes::Lane;
use crate::nostr::{Dropped, Event, EventRequirements, Keys, Opened, Transport, open, precheck};
use crate::store::{EventId, Known, Part, Reader, StoreError};
use crate::wire::action::Action;
use crate::wire::command;
use crate::wire::message::MAX_EVENT_BYTES;
use crate::wire::payload::Payload;

/// How long to wait when the database does not answer.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(super) struct Opener {
    pub(super) node: Keys,
    pub(super) pow: u8,
    pub(super) transports: Arc<[Transport]>,
    pub(super) catch_up: Duration,
    pub(super) policy: Policy,
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

/// What an event turned out to be.
#[derive(Debug)]
pub(super) enum Opening {
    Handle(Box<Received>),
    /// A stranger's request that nothing is done about, and that gets no answer.
    Unanswerable,
}

impl Opener {
    /// Decrypts and checks an event, on a thread for blocking work. None if it is to be ignored, which
    /// includes an event that was acted on before.
    pub(super) async fn open(self, event: Event, at: Timestamp) -> Option<Opening> {
        let bytes = event.content.len();
        let id = event.id;
        let log = move |dropped: &Dropped| tracing::debug!(event.id = %id, %dropped, "dropped");
        let candidate = precheck(event, &self.node, &self.required()).inspect_err(log).ok()?;
        let node = self.node.clone();
        let opening =
            tokio::task::spawn_blocking(move || open(&candidate, &node).inspect_err(log).ok());
        let opened = opening.await.inspect_err(|error| {
            tracing::error!(%error, "opening an event panicked; please report this");
        });
        let opened = opened.ok()??;
        let known = self.known(&opened).await;
        if known.is_remembered {
            return None;
        }
        if self.is_unanswerable(&opened, &known) {
            return Some(Opening::Unanswerable);
        }
        self.judged(opened, known.part, bytes, at)
            .map(|received| Opening::Handle(Box::new(received)))
    }

    /// Whether a stranger's message can only be refused while no refusal can be stored: then the writer
    /// need not decide it (D42).
    fn is_unanswerable(&self, opened: &Opened, known: &Known) -> bool {
        if known.has_place {
            return false;
        }
        let body = &opened.message.body;
        match (&body.payload, body.id) {
            (_, Some(_)) => !known.order_exists,
            (Some(Payload::Order(order)), None) if body.action == Action::NewOrder => {
                command::new_order(order, |_| Destination::Unsupported)
                    .amount(&self.policy)
                    .is_err()
            }
            (_, None) => false,
        }
    }

    fn required(&self) -> EventRequirements<'_> {
        let max_bytes = MAX_EVENT_BYTES as usize;
        EventRequirements { pow: self.pow, max_bytes, transports: &self.transports }
    }

    fn judged(
        &self,
        opened: Opened,
        part: Option<Part>,
        bytes: usize,
        at: Timestamp,
    ) -> Option<Received> {
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

    async fn known(&self, opened: &Opened) -> Known {
        let event = EventId(opened.event_id.to_bytes());
        let rumor = opened.rumor_id.map(|id| EventId(id.to_bytes()));
        let order = opened.message.body.id.map(order_id);
        loop {
            match self.reader.find_known(event, rumor, order, opened.sender).await {
                Ok(known) => return known,
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
