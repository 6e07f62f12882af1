//! The protocol's message sequences, every message and public event in full.

mod buy;
mod cancel;
mod sell;
mod timeouts;
mod transports;
