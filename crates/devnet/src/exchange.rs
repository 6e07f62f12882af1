//! A whole exchange: relay, Lightning network, daemon, and the traders who join.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lnd_sim::control::{self, ControlPort};
use lnd_sim::{Config, HUB, InvoiceState, LndSim};
use nostr_sdk::{Keys, PublicKey};
use regtest::Regtest;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::ledger::NodeTotals;
use crate::{Book, Daemon, Lightning, LndProcess, Relay, Settings, Trader, Transport, Wallet};

/// A whole exchange in its own folder, which is deleted when this is dropped.
#[derive(Debug)]
pub struct Exchange<L = LndSim> {
    // Dropped in this order: users before what they use.
    pub daemon: Daemon,
    pub lnd: L,
    /// The port by which `lnd-sim pay` and `lnd-sim invoice` reach the wallets of this process.
    _control: Option<ControlPort>,
    pub relay: Relay,
    node: PublicKey,
    dir: TempDir,
}

/// A trader and their wallet.
#[derive(Debug)]
pub struct Person {
    pub trader: Trader,
    pub wallet: Wallet,
}

const TIMEOUT: Duration = Duration::from_secs(15);
/// It lists the calls that the daemon's macaroon has to allow.
const MANUAL: &str = include_str!("../../../docs/OPERATIONS.md");
/// The root key in the manual.
const ROOT_KEY: u64 = 77;

impl Exchange {
    /// Starts it with these settings; the daemon is ready when this returns.
    ///
    /// # Errors
    /// A part does not start; if it is the daemon, the error shows its log.
    pub async fn start(settings: Settings) -> Result<Self> {
        let dir = folder()?;
        let lnd = LndSim::start(Config::new(lnd_dir(&dir))).await?;
        let control = control::serve(lnd.clone()).await?;
        Self::on(lnd, Some(control), dir, settings).await
    }

    /// The folder of the simulated LND nodes, for `lnd-sim --dir`.
    #[must_use]
    pub fn lnd_dir(&self) -> PathBuf {
        lnd_dir(&self.dir)
    }
}

impl Exchange<LndProcess> {
    /// The same on a Lightning network that can be killed.
    ///
    /// # Errors
    /// As [`Exchange::start`].
    pub async fn start_on_process(settings: Settings) -> Result<Self> {
        let dir = folder()?;
        let lnd = LndProcess::spawn(&lnd_dir(&dir)).await?;
        Self::on(lnd, None, dir, settings).await
    }
}

impl Exchange<Regtest> {
    /// The same on real nodes.
    ///
    /// # Errors
    /// As [`Exchange::start`], or the nodes are not built.
    pub async fn start_on_nodes(config: regtest::Config, settings: Settings) -> Result<Self> {
        let lnd = Regtest::start(config).await?;
        Self::on(lnd, None, folder()?, settings).await
    }
}

impl<L: Lightning> Exchange<L> {
    async fn on(
        lnd: L,
        control: Option<ControlPort>,
        dir: TempDir,
        settings: Settings,
    ) -> Result<Self> {
        let relay = Relay::start().await?;
        let keys = Keys::generate();
        let ours = lnd.access(HUB)?;
        let home = home(&dir);
        std::fs::create_dir(&home).context("cannot create the daemon's folder")?;
        let macaroon = macaroon(&dir);
        std::fs::write(&macaroon, lnd.bake_macaroon(HUB, ROOT_KEY, &rights()).await?)?;
        settings
            .on_relay(&keys, relay.url())?
            .on_lnd(&ours.url(), &ours.tls_cert, &macaroon)
            .write(&home)?;
        let node = keys.public_key();
        let binary = Daemon::find_binary()?;
        let mut daemon = Daemon::spawn(&binary, &home, relay.url(), node).await?;
        daemon.wait_ready().await?;
        daemon.wait_for_log("LND is ready").await?;
        Ok(Self { daemon, lnd, _control: control, relay, node, dir })
    }

    /// Ends it after a success.
    ///
    /// # Errors
    /// A law of the Lightning network is broken.
    pub fn end(self) -> Result<()> {
        drop(self.daemon);
        self.lnd.end()
    }

    /// The node's public key.
    #[must_use]
    pub fn node(&self) -> PublicKey {
        self.node
    }

    /// The daemon's macaroon, which allows exactly the calls in the manual.
    #[must_use]
    pub fn macaroon(&self) -> PathBuf {
        macaroon(&self.dir)
    }

    /// Adds a trader who uses the wallet of this name, `seller` or `buyer`.
    ///
    /// # Errors
    /// If the relay or the wallet does not answer.
    pub async fn person(&self, wallet: &str, transport: Transport) -> Result<Person> {
        let trader = Trader::join(wallet, self.relay.url(), self.node, transport).await?;
        Ok(Person { trader, wallet: Wallet::open(&self.lnd.access(wallet)?).await? })
    }

    /// Subscribes to the node's public events.
    ///
    /// # Errors
    /// If the relay does not answer.
    pub async fn book(&self) -> Result<Book> {
        Book::watch(self.relay.url(), self.node).await
    }

    /// The totals of the daemon's LND once nothing is in progress: no hold invoice is open or held, no
    /// payment in flight.
    ///
    /// # Errors
    /// If something stays in progress.
    pub async fn settled_totals(&self) -> Result<NodeTotals> {
        let quiet = async {
            let mut seen = 0;
            loop {
                if let Some(totals) = self.totals_if_settled().await? {
                    return anyhow::Ok(totals);
                }
                self.lnd.news(&mut seen).await?;
            }
        };
        match timeout(TIMEOUT, quiet).await {
            Ok(quiet) => quiet,
            Err(_) => bail!("payments stay in progress: {:#?}", self.lnd.balance(HUB).await?),
        }
    }

    /// The same without waiting; none while something is in progress.
    ///
    /// # Errors
    /// If LND does not answer.
    pub async fn totals_if_settled(&self) -> Result<Option<NodeTotals>> {
        let balance = self.lnd.balance(HUB).await?;
        if balance.outgoing_held_msat + balance.incoming_held_msat != 0
            || !self.lnd.list_invoices(HUB, InvoiceState::Open).await?.is_empty()
            || !self.lnd.list_invoices(HUB, InvoiceState::Accepted).await?.is_empty()
        {
            return Ok(None);
        }
        let wallet = Wallet::open(&self.lnd.access(HUB)?).await?;
        NodeTotals::read(&wallet, balance.available_msat).await
    }
}

/// The calls that the manual tells operators to allow.
fn rights() -> Vec<&'static str> {
    MANUAL.split_whitespace().filter_map(|word| word.strip_prefix("uri:")).collect()
}

fn folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("mostrod-devnet-").tempdir()?)
}

fn home(dir: &TempDir) -> PathBuf {
    dir.path().join("mostrod")
}

fn macaroon(dir: &TempDir) -> PathBuf {
    home(dir).join("mostro.macaroon")
}

fn lnd_dir(dir: &TempDir) -> PathBuf {
    dir.path().join("lnd")
}
