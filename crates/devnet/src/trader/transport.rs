//! The two transports, and how a client seals a message on each.

use std::fmt;

use anyhow::Result;
use mostro_core::message::Message;
use mostro_core::nip59::{WrapOptions, wrap_message};
use mostro_core::transport::wrap_message_nip44;
use nostr_sdk::{Event, Keys, PublicKey};

/// The envelope of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A gift wrap, kind 1059: older clients.
    GiftWrap,
    /// A signed direct message, kind 14.
    Nip44,
}

impl Transport {
    pub(super) fn version(self) -> u8 {
        match self {
            Self::GiftWrap => 1,
            Self::Nip44 => 2,
        }
    }

    /// Seals a message as a client does: signed by the trade key, with proof of the identity.
    ///
    /// # Errors
    /// If the message cannot be encrypted or signed.
    pub async fn seal(
        self,
        message: &Message,
        identity: &Keys,
        trade: &Keys,
        node: PublicKey,
    ) -> Result<Event> {
        let options = WrapOptions::default();
        Ok(match self {
            Self::GiftWrap => wrap_message(message, identity, trade, node, options).await?,
            Self::Nip44 => wrap_message_nip44(message, identity, trade, node, options)?,
        })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.version())
    }
}
