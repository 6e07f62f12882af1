//! The daemon as its users run it: the real binary, a process of its own, a folder of its own.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nostr_sdk::{Event, PublicKey};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::{Book, binary};

/// The daemon, running or stopped. A running one is killed when this is dropped, also by a panic.
#[derive(Debug)]
pub struct Daemon {
    binary: PathBuf,
    dir: PathBuf,
    relay: String,
    node: PublicKey,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// Listens since before the start, so that it knows the first event after it.
    book: Book,
}

/// A daemon that dies and is started again while a scenario goes on.
#[derive(Debug)]
pub struct Lives {
    task: JoinSet<Result<Child>>,
    dies_next_at: watch::Receiver<String>,
}

const START_PATIENCE: Duration = Duration::from_secs(30);
/// Handlers have 10 s to end (`spec/behaviour.md` §12.5).
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// Keep-alive and deadlines take half a minute to notice.
const WORD_PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const SIGKILL: i32 = 9;
const LOG: &str = "mostrod.log";

impl Daemon {
    /// Starts `binary` with the settings in `dir`, which name `relay` and the key of `node`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn spawn(binary: &Path, dir: &Path, relay: &str, node: PublicKey) -> Result<Self> {
        let mut daemon = Self {
            binary: binary.to_owned(),
            dir: dir.to_owned(),
            relay: relay.to_owned(),
            node,
            running: None,
        };
        daemon.start().await?;
        Ok(daemon)
    }

    /// The binary that cargo built beside this program.
    ///
    /// # Errors
    /// If there is none; the message says what to do.
    pub fn find_binary() -> Result<PathBuf> {
        binary::find("mostrod")
    }

    /// Starts it again after it was stopped.
    ///
    /// # Errors
    /// If it runs, or cannot be started.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.running.is_none(), "the daemon is running already");
        let book = Book::watch(&self.relay, self.node).await?;
        let log = self.open_log()?;
        let child = self.command_to_run(log)?.spawn();
        let child = child.with_context(|| format!("{} does not start", self.binary.display()))?;
        self.running = Some(Running { child, book });
        Ok(())
    }

    /// Starts it to die, by SIGKILL, at each of these crash points (`<point>[:<hit>]`), one life
    /// after the other; the life after the last goes on.
    ///
    /// # Errors
    /// If it runs, or its log cannot be written.
    pub fn start_to_die_at(&mut self, points: Vec<String>) -> Result<Lives> {
        ensure!(self.running.is_none(), "the daemon is running already");
        let log = self.open_log()?;
        let mut commands = Vec::new();
        for point in points {
            let mut command = self.command_to_run(log.try_clone()?)?;
            command.env("MOSTROD_CRASH_AT", &point);
            commands.push((point, command));
        }
        let last = self.command_to_run(log)?;
        let (at, dies_next_at) = watch::channel(String::new());
        let mut task = JoinSet::new();
        task.spawn(live(commands, last, at));
        Ok(Lives { task, dies_next_at })
    }

    /// Takes over the last of several lives.
    ///
    /// # Errors
    /// If there are lives left: a crash point was not reached, or the process ended otherwise.
    pub async fn settle(&mut self, mut lives: Lives) -> Result<()> {
        let child = timeout(START_PATIENCE, lives.task.join_next()).await.with_context(|| {
            format!("it never died at {}\n{}", *lives.dies_next_at.borrow(), self.log())
        })?;
        let child = child.context("it lives no more")???;
        let book = Book::watch(&self.relay, self.node).await?;
        self.running = Some(Running { child, book });
        Ok(())
    }

    /// Waits until it has published its info event; it serves requests then.
    ///
    /// # Errors
    /// If it ends instead, or takes too long; the error shows its log.
    pub async fn wait_ready(&mut self) -> Result<Event> {
        let running = self.running.as_mut().context("the daemon was not started")?;
        let deadline = Instant::now() + START_PATIENCE;
        let problem = tokio::select! {
            ready = running.book.next_info(deadline) => match ready {
                Ok(event) => return Ok(event),
                Err(error) => format!("{error:#}"),
            },
            status = running.child.wait() => {
                let status = status?;
                self.running = None;
                format!("it ended with {status}")
            }
        };
        bail!("the daemon did not become ready: {problem}\n{}", self.log());
    }

    /// Takes the process away at once, as a power cut would.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn kill9(&mut self) -> Result<()> {
        let mut running = self.running.take().context("the daemon does not run")?;
        running.child.kill().await.context("the daemon cannot be killed")
    }

    /// Asks it to stop, as a supervisor does, and waits until it has.
    ///
    /// # Errors
    /// If it does not run, or does not stop in time.
    pub async fn sigterm(&mut self) -> Result<ExitStatus> {
        let mut running = self.running.take().context("the daemon does not run")?;
        let pid = running.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(pid.context("the daemon has ended by itself")?, Signal::TERM)?;
        let stopped = timeout(STOP_PATIENCE, running.child.wait()).await;
        let status = stopped.with_context(|| format!("no end after SIGTERM\n{}", self.log()))?;
        Ok(status?)
    }

    /// Stops it politely and starts it again; ready when this returns.
    ///
    /// # Errors
    /// If it does not stop, or does not come back.
    pub async fn restart(&mut self) -> Result<()> {
        self.sigterm().await?;
        self.start().await?;
        self.wait_ready().await?;
        Ok(())
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let running = self.running.as_mut().context("the daemon does not run")?;
        let status = running.child.wait().await?;
        self.running = None;
        Ok(status)
    }

    /// Whether the process still runs.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        let Some(running) = self.running.as_mut() else { return false };
        running.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// What it has written to its log, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits until it has written these words to its log.
    ///
    /// # Errors
    /// If it does not in time; the error shows its log.
    pub async fn says(&self, words: &str) -> Result<()> {
        let said = async {
            while !self.log().contains(words) {
                // A file tells nobody that it has grown.
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let said = timeout(WORD_PATIENCE, said).await;
        said.with_context(|| format!("no word of {words:?} in\n{}", self.log()))
    }

    /// Where it writes that.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.dir.join(LOG)
    }

    /// Its folder: settings, database, log.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs `mostrod check` on its folder and returns what that printed.
    ///
    /// # Errors
    /// If the check finds anything wrong but that these orders stand still.
    pub async fn check(&self, standing_still: &[Uuid]) -> Result<String> {
        let output = self.command().arg("check").arg("-d").arg(&self.dir).output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let found = text.lines().filter(|line| line.contains(": TROUBLE: ")).count();
        let is_told = |order: &Uuid| text.contains(&format!("order {order}: TROUBLE: "));
        ensure!(
            output.status.success() == standing_still.is_empty()
                && found == standing_still.len()
                && standing_still.iter().all(is_told),
            "mostrod check says {}:\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    fn command_to_run(&self, log: File) -> Result<Command> {
        let mut command = self.command();
        command.arg("-d").arg(&self.dir).stdin(Stdio::null()).kill_on_drop(true);
        command.stdout(log.try_clone()?).stderr(log);
        command.process_group(0); // Ctrl-C is for us; we stop it in our order
        Ok(command)
    }

    /// The binary, without settings that this shell happens to have for another node.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        let is_setting = |name: &OsStr| name.to_string_lossy().starts_with("MOSTRO_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(name)) {
            command.env_remove(name);
        }
        command
    }

    fn open_log(&self) -> Result<File> {
        let path = self.log_path();
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.with_context(|| format!("cannot write {}", path.display()))
    }
}

async fn live(
    commands: Vec<(String, Command)>,
    mut last: Command,
    dies_next_at: watch::Sender<String>,
) -> Result<Child> {
    for (point, mut command) in commands {
        dies_next_at.send_replace(point.clone());
        let status = command.spawn()?.wait().await?;
        let is_killed = status.signal() == Some(SIGKILL);
        ensure!(is_killed, "it should have been killed at {point} and ended with {status}");
    }
    Ok(last.spawn()?)
}
