//! Is a message still to be honoured? Judged when it is received, by its sender's clock (D5).

use std::time::Duration;

use trade::Timestamp;

use crate::nostr::Opened;
use crate::wire::Action;

/// How old a message may be, or how far ahead its sender's clock.
const FRESH: Duration = Duration::from_mins(5);

/// How much longer than it could be honoured a message is remembered: it may wait for a database that
/// does not answer, and what relays repeat, gift wraps for two days, is known without being opened.
const SPARE: Duration = Duration::from_hours(3 * 24);

/// How far ahead a message may be dated whose id is remembered. What lies further ahead leaves nothing:
/// a row would stay for as long.
const REMEMBERED_AHEAD: Duration = Duration::from_hours(24);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    Honoured,
    /// From a party of a running trade, dated so far ahead that it can only be our clock, or theirs:
    /// to be judged again once that is set right.
    Early,
    /// Not now, and never: nobody wants it done when its time has come. Its id is remembered, because
    /// relays send it again then.
    Ahead,
    Stale(&'static str),
}

/// `taken_at` is when the running trade began that its sender is a party of: what helps that is
/// honoured at any age since then (D40).
pub(super) fn judge(
    opened: &Opened,
    received_at: Timestamp,
    catch_up: Duration,
    taken_at: Option<Timestamp>,
) -> Age {
    let (written_at, helps) = (opened.created_at, opened.message.body.action.is_honoured_late());
    if written_at > received_at.after(FRESH) {
        let ahead = written_at.since(received_at);
        return match helps {
            true if ahead <= longest(catch_up) => Age::Honoured,
            true if taken_at.is_some() => Age::Early,
            _ if ahead <= REMEMBERED_AHEAD => Age::Ahead,
            _ => Age::Stale("its date lies far ahead"),
        };
    }
    let age = received_at.since(written_at);
    let is_of_this_trade = taken_at.is_some_and(|taken_at| taken_at <= written_at);
    if age <= FRESH || (helps && (age <= longest(catch_up) || is_of_this_trade)) {
        Age::Honoured
    } else if helps {
        Age::Stale("older than inbox_catch_up_hours, and than the trade")
    } else {
        Age::Stale("too old for what it asks")
    }
}

/// How long after it was written a message must be remembered: whatever is older, and than the oldest
/// running trade, is not honoured.
#[must_use]
pub fn memory(catch_up: Duration) -> Duration {
    longest(catch_up).saturating_add(SPARE)
}

/// Nothing older is honoured, whatever it asks, but for what concerns a running trade.
fn longest(catch_up: Duration) -> Duration {
    catch_up.max(FRESH)
}

/// What came in together is handled in the order it was written; in the same second a `fiat-sent`
/// comes first, for the `release` that may follow it (D5).
pub(super) fn turn(opened: &Opened) -> (Timestamp, bool) {
    (opened.created_at, opened.message.body.action != Action::FiatSent)
}
