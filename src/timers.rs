//! One loop over time and blocks: orders whose deadline has passed are moved on, and what has been kept
//! long enough is deleted.

mod reminder;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::JoinMap;
use trade::{Alarm, Input, OrderId, Question, Timestamp};

use crate::clock::Clock;
use crate::engine::{Applied, Engine, EngineError, Write, is_reachable};
use crate::facts::Facts;
use crate::lightning::{ClockIs, Health};
use crate::store::{Reader, StoreError};

pub use reminder::Reminder;

/// The interval of the loop.
const TICK: Duration = Duration::from_secs(1);

/// Orders moved on at one tick; the others wait for the next.
const AT_ONCE: u32 = 200;

/// How many of them are applied at the same time; and how many may wait for LND.
const SIDE_BY_SIDE: usize = 32;

/// How long an order waits whose question had no answer, or none that moved it.
const UNANSWERED_PAUSE: Duration = Duration::from_secs(10);

/// Orders that may ask or wait; those beyond are tried again at the next tick.
const MOST_ASKING: usize = 2_000;

/// Ticks from one deletion to the next. Little is deleted at once, so that nobody waits long for the
/// writer, and still some 860,000 rows of each table in a day.
const TICKS_PER_DELETION: u32 = 10;

/// A wall clock that moved this much against the monotonic one was set (D24).
const JUMP: Duration = Duration::from_mins(5);

/// How often stored times are corrected although no jump was seen.
const CORRECTED_EVERY: Duration = Duration::from_mins(10);

/// How long deadlines do not run after such a jump.
const PAUSE: Duration = Duration::from_mins(10);

#[derive(Debug)]
pub struct Timers {
    pub reader: Reader,
    pub engine: Engine,
    pub facts: Facts,
    pub clock: Arc<dyn Clock>,
    /// Of LND, whose chain confirms the clock.
    pub health: Health,
    /// How long after it was written the id of a message is kept.
    pub inbox_memory: Duration,
}

/// The orders that LND is asked about, or was asked about without an answer.
#[derive(Debug)]
struct Asking {
    tasks: JoinMap<OrderId, ()>,
    turns: Arc<Semaphore>,
}

/// Tells a clock that was set from time that passed.
#[derive(Debug)]
pub struct JumpGuard {
    wall: Timestamp,
    monotonic: Duration,
    paused_until: Option<Duration>,
    /// Whether times that a wrong clock wrote may lie ahead: at the start, and once the clock was set,
    /// until all of them are corrected.
    was_set: bool,
    /// When stored times were last corrected, as far as they could be.
    corrected_at: Duration,
}

