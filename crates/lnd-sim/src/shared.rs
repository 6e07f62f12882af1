//! What the servers and the handle share: the network under its lock, and the bells that ring when
//! something happens.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::watch;

use crate::identity::Folder;
use crate::macaroon::Bakery;
use crate::network::Network;
use crate::state_file::StateFile;

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

/// What a node has besides its part of the network.
pub(crate) struct Premises {
    pub(crate) folder: Folder,
    pub(crate) bakery: Bakery,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) address: std::net::SocketAddr,
}

pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    clock: Clock,
    locked: Mutex<Locked>,
    premises: Mutex<BTreeMap<String, Premises>>,
    /// Rings when the network has changed.
    pub(crate) changed: watch::Sender<u64>,
    /// Rings also when somebody only called.
    pub(crate) stirred: watch::Sender<u64>,
    /// Rings when frozen calls may go on.
    pub(crate) thawed: watch::Sender<u64>,
    /// Rings when a node's open streams break; says how often each node's did.
    pub(crate) cut: watch::Sender<BTreeMap<String, u64>>,
}

struct Locked {
    network: Network,
    file: Option<StateFile>,
}

impl Shared {
    pub(crate) fn new(
        dir: PathBuf,
        clock: Clock,
        network: Network,
        file: Option<StateFile>,
    ) -> Self {
        Self {
            dir,
            clock,
            locked: Mutex::new(Locked { network, file }),
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
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Network) -> T) -> T {
        let (answer, moved) = {
            let mut locked = self.locked();
            let answer = work(&mut locked.network);
            (answer, save(&mut locked))
        };
        if moved {
            ring(&self.changed);
        }
        ring(&self.stirred);
        answer
    }

    /// Looks at the network as it is now. Rings only if time brought something.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Network) -> T) -> T {
        let (answer, moved) = {
            let mut locked = self.locked();
            let moved = save(&mut locked);
            (look(&locked.network), moved)
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

    fn locked(&self) -> MutexGuard<'_, Locked> {
        let mut locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        locked.network.tick(now);
        locked
    }
}

pub(crate) fn ring(bell: &watch::Sender<u64>) {
    bell.send_modify(|rung| *rung += 1);
}

/// Puts what has changed on disk; says whether anything had.
fn save(locked: &mut Locked) -> bool {
    let Locked { network, file } = locked;
    if let Some(Err(error)) = file.as_mut().map(|file| file.append(network)) {
        tracing::error!(%error, "the state file is behind");
        network.violations.push(format!("the state file is behind: {error}"));
    }
    let moved = !network.touched.is_empty();
    network.touched.clear();
    moved
}
