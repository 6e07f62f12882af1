//! The daemon as its users meet it: the real binary, a relay and a simulated LND over sockets, and
//! clients that know only the wire. One file per page of the protocol.

mod faults;
mod fixture;
mod flows;
mod simulated;
mod startup;

use anyhow::Result;
use devnet::{Exchange, LndProcess, Settings};
use lnd_sim::LndSim;

/// What a scenario stands on.
type Network = LndSim;
/// What a scenario stands on in which LND is killed.
type Processes = LndProcess;

/// So many fixtures are alive at a time where a test has more to tell than one: each waits, mostly.
const PARALLEL: usize = 4;

async fn network(settings: Settings) -> Result<Exchange<Network>> {
    Exchange::start(settings).await
}

async fn processes(settings: Settings) -> Result<Exchange<Processes>> {
    Exchange::start_on_process(settings).await
}
