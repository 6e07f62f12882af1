//! The network: started, controlled, and removed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use bitcoin::Amount;
use fedimint_tonic_lnd::staterpc::WalletState;
use futures::future::try_join_all;
use tempfile::TempDir;

use crate::binaries::Binaries;
use crate::btcd::{BTCD, Btcd};
use crate::channels::{self, Opening};
use crate::folders::{self, fast_folder};
use crate::funds;
use crate::lnd::{self, Known, Node};
use crate::ports::Ports;
use crate::processes::Processes;
use crate::wait::until;
use crate::wallet::{NodeAccess, Wallet};

/// The node that every other one has a route to.
pub const HUB: &str = "hub";
pub const SELLER: &str = "seller";
pub const BUYER: &str = "buyer";
/// Between the hub and [`FAR_BUYER`]; takes LND's default fees.
pub const ROUTER: &str = "router";
pub const FAR_BUYER: &str = "far-buyer";

/// Settings with which LND signs each payment at once instead of collecting several.
pub const SIGN_AT_ONCE: [&str; 2] =
    ["--channel-commit-interval=1ms", "--channel-commit-batch-size=1"];

/// The settings of a network.
#[derive(Debug)]
pub struct Config {
    pub binaries: Binaries,
    /// Whether there are a router and a buyer behind it.
    pub has_router: bool,
    /// The first of the ports to listen on; without it, any free ports.
    pub first_port: Option<u16>,
    /// Further arguments for the hub's LND.
    pub hub_arguments: Vec<String>,
}

impl Config {
    /// Three nodes, on any free ports.
    ///
    /// # Errors
    /// As [`Binaries::find`].
    pub fn new() -> Result<Self> {
        Ok(Self {
            binaries: Binaries::find()?,
            has_router: false,
            first_port: None,
            hub_arguments: Vec::new(),
        })
    }
}

/// A running network. All of it is killed when this is dropped or this process ends.
#[derive(Debug)]
pub struct Regtest {
    // Dropped in this order: users before what they use.
    processes: Processes,
    btcd: Btcd,
    nodes: BTreeMap<String, Node>,
    /// Each node as of its last start.
    known: Mutex<BTreeMap<String, Known>>,
    /// Those of the open channels.
    openings: Mutex<Vec<Opening>>,
    binaries: Binaries,
    _data: TempDir,
    /// None once the network was ended without errors.
    logs: Option<TempDir>,
    _ports: Ports,
}

/// After these blocks segwit and taproot are active, and the first coins spendable.
const FIRST_BLOCKS: u32 = 440;
/// Blocks after which a channel is announced to the rest of the network.
const CONFIRMATIONS: u32 = 6;
/// More than a channel needs.
const COIN: Amount = Amount::ONE_BTC;

/// The seller's initial balance.
const SELLER_BALANCE: i64 = 9_000_000;

/// Start and end.
impl Regtest {
    /// Starts it; every channel is active when this returns.
    ///
    /// # Errors
    /// Something does not start, or not in time; the nodes' logs are kept then.
    pub async fn start(config: Config) -> Result<Self> {
        let Config { binaries, has_router, first_port, hub_arguments } = config;
        binaries.check()?;
        let mut ports = Ports::take(first_port)?;
        let data = folders::make(&fast_folder())?;
        let logs = folders::make(&std::env::temp_dir())?;
        let processes = Processes::new(data.path(), logs.path())?;
        let chain = data.path().join(BTCD);
        let btcd = Btcd::start(&binaries.btcd, &chain, &mut ports, &processes).await?;
        let openings = plan(has_router);
        let mut nodes = BTreeMap::new();
        for name in openings.iter().flat_map(|opening| [&opening.from, &opening.to]) {
            if !nodes.contains_key(name) {
                let arguments = if name == HUB { &*hub_arguments } else { &[] };
                let node = Node::make(name, data.path(), &mut ports, arguments.to_vec())?;
                nodes.insert(name.clone(), node);
            }
        }
        let network = Self {
            processes,
            btcd,
            nodes,
            known: Mutex::default(),
            openings: Mutex::new(openings),
            binaries,
            _data: data,
            logs: Some(logs),
            _ports: ports,
        };
        network.set_up().await?;
        Ok(network)
    }

