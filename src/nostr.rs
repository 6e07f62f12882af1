//! Nostr: envelopes around messages, and the relays.

pub mod envelope; // one message, encrypted and authenticated, on either transport
pub mod pool; // the relays: subscriptions and publishing

use std::time::Duration;

use trade::Timestamp;

// The rest of the daemon imports these types from here, not from the library.
pub use nostr_sdk::event::Error as EventError;
pub use nostr_sdk::{Event, JsonUtil, Keys, SecretKey, ToBech32, Url};

pub use envelope::{
    Candidate, Dropped, EventRequirements, Opened, SealError, Transport, open, precheck, reseal,
    seal,
};
pub use pool::{Listener, Options, Phase, RelayError, Relays, Subscriptions};

/// An event of ours dated this much ahead was dated while the clock was wrong: relays refuse it.
pub const FROM_A_FAST_CLOCK: Duration = Duration::from_mins(15);

/// When an event was created, by its author's clock.
#[must_use]
pub fn time_of(event: &Event) -> Timestamp {
    Timestamp(i64::try_from(event.created_at.as_secs()).unwrap_or(i64::MAX))
}
