//! What a message to a party says.

use crate::{Fiat, Invoice, Kind, Order, OrderId, Refusal, Sats, Status, Timestamp, TradeKey};

/// One message of ours, before it has an envelope. Named after its action on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    NewOrder(OrderView),
    AddInvoice(OrderView),
    PayInvoice {
        order: OrderView,
        bolt11: String,
    },
    WaitingBuyerInvoice,
    WaitingSellerToPay,
    BuyerTookOrder(OrderView),
    HoldInvoicePaymentAccepted(OrderView),
    FiatSentOk {
        peer: TradeKey,
    },
    Released,
    HoldInvoicePaymentSettled,
    HoldInvoicePaymentCanceled,
    Rate,
    PurchaseCompleted,
    PaymentFailed {
        attempts_left: u32,
        interval_secs: u32,
    },
    InvoiceUpdated,
    Canceled,
    /// `pay-invoice` with the taker's reputation instead of an invoice (behaviour §8.4).
    PayInvoiceReputation(Reputation),
    /// `add-invoice` with the taker's reputation instead of an order.
    AddInvoiceReputation(Reputation),
    CantDo(Refusal),
}

/// What is known of a trader. All zero for strangers and in full privacy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reputation {
    /// Thousandths of a star, 0 to 5000.
    pub rating_milli: u32,
    pub reviews: u64,
    pub operating_days: u64,
    /// The first trade, cut down to the UTC day.
    pub since: Option<Timestamp>,
}

/// An order as it is shown in a message: the protocol's small order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderView {
    pub id: OrderId,
    pub kind: Kind,
    pub status: Status,
    /// What this reader pays or gets.
    pub amount: Sats,
    pub fiat_code: String,
    pub fiat_amount: Fiat,
    pub payment_method: String,
    pub premium: i64,
    pub buyer: Option<TradeKey>,
    pub seller: Option<TradeKey>,
    pub buyer_invoice: Option<String>,
    pub created_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
}

impl OrderView {
    /// The order without keys and invoice.
    #[must_use]
    pub fn bare(order: &Order, status: Status, amount: Sats) -> Self {
        Self {
            id: order.id,
            kind: order.terms.kind,
            status,
            amount,
            fiat_code: order.terms.fiat_code.clone(),
            fiat_amount: order.terms.fiat_amount(),
            payment_method: order.terms.payment_method.clone(),
            premium: order.terms.premium(),
            buyer: None,
            seller: None,
            buyer_invoice: None,
            created_at: Some(order.terms.created_at),
            expires_at: Some(order.terms.expires_at),
        }
    }

    /// The order with both trade keys.
    #[must_use]
    pub fn parties(order: &Order, status: Status, amount: Sats) -> Self {
        Self {
            buyer: order.buyer().map(|party| party.trade),
            seller: order.seller().map(|party| party.trade),
            ..Self::bare(order, status, amount)
        }
    }

    /// With the invoice the buyer gave; for the buyer's eyes only.
    #[must_use]
    pub fn with_invoice(self, invoice: Option<&Invoice>) -> Self {
        Self { buyer_invoice: invoice.map(|invoice| invoice.text.clone()), ..self }
    }
}
