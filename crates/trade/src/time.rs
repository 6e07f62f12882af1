//! Moments and block heights. The core never reads a clock: both arrive as arguments.

use std::time::Duration;

use crate::Day;

const SECONDS_PER_DAY: i64 = 86_400;

/// Unix time in seconds, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// The height of a block of our node's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BlockHeight(pub u32);

impl Timestamp {
    /// The moment `wait` after this one, whole seconds, saturating.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(wait.as_secs()))
    }

    /// The day of UTC that this moment lies in.
    #[must_use]
    pub fn day(self) -> Day {
        Day(self.0.div_euclid(SECONDS_PER_DAY))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let seconds = self.0.saturating_sub(earlier.0);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }
}

impl BlockHeight {
    /// The height `blocks` below this one, zero at the lowest.
    #[must_use]
    pub fn before(self, blocks: u32) -> Self {
        Self(self.0.saturating_sub(blocks))
    }

    /// The height `blocks` above this one, saturating.
    #[must_use]
    pub fn above(self, blocks: u32) -> Self {
        Self(self.0.saturating_add(blocks))
    }
}
