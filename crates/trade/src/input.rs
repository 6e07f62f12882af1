//! Everything that can move an order.

use std::time::Duration;

use crate::{
    Destination, HoldSecret, HoldStatus, IdentityKey, Kind, Party, PaymentHash, PaymentStatus,
    Side, TradeKey,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    User(Request),
    Lightning(Observation),
    /// Time or blocks passed: `env.now` and `env.height` say how far.
    Deadline,
    /// The relays are heard again after this long: waiting deadlines move by the gap (D5).
    ExtendDeadlines {
        offline_for: Duration,
    },
    /// The clock is right, and may have run ahead before (D41).
    ClockCorrected,
}

impl Input {
    /// Its name in the journal.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::User(request) => request.command.needs().name,
            Self::Lightning(observation) => match observation {
                Observation::HoldOpened { .. } => "hold-opened",
                Observation::Hold { .. } => "hold",
                Observation::PayoutUnanswered { .. } => "payout-unanswered",
                Observation::PayoutRefused { .. } => "payout-refused",
                Observation::Payment { .. } => "payment",
                Observation::Htlc { .. } => "htlc",
            },
            Self::Deadline => "deadline",
            Self::ExtendDeadlines { .. } => "extend-deadlines",
            Self::ClockCorrected => "clock-corrected",
        }
    }
}

/// An authenticated message to one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub sender: Sender,
    pub request_id: Option<u64>,
    pub command: Command,
}

/// Who sent a message, and the trade index it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    pub trade: TradeKey,
    pub identity: IdentityKey,
    pub trade_index: Option<i64>,
}

impl Sender {
    /// The side of an order this sender would be.
    #[must_use]
    pub fn party(self) -> Party {
        Party { trade: self.trade, identity: self.identity, index: self.trade_index }
    }
}

/// What people ask for. The shell draws a preimage for every command that may need a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    TakeSell { destination: Option<Destination>, secret: HoldSecret },
    TakeBuy { secret: HoldSecret },
    AddInvoice { destination: Destination, secret: HoldSecret },
    FiatSent,
    Release,
    Cancel,
}

/// What is to be known of a command before it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs<'a> {
    /// Its name in the journal.
    pub name: &'static str,
    /// The side its sender would take: whether an order waits for it there already must be read, and
    /// its reputation.
    pub takes: Option<Side>,
    /// Where it asks to be paid: whether that is on record must be read.
    pub destination: Option<&'a Destination>,
}

impl Command {
    /// One row for each command.
    #[must_use]
    pub fn needs(&self) -> Needs<'_> {
        let row = |name, takes, destination| Needs { name, takes, destination };
        match self {
            Self::TakeSell { destination, .. } => {
                row("take-sell", Some(Side::Buyer), destination.as_ref())
            }
            Self::TakeBuy { .. } => row("take-buy", Some(Side::Seller), None),
            Self::AddInvoice { destination, .. } => row("add-invoice", None, Some(destination)),
            Self::FiatSent => row("fiat-sent", None, None),
            Self::Release => row("release", None, None),
            Self::Cancel => row("cancel", None, None),
        }
    }
}

/// An order that does not exist yet, in the maker's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    pub kind: Option<Kind>,
    pub fiat_code: String,
    pub fiat_amount: i64,
    pub min_amount: Option<i64>,
    pub max_amount: Option<i64>,
    /// Sats; zero asks for the market price.
    pub amount: i64,
    pub payment_method: String,
    pub premium: i64,
    pub destination: Option<Destination>,
    pub expires_at: Option<i64>,
    pub names_a_mint: bool,
}

/// LND's own word. May be late or repeated; that is never an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// LND has the invoice.
    HoldOpened { hash: PaymentHash, bolt11: String },
    /// LND was asked about a hold it had acknowledged, or told us by itself.
    Hold { hash: PaymentHash, status: HoldStatus },
    /// A send was begun and its answer lost. Said once for each send.
    PayoutUnanswered { hash: PaymentHash },
    /// LND itself, fully started, answered a send with an error. Said once for each send. The words
    /// are LND's, made fit to be shown (D39).
    PayoutRefused { hash: PaymentHash, because: String },
    /// The answer to a send, or to a question asked while no send of the hash is to be made or
    /// answered: what ends the one at hand must not be taken for the end of another.
    Payment { hash: PaymentHash, status: PaymentStatus },
    /// Channels were searched for a payment in flight. Missing means: no channel carries its HTLC,
    /// and the one that should is active.
    Htlc { hash: PaymentHash, index: u64, is_missing: bool },
}
