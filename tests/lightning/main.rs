//! The contract of the Lightning port: one list of laws for every kind of network.
//!
//! Each law names the cases in `lnd-0.21.2.json` that it rests on, which were measured on a real LND.
//! `contract` contains the laws, `access` and `faults` those that only the simulated node can show,
//! and why.
#![expect(clippy::panic, reason = "a law that does not hold panics")]

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
