//! Carries out what was committed, at least once: messages, Lightning commands, alarms.
//!
//! Rows are in lanes (`dm:<trade key>`, `ln:<hash>`): strictly one after the other within a lane,
//! concurrently across lanes. Lightning commands, messages to traders and answers to strangers are
//! classes with limits of their own, so that no class waits for another, and only as many due rows are
//! read as may be started. A row is marked done in the transaction that applies its result. After a
//! failure it becomes due later. No row is given up after a number of attempts, but answers to
//! strangers expire.

mod lanes;
mod lightning;
mod messages;
mod relay_sync;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use trade::{Alarm, FrozenBecause, Input, Observation, OrderId};

pub use messages::Messenger;
pub use relay_sync::RelaySync;

use crate::clock::Clock;
use crate::crash;
use crate::engine::{Engine, EngineError, Write};
use crate::lightning::{LightningError, LightningNode};
use crate::nostr::{RelayError, SealError};
use crate::retry::{FIRST_RETRY, LONGEST_RETRY, Reported, Trouble, backoff};
use crate::store::{Act, Due, OutboxId, OutboxRow, Reader, StoreError, Stuck};
use lanes::BusyLanes;
use lightning::LightningCommands;

/// How often the outbox is read when nothing has changed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The longest wait when LND is not ready, or has not done it yet. The first waits are shorter, because
/// a user may be waiting for the answer.
const LONGEST_NOT_YET: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Outbox {
    reader: Reader,
    engine: Engine,
    clock: Arc<dyn Clock>,
    lightning: LightningCommands,
    messenger: Messenger,
    reported: Reported<String>,
}

