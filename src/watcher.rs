//! What LND says of holds and payments: live streams, a periodic comparison, and LND's own health.
//!
//! Which hashes to watch is a query, not memory. The end of a stream is never an answer; the
//! comparison finds what a stream missed (E3). All of it comes back as an input.

mod comparison;
mod health;
mod streams;

pub use comparison::Comparison;
pub use health::HealthMonitor;
pub use streams::Streams;

use trade::{Input, Observation, OrderId};

use crate::engine::Engine;

/// Hands LND's word to the engine. What cannot be saved now is asked again by the comparison.
async fn report(engine: &Engine, order: OrderId, news: Observation) {
    if let Err(error) = engine.apply(order, Input::Lightning(news)).await {
        tracing::error!(order.id = %order, %error, "LND's word could not be applied");
    }
}