    /// Ends it and deletes the logs, which are needed only after an error.
    pub fn end(mut self) {
        self.logs = None;
    }

    /// LND starts only if there is a recent block, and gets coins only after its start.
    async fn set_up(&self) -> Result<()> {
        self.btcd.mine(FIRST_BLOCKS).await?;
        let names = self.names();
        for name in &names {
            self.launch(name, &self.get(name)?.unlocking())?;
        }
        try_join_all(names.iter().map(async |name| {
            self.make_wallet(name).await?;
            self.wait_until_ready(name).await
        }))
        .await?;
        self.fund().await?;
        self.open_channels().await
    }

    /// Gives each node a coin for each channel that it opens.
    async fn fund(&self) -> Result<()> {
        let mut addresses = Vec::new();
        let openings = self.openings();
        for opening in &openings {
            addresses.push(lnd::new_address(&self.wallet(&opening.from)?).await?);
        }
        let coinbase = self.btcd.coinbase(1).await?;
        self.btcd.send(&funds::spend(coinbase, &addresses, COIN)?).await?;
        self.mine(1).await?;
        for Opening { from, .. } in &openings {
            let wallet = self.wallet(from)?;
            until(format!("coin for {from}"), || lnd::has_coins(&wallet)).await?;
        }
        Ok(())
    }

    async fn open_channels(&self) -> Result<()> {
        try_join_all(self.openings().iter().map(|opening| self.request_channel(opening))).await?;
        self.confirm_channels().await
    }

    async fn request_channel(&self, opening: &Opening) -> Result<()> {
        self.make_peers(&opening.from, &opening.to).await?;
        let (from, to) = (self.known(&opening.from)?, self.known(&opening.to)?);
        channels::open(opening, &from, &to).await
    }

    async fn confirm_channels(&self) -> Result<()> {
        self.mine(CONFIRMATIONS).await?;
        self.wait_for_channels().await?;
        let (wallet, all) = (self.wallet(HUB)?, self.openings().len());
        until("announcement of all channels", || channels::knows_channels(&wallet, all)).await
    }
}

