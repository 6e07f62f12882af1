//! What cannot be done now: when it is tried again, and what the log says of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The first wait after a failure; doubled with every further one.
pub const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The longest time from one try to the next.
pub const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// Doubled from [`FIRST_RETRY`] with each failure, up to [`LONGEST_RETRY`].
#[must_use]
pub fn backoff(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << failures.min(10)).min(LONGEST_RETRY)
}

/// What keeps something from being done, as far as it is worth a line of its own in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A relay, LND or the database is away.
    Away,
    /// It was refused.
    Refused,
    /// Something of ours is wrong, and stays so until somebody looks.
    Ours,
}

/// What does not work and was reported: once for each trouble, not at every try.
#[derive(Debug)]
pub struct Reported<Id>(Mutex<BTreeMap<Id, Trouble>>);

impl<Id: Ord> Reported<Id> {
    /// Whether this trouble is to be reported: it is another one than before.
    pub fn is_news(&self, id: Id, trouble: Trouble) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, trouble) != Some(trouble)
    }

    /// Whether there was trouble that is over now.
    pub fn is_over(&self, id: &Id) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id).is_some()
    }
}

impl<Id> Default for Reported<Id> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
