use trade::{
    Fiat, Kind, Notice, OrderId, OrderView, Refusal, Reputation, Sats, Status, Timestamp, TradeKey,
};

use super::*;
use crate::store::tests::spoken;

const VIEW: &str = r#"{"id":"01010101-0101-0101-0101-010101010101","kind":"sell",
    "status":"waiting-payment","amount":100300,"fiat_code":"EUR","fiat_amount":90,
    "payment_method":"face to face","premium":-1,
    "buyer":"0202020202020202020202020202020202020202020202020202020202020202","seller":null,
    "buyer_invoice":"lnbc1","created_at":1800000000,"expires_at":null}"#;

fn view() -> OrderView {
    OrderView {
        id: OrderId([1; 16]),
        kind: Kind::Sell,
        status: Status::WaitingPayment,
        amount: Sats(100_300),
        fiat_code: "EUR".to_owned(),
        fiat_amount: Fiat(90),
        payment_method: "face to face".to_owned(),
        premium: -1,
        buyer: Some(TradeKey([2; 32])),
        seller: None,
        buyer_invoice: Some("lnbc1".to_owned()),
        created_at: Some(Timestamp(1_800_000_000)),
        expires_at: None,
    }
}

/// Each kind of notice, and its JSON as the earlier version wrote it.
fn notices() -> Vec<(String, Notice)> {
    let taker = Reputation {
        rating_milli: 4_500,
        reviews: 3,
        operating_days: 12,
        since: Some(Timestamp(1_799_971_200)),
    };
    let known = r#"{"rating_milli":4500,"reviews":3,"operating_days":12,"since":1799971200}"#;
    let unknown = r#"{"rating_milli":0,"reviews":0,"operating_days":0,"since":null}"#;
    let peer = TradeKey([2; 32]);
    let refusal = Refusal::OutOfRangeSatsAmount;
    let plain = [
        ("waiting-buyer-invoice", Notice::WaitingBuyerInvoice),
        ("waiting-seller-to-pay", Notice::WaitingSellerToPay),
        ("released", Notice::Released),
        ("hold-invoice-payment-settled", Notice::HoldInvoicePaymentSettled),
        ("hold-invoice-payment-canceled", Notice::HoldInvoicePaymentCanceled),
        ("rate", Notice::Rate),
        ("purchase-completed", Notice::PurchaseCompleted),
        ("invoice-updated", Notice::InvoiceUpdated),
        ("canceled", Notice::Canceled),
    ];
    let mut notices: Vec<_> =
        plain.into_iter().map(|(word, notice)| (format!("\"{word}\""), notice)).collect();
    notices.extend([
        (format!(r#"{{"new-order":{VIEW}}}"#), Notice::NewOrder(view())),
        (format!(r#"{{"add-invoice":{VIEW}}}"#), Notice::AddInvoice(view())),
        (
            format!(r#"{{"pay-invoice":{{"order":{VIEW},"bolt11":"lnbc2"}}}}"#),
            Notice::PayInvoice { order: view(), bolt11: "lnbc2".to_owned() },
        ),
        (format!(r#"{{"buyer-took-order":{VIEW}}}"#), Notice::BuyerTookOrder(view())),
        (
            format!(r#"{{"hold-invoice-payment-accepted":{VIEW}}}"#),
            Notice::HoldInvoicePaymentAccepted(view()),
        ),
        (format!(r#"{{"fiat-sent-ok":{{"peer":"{peer}"}}}}"#), Notice::FiatSentOk { peer }),
        (
            r#"{"payment-failed":{"attempts_left":2,"interval_secs":60}}"#.to_owned(),
            Notice::PaymentFailed { attempts_left: 2, interval_secs: 60 },
        ),
        (format!(r#"{{"pay-invoice-reputation":{known}}}"#), Notice::PayInvoiceReputation(taker)),
        (
            format!(r#"{{"add-invoice-reputation":{unknown}}}"#),
            Notice::AddInvoiceReputation(Reputation::default()),
        ),
        (r#"{"cant-do":"out-of-range-sats-amount"}"#.to_owned(), Notice::CantDo(refusal)),
    ]);
    notices
}

// spec: D1
#[test]
fn every_notice_of_the_version_before_is_rendered() {
    let to = TradeKey([5; 32]);
    for (notice, expected) in notices() {
        let body = format!(
            r#"{{"to":"{to}","order":"01010101-0101-0101-0101-010101010101","request_id":7,
            "trade_index":4,"notice":{notice}}}"#
        );

        let message: MessageV1 = serde_json::from_str(&body).expect(&body);
        let letter = message.render(spoken);

        assert_eq!(letter.to.0, to);
        assert_eq!(letter.text, spoken(&expected, Some(OrderId([1; 16])), Some(7), Some(4)));
    }
}
