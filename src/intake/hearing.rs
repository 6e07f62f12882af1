//! Whether traders can reach us, and since when they could not (D5).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use trade::Timestamp;

use crate::clock::Clock;
use crate::engine::{Engine, EngineError};
use crate::nostr::Hearing;
use crate::store::DaemonState;

/// How often it is written down that we hear.
pub(super) const BEAT: Duration = Duration::from_secs(10);

/// The heartbeat row, by which deadlines rest, and the cursor.
#[derive(Debug)]
pub(super) struct Ear {
    engine: Engine,
    clock: Arc<dyn Clock>,
    hearing: watch::Receiver<Hearing>,
    is_reachable: bool,
    cursor: watch::Sender<Timestamp>,
    /// As it was written down.
    missed_since: Option<Timestamp>,
}

impl Ear {
    /// What no relay could send that is of use now is not asked for: beyond `catch_up`.
    pub(super) fn new(
        engine: Engine,
        clock: Arc<dyn Clock>,
        hearing: watch::Receiver<Hearing>,
        remembered: &DaemonState,
        catch_up: Duration,
    ) -> (Self, watch::Receiver<Timestamp>) {
        let now = clock.now();
        let DaemonState { heard_at, missed_since, .. } = *remembered;
        // Before a clock that ran ahead was set right, nothing was heard at a time to come.
        let heard_at = heard_at.map_or(now, |at| at.min(now));
        let oldest = Timestamp(now.0.saturating_sub_unsigned(catch_up.as_secs()));
        let from = missed_since.map_or(heard_at, |since| since.max(oldest).min(heard_at));
        let (cursor, asked_from) = watch::channel(from);
        (Self { engine, clock, hearing, is_reachable: false, cursor, missed_since }, asked_from)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.is_reachable
    }

    /// What was missed is here. Waiting deadlines move by the gap, in the commit that says so, before
    /// anything else moves on.
    pub(super) async fn resume(&mut self) {
        if self.write_down().await {
            self.is_reachable = true;
            tracing::info!("relays are heard");
        }
    }

    pub(super) fn lose(&mut self) {
        if std::mem::replace(&mut self.is_reachable, false) {
            tracing::warn!("no relay is heard: connecting again; waiting deadlines rest");
        }
    }

    pub(super) async fn beat(&mut self) {
        if self.is_reachable() {
            let _: bool = self.write_down().await;
        }
    }

    async fn write_down(&mut self) -> bool {
        let now = self.clock.now();
        match self.try_write_down().await {
            Ok(()) => {
                self.cursor.send_replace(now);
                true
            }
            Err(error) => {
                tracing::error!(%error, "the heartbeat could not be saved");
                false
            }
        }
    }

    /// First what was missed: a crash in between must not leave a cursor that is beyond it.
    async fn try_write_down(&mut self) -> Result<(), EngineError> {
        let missed_since = self.hearing.borrow().missed_since();
        if missed_since != self.missed_since {
            self.engine.relays_missed_since(missed_since).await?;
            self.missed_since = missed_since;
        }
        self.engine.heard().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
