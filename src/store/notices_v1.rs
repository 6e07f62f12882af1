//! Messages of versions that stored the notice, and rendered it for the wire when it was sent.

use serde::Deserialize;
use sqlx::{Connection as _, SqliteConnection};
use trade::{
    Fiat, Kind, Notice, OrderId, OrderView, Refusal, Reputation, Sats, Status, Timestamp, TradeKey,
};

use super::outbox::{MessageV2, NOTICE, Render};
use super::text::{At, Spelled};

/// Renders every message that still waits. One that cannot be read stays as it is: its lane waits for
/// it, and the log names it.
pub(super) async fn render_waiting(
    connection: &mut SqliteConnection,
    render: Render,
) -> Result<(), sqlx::Error> {
    let mut tx = connection.begin().await?;
    let rows =
        sqlx::query!("select id, body from outbox where kind = 'notice/1' and done_at is null")
            .fetch_all(&mut *tx)
            .await?;
    for row in rows {
        let at = At::new("outbox", row.id);
        let Ok(message) = at.parse::<MessageV1>("body", &row.body) else { continue };
        let Ok(body) = at.write("body", &message.render(render)) else { continue };
        sqlx::query!("update outbox set kind = ?, body = ? where id = ?", NOTICE, body, row.id)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await
}

#[derive(Deserialize)]
struct MessageV1 {
    to: Spelled<TradeKey>,
    order: Option<Spelled<OrderId>>,
    request_id: Option<u64>,
    trade_index: Option<i64>,
    notice: NoticeV1,
}

impl MessageV1 {
    fn render(self, render: Render) -> MessageV2 {
        let (notice, order) = (self.notice.into(), self.order.map(|id| id.0));
        let text = render(&notice, order, self.request_id, self.trade_index);
        MessageV2 { to: self.to, text }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum NoticeV1 {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderViewV1 {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReputationV1 {
    rating_milli: u32,
    reviews: u64,
    operating_days: u64,
    since: Option<i64>,
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

#[cfg(test)]
mod tests;
