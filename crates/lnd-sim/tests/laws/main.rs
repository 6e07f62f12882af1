//! The simulated LND compared with real LND: every test names the measured case (`lnd-0.21.2.json`)
//! that it repeats, over real sockets with the client crate's clients.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]

mod access;
mod fixture;
mod holds;
mod payments;
mod program;
mod restarts;
