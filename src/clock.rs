//! Time, as a value: it is passed to what needs it.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use trade::Timestamp;

/// Where the daemon's parts learn the time. Two implementations: the system's and a test's.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Unix time in whole seconds.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment; it never goes back, whatever happens to the wall clock.
    fn monotonic(&self) -> Duration;
}

/// By how many seconds two clocks that are read in whole seconds may differ without having been set.
const ROUNDING: u64 = 2;

/// When the monotonic clock started, by the wall clock: it changes when the wall clock is set.
#[derive(Debug, Clone, Copy)]
pub struct Epoch(i64);

impl Epoch {
    #[must_use]
    pub fn of(clock: &dyn Clock) -> Self {
        let elapsed = i64::try_from(clock.monotonic().as_secs()).unwrap_or(i64::MAX);
        Self(clock.now().0.saturating_sub(elapsed))
    }

    /// By how many seconds the wall clock was set since the last call; ahead is positive.
    pub fn update(&mut self, clock: &dyn Clock) -> i64 {
        let epoch = Self::of(clock);
        let step = epoch.0.saturating_sub(self.0);
        if step.unsigned_abs() <= ROUNDING {
            return 0;
        }
        *self = epoch;
        step
    }
}

/// The machine's own clock.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that moves only by calls, for tests.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<(Timestamp, Duration)>,
}

impl ManualClock {
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { now: Mutex::new((now, Duration::ZERO)) }
    }

    /// Lets `by` pass, on the wall clock and on the monotonic one.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        now.0 = now.0.after(by);
        now.1 += by;
    }

    /// Sets the wall clock, as an operator does or NTP; no time passes.
    pub fn set(&self, to: Timestamp) {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0 = to;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0
    }

    fn monotonic(&self) -> Duration {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1
    }
}
