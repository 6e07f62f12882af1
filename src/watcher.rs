//! What LND says of holds and payments: live streams, a periodic comparison, and LND's own health.
//!
//! Which hashes to watch is a query, not memory. The end of a stream is never an answer; the
//! comparison finds what a stream missed (E3). All of it comes back as an input.

mod block_progress;
mod comparison;
mod health;
mod streams;

#[cfg(test)]
mod tests;

pub use comparison::Comparison;
pub use health::HealthMonitor;
pub use streams::Streams;

use trade::{Input, Observation, OrderId, PaymentHash};

use crate::crash;
use crate::engine::{Engine, Write};
use crate::lightning::LightningNode;

/// Hands LND's word to the engine. What cannot be saved now is asked again by the comparison.
async fn report(engine: &Engine, order: OrderId, news: Observation) {
    if let Err(error) = engine.apply(order, Input::Lightning(news)).await {
        tracing::error!(order.id = %order, %error, "news from LND could not be applied");
    }
}

/// Asks LND where a hold stands, and what it is worth (E3, D33).
async fn look_up(node: &dyn LightningNode, engine: &Engine, order: OrderId, hash: PaymentHash) {
    match node.hold_status(hash).await {
        Ok(status) => report(engine, order, Observation::Hold { hash, status }).await,
        Err(error) => {
            tracing::debug!(%error, ln.hash = %hash, "LND did not answer; asking again later");
        }
    }
}

/// Asks LND where a payment stands (P5).
async fn track(node: &dyn LightningNode, engine: &Engine, order: OrderId, hash: PaymentHash) {
    match crash::around("ln.track", node.payment_status(hash)).await {
        Ok(status) => report(engine, order, Observation::Payment { hash, status }).await,
        Err(error) => {
            tracing::debug!(%error, ln.hash = %hash, "LND did not answer; asking again later");
            if error.is_node_away() {
                note_unwell(engine).await;
            }
        }
    }
}

/// How a payment ends after this is not held against the buyer (P9).
async fn note_unwell(engine: &Engine) {
    if let Err(error) = engine.write(Write::LndIsUnwell).await {
        tracing::error!(%error, "that LND is unhealthy could not be saved");
    }
}
