//! The daemon as its users meet it: the real binary, a relay and a simulated LND over sockets, and
//! clients that know only the wire. One file per page of the protocol.

mod faults;
mod flows;
mod harness;
mod simulated;
mod startup;

use anyhow::Result;
use devnet::{LndProcess, Net, Settings};
use lnd_sim::LndSim;

/// What a story stands on.
type Network = LndSim;
/// What a story stands on in which LND is killed.
type Processes = LndProcess;

/// So many worlds are alive at a time where a test has more to tell than one: each waits, mostly.
const WORLDS: usize = 4;

async fn network(settings: Settings) -> Result<Net<Network>> {
    Net::start(settings).await
}

async fn processes(settings: Settings) -> Result<Net<Processes>> {
    Net::start_on_process(settings).await
}
