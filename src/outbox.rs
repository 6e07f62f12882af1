//! What was committed is carried out, at least once: messages, Lightning commands, alarms.
//!
//! Rows lie in lanes (`dm:<trade key>`, `ln:<hash>`): within a lane strictly one after the other,
//! across lanes side by side up to a limit. Messages have places of their own: however many wait for
//! a silent relay, no Lightning command waits for them. A row is done in the transaction that applies
//! its news. Failure means: due later. Nothing is dropped after some number of tries.

mod arrivals;
mod book;
mod lightning;
mod messages;
mod node_events;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use trade::{Input, Observation};

pub use arrivals::Arrivals;
pub use book::Book;
pub use messages::Messenger;
pub use node_events::NodeEvents;

use crate::clock::Clock;
use crate::crash;
use crate::engine::{Engine, EngineError};
use crate::lightning::{LightningError, LightningNode};
use crate::nostr::{EventError, RelayError, SealError};
use crate::store::{Act, OutboxId, OutboxRow, Reader, StoreError, Stuck};
use crate::tasks::Shutdown;
use lightning::ToLightning;

/// Messages under way at once, and as many other acts.
const SIDE_BY_SIDE: usize = 64;

/// How long the loop sleeps when nothing rings.
const IDLE: Duration = Duration::from_secs(1);

/// The longest wait when LND is not ready, or has not done it yet. The first ones are shorter, for
/// somebody may be waiting for the answer (D17).
const LONGEST_NOT_YET: Duration = Duration::from_secs(5);

/// How long shutdown waits for acts under way.
const LAST_ACTS: Duration = Duration::from_secs(10);

/// The first wait after a failure; doubled with every further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The longest wait between two tries.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub struct Outbox {
    reader: Reader,
    engine: Engine,
    clock: Arc<dyn Clock>,
    lightning: ToLightning,
    messenger: Messenger,
    stuck: Reported<OutboxId>,
}

