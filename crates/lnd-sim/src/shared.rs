//! What the servers and the handle share: the network under its lock, and the channels that notify
//! of changes.

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

/// Returns the time since 1970. The simulation has no other source of time.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The machine's own clock.
#[must_use]
pub fn system_clock() -> Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place where the system clock is read"
    )]
    Arc::new(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
    })
}

/// How clients reach a node.
pub(crate) struct Endpoint {
    pub(crate) folder: Folder,
    pub(crate) bakery: Bakery,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) address: std::net::SocketAddr,
}

pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    clock: Clock,
    locked: Mutex<Locked>,
    endpoints: Mutex<BTreeMap<String, Endpoint>>,
    /// Notifies when the network has changed.
    pub(crate) changed: watch::Sender<u64>,
    /// Notifies of changes and of calls.
    pub(crate) activity: watch::Sender<u64>,
    /// Notifies that frozen calls may continue.
    pub(crate) thawed: watch::Sender<u64>,
    /// How often each node's open streams were broken.
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
            endpoints: Mutex::default(),
            changed: watch::Sender::default(),
            activity: watch::Sender::default(),
            thawed: watch::Sender::default(),
            cut: watch::Sender::default(),
        }
    }

    /// Takes one step: first what is due by now, then `work`. On return the step is on disk.
    ///
    /// A state file that cannot be written counts as a broken law in `check`.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Network) -> T) -> T {
        let (answer, moved) = {
            let mut locked = self.locked();
            let answer = work(&mut locked.network);
            (answer, save(&mut locked))
        };
        if moved {
            notify(&self.changed);
        }
        notify(&self.activity);
        answer
    }

    /// Reads the network as it is now. Notifies only if something was due.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Network) -> T) -> T {
        let (answer, moved) = {
            let mut locked = self.locked();
            let moved = save(&mut locked);
            (look(&locked.network), moved)
        };
        if moved {
            notify(&self.changed);
            notify(&self.activity);
        }
        answer
    }

    pub(crate) fn now(&self) -> Duration {
        (self.clock)()
    }

    pub(crate) fn endpoints(&self) -> MutexGuard<'_, BTreeMap<String, Endpoint>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locked(&self) -> MutexGuard<'_, Locked> {
        let mut locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        locked.network.tick(now);
        locked
    }
}

pub(crate) fn notify(sender: &watch::Sender<u64>) {
    sender.send_modify(|count| *count += 1);
}

/// Writes changes to disk; returns whether there were any.
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
