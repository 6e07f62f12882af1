//! The daemon run by hand, with what it prints and how it ends.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use devnet::{Daemon, Net, Transport};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use super::{BUYER_GETS, SELLER_PAYS, World};

/// How it ends when its command line or its settings are wrong.
pub(crate) const USAGE: i32 = 2;
/// How it ends when anything else is.
pub(crate) const FAILURE: i32 = 1;
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the binary to its end.
pub(crate) async fn run(dir: &Path, arguments: &[&str]) -> Result<Output> {
    let output = command(dir)?.args(arguments).stdin(Stdio::null()).output();
    timeout(PATIENCE, output).await.context("it does not end")?.context("it does not start")
}

pub(crate) fn command(dir: &Path) -> Result<Command> {
    let mut command = Command::new(Daemon::find_binary()?);
    command.env_clear().arg("-d").arg(dir).kill_on_drop(true);
    Ok(command)
}

/// It has ended with this code, and its complaint has these words in it.
pub(crate) fn ends(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let complaint = stderr(output);
    ensure!(output.status.code() == Some(code), "{}:\n{complaint}", output.status);
    for words in words {
        ensure!(complaint.contains(words), "nothing of {words:?} in\n{complaint}");
    }
    ensure!(!complaint.contains("panicked"), "{complaint}");
    Ok(())
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The daemon, whose log is read as it is written. Killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    log: Lines<BufReader<ChildStderr>>,
    lines: Vec<String>,
}

impl Process {
    /// In the place of the net's own daemon.
    pub(crate) fn start(net: &Net<crate::Network>, env: &[(&str, String)]) -> Result<Self> {
        let mut command = command(net.daemon.dir())?;
        command.envs(env.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let log = BufReader::new(child.stderr.take().context("its log")?).lines();
        Ok(Self { child, log, lines: Vec::new() })
    }

    /// Reads its log until a line has these words in it.
    pub(crate) async fn says(&mut self, words: &str) -> Result<()> {
        let reading = async {
            while let Some(line) = self.log.next_line().await? {
                self.lines.push(line);
                if self.line().contains(words) {
                    return Ok(());
                }
            }
            bail!("it has ended")
        };
        let said = timeout(PATIENCE, reading).await.unwrap_or_else(|_| bail!("it is silent"));
        said.with_context(|| format!("no word of {words:?} in {:#?}", self.lines))
    }

    /// The line that was read last.
    pub(crate) fn line(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }

    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

impl World {
    /// Its daemon has run, and has been stopped.
    pub(crate) async fn stopped() -> Result<Box<Self>> {
        let mut w = Self::open(Transport::Nip44).await?;
        w.net.daemon.sigterm().await?;
        Ok(w)
    }

    /// A sale completes, though the daemon was in trouble when it started.
    pub(crate) async fn trades_again(self: Box<Self>, mut process: Process) -> Result<()> {
        process.says("LND is ready").await?;
        self.trades().await
    }

    /// A sale completes.
    pub(crate) async fn trades(mut self: Box<Self>) -> Result<()> {
        let sale = self.sale_active().await?;
        self.released(&sale).await?;
        self.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
    }
}
