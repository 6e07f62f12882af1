//! The public book: one addressable event for each order, made from the order as it is now.
//!
//! Not a queue but a projection: whatever was missed, refused or lost in a crash, the next look sees
//! that the published revision is behind (D15, INV-7).

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

use trade::{OrderId, Timestamp};

use super::{LONGEST_RETRY, OutboxError, Reported, Times, Trouble, backoff, time_of};
use crate::clock::Clock;
use crate::crash;
use crate::engine::Engine;
use crate::lightning::Health;
use crate::nostr::{Event, JsonUtil as _, Keys, Relays};
use crate::store::{BookRow, Published, Reader, Stuck};
use crate::tasks::Shutdown;
use crate::wire::tags::{self, BookEntry, Imprint};

/// Events sent at once.
const SIDE_BY_SIDE: usize = 16;

/// Orders taken up at one look.
const AT_ONCE: u32 = 200;

#[derive(Debug)]
pub struct Book {
    pub reader: Reader,
    pub engine: Engine,
    pub relays: Relays,
    pub node: Keys,
    pub health: Health,
    pub clock: Arc<dyn Clock>,
    /// The networks are those that LND named last.
    pub imprint: Imprint,
    /// How long relays are asked to keep an order that has left the book.
    pub retention: Duration,
}

impl Book {
    pub async fn run(mut self, mut shutdown: Shutdown) {
        let mut changes = self.engine.bell();
        let reported = Reported::default();
        loop {
            self.learn_networks();
            if let Err(error) = self.look(&reported).await {
                tracing::error!(error = crate::chain(&error), "the public book cannot be read");
            }
            tokio::select! {
                () = shutdown.requested() => return,
                Ok(()) = changes.changed() => {}
                () = tokio::time::sleep(super::IDLE) => {}
            }
        }
    }

    pub(super) async fn look(&self, reported: &Reported<OrderId>) -> Result<(), OutboxError> {
        let due = self.reader.list_book_due(self.clock.now(), AT_ONCE).await?;
        futures::stream::iter(due)
            .for_each_concurrent(SIDE_BY_SIDE, |row| async move {
                match row {
                    Ok(row) => self.publish_or_put_off(row, reported).await,
                    Err(row) => self.set_aside(row, reported).await,
                }
            })
            .await;
        Ok(())
    }

    async fn publish_or_put_off(&self, row: BookRow, reported: &Reported<OrderId>) {
        let (order, attempts) = (row.order.id, row.attempts);
        let Err(error) = self.publish(row).await else {
            if reported.is_over(&order) {
                tracing::info!(order.id = %order, "the order's public event was taken");
            }
            return;
        };
        let (trouble, chain) = (error.trouble(), crate::chain(&error));
        if !reported.is_news(order, trouble) {
            tracing::debug!(order.id = %order, error = chain, "not published yet");
        } else if trouble == Trouble::Ours {
            tracing::error!(order.id = %order, error = chain, "an order is not published");
        } else {
            tracing::warn!(
                order.id = %order,
                error = chain,
                "the order's public event was not taken; it is sent again, in the end once a minute"
            );
        }
        self.put_off(order, backoff(attempts)).await;
    }

    /// An order that cannot be read is put off as well, or it would take the place of others.
    async fn set_aside(&self, Stuck { id, error }: Stuck<OrderId>, reported: &Reported<OrderId>) {
        if reported.is_news(id, Trouble::Ours) {
            tracing::error!(order.id = %id, %error, "an order is not published");
        }
        self.put_off(id, LONGEST_RETRY).await;
    }

    async fn put_off(&self, order: OrderId, wait: Duration) {
        if let Err(error) = self.engine.retry_book(order, self.clock.now().after(wait)).await {
            tracing::debug!(order.id = %order, %error, "an order could not be put off");
            // It is still due: without a pause it would be tried in a circle.
            tokio::time::sleep(super::FIRST_RETRY).await;
        }
    }

    async fn publish(&self, row: BookRow) -> Result<(), OutboxError> {
        let now = self.clock.now();
        let times = Times { last: row.last_created_at, taken: row.taken_at };
        let event = match &row.event {
            Some(_) if times.is_misdated(now) => self.seal_anew(&row, times.earliest(now)).await?,
            Some(event) => Event::from_json(event)
                .map_err(|_| OutboxError::Unreadable("the saved event of an order"))?,
            None => self.seal(&row, times.next(now)).await?,
        };
        match self.send(&row, &event).await {
            // With the present time it may be welcome, if no relay has a later one (D30).
            Err(OutboxError::Relay(error))
                if error.is_about_time() && time_of(&event) > times.earliest(now) =>
            {
                let event = self.seal_anew(&row, times.earliest(now)).await?;
                self.send(&row, &event).await
            }
            sent => sent,
        }
    }

    async fn send(&self, row: &BookRow, event: &Event) -> Result<(), OutboxError> {
        crash::around("publish.book", self.relays.publish(event)).await?;
        self.engine.publish_book(row.order.id, row.revision, time_of(event)).await?;
        Ok(())
    }

    /// Revisions of one order never share a second (INV-7).
    async fn seal(&self, row: &BookRow, at: Timestamp) -> Result<Event, OutboxError> {
        let (event, published) = self.sign(row, at).await?;
        self.engine.seal_book(row.order.id, row.revision, published).await?;
        Ok(event)
    }

    /// In place of one that no relay took.
    async fn seal_anew(&self, row: &BookRow, at: Timestamp) -> Result<Event, OutboxError> {
        let (event, published) = self.sign(row, at).await?;
        self.engine.seal_book_anew(row.order.id, row.revision, published).await?;
        Ok(event)
    }

    async fn sign(&self, row: &BookRow, at: Timestamp) -> Result<(Event, Published), OutboxError> {
        let maker = self.reader.reputation(row.order.maker.identity, at).await?;
        let entry = BookEntry::of(&row.order, maker);
        let draft = tags::order(&entry, &self.imprint, at, self.retention);
        let event = draft.sign(&self.node, at)?;
        let published = Published { created_at: at, event: event.as_json() };
        Ok((event, published))
    }

    /// LND may be away: then what it said last still holds.
    pub(super) fn learn_networks(&mut self) {
        if let Some(readiness) = &*self.health.borrow() {
            self.imprint.networks.clone_from(&readiness.node.networks);
        }
    }
}
