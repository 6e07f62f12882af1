//! Publishes the public events, which show the current state.
//!
//! Not a queue but projections: each row of `publications` is an address of which relays keep the
//! newest event, and the event is made from the state at the time of signing. Whatever was missed,
//! refused or lost in a crash, the next read of the table finds that the published revision is behind.
//! Another kind of event needs a variant of [`PublicationId`], a trigger that raises its revision, and
//! its arm in `Publisher::draft`.

mod about;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;
use trade::Timestamp;

pub use about::AboutNode;

use crate::clock::Clock;
use crate::crash;
use crate::engine::{Engine, EngineError, Write};
use crate::lightning::Health;
use crate::nostr::{
    Event, EventError, FROM_A_FAST_CLOCK, JsonUtil as _, Keys, RelayError, Relays, time_of,
};
use crate::retry::{FIRST_RETRY, Reported, Trouble, backoff};
use crate::store::{Publication, PublicationId, Published, Reader, StoreError};
use crate::wire::tags::{self, BookEntry, Draft};

/// How often the table is read when nothing has changed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Events sent at once.
const MAX_CONCURRENT: usize = 16;

/// Rows read at once.
const BATCH_SIZE: u32 = 200;

#[derive(Debug)]
pub struct Publisher {
    pub reader: Reader,
    pub engine: Engine,
    pub relays: Relays,
    pub node: Keys,
    pub health: Health,
    pub clock: Arc<dyn Clock>,
    pub about: AboutNode,
    pub reported: Reported<PublicationId>,
    /// When the node's own events are published again, in monotonic time.
    pub renewals: BTreeMap<PublicationId, Duration>,
}

