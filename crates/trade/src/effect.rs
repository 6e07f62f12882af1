//! What the shell must do once a decision is committed. Imperatives; each may be done twice.

use std::time::Duration;

use crate::{
    Cause, Day, FrozenBecause, IdentityKey, Msats, Notice, Order, OrderId, PaymentHash, Sats,
    TradeKey,
};

/// Commit all of it in one transaction, then act on `effects`.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub order: Order,
    pub effects: Vec<Effect>,
    /// What it does to the ledger; debits equal credits.
    pub postings: Vec<Posting>,
    pub account: Option<AccountChange>,
    /// What later decisions, also of other orders, are to know.
    pub notes: Vec<Note>,
    /// An order that comes into being with it, and what its birth asks for.
    pub child: Option<Box<Decision>>,
    /// For the journal.
    pub cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Lightning(LnCommand),
    Notify {
        to: TradeKey,
        /// Echoed to the requester only (D14).
        request_id: Option<u64>,
        trade_index: Option<i64>,
        notice: Notice,
    },
    Alarm(Alarm),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LnCommand {
    AddHold {
        hash: PaymentHash,
        amount: Sats,
        expiry: Duration,
        cltv_delta: u32,
        memo: String,
    },
    /// The preimage stays with the hold.
    SettleHold {
        hash: PaymentHash,
    },
    CancelHold {
        hash: PaymentHash,
    },
    /// The invoice and the limits stay with the attempt. The one command that is not repeated: that
    /// its call begins is saved first, and a call that was begun is asked about (P1, P5).
    SendPayout {
        hash: PaymentHash,
    },
}

impl LnCommand {
    #[must_use]
    pub fn hash(&self) -> PaymentHash {
        match self {
            Self::AddHold { hash, .. }
            | Self::SettleHold { hash }
            | Self::CancelHold { hash }
            | Self::SendPayout { hash } => *hash,
        }
    }
}

/// Somebody should look now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Alarm {
    #[error("fiat was sent and the escrow runs out soon: LND refunds the seller if nobody acts")]
    HorizonNear,
    #[error(
        "fiat was sent and the escrow has reached its margin: only a release can still pay the buyer"
    )]
    HorizonReached,
    #[error(
        "LND has not settled the escrow, although the seller has released it, and it runs out soon: \
         LND refunds the seller then. Is LND up, at the tip of its chain, and does it answer?"
    )]
    SettleNearHorizon,
    #[error(
        "LND has not settled the escrow, although the seller has released it, and it has reached its \
         margin: bring LND up now, or the seller gets the sats back and the buyer nothing"
    )]
    SettleAtHorizon,
    #[error(
        "an escrow that was released is not settled: LND does not list its channels, which show whether \
         the escrow is still there. It is settled once they do, or unseen at its margin. Find out why \
         ListChannels fails"
    )]
    EscrowUnseen,
    #[error(
        "LND called an escrow accepted that holds fewer sats than were asked for. It was given back, \
         and no trade was begun. Another program on this LND modifies HTLCs or accepts invoices for \
         less (an HTLC modifier or interceptor): find it and stop it"
    )]
    EscrowBelowAsked,
    #[error(
        "LND gave the escrow back although fiat was sent or a settle was decided; the order is frozen. \
         The seller has the sats again: settle it between the parties"
    )]
    EscrowLost,
    #[error(
        "LND does not know a hold it had acknowledged; the order is frozen. Is this the right LND, with \
         all of its data?"
    )]
    HoldForgotten,
    #[error(
        "LND settled a hold that we did not decide to settle; the order is frozen. Somebody else holds \
         the preimage or this database: stop, and find out"
    )]
    SettledWithoutDecision,
    #[error("LND settled a hold that we decided to cancel: its sats are ours and nobody's")]
    SettledThoughCanceled,
    #[error(
        "LND does not know a payment it had acknowledged; the payout is frozen. Is this the right LND, \
         with all of its data?"
    )]
    PayoutForgotten,
    #[error(
        "LND calls a payment in flight that no channel carries (lnd#9340); the payout is frozen. Close \
         the channel that the log names, open another in its place, then restart LND: the same \
         invoice is then sent again"
    )]
    PayoutDangling,
    #[error(
        "LND paid an invoice that had been given up: the buyer of this order is paid twice if the \
         invoice that took its place is paid as well"
    )]
    PaidThoughGivenUp,
    #[error(
        "LND takes no payment for a payout: for 24 hours it has refused every send of it, or not \
         answered; the payout is frozen. Find out why, from what LND said"
    )]
    PayoutRefused,
    #[error(
        "LND refuses the payouts of three orders in a row, so the fault is here, not with the buyers: \
         each is tried again once an hour. If LND names a time lock or a cltv limit, set \
         `payment_cltv_limit` below LND's `max-cltv-expiry` and start the daemon anew"
    )]
    PayoutsRefused,
    #[error(
        "half of what routes may cost today beyond the fees of their trades (`max_routing_subsidy`) is \
         spent"
    )]
    RoutingBudgetHalfSpent,
    #[error(
        "what routes may cost today beyond the fees of their trades (`max_routing_subsidy`), or the tenth \
         of it for one destination, does not suffice for every payout: those that find no route for less \
         wait until the day ends (UTC), two days at most. Is somebody trading with himself?"
    )]
    RoutingBudgetUsedUp,
    #[error(
        "a payout has waited two days for a route that `max_routing_subsidy` allows: it may now cost \
         up to `max_routing_fee` all the same"
    )]
    RoutingBeyondBudget,
}

impl From<FrozenBecause> for Alarm {
    fn from(because: FrozenBecause) -> Self {
        match because {
            FrozenBecause::EscrowLost => Self::EscrowLost,
            FrozenBecause::HoldForgotten => Self::HoldForgotten,
            FrozenBecause::SettledWithoutDecision => Self::SettledWithoutDecision,
            FrozenBecause::PayoutForgotten => Self::PayoutForgotten,
            FrozenBecause::PayoutDangling => Self::PayoutDangling,
            FrozenBecause::PaidThoughGivenUp => Self::PaidThoughGivenUp,
            FrozenBecause::PayoutRefused => Self::PayoutRefused,
        }
    }
}

/// One line of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    pub debit: LedgerAccount,
    pub credit: LedgerAccount,
    pub amount: Msats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LedgerAccount {
    /// What our channels hold.
    Lightning,
    /// What we owe the buyer of this order.
    Buyer,
    FeeIncome,
    /// What a payer gave beyond the amount asked for (D10).
    OverpaymentIncome,
    /// What the node itself bears because an escrow held less than was asked for (D33).
    EscrowShortfall,
    RoutingFees,
}

/// What is remembered beside the orders; each replaces what was noted of its kind before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The orders whose payouts LND refused since it last took any (D39).
    RefusedOrders(Vec<OrderId>),
    /// The operator is told that half of this day's budget for routes is spent (D43).
    RoutingHalfTold(Day),
    /// The operator is told that this day's budget for routes does not suffice (D43).
    RoutingShortTold(Day),
}

/// What a decision does to a trader's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountChange {
    /// The index was used; an account that does not exist yet begins here.
    RaiseIndex { identity: IdentityKey, to: i64 },
    /// The request was undone: if `from` is still the last index, it becomes `to` again (D17).
    GiveBackIndex { identity: IdentityKey, from: i64, to: Option<i64> },
}
