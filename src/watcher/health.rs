//! Health checks: whether LND answers, is started and at the tip. The result is saved and published.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trade::{Alarm, LightningIdentity, Timestamp};

use super::block_progress::{BlockProgress, Progress};
use crate::clock::Clock;
use crate::engine::{Engine, EngineError, Write};
use crate::lightning::{Health, LightningError, LightningNode, Readiness};

/// How often a healthy node is checked.
pub(super) const HEALTHY_INTERVAL: Duration = Duration::from_secs(15);

/// How often an unhealthy node is checked.
const UNHEALTHY_INTERVAL: Duration = Duration::from_secs(2);

/// The shortest time between two checks, however often a check is requested.
const MIN_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct HealthMonitor {
    node: Arc<dyn LightningNode>,
    engine: Engine,
    clock: Arc<dyn Clock>,
    blocks: BlockProgress,
    /// The saved identity.
    remembered: Option<LightningIdentity>,
    /// The problem that was logged last; empty before the first check.
    problem: Option<String>,
    health: watch::Sender<Option<Readiness>>,
    /// The time of the last check that found LND starting, if no other answer has come since.
    starting_at: Option<Timestamp>,
    /// Changes when a call to LND has failed.
    failures: watch::Receiver<()>,
}

impl HealthMonitor {
    #[must_use]
    pub fn new(
        node: Arc<dyn LightningNode>,
        engine: Engine,
        clock: Arc<dyn Clock>,
        failures: watch::Receiver<()>,
        remembered: Option<LightningIdentity>,
    ) -> (Self, Health) {
        let (sender, health) = watch::channel(None);
        let monitor = Self {
            node,
            engine,
            blocks: BlockProgress::new(clock.monotonic()),
            clock,
            remembered,
            problem: Some(String::new()),
            health: sender,
            starting_at: None,
            failures,
        };
        (monitor, health)
    }

    /// Checks until shutdown, and at once when a call has failed: LND may be away for a second only.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut has_failed = false;
        loop {
            self.failures.mark_unchanged();
            let is_healthy = self.check().await;
            let may_wait = is_healthy && !has_failed;
            let pause = if may_wait { HEALTHY_INTERVAL } else { UNHEALTHY_INTERVAL };
            has_failed = tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => false,
                () = a_call_fails(&mut self.failures), if is_healthy => true,
            };
        }
    }

    /// Checks once, saves and publishes the result. Returns whether LND is healthy.
    pub async fn check(&mut self) -> bool {
        let asked_at = self.clock.now();
        let answer = self.node.readiness().await;
        let restarted_at = self.detect_restart(asked_at, &answer);
        let problem = match &answer {
            Ok(readiness) => readiness.shortcoming(),
            Err(error) => Some(crate::error_chain(error)),
        };
        let readiness = answer.ok();
        self.watch_blocks(readiness.as_ref());
        if let Err(error) = self.save(readiness.as_ref(), restarted_at).await {
            tracing::error!(%error, "LND's state could not be saved");
        }
        let is_healthy = readiness.as_ref().is_some_and(Readiness::may_pay);
        self.health.send_replace(readiness);
        // Only now: once the log says that LND is ready, every part of the daemon knows.
        self.log_change(problem);
        is_healthy
    }

    /// Logs each problem once, and its end.
    fn log_change(&mut self, problem: Option<String>) {
        if self.problem == problem {
            return;
        }
        if let Some(problem) = &problem {
            tracing::warn!("{problem}; checking again every {UNHEALTHY_INTERVAL:?}");
        } else {
            tracing::info!("LND is ready");
        }
        self.problem = problem;
    }

    fn watch_blocks(&mut self, readiness: Option<&Readiness>) {
        let height = readiness.map(|readiness| readiness.height);
        match self.blocks.update(height, self.clock.monotonic()) {
            Some(Progress::Stalled) => tracing::error!("ALARM: {}", Alarm::NoBlocks),
            Some(Progress::Resumed) => tracing::info!("LND reports new blocks again"),
            None => {}
        }
    }

    /// Returns when our node was last seen starting, once it is started: only then it shows its identity.
    /// An LND that was unreachable in between may not be the one that was starting.
    fn detect_restart(
        &mut self,
        asked_at: Timestamp,
        answer: &Result<Readiness, LightningError>,
    ) -> Option<Timestamp> {
        match answer {
            Ok(readiness) if readiness.active => return self.starting_at.take(),
            Ok(_) => self.starting_at = Some(asked_at),
            Err(error) if error.is_starting() => self.starting_at = Some(asked_at),
            Err(error) if error.is_node_away() => self.starting_at = None,
            // LND may refuse calls before it is started.
            Err(_) => {}
        }
        None
    }

    async fn save(
        &mut self,
        readiness: Option<&Readiness>,
        restarted_at: Option<Timestamp>,
    ) -> Result<(), EngineError> {
        if let Some(at) = restarted_at {
            self.engine.write(Write::LndHasRestarted(at)).await?;
        }
        // If the check before had no answer, or there was none, LND may have been restarted since.
        let had_answer = self.health.borrow().is_some();
        if !had_answer || !readiness.is_some_and(Readiness::may_escrow) {
            self.engine.write(Write::LndIsUnhealthy).await?;
        }
        let Some(readiness) = readiness else { return Ok(()) };
        if self.remembered.is_none() {
            self.engine.write(Write::SetNode(readiness.identity)).await?;
            self.remembered = Some(readiness.identity);
        }
        // The height of an LND that is not synced is not the tip.
        let height = readiness.height;
        let write =
            if readiness.may_escrow() { Write::SetTip(height) } else { Write::RaiseHeight(height) };
        self.engine.write(write).await
    }
}

async fn a_call_fails(failures: &mut watch::Receiver<()>) {
    tokio::time::sleep(MIN_INTERVAL).await;
    if failures.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
