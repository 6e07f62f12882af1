//! The same scenarios on real nodes, and what only those can show: `make regtest`. Each scenario has a
//! chain, nodes, relay and daemon of its own.

mod faults;
mod fixture;
mod flows;
mod nodes;

use anyhow::Result;
use devnet::{Exchange, Settings};
use regtest::{Config, Regtest, SIGN_AT_ONCE};

/// What a scenario stands on.
type Network = Regtest;
/// What a scenario stands on in which LND is killed.
type Processes = Regtest;

/// So many fixtures are alive at a time where a test has more to tell than one.
const PARALLEL: usize = 2;

async fn network(settings: Settings) -> Result<Exchange<Network>> {
    let mut nodes = Config::new()?;
    nodes.hub_arguments = SIGN_AT_ONCE.map(Into::into).into();
    Exchange::start_on_nodes(nodes, settings).await
}

use network as processes;
