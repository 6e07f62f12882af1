//! The periodic reconciliation of every open hold and payment with LND. The first round after a start
//! is the recovery.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;
use trade::{Observation, OrderId, PaymentHash};

use crate::engine::Engine;
use crate::lightning::{Health, Htlc, LightningNode};
use crate::store::{Reader, StoreError};

/// Calls to LND at once.
const MAX_CONCURRENT: usize = 16;

#[derive(Debug)]
pub struct Reconciliation {
    pub node: Arc<dyn LightningNode>,
    pub reader: Reader,
    pub engine: Engine,
    pub health: Health,
    /// From one round to the next; there is also a round when LND answers again, and at the tip again.
    pub period: Duration,
}

enum Open {
    Hold(OrderId, PaymentHash),
    Payment(OrderId, PaymentHash),
}

impl Reconciliation {
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let reliability = Reliability::current(&mut self.health);
            if let Err(error) = self.round().await {
                tracing::error!(%error, "open holds and payments cannot be listed");
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(self.period) => {}
                () = reliability.rises(&mut self.health) => {}
            }
        }
    }

    /// Looks up every open hold and payment once.
    pub async fn round(&self) -> Result<(), StoreError> {
        if self.health.borrow().is_none() {
            return Ok(());
        }
        let holds = self.reader.list_holds_to_watch().await?;
        let payments = self.reader.list_payments_to_follow().await?;
        let open = holds
            .into_iter()
            .map(|(order, hash)| Open::Hold(order, hash))
            .chain(payments.into_iter().map(|(order, hash)| Open::Payment(order, hash)));
        futures::stream::iter(open)
            .for_each_concurrent(MAX_CONCURRENT, |open| async move {
                match open {
                    Open::Hold(order, hash) => {
                        super::look_up(&*self.node, &self.engine, order, hash).await;
                    }
                    Open::Payment(order, hash) => {
                        super::track(&*self.node, &self.engine, order, hash).await;
                        self.find_htlc(order, hash).await;
                    }
                }
            })
            .await;
        Ok(())
    }

    /// Looks for the HTLC of a payment: LND may show one in flight that was never sent (P12).
    async fn find_htlc(&self, order: OrderId, hash: PaymentHash) {
        match self.node.find_htlc(hash).await {
            Ok(Some(Htlc { index, missing_from })) => {
                if let Some(channel) = missing_from {
                    tracing::warn!(
                        order.id = %order, ln.hash = %hash, ln.channel = channel,
                        "LND calls a payment in flight, but no channel carries it"
                    );
                }
                let is_missing = missing_from.is_some();
                let news = Observation::Htlc { hash, index, is_missing };
                super::report(&self.engine, order, news).await;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, ln.hash = %hash, "LND did not answer; retrying later");
            }
        }
    }
}

/// How far LND's answers can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reliability {
    NoAnswer,
    Answers,
    /// Its answers about escrows can be relied on.
    AtTip,
}

impl Reliability {
    fn current(health: &mut Health) -> Self {
        match health.borrow_and_update().as_ref() {
            None => Self::NoAnswer,
            Some(readiness) if readiness.may_escrow() => Self::AtTip,
            Some(_) => Self::Answers,
        }
    }

    /// Returns when the reliability has risen.
    async fn rises(mut self, health: &mut Health) {
        loop {
            let now = Self::current(health);
            if now > self {
                return;
            }
            self = now;
            if health.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
