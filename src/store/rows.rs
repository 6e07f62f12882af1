//! The stored documents: what a state, terms and an invoice look like as JSON.
//!
//! The core's types do not derive serde. Each document carries its version, so that an old row can
//! always be read; to change one, add the next version beside it.

mod terms;

use serde::{Deserialize, Serialize};
use trade::{
    BlockHeight, FrozenBecause, FrozenState, Held, HorizonWarning, Invoice, Msats, Network,
    NodeKey, OrderState, Outcome, PaymentHash, Preparing, PreparingFrom, Status, Timestamp,
};

use super::text::Spelled;

pub(super) use terms::TermsDocument;

/// `orders.state`.
#[derive(Serialize, Deserialize)]
#[serde(tag = "v", content = "state")]
pub(super) enum StateDocument {
    #[serde(rename = "1")]
    V1(StateV1),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum StateV1 {
    Pending,
    PreparingHold {
        hash: Spelled<PaymentHash>,
        until: i64,
        request_id: Option<u64>,
        from: PreparingFromV1,
    },
    AwaitingHold {
        hash: Spelled<PaymentHash>,
        until: i64,
    },
    AwaitingInvoice {
        escrow: Option<HeldV1>,
        until: i64,
    },
    Active {
        held: HeldV1,
    },
    FiatSent {
        held: HeldV1,
        warned: Spelled<HorizonWarning>,
    },
    Settling {
        held: HeldV1,
        request_id: Option<u64>,
        /// Missing in rows of versions that did not warn here.
        #[serde(default = "nobody_was_warned")]
        warned: Spelled<HorizonWarning>,
    },
    PayingBuyer,
    Frozen {
        was: Spelled<Status>,
        because: Spelled<FrozenBecause>,
        /// Missing in rows of versions that kept the status only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<Box<StateV1>>,
    },
    Ended(Spelled<Outcome>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum PreparingFromV1 {
    Book { index_before: Option<i64> },
    AwaitingInvoice { until: i64 },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeldV1 {
    hash: Spelled<PaymentHash>,
    paid_msat: u64,
    expires_height: u32,
}

fn nobody_was_warned() -> Spelled<HorizonWarning> {
    Spelled(HorizonWarning::NotYet)
}

impl From<&OrderState> for StateDocument {
    fn from(state: &OrderState) -> Self {
        Self::V1(state.into())
    }
}

impl From<StateDocument> for OrderState {
    fn from(StateDocument::V1(state): StateDocument) -> Self {
        state.into()
    }
}

impl From<&OrderState> for StateV1 {
    fn from(state: &OrderState) -> Self {
        match state {
            OrderState::Pending => Self::Pending,
            OrderState::PreparingHold(Preparing { hash, until, request_id, from }) => {
                Self::PreparingHold {
                    hash: Spelled(*hash),
                    until: until.0,
                    request_id: *request_id,
                    from: (*from).into(),
                }
            }
            OrderState::AwaitingHold { hash, until } => {
                Self::AwaitingHold { hash: Spelled(*hash), until: until.0 }
            }
            OrderState::AwaitingInvoice { escrow, until } => {
                Self::AwaitingInvoice { escrow: escrow.map(HeldV1::from), until: until.0 }
            }
            OrderState::Active { held } => Self::Active { held: (*held).into() },
            OrderState::FiatSent { held, warned } => {
                Self::FiatSent { held: (*held).into(), warned: Spelled(*warned) }
            }
            OrderState::Settling { held, request_id, warned } => Self::Settling {
                held: (*held).into(),
                request_id: *request_id,
                warned: Spelled(*warned),
            },
            OrderState::PayingBuyer => Self::PayingBuyer,
            OrderState::Frozen { was, because } => {
                let (was, state) = match was {
                    FrozenState::Whole(state) => {
                        (state.status(), Some(Box::new(Self::from(&**state))))
                    }
                    FrozenState::StatusOnly(status) => (*status, None),
                };
                Self::Frozen { was: Spelled(was), because: Spelled(*because), state }
            }
            OrderState::Ended(outcome) => Self::Ended(Spelled(*outcome)),
        }
    }
}

impl From<StateV1> for OrderState {
    fn from(state: StateV1) -> Self {
        match state {
            StateV1::Pending => Self::Pending,
            StateV1::PreparingHold { hash, until, request_id, from } => {
                Self::PreparingHold(Preparing {
                    hash: hash.0,
                    until: Timestamp(until),
                    request_id,
                    from: from.into(),
                })
            }
            StateV1::AwaitingHold { hash, until } => {
                Self::AwaitingHold { hash: hash.0, until: Timestamp(until) }
            }
            StateV1::AwaitingInvoice { escrow, until } => {
                Self::AwaitingInvoice { escrow: escrow.map(Held::from), until: Timestamp(until) }
            }
            StateV1::Active { held } => Self::Active { held: held.into() },
            StateV1::FiatSent { held, warned } => {
                Self::FiatSent { held: held.into(), warned: warned.0 }
            }
            StateV1::Settling { held, request_id, warned } => {
                Self::Settling { held: held.into(), request_id, warned: warned.0 }
            }
            StateV1::PayingBuyer => Self::PayingBuyer,
            StateV1::Frozen { was, because, state } => {
                let was = match state {
                    Some(state) => FrozenState::Whole(Box::new(Self::from(*state))),
                    None => FrozenState::StatusOnly(was.0),
                };
                Self::Frozen { was, because: because.0 }
            }
            StateV1::Ended(outcome) => Self::Ended(outcome.0),
        }
    }
}

impl From<PreparingFrom> for PreparingFromV1 {
    fn from(from: PreparingFrom) -> Self {
        match from {
            PreparingFrom::Book { index_before } => Self::Book { index_before },
            PreparingFrom::AwaitingInvoice { until } => Self::AwaitingInvoice { until: until.0 },
        }
    }
}

impl From<PreparingFromV1> for PreparingFrom {
    fn from(from: PreparingFromV1) -> Self {
        match from {
            PreparingFromV1::Book { index_before } => Self::Book { index_before },
            PreparingFromV1::AwaitingInvoice { until } => {
                Self::AwaitingInvoice { until: Timestamp(until) }
            }
        }
    }
}

impl From<Held> for HeldV1 {
    fn from(Held { hash, paid, expires_at }: Held) -> Self {
        Self { hash: Spelled(hash), paid_msat: paid.0, expires_height: expires_at.0 }
    }
}

impl From<HeldV1> for Held {
    fn from(held: HeldV1) -> Self {
        Self {
            hash: held.hash.0,
            paid: Msats(held.paid_msat),
            expires_at: BlockHeight(held.expires_height),
        }
    }
}

/// `orders.destination`.
#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
pub(super) enum DestinationDocument {
    #[serde(rename = "bolt11/1")]
    Bolt11V1 {
        text: String,
        hash: Spelled<PaymentHash>,
        payee: Spelled<NodeKey>,
        amount_msat: Option<u64>,
        expires_at: i64,
        min_final_cltv: u32,
        network: Spelled<Network>,
    },
}

impl From<&Invoice> for DestinationDocument {
    fn from(invoice: &Invoice) -> Self {
        let Invoice { text, hash, payee, amount, expires_at, min_final_cltv, network } = invoice;
        Self::Bolt11V1 {
            text: text.clone(),
            hash: Spelled(*hash),
            payee: Spelled(*payee),
            amount_msat: amount.map(|amount| amount.0),
            expires_at: expires_at.0,
            min_final_cltv: *min_final_cltv,
            network: Spelled(*network),
        }
    }
}

impl From<DestinationDocument> for Invoice {
    fn from(document: DestinationDocument) -> Self {
        let DestinationDocument::Bolt11V1 {
            text,
            hash,
            payee,
            amount_msat,
            expires_at,
            min_final_cltv,
            network,
        } = document;
        Self {
            text,
            hash: hash.0,
            payee: payee.0,
            amount: amount_msat.map(Msats),
            expires_at: Timestamp(expires_at),
            min_final_cltv,
            network: network.0,
        }
    }
}
