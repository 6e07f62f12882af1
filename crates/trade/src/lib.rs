//! The pure core: what an order is, and what every input does to it.
//!
//! No clock, no chance, no network, no storage: `decide` takes values and returns a value.

pub mod keys;
pub mod money;
pub mod time;

pub use keys::{IdentityKey, NodeKey, OrderId, PaymentHash, Preimage, TradeKey};
pub use money::{Msats, Ppm, Sats};
pub use time::{BlockHeight, Timestamp};
