//! The pure core: what an order is, and what every input does to it.
//!
//! No clock, no chance, no network, no storage: [`decide()`] and [`create`] take values and return a
//! value. Commit it, then act on its effects; what the world answers comes back as an [`Input`].

pub mod alarm;
pub mod cause;
pub mod decide;
pub mod effect;
pub mod env;
pub mod hold;
pub mod input;
pub mod invariants;
pub mod invoice;
pub mod keys;
pub mod money;
pub mod notice;
pub mod order;
pub mod payout;
pub mod policy;
pub mod question;
pub mod refusal;
pub mod routing;
pub mod state;
pub mod terms;
pub mod time;
pub mod waiting;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;

pub use alarm::Alarm;
pub use cause::Cause;
pub use decide::{Undecided, create, decide};
pub use effect::{AccountChange, Decision, Effect, LedgerAccount, LnCommand, Note, Posting};
pub use env::{Account, Backlog, Env};
pub use hold::{
    EscrowEvidence, Held, Hold, HoldDecision, HoldPurpose, HoldSecret, HoldStatus, Seen,
};
pub use input::{Command, Input, Needs, NewOrder, Observation, Request, Sender};
pub use invoice::{Destination, Invoice, LightningIdentity, Network};
pub use keys::{IdentityKey, NodeKey, OrderId, PaymentHash, Preimage, TradeKey};
pub use money::{Fiat, Msats, Ppm, Sats};
pub use notice::{Notice, OrderView, Reputation};
pub use order::{Kind, Order, Party, PublicStatus, Side};
pub use payout::{
    Attempt, FailedSends, FailureReason, PaymentStatus, Payout, PayoutPurpose, PayoutState,
};
pub use policy::Policy;
pub use question::{Fact, Question};
pub use refusal::Refusal;
pub use routing::{Day, RoutingBudget, Subsidy};
pub use state::{
    Deadline, FrozenBecause, FrozenState, HorizonWarning, OrderState, Outcome, Preparing,
    PreparingFrom, Status,
};
pub use terms::{FiatAmount, Price, Quote, Terms};
pub use time::{BlockHeight, Timestamp};
pub use waiting::Waiting;
