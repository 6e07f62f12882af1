//! Public events: what is true, for everybody to read.
//!
//! Not a queue but projections: each row of `publications` stands for one address of which relays
//! keep the newest event, and its event is made from what is true when it is signed. Whatever was
//! missed, refused or lost in a crash, the next look sees that the published revision is behind (D15,
//! INV-7). Another kind of event is a variant of [`PublicationId`], what renews it, and its arm in
//! `Publisher::draft`.

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

/// How long the loop sleeps when nothing rings.
const IDLE: Duration = Duration::from_secs(1);

/// Events sent at once.
const SIDE_BY_SIDE: usize = 16;

/// Events taken up at one look.
const AT_ONCE: u32 = 200;

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
    /// When the node's own events are renewed next, in monotonic time.
    pub renewals: BTreeMap<PublicationId, Duration>,
}

/// Why an event was not published.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("what it shows cannot be read")]
    Store(#[from] StoreError),
    #[error("the signed event cannot be saved")]
    Engine(#[from] EngineError),
    #[error("it is not on a relay")]
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
            self.learn_from_lnd();
            self.renew_own_events().await;
            if let Err(error) = self.look().await {
                tracing::error!(error = crate::error_chain(&error), "public events cannot be read");
            }
            let waits_for_a_relay = self.renewals.is_empty();
            tokio::select! {
                () = shutdown.cancelled() => return,
                Ok(()) = changes.changed() => {}
                Ok(()) = health.changed() => {}
                Ok(()) = subscriptions.changed(), if waits_for_a_relay => {}
                () = tokio::time::sleep(IDLE) => {}
            }
        }
    }

    /// LND may be away: then what it said last still holds.
    fn learn_from_lnd(&mut self) {
        let Some(readiness) = self.health.borrow().clone() else { return };
        if self.about.learn(&readiness) {
            self.renewals.remove(&PublicationId::Info);
        }
    }

    /// What the node says of itself is said again at every interval, so that nobody forgets it.
    async fn renew_own_events(&mut self) {
        // What nobody takes need not be made; and whoever reads it may write at once.
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

    /// Publishes what is due, each event by itself.
    async fn look(&self) -> Result<(), StoreError> {
        let due = self.reader.list_publications_due(self.clock.now(), AT_ONCE).await?;
        futures::stream::iter(due)
            .for_each_concurrent(SIDE_BY_SIDE, |row| self.publish_or_put_off(row))
            .await;
        Ok(())
    }

    async fn publish_or_put_off(&self, row: Publication) {
        let id = row.id;
        let Err(error) = self.publish(&row).await else {
            if self.reported.is_over(&id) {
                tracing::info!(publication = %id, "the public event was taken");
            }
            return;
        };
        let (trouble, chain) = (error.trouble(), crate::error_chain(&error));
        if !self.reported.is_news(id, trouble) {
            tracing::debug!(publication = %id, error = chain, "not published yet");
        } else if trouble == Trouble::Ours {
            tracing::error!(publication = %id, error = chain, "a public event cannot be made");
        } else {
            tracing::warn!(
                publication = %id,
                error = chain,
                "the public event was not taken; it is sent again, in the end once a minute"
            );
        }
        self.put_off(id, backoff(row.attempts)).await;
    }

    async fn put_off(&self, id: PublicationId, wait: Duration) {
        let at = self.clock.now().after(wait);
        if let Err(error) = self.engine.write(Write::RetryPublication { id, at }).await {
            tracing::debug!(publication = %id, %error, "a public event could not be put off");
            // It is still due: without a pause it would be tried in a circle.
            tokio::time::sleep(FIRST_RETRY).await;
        }
    }

    async fn publish(&self, row: &Publication) -> Result<(), PublishError> {
        let now = self.clock.now();
        let times = Times { last: row.last_created_at, taken: row.taken_at };
        let event = match &row.event {
            Some(_) if times.is_misdated(now) => self.reseal(row, times.earliest(now)).await?,
            Some(event) => Event::from_json(event)
                .map_err(|_| PublishError::Unreadable("the saved public event"))?,
            None => self.seal(row, times.next(now)).await?,
        };
        match self.send(row, &event).await {
            // With the present time it may be welcome, if no relay has a later one (D30).
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

    /// Revisions of one event never share a second (INV-7).
    async fn seal(&self, row: &Publication, at: Timestamp) -> Result<Event, PublishError> {
        let (id, revision) = (row.id, row.revision);
        let (event, published) = self.sign(id, at).await?;
        self.engine.write(Write::SealPublication { id, revision, published }).await?;
        Ok(event)
    }

    /// In place of one that no relay took.
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

    /// The event of what is true now.
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

/// The times of the newest event under a public address, and of the newest that a relay took.
#[derive(Debug, Clone, Copy)]
struct Times {
    last: Timestamp,
    taken: Timestamp,
}

impl Times {
    /// When the next one is dated: later than the last, whatever the clock did (INV-7). But one that
    /// a clock dated ahead, and no relay took, counts for nothing (D30).
    fn next(self, now: Timestamp) -> Timestamp {
        let last = if self.is_misdated(now) { self.taken } else { self.last };
        now.max(last.after(Duration::from_secs(1)))
    }

    /// As early as the next one may be, when relays refused the last for its time.
    fn earliest(self, now: Timestamp) -> Timestamp {
        now.max(self.taken.after(Duration::from_secs(1)))
    }

    /// Whether a clock that ran ahead dated the last one, and an earlier one may take its place.
    fn is_misdated(self, now: Timestamp) -> bool {
        self.last > now.after(FROM_A_FAST_CLOCK) && self.last > self.earliest(now)
    }
}
