//! The daemon as its users run it: the real binary as a separate process in its own folder.

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

/// The daemon, running or stopped. It is killed when this is dropped, also by a panic.
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
    /// Subscribed before the start, so that it has the first event after it.
    book: Book,
}

/// A daemon that is killed at crash points and restarted while a scenario goes on.
#[derive(Debug)]
pub struct CrashRuns {
    task: JoinSet<Result<Child>>,
    next_crash_point: watch::Receiver<String>,
}

const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer than the daemon gives its tasks for their end.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Longer than keep-alive and deadlines need to detect a broken connection.
const LOG_TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
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

    /// Starts it after it was stopped.
    ///
    /// # Errors
    /// If it runs, or cannot be started.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.running.is_none(), "the daemon is running already");
        let book = Book::watch(&self.relay, self.node).await?;
        let log = self.open_log()?;
        let child = self.command_to_run(log)?.spawn();
        let child = child.with_context(|| format!("cannot start {}", self.binary.display()))?;
        self.running = Some(Running { child, book });
        Ok(())
    }

    /// Starts it once for each of these crash points (`<point>[:<hit>]`), where it is killed by
    /// SIGKILL; after the last one it is started without any.
    ///
    /// # Errors
    /// If it runs, or its log cannot be written.
    pub fn start_with_crashes_at(&mut self, points: Vec<String>) -> Result<CrashRuns> {
        ensure!(self.running.is_none(), "the daemon is running already");
        let log = self.open_log()?;
        let mut commands = Vec::new();
        for point in points {
            let mut command = self.command_to_run(log.try_clone()?)?;
            command.env("MOSTROD_CRASH_AT", &point);
            commands.push((point, command));
        }
        let last = self.command_to_run(log)?;
        let (at, next_crash_point) = watch::channel(String::new());
        let mut task = JoinSet::new();
        task.spawn(run_with_crashes(commands, last, at));
        Ok(CrashRuns { task, next_crash_point })
    }

    /// Waits until all crash points were reached, and takes over the process started last.
    ///
    /// # Errors
    /// If a crash point was not reached, or the process ended otherwise.
    pub async fn take_over(&mut self, mut runs: CrashRuns) -> Result<()> {
        let child = timeout(START_TIMEOUT, runs.task.join_next()).await.with_context(|| {
            format!("it was never killed at {}\n{}", *runs.next_crash_point.borrow(), self.log())
        })?;
        let child = child.context("the task that restarts it has ended")???;
        let book = Book::watch(&self.relay, self.node).await?;
        self.running = Some(Running { child, book });
        Ok(())
    }

    /// Waits until it has published its info event and serves requests.
    ///
    /// # Errors
    /// If it ends instead, or takes too long; the error shows its log.
    pub async fn wait_ready(&mut self) -> Result<Event> {
        let running = self.running.as_mut().context("the daemon was not started")?;
        let deadline = Instant::now() + START_TIMEOUT;
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

    /// SIGKILL.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn kill(&mut self) -> Result<()> {
        let mut running = self.running.take().context("the daemon does not run")?;
        running.child.kill().await.context("the daemon cannot be killed")
    }

    /// SIGTERM, as a supervisor sends it; waits for the end.
    ///
    /// # Errors
    /// If it does not run, or does not stop in time.
    pub async fn sigterm(&mut self) -> Result<ExitStatus> {
        let mut running = self.running.take().context("the daemon does not run")?;
        let pid = running.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(pid.context("the daemon has ended by itself")?, Signal::TERM)?;
        let stopped = timeout(STOP_TIMEOUT, running.child.wait()).await;
        let status =
            stopped.with_context(|| format!("it did not end after SIGTERM\n{}", self.log()))?;
        Ok(status?)
    }

    /// Stops it by SIGTERM and starts it again; ready when this returns.
    ///
    /// # Errors
    /// If it does not stop or does not become ready.
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

    /// Its log, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits until these words are in its log.
    ///
    /// # Errors
    /// If it does not in time; the error shows its log.
    pub async fn wait_for_log(&self, words: &str) -> Result<()> {
        let reading = async {
            while !self.log().contains(words) {
                // A file sends no notification when it grows.
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        let found = timeout(LOG_TIMEOUT, reading).await;
        found.with_context(|| format!("{words:?} is not in its log:\n{}", self.log()))
    }

    /// The path of its log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.dir.join(LOG)
    }

    /// Its folder: settings, database, log.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs `mostrod check` on its folder and returns its output.
    ///
    /// # Errors
    /// If the check finds any problem except that these orders are frozen.
    pub async fn check(&self, standing_still: &[Uuid]) -> Result<String> {
        let output = self.command().arg("check").arg("-d").arg(&self.dir).output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let found = text.lines().filter(|line| line.contains(": TROUBLE: ")).count();
        let is_logged = |order: &Uuid| text.contains(&format!("order {order}: TROUBLE: "));
        ensure!(
            output.status.success() == standing_still.is_empty()
                && found == standing_still.len()
                && standing_still.iter().all(is_logged),
            "mostrod check ended with {}:\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    fn command_to_run(&self, log: File) -> Result<Command> {
        let mut command = self.command();
        command.arg("-d").arg(&self.dir).stdin(Stdio::null()).kill_on_drop(true);
        command.stdout(log.try_clone()?).stderr(log);
        command.process_group(0); // so that Ctrl-C reaches this process only, which then stops the daemon
        Ok(command)
    }

    /// The binary, without settings for another node from this environment.
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

async fn run_with_crashes(
    commands: Vec<(String, Command)>,
    mut last: Command,
    next_crash_point: watch::Sender<String>,
) -> Result<Child> {
    for (point, mut command) in commands {
        next_crash_point.send_replace(point.clone());
        let status = command.spawn()?.wait().await?;
        let is_killed = status.signal() == Some(SIGKILL);
        ensure!(is_killed, "it should have been killed at {point} and ended with {status}");
    }
    Ok(last.spawn()?)
}
