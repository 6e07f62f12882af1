//! One simulated LND node: its database, its state, and its armed faults.

use std::collections::BTreeMap;
use std::time::Duration;

use bitcoin::secp256k1::SecretKey;
use serde::{Deserialize, Serialize};

use crate::hash::PaymentHash;
use crate::invoice::Invoice;
use crate::payment::{FailureReason, Payment};

/// The node that every wallet has a channel with.
pub const HUB: &str = "hub";

/// [`HUB`], as the default that serde asks for.
pub(crate) fn hub() -> String {
    HUB.to_owned()
}

/// LND's `--max-cltv-expiry`, unless it is set.
pub(crate) const MAX_CLTV_EXPIRY: u32 = 2016;

/// How far LND's start has come, as `State.GetState` reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LndState {
    WaitingToStart,
    NonExisting,
    Locked,
    Unlocked,
    RpcActive,
    ServerActive,
}

/// What a node does with payments to its ordinary invoices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payee {
    /// Settles it at once.
    #[default]
    Settles,
    /// Holds the HTLC until it is told to settle, or until LND refunds it near its expiry.
    Holds,
    /// Fails it back.
    Refuses,
}

/// What is saved of a node, besides its invoices and payments.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    pub(crate) name: String,
    pub(crate) last_add_index: u64,
    pub(crate) last_settle_index: u64,
    pub(crate) last_payment_index: u64,
    pub(crate) fee_base_msat: u64,
    pub(crate) fee_ppm: u64,
    pub(crate) payee: Payee,
}

/// One LND.
pub(crate) struct Node {
    pub(crate) record: NodeRecord,
    pub(crate) key: SecretKey,
    pub(crate) pubkey: String,
    pub(crate) invoices: BTreeMap<PaymentHash, Invoice>,
    pub(crate) payments: BTreeMap<PaymentHash, Payment>,
    /// The version it reports.
    pub(crate) version: String,
    /// The chain it reports.
    pub(crate) network: String,
    pub(crate) up: bool,
    pub(crate) state: LndState,
    pub(crate) synced: bool,
    pub(crate) links_up: bool,
    /// When it handles the blocks that were mined while it was down.
    pub(crate) catches_up_at: Option<Duration>,
    /// An HTLC modifier accepts every payment to an invoice of this node and reports this amount.
    /// Channels show the real one.
    pub(crate) reported_htlc_msat: Option<u64>,
    /// How many of the next payments are registered and never sent.
    pub(crate) dangles: u32,
    /// The reason for which the next payments fail, and how many.
    pub(crate) forced_failure: Option<(FailureReason, u32)>,
    /// LND's `--max-cltv-expiry`.
    pub(crate) max_cltv_expiry: u32,
}

impl Node {
    /// Whether its channels carry payments.
    pub(crate) fn is_reachable(&self) -> bool {
        self.up && self.links_up && self.state == LndState::ServerActive
    }
}
