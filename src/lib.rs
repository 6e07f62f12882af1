//! `mostrod`: strangers trade bitcoin for fiat without a custodian.
//!
//! Deciding happens in the crate `trade`; everything here carries inputs to it and carries out
//! what it decided. `ARCHITECTURE.md` is the map.

pub mod check; // `mostrod check`
pub mod clock; // time, as a value
pub mod config; // settings: three layers, checked as a whole
pub mod crash; // where a test makes the process die
pub mod daemon; // the composition root: every part, start and stop order
pub mod engine; // one writer: load, decide, save, commit
pub mod entropy; // randomness, as a value; preimages and ids
mod error_chain; // an error with its causes, on one line
pub mod facts; // answers the core's questions by asking LND
pub mod intake; // envelope → authenticated sender → Command
pub mod lightning; // the port to LND, the client, what answers mean
pub mod nostr; // relay pool, subscriptions, envelopes, addressable events
pub mod outbox; // what was committed is carried out, at least once
pub mod publisher; // public events, made from the current state
pub mod retry; // backoff, and reporting each failure once
pub mod store; // all SQL
pub mod tasks; // named tasks that bring the daemon down if they end too early
pub mod timers; // deadlines, retention, the daily reminder
pub mod watcher; // news from LND about holds and payments: streams and reconciliation
pub mod wire; // message JSON ⇄ our types; names of statuses and reasons; event tags

#[cfg(test)]
mod recorded_log; // what a test's code logs

use error_chain::error_chain;
