//! What the servers and the handle share: the world under its lock, and the bells that ring when
//! something happens.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::watch;

use crate::identity::Folder;
use crate::macaroon::Bakery;
use crate::state_file::StateFile;
use crate::world::World;

/// Tells the time since 1970. The simulation asks nobody else.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The machine's own clock.
#[must_use]
pub fn system_clock() -> Clock {
    #[expect(clippy::disallowed_methods, reason = "this is where a clock is made of it")]
    Arc::new(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
    })
}

/// What a node has besides its part of the world.
pub(crate) struct Premises {
    pub(crate) folder: Folder,
    pub(crate) bakery: Bakery,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) address: std::net::SocketAddr,
}

pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    clock: Clock,
    stage: Mutex<Stage>,
    premises: Mutex<BTreeMap<String, Premises>>,
    /// Rings when the world has changed.
    pub(crate) changed: watch::Sender<u64>,
    /// Rings also when somebody only called.
    pub(crate) stirred: watch::Sender<u64>,
    /// Rings when frozen calls may go on.
    pub(crate) thawed: watch::Sender<u64>,
    /// Rings when a node's open streams break; says how often each node's did.
    pub(crate) cut: watch::Sender<BTreeMap<String, u64>>,
}

struct Stage {
    world: World,
    file: Option<StateFile>,
}

impl Shared {
    pub(crate) fn new(dir: PathBuf, clock: Clock, world: World, file: Option<StateFile>) -> Self {
        Self {
            dir,
            clock,
            stage: Mutex::new(Stage { world, file }),
            premises: Mutex::default(),
            changed: watch::Sender::default(),
            stirred: watch::Sender::default(),
            thawed: watch::Sender::default(),
            cut: watch::Sender::default(),
        }
    }

    /// Takes one step: time first, then `work`. On return the step is on disk.
    ///
    /// A state file that cannot be written is a broken law: `check` tells.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        let (answer, moved) = {
            let mut stage = self.stage();
            let answer = work(&mut stage.world);
            (answer, save(&mut stage))
        };
        if moved {
            ring(&self.changed);
        }
        ring(&self.stirred);
        answer
    }

    /// Looks at the world as it is now. Rings only if time brought something.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        let (answer, moved) = {
            let mut stage = self.stage();
            let moved = save(&mut stage);
            (look(&stage.world), moved)
        };
        if moved {
            ring(&self.changed);
            ring(&self.stirred);
        }
        answer
    }

    pub(crate) fn now(&self) -> Duration {
        (self.clock)()
    }

    pub(crate) fn premises(&self) -> MutexGuard<'_, BTreeMap<String, Premises>> {
        self.premises.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        stage.world.tick(now);
        stage
    }
}

pub(crate) fn ring(bell: &watch::Sender<u64>) {
    bell.send_modify(|rung| *rung += 1);
}

/// Puts what has changed on disk; says whether anything had.
fn save(stage: &mut Stage) -> bool {
    let Stage { world, file } = stage;
    if let Some(Err(error)) = file.as_mut().map(|file| file.append(world)) {
        tracing::error!(%error, "the state file is behind");
        world.violations.push(format!("the state file is behind: {error}"));
    }
    let moved = !world.touched.is_empty();
    world.touched.clear();
    moved
}
