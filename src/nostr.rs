//! Everything that speaks Nostr: envelopes around messages, and the relays.

pub mod envelope; // one message, encrypted and authenticated, on either transport
pub mod pool; // the relays: what we hear from them, what we tell them

use std::time::Duration;

use trade::Timestamp;

// The rest of the daemon knows these types by our name: which crate they are from is settled here.
pub use nostr_sdk::event::Error as EventError;
pub use nostr_sdk::{Event, JsonUtil, Keys, SecretKey, ToBech32, Url};

pub use envelope::{
    Candidate, Dropped, Opened, Policy, SealError, Transport, glance, open, seal, seal_anew,
};
pub use pool::{Listener, Options, Phase, RelayError, Relays, Subscriptions};

/// An event dated this much ahead was dated by a clock that ran ahead and is right again: neither
/// relays nor we take it (D31).
pub const FROM_A_FAST_CLOCK: Duration = Duration::from_mins(15);

/// When an event was made, as its author says.
#[must_use]
pub fn time_of(event: &Event) -> Timestamp {
    Timestamp(i64::try_from(event.created_at.as_secs()).unwrap_or(i64::MAX))
}
