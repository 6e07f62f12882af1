//! News from LND about holds and payments: live streams, a periodic reconciliation, and health checks.
//!
//! Which hashes to watch is read from the database, not kept in memory. The end of a stream says nothing
//! about its hash; the reconciliation finds what a stream missed. All news becomes inputs of the engine.

mod block_progress;
mod health;
mod reconciliation;
mod streams;

#[cfg(test)]
mod tests;

pub use health::HealthMonitor;
pub use reconciliation::Reconciliation;
pub use streams::Streams;

use trade::{Input, Observation, OrderId, PaymentHash};

use crate::crash;
use crate::engine::{Engine, Write};
use crate::lightning::LightningNode;

/// Passes news from LND to the engine. What cannot be saved now comes again with the reconciliation.
async fn report(engine: &Engine, order: OrderId, news: Observation) {
    if let Err(error) = engine.apply(order, Input::Lightning(news)).await {
        tracing::error!(order.id = %order, %error, "news from LND could not be applied");
    }
}

/// Looks up the status of a hold, and what its channels show of it.
async fn look_up(node: &dyn LightningNode, engine: &Engine, order: OrderId, hash: PaymentHash) {
    match node.hold_status(hash).await {
        Ok(status) => report(engine, order, Observation::Hold { hash, status }).await,
        Err(error) => {
            tracing::debug!(%error, ln.hash = %hash, "LND did not answer; retrying later");
        }
    }
}

/// Looks up the status of a payment.
async fn track(node: &dyn LightningNode, engine: &Engine, order: OrderId, hash: PaymentHash) {
    match crash::around("ln.track", node.payment_status(hash)).await {
        Ok(status) => report(engine, order, Observation::Payment { hash, status }).await,
        Err(error) => {
            tracing::debug!(%error, ln.hash = %hash, "LND did not answer; retrying later");
            if error.is_node_away() {
                note_unhealthy(engine).await;
            }
        }
    }
}

/// Saves that LND is unhealthy: a payment that fails after this does not count against the buyer (P9).
async fn note_unhealthy(engine: &Engine) {
    if let Err(error) = engine.write(Write::LndIsUnhealthy).await {
        tracing::error!(%error, "that LND is unhealthy could not be saved");
    }
}
