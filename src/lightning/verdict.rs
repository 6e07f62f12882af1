//! What LND's answer about a hold means: one table, and nothing cleverer.
//!
//! Only statuses are judged, never an error: after any error, timeout or end of a stream nothing is
//! known, and LND is asked again. Of payments the core judges, which alone knows one try of a hash
//! from another (D20).

use trade::{Hold, HoldDecision, HoldStatus, Seen};

/// What is left to do about a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldVerdict {
    /// LND never had it: add it, unless that is under way.
    AddAgain,
    /// The decision is not carried out: make its call again.
    CallAgain,
    /// There is nothing to repeat. The core is told this, and may call a person.
    Report(HoldStatus),
}

/// Judges a fresh look-up of `hold`, given what was decided about it.
///
/// Not for what a stream says: that can be older than the decision, and an old OPEN is not a lost
/// escrow.
#[must_use]
pub fn of_hold(hold: &Hold, status: HoldStatus) -> HoldVerdict {
    use HoldStatus::{Accepted, Canceled, Open, Settled, Unknown};
    use HoldVerdict::{AddAgain, CallAgain, Report};

    match hold.decision {
        None => match status {
            Unknown if !is_acknowledged(hold) => AddAgain,
            // Acknowledged and forgotten, or settled without us: the core freezes.
            Unknown | Open | Accepted { .. } | Canceled | Settled => Report(status),
        },
        Some(HoldDecision::Cancel) => match status {
            Open | Accepted { .. } => CallAgain,
            // The node is fully started and no add is under way: there is nothing to give back.
            Unknown | Canceled => Report(Canceled),
            Settled => Report(Settled),
        },
        Some(HoldDecision::Settle) => match status {
            Accepted { .. } => CallAgain,
            // An HTLC that was held is gone.
            Open | Canceled => Report(Canceled),
            Unknown | Settled => Report(status),
        },
    }
}

fn is_acknowledged(hold: &Hold) -> bool {
    hold.bolt11.is_some() || hold.seen != Seen::Wanted
}

#[cfg(test)]
mod tests;
