//! The contract of the Lightning port, on real nodes: `make regtest`.
#![expect(clippy::panic, reason = "a law that does not hold panics")]

mod contract;
mod corpus;
mod draft;
mod fixture;

mod on_real_nodes {
    crate::contract::every_law!(crate::fixture);
}

/// A fixture on its own chain and nodes.
async fn fixture() -> fixture::Fixture<regtest::Regtest> {
    let config = regtest::Config::new().expect("the nodes are built");
    let nodes = regtest::Regtest::start(config).await.expect("the nodes are up");
    fixture::Fixture::on(nodes, None)
}
