//! Whole trades on real nodes: `make regtest`. Each story has a chain, nodes, relay and daemon of its
//! own.

#[expect(dead_code, reason = "the stories on simulated nodes need more of it")]
mod harness;
mod nodes;
