//! Messages as a client received them, and the error when an expected one does not come.

use std::fmt;
use std::time::Duration;

use mostro_core::message::{Action, Message, MessageKind, Payload};
use nostr_sdk::{EventId, PublicKey};
use serde_json::Value;

use super::transport::Transport;

/// One message of the node.
#[derive(Debug, Clone)]
pub struct Received {
    pub event: EventId,
    pub transport: Transport,
    /// The trade key it was addressed to.
    pub to: PublicKey,
    pub message: Message,
    /// The same as JSON, as the node wrote it.
    pub json: Value,
    /// The time since the trader joined.
    pub after: Duration,
}

/// An expected message did not come.
#[derive(Debug, thiserror::Error)]
pub struct Unexpected {
    pub who: String,
    pub wanted: Action,
    pub patience: Duration,
    pub received: Vec<Received>,
    /// How many of them were taken, including the wrong one.
    pub taken: usize,
}

impl Received {
    pub(super) fn at(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    /// The fields that every message has in any wrapper.
    #[must_use]
    pub fn kind(&self) -> &MessageKind {
        self.message.get_inner_message_kind()
    }

    #[must_use]
    pub fn payload(&self) -> Option<&Payload> {
        self.kind().payload.as_ref()
    }
}

/// An action as the protocol spells it.
#[must_use]
pub fn on_the_wire(action: &Action) -> String {
    match serde_json::to_value(action) {
        Ok(Value::String(name)) => name,
        _ => action.to_string(),
    }
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3} s  {}  {}", self.after.as_secs_f64(), self.transport, self.json)
    }
}

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, wanted, patience, received, taken } = self;
        write!(f, "{who} waited for {} (at most {patience:?})", on_the_wire(wanted))?;
        match received.len() {
            0 => write!(f, " and received nothing at all"),
            count => {
                write!(f, "; received so far ({taken} of {count} were asked for):")?;
                received.iter().try_for_each(|message| write!(f, "\n{message}"))
            }
        }
    }
}
