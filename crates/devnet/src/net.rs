//! The exchange, brought up: relay, simulated LND, the daemon, and whoever joins.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lnd_sim::control::{self, ControlPort};
use lnd_sim::{Config, InvoiceState, LndSim, MOSTRO};
use nostr_sdk::{Keys, PublicKey};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{Book, Daemon, Relay, Settings, Trader, Transport, Wallet};

/// A whole exchange in a folder of its own, which goes with it when this is dropped.
#[derive(Debug)]
pub struct Net {
    // Dropped in this order: first who uses, then what is used.
    pub daemon: Daemon,
    pub lnd: LndSim,
    /// Where `lnd-sim pay` and `lnd-sim invoice` reach the wallets.
    _control: ControlPort,
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

const PATIENCE: Duration = Duration::from_secs(15);

impl Net {
    /// Brings it up with these settings; the daemon is ready when this returns.
    ///
    /// # Errors
    /// Whatever does not start; if it is the daemon, the error shows its log.
    pub async fn start(settings: Settings) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("mostrod-devnet-").tempdir()?;
        let relay = Relay::start().await?;
        let lnd = LndSim::start(Config::new(lnd_dir(&dir))).await?;
        let control = control::serve(lnd.clone()).await?;
        let keys = Keys::generate();
        let ours = lnd.node(MOSTRO)?;
        let home = dir.path().join("mostrod");
        std::fs::create_dir(&home).context("no folder for the daemon")?;
        settings
            .on_relay(&keys, relay.url())?
            .on_lnd(&ours.url(), &ours.tls_cert, &ours.macaroon)
            .write(&home)?;
        let node = keys.public_key();
        let binary = Daemon::find_binary()?;
        let mut daemon = Daemon::spawn(&binary, &home, relay.url(), node).await?;
        daemon.wait_ready().await?;
        Ok(Self { daemon, lnd, _control: control, relay, node, dir })
    }

    /// The node's public key.
    #[must_use]
    pub fn node(&self) -> PublicKey {
        self.node
    }

    /// The folder of the simulated LND nodes: what `lnd-sim --dir` wants.
    #[must_use]
    pub fn lnd_dir(&self) -> PathBuf {
        lnd_dir(&self.dir)
    }

    /// Brings a trader who uses the wallet of this name, `seller` or `buyer`.
    ///
    /// # Errors
    /// If the relay or the wallet does not answer.
    pub async fn person(&self, wallet: &str, transport: Transport) -> Result<Person> {
        let trader = Trader::join(wallet, self.relay.url(), self.node, transport).await?;
        Ok(Person { trader, wallet: Wallet::open(&self.lnd.node(wallet)?).await? })
    }

    /// Listens to what the node publishes.
    ///
    /// # Errors
    /// If the relay does not answer.
    pub async fn book(&self) -> Result<Book> {
        Book::watch(self.relay.url(), self.node).await
    }

    /// What the node has in its channels, in msat, once nothing is under way: no hold invoice that
    /// can still be paid or is held, no payment in flight.
    ///
    /// # Errors
    /// If something stays under way.
    pub async fn quiet_msat(&self) -> Result<u64> {
        let mut changes = self.lnd.changes();
        let quiet = async {
            loop {
                changes.borrow_and_update();
                if let Some(msat) = self.msat_if_quiet()? {
                    return anyhow::Ok(msat);
                }
                changes.changed().await?;
            }
        };
        let waited = timeout(PATIENCE, quiet).await;
        waited.with_context(|| format!("sats stay under way: {:#?}", self.lnd.balances()))?
    }

    /// The same at once; nothing while something is under way.
    ///
    /// # Errors
    /// If the simulator has no node for the daemon.
    pub fn msat_if_quiet(&self) -> Result<Option<u64>> {
        let of = |state| self.lnd.list_invoices(MOSTRO, state);
        let balance = self.lnd.balance(MOSTRO)?;
        let is_quiet = balance.outgoing_held_msat + balance.incoming_held_msat == 0
            && of(InvoiceState::Open).is_empty()
            && of(InvoiceState::Accepted).is_empty();
        Ok(is_quiet.then_some(balance.available_msat))
    }
}

fn lnd_dir(dir: &TempDir) -> PathBuf {
    dir.path().join("lnd")
}