/// Nodes.
impl Regtest {
    /// Their names.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// The names of those that run.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        self.processes.names().into_iter().filter(|name| name != BTCD).collect()
    }

    /// How a client reaches a node.
    ///
    /// # Errors
    /// No such node.
    pub fn node(&self, name: &str) -> Result<NodeAccess> {
        Ok(self.known(name)?.access)
    }

    /// A node's wallet. It can be used again after a restart, unless the certificate was renewed.
    ///
    /// # Errors
    /// No such node.
    pub fn wallet(&self, name: &str) -> Result<Wallet> {
        Ok(self.known(name)?.wallet)
    }

    /// SIGTERM; the node has ended when this returns, and its peers know.
    ///
    /// # Errors
    /// The node does not run, or does not end.
    pub async fn stop(&self, name: &str) -> Result<()> {
        self.processes.stop(name).await?;
        let running = self.running();
        for Opening { from, to, .. } in self.openings() {
            for (gone, peer) in [(&from, &to), (&to, &from)] {
                if gone == name && running.contains(peer) {
                    self.wait_for_disconnect(peer, gone).await?;
                }
            }
        }
        Ok(())
    }

    /// SIGKILL; the node has ended when this returns.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self, name: &str) -> Result<()> {
        self.processes.kill(name)
    }

    /// Starts a node that was stopped or killed. When this returns it is ready, and its channels
    /// with running nodes are active.
    ///
    /// # Errors
    /// The node runs already, or does not start.
    pub async fn start_node(&self, name: &str) -> Result<()> {
        self.start_node_with(name, &[]).await
    }

    /// The same with further arguments, until it is stopped again.
    ///
    /// # Errors
    /// As [`Regtest::start_node`], or LND knows no such argument.
    pub async fn start_node_with(&self, name: &str, arguments: &[&str]) -> Result<()> {
        let arguments = arguments.iter().map(ToString::to_string);
        let arguments = self.get(name)?.unlocking().into_iter().chain(arguments);
        self.launch(name, &arguments.collect::<Vec<_>>())?;
        self.wait_until_ready(name).await?;
        self.wait_for_channels().await
    }

    /// The same, but the node waits with its wallet locked.
    ///
    /// # Errors
    /// As [`Regtest::start_node`].
    pub async fn start_locked(&self, name: &str) -> Result<()> {
        self.launch(name, &[])?;
        let node = self.get(name)?;
        let locked = until("locked wallet", || node.is(WalletState::Locked));
        self.while_it_runs(name, locked).await
    }

    /// Unlocks the wallet of a node that waits for the password. As [`Regtest::start_node`].
    ///
    /// # Errors
    /// The wallet is not locked, or the node does not start.
    pub async fn unlock(&self, name: &str) -> Result<()> {
        self.get(name)?.unlock().await?;
        self.wait_until_ready(name).await?;
        self.wait_for_channels().await
    }

    /// Replaces a node's key and certificate, and restarts it, as LND reads them at its start.
    ///
    /// # Errors
    /// As [`Regtest::stop`] and [`Regtest::start_node`].
    pub async fn renew_certificate(&self, name: &str) -> Result<()> {
        self.stop(name).await?;
        self.get(name)?.renew_certificate()?;
        self.start_node(name).await
    }

    /// Makes two nodes peers (again); a channel between them is active when this returns.
    ///
    /// # Errors
    /// They do not connect.
    pub async fn connect(&self, from: &str, to: &str) -> Result<()> {
        self.make_peers(from, to).await?;
        self.wait_for_channels().await
    }

    async fn make_peers(&self, from: &str, to: &str) -> Result<()> {
        let (from, node, to) = (self.known(from)?, self.get(to)?, self.known(to)?);
        until("connection of peers", || channels::connect(&from, &to, node.p2p_port)).await
    }

    /// Disconnects two peers, until they are connected again.
    ///
    /// # Errors
    /// They are not peers.
    pub async fn disconnect(&self, from: &str, to: &str) -> Result<()> {
        channels::disconnect(&self.known(from)?, &self.known(to)?).await?;
        self.wait_for_disconnect(from, to).await
    }

    /// Closes the channel with this number in `lncli listchannels` cooperatively. Returns what is needed
    /// to open another one with the same balances.
    ///
    /// # Errors
    /// No such channel, or it does not close.
    pub async fn close_channel(&self, name: &str, chan_id: u64) -> Result<Opening> {
        let of = self.known(name)?;
        let channel = channels::find(&of, chan_id).await?;
        let is_peer = |to: &&Known| to.access.pubkey == channel.remote_pubkey;
        let to = self.all_known().values().find(is_peer).map(|to| to.access.name.clone());
        let to = to.context("the channel's peer is not in this network")?;
        channels::close(&of, &channel).await?;
        self.mine(CONFIRMATIONS).await?;
        until("end of the channel", || channels::is_closed(&of, &channel)).await?;
        self.all_openings().retain(|opening| opening.from != name || opening.to != to);
        let (from, sats, pushed) = (name.to_owned(), channel.capacity, channel.remote_balance);
        Ok(Opening { from, to, sats, pushed })
    }

    /// Opens a channel; it is active when this returns.
    ///
    /// # Errors
    /// LND refuses.
    pub async fn open_channel(&self, opening: Opening) -> Result<()> {
        self.request_channel(&opening).await?;
        self.all_openings().push(opening);
        self.confirm_channels().await
    }

    /// The lncli command line for a node, without a subcommand.
    ///
    /// # Errors
    /// No such node.
    pub fn lncli(&self, name: &str) -> Result<String> {
        Ok(self.get(name)?.lncli(&self.binaries.lncli))
    }

    fn launch(&self, name: &str, arguments: &[String]) -> Result<()> {
        let mut command = self.get(name)?.command(&self.binaries.lnd, &self.btcd.options_for_lnd());
        self.processes.start(name, command.args(arguments))
    }

    /// Waits until a node is ready.
    async fn wait_until_ready(&self, name: &str) -> Result<()> {
        let node = self.get(name)?;
        let height = self.btcd.height().await?;
        let ready = until(format!("answer of {name}"), || node.ready(height));
        let known = self.while_it_runs(name, ready).await?;
        self.all_known().insert(name.to_owned(), known);
        Ok(())
    }

    async fn make_wallet(&self, name: &str) -> Result<()> {
        let node = self.get(name)?;
        let missing = until("missing wallet", || node.is(WalletState::NonExisting));
        self.while_it_runs(name, missing).await?;
        node.make_wallet().await
    }

    /// Waits for a future, or until the program has ended.
    async fn while_it_runs<T>(
        &self,
        name: &str,
        awaited: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            done = awaited => done,
            error = self.processes.ended(name) => Err(error),
        }
    }

    /// Waits until both ends of every channel between running nodes are active.
    async fn wait_for_channels(&self) -> Result<()> {
        let running = self.running();
        for Opening { from, to, .. } in self.openings() {
            if running.contains(&from) && running.contains(&to) {
                let (from, to) = (self.known(&from)?, self.known(&to)?);
                until("active channel", || channels::has_channel(&from, &to)).await?;
                until("active channel", || channels::has_channel(&to, &from)).await?;
            }
        }
        Ok(())
    }

    /// Waits until a node knows that its peer is disconnected: what it sends before waits for the peer.
    async fn wait_for_disconnect(&self, name: &str, peer: &str) -> Result<()> {
        let (of, peer) = (self.known(name)?, self.known(peer)?);
        until("end of the connection", || channels::has_no_channel(&of, &peer)).await
    }

    fn get(&self, name: &str) -> Result<&Node> {
        self.nodes.get(name).with_context(|| no_node(name))
    }

    fn known(&self, name: &str) -> Result<Known> {
        self.all_known().get(name).cloned().with_context(|| no_node(name))
    }

    fn openings(&self) -> Vec<Opening> {
        self.all_openings().clone()
    }

    fn all_openings(&self) -> MutexGuard<'_, Vec<Opening>> {
        self.openings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The chain.
