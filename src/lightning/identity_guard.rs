//! The node that our holds and payments are known to, and no other.
//!
//! Another node would answer every question about our hashes with "unknown", and accept new ones: so no
//! call is made before the node has been identified.

use std::future::ready;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;
use trade::{EscrowEvidence, HoldStatus, LightningIdentity, PaymentHash, PaymentStatus, Preimage};

use super::{
    AddedHold, Htlc, InvoiceState, LightningError, LightningNode, NewHold, NewPayment, Readiness,
};

/// A node whose identity is checked at the start and after every failure.
#[derive(Debug)]
pub struct IdentityGuard {
    node: Arc<dyn LightningNode>,
    /// `None` until the first contact: the node that answers then is ours.
    ours: Mutex<Option<LightningIdentity>>,
    is_known: AtomicBool,
    /// Held by the caller that asks for the identity; the others wait for the answer.
    asking: tokio::sync::Mutex<()>,
    /// How often it had no answer.
    unanswered: AtomicU64,
    failures: watch::Sender<()>,
}

impl IdentityGuard {
    #[must_use]
    pub fn new(node: Arc<dyn LightningNode>, ours: Option<LightningIdentity>) -> Self {
        Self {
            node,
            ours: Mutex::new(ours),
            is_known: AtomicBool::new(false),
            asking: tokio::sync::Mutex::new(()),
            unanswered: AtomicU64::new(0),
            failures: watch::Sender::new(()),
        }
    }

    /// Changes whenever a call failed or a stream broke: the health of the node should be checked. A
    /// failed health check does not count.
    #[must_use]
    pub fn failures(&self) -> watch::Receiver<()> {
        self.failures.subscribe()
    }

    async fn ensure_identity(&self) -> Result<(), LightningError> {
        if self.is_known.load(Ordering::SeqCst) {
            return Ok(());
        }
        let unanswered = self.unanswered.load(Ordering::SeqCst);
        let _alone = self.asking.lock().await;
        if self.is_known.load(Ordering::SeqCst) {
            return Ok(());
        }
        if self.unanswered.load(Ordering::SeqCst) != unanswered {
            let source = "it was asked for its identity a moment ago, and did not answer".into();
            return Err(LightningError::Unreachable { call: "GetInfo", source });
        }
        let answer = self.readiness().await;
        if answer.is_err() {
            self.unanswered.fetch_add(1, Ordering::SeqCst);
            self.invalidate();
        }
        answer.map(drop)
    }

    /// After a failure it may be another node that answers next.
    fn learn<T>(&self, answer: Result<T, LightningError>) -> Result<T, LightningError> {
        if answer.is_err() {
            self.invalidate();
        }
        answer
    }

    fn invalidate(&self) {
        self.is_known.store(false, Ordering::SeqCst);
        self.failures.send_replace(());
    }

    /// A stream of our node. If it breaks off, that is a failure.
    fn listen<'a, T: Send + 'a>(
        &'a self,
        open: impl Fn() -> BoxStream<'a, T> + Send + 'a,
        is_last: fn(&T) -> bool,
    ) -> BoxStream<'a, T> {
        let updates = stream::once(self.ensure_identity()).flat_map(move |known| match known {
            Ok(()) => open(),
            Err(_) => stream::empty().boxed(),
        });
        let ended = stream::once(ready(None));
        let heard = updates.map(Some).chain(ended).scan(false, move |goes_on, state| {
            match &state {
                Some(state) => *goes_on = !is_last(state),
                None if *goes_on => self.invalidate(),
                None => {}
            }
            ready(state)
        });
        heard.boxed()
    }
}

#[async_trait]
impl LightningNode for IdentityGuard {
    async fn add_hold(&self, hold: NewHold) -> Result<AddedHold, LightningError> {
        self.ensure_identity().await?;
        self.learn(self.node.add_hold(hold).await)
    }

    async fn settle_hold(
        &self,
        preimage: Preimage,
        evidence: EscrowEvidence,
    ) -> Result<InvoiceState, LightningError> {
        self.ensure_identity().await?;
        self.learn(self.node.settle_hold(preimage, evidence).await)
    }

    async fn cancel_hold(&self, hash: PaymentHash) -> Result<InvoiceState, LightningError> {
        self.ensure_identity().await?;
        self.learn(self.node.cancel_hold(hash).await)
    }

    async fn hold_status(&self, hash: PaymentHash) -> Result<HoldStatus, LightningError> {
        self.ensure_identity().await?;
        self.learn(self.node.hold_status(hash).await)
    }

    async fn send(&self, payment: NewPayment) -> Result<PaymentStatus, LightningError> {
        self.ensure_identity().await?;
        self.learn(self.node.send(payment).await)
    }

    async fn payment_status(&self, hash: PaymentHash) -> Result<PaymentStatus, LightningError> {
        self.ensure_identity().await?;
        self.learn(self.node.payment_status(hash).await)
    }

    async fn find_htlc(&self, hash: PaymentHash) -> Result<Option<Htlc>, LightningError> {
        self.ensure_identity().await?;
        self.learn(self.node.find_htlc(hash).await)
    }

    fn watch(&self, hash: PaymentHash) -> BoxStream<'_, InvoiceState> {
        let is_last =
            |state: &InvoiceState| matches!(state, InvoiceState::Settled | InvoiceState::Canceled);
        self.listen(move || self.node.watch(hash), is_last)
    }

    fn follow(&self, hash: PaymentHash) -> BoxStream<'_, PaymentStatus> {
        let is_last = |status: &PaymentStatus| {
            matches!(status, PaymentStatus::Succeeded { .. } | PaymentStatus::Failed { .. })
        };
        self.listen(move || self.node.follow(hash), is_last)
    }

    async fn readiness(&self) -> Result<Readiness, LightningError> {
        let answer = self.node.readiness().await.and_then(|readiness| {
            let mut ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
            readiness.is_of(*ours.get_or_insert(readiness.identity))?;
            Ok(readiness)
        });
        self.is_known.store(answer.is_ok(), Ordering::SeqCst);
        answer
    }
}

#[cfg(test)]
mod tests;
