//! One hold invoice: wanted, open, accepted, the write-once decision, what LND says at last.
//!
//! An order that returns to the book and is taken again has several over its life. Giving sats
//! back is a debt of the hold, not a state of the order (D16, INV-3). What LND's word about a hold
//! means for the order depends on the purpose of the hold first, and then on the order's state.

use crate::{BlockHeight, Msats, PaymentHash, Preimage, Sats};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub hash: PaymentHash,
    /// On disk before LND hears of the hash (E1).
    pub preimage: Preimage,
    pub purpose: HoldPurpose,
    /// What its payer is asked for.
    pub amount: Sats,
    /// LND's invoice; its presence is the acknowledgement that LND has the hash.
    pub bolt11: Option<String>,
    pub seen: Seen,
    pub decision: Option<HoldDecision>,
}

/// What a hold is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldPurpose {
    /// The seller's sats, for the buyer.
    Escrow,
}

/// The furthest LND was seen to be with a hold. Only ever moves on; older news is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    Wanted,
    Open,
    Accepted { paid: Msats, expires_at: BlockHeight },
    Canceled,
    Settled,
}

/// Written once, in the commit that authorises it, and never changed (E2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldDecision {
    Settle,
    Cancel,
}

/// Whether an escrow that cannot be seen in its channels is settled (D23).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EscrowEvidence {
    Required,
    /// One that is seen to be gone is not settled all the same.
    Waived,
}

/// What LND says of a hash when asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldStatus {
    /// LND has no such invoice.
    Unknown,
    Open,
    /// `paid` is what is really there (D33), `expires_at` the lowest expiry height over the accepted
    /// parts (E4).
    Accepted {
        paid: Msats,
        expires_at: BlockHeight,
    },
    Settled,
    Canceled,
}

/// An escrow that was seen accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub hash: PaymentHash,
    pub paid: Msats,
    pub expires_at: BlockHeight,
}

impl Held {
    pub(crate) fn seen(self) -> Seen {
        Seen::Accepted { paid: self.paid, expires_at: self.expires_at }
    }
}

impl Hold {
    #[must_use]
    pub fn wanted(secret: HoldSecret, purpose: HoldPurpose, amount: Sats) -> Self {
        let HoldSecret { hash, preimage } = secret;
        Self { hash, preimage, purpose, amount, bolt11: None, seen: Seen::Wanted, decision: None }
    }

    /// What must be seen of the escrow before LND is asked to settle it. LND settles what it has given
    /// back without our knowing; but from the margin on, waiting for a look loses it for certain (D23).
    #[must_use]
    pub fn evidence(&self, height: BlockHeight, margin: u32) -> EscrowEvidence {
        match self.seen {
            Seen::Accepted { expires_at, .. } if expires_at.before(margin) <= height => {
                EscrowEvidence::Waived
            }
            Seen::Accepted { .. } | Seen::Wanted | Seen::Open | Seen::Canceled | Seen::Settled => {
                EscrowEvidence::Required
            }
        }
    }

    /// Whether LND has said its last word. A closed hold needs no watching.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.seen, Seen::Canceled | Seen::Settled)
    }
}

/// A preimage drawn by the shell, and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldSecret {
    pub hash: PaymentHash,
    pub preimage: Preimage,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::fixture::{EXPIRES_AT, GUARD, Story};

    // spec: D23 E2
    #[test]
    fn an_escrow_must_be_seen_before_it_is_settled_until_it_reaches_its_margin() {
        let story = Story::settling(Kind::Sell);
        let hold = story.order.holds.first().expect("a hold");
        let evidence = |height| hold.evidence(height, 24);

        assert_eq!(evidence(GUARD.before(1)), EscrowEvidence::Required);
        assert_eq!(evidence(GUARD), EscrowEvidence::Waived);
        assert_eq!(evidence(EXPIRES_AT), EscrowEvidence::Waived);
        let unseen = Hold { seen: Seen::Open, ..hold.clone() };
        assert_eq!(unseen.evidence(EXPIRES_AT, 24), EscrowEvidence::Required);
    }
}
