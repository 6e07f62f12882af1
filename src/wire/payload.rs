//! The payloads of messages: a fixed set of types, each under its own key.
//!
//! Field order and the choice between `null` and absence are part of the protocol: signatures cover
//! these bytes.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::names::{BuyerMode, CantDoReason, DisputeStatus, Kind, Side, Status};

/// A user's text that must not be logged: invoices, addresses, messages, tokens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Private(pub String);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    Order(Box<SmallOrder>),
    /// Order, invoice or address, fiat amount. Some clients leave the last one out.
    PaymentRequest(Option<Box<SmallOrder>>, Private, #[serde(default)] Option<i64>),
    TextMessage(Private),
    Peer(Peer),
    RatingUser(u8),
    /// In fiat units.
    Amount(i64),
    /// The dispute's id; the details go to its solver only.
    Dispute(Uuid, Option<Box<SolverDisputeInfo>>),
    CantDo(Option<CantDoReason>),
    /// Trade key and index for the remainder of a range order.
    NextTrade(String, u32),
    PaymentFailed {
        payment_attempts: u32,
        /// In seconds.
        payment_retries_interval: u32,
    },
    RestoreData(RestoreData),
    Ids(Vec<Uuid>),
    Orders(Vec<SmallOrder>),
    BondResolution(BondResolution),
    BondPayoutRequest {
        order: Box<SmallOrder>,
        slashed_at: i64,
    },
    CashuLockProof(Box<CashuLockProof>),
    CashuSignatures(Vec<CashuSignature>),
    PayerDeclaration {
        payment_hash: String,
    },
    PaymentHistory(PaymentHistory),
    ReputationExportRequest {
        destination: String,
        #[serde(default)]
        rebind: Option<Private>,
    },
    ReputationAttestation(Private),
    UserInfo(UserInfo),
}

/// An order as its parties see it. `None` is left out in the fields marked so, `null` in the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmallOrder {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    pub kind: Option<Kind>,
    pub status: Option<Status>,
    /// In sats; 0 is the market price.
    pub amount: i64,
    pub fiat_code: String,
    pub min_amount: Option<i64>,
    pub max_amount: Option<i64>,
    pub fiat_amount: i64,
    pub payment_method: String,
    /// In percent.
    pub premium: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buyer_trade_pubkey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seller_trade_pubkey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buyer_invoice: Option<Private>,
    pub created_at: Option<i64>,
    pub expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cashu_mint_url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// A trade key, or empty in a notice about a taker's reputation.
    pub pubkey: String,
    pub reputation: Option<UserInfo>,
}

/// What is known of an identity's past trades. All zero: nothing, or full privacy.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct UserInfo {
    pub rating: f64,
    pub reviews: i64,
    pub operating_days: u64,
    /// The UTC day of the first trade.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

/// What a solver needs to rule on a dispute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SolverDisputeInfo {
    /// The order's id.
    pub id: Uuid,
    pub kind: Kind,
    pub status: Status,
    pub hash: Option<String>,
    /// Always none from us: with it a solver could settle the hold without us.
    pub preimage: Option<Private>,
    pub order_previous_status: Status,
    pub initiator_pubkey: String,
    pub buyer_pubkey: Option<String>,
    pub seller_pubkey: Option<String>,
    pub initiator_full_privacy: bool,
    pub counterpart_full_privacy: bool,
    pub initiator_info: Option<UserInfo>,
    pub counterpart_info: Option<UserInfo>,
    pub premium: i64,
    pub payment_method: String,
    pub amount: i64,
    pub fiat_amount: i64,
    pub fee: i64,
    pub routing_fee: i64,
    pub buyer_invoice: Option<Private>,
    pub invoice_held_at: i64,
    pub taken_at: i64,
    pub created_at: i64,
}

/// What a client that lost its data gets back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreData {
    pub orders: Vec<RestoredOrder>,
    pub disputes: Vec<RestoredDispute>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredOrder {
    pub order_id: Uuid,
    pub trade_index: i64,
    pub status: Status,
    pub counterparty_trade_pubkey: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredDispute {
    pub dispute_id: Uuid,
    pub order_id: Uuid,
    pub trade_index: i64,
    pub status: DisputeStatus,
    pub initiator: Option<Side>,
    pub solver_pubkey: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BondResolution {
    pub slash_seller: bool,
    pub slash_buyer: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CashuLockProof {
    pub token: Private,
    pub mint_url: String,
    pub buyer_pubkey: String,
    pub seller_pubkey: String,
    pub mostro_pubkey: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fee_token: Option<Private>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CashuSignature {
    pub secret: Private,
    pub signature: Private,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentHistory {
    pub payment_hash: String,
    pub buyer_mode: BuyerMode,
    pub successful_trades: u64,
    pub distinct_counterparties: u64,
    pub experienced_counterparties: u64,
    pub first_success_at: Option<i64>,
    pub last_success_at: Option<i64>,
}

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[private]")
    }
}
