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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    Honoured,
    /// Not yet, and never: nobody wants it done when its time has come.
    Ahead,
    Stale(&'static str),
}

pub(super) fn judge(opened: &Opened, received_at: Timestamp, catch_up: Duration) -> Age {
    let (written_at, action) = (opened.created_at, opened.message.body.action);
    if written_at > received_at.after(FRESH) {
        return Age::Ahead;
    }
    let age = received_at.since(written_at);
    if age > longest(catch_up) {
        Age::Stale("older than inbox_catch_up_hours")
    } else if age <= FRESH || helps_a_running_trade(action) {
        Age::Honoured
    } else {
        Age::Stale("too old for what it asks")
    }
}

/// How long after it was written a message must be remembered: whatever is older is not honoured.
#[must_use]
pub fn memory(catch_up: Duration) -> Duration {
    longest(catch_up).saturating_add(SPARE)
}

/// Nothing older is honoured, whatever it asks.
fn longest(catch_up: Duration) -> Duration {
    catch_up.max(FRESH)
}

/// What came in together is handled in the order it was written; in the same second a `fiat-sent`
/// comes first, for the `release` that may follow it (D5).
pub(super) fn turn(opened: &Opened) -> (Timestamp, bool) {
    (opened.created_at, opened.message.body.action != Action::FiatSent)
}

/// Nobody wants to be matched an hour later; but a trade that runs wants to go on.
fn helps_a_running_trade(action: Action) -> bool {
    matches!(
        action,
        Action::FiatSent
            | Action::Release
            | Action::Cancel
            | Action::Dispute
            | Action::AddInvoice
            | Action::RateUser
            | Action::TradePubkey
            | Action::AdminCancel
            | Action::AdminSettle
            | Action::AdminAddSolver
            | Action::AdminTakeDispute
    )
}
