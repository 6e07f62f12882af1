//! The daemon as its users meet it: the real binary, a relay and a simulated LND over sockets, and
//! clients that know only the wire. One file per page of the protocol.

mod faults;
mod flows;
mod harness;
