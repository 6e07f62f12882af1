//! The wire format: message JSON, names of actions, statuses and reasons, event tags.
//!
//! Types here mirror the wire and decide nothing; what a message may do is decided in `trade`.

pub mod action; // every action: its name, who sends it, its payloads
pub mod command; // from a message to the command in it
pub mod message; // wrapper, ids, action; parsing, canonical bytes, structural check
pub mod names; // every fixed name of the protocol
pub mod notice; // from a notice of the core to its message
pub mod payload; // the payloads of messages
pub mod tags; // public events: order book, node, relay list, profile

pub use action::{Action, Direction};
pub use message::{Message, ParseError};
pub use names::{CantDoReason, DisputeStatus, Kind, Side, Status, Wrapper};
pub use payload::{Payload, Private, SmallOrder, UserInfo};
