//! Is LND there, started and at the tip? What it answers is remembered, and told to whoever waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use trade::{BlockHeight, LightningIdentity};

use crate::engine::{Engine, EngineError};
use crate::lightning::{Health, LightningNode, Readiness};
use crate::tasks::Shutdown;

/// How often a healthy node is asked.
const CALM: Duration = Duration::from_secs(15);

/// How often one is asked that was not well.
const WORRIED: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct HealthMonitor {
    node: Arc<dyn LightningNode>,
    engine: Engine,
    /// Who our node was, and is to stay: its holds and payments are known to no other.
    remembered: Option<LightningIdentity>,
    height: Option<BlockHeight>,
    has_complained: bool,
    told: watch::Sender<Option<Readiness>>,
}

impl HealthMonitor {
    #[must_use]
    pub fn new(
        node: Arc<dyn LightningNode>,
        engine: Engine,
        remembered: Option<LightningIdentity>,
    ) -> (Self, Health) {
        let (told, health) = watch::channel(None);
        (Self { node, engine, remembered, height: None, has_complained: false, told }, health)
    }

    /// Asks until shutdown.
    pub async fn run(mut self, mut shutdown: Shutdown) {
        loop {
            let pause = if self.ask().await { CALM } else { WORRIED };
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Asks once, remembers and tells. Whether LND is well.
    pub async fn ask(&mut self) -> bool {
        let answer = self.node.readiness().await;
        let was_well = self.told.borrow().is_some();
        match &answer {
            Ok(_) if !was_well => tracing::info!("LND answers"),
            Err(error) if was_well || !self.has_complained => {
                let error = crate::chain(error);
                tracing::warn!(%error, "LND does not answer; asking again every {WORRIED:?}");
                self.has_complained = true;
            }
            _ => {}
        }
        let readiness = answer.ok().filter(|readiness| self.is_ours(readiness));
        if let Err(error) = self.remember(readiness.as_ref()).await {
            tracing::error!(%error, "what LND said of itself could not be saved");
        }
        let is_well = readiness.as_ref().is_some_and(Readiness::may_pay);
        self.told.send_replace(readiness);
        is_well
    }

    fn is_ours(&self, readiness: &Readiness) -> bool {
        let found = readiness.identity;
        let Some(ours) = self.remembered.filter(|ours| *ours != found) else { return true };
        tracing::error!(
            "this is another Lightning node ({}, {:?}) than the one that this database belongs to \
             ({}, {:?}): nothing is done with it. Correct lightning.lnd_grpc_host, or, if no trade \
             is open, set lightning.allow_node_change",
            found.key,
            found.network,
            ours.key,
            ours.network
        );
        false
    }

    async fn remember(&mut self, readiness: Option<&Readiness>) -> Result<(), EngineError> {
        let Some(readiness) = readiness else {
            self.engine.lnd_is_unwell().await?;
            return Ok(());
        };
        if !readiness.may_escrow() {
            self.engine.lnd_is_unwell().await?;
        }
        if self.remembered.is_none() {
            self.engine.set_node(readiness.identity).await?;
            self.remembered = Some(readiness.identity);
        }
        if self.height != Some(readiness.height) {
            self.engine.set_height(readiness.height).await?;
            self.height = Some(readiness.height);
        }
        Ok(())
    }
}
