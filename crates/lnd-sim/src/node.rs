//! One simulated LND node: its database, its state, and what it is told to do wrong.

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

/// How far LND has come with starting up, as `State.GetState` tells it.
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

/// What a node does with a payment to an ordinary invoice of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payee {
    /// Takes it at once.
    #[default]
    Takes,
    /// Keeps the HTLC in flight until told otherwise, or until its LND gives it back.
    Holds,
    /// Fails it back.
    Refuses,
}

/// What of a node is kept over a restart.
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
    /// What it says that it is.
    pub(crate) version: String,
    /// The chain that it says it is on.
    pub(crate) network: String,
    pub(crate) up: bool,
    pub(crate) state: LndState,
    pub(crate) synced: bool,
    pub(crate) links_up: bool,
    /// Blocks that came while it was down are looked at from this moment on.
    pub(crate) catches_up_at: Option<Duration>,
    /// Another program accepts every payment to an invoice of this node and calls it so much: LND's
    /// HTLC modifier. Channels show what came.
    pub(crate) calls_htlcs_msat: Option<u64>,
    /// So many of the next payments are registered and never leave.
    pub(crate) dangles: u32,
    /// The next so many payments fail for this reason.
    pub(crate) fails: Option<(FailureReason, u32)>,
    /// LND's `--max-cltv-expiry`.
    pub(crate) max_cltv_expiry: u32,
}

impl Node {
    /// Whether its channels carry payments.
    pub(crate) fn is_reachable(&self) -> bool {
        self.up && self.links_up && self.state == LndState::ServerActive
    }
}
