//! Envelopes: how a message travels, encrypted, from one key to another.
//!
//! Gift wraps (kind 1059) hide the author from relays; direct messages (kind 14) are signed by the
//! trade key. Both prove the same two things: which trade key sent the message, and which identity
//! owns that key. Pure functions: age, duplicates and relays are handled elsewhere.

use nostr_sdk::Kind;

mod open;
mod seal;

pub use open::{Candidate, Dropped, EventRequirements, Opened, open, precheck};
pub use seal::{SealError, reseal, seal};

/// The way a message travels. Its number is the protocol version of the messages on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// NIP-59, kind 1059.
    GiftWrap,
    /// Signed direct message, kind 14.
    Nip44,
}

impl Transport {
    pub const ALL: [Self; 2] = [Self::GiftWrap, Self::Nip44];

    #[must_use]
    pub fn version(self) -> u8 {
        match self {
            Self::GiftWrap => 1,
            Self::Nip44 => 2,
        }
    }

    /// The transport whose events are of this kind.
    #[must_use]
    pub fn of(kind: Kind) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.kind() == kind)
    }

    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::GiftWrap => Kind::GiftWrap,
            Self::Nip44 => Kind::PrivateDirectMessage,
        }
    }
}

#[cfg(test)]
mod tests;
