use serde_json::Value;
use trade::{Fiat, Kind, Refusal, Sats, Status, Timestamp, TradeKey};

use super::*;
use crate::wire::names::CantDoReason;

const ANSWERS: &str = include_str!("../../../tests/golden/messages_mostro_to_client.json");
const REFUSALS: &str = include_str!("../../../tests/golden/cant_do.json");
const ORDER: OrderId = OrderId(*uuid::uuid!("308e1272-d5f4-47e6-bd97-3504baea9c23").as_bytes());
const BUYER: &str = "85e9277cd4a29f8437fafd2408178079f6c194b86550f6903a95edf9bac4242a";
const SELLER: &str = "1c71f0a29c9d14198781f36897c6d6c08e2c4f905ba69fc5f8e67d375d705a8a";

fn golden(file: &str, name: &str) -> Message {
    let rows: Vec<Value> = serde_json::from_str(file).unwrap();
    let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}"));
    Message::parse(row["json"].as_str().unwrap()).unwrap()
}

/// With the request id and trade index of the golden message of that name, the notice gives that message.
#[track_caller]
fn check(name: &str, notice: &Notice) {
    let golden = golden(ANSWERS, name);
    let ours = message(notice, Some(ORDER), golden.body.request_id, golden.body.trade_index);
    assert_eq!(ours.to_json(), golden.to_json(), "{name}");
    assert_eq!(Message::parse(&ours.to_json()).as_ref(), Ok(&ours), "{name}");
}

/// The invoice in a golden `payment_request`.
fn bolt11(name: &str) -> String {
    match golden(ANSWERS, name).body.payload {
        Some(Payload::PaymentRequest(_, invoice, _)) => invoice.0,
        other => panic!("{other:?}"),
    }
}

/// The golden order: a sell order for EUR 10.
fn view(status: Status, amount: u64) -> OrderView {
    OrderView {
        id: ORDER,
        kind: Kind::Sell,
        status,
        amount: Sats(amount),
        fiat_code: "EUR".into(),
        fiat_amount: Fiat(10),
        payment_method: "face to face,bank transfer".into(),
        premium: 1,
        buyer: None,
        seller: None,
        buyer_invoice: None,
        created_at: Some(Timestamp(1_760_000_000)),
        expires_at: Some(Timestamp(1_760_086_400)),
    }
}

fn with_parties(view: OrderView) -> OrderView {
    OrderView { buyer: TradeKey::from_hex(BUYER), seller: TradeKey::from_hex(SELLER), ..view }
}

fn taker() -> Reputation {
    Reputation {
        rating_milli: 4_500,
        reviews: 12,
        operating_days: 100,
        since: Some(Timestamp(1_751_328_000)),
    }
}

// spec: D1
#[test]
fn a_new_order_is_acknowledged_with_the_order() {
    check("new-order ack", &Notice::NewOrder(view(Status::Pending, 0)));
}

// spec: D1
#[test]
fn both_parties_are_notified_of_a_take() {
    let wanted = OrderView { expires_at: None, ..view(Status::WaitingBuyerInvoice, 9_997) };
    check("add-invoice request", &Notice::AddInvoice(wanted));
    check("waiting-buyer-invoice", &Notice::WaitingBuyerInvoice);
    let bolt11 = bolt11("pay-invoice");
    let order = view(Status::WaitingPayment, 10_003);
    check("pay-invoice", &Notice::PayInvoice { order, bolt11 });
    check("waiting-seller-to-pay", &Notice::WaitingSellerToPay);
}

// spec: D1
#[test]
fn the_notice_of_a_takers_reputation_contains_no_key() {
    check("pay-invoice taker reputation notice", &Notice::PayInvoiceReputation(taker()));
    check("add-invoice taker reputation notice", &Notice::AddInvoiceReputation(taker()));
}

#[test]
fn an_unknown_taker_has_zeros_and_no_date() {
    let UserInfo { rating, reviews, operating_days, since } = Reputation::default().into();
    assert_eq!((rating.to_bits(), reviews, operating_days, since), (0, 0, 0, None));
}

// spec: D1
#[test]
fn both_parties_are_notified_of_a_held_escrow_with_both_keys() {
    let sold = with_parties(view(Status::Active, 10_003));
    check("buyer-took-order", &Notice::BuyerTookOrder(sold));
    let bought = with_parties(view(Status::Active, 9_997));
    check("hold-invoice-payment-accepted", &Notice::HoldInvoicePaymentAccepted(bought));
}

// spec: D1
#[test]
fn fiat_sent_release_and_payout_have_their_messages() {
    let peer = |key| Notice::FiatSentOk { peer: TradeKey::from_hex(key).unwrap() };
    check("fiat-sent-ok to seller", &peer(BUYER));
    check("fiat-sent-ok to buyer", &peer(SELLER));
    check("released", &Notice::Released);
    check("hold-invoice-payment-settled", &Notice::HoldInvoicePaymentSettled);
    check("rate", &Notice::Rate);
    check("purchase-completed", &Notice::PurchaseCompleted);
}

// spec: D1
#[test]
fn the_message_of_a_failed_payout_has_the_attempts_left_and_seconds_between_them() {
    check("payment-failed", &Notice::PaymentFailed { attempts_left: 2, interval_secs: 60 });
    check("invoice-updated", &Notice::InvoiceUpdated);
}

// spec: D1
#[test]
fn a_canceled_order_has_its_messages() {
    check("canceled", &Notice::Canceled);
    check("hold-invoice-payment-canceled", &Notice::HoldInvoicePaymentCanceled);
}

const ALL_REFUSALS: [Refusal; 19] = [
    Refusal::InvalidAction,
    Refusal::InvalidAmount,
    Refusal::InvalidFiatCurrency,
    Refusal::InvalidInvoice,
    Refusal::InvalidMintUrl,
    Refusal::InvalidOrderKind,
    Refusal::InvalidOrderStatus,
    Refusal::InvalidParameters,
    Refusal::InvalidPayload,
    Refusal::InvalidPeer,
    Refusal::InvalidPubkey,
    Refusal::InvalidTradeIndex,
    Refusal::IsNotYourOrder,
    Refusal::NotAllowedByStatus,
    Refusal::NotAuthorized,
    Refusal::NotFound,
    Refusal::OrderAlreadyCanceled,
    Refusal::OutOfRangeSatsAmount,
    Refusal::PendingOrderExists,
];

// spec: D14
#[test]
fn every_refusal_has_its_own_reason_and_no_trade_index() {
    for refusal in ALL_REFUSALS {
        let reason = CantDoReason::from(refusal);
        assert_eq!(format!("{refusal:?}"), format!("{reason:?}"));
        let golden = golden(REFUSALS, reason.as_str());
        let ours = message(&Notice::CantDo(refusal), Some(ORDER), golden.body.request_id, Some(7));
        assert_eq!(ours.to_json(), golden.to_json());
    }
}

// spec: D14
#[test]
fn a_refusal_of_a_request_without_an_order_has_no_order_id() {
    let golden = golden(REFUSALS, "without order id");
    let notice = Notice::CantDo(Refusal::InvalidAmount);
    let ours = message(&notice, None, golden.body.request_id, None);
    assert_eq!(ours.to_json(), golden.to_json());
}

// spec: INV-6
#[test]
fn a_rating_stored_as_json_is_sent_byte_for_byte() {
    for rating_milli in 0..=5_000 {
        let known = Reputation { rating_milli, ..taker() };
        let text = render(&Notice::PayInvoiceReputation(known), Some(ORDER), None, None);

        assert_eq!(Message::parse(&text).unwrap().to_json(), text);
    }
}