/// The result of carrying out a row.
#[derive(Debug)]
enum Delivered {
    Done(Option<Observation>),
    NotYet(&'static str),
}

/// Why a row was not carried out. It stays in the outbox.
#[derive(Debug, thiserror::Error)]
enum OutboxError {
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error("the engine failed")]
    Engine(#[from] EngineError),
    #[error("LND failed")]
    Lightning(#[from] LightningError),
    #[error("the relays failed")]
    Relay(#[from] RelayError),
    #[error("a message cannot be sealed")]
    Seal(#[from] SealError),
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
}

impl Outbox {
    #[must_use]
    pub fn new(
        node: Arc<dyn LightningNode>,
        messenger: Messenger,
        reader: Reader,
        engine: Engine,
        clock: Arc<dyn Clock>,
        escrow_margin: u32,
    ) -> Arc<Self> {
        let lightning = LightningCommands {
            node,
            reader: reader.clone(),
            engine: engine.clone(),
            escrow_margin,
            unseen: Reported::default(),
        };
        let reported = Reported::default();
        Arc::new(Self { reader, engine, clock, lightning, messenger, reported })
    }

    /// Carries out whatever is due, until shutdown; then waits for what is running.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut changes = self.engine.commits();
        let mut lanes = BusyLanes::new();
        let mut expired_at = Duration::ZERO;
        loop {
            if let Err(error) = self.start_due(&mut lanes).await {
                tracing::error!(error = crate::error_chain(&error), "the outbox cannot be read");
                if error.is_fatal() {
                    break; // that ends the daemon
                }
            }
            let monotonic = self.clock.monotonic();
            if monotonic.saturating_sub(expired_at) >= POLL_INTERVAL {
                self.expire_answers().await;
                expired_at = monotonic;
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                Ok(()) = changes.changed() => {}
                () = lanes.some_done() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
        lanes.finish().await;
    }

    async fn start_due(self: &Arc<Self>, lanes: &mut BusyLanes) -> Result<(), StoreError> {
        let monotonic = self.clock.monotonic();
        let limits = lanes.limits(monotonic);
        for Due { class, lane, act } in self.reader.list_acts_due(self.clock.now(), &limits).await?
        {
            let outbox = Arc::clone(self);
            let name = lane.clone();
            lanes.start_if_free(class, name, monotonic, async move {
                match act {
                    Ok(row) => outbox.carry_out(row).await,
                    Err(row) => outbox.postpone_unreadable(lane, row).await,
                }
            });
        }
        Ok(())
    }

    /// Ends answers to strangers that have expired.
    async fn expire_answers(&self) {
        let now = self.clock.now();
        let ended = match self.reader.has_expired_answers(now).await {
            Ok(false) => return,
            Ok(true) => self.engine.write(Write::ExpireAnswers).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "expired answers cannot be deleted now; retrying");
        }
    }

    /// Logs an alarm; one about a refusal with LND's own text.
    async fn raise_alarm(
        &self,
        order: Option<OrderId>,
        alarm: Alarm,
    ) -> Result<Delivered, OutboxError> {
        let refusal = match (alarm, order) {
            (Alarm::Frozen(FrozenBecause::PayoutRefused) | Alarm::PayoutsRefused, Some(order)) => {
                self.reader.find_refusal(order).await?
            }
            _ => None,
        };
        let order = order.map(|order| order.to_string()).unwrap_or_default();
        if let Some(text) = refusal {
            tracing::error!(order.id = order, "ALARM: {alarm}. LND said {text}");
        } else {
            tracing::error!(order.id = order, "ALARM: {alarm}");
        }
        Ok(Delivered::done())
    }

    /// Carries out one row once and saves the result.
    pub async fn carry_out(&self, row: OutboxRow) {
        match self.act(&row).await {
            Ok(Delivered::Done(news)) => {
                let engine = engine_for(&row, &self.engine);
                match engine.finish_act(row.id, news.map(Input::Lightning)).await {
                    Ok(_) => self.log_recovery(&row),
                    Err(error) => self.retry_later(&row, &error.into()).await,
                }
            }
            Ok(Delivered::NotYet(reason)) => {
                tracing::debug!(outbox.lane = row.lane, reason, "not yet");
                self.postpone(&self.engine, row.id, not_yet(row.attempts)).await;
            }
            Err(error) => self.retry_later(&row, &error).await,
        }
        crash::point("outbox.finished");
    }

    /// A failing lane is logged when it begins to fail, when it fails in another way, and when it works
    /// again, not at every attempt.
    async fn retry_later(&self, row: &OutboxRow, error: &OutboxError) {
        let (lane, chain) = (&row.lane, crate::error_chain(error));
        let trouble = error.trouble();
        // Strangers could fill the log.
        if row.to_stranger || !self.reported.is_news(lane.clone(), trouble) {
            tracing::debug!(outbox.lane = lane, error = chain, "not yet");
        } else if trouble == Trouble::Ours {
            tracing::error!(
                outbox.lane = lane,
                error = chain,
                "an outbox row fails, and its lane waits for it"
            );
        } else {
            tracing::warn!(
                outbox.lane = lane,
                error = chain,
                "an outbox row failed and is retried, up to once a minute; its lane waits for it"
            );
        }
        self.postpone(&engine_for(row, &self.engine), row.id, backoff(row.attempts)).await;
    }

    fn log_recovery(&self, row: &OutboxRow) {
        if self.reported.is_over(&row.lane) {
            tracing::info!(outbox.lane = row.lane, "the lane works again");
        }
    }

    /// An unreadable row is postponed too: while it is due, it takes the place of others.
    async fn postpone_unreadable(&self, lane: String, Stuck { id, error }: Stuck<OutboxId>) {
        if self.reported.is_news(lane, Trouble::Ours) {
            tracing::error!(outbox.id = id.0, %error, "an outbox row cannot be read; its lane is blocked");
        }
        self.postpone(&self.engine, id, LONGEST_RETRY).await;
    }

    async fn postpone(&self, engine: &Engine, id: OutboxId, wait: Duration) {
        let at = self.clock.now().after(wait);
        if let Err(error) = engine.write(Write::RetryAct { id, at }).await {
            tracing::debug!(outbox.id = id.0, %error, "an outbox row could not be postponed");
            // It is still due: without a pause it would be retried in a tight loop.
            tokio::time::sleep(FIRST_RETRY).await;
        }
    }

    async fn act(&self, row: &OutboxRow) -> Result<Delivered, OutboxError> {
        match &row.act {
            Act::Notify { to, text } => self.messenger.deliver(row, *to, text).await,
            Act::Lightning(command) => {
                let was_begun = row.begun_at.is_some();
                self.lightning.carry_out(row.id, was_begun, row.attempts, command.clone()).await
            }
            Act::Alarm(alarm) => self.raise_alarm(row.order, *alarm).await,
        }
    }
}

impl OutboxError {
    fn trouble(&self) -> Trouble {
        match self {
            Self::Relay(RelayError::Refused { .. }) => Trouble::Refused,
            Self::Relay(_) | Self::Lightning(_) => Trouble::Away,
            Self::Store(error) if error.is_unavailable() => Trouble::Away,
            Self::Engine(error) if error.is_unavailable() => Trouble::Away,
            Self::Store(_) | Self::Engine(_) | Self::Seal(_) | Self::Unreadable(_) => Trouble::Ours,
        }
    }
}

impl Delivered {
    fn done() -> Self {
        Self::Done(None)
    }

    fn with(news: Observation) -> Self {
        Self::Done(Some(news))
    }
}

/// What is written about answers to strangers waits behind everything else.
fn engine_for(row: &OutboxRow, engine: &Engine) -> Engine {
    if row.to_stranger { engine.for_strangers() } else { engine.clone() }
}

fn not_yet(tries: u32) -> Duration {
    backoff(tries).min(LONGEST_NOT_YET)
}
