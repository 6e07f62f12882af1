//! The network: brought up, steered, and taken away again.

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

/// What a network is to be like.
#[derive(Debug)]
pub struct Config {
    pub binaries: Binaries,
    /// Whether there are a router and a buyer behind it, too.
    pub has_router: bool,
    /// The first of the ports to listen on; any, if there is none.
    pub first_port: Option<u16>,
    /// Further arguments for the hub's LND.
    pub hub_arguments: Vec<String>,
}

impl Config {
    /// Three nodes, on any ports.
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

/// A running network. All of it is killed when this is dropped, or this process dies.
#[derive(Debug)]
pub struct Regtest {
    // Dropped in this order: first who uses, then what is used.
    processes: Processes,
    btcd: Btcd,
    nodes: BTreeMap<String, Node>,
    /// As each was when it last came up.
    known: Mutex<BTreeMap<String, Known>>,
    /// Those of the channels that are there.
    openings: Mutex<Vec<Opening>>,
    binaries: Binaries,
    _data: TempDir,
    /// None once all has ended well.
    logs: Option<TempDir>,
    _ports: Ports,
}

/// So many blocks make segwit and taproot active, and the first coins spendable.
const FIRST_BLOCKS: u32 = 440;
/// A channel is announced to the rest of the network after so many.
const CONFIRMATIONS: u32 = 6;
/// More than a channel takes.
const COIN: Amount = Amount::ONE_BTC;

/// What the seller can pay from the start.
const SELLERS: i64 = 9_000_000;

/// A network's life.
impl Regtest {
    /// Brings it up: every channel is active when this returns.
    ///
    /// # Errors
    /// What does not start, or does not come about in time; the nodes' logs are kept then.
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
        network.populate().await?;
        Ok(network)
    }

    /// Ends it, and with it the logs: nobody will ask what happened.
    pub fn end(mut self) {
        self.logs = None;
    }

    /// LND starts only where there is a recent block; it has coins only after it has started.
    async fn populate(&self) -> Result<()> {
        self.btcd.mine(FIRST_BLOCKS).await?;
        let names = self.names();
        for name in &names {
            self.launch(name, &self.get(name)?.unlocking())?;
        }
        try_join_all(names.iter().map(async |name| {
            self.make_wallet(name).await?;
            self.meet(name).await
        }))
        .await?;
        self.fund().await?;
        self.open_channels().await
    }

    /// Gives everybody who opens channels a coin for each.
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
        try_join_all(self.openings().iter().map(|opening| self.begin_channel(opening))).await?;
        self.confirm_channels().await
    }

    async fn begin_channel(&self, opening: &Opening) -> Result<()> {
        self.make_peers(&opening.from, &opening.to).await?;
        let (from, to) = (self.known(&opening.from)?, self.known(&opening.to)?);
        channels::open(opening, &from, &to).await
    }

    async fn confirm_channels(&self) -> Result<()> {
        self.mine(CONFIRMATIONS).await?;
        self.channels_are_up().await?;
        let (wallet, all) = (self.wallet(HUB)?, self.openings().len());
        until("map of all channels", || channels::knows_channels(&wallet, all)).await
    }
}

