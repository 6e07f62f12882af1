//! What LND's answer about a hold means: one table, and nothing cleverer.
//!
//! Only states are judged, never an error: after an error, a timeout or the end of a stream nothing is
//! known, and LND is asked again. Holds without a decision and payments are judged by the core, which
//! alone can tell one try of a hash from another.

use trade::{HoldDecision, HoldStatus};

use super::InvoiceState;

/// What the state of a hold, looked up after the call that its decision asks for, says of the decision.
/// `None`: it is not carried out, the call is to be made again.
///
/// Not for what a stream says: that can be older than the decision, and an old OPEN is not a lost
/// escrow.
#[must_use]
pub fn of_hold(decision: HoldDecision, state: InvoiceState) -> Option<HoldStatus> {
    match decision {
        HoldDecision::Cancel => match state {
            InvoiceState::Open | InvoiceState::Accepted => None,
            // The node is fully started and no call that adds it is under way: there is nothing to give
            // back.
            InvoiceState::Unknown | InvoiceState::Canceled => Some(HoldStatus::Canceled),
            InvoiceState::Settled => Some(HoldStatus::Settled),
        },
        HoldDecision::Settle => match state {
            InvoiceState::Accepted => None,
            // The HTLC that was held is gone.
            InvoiceState::Open | InvoiceState::Canceled => Some(HoldStatus::Canceled),
            InvoiceState::Unknown => Some(HoldStatus::Unknown),
            InvoiceState::Settled => Some(HoldStatus::Settled),
        },
    }
}

#[cfg(test)]
mod tests;
