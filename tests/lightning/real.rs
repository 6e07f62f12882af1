//! The contract of the Lightning port, on real nodes: `make regtest`.
#![expect(clippy::panic, reason = "that is how a law says that it does not hold")]

mod contract;
mod corpus;
mod draft;
mod stage;

mod on_real_nodes {
    crate::contract::every_law!(crate::stage);
}

/// On a chain and nodes of its own.
async fn stage() -> stage::Stage<regtest::Regtest> {
    let config = regtest::Config::new().expect("there are programs");
    let nodes = regtest::Regtest::start(config).await.expect("the nodes are up");
    stage::Stage::on(nodes, None)
}
