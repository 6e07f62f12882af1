//! The simulated LND as a separate process, which can be killed: `lnd-sim --state`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lnd_sim::control::{self, Command as Verb};
use lnd_sim::{Balance, InvoiceState, LndState, PaymentHash};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::lightning::access_of;
use crate::{Lightning, NodeAccess, binary};

/// All nodes in one process, running or killed. It is killed when this is dropped.
#[derive(Debug)]
pub struct LndProcess {
    binary: PathBuf,
    dir: PathBuf,
    nodes: BTreeMap<String, NodeAccess>,
    running: Mutex<Option<Child>>,
}

const TIMEOUT: Duration = Duration::from_secs(15);

impl LndProcess {
    /// Starts it in its own folder; ready when this returns.
    ///
    /// # Errors
    /// If it is not built, or does not start.
    pub async fn spawn(dir: &Path) -> Result<Self> {
        let (binary, dir) = (binary::find("lnd-sim")?, dir.to_owned());
        let mut lnd = Self { binary, dir, nodes: BTreeMap::new(), running: Mutex::default() };
        lnd.launch().await?;
        let nodes = control::read_nodes(lnd.call(&Verb::Nodes).await?)?.into_iter();
        lnd.nodes = nodes.map(|access| (access.name.clone(), access_of(access))).collect();
        Ok(lnd)
    }

    /// Starts the process with its saved state, at its old addresses.
    async fn launch(&self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.arg("--dir").arg(&self.dir).arg("--state").arg(self.dir.join("state"));
        // So that Ctrl-C reaches this process only.
        command.process_group(0).kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped());
        let started = command.spawn();
        let mut child =
            started.with_context(|| format!("cannot start {}", self.binary.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("it has an output")?).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if line == "ready" {
                    return anyhow::Ok(());
                }
            }
            anyhow::bail!("it has ended")
        };
        timeout(TIMEOUT, ready).await?.context("lnd-sim does not start")?;
        *self.running.lock().await = Some(child);
        Ok(())
    }

    async fn call(&self, verb: &Verb) -> Result<Value> {
        Ok(control::call(&self.dir, verb).await?)
    }
}

impl Lightning for LndProcess {
    fn access(&self, node: &str) -> Result<NodeAccess> {
        self.nodes.get(node).cloned().with_context(|| format!("no node is named {node}"))
    }

    async fn balance(&self, node: &str) -> Result<Balance> {
        let all = control::read_balances(self.call(&Verb::Balances).await?)?;
        let found = all.into_iter().find(|balance| balance.node == node);
        found.with_context(|| format!("no node is named {node}"))
    }

    async fn list_invoices(&self, node: &str, state: InvoiceState) -> Result<Vec<PaymentHash>> {
        let node = node.to_owned();
        let listed = self.call(&Verb::ListInvoices { node, state }).await?;
        Ok(serde_json::from_value(listed)?)
    }

    async fn broken_laws(&self) -> Result<Vec<String>> {
        Ok(serde_json::from_value(self.call(&Verb::Check).await?)?)
    }

    async fn news(&self, seen: &mut u64) -> Result<()> {
        *seen = serde_json::from_value(self.call(&Verb::Await { since: *seen }).await?)?;
        Ok(())
    }

    async fn mine(&self, blocks: u32) -> Result<()> {
        self.call(&Verb::Mine { blocks }).await?;
        Ok(())
    }

    async fn stop_node(&self, node: &str) -> Result<()> {
        self.call(&Verb::Stop { node: node.to_owned() }).await?;
        Ok(())
    }

    /// Kills the process with all its nodes.
    async fn kill_node(&self, _: &str) -> Result<()> {
        let mut child = self.running.lock().await.take().context("lnd-sim does not run")?;
        child.kill().await.context("lnd-sim cannot be killed")
    }

    async fn start_node(&self, node: &str) -> Result<()> {
        if self.running.lock().await.is_none() {
            return self.launch().await;
        }
        let state = LndState::ServerActive;
        self.call(&Verb::Start { node: node.to_owned(), state }).await?;
        Ok(())
    }

    async fn start_locked(&self, node: &str) -> Result<()> {
        let state = LndState::Locked;
        self.call(&Verb::Start { node: node.to_owned(), state }).await?;
        Ok(())
    }

    async fn unlock(&self, node: &str) -> Result<()> {
        let state = LndState::ServerActive;
        self.call(&Verb::SetState { node: node.to_owned(), state }).await?;
        Ok(())
    }

    async fn renew_certificate(&self, node: &str) -> Result<()> {
        self.call(&Verb::RenewCertificate { node: node.to_owned() }).await?;
        Ok(())
    }

    async fn bake_macaroon(&self, node: &str, root_key: u64, calls: &[&str]) -> Result<Vec<u8>> {
        let (node, calls) = (node.to_owned(), calls.iter().map(ToString::to_string).collect());
        let baked = self.call(&Verb::BakeMacaroon { node, root_key, calls }).await?;
        Ok(hex::decode(baked.as_str().context("a macaroon is hex")?)?)
    }

    fn end(self) -> Result<()> {
        Ok(())
    }
}
