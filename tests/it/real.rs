//! The same stories on real nodes, and what only those can show: `make regtest`. Each story has a
//! chain, nodes, relay and daemon of its own.

mod faults;
mod flows;
mod harness;
mod nodes;

use anyhow::Result;
use devnet::{Net, Settings};
use regtest::{Config, Regtest, SIGN_AT_ONCE};

/// What a story stands on.
type Network = Regtest;
/// What a story stands on in which LND is killed.
type Processes = Regtest;

/// So many worlds are alive at a time where a test has more to tell than one.
const WORLDS: usize = 2;

async fn network(settings: Settings) -> Result<Net<Network>> {
    let mut nodes = Config::new()?;
    nodes.hub_arguments = SIGN_AT_ONCE.map(Into::into).into();
    Net::start_on_nodes(nodes, settings).await
}

use network as processes;
