//! The protocol as it is spelled: message JSON, names of actions, statuses and reasons, event tags.
//!
//! Types here mirror the wire and judge nothing; what a message may do is decided in `trade`.

pub mod action; // every action: its word, who sends it, what it carries
pub mod command; // from a message to what it asks for
pub mod message; // the envelope: wrapper, ids, action; parsing, canonical bytes, structural check
pub mod names; // every fixed word of the protocol
pub mod notice; // from what we have to say to its message
pub mod payload; // what a message carries
pub mod tags; // public events: order book, node, relay list, profile

pub use action::{Action, Direction};
pub use message::{Message, ParseError};
pub use names::{CantDoReason, DisputeStatus, Kind, Side, Status, Wrapper};
pub use payload::{Payload, Private, SmallOrder, UserInfo};
