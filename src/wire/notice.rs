//! From a notice of the core to its message.

use trade::{Notice, OrderId, OrderView, Reputation};
use uuid::Uuid;

use super::action::Action;
use super::message::{Body, Message};
use super::names::Wrapper;
use super::payload::{Payload, Peer, Private, SmallOrder, UserInfo};

/// A placeholder: sealing sets the version of the transport.
const UNSEALED: u8 = 2;

/// The message for a notice. `order` is `None` for a refusal of a request without an order id.
#[must_use]
pub fn message(
    notice: &Notice,
    order: Option<OrderId>,
    request_id: Option<u64>,
    trade_index: Option<i64>,
) -> Message {
    let (action, payload) = action_and_payload(notice);
    let is_refusal = action == Action::CantDo;
    Message {
        wrapper: if is_refusal { Wrapper::CantDo } else { Wrapper::Order },
        body: Body {
            version: UNSEALED,
            request_id,
            trade_index: trade_index.filter(|_| !is_refusal),
            id: order.map(|OrderId(bytes)| Uuid::from_bytes(bytes)),
            action,
            payload,
        },
    }
}

/// The same message as JSON.
#[must_use]
pub fn render(
    notice: &Notice,
    order: Option<OrderId>,
    request_id: Option<u64>,
    trade_index: Option<i64>,
) -> String {
    message(notice, order, request_id, trade_index).to_json()
}

fn action_and_payload(notice: &Notice) -> (Action, Option<Payload>) {
    match notice {
        Notice::NewOrder(order) => (Action::NewOrder, Some(shown(order))),
        Notice::AddInvoice(order) => (Action::AddInvoice, Some(shown(order))),
        Notice::PayInvoice { order, bolt11 } => {
            let order = Some(Box::new(SmallOrder::from(order)));
            let payload = Payload::PaymentRequest(order, Private(bolt11.clone()), None);
            (Action::PayInvoice, Some(payload))
        }
        Notice::WaitingBuyerInvoice => (Action::WaitingBuyerInvoice, None),
        Notice::WaitingSellerToPay => (Action::WaitingSellerToPay, None),
        Notice::BuyerTookOrder(order) => (Action::BuyerTookOrder, Some(shown(order))),
        Notice::HoldInvoicePaymentAccepted(order) => {
            (Action::HoldInvoicePaymentAccepted, Some(shown(order)))
        }
        Notice::FiatSentOk { peer } => {
            let peer = Peer { pubkey: peer.to_string(), reputation: None };
            (Action::FiatSentOk, Some(Payload::Peer(peer)))
        }
        Notice::Released => (Action::Released, None),
        Notice::HoldInvoicePaymentSettled => (Action::HoldInvoicePaymentSettled, None),
        Notice::HoldInvoicePaymentCanceled => (Action::HoldInvoicePaymentCanceled, None),
        Notice::Rate => (Action::Rate, None),
        Notice::PurchaseCompleted => (Action::PurchaseCompleted, None),
        Notice::PaymentFailed { attempts_left, interval_secs } => {
            let payload = Payload::PaymentFailed {
                payment_attempts: *attempts_left,
                payment_retries_interval: *interval_secs,
            };
            (Action::PaymentFailed, Some(payload))
        }
        Notice::InvoiceUpdated => (Action::InvoiceUpdated, None),
        Notice::Canceled => (Action::Canceled, None),
        Notice::PayInvoiceReputation(taker) => (Action::PayInvoice, Some(reputation_of(*taker))),
        Notice::AddInvoiceReputation(taker) => (Action::AddInvoice, Some(reputation_of(*taker))),
        Notice::CantDo(refusal) => (Action::CantDo, Some(Payload::CantDo(Some((*refusal).into())))),
    }
}

fn shown(order: &OrderView) -> Payload {
    Payload::Order(Box::new(order.into()))
}

/// Without a key: the maker learns the taker's reputation, not who the taker is.
fn reputation_of(taker: Reputation) -> Payload {
    Payload::Peer(Peer { pubkey: String::new(), reputation: Some(taker.into()) })
}

impl From<&OrderView> for SmallOrder {
    fn from(order: &OrderView) -> Self {
        Self {
            id: Some(Uuid::from_bytes(order.id.0)),
            kind: Some(order.kind.into()),
            status: Some(order.status.into()),
            amount: number(order.amount.0),
            fiat_code: order.fiat_code.clone(),
            min_amount: None,
            max_amount: None,
            fiat_amount: number(order.fiat_amount.0),
            payment_method: order.payment_method.clone(),
            premium: order.premium,
            buyer_trade_pubkey: order.buyer.map(|key| key.to_string()),
            seller_trade_pubkey: order.seller.map(|key| key.to_string()),
            buyer_invoice: order.buyer_invoice.clone().map(Private),
            created_at: order.created_at.map(|at| at.0),
            expires_at: order.expires_at.map(|at| at.0),
            cashu_mint_url: None,
        }
    }
}

impl From<Reputation> for UserInfo {
    fn from(of: Reputation) -> Self {
        Self {
            rating: f64::from(of.rating_milli) / 1_000.0,
            reviews: number(of.reviews),
            operating_days: of.operating_days,
            since: of.since.and_then(|day| u64::try_from(day.0).ok()),
        }
    }
}

/// Numbers on the wire are signed; our amounts are far below their limit.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