impl Timers {
    pub async fn run(self, shutdown: CancellationToken) {
        let timers = Arc::new(self);
        let mut guard = JumpGuard::new(&*timers.clock);
        let mut asking = Asking::default();
        let mut ticks = 0_u32;
        let mut clock_was = ClockIs::Unknown;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(TICK) => {}
            }
            let is_paused = timers.watch_clock(&mut guard).await;
            match timers.look(is_paused, &asking.orders()).await {
                Ok(asks) => asks.into_iter().for_each(|ask| asking.start(&timers, ask)),
                Err(error) => {
                    tracing::error!(
                        error = crate::error_chain(&error),
                        "due orders cannot be listed"
                    );
                    if error.is_fatal() {
                        return; // that ends the daemon
                    }
                }
            }
            if !is_paused && ticks.is_multiple_of(TICKS_PER_DELETION) {
                timers.forget().await;
            }
            ticks = ticks.wrapping_add(1);
            let clock_is = timers.clock_is();
            if clock_is != clock_was && clock_is == ClockIs::Doubtful {
                tracing::error!("ALARM: {}", Alarm::ClockDoubtful);
            }
            clock_was = clock_is;
        }
    }

    /// Moves on the orders that are due by time, unless `time_is_paused`, or by blocks, without those in
    /// `asking`.
    ///
    /// Returns the orders that have to ask LND first, and what: see [`Timers::ask`]. It does not wait for
    /// LND, so that an LND that does not answer delays no other order (INV-9).
    pub async fn look(
        &self,
        time_is_paused: bool,
        asking: &HashSet<OrderId>,
    ) -> Result<Vec<(OrderId, Question)>, StoreError> {
        let now = if time_is_paused { Timestamp::default() } else { self.clock.now() };
        let state = self.reader.daemon_state().await?;
        let (height, is_reachable) = (state.height.unwrap_or_default(), is_reachable(&state, now));
        // Those are among the ones that are due.
        let limit = AT_ONCE.saturating_add(u32::try_from(asking.len()).unwrap_or(u32::MAX));
        let due = self.reader.list_due(now, height, is_reachable, limit).await?;
        let due = due.into_iter().filter(|order| !asking.contains(order));
        let asks = futures::stream::iter(due)
            .map(|order| async move {
                match self.engine.apply(order, Input::Deadline).await {
                    Ok(Applied::Asks(question)) => Some((order, question)),
                    Ok(_) => None,
                    Err(error) => {
                        not_moved(order, &error);
                        None
                    }
                }
            })
            .buffer_unordered(SIDE_BY_SIDE);
        Ok(asks.filter_map(std::future::ready).collect().await)
    }

    /// Moves an order on with LND's answer. False: there was none, or none that moved it.
    pub async fn ask(&self, order: OrderId, question: Question) -> bool {
        let ask = |question| self.facts.ask(question);
        match self.engine.apply_asking(order, Input::Deadline, question, ask).await {
            Ok(applied) => !matches!(applied, Applied::Asks(_) | Applied::Unchanged),
            Err(error) => {
                not_moved(order, &error);
                false
            }
        }
    }

    /// What LND's chain says of the clock.
    fn clock_is(&self) -> ClockIs {
        let health = self.health.borrow();
        health.as_ref().map_or(ClockIs::Unknown, |readiness| readiness.judges(self.clock.now()))
    }

    /// Whether deadlines by time do not run, because the clock was set. Stored times that a wrong clock
    /// wrote are corrected at the start and after the clock was set; every few minutes as well, because
    /// a clock can be set twice between two ticks.
    pub async fn watch_clock(&self, guard: &mut JumpGuard) -> bool {
        let is_paused = guard.is_paused(&*self.clock);
        let since_corrected = guard.monotonic.saturating_sub(guard.corrected_at);
        if guard.was_set || since_corrected >= CORRECTED_EVERY {
            guard.was_set &= !self.correct_times().await;
            guard.corrected_at = guard.monotonic;
        }
        is_paused
    }

    /// Times that a clock which ran ahead has written are brought back: our own retries at once, the
    /// times of orders once LND's chain confirms the clock (D41). True: all of them were.
    async fn correct_times(&self) -> bool {
        match self.try_to_correct_times().await {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!(%error, "times that a wrong clock wrote could not be corrected yet");
                false
            }
        }
    }

    async fn try_to_correct_times(&self) -> Result<bool, EngineError> {
        self.engine.write(Write::RetryWhatLiesAhead).await?;
        let is_confirmed = self.clock_is() == ClockIs::Confirmed;
        if is_confirmed {
            self.engine.clock_corrected().await?;
        }
        Ok(is_confirmed)
    }

    /// Deletes a little of what has been kept long enough, by a clock that LND's chain confirms: by a
    /// wrong one everything would be deleted.
    pub async fn forget(&self) {
        if self.clock_is() != ClockIs::Confirmed {
            return;
        }
        let inbox_memory = self.inbox_memory;
        if let Err(error) = self.engine.write(Write::Forget { inbox_memory }).await {
            tracing::warn!(%error, "nothing is deleted for now: the database grows");
        }
    }
}

impl Default for Asking {
    fn default() -> Self {
        let turns = Arc::new(Semaphore::new(SIDE_BY_SIDE));
        Self { tasks: JoinMap::new(), turns }
    }
}

impl Asking {
    /// Those that ask now, wait for their turn, or wait after an answer that did not move them.
    fn orders(&mut self) -> HashSet<OrderId> {
        while let Some((_, ended)) = self.tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "asking about a deadline panicked; it is asked again");
            }
        }
        self.tasks.keys().copied().collect()
    }

    fn start(&mut self, timers: &Arc<Timers>, (order, question): (OrderId, Question)) {
        if self.tasks.len() >= MOST_ASKING || self.tasks.contains_key(&order) {
            return;
        }
        let (timers, turns) = (Arc::clone(timers), Arc::clone(&self.turns));
        self.tasks.spawn(order, async move {
            let turn = turns.acquire().await;
            let has_moved = timers.ask(order, question).await;
            drop(turn);
            if !has_moved {
                tokio::time::sleep(UNANSWERED_PAUSE).await;
            }
        });
    }
}

fn not_moved(order: OrderId, error: &EngineError) {
    tracing::error!(order.id = %order, %error, "a deadline could not be acted on");
}

impl JumpGuard {
    #[must_use]
    pub fn new(clock: &dyn Clock) -> Self {
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        Self { wall, monotonic, paused_until: None, was_set: true, corrected_at: monotonic }
    }

    /// Whether deadlines do not run now.
    fn is_paused(&mut self, clock: &dyn Clock) -> bool {
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        let lived = monotonic.saturating_sub(self.monotonic);
        let shown = wall.0.saturating_sub(self.wall.0);
        let gap = shown.abs_diff(i64::try_from(lived.as_secs()).unwrap_or(i64::MAX));
        (self.wall, self.monotonic) = (wall, monotonic);
        if gap > JUMP.as_secs() {
            tracing::error!(
                "the clock was set by {gap} s: deadlines by time are paused for {PAUSE:?}; check NTP"
            );
            self.paused_until = Some(monotonic + PAUSE);
            self.was_set = true;
        }
        self.paused_until.is_some_and(|until| monotonic < until)
    }
}

#[cfg(test)]
mod tests;