/// Why an event was not published.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("the data it shows cannot be read")]
    Store(#[from] StoreError),
    #[error("the signed event cannot be saved")]
    Engine(#[from] EngineError),
    #[error("no relay has it")]
    Relay(#[from] RelayError),
    #[error("it cannot be signed")]
    Sign(#[from] EventError),
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
}

impl Publisher {
    /// Publishes whatever is behind, until shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut changes = self.engine.commits();
        let (mut health, mut subscriptions) = (self.health.clone(), self.relays.subscriptions());
        loop {
            self.update_from_lnd();
            self.renew_own_events().await;
            if let Err(error) = self.publish_due().await {
                tracing::error!(error = crate::error_chain(&error), "public events cannot be read");
            }
            let waits_for_a_relay = self.renewals.is_empty();
            tokio::select! {
                () = shutdown.cancelled() => return,
                Ok(()) = changes.changed() => {}
                Ok(()) = health.changed() => {}
                Ok(()) = subscriptions.changed(), if waits_for_a_relay => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// While LND does not answer, its last answer remains.
    fn update_from_lnd(&mut self) {
        let Some(readiness) = self.health.borrow().clone() else { return };
        if self.about.update(&readiness) {
            self.renewals.remove(&PublicationId::Info);
        }
    }

    /// The node's own events are published again at every interval, because relays may lose them.
    async fn renew_own_events(&mut self) {
        // The first ones wait until the node is reachable: their readers may send a message at once.
        if self.renewals.is_empty() && !self.relays.subscriptions().borrow().is_reachable() {
            return;
        }
        let now = self.clock.monotonic();
        for (id, interval) in self.about.intervals() {
            if self.renewals.get(&id).is_some_and(|at| *at > now) {
                continue;
            }
            match self.engine.write(Write::RenewPublication(id)).await {
                Ok(()) => _ = self.renewals.insert(id, now.saturating_add(interval)),
                Err(error) => tracing::debug!(publication = %id, %error, "not renewed yet"),
            }
        }
    }

    async fn publish_due(&self) -> Result<(), StoreError> {
        let due = self.reader.list_publications_due(self.clock.now(), BATCH_SIZE).await?;
        futures::stream::iter(due)
            .for_each_concurrent(MAX_CONCURRENT, |row| self.publish_or_postpone(row))
            .await;
        Ok(())
    }

    async fn publish_or_postpone(&self, row: Publication) {
        let id = row.id;
        let Err(error) = self.publish(&row).await else {
            if self.reported.is_over(&id) {
                tracing::info!(publication = %id, "the public event was accepted");
            }
            return;
        };
        let (trouble, chain) = (error.trouble(), crate::error_chain(&error));
        if !self.reported.is_news(id, trouble) {
            tracing::debug!(publication = %id, error = chain, "not published yet");
        } else if trouble == Trouble::Ours {
            tracing::error!(publication = %id, error = chain, "a public event cannot be created");
        } else {
            tracing::warn!(
                publication = %id,
                error = chain,
                "the public event was not accepted and is retried, up to once a minute"
            );
        }
        self.postpone(id, backoff(row.attempts)).await;
    }

    async fn postpone(&self, id: PublicationId, wait: Duration) {
        let at = self.clock.now().after(wait);
        if let Err(error) = self.engine.write(Write::RetryPublication { id, at }).await {
            tracing::debug!(publication = %id, %error, "a public event could not be postponed");
            // It is still due: without a pause it would be retried in a tight loop.
            tokio::time::sleep(FIRST_RETRY).await;
        }
    }

    async fn publish(&self, row: &Publication) -> Result<(), PublishError> {
        let now = self.clock.now();
        let times = EventTimes { last: row.last_created_at, accepted: row.taken_at };
        let event = match &row.event {
            Some(_) if times.is_misdated(now) => self.reseal(row, times.earliest(now)).await?,
            Some(event) => Event::from_json(event)
                .map_err(|_| PublishError::Unreadable("the saved public event"))?,
            None => self.seal(row, times.next(now)).await?,
        };
        match self.send(row, &event).await {
            // With an earlier time relays may accept it, if none of them has a later one.
            Err(PublishError::Relay(error))
                if error.is_about_time() && time_of(&event) > times.earliest(now) =>
            {
                let event = self.reseal(row, times.earliest(now)).await?;
                self.send(row, &event).await
            }
            sent => sent,
        }
    }

    async fn send(&self, row: &Publication, event: &Event) -> Result<(), PublishError> {
        let name = format!("publish.{}", row.id.what());
        crash::around(&name, self.relays.publish(event)).await?;
        let (id, revision, created_at) = (row.id, row.revision, time_of(event));
        Ok(self.engine.write(Write::RecordPublished { id, revision, created_at }).await?)
    }

    async fn seal(&self, row: &Publication, at: Timestamp) -> Result<Event, PublishError> {
        let (id, revision) = (row.id, row.revision);
        let (event, published) = self.sign(id, at).await?;
        self.engine.write(Write::SealPublication { id, revision, published }).await?;
        Ok(event)
    }

    /// Replaces an event that no relay accepted.
    async fn reseal(&self, row: &Publication, at: Timestamp) -> Result<Event, PublishError> {
        let (id, revision) = (row.id, row.revision);
        let (event, published) = self.sign(id, at).await?;
        self.engine.write(Write::SealPublicationAnew { id, revision, published }).await?;
        Ok(event)
    }

    async fn sign(
        &self,
        id: PublicationId,
        at: Timestamp,
    ) -> Result<(Event, Published), PublishError> {
        let event = self.draft(id, at).await?.sign(&self.node, at)?;
        let published = Published { created_at: at, event: event.as_json() };
        Ok((event, published))
    }

    /// The event that shows the current state.
    async fn draft(&self, id: PublicationId, at: Timestamp) -> Result<Draft, PublishError> {
        let about = &self.about;
        Ok(match id {
            PublicationId::Order(order) => {
                let order = self.reader.find_order(order).await?;
                let order = order.ok_or(PublishError::Unreadable("an order that is not there"))?;
                let maker = self.reader.reputation(order.maker.identity, at).await?;
                let entry = BookEntry::of(&order, maker);
                tags::order(&entry, &about.identity, at, about.order_retention)
            }
            PublicationId::Profile => tags::profile(&about.profile),
            PublicationId::RelayList => {
                let connected = self.relays.connected().await;
                if connected.is_empty() {
                    return Err(RelayError::NoneConnected.into());
                }
                tags::relay_list(&connected)
            }
            PublicationId::Info => tags::node_terms(&about.terms, &about.identity),
        })
    }
}

impl PublishError {
    fn trouble(&self) -> Trouble {
        match self {
            Self::Relay(RelayError::Refused { .. }) => Trouble::Refused,
            Self::Relay(_) => Trouble::Away,
            Self::Store(error) if error.is_unavailable() => Trouble::Away,
            Self::Engine(error) if error.is_unavailable() => Trouble::Away,
            Self::Store(_) | Self::Engine(_) | Self::Sign(_) | Self::Unreadable(_) => Trouble::Ours,
        }
    }
}

/// The times of the newest event of a publication, and of the newest one that a relay accepted.
#[derive(Debug, Clone, Copy)]
struct EventTimes {
    last: Timestamp,
    accepted: Timestamp,
}

impl EventTimes {
    /// The time of the next event: always later than the last one (INV-7), unless a wrong clock dated
    /// that one ahead and no relay accepted it.
    fn next(self, now: Timestamp) -> Timestamp {
        let last = if self.is_misdated(now) { self.accepted } else { self.last };
        now.max(last.after(Duration::from_secs(1)))
    }

    /// The earliest time of the next event, when relays refused the last one for its time.
    fn earliest(self, now: Timestamp) -> Timestamp {
        now.max(self.accepted.after(Duration::from_secs(1)))
    }

    /// Whether a wrong clock dated the last event ahead, and an earlier one may replace it.
    fn is_misdated(self, now: Timestamp) -> bool {
        self.last > now.after(FROM_A_FAST_CLOCK) && self.last > self.earliest(now)
    }
}