/// How an act went.
#[derive(Debug)]
enum Delivered {
    Done(Option<Observation>),
    NotYet(&'static str),
}

/// The world says not now, or we are wrong; either way the row stays.
#[derive(Debug, thiserror::Error)]
enum OutboxError {
    #[error("the database did not do its part")]
    Store(#[from] StoreError),
    #[error("the engine did not do its part")]
    Engine(#[from] EngineError),
    #[error("LND did not do its part")]
    Lightning(#[from] LightningError),
    #[error("the relays did not do their part")]
    Relay(#[from] RelayError),
    #[error("a message cannot be sealed")]
    Seal(#[from] SealError),
    #[error("a public event cannot be signed")]
    Sign(#[from] EventError),
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
}

impl Outbox {
    #[must_use]
    pub fn new(
        node: Arc<dyn LightningNode>,
        messenger: Messenger,
        reader: Reader,
        engine: Engine,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let lightning = ToLightning { node, reader: reader.clone(), engine: engine.clone() };
        let stuck = Reported::default();
        Arc::new(Self { reader, engine, clock, lightning, messenger, stuck })
    }

    /// Carries out whatever is due, until shutdown; then lets what is under way come to its end.
    pub async fn run(self: Arc<Self>, mut shutdown: Shutdown) {
        let mut changes = self.engine.bell();
        let mut lanes = BusyLanes::default();
        loop {
            if let Err(error) = self.start_due(&mut lanes).await {
                tracing::error!(%error, "the outbox cannot be read");
            }
            tokio::select! {
                () = shutdown.requested() => break,
                Ok(()) = changes.changed() => {}
                () = lanes.one_done() => {}
                () = tokio::time::sleep(IDLE) => {}
            }
        }
        lanes.finish().await;
    }

    async fn start_due(self: &Arc<Self>, lanes: &mut BusyLanes) -> Result<(), StoreError> {
        // The busy ones are among those that are due.
        let limit = u32::try_from(SIDE_BY_SIDE).unwrap_or(u32::MAX);
        for row in self.reader.list_acts_due(self.clock.now(), limit).await? {
            let outbox = Arc::clone(self);
            match row {
                Ok(row) => {
                    let lane = row.lane.clone();
                    lanes.start_if_free(lane, async move { outbox.carry_out(row).await });
                }
                Err(row) => {
                    let lane = format!("unreadable:{}", row.id.0);
                    lanes.start_if_free(lane, async move { outbox.set_aside(row).await });
                }
            }
        }
        Ok(())
    }

    /// Tries one act once and saves how it went.
    pub async fn carry_out(&self, row: OutboxRow) {
        match self.act(&row).await {
            Ok(Delivered::Done(news)) => {
                match self.engine.finish_act(row.id, news.map(Input::Lightning)).await {
                    Ok(_) => self.stuck.is_over(&row.id),
                    Err(error) => self.try_again_later(&row, &error.into()).await,
                }
            }
            Ok(Delivered::NotYet(reason)) => {
                tracing::debug!(outbox.lane = row.lane, reason, "not yet");
                self.put_off(row.id, not_yet(row.attempts)).await;
            }
            Err(error) => self.try_again_later(&row, &error).await,
        }
        crash::point("outbox.finished");
    }

    async fn try_again_later(&self, row: &OutboxRow, error: &OutboxError) {
        let wait = backoff(row.attempts);
        let (lane, chain) = (&row.lane, crate::chain(error));
        if !error.is_ours() {
            tracing::warn!(outbox.lane = lane, error = chain, "again in {wait:?}");
        } else if self.stuck.is_news(row.id) {
            tracing::error!(outbox.lane = lane, error = chain, "an act is stuck, and its lane");
        }
        self.put_off(row.id, wait).await;
    }

    /// A row that cannot be read is put off as well, or it would take the place of others.
    async fn set_aside(&self, Stuck { id, error }: Stuck<OutboxId>) {
        if self.stuck.is_news(id) {
            tracing::error!(outbox.id = id.0, %error, "an act cannot be read; its lane stands");
        }
        self.put_off(id, LONGEST_RETRY).await;
    }

    async fn put_off(&self, id: OutboxId, wait: Duration) {
        if let Err(error) = self.engine.retry_act(id, self.clock.now().after(wait)).await {
            tracing::debug!(outbox.id = id.0, %error, "an act could not be put off");
            // It is still due: without a pause it would be tried in a circle.
            tokio::time::sleep(FIRST_RETRY).await;
        }
    }

    async fn act(&self, row: &OutboxRow) -> Result<Delivered, OutboxError> {
        match &row.act {
            Act::Notify(message) => self.messenger.deliver(row, message).await,
            Act::Lightning(command) => {
                self.lightning.carry_out(row.id, row.begun_at.is_some(), command.clone()).await
            }
            Act::Alarm(alarm) => {
                let order = row.order.map(|order| order.to_string()).unwrap_or_default();
                tracing::error!(order.id = order, "ALARM: {alarm}");
                Ok(Delivered::quietly())
            }
        }
    }
}

impl OutboxError {
    /// Whether something of ours is wrong, and stays so until somebody looks.
    fn is_ours(&self) -> bool {
        match self {
            Self::Lightning(_) | Self::Relay(_) => false,
            Self::Store(error) => !error.is_unavailable(),
            Self::Engine(error) => !error.is_unavailable(),
            Self::Seal(_) | Self::Sign(_) | Self::Unreadable(_) => true,
        }
    }
}

impl Delivered {
    fn quietly() -> Self {
        Self::Done(None)
    }

    fn with(news: Observation) -> Self {
        Self::Done(Some(news))
    }
}

/// The lanes with an act under way. One act a lane, so that order is kept.
#[derive(Debug, Default)]
struct BusyLanes {
    acts: JoinSet<()>,
    lanes: HashMap<Id, String>,
    names: HashSet<String>,
}

impl BusyLanes {
    fn start_if_free(&mut self, lane: String, act: impl Future<Output = ()> + Send + 'static) {
        let alike = self.names.iter().filter(|name| is_message(name) == is_message(&lane));
        if alike.count() < SIDE_BY_SIDE && self.names.insert(lane.clone()) {
            let id = self.acts.spawn(act).id();
            self.lanes.insert(id, lane);
        }
    }

    /// Waits for an act to end; for ever if there is none. Cancel safe.
    async fn one_done(&mut self) {
        let id = match self.acts.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => {
                tracing::error!(%error, "an act broke; it is tried again");
                error.id()
            }
            None => std::future::pending().await,
        };
        if let Some(lane) = self.lanes.remove(&id) {
            self.names.remove(&lane);
        }
    }

    async fn finish(mut self) {
        let all = async { while self.acts.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_ACTS, all).await.is_err() {
            tracing::warn!("some acts were under way; the next start takes them up");
        }
    }
}

/// What is wrong and was reported: once, not at every try.
#[derive(Debug)]
struct Reported<Id>(Mutex<BTreeSet<Id>>);

impl<Id: Ord> Reported<Id> {
    fn is_news(&self, id: Id) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id)
    }

    fn is_over(&self, id: &Id) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl<Id> Default for Reported<Id> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

fn is_message(lane: &str) -> bool {
    lane.starts_with("dm:")
}

/// Doubled from [`FIRST_RETRY`] with each failure, up to [`LONGEST_RETRY`].
fn backoff(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << failures.min(10)).min(LONGEST_RETRY)
}

fn not_yet(tries: u32) -> Duration {
    backoff(tries).min(LONGEST_NOT_YET)
}
