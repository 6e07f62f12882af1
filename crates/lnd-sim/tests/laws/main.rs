//! The simulated LND against what real LND answered: every test names the case of the measurement
//! (`lnd-0.21.2.json`) it repeats, over real sockets with the client crate's own clients.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]

mod access;
mod deaths;
mod fixture;
mod holds;
mod payments;
mod program;
