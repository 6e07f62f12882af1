//! Whether traders can reach us, and since when they could not (D5).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use trade::Timestamp;

use crate::clock::Clock;
use crate::engine::Engine;

/// How often it is written down that we hear.
pub(super) const BEAT: Duration = Duration::from_secs(10);

/// The heartbeat row, by which deadlines rest, and the cursor.
#[derive(Debug)]
pub(super) struct Ear {
    engine: Engine,
    clock: Arc<dyn Clock>,
    is_reachable: bool,
    cursor: watch::Sender<Timestamp>,
}

impl Ear {
    pub(super) fn new(
        engine: Engine,
        clock: Arc<dyn Clock>,
        heard_at: Option<Timestamp>,
    ) -> (Self, watch::Receiver<Timestamp>) {
        // Before a clock that ran ahead was set right, nothing was heard at a time to come.
        let now = clock.now();
        let (cursor, asked_from) = watch::channel(heard_at.map_or(now, |at| at.min(now)));
        (Self { engine, clock, is_reachable: false, cursor }, asked_from)
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
        match self.engine.heard().await {
            Ok(_) => {
                self.cursor.send_replace(now);
                true
            }
            Err(error) => {
                tracing::error!(%error, "the heartbeat could not be saved");
                false
            }
        }
    }
}
