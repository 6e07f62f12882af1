//! Everything that speaks Nostr: envelopes around messages, and the relays.

pub mod envelope; // one message, encrypted and authenticated, on either transport
pub mod pool; // the relays: what we hear from them, what we tell them

// The rest of the daemon knows these types by our name: which crate they are from is settled here.
pub use nostr_sdk::event::Error as EventError;
pub use nostr_sdk::{Event, JsonUtil, Keys, SecretKey, ToBech32, Url};

pub use envelope::{Dropped, Opened, Policy, SealError, Transport, glance, open, seal, seal_anew};
pub use pool::{Hearing, Listener, Options, Phase, RelayError, Relays};
