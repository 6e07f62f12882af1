//! Is LND there, started and at the tip? What it answers is remembered, and told to whoever waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trade::{Alarm, LightningIdentity, Timestamp};

use super::block_progress::{BlockProgress, Change};
use crate::clock::Clock;
use crate::engine::{Engine, EngineError, Write};
use crate::lightning::{Health, LightningError, LightningNode, Readiness};

/// How often a healthy node is asked.
pub(super) const HEALTHY_INTERVAL: Duration = Duration::from_secs(15);

/// How often one is asked that was not well.
const UNHEALTHY_INTERVAL: Duration = Duration::from_secs(2);

/// From one question to the next, at least, however much fails meanwhile.
const MIN_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct HealthMonitor {
    node: Arc<dyn LightningNode>,
    engine: Engine,
    clock: Arc<dyn Clock>,
    chain: BlockProgress,
    /// As it is saved.
    remembered: Option<LightningIdentity>,
    /// What was last spoken of; empty before the first answer.
    trouble: Option<String>,
    told: watch::Sender<Option<Readiness>>,
    /// When it was asked who said that it is starting, and nobody else has answered since.
    starting_at: Option<Timestamp>,
    /// Changes when somebody's call of LND failed.
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
        let (told, health) = watch::channel(None);
        let (chain, trouble) = (BlockProgress::new(clock.monotonic()), Some(String::new()));
        let starting_at = None;
        let monitor =
            Self { node, engine, clock, chain, remembered, trouble, told, starting_at, failures };
        (monitor, health)
    }

    /// Asks until shutdown, and at once when somebody had trouble: LND may be gone for a second only.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut has_failed = false;
        loop {
            self.failures.mark_unchanged();
            let is_well = self.ask().await;
            let pause = if is_well && !has_failed { HEALTHY_INTERVAL } else { UNHEALTHY_INTERVAL };
            has_failed = tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => false,
                () = a_call_fails(&mut self.failures), if is_well => true,
            };
        }
    }

    /// Asks once, remembers and tells. Whether LND is well.
    pub async fn ask(&mut self) -> bool {
        let asked_at = self.clock.now();
        let answer = self.node.readiness().await;
        let restarted_at = self.notice_restart(asked_at, &answer);
        let trouble = match &answer {
            Ok(readiness) => readiness.shortcoming(),
            Err(error) => Some(crate::error_chain(error)),
        };
        let readiness = answer.ok();
        self.watch_blocks(readiness.as_ref());
        if let Err(error) = self.remember(readiness.as_ref(), restarted_at).await {
            tracing::error!(%error, "what LND said of itself could not be saved");
        }
        let is_well = readiness.as_ref().is_some_and(Readiness::may_pay);
        self.told.send_replace(readiness);
        // Who reads that LND is ready may rely on it: everybody knows by now.
        self.say(trouble);
        is_well
    }

    /// Speaks of every trouble once, and of its end.
    fn say(&mut self, trouble: Option<String>) {
        if self.trouble == trouble {
            return;
        }
        if let Some(trouble) = &trouble {
            tracing::warn!("{trouble}; asking again every {UNHEALTHY_INTERVAL:?}");
        } else {
            tracing::info!("LND is ready");
        }
        self.trouble = trouble;
    }

    fn watch_blocks(&mut self, readiness: Option<&Readiness>) {
        let height = readiness.map(|readiness| readiness.height);
        match self.chain.hear(height, self.clock.monotonic()) {
            Some(Change::Stands) => tracing::error!("ALARM: {}", Alarm::NoBlocks),
            Some(Change::Moves) => tracing::info!("LND tells of new blocks again"),
            None => {}
        }
    }

    /// When our node was last seen starting, once it is started. Nobody knows who it is that says so
    /// before, and an LND that was only out of reach may never have stopped.
    fn notice_restart(
        &mut self,
        asked_at: Timestamp,
        answer: &Result<Readiness, LightningError>,
    ) -> Option<Timestamp> {
        match answer {
            Ok(readiness) if readiness.active => return self.starting_at.take(),
            Ok(_) => self.starting_at = Some(asked_at),
            Err(error) if error.is_starting() => self.starting_at = Some(asked_at),
            Err(error) if error.is_node_away() => self.starting_at = None,
            // Before it is started it may refuse calls.
            Err(_) => {}
        }
        None
    }

    async fn remember(
        &mut self,
        readiness: Option<&Readiness>,
        restarted_at: Option<Timestamp>,
    ) -> Result<(), EngineError> {
        if let Some(at) = restarted_at {
            self.engine.write(Write::LndHasRestarted(at)).await?;
        }
        // One that was not heard before, also because we were away, may have been restarted since.
        let was_heard = self.told.borrow().is_some();
        if !was_heard || !readiness.is_some_and(Readiness::may_escrow) {
            self.engine.write(Write::LndIsUnwell).await?;
        }
        let Some(readiness) = readiness else { return Ok(()) };
        if self.remembered.is_none() {
            self.engine.write(Write::SetNode(readiness.identity)).await?;
            self.remembered = Some(readiness.identity);
        }
        // Where an LND that is not synced stands is not the tip.
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
