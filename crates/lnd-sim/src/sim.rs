//! The handle: nodes are created, started, stopped, killed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::SimError;
use crate::identity::Identity;
use crate::network::{Network, Rules};
use crate::node::{HUB, LndState, NodeRecord};
use crate::server::{self, Life, Lnd};
use crate::shared::{Clock, Endpoint, Shared, notify, system_clock};
use crate::state_file::{Saved, StateFile};

/// The settings of a simulation.
#[derive(Clone)]
pub struct Config {
    /// Each node has a folder in it, with `tls.cert`, `admin.macaroon` and `address`.
    pub dir: PathBuf,
    /// The file in which the state is kept over a restart; without it, it ends with the process.
    pub state: Option<PathBuf>,
    /// Each has a channel with the hub.
    pub wallets: Vec<String>,
    pub listen: IpAddr,
    /// The hub listens here, the others on the ports after it. 0: where they listened the last time,
    /// else on any free port.
    pub port: u16,
    /// The initial balance of each side of a wallet's channel.
    pub channel_sats: u64,
    /// LND's `invoices.holdexpirydelta`: how many blocks before its HTLC's expiry a held payment is
    /// refunded.
    pub hold_expiry_delta: u32,
    pub clock: Clock,
}

impl Config {
    /// A seller and a buyer, 10 BTC on each side of their channels, all files in `dir`, the system
    /// clock.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            state: None,
            wallets: vec!["seller".to_owned(), "buyer".to_owned()],
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            channel_sats: 1_000_000_000,
            hold_expiry_delta: 18,
            clock: system_clock(),
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("dir", &self.dir)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A node of the simulation, as a client needs it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SimulatedNode {
    pub name: String,
    /// The node's public key, as hex.
    pub pubkey: String,
    pub address: SocketAddr,
    pub tls_cert: PathBuf,
    pub macaroon: PathBuf,
}

impl SimulatedNode {
    /// `https://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

/// The handle of a running simulation. Clones share it; it ends, as by SIGKILL, when the last of
/// them is dropped.
#[derive(Clone)]
pub struct LndSim {
    pub(crate) shared: Arc<Shared>,
    processes: Arc<Processes>,
}

struct Processes {
    config: Config,
    running: Mutex<BTreeMap<String, Running>>,
    ticker: JoinHandle<()>,
    _lock: File,
}

struct Running {
    life: watch::Sender<Life>,
    broken: watch::Sender<u64>,
    task: JoinHandle<()>,
}

/// How often expiries are checked; LND cancels an expired invoice within 0.1 s.
const TICK: Duration = Duration::from_millis(50);
const MAX_NAME: usize = 32;
const BIND_TRIES: u32 = 40;

impl LndSim {
    /// Creates or loads the nodes and starts them all.
    ///
    /// # Errors
    /// Files that cannot be read or written, a port that is taken, or a folder in which another
    /// simulation runs.
    pub async fn start(config: Config) -> Result<Self, SimError> {
        make_folder(&config.dir)?;
        if let Some(parent) = config.state.as_deref().and_then(Path::parent) {
            make_folder(parent)?;
        }
        let lock = lock(&config.dir)?;
        let now = (config.clock)();
        let rules = Rules { hold_expiry_delta: config.hold_expiry_delta };
        let mut network = Network::new(now, rules);
        let saved = match &config.state {
            Some(path) => Saved::read(path)?,
            None => Saved::default(),
        };
        let mut identities = BTreeMap::new();
        for record in saved.nodes() {
            let identity = Identity::open(config.dir.join(&record.name))?;
            network.add_node(record.clone(), identity.key, identity.pubkey.clone());
            identities.insert(record.name, identity);
        }
        saved.restore(&mut network);
        let file = match &config.state {
            Some(path) => Some(StateFile::create(path, &network)?),
            None => None,
        };
        let shared = Arc::new(Shared::new(config.dir.clone(), config.clock.clone(), network, file));
        let ticker = tick_for(shared.clone());
        let processes = Processes { config, running: Mutex::default(), ticker, _lock: lock };
        let sim = Self { shared, processes: Arc::new(processes) };
        for (name, identity) in identities {
            sim.start_endpoint(&name, identity).await?;
        }
        sim.ensure_node(HUB).await?;
        for wallet in sim.processes.config.wallets.clone() {
            if sim.ensure_node(&wallet).await? {
                sim.open_channel(HUB, &wallet)?;
            }
        }
        Ok(sim)
    }

