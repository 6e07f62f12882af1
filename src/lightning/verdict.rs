//! What LND's answer about a hold means: one table, and nothing cleverer.
//!
//! Only statuses are judged, never an error: after any error, timeout or end of a stream nothing is
//! known, and LND is asked again. Of holds without a decision and of payments the core judges, which
//! alone knows one try of a hash from another (D20).

use trade::{HoldDecision, HoldStatus};

use super::HoldWord;

/// What LND's word about a hold, fresh after its call, says of its decision, for the core, which may
/// call a person. `None`: it is not carried out, its call is to be made again.
///
/// Not for what a stream says: that can be older than the decision, and an old OPEN is not a lost
/// escrow.
#[must_use]
pub fn of_hold(decision: HoldDecision, word: HoldWord) -> Option<HoldStatus> {
    match decision {
        HoldDecision::Cancel => match word {
            HoldWord::Open | HoldWord::Accepted => None,
            // The node is fully started and no add is under way: there is nothing to give back.
            HoldWord::Unknown | HoldWord::Canceled => Some(HoldStatus::Canceled),
            HoldWord::Settled => Some(HoldStatus::Settled),
        },
        HoldDecision::Settle => match word {
            HoldWord::Accepted => None,
            // An HTLC that was held is gone.
            HoldWord::Open | HoldWord::Canceled => Some(HoldStatus::Canceled),
            HoldWord::Unknown => Some(HoldStatus::Unknown),
            HoldWord::Settled => Some(HoldStatus::Settled),
        },
    }
}

#[cfg(test)]
mod tests;