impl Regtest {
    /// # Errors
    /// btcd does not answer.
    pub async fn height(&self) -> Result<u32> {
        self.btcd.height().await
    }

    /// Adds blocks. When this returns every running node has seen them.
    ///
    /// # Errors
    /// btcd does not answer, or a node does not see the blocks.
    pub async fn mine(&self, blocks: u32) -> Result<()> {
        self.btcd.mine(blocks).await?;
        let height = self.btcd.height().await?;
        for name in self.running() {
            let wallet = self.wallet(&name)?;
            let seen = || lnd::at_height(&wallet, height);
            until(format!("sync of {name} to block {height}"), seen).await?;
        }
        Ok(())
    }

    /// The btcctl command line for the chain, to be followed by `generate 6`.
    #[must_use]
    pub fn btcctl(&self) -> String {
        format!("{} {}", self.binaries.btcctl.display(), self.btcd.options_for_btcctl())
    }
}

impl Drop for Regtest {
    fn drop(&mut self) {
        if let Some(logs) = self.logs.take() {
            eprintln!("the logs of the nodes are kept in {}", logs.keep().display());
        }
    }
}

/// The initial channels of a network.
fn plan(has_router: bool) -> Vec<Opening> {
    let mut plan = vec![Opening::new(HUB, SELLER, SELLER_BALANCE), Opening::new(HUB, BUYER, 0)];
    if has_router {
        plan.extend([Opening::new(HUB, ROUTER, 0), Opening::new(ROUTER, FAR_BUYER, 0)]);
    }
    plan
}

fn no_node(name: &str) -> String {
    format!("no node is named {name}")
}