    /// Adds a wallet with a channel to the hub.
    ///
    /// # Errors
    /// A name that is taken or not valid; files or a port as in [`LndSim::start`].
    pub async fn add_wallet(&self, name: &str) -> Result<SimulatedNode, SimError> {
        let access = self.add_node(name).await?;
        self.open_channel(HUB, name)?;
        Ok(access)
    }

    /// Adds a node without channels: a router, or a wallet behind one.
    ///
    /// # Errors
    /// As [`LndSim::add_wallet`].
    pub async fn add_node(&self, name: &str) -> Result<SimulatedNode, SimError> {
        if self.ensure_node(name).await? {
            self.node(name)
        } else {
            Err(SimError::NameTaken(name.to_owned()))
        }
    }

    /// How a client reaches this node.
    ///
    /// # Errors
    /// No such node.
    pub fn node(&self, name: &str) -> Result<SimulatedNode, SimError> {
        let pubkey = self.shared.read(|network| network.nodes.get(name).map(|n| n.pubkey.clone()));
        let pubkey = pubkey.ok_or_else(|| no_node(name))?;
        let endpoints = self.shared.endpoints();
        let endpoint = endpoints.get(name).ok_or_else(|| no_node(name))?;
        Ok(SimulatedNode {
            name: name.to_owned(),
            pubkey,
            address: endpoint.address,
            tls_cert: endpoint.folder.certificate(),
            macaroon: endpoint.folder.macaroon(),
        })
    }

    /// The folder of all nodes' folders.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// The names of all nodes.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        self.shared.read(|network| network.nodes.keys().cloned().collect())
    }

    /// SIGTERM: streams end as LND ends them, then the port is closed. The node's data stays.
    pub async fn stop(&self, name: &str) {
        let running = self.running().remove(name);
        if let Some(running) = running {
            running.life.send_replace(Life::Stopping);
            if running.task.await.is_err() {
                tracing::debug!(node = name, "the node had to be aborted");
            }
        }
        self.shared.with(|network| network.node_stops(name));
    }

    /// SIGKILL: connections break. The node's data stays, as it was on disk.
    pub async fn kill(&self, name: &str) {
        let running = self.running().remove(name);
        self.shared.with(|network| network.node_stops(name));
        if let Some(running) = running {
            running.task.abort();
            if running.task.await.is_ok() {
                tracing::debug!(node = name, "the node had stopped already");
            }
        }
    }

    /// Starts a stopped or killed node at its old address, fully started.
    ///
    /// # Errors
    /// No such node, or its port is taken.
    pub async fn start_node(&self, name: &str) -> Result<(), SimError> {
        self.start_node_at(name, LndState::ServerActive).await
    }

    /// Starts a stopped or killed node in a state of its start.
    ///
    /// # Errors
    /// As [`LndSim::start_node`].
    pub async fn start_node_at(&self, name: &str, state: LndState) -> Result<(), SimError> {
        let address = self.node(name)?.address;
        if self.running().contains_key(name) {
            return Ok(());
        }
        let listener = bind(address).await?;
        self.serve_node(name, listener);
        self.shared.with(|network| network.node_starts(name, state));
        Ok(())
    }

    /// Closes a node's connections; it keeps running.
    pub(crate) fn drop_connections(&self, name: &str) {
        if let Some(running) = self.running().get(name) {
            notify(&running.broken);
        }
    }

    /// Stops every node.
    pub async fn shut_down(&self) {
        for name in self.nodes() {
            self.stop(&name).await;
        }
    }

