//! What a message says, as it waits in the outbox.

use serde::{Deserialize, Serialize};
use trade::{
    Fiat, Kind, Notice, OrderId, OrderView, Refusal, Reputation, Sats, Status, Timestamp, TradeKey,
};

use crate::store::text::Spelled;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::store) enum NoticeV1 {
    NewOrder(OrderViewV1),
    AddInvoice(OrderViewV1),
    PayInvoice { order: OrderViewV1, bolt11: String },
    WaitingBuyerInvoice,
    WaitingSellerToPay,
    BuyerTookOrder(OrderViewV1),
    HoldInvoicePaymentAccepted(OrderViewV1),
    FiatSentOk { peer: Spelled<TradeKey> },
    Released,
    HoldInvoicePaymentSettled,
    HoldInvoicePaymentCanceled,
    Rate,
    PurchaseCompleted,
    PaymentFailed { attempts_left: u32, interval_secs: u32 },
    InvoiceUpdated,
    Canceled,
    PayInvoiceReputation(ReputationV1),
    AddInvoiceReputation(ReputationV1),
    CantDo(Spelled<Refusal>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::store) struct OrderViewV1 {
    id: Spelled<OrderId>,
    kind: Spelled<Kind>,
    status: Spelled<Status>,
    amount: u64,
    fiat_code: String,
    fiat_amount: u64,
    payment_method: String,
    premium: i64,
    buyer: Option<Spelled<TradeKey>>,
    seller: Option<Spelled<TradeKey>>,
    buyer_invoice: Option<String>,
    created_at: Option<i64>,
    expires_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::store) struct ReputationV1 {
    rating_milli: u32,
    reviews: u64,
    operating_days: u64,
    since: Option<i64>,
}

impl From<&Notice> for NoticeV1 {
    fn from(notice: &Notice) -> Self {
        match notice {
            Notice::NewOrder(order) => Self::NewOrder(order.into()),
            Notice::AddInvoice(order) => Self::AddInvoice(order.into()),
            Notice::PayInvoice { order, bolt11 } => {
                Self::PayInvoice { order: order.into(), bolt11: bolt11.clone() }
            }
            Notice::WaitingBuyerInvoice => Self::WaitingBuyerInvoice,
            Notice::WaitingSellerToPay => Self::WaitingSellerToPay,
            Notice::BuyerTookOrder(order) => Self::BuyerTookOrder(order.into()),
            Notice::HoldInvoicePaymentAccepted(order) => {
                Self::HoldInvoicePaymentAccepted(order.into())
            }
            Notice::FiatSentOk { peer } => Self::FiatSentOk { peer: Spelled(*peer) },
            Notice::Released => Self::Released,
            Notice::HoldInvoicePaymentSettled => Self::HoldInvoicePaymentSettled,
            Notice::HoldInvoicePaymentCanceled => Self::HoldInvoicePaymentCanceled,
            Notice::Rate => Self::Rate,
            Notice::PurchaseCompleted => Self::PurchaseCompleted,
            Notice::PaymentFailed { attempts_left, interval_secs } => {
                Self::PaymentFailed { attempts_left: *attempts_left, interval_secs: *interval_secs }
            }
            Notice::InvoiceUpdated => Self::InvoiceUpdated,
            Notice::Canceled => Self::Canceled,
            Notice::PayInvoiceReputation(known) => Self::PayInvoiceReputation((*known).into()),
            Notice::AddInvoiceReputation(known) => Self::AddInvoiceReputation((*known).into()),
            Notice::CantDo(refusal) => Self::CantDo(Spelled(*refusal)),
        }
    }
}

impl From<NoticeV1> for Notice {
    fn from(notice: NoticeV1) -> Self {
        match notice {
            NoticeV1::NewOrder(order) => Self::NewOrder(order.into()),
            NoticeV1::AddInvoice(order) => Self::AddInvoice(order.into()),
            NoticeV1::PayInvoice { order, bolt11 } => {
                Self::PayInvoice { order: order.into(), bolt11 }
            }
            NoticeV1::WaitingBuyerInvoice => Self::WaitingBuyerInvoice,
            NoticeV1::WaitingSellerToPay => Self::WaitingSellerToPay,
            NoticeV1::BuyerTookOrder(order) => Self::BuyerTookOrder(order.into()),
            NoticeV1::HoldInvoicePaymentAccepted(order) => {
                Self::HoldInvoicePaymentAccepted(order.into())
            }
            NoticeV1::FiatSentOk { peer } => Self::FiatSentOk { peer: peer.0 },
            NoticeV1::Released => Self::Released,
            NoticeV1::HoldInvoicePaymentSettled => Self::HoldInvoicePaymentSettled,
            NoticeV1::HoldInvoicePaymentCanceled => Self::HoldInvoicePaymentCanceled,
            NoticeV1::Rate => Self::Rate,
            NoticeV1::PurchaseCompleted => Self::PurchaseCompleted,
            NoticeV1::PaymentFailed { attempts_left, interval_secs } => {
                Self::PaymentFailed { attempts_left, interval_secs }
            }
            NoticeV1::InvoiceUpdated => Self::InvoiceUpdated,
            NoticeV1::Canceled => Self::Canceled,
            NoticeV1::PayInvoiceReputation(known) => Self::PayInvoiceReputation(known.into()),
            NoticeV1::AddInvoiceReputation(known) => Self::AddInvoiceReputation(known.into()),
            NoticeV1::CantDo(refusal) => Self::CantDo(refusal.0),
        }
    }
}

impl From<&OrderView> for OrderViewV1 {
    fn from(view: &OrderView) -> Self {
        Self {
            id: Spelled(view.id),
            kind: Spelled(view.kind),
            status: Spelled(view.status),
            amount: view.amount.0,
            fiat_code: view.fiat_code.clone(),
            fiat_amount: view.fiat_amount.0,
            payment_method: view.payment_method.clone(),
            premium: view.premium,
            buyer: view.buyer.map(Spelled),
            seller: view.seller.map(Spelled),
            buyer_invoice: view.buyer_invoice.clone(),
            created_at: view.created_at.map(|at| at.0),
            expires_at: view.expires_at.map(|at| at.0),
        }
    }
}

impl From<OrderViewV1> for OrderView {
    fn from(view: OrderViewV1) -> Self {
        Self {
            id: view.id.0,
            kind: view.kind.0,
            status: view.status.0,
            amount: Sats(view.amount),
            fiat_code: view.fiat_code,
            fiat_amount: Fiat(view.fiat_amount),
            payment_method: view.payment_method,
            premium: view.premium,
            buyer: view.buyer.map(|key| key.0),
            seller: view.seller.map(|key| key.0),
            buyer_invoice: view.buyer_invoice,
            created_at: view.created_at.map(Timestamp),
            expires_at: view.expires_at.map(Timestamp),
        }
    }
}

impl From<Reputation> for ReputationV1 {
    fn from(Reputation { rating_milli, reviews, operating_days, since }: Reputation) -> Self {
        Self { rating_milli, reviews, operating_days, since: since.map(|at| at.0) }
    }
}

impl From<ReputationV1> for Reputation {
    fn from(known: ReputationV1) -> Self {
        Self {
            rating_milli: known.rating_milli,
            reviews: known.reviews,
            operating_days: known.operating_days,
            since: known.since.map(Timestamp),
        }
    }
}
