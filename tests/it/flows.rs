//! The protocol's message sequences; every message and public event is compared in full.

mod buy;
mod cancel;
mod sell;
mod timeouts;
mod transports;
