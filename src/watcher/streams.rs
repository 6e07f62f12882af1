//! The fast path: one live stream for every open hold and payment.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::JoinMap;
use trade::{HoldStatus, Observation, OrderId, PaymentHash, PaymentStatus};

use crate::crash;
use crate::engine::Engine;
use crate::lightning::{Health, InvoiceState, LightningNode};
use crate::store::{Reader, StoreError};

/// How long a hash waits for another stream after one has ended.
const PAUSE: Duration = Duration::from_secs(2);

/// How long it waits after one has panicked.
const PAUSE_AFTER_PANIC: Duration = Duration::from_hours(1);

/// The shortest interval at which the database is read: many commits may come together.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// Streams at once; hashes beyond are watched by the reconciliation alone.
const MOST_STREAMS: usize = 2_000;

#[derive(Debug)]
pub struct Streams {
    node: Arc<dyn LightningNode>,
    reader: Reader,
    engine: Engine,
    health: Health,
    running: JoinMap<PaymentHash, ()>,
}

impl Streams {
    #[must_use]
    pub fn new(
        node: Arc<dyn LightningNode>,
        reader: Reader,
        engine: Engine,
        health: Health,
    ) -> Self {
        Self { node, reader, engine, health, running: JoinMap::new() }
    }

    /// Opens a stream for whatever the database says is open while LND answers, until shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut changes = self.engine.commits();
        loop {
            if let Err(error) = self.open_missing().await {
                tracing::error!(%error, "what is open at LND cannot be listed");
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(MIN_INTERVAL) => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                Ok(()) = changes.changed() => {}
                Ok(()) = self.health.changed() => {}
                Some(ended) = self.running.join_next() => self.report_panic(ended),
            }
            // When LND stops, all of them end at once.
            while let Some(ended) = self.running.try_join_next() {
                self.report_panic(ended);
            }
        }
    }

    fn report_panic(&mut self, (hash, ended): (PaymentHash, Result<(), JoinError>)) {
        if let Err(error) = ended {
            tracing::error!(%error, ln.hash = %hash, "watching a hold or payment panicked; please report this");
            // Meanwhile the reconciliation alone watches it.
            self.running.spawn(hash, tokio::time::sleep(PAUSE_AFTER_PANIC));
        }
    }

    pub(super) async fn open_missing(&mut self) -> Result<(), StoreError> {
        if self.health.borrow_and_update().is_none() {
            return Ok(());
        }
        for (order, hash) in self.reader.list_holds_to_watch().await? {
            if self.is_new(hash) {
                let (node, engine) = (Arc::clone(&self.node), self.engine.clone());
                self.running.spawn(hash, watch_hold(node, engine, order, hash));
            }
        }
        for (order, hash) in self.reader.list_payments_to_follow().await? {
            if self.is_new(hash) {
                let (node, engine) = (Arc::clone(&self.node), self.engine.clone());
                self.running.spawn(hash, follow_payment(node, engine, order, hash));
            }
        }
        Ok(())
    }

    fn is_new(&self, hash: PaymentHash) -> bool {
        self.running.len() < MOST_STREAMS && !self.running.contains_key(&hash)
    }
}

async fn watch_hold(
    node: Arc<dyn LightningNode>,
    engine: Engine,
    order: OrderId,
    hash: PaymentHash,
) {
    let mut updates = node.watch(hash);
    while let Some(state) = updates.next().await {
        let status = match state {
            // That it is open was known before.
            InvoiceState::Unknown | InvoiceState::Open => continue,
            // A stream does not tell what it is worth.
            InvoiceState::Accepted => {
                super::look_up(&*node, &engine, order, hash).await;
                continue;
            }
            InvoiceState::Settled => HoldStatus::Settled,
            InvoiceState::Canceled => HoldStatus::Canceled,
        };
        super::report(&engine, order, Observation::Hold { hash, status }).await;
    }
    tokio::time::sleep(PAUSE).await;
}

pub(super) async fn follow_payment(
    node: Arc<dyn LightningNode>,
    engine: Engine,
    order: OrderId,
    hash: PaymentHash,
) {
    let mut statuses = node.follow(hash);
    let mut status = crash::around("ln.track", statuses.next()).await;
    let mut last = None;
    while let Some(said) = status {
        last = Some(said);
        super::report(&engine, order, Observation::Payment { hash, status: said }).await;
        status = statuses.next().await;
    }
    // LND tells until the end, so it stopped, or the connection broke, or it does not know the payment.
    if !matches!(last, Some(PaymentStatus::Succeeded { .. } | PaymentStatus::Failed { .. })) {
        super::track(&*node, &engine, order, hash).await;
    }
    tokio::time::sleep(PAUSE).await;
}
