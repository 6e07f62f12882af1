//! Faults during a trade: of the process, the relay, LND, other people.

mod concurrent_takes;
mod downtime;
mod forged;
mod hostile;
mod kill;
mod link;
mod lnd_access;
mod lnd_killed;
mod relay;
mod secrets;
