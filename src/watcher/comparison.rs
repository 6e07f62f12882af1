//! The periodic comparison of every open hold and payment with LND (E3, P5). Recovery after a
//! restart is its first round.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;
use trade::{Observation, OrderId, PaymentHash};

use crate::engine::Engine;
use crate::lightning::{Health, Htlc, LightningNode};
use crate::store::{Reader, StoreError};

/// Questions to LND at once.
const SIDE_BY_SIDE: usize = 16;

#[derive(Debug)]
pub struct Comparison {
    pub node: Arc<dyn LightningNode>,
    pub reader: Reader,
    pub engine: Engine,
    pub health: Health,
    /// From one round to the next; a round also follows whenever LND is back, and at the tip.
    pub period: Duration,
}

enum Open {
    Hold(OrderId, PaymentHash),
    Payment(OrderId, PaymentHash),
}

impl Comparison {
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let standing = Standing::now(&mut self.health);
            if let Err(error) = self.round().await {
                tracing::error!(%error, "what is open at LND cannot be listed");
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(self.period) => {}
                () = standing.rises(&mut self.health) => {}
            }
        }
    }

    /// Asks LND about everything that is open, once.
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
            .for_each_concurrent(SIDE_BY_SIDE, |open| async move {
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

    /// LND may hold on to a payment that never left it (P12).
    async fn find_htlc(&self, order: OrderId, hash: PaymentHash) {
        match self.node.find_htlc(hash).await {
            Ok(Some(Htlc { index, missing_from })) => {
                if let Some(channel) = missing_from {
                    tracing::warn!(
                        order.id = %order, ln.hash = %hash, ln.channel = channel,
                        "LND calls a payment in flight and no channel carries it"
                    );
                }
                let is_missing = missing_from.is_some();
                let news = Observation::Htlc { hash, index, is_missing };
                super::report(&self.engine, order, news).await;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, ln.hash = %hash, "LND did not answer; asking again later");
            }
        }
    }
}

/// How much LND's word is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Silent,
    Answers,
    /// What it says of an escrow can be relied on.
    AtTip,
}

impl Standing {
    fn now(health: &mut Health) -> Self {
        match health.borrow_and_update().as_ref() {
            None => Self::Silent,
            Some(readiness) if readiness.may_escrow() => Self::AtTip,
            Some(_) => Self::Answers,
        }
    }

    /// Returns when LND's word is good for more than before.
    async fn rises(mut self, health: &mut Health) {
        loop {
            let now = Self::now(health);
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
