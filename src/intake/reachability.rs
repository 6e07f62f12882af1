//! Whether traders can reach us, since when they could not, and the cursor.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use trade::Timestamp;

use super::Ticket;
use crate::clock::{Clock, Epoch};
use crate::engine::{Engine, Write};
use crate::nostr::Subscriptions;
use crate::store::DaemonState;

/// How often it is saved that the node is reachable.
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

/// Saves the heartbeats, by which waiting deadlines are extended, and the cursor.
#[derive(Debug)]
pub(super) struct Reachability {
    engine: Engine,
    clock: Arc<dyn Clock>,
    subscriptions: watch::Receiver<Subscriptions>,
    is_reachable: bool,
    cursor: watch::Sender<Timestamp>,
    epoch: Epoch,
    /// Where the cursor moves next.
    next: Option<Next>,
}

/// Everything that relays had received at a moment has arrived; once all before the mark is finished, it
/// need not be requested again.
#[derive(Debug, Clone, Copy)]
struct Next {
    mark: Ticket,
    at: Timestamp,
    /// Since when some relay was not fully received: its events are still to be requested.
    missed_since: Option<Timestamp>,
}

/// How far back messages are honoured.
#[derive(Debug, Clone, Copy)]
pub(super) struct HonouredPeriod {
    pub(super) catch_up: Duration,
    /// When the oldest running trade began.
    pub(super) oldest_take: Option<Timestamp>,
}

impl HonouredPeriod {
    fn since(self, now: Timestamp) -> Timestamp {
        let late = Timestamp(now.0.saturating_sub_unsigned(self.catch_up.as_secs()));
        self.oldest_take.map_or(late, |taken_at| taken_at.min(late))
    }
}

/// Where the cursor starts. A saved time that is in the future was written by a wrong clock: then
/// everything that could be honoured is requested.
fn first_cursor(remembered: &DaemonState, period: HonouredPeriod, now: Timestamp) -> Timestamp {
    let oldest = period.since(now);
    let checked = |at: Timestamp| if at > now { oldest } else { at };
    let cursor = remembered.cursor.map_or(now, checked);
    remembered.missed_since.map_or(cursor, |since| checked(since).max(oldest).min(cursor))
}

impl Reachability {
    pub(super) fn new(
        engine: Engine,
        clock: Arc<dyn Clock>,
        subscriptions: watch::Receiver<Subscriptions>,
        remembered: &DaemonState,
        period: HonouredPeriod,
    ) -> (Self, watch::Receiver<Timestamp>) {
        let (cursor, receiver) = watch::channel(first_cursor(remembered, period, clock.now()));
        let epoch = Epoch::of(&*clock);
        let reachability =
            Self { engine, clock, subscriptions, is_reachable: false, cursor, epoch, next: None };
        (reachability, receiver)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.is_reachable
    }

    /// The stored events have arrived. The heartbeat also extends the waiting deadlines by the outage,
    /// in the same commit, before any message is handled.
    pub(super) async fn resume(&mut self) {
        if self.is_heartbeat_saved().await {
            self.is_reachable = true;
            tracing::info!("relays are reachable");
        }
    }

    pub(super) fn set_unreachable(&mut self) {
        if std::mem::replace(&mut self.is_reachable, false) {
            tracing::warn!("no relay is reachable: reconnecting; waiting deadlines are paused");
        }
    }

    pub(super) async fn heartbeat(&mut self) {
        self.follow_clock();
        if self.is_reachable() {
            let _: bool = self.is_heartbeat_saved().await;
        }
    }

    /// When the clock is set back, the cursor moves back with it: otherwise events would be missed that
    /// relays without a subscription receive now. When the clock is set forward, the cursor stays: then
    /// more is requested than necessary.
    fn follow_clock(&mut self) {
        let set_back = self.epoch.update(&*self.clock).saturating_neg();
        if set_back > 0 {
            let back = |at: Timestamp| Timestamp(at.0.saturating_sub(set_back));
            self.cursor.send_modify(|cursor| *cursor = back(*cursor));
            self.next = self.next.map(|next| Next {
                at: back(next.at),
                missed_since: next.missed_since.map(back),
                ..next
            });
        }
    }

    async fn is_heartbeat_saved(&self) -> bool {
        let saved = self.engine.relays_reachable().await;
        saved
            .inspect_err(|error| tracing::error!(%error, "the heartbeat could not be saved"))
            .is_ok()
    }

    /// Everything that relays had received until now has arrived, with tickets before `mark`.
    pub(super) fn mark_received(&mut self, mark: Ticket) {
        if self.is_reachable() && self.next.is_none() {
            let missed_since = self.subscriptions.borrow().missed_since();
            self.next = Some(Next { mark, at: self.clock.now(), missed_since });
        }
    }

    /// Moves the cursor if everything before it is finished.
    pub(super) async fn advance_cursor(&mut self, is_finished: impl Fn(Ticket) -> bool) {
        let Some(Next { at, missed_since, .. }) = self.next.filter(|next| is_finished(next.mark))
        else {
            return;
        };
        match self.engine.write(Write::SetCursor { at, missed_since }).await {
            Ok(()) => _ = self.cursor.send_replace(at),
            Err(error) => tracing::error!(%error, "the cursor could not be saved"),
        }
        self.next = None;
    }
}

#[cfg(test)]
mod tests;
