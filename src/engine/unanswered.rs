//! Strangers who got no answer, for the log: anybody can cause it, as often as he likes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// From one report to the next.
const REPORT: Duration = Duration::from_mins(10);

#[derive(Debug, Default)]
pub(super) struct Unanswered(Mutex<Count>);

#[derive(Debug, Default)]
struct Count {
    since_report: u64,
    reported_at: Option<Duration>,
}

impl Unanswered {
    /// Counts one message; every ten minutes they are reported.
    pub(super) fn count(&self, monotonic: Duration) {
        if let Some(messages) = self.due_report(monotonic) {
            tracing::warn!(
                messages,
                "strangers get no answer for now: too many wait. Raise `pow` if this goes on"
            );
        }
    }

    /// How many messages are to be reported now, if it is time.
    fn due_report(&self, monotonic: Duration) -> Option<u64> {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        count.since_report = count.since_report.saturating_add(1);
        let is_early = |at: Duration| monotonic.saturating_sub(at) < REPORT;
        if count.reported_at.is_some_and(is_early) {
            return None;
        }
        count.reported_at = Some(monotonic);
        Some(std::mem::take(&mut count.since_report))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: D42
    #[test]
    fn strangers_without_an_answer_are_reported_at_once_and_then_every_ten_minutes() {
        let unanswered = Unanswered::default();
        let minutes = Duration::from_mins;

        assert_eq!(unanswered.due_report(minutes(60)), Some(1));
        assert_eq!(unanswered.due_report(minutes(61)), None);
        assert_eq!(unanswered.due_report(minutes(69)), None);
        assert_eq!(unanswered.due_report(minutes(70)), Some(3));
    }
}
