//! The contract of the Lightning port: one list of laws, for every network there is.
//!
//! Each law names the cases in `lnd-0.21.2.json` that it rests on: what a real LND was measured to
//! do. `contract` holds the laws, `access` and `faults` those that only the simulated node can be
//! told to show, and why.
#![expect(clippy::panic, reason = "that is how a law says that it does not hold")]

mod access;
mod contract;
mod corpus;
mod draft;
mod faults;
mod fixture;
mod invoices;
mod simulated;

mod on_the_simulated_node {
    crate::contract::every_law!(crate::simulated::fixture);
}
