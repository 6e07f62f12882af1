//! The fast path: one live stream for every open hold and payment.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::task::JoinSet;
use trade::{HoldStatus, Observation, OrderId, PaymentHash, PaymentStatus};

use crate::crash;
use crate::engine::Engine;
use crate::lightning::LightningNode;
use crate::store::{Reader, StoreError};
use crate::tasks::Shutdown;

/// How long a hash whose stream ended waits for another one.
const PAUSE: Duration = Duration::from_secs(2);

/// Streams at once; the comparison alone watches what is beyond.
const MOST_STREAMS: usize = 2_000;

#[derive(Debug)]
pub struct Streams {
    node: Arc<dyn LightningNode>,
    reader: Reader,
    engine: Engine,
    running: JoinSet<PaymentHash>,
    watched: HashSet<PaymentHash>,
}

impl Streams {
    #[must_use]
    pub fn new(node: Arc<dyn LightningNode>, reader: Reader, engine: Engine) -> Self {
        Self { node, reader, engine, running: JoinSet::new(), watched: HashSet::new() }
    }

    /// Opens a stream for whatever the database says is open, until shutdown.
    pub async fn run(mut self, mut shutdown: Shutdown) {
        let mut changes = self.engine.bell();
        loop {
            if let Err(error) = self.open_missing().await {
                tracing::error!(%error, "what is open at LND cannot be listed");
            }
            tokio::select! {
                () = shutdown.requested() => return,
                Ok(()) = changes.changed() => {}
                Some(ended) = self.running.join_next() => self.forget(ended.ok()),
            }
        }
    }

    fn forget(&mut self, ended: Option<PaymentHash>) {
        if let Some(hash) = ended {
            self.watched.remove(&hash);
        }
    }

    async fn open_missing(&mut self) -> Result<(), StoreError> {
        for (order, hash) in self.reader.list_holds_to_watch().await? {
            if self.is_new(hash) {
                let (node, engine) = (Arc::clone(&self.node), self.engine.clone());
                self.running.spawn(watch_hold(node, engine, order, hash));
            }
        }
        for (order, hash) in self.reader.list_payments_to_follow().await? {
            if self.is_new(hash) {
                let (node, engine) = (Arc::clone(&self.node), self.engine.clone());
                self.running.spawn(follow_payment(node, engine, order, hash));
            }
        }
        Ok(())
    }

    fn is_new(&mut self, hash: PaymentHash) -> bool {
        self.watched.len() < MOST_STREAMS && self.watched.insert(hash)
    }
}

async fn watch_hold(
    node: Arc<dyn LightningNode>,
    engine: Engine,
    order: OrderId,
    hash: PaymentHash,
) -> PaymentHash {
    let mut statuses = node.watch(hash);
    while let Some(status) = statuses.next().await {
        // That it is open was known before the stream began.
        if status != HoldStatus::Open {
            super::report(&engine, order, Observation::Hold { hash, status }).await;
        }
    }
    tokio::time::sleep(PAUSE).await;
    hash
}

async fn follow_payment(
    node: Arc<dyn LightningNode>,
    engine: Engine,
    order: OrderId,
    hash: PaymentHash,
) -> PaymentHash {
    let mut statuses = node.follow(hash);
    let mut status = crash::around("ln.track", statuses.next()).await;
    let mut last = None;
    while let Some(said) = status {
        last = Some(said);
        super::report(&engine, order, Observation::Payment { hash, status: said }).await;
        status = statuses.next().await;
    }
    match last {
        Some(PaymentStatus::Succeeded { .. } | PaymentStatus::Failed { .. }) => {}
        Some(PaymentStatus::InFlight { .. }) => {
            // LND stopped, or the link broke: it does not fall silent before the end.
            super::note_unwell(&engine).await;
            super::track(&*node, &engine, order, hash).await;
        }
        Some(PaymentStatus::Unknown) | None => super::track(&*node, &engine, order, hash).await,
    }
    tokio::time::sleep(PAUSE).await;
    hash
}
