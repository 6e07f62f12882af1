//! The aggregate: an order's identity, terms, parties and state; its holds and its debts.

use crate::{
    Hold, IdentityKey, Invoice, OrderId, OrderState, Outcome, PaymentHash, Payout, PayoutPurpose,
    Status, Terms, Timestamp, TradeKey,
};

/// What the maker does: a seller gives bitcoin, a buyer receives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Buy,
    Sell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Buyer,
    Seller,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub id: OrderId,
    /// Counts the saves; an assertion, not a lock.
    pub version: u64,
    pub terms: Terms,
    pub maker: Party,
    pub taker: Option<Party>,
    /// When it was taken by this taker: what the parties wrote since then is honoured at any age (D40).
    pub taken_at: Option<Timestamp>,
    /// Where the buyer wants to be paid.
    pub destination: Option<Invoice>,
    pub state: OrderState,
    /// Those that LND has not ended yet, and those that ended with this decision.
    pub holds: Vec<Hold>,
    /// One a purpose.
    pub payouts: Vec<Payout>,
}

/// One side of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    pub trade: TradeKey,
    pub identity: IdentityKey,
    /// As sent; full privacy may have none.
    pub index: Option<i64>,
}

impl Party {
    /// Whether this side gave no identity beside its trade key.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.trade.0 == self.identity.0
    }
}

impl Order {
    #[must_use]
    pub fn buyer(&self) -> Option<&Party> {
        match self.terms.kind {
            Kind::Buy => Some(&self.maker),
            Kind::Sell => self.taker.as_ref(),
        }
    }

    #[must_use]
    pub fn seller(&self) -> Option<&Party> {
        match self.terms.kind {
            Kind::Sell => Some(&self.maker),
            Kind::Buy => self.taker.as_ref(),
        }
    }

    #[must_use]
    pub fn is_party(&self, key: TradeKey) -> bool {
        self.maker.trade == key || self.taker.is_some_and(|taker| taker.trade == key)
    }

    #[must_use]
    pub fn hold(&self, hash: PaymentHash) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.hash == hash)
    }

    #[must_use]
    pub fn payout(&self, purpose: PayoutPurpose) -> Option<&Payout> {
        self.payouts.iter().find(|payout| payout.purpose == purpose)
    }

    pub(crate) fn payout_mut(&mut self, purpose: PayoutPurpose) -> Option<&mut Payout> {
        self.payouts.iter_mut().find(|payout| payout.purpose == purpose)
    }

    /// The debt that a payment hash was to pay.
    #[must_use]
    pub fn payout_with(&self, hash: PaymentHash) -> Option<&Payout> {
        self.payouts.iter().find(|payout| payout.has_attempt(hash))
    }

    /// The party that a debt is owed to.
    #[must_use]
    pub fn payee(&self, purpose: PayoutPurpose) -> Option<&Party> {
        match purpose {
            PayoutPurpose::Buyer => self.buyer(),
        }
    }

    /// Where a debt is to be paid.
    #[must_use]
    pub fn destination_of(&self, purpose: PayoutPurpose) -> Option<&Invoice> {
        match purpose {
            PayoutPurpose::Buyer => self.destination.as_ref(),
        }
    }

    /// The status the parties know.
    #[must_use]
    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// What strangers see of it.
    #[must_use]
    pub fn public_status(&self) -> PublicStatus {
        match &self.state {
            OrderState::Pending => PublicStatus::Pending,
            OrderState::PreparingHold(_)
            | OrderState::AwaitingHold { .. }
            | OrderState::AwaitingInvoice { .. }
            | OrderState::Active { .. }
            | OrderState::FiatSent { .. }
            | OrderState::Settling { .. }
            | OrderState::PayingBuyer
            | OrderState::Frozen { .. } => PublicStatus::InProgress,
            OrderState::Ended(Outcome::Success) => PublicStatus::Success,
            OrderState::Ended(Outcome::Canceled | Outcome::Expired) => PublicStatus::Canceled,
        }
    }
}

/// The `s` tag of an order's public event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublicStatus {
    Pending,
    InProgress,
    Success,
    Canceled,
}
