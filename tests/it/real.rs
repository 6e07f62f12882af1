//! The same scenarios on real nodes, and those that only real nodes can show: `make regtest`. Each
//! scenario has its own chain, nodes, relay and daemon.

mod faults;
mod fixture;
mod flows;
mod nodes;

use anyhow::Result;
use devnet::{Exchange, Settings};
use regtest::{Config, Regtest, SIGN_AT_ONCE};

/// The Lightning network of a scenario.
type Network = Regtest;
/// The Lightning network of a scenario in which LND is killed.
type Processes = Regtest;

/// How many fixtures a test runs concurrently.
const PARALLEL: usize = 2;

async fn network(settings: Settings) -> Result<Exchange<Network>> {
    let mut nodes = Config::new()?;
    nodes.hub_arguments = SIGN_AT_ONCE.map(Into::into).into();
    Exchange::start_on_nodes(nodes, settings).await
}

use network as processes;
