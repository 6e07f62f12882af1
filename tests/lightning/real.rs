//! The contract of the Lightning port, on real nodes: `make regtest`.
#![expect(clippy::panic, reason = "that is how a law says that it does not hold")]

mod contract;
mod corpus;
mod draft;
mod fixture;

mod on_real_nodes {
    crate::contract::every_law!(crate::fixture);
}

/// On a chain and nodes of its own.
async fn fixture() -> fixture::Fixture<regtest::Regtest> {
    let config = regtest::Config::new().expect("there are programs");
    let nodes = regtest::Regtest::start(config).await.expect("the nodes are up");
    fixture::Fixture::on(nodes, None)
}
