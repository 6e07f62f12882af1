//! The processes of one network: started, stopped, killed, and never left running.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::sleep;

use crate::wait::{POLL_INTERVAL, until};

/// Waits for the end of its input, which comes when this process ends in any way. Then it deletes the
/// network's folder and kills its process group, which contains every node.
const GUARD: &str = r#"read -r _; rm -rf "$0"; kill -KILL 0"#;

/// How many lines of its log are shown when a program has ended.
const LAST_LINES: usize = 10;

/// The processes, by the names of their nodes. All are killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Processes {
    running: Mutex<BTreeMap<String, Child>>,
    guard: Child,
    _guard_input: ChildStdin,
    logs: PathBuf,
}

impl Processes {
    /// `data` is deleted if this process is killed, `logs` is kept.
    pub(crate) fn new(data: &Path, logs: &Path) -> Result<Self> {
        let mut guard = Command::new("/bin/sh");
        guard.args(["-c", GUARD]).arg(data).process_group(0);
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut guard = guard.spawn().context("cannot start /bin/sh")?;
        let input = guard.stdin.take().context("a piped input is there")?;
        let logs = logs.to_owned();
        Ok(Self { running: Mutex::default(), guard, _guard_input: input, logs })
    }

    /// Starts a node; its output goes to a log with its name.
    pub(crate) fn start(&self, name: &str, command: &mut Command) -> Result<()> {
        let mut running = self.running();
        ensure!(!running.contains_key(name), "{name} is running already");
        let log = self.open_log(name)?;
        let child = command
            .process_group(i32::try_from(self.guard.id())?)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} does not start", command.get_program().display()))?;
        running.insert(name.to_owned(), child);
        Ok(())
    }

    /// The names of those that were started and not stopped.
    pub(crate) fn names(&self) -> Vec<String> {
        self.running().keys().cloned().collect()
    }

    /// SIGKILL; the process has ended when this returns.
    pub(crate) fn kill(&self, name: &str) -> Result<()> {
        let mut child = self.running().remove(name).with_context(|| not_running(name))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM; the process has ended when this returns.
    pub(crate) async fn stop(&self, name: &str) -> Result<()> {
        let pid = self.running().get(name).map(Pid::from_child);
        kill_process(pid.with_context(|| not_running(name))?, Signal::TERM)?;
        let end = || async {
            let mut running = self.running();
            let child = running.get_mut(name).with_context(|| not_running(name))?;
            child.try_wait()?.context("it still runs")
        };
        until(format!("end of {name} after SIGTERM"), end).await?;
        self.running().remove(name);
        Ok(())
    }

    /// Waits until a program has ended by itself; returns how.
    pub(crate) async fn ended(&self, name: &str) -> anyhow::Error {
        loop {
            let ended = self.running().get_mut(name).map(Child::try_wait);
            match ended {
                Some(Ok(None)) => sleep(POLL_INTERVAL).await,
                Some(Ok(Some(status))) => {
                    return anyhow!("{name} ended with {status}:\n{}", self.log_tail(name));
                }
                Some(Err(error)) => return error.into(),
                None => return anyhow!(not_running(name)),
            }
        }
    }

    fn log_tail(&self, name: &str) -> String {
        let log = std::fs::read(self.log(name)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines = log.lines().collect::<Vec<_>>();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    fn open_log(&self, name: &str) -> Result<File> {
        let path = self.log(name);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.with_context(|| format!("cannot write {}", path.display()))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let killed = kill_process_group(Pid::from_child(&self.guard), Signal::KILL);
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Their folder can be deleted only when they have ended.
        for child in running.values_mut().chain([&mut self.guard]) {
            if let Err(error) = killed.map_err(Into::into).and_then(|()| child.wait()) {
                eprintln!("process {} may still run: {error}", child.id());
            }
        }
    }
}

fn not_running(name: &str) -> String {
    format!("{name} does not run")
}
