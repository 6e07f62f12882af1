//! What LND's answer about a hash means: two tables, and nothing cleverer.
//!
//! Only statuses are judged, never the text or code of an error: after any error, timeout or end of
//! a stream nothing is known (`None`), and LND is asked again.

use trade::{Attempt, Hold, HoldDecision, HoldStatus, PaymentStatus, Seen};

/// What is left to do about a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldVerdict {
    /// Nothing is known.
    AskAgain,
    /// LND never had it: add it, unless that is under way.
    AddAgain,
    /// The decision is not carried out: make its call again.
    CallAgain,
    /// There is nothing to repeat. The core is told this, and may call a person.
    Report(HoldStatus),
}

/// What is left to do about a payment that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentVerdict {
    /// Nothing is known.
    AskAgain,
    /// LND does not know this try: send it. LND takes one payment per hash, so twice is once.
    Send,
    /// Nothing is to be sent. The core is told this, and may call a person.
    Report(PaymentStatus),
}

/// Judges a fresh look-up of `hold`, given what was decided about it.
///
/// Not for what a stream says: that can be older than the decision, and an old OPEN is not a lost
/// escrow.
#[must_use]
pub fn of_hold(hold: &Hold, answer: Option<HoldStatus>) -> HoldVerdict {
    use HoldStatus::{Accepted, Canceled, Open, Settled, Unknown};
    use HoldVerdict::{AddAgain, AskAgain, CallAgain, Report};

    let Some(status) = answer else {
        return AskAgain;
    };
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

/// Judges what LND says of the hash of `attempt` when a send of it is to be made.
///
/// Look before every send: the one at hand may be the second copy of one whose answer was lost, and
/// what that did is the answer to this one. Only what concerns *this* try counts, all else is as
/// good as nothing (D20).
#[must_use]
pub fn of_payment(attempt: &Attempt, answer: Option<PaymentStatus>) -> PaymentVerdict {
    let Some(status) = answer else {
        return PaymentVerdict::AskAgain;
    };
    let is_of_this_try = match status {
        PaymentStatus::Unknown => false,
        PaymentStatus::Succeeded { .. } => true,
        PaymentStatus::Failed { index, .. } if attempt.acked => index == attempt.payment_index,
        PaymentStatus::InFlight { index } | PaymentStatus::Failed { index, .. } => {
            index > attempt.base_index
        }
    };
    if is_of_this_try {
        PaymentVerdict::Report(status)
    } else if attempt.acked {
        // LND knew it and has forgotten it: the core freezes.
        PaymentVerdict::Report(PaymentStatus::Unknown)
    } else {
        PaymentVerdict::Send
    }
}

fn is_acknowledged(hold: &Hold) -> bool {
    hold.bolt11.is_some() || hold.seen != Seen::Wanted
}

#[cfg(test)]
mod tests;
