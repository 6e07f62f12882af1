//! What failed: when it is retried, and what the log says of it.

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

/// Why something failed, as far as the log makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A relay, LND or the database does not answer.
    Away,
    /// It was refused.
    Refused,
    /// A fault of ours, which stays until a person acts.
    Ours,
}

/// What fails and was reported: once for each kind of trouble, not at every try.
#[derive(Debug)]
pub struct Reported<Id>(Mutex<BTreeMap<Id, Trouble>>);

impl<Id: Ord> Reported<Id> {
    /// Whether this trouble is to be reported: it is not the one that was reported last.
    pub fn is_news(&self, id: Id, trouble: Trouble) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, trouble) != Some(trouble)
    }

    /// Whether trouble was reported; it is over now.
    pub fn is_over(&self, id: &Id) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id).is_some()
    }
}

impl<Id> Default for Reported<Id> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