/// Its nodes.
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

    /// A node as its owner uses it. It finds the node again after a restart, unless the certificate
    /// was renewed.
    ///
    /// # Errors
    /// No such node.
    pub fn wallet(&self, name: &str) -> Result<Wallet> {
        Ok(self.known(name)?.wallet)
    }

    /// SIGTERM; it is gone when this returns, and its peers know.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub async fn stop(&self, name: &str) -> Result<()> {
        self.processes.stop(name).await?;
        let running = self.running();
        for Opening { from, to, .. } in self.openings() {
            for (gone, peer) in [(&from, &to), (&to, &from)] {
                if gone == name && running.contains(peer) {
                    self.has_lost(peer, gone).await?;
                }
            }
        }
        Ok(())
    }

    /// SIGKILL; it is gone when this returns.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self, name: &str) -> Result<()> {
        self.processes.kill(name)
    }

    /// Starts a node that was stopped or killed. When this returns it is ready, and its channels
    /// with everybody who runs are active.
    ///
    /// # Errors
    /// It runs, or does not come back.
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
        self.meet(name).await?;
        self.channels_are_up().await
    }

    /// The same, but it waits with its wallet locked.
    ///
    /// # Errors
    /// As [`Regtest::start_node`].
    pub async fn start_locked(&self, name: &str) -> Result<()> {
        self.launch(name, &[])?;
        let node = self.get(name)?;
        let locked = until("locked wallet", || node.is(WalletState::Locked));
        self.while_it_runs(name, locked).await
    }

    /// Tells a node that waits for it the password of its wallet. As [`Regtest::start_node`].
    ///
    /// # Errors
    /// It is not locked, or does not come up.
    pub async fn unlock(&self, name: &str) -> Result<()> {
        self.get(name)?.unlock().await?;
        self.meet(name).await?;
        self.channels_are_up().await
    }

    /// Gives a node another key and certificate. LND reads them when it starts, so it is restarted.
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
    /// They do not meet.
    pub async fn connect(&self, from: &str, to: &str) -> Result<()> {
        self.make_peers(from, to).await?;
        self.channels_are_up().await
    }

    async fn make_peers(&self, from: &str, to: &str) -> Result<()> {
        let (from, node, to) = (self.known(from)?, self.get(to)?, self.known(to)?);
        until("connection of peers", || channels::connect(&from, &to, node.p2p_port)).await
    }

    /// Ends the connection of two peers, until they are connected again.
    ///
    /// # Errors
    /// They are no peers.
    pub async fn disconnect(&self, from: &str, to: &str) -> Result<()> {
        channels::disconnect(&self.known(from)?, &self.known(to)?).await?;
        self.has_lost(from, to).await
    }

    /// Closes the channel that `lncli listchannels` shows under this number, with its peer's
    /// consent. Returns what it takes to open another one in its place, in which everybody has what
    /// they had in this one.
    ///
    /// # Errors
    /// No such channel, or it does not close.
    pub async fn close_channel(&self, name: &str, chan_id: u64) -> Result<Opening> {
        let of = self.known(name)?;
        let channel = channels::find(&of, chan_id).await?;
        let is_peer = |to: &&Known| to.access.pubkey == channel.remote_pubkey;
        let to = self.all_known().values().find(is_peer).map(|to| to.access.name.clone());
        let to = to.context("its peer is of another network")?;
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
    /// LND's refusal.
    pub async fn open_channel(&self, opening: Opening) -> Result<()> {
        self.begin_channel(&opening).await?;
        self.all_openings().push(opening);
        self.confirm_channels().await
    }

    /// What a person types to use a node.
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
    async fn meet(&self, name: &str) -> Result<()> {
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

    /// What is awaited of a program that may have ended.
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

    /// On both ends of each.
    async fn channels_are_up(&self) -> Result<()> {
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

    /// What LND sends before it knows that a peer has left waits until the peer is back.
    async fn has_lost(&self, name: &str, peer: &str) -> Result<()> {
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

/// Its chain.
impl Regtest {
    /// # Errors
    /// btcd does not answer.
    pub async fn height(&self) -> Result<u32> {
        self.btcd.height().await
    }

    /// Adds blocks. When this returns every node that runs has seen them.
    ///
    /// # Errors
    /// btcd does not answer, or a node does not follow.
    pub async fn mine(&self, blocks: u32) -> Result<()> {
        self.btcd.mine(blocks).await?;
        let height = self.btcd.height().await?;
        for name in self.running() {
            let wallet = self.wallet(&name)?;
            let seen = || lnd::at_height(&wallet, height);
            until(format!("sight of block {height} by {name}"), seen).await?;
        }
        Ok(())
    }

    /// What a person types to use the chain: `… generate 6`.
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

/// The channels that a network begins with.
fn plan(has_router: bool) -> Vec<Opening> {
    let mut plan = vec![Opening::new(HUB, SELLER, SELLERS), Opening::new(HUB, BUYER, 0)];
    if has_router {
        plan.extend([Opening::new(HUB, ROUTER, 0), Opening::new(ROUTER, FAR_BUYER, 0)]);
    }
    plan
}

fn no_node(name: &str) -> String {
    format!("no node is called {name}")
}
