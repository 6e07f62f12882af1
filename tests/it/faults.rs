//! Faults during a trade: of the process, the relay, LND, other people.

mod absence;
mod forged;
mod hostile;
mod kill;
mod link;
mod lnd_access;
mod lnd_dies;
mod relay;
mod rivals;
mod secrets;
