//! An invoice in a node's database.

use fedimint_tonic_lnd::lnrpc;
use serde::{Deserialize, Serialize};

use crate::hash::{PaymentHash, Preimage};

/// LND's four states of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceState {
    Open,
    Accepted,
    Settled,
    Canceled,
}

/// An invoice in a node's database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Invoice {
    pub(crate) hash: PaymentHash,
    /// Of a hold invoice LND knows it only once it is settled.
    pub(crate) preimage: Option<Preimage>,
    pub(crate) value_msat: u64,
    pub(crate) memo: String,
    pub(crate) description_hash: Option<PaymentHash>,
    pub(crate) expiry_secs: u64,
    pub(crate) cltv_expiry: u32,
    pub(crate) payment_addr: PaymentHash,
    pub(crate) bolt11: String,
    pub(crate) add_index: u64,
    pub(crate) settle_index: u64,
    pub(crate) created_at: u64,
    pub(crate) settled_at: u64,
    pub(crate) state: InvoiceState,
    pub(crate) amt_paid_msat: u64,
    pub(crate) htlcs: Vec<InvoiceHtlc>,
    /// Every update for subscribers, from the oldest this process knows.
    #[serde(skip)]
    pub(crate) log: Vec<lnrpc::Invoice>,
}

/// A payment's HTLC as the payee sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InvoiceHtlc {
    pub(crate) attempt: u64,
    pub(crate) channel: u64,
    pub(crate) amount_msat: u64,
    pub(crate) accept_height: u32,
    pub(crate) expiry_height: u32,
    pub(crate) accepted_at: u64,
    pub(crate) resolved_at: u64,
    pub(crate) state: HtlcState,
    /// It was failed as a replay: the state here is only what LND reports.
    #[serde(default)]
    pub(crate) is_lost: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HtlcState {
    Accepted,
    Settled,
    Canceled,
}

/// An invoice to be added; zeros mean LND's defaults.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewInvoice {
    pub(crate) memo: String,
    pub(crate) value_sat: i64,
    pub(crate) value_msat: i64,
    pub(crate) description_hash: Vec<u8>,
    pub(crate) expiry: i64,
    pub(crate) cltv_expiry: u64,
}

impl Invoice {
    pub(crate) fn expires_at_secs(&self) -> u64 {
        self.created_at.saturating_add(self.expiry_secs)
    }

    pub(crate) fn is_final(&self) -> bool {
        matches!(self.state, InvoiceState::Settled | InvoiceState::Canceled)
    }
}

/// The HTLCs that wait for the payee's decision.
pub(crate) fn held(invoice: &Invoice) -> impl Iterator<Item = &InvoiceHtlc> {
    invoice.htlcs.iter().filter(|htlc| htlc.state == HtlcState::Accepted)
}
