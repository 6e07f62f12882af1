//! The simulated network.

use lnd_sim::{Config, LndSim};

use crate::fixture::Fixture;

/// A fixture on a simulation in its own folder.
pub(crate) async fn fixture() -> Fixture<LndSim> {
    let dir = tempfile::tempdir().expect("a folder");
    let sim = LndSim::start(Config::new(dir.path())).await.expect("the simulation starts");
    Fixture::on(sim, Some(dir))
}
