//! Everything that speaks Nostr: envelopes around messages, and the relays.

pub mod envelope; // one message, encrypted and authenticated, on either transport
pub mod pool; // the relays: what we hear from them, what we tell them

pub use envelope::{Dropped, Opened, Policy, SealError, Transport, open, seal};
pub use pool::{Hearing, Listener, Options, RelayError, Relays};
