//! What the shell must do once a decision is committed. Imperatives; each may be done twice.

use std::time::Duration;

use crate::{
    Alarm, Cause, Day, IdentityKey, Msats, Notice, Order, OrderId, PaymentHash, Sats, TradeKey,
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
    /// Settles or cancels, as decided on the hold, which keeps the preimage as well.
    EndHold {
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
            Self::AddHold { hash, .. } | Self::EndHold { hash } | Self::SendPayout { hash } => {
                *hash
            }
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
