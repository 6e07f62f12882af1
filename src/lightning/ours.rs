//! The node that our holds and payments are known to, and no other.
//!
//! Another node answers every question about our hashes with "unknown", and would take new ones: so
//! nothing is asked of a node, or told to it, before it has said who it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use trade::{HoldStatus, LightningIdentity, PaymentHash, PaymentStatus, Preimage};

use super::{Bolt11, Htlc, LightningError, LightningNode, NewHold, NewPayment, Readiness};

/// A node that is asked who it is at the start and after every failure.
#[derive(Debug)]
pub struct OurNode {
    node: Arc<dyn LightningNode>,
    /// None until the first contact: whoever answers then is ours.
    ours: Mutex<Option<LightningIdentity>>,
    is_known: AtomicBool,
}

impl OurNode {
    #[must_use]
    pub fn new(node: Arc<dyn LightningNode>, ours: Option<LightningIdentity>) -> Self {
        Self { node, ours: Mutex::new(ours), is_known: AtomicBool::new(false) }
    }

    async fn insist(&self) -> Result<(), LightningError> {
        if self.is_known.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.readiness().await.map(drop)
    }

    /// After a failure it may be another one that answers next.
    fn learn<T>(&self, answer: Result<T, LightningError>) -> Result<T, LightningError> {
        if answer.is_err() {
            self.is_known.store(false, Ordering::SeqCst);
        }
        answer
    }
}

#[async_trait]
impl LightningNode for OurNode {
    async fn add_hold(&self, hold: NewHold) -> Result<Bolt11, LightningError> {
        self.insist().await?;
        self.learn(self.node.add_hold(hold).await)
    }

    async fn settle_hold(&self, preimage: Preimage) -> Result<HoldStatus, LightningError> {
        self.insist().await?;
        self.learn(self.node.settle_hold(preimage).await)
    }

    async fn cancel_hold(&self, hash: PaymentHash) -> Result<HoldStatus, LightningError> {
        self.insist().await?;
        self.learn(self.node.cancel_hold(hash).await)
    }

    async fn hold_status(&self, hash: PaymentHash) -> Result<HoldStatus, LightningError> {
        self.insist().await?;
        self.learn(self.node.hold_status(hash).await)
    }

    async fn send(&self, payment: NewPayment) -> Result<PaymentStatus, LightningError> {
        self.insist().await?;
        self.learn(self.node.send(payment).await)
    }

    async fn payment_status(&self, hash: PaymentHash) -> Result<PaymentStatus, LightningError> {
        self.insist().await?;
        self.learn(self.node.payment_status(hash).await)
    }

    async fn find_htlc(&self, hash: PaymentHash) -> Result<Option<Htlc>, LightningError> {
        self.insist().await?;
        self.learn(self.node.find_htlc(hash).await)
    }

    fn watch(&self, hash: PaymentHash) -> BoxStream<'_, HoldStatus> {
        let known = stream::once(self.insist());
        known
            .flat_map(move |known| match known {
                Ok(()) => self.node.watch(hash),
                Err(_) => stream::empty().boxed(),
            })
            .boxed()
    }

    fn follow(&self, hash: PaymentHash) -> BoxStream<'_, PaymentStatus> {
        let known = stream::once(self.insist());
        known
            .flat_map(move |known| match known {
                Ok(()) => self.node.follow(hash),
                Err(_) => stream::empty().boxed(),
            })
            .boxed()
    }

    async fn readiness(&self) -> Result<Readiness, LightningError> {
        let readiness = self.learn(self.node.readiness().await)?;
        let ours = {
            let mut ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
            *ours.get_or_insert(readiness.identity)
        };
        self.learn(readiness.is_of(ours))?;
        self.is_known.store(true, Ordering::SeqCst);
        Ok(readiness)
    }
}
