//! What was committed is carried out, at least once: messages, Lightning commands, alarms.
//!
//! Rows lie in lanes (`dm:<trade key>`, `ln:<hash>`): within a lane strictly one after the other,
//! across lanes side by side up to a limit. Lightning commands, messages to traders and answers to
//! strangers are classes with places of their own: none waits for what is behind it, and a look at
//! what is due reads no more than there are places, however much waits. A row is done in the
//! transaction that applies its news. Failure means: due later. Nothing is dropped after some number
//! of tries but answers to strangers, which expire.

mod arrivals;
mod lanes;
mod lightning;
mod messages;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use trade::{Alarm, FrozenBecause, Input, Observation, OrderId};

pub use arrivals::Arrivals;
pub use messages::Messenger;

use crate::clock::Clock;
use crate::crash;
use crate::engine::{Engine, EngineError, Write};
use crate::lightning::{LightningError, LightningNode};
use crate::nostr::{RelayError, SealError};
use crate::retry::{FIRST_RETRY, LONGEST_RETRY, Reported, Trouble, backoff};
use crate::store::{Act, Due, OutboxId, OutboxRow, Reader, StoreError, Stuck};
use lanes::BusyLanes;
use lightning::ToLightning;

/// How long the loop sleeps when nothing rings.
const IDLE: Duration = Duration::from_secs(1);

/// The longest wait when LND is not ready, or has not done it yet. The first ones are shorter, for
/// somebody may be waiting for the answer (D17).
const LONGEST_NOT_YET: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Outbox {
    reader: Reader,
    engine: Engine,
    clock: Arc<dyn Clock>,
    lightning: ToLightning,
    messenger: Messenger,
    reported: Reported<String>,
}

/// How an act went.
#[derive(Debug)]
enum Delivered {
    Done(Option<Observation>),
    NotYet(&'static str),
}

/// The world says not now, or we are wrong; either way the row stays.
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
        let lightning = ToLightning {
            node,
            reader: reader.clone(),
            engine: engine.clone(),
            escrow_margin,
            unseen: Reported::default(),
        };
        let reported = Reported::default();
        Arc::new(Self { reader, engine, clock, lightning, messenger, reported })
    }

    /// Carries out whatever is due, until shutdown; then lets what is under way come to its end.
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
            if monotonic.saturating_sub(expired_at) >= IDLE {
                self.expire_answers().await;
                expired_at = monotonic;
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                Ok(()) = changes.changed() => {}
                () = lanes.some_done() => {}
                () = tokio::time::sleep(IDLE) => {}
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
                    Err(row) => outbox.set_aside(lane, row).await,
                }
            });
        }
        Ok(())
    }

    /// Ends answers to strangers that nobody waits for any more.
    async fn expire_answers(&self) {
        let now = self.clock.now();
        let ended = match self.reader.has_expired_answers(now).await {
            Ok(false) => return,
            Ok(true) => self.engine.write(Write::ExpireAnswers).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "answers that have expired wait for the database");
        }
    }

    /// An alarm about a refusal comes with LND's own words.
    async fn cry(&self, order: Option<OrderId>, alarm: Alarm) -> Result<Delivered, OutboxError> {
        let said = match (alarm, order) {
            (Alarm::Frozen(FrozenBecause::PayoutRefused) | Alarm::PayoutsRefused, Some(order)) => {
                self.reader.find_refusal(order).await?
            }
            _ => None,
        };
        let order = order.map(|order| order.to_string()).unwrap_or_default();
        if let Some(said) = said {
            tracing::error!(order.id = order, "ALARM: {alarm}. LND said {said}");
        } else {
            tracing::error!(order.id = order, "ALARM: {alarm}");
        }
        Ok(Delivered::quietly())
    }

    /// Tries one act once and saves how it went.
    pub async fn carry_out(&self, row: OutboxRow) {
        match self.act(&row).await {
            Ok(Delivered::Done(news)) => {
                match self.engine.finish_act(row.id, news.map(Input::Lightning)).await {
                    Ok(_) => self.goes_on(&row),
                    Err(error) => self.try_again_later(&row, &error.into()).await,
                }
            }
            Ok(Delivered::NotYet(reason)) => {
                tracing::debug!(outbox.lane = row.lane, reason, "not yet");
                self.put_off(row.id, not_yet(row.attempts)).await;
            }
            Err(error) => self.try_again_later(&row, &error).await,
        }
        crash::point("outbox.finished");
    }

    /// A lane is told of when it begins to fail, when it fails otherwise, and when it goes on: not at
    /// every try.
    async fn try_again_later(&self, row: &OutboxRow, error: &OutboxError) {
        let (lane, chain) = (&row.lane, crate::error_chain(error));
        let trouble = error.trouble();
        // Strangers could fill the log.
        if row.to_stranger || !self.reported.is_news(lane.clone(), trouble) {
            tracing::debug!(outbox.lane = lane, error = chain, "not yet");
        } else if trouble == Trouble::Ours {
            tracing::error!(
                outbox.lane = lane,
                error = chain,
                "an act fails, and its lane waits for it"
            );
        } else {
            tracing::warn!(
                outbox.lane = lane,
                error = chain,
                "an act failed and is retried, in the end once a minute; its lane waits for it"
            );
        }
        self.put_off(row.id, backoff(row.attempts)).await;
    }

    fn goes_on(&self, row: &OutboxRow) {
        if self.reported.is_over(&row.lane) {
            tracing::info!(outbox.lane = row.lane, "the lane goes on");
        }
    }

    /// A row that cannot be read is put off as well, or it would take the place of others.
    async fn set_aside(&self, lane: String, Stuck { id, error }: Stuck<OutboxId>) {
        if self.reported.is_news(lane, Trouble::Ours) {
            tracing::error!(outbox.id = id.0, %error, "an act cannot be read; its lane stands");
        }
        self.put_off(id, LONGEST_RETRY).await;
    }

    async fn put_off(&self, id: OutboxId, wait: Duration) {
        let at = self.clock.now().after(wait);
        if let Err(error) = self.engine.write(Write::RetryAct { id, at }).await {
            tracing::debug!(outbox.id = id.0, %error, "an act could not be put off");
            // It is still due: without a pause it would be tried in a circle.
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
            Act::Alarm(alarm) => self.cry(row.order, *alarm).await,
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
    fn quietly() -> Self {
        Self::Done(None)
    }

    fn with(news: Observation) -> Self {
        Self::Done(Some(news))
    }
}

fn not_yet(tries: u32) -> Duration {
    backoff(tries).min(LONGEST_NOT_YET)
}
