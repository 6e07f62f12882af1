//! Whose deadline passed? One loop over time and blocks; no job per feature. And what has been kept
//! long enough is forgotten.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use trade::{Input, Timestamp};

use crate::clock::Clock;
use crate::engine::Engine;
use crate::facts::Facts;
use crate::store::{Reader, StoreError};
use crate::tasks::Shutdown;

/// From one look to the next.
const TICK: Duration = Duration::from_secs(1);

/// Orders moved on at one look; the rest waits for the next.
const AT_ONCE: u32 = 200;

/// Of those, how many may wait for LND at the same time.
const SIDE_BY_SIDE: usize = 32;

/// Looks from one forgetting to the next: what is forgotten at once is little, so that nobody waits
/// long for the writer, and still some 860,000 rows of each table in a day.
const LOOKS_PER_FORGETTING: u32 = 10;

/// A wall clock that moved this much against the monotonic one was set, not lived through (D24).
const JUMP: Duration = Duration::from_mins(5);

/// How long deadlines rest after such a jump.
const REST: Duration = Duration::from_mins(10);

#[derive(Debug)]
pub struct Timers {
    pub reader: Reader,
    pub engine: Engine,
    pub facts: Facts,
    pub clock: Arc<dyn Clock>,
    /// How long after it was written a message is remembered.
    pub inbox_memory: Duration,
}

/// Tells a set clock from time that passed.
#[derive(Debug)]
struct JumpGuard {
    wall: Timestamp,
    monotonic: Duration,
    resting_until: Option<Duration>,
}

impl Timers {
    pub async fn run(self, mut shutdown: Shutdown) {
        let mut guard = JumpGuard::new(&*self.clock);
        let mut looks = 0_u32;
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(TICK) => {}
            }
            let rests = guard.rests(&*self.clock);
            if let Err(error) = self.look(rests).await {
                tracing::error!(%error, "due orders cannot be listed");
            }
            if !rests && looks.is_multiple_of(LOOKS_PER_FORGETTING) {
                self.forget().await;
            }
            looks = looks.wrapping_add(1);
        }
    }

    /// Moves on whatever is due by time, unless that rests, or by blocks.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn look(&self, time_rests: bool) -> Result<(), StoreError> {
        let now = if time_rests { Timestamp::default() } else { self.clock.now() };
        let height = self.reader.daemon_state().await?.height.unwrap_or_default();
        let due = self.reader.list_due(now, height, AT_ONCE).await?;
        // Side by side: a question that LND does not answer delays no other order (INV-9).
        futures::stream::iter(due)
            .for_each_concurrent(SIDE_BY_SIDE, |order| async move {
                let ask = |question| self.facts.ask(question);
                let moved = self.engine.apply_asking(order, Input::Deadline, ask).await;
                if let Err(error) = moved {
                    tracing::error!(order.id = %order, %error, "a deadline could not be acted on");
                }
            })
            .await;
        Ok(())
    }

    /// Forgets a little of what has been kept long enough. If the database does not answer, later.
    pub async fn forget(&self) {
        if let Err(error) = self.engine.forget(self.inbox_memory).await {
            tracing::warn!(%error, "nothing is forgotten for now: the database grows");
        }
    }
}

impl JumpGuard {
    fn new(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), monotonic: clock.monotonic(), resting_until: None }
    }

    /// Whether deadlines rest, as of now.
    fn rests(&mut self, clock: &dyn Clock) -> bool {
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        let lived = monotonic.saturating_sub(self.monotonic);
        let shown = wall.0.saturating_sub(self.wall.0);
        let gap = shown.abs_diff(i64::try_from(lived.as_secs()).unwrap_or(i64::MAX));
        (self.wall, self.monotonic) = (wall, monotonic);
        if gap > JUMP.as_secs() {
            tracing::error!(
                "the clock was set by {gap} s: deadlines by time rest for {REST:?}; check NTP"
            );
            self.resting_until = Some(monotonic + REST);
        }
        self.resting_until.is_some_and(|until| monotonic < until)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Wall and monotonic time, set apart.
    #[derive(Debug)]
    struct TwoClocks(Mutex<(i64, u64)>);

    impl Clock for TwoClocks {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.lock().unwrap().0)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.0.lock().unwrap().1)
        }
    }

    fn rests_after(steps: &[(i64, u64)]) -> bool {
        let clock = TwoClocks(Mutex::new((1_000_000, 100)));
        let mut guard = JumpGuard::new(&clock);
        let mut rests = false;
        for (wall, monotonic) in steps {
            *clock.0.lock().unwrap() = (*wall, *monotonic);
            rests = guard.rests(&clock);
        }
        rests
    }

    #[test]
    fn time_that_passes_on_both_clocks_stops_nothing() {
        assert!(!rests_after(&[(1_000_001, 101), (1_100_000, 100_100)]));
    }

    #[test]
    fn a_clock_that_was_set_stops_deadlines_for_ten_minutes() {
        assert!(rests_after(&[(1_000_302, 101)]), "forward");
        assert!(rests_after(&[(999_000, 101)]), "backward");
        assert!(rests_after(&[(1_086_400, 101), (1_086_999, 700)]));
        assert!(!rests_after(&[(1_086_400, 101), (1_087_000, 701)]));
    }
}
