//! What LND's answer about a hold means: one table, and nothing cleverer.
//!
//! Only statuses are judged, never an error: after any error, timeout or end of a stream nothing is
//! known, and LND is asked again. Of holds without a decision and of payments the core judges, which
//! alone knows one try of a hash from another (D20).

use trade::{HoldDecision, HoldStatus};

/// What a fresh look-up of a hold says of its decision, for the core, which may call a person.
/// `None`: it is not carried out, its call is to be made again.
///
/// Not for what a stream says: that can be older than the decision, and an old OPEN is not a lost
/// escrow.
#[must_use]
pub fn of_hold(decision: HoldDecision, status: HoldStatus) -> Option<HoldStatus> {
    use HoldStatus::{Accepted, Canceled, Open, Settled, Unknown};

    match decision {
        HoldDecision::Cancel => match status {
            Open | Accepted { .. } => None,
            // The node is fully started and no add is under way: there is nothing to give back.
            Unknown | Canceled => Some(Canceled),
            Settled => Some(Settled),
        },
        HoldDecision::Settle => match status {
            Accepted { .. } => None,
            // An HTLC that was held is gone.
            Open | Canceled => Some(Canceled),
            Unknown | Settled => Some(status),
        },
    }
}

#[cfg(test)]
mod tests;
