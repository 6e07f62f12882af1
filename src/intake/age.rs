//! Whether a message is honoured, by its age: judged when it is received, by its sender's clock.

use std::time::Duration;

use trade::Timestamp;

use crate::nostr::Opened;
use crate::wire::Action;

/// How old any message may be, and how far ahead it may be dated.
const FRESH: Duration = Duration::from_mins(5);

/// How much longer the id of a message is kept than the message could be honoured: the message may wait
/// for a database that does not answer.
const MEMORY_MARGIN: Duration = Duration::from_hours(3 * 24);

/// Up to how far ahead the id of a message is kept. Of a message dated further ahead nothing is kept: its
/// row would stay that long.
const REMEMBERED_AHEAD: Duration = Duration::from_hours(24);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    Honoured,
    /// From a party of a running trade, and dated so far ahead that one of the clocks must be wrong: kept
    /// in memory, and judged again once our clock is corrected.
    Early,
    /// Dated ahead, and not honoured later either. Its id is kept, because relays send it again when its
    /// time has come.
    Ahead,
    Stale(&'static str),
}

/// `taken_at` is when the sender's running trade began: a message that helps it is honoured at any age
/// since then.
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
            _ => Age::Stale("dated too far ahead"),
        };
    }
    let age = received_at.since(written_at);
    // The sender's clock may be behind ours.
    let is_of_this_trade = taken_at.is_some_and(|taken_at| taken_at <= written_at.after(FRESH));
    if age <= FRESH || (helps && (age <= longest(catch_up) || is_of_this_trade)) {
        Age::Honoured
    } else if helps {
        Age::Stale("older than inbox_catch_up_hours and than the trade")
    } else {
        Age::Stale("too old for its action")
    }
}

/// How long after a message was written its id must be kept: an older message is not honoured, unless it
/// was written since the oldest running trade began.
#[must_use]
pub fn memory(catch_up: Duration) -> Duration {
    longest(catch_up).saturating_add(MEMORY_MARGIN)
}

/// The oldest age that is honoured for any action, except in a running trade.
fn longest(catch_up: Duration) -> Duration {
    catch_up.max(FRESH)
}

/// Messages that arrived together are handled in the order in which they were written; in the same
/// second a `fiat-sent` comes first, because a `release` may follow it.
pub(super) fn sort_key(opened: &Opened) -> (Timestamp, bool) {
    (opened.created_at, opened.message.body.action != Action::FiatSent)
}
