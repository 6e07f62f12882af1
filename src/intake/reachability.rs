//! Whether traders can reach us, and since when they could not (D5).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use trade::Timestamp;

use super::Ticket;
use crate::clock::Clock;
use crate::engine::{Engine, Write};
use crate::nostr::Subscriptions;
use crate::store::DaemonState;

/// How often it is written down that we hear.
pub(super) const BEAT: Duration = Duration::from_secs(10);

/// Two clocks read in whole seconds differ by so many without having been set.
const ROUNDING: i64 = 2;

/// The heartbeat row, by which deadlines rest, and the cursor.
#[derive(Debug)]
pub(super) struct Reachability {
    engine: Engine,
    clock: Arc<dyn Clock>,
    subscriptions: watch::Receiver<Subscriptions>,
    is_reachable: bool,
    cursor: watch::Sender<Timestamp>,
    /// What the wall clock showed at the start of the monotonic one, when both were last looked at.
    epoch: i64,
    /// What the cursor moves on to next.
    next: Option<Next>,
}

/// Everything that relays had at a moment has arrived; once all before the mark has come to its end,
/// relays need not be asked for it again (D42).
#[derive(Debug, Clone, Copy)]
struct Next {
    mark: Ticket,
    at: Timestamp,
    /// What one of the relays has kept that was not heard in full, is still to be asked for.
    missed_since: Option<Timestamp>,
}

/// What is of use now, of what relays may have kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Useful {
    pub(super) catch_up: Duration,
    /// When the oldest running trade began.
    pub(super) oldest_take: Option<Timestamp>,
}

impl Useful {
    fn since(self, now: Timestamp) -> Timestamp {
        let late = Timestamp(now.0.saturating_sub_unsigned(self.catch_up.as_secs()));
        self.oldest_take.map_or(late, |taken_at| taken_at.min(late))
    }
}

/// From when on relays are asked at a start. A time that lies ahead was written by a clock that was
/// wrong: it says nothing, and everything of use is asked for.
fn asked_from(remembered: &DaemonState, useful: Useful, now: Timestamp) -> Timestamp {
    let oldest = useful.since(now);
    let believed = |at: Timestamp| if at > now { oldest } else { at };
    let cursor = remembered.cursor.map_or(now, believed);
    remembered.missed_since.map_or(cursor, |since| believed(since).max(oldest).min(cursor))
}

fn epoch(clock: &dyn Clock) -> i64 {
    let lived = i64::try_from(clock.monotonic().as_secs()).unwrap_or(i64::MAX);
    clock.now().0.saturating_sub(lived)
}

impl Reachability {
    /// What no relay could send that is of use now is not asked for.
    pub(super) fn new(
        engine: Engine,
        clock: Arc<dyn Clock>,
        subscriptions: watch::Receiver<Subscriptions>,
        remembered: &DaemonState,
        useful: Useful,
    ) -> (Self, watch::Receiver<Timestamp>) {
        let (cursor, asked_from) = watch::channel(asked_from(remembered, useful, clock.now()));
        let epoch = epoch(&*clock);
        let reachability =
            Self { engine, clock, subscriptions, is_reachable: false, cursor, epoch, next: None };
        (reachability, asked_from)
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

    /// What was missed is here. Waiting deadlines move by the gap, in the commit that says so, before
    /// anything else moves on.
    pub(super) async fn resume(&mut self) {
        if self.is_written_down().await {
            self.is_reachable = true;
            tracing::info!("relays are reachable");
        }
    }

    pub(super) fn lose(&mut self) {
        if std::mem::replace(&mut self.is_reachable, false) {
            tracing::warn!("no relay is reachable: reconnecting; waiting deadlines are paused");
        }
    }

    pub(super) async fn beat(&mut self) {
        self.follow_the_clock();
        if self.is_reachable() {
            let _: bool = self.is_written_down().await;
        }
    }

    /// A clock that is set back takes the cursor back with it: relays that are not heard at this moment
    /// are still to be asked for what was written since it was read (D41). One that is set forward
    /// leaves it where it is: then more is asked for.
    fn follow_the_clock(&mut self) {
        let epoch = epoch(&*self.clock);
        let set_back = std::mem::replace(&mut self.epoch, epoch).saturating_sub(epoch);
        if set_back > ROUNDING {
            let back = |at: Timestamp| Timestamp(at.0.saturating_sub(set_back));
            self.cursor.send_modify(|cursor| *cursor = back(*cursor));
            self.next = self.next.map(|next| Next {
                at: back(next.at),
                missed_since: next.missed_since.map(back),
                ..next
            });
        }
    }

    async fn is_written_down(&self) -> bool {
        let written = self.engine.relays_reachable().await;
        written
            .inspect_err(|error| tracing::error!(%error, "the heartbeat could not be saved"))
            .is_ok()
    }

    /// Everything that relays had until now has arrived, before `mark`.
    pub(super) fn has_all_before(&mut self, mark: Ticket) {
        if self.is_reachable() && self.next.is_none() {
            let missed_since = self.subscriptions.borrow().missed_since();
            self.next = Some(Next { mark, at: self.clock.now(), missed_since });
        }
    }

    /// Moves the cursor on if all before it has come to its end.
    pub(super) async fn move_on(&mut self, has_ended: impl Fn(Ticket) -> bool) {
        let Some(Next { at, missed_since, .. }) = self.next.filter(|next| has_ended(next.mark))
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
