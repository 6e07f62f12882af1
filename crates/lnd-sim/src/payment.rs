//! An outgoing payment in a node's database.

use std::time::Duration;

use fedimint_tonic_lnd::lnrpc;
use serde::{Deserialize, Serialize};

use crate::channel::Hop;
use crate::hash::{PaymentHash, Preimage};

/// Why LND gave up a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    Timeout,
    NoRoute,
    Error,
    IncorrectPaymentDetails,
    InsufficientBalance,
    Canceled,
}

/// The state of a payment, as LND reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    InFlight,
    Succeeded,
    Failed(FailureReason),
}

/// A payment in a node's database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Payment {
    pub(crate) hash: PaymentHash,
    /// Each registration of the hash gets a new, higher one.
    pub(crate) index: u64,
    pub(crate) bolt11: String,
    pub(crate) amount_msat: u64,
    pub(crate) created_at: Duration,
    pub(crate) status: PaymentStatus,
    pub(crate) preimage: Option<Preimage>,
    /// The attempt of this registration; LND deletes those of the one before.
    pub(crate) attempt: Option<u64>,
    /// Every update for subscribers, from the oldest this process knows.
    #[serde(skip)]
    pub(crate) log: Vec<lnrpc::Payment>,
}

/// One HTLC on a route to the payee.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) id: u64,
    pub(crate) payer: String,
    pub(crate) payee: String,
    pub(crate) hash: PaymentHash,
    pub(crate) payment_addr: Option<PaymentHash>,
    pub(crate) amount_msat: u64,
    pub(crate) hops: Vec<Hop>,
    pub(crate) sent_at: Duration,
    pub(crate) resolved_at: Option<Duration>,
    /// Whether the HTLC is in its channels. A dangling one was never sent.
    pub(crate) left: bool,
    /// Its outcome, which the payer knows once `resolved_at` is set.
    pub(crate) outcome: Option<Outcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Settled(Preimage),
    Failed(FailureReason),
}

impl Attempt {
    pub(crate) fn is_in_flight(&self) -> bool {
        self.resolved_at.is_none()
    }

    pub(crate) fn fee_msat(&self) -> u64 {
        self.hops.first().map_or(0, |hop| hop.amount_msat.saturating_sub(self.amount_msat))
    }
}
