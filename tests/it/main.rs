//! The daemon as its users see it: the real binary, a relay and a simulated LND over sockets, and
//! clients that know only the protocol.

mod faults;
mod fixture;
mod flows;
mod simulated;
mod startup;

use anyhow::Result;
use devnet::{Exchange, LndProcess, Settings};
use lnd_sim::LndSim;

/// The Lightning network of a scenario.
type Network = LndSim;
/// The Lightning network of a scenario in which LND is killed.
type Processes = LndProcess;

/// How many fixtures a test runs concurrently; each waits most of the time.
const PARALLEL: usize = 4;

async fn network(settings: Settings) -> Result<Exchange<Network>> {
    Exchange::start(settings).await
}

async fn processes(settings: Settings) -> Result<Exchange<Processes>> {
    Exchange::start_on_process(settings).await
}