    /// Creates the node if it does not exist; returns whether it is new.
    async fn ensure_node(&self, name: &str) -> Result<bool, SimError> {
        let legal =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(legal) {
            return Err(SimError::BadName(name.to_owned()));
        }
        if self.shared.read(|network| network.nodes.contains_key(name)) {
            return Ok(false);
        }
        let identity = Identity::open(self.shared.dir.join(name))?;
        let record = NodeRecord { name: name.to_owned(), ..NodeRecord::default() };
        let (key, pubkey) = (identity.key, identity.pubkey.clone());
        self.shared.with(|network| network.add_node(record, key, pubkey));
        self.start_endpoint(name, identity).await?;
        Ok(true)
    }

    async fn start_endpoint(&self, name: &str, identity: Identity) -> Result<(), SimError> {
        let Config { listen, port, .. } = self.processes.config;
        let place = u16::try_from(self.shared.endpoints().len()).unwrap_or(u16::MAX);
        let wanted = match (port, identity.address) {
            (0, Some(address)) => address,
            (0, None) => SocketAddr::new(listen, 0),
            (first, _) => SocketAddr::new(listen, first.saturating_add(place)),
        };
        let listener = bind(wanted).await?;
        let address =
            listener.local_addr().map_err(|source| SimError::Listen { address: wanted, source })?;
        identity.folder.write_address(address)?;
        let Identity { folder, bakery, tls, .. } = identity;
        self.shared.endpoints().insert(name.to_owned(), Endpoint { folder, bakery, tls, address });
        self.serve_node(name, listener);
        self.shared.with(|network| network.node_starts(name, LndState::ServerActive));
        Ok(())
    }

    fn serve_node(&self, name: &str, listener: TcpListener) {
        let (life, broken) = (watch::Sender::new(Life::Running), watch::Sender::default());
        let lnd =
            Lnd { shared: self.shared.clone(), name: name.to_owned(), life: life.subscribe() };
        #[expect(clippy::disallowed_methods, reason = "it is aborted when the node is killed")]
        let task = tokio::spawn(server::serve(lnd, listener, broken.subscribe()));
        self.running().insert(name.to_owned(), Running { life, broken, task });
    }

    fn open_channel(&self, a: &str, b: &str) -> Result<(), SimError> {
        let sats = self.processes.config.channel_sats;
        self.open_channel_with((a, sats), (b, sats))
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.processes.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.ticker.abort();
        for running in self.running.lock().unwrap_or_else(PoisonError::into_inner).values() {
            running.task.abort();
        }
    }
}

impl std::fmt::Debug for LndSim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LndSim").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

pub(crate) fn no_node(name: &str) -> SimError {
    SimError::NoSuchNode(name.to_owned())
}

fn make_folder(path: &Path) -> Result<(), SimError> {
    let failed = |source| SimError::File { action: "make", path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(failed)
}

/// Locks the folder against a second simulation, until the file is dropped.
fn lock(dir: &Path) -> Result<File, SimError> {
    let path = dir.join("lock");
    let failed = |source| SimError::File { action: "make", path: path.clone(), source };
    let file = File::create(&path).map_err(failed)?;
    file.try_lock().map_err(|_| SimError::Occupied(dir.to_owned()))?;
    Ok(file)
}

/// Binds; waits a little for a port that is just being released.
async fn bind(address: SocketAddr) -> Result<TcpListener, SimError> {
    let mut tries_left = BIND_TRIES;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse && tries_left > 0 => {
                tries_left -= 1;
                tokio::time::sleep(TICK).await;
            }
            bound => return bound.map_err(|source| SimError::Listen { address, source }),
        }
    }
}

fn tick_for(shared: Arc<Shared>) -> JoinHandle<()> {
    #[expect(clippy::disallowed_methods, reason = "it is aborted when the simulation ends")]
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(TICK).await;
            shared.read(|_| ());
        }
    })
}
