//! One message of the protocol: a request of a client, or a message of the daemon.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::action::Action;
use super::names::Wrapper;
use super::payload::Payload;

/// The longest message that is parsed: as much as one NIP-44 ciphertext can contain.
pub const MAX_MESSAGE_BYTES: usize = 65_535;

/// The largest event read, as JSON, wrapped or not.
pub const MAX_EVENT_BYTES: u32 = 65_536;

/// One message of the protocol.
///
/// Serialising gives the canonical bytes that signatures cover.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub wrapper: Wrapper,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Body {
    /// The version of the transport that carries the message; the signature covers it.
    pub version: u8,
    pub request_id: Option<u64>,
    pub trade_index: Option<i64>,
    /// The order's id; a dispute's for `admin-take-dispute` and its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    pub action: Action,
    pub payload: Option<Payload>,
}

/// Why a text is not a message; it never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("a message of {bytes} bytes is longer than {MAX_MESSAGE_BYTES}")]
    TooLong { bytes: usize },
    #[error("not a message of the protocol (byte {column})")]
    Malformed { column: usize },
}

impl Message {
    /// Parses one message, as tolerantly as the protocol's own library does.
    ///
    /// # Errors
    /// When the text is too long or is not a message; never panics.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > MAX_MESSAGE_BYTES {
            return Err(ParseError::TooLong { bytes: text.len() });
        }
        serde_json::from_str(text).map_err(|error| ParseError::Malformed { column: error.column() })
    }

    /// The canonical text: what we send, and what upstream's clients sign.
    ///
    /// # Panics
    /// Never: every field has a form in JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a message has text keys and writes to memory")
    }

    /// Whether a request has the id and the payload that its action needs.
    ///
    /// Only for requests: several valid messages of daemons do not pass.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let Body { id, action, payload, .. } = &self.body;
        let has_its_wrapper = *action != Action::UserInfo || self.wrapper == Wrapper::Restore;
        has_its_wrapper && action.is_well_formed(id.is_some(), payload.as_ref())
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.wrapper, &self.body)])
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// As an enum, serde requires exactly one key.
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Wrapped {
            Order(Body),
            Dispute(Body),
            CantDo(Body),
            Rate(Body),
            Dm(Body),
            Restore(Body),
        }
        let (wrapper, body) = match Wrapped::deserialize(deserializer)? {
            Wrapped::Order(body) => (Wrapper::Order, body),
            Wrapped::Dispute(body) => (Wrapper::Dispute, body),
            Wrapped::CantDo(body) => (Wrapper::CantDo, body),
            Wrapped::Rate(body) => (Wrapper::Rate, body),
            Wrapped::Dm(body) => (Wrapper::Dm, body),
            Wrapped::Restore(body) => (Wrapper::Restore, body),
        };
        Ok(Self { wrapper, body })
    }
}

#[cfg(test)]
mod tests;
