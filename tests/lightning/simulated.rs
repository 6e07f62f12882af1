//! The simulated network.

use lnd_sim::{Config, LndSim};

use crate::stage::Stage;

/// On a simulation in a folder of its own.
pub(crate) async fn stage() -> Stage<LndSim> {
    let dir = tempfile::tempdir().expect("a folder");
    let sim = LndSim::start(Config::new(dir.path())).await.expect("the simulation starts");
    Stage::on(sim, Some(dir))
}
