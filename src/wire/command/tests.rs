use serde_json::Value;
use trade::{Kind, PaymentHash, Preimage};

use super::*;

const REQUESTS: &str = include_str!("../../../tests/golden/messages_client_to_mostro.json");
const ANSWERS: &str = include_str!("../../../tests/golden/messages_mostro_to_client.json");
const ORDER: OrderId = OrderId(*uuid::uuid!("308e1272-d5f4-47e6-bd97-3504baea9c23").as_bytes());

fn golden(file: &str) -> Vec<(String, Message)> {
    let rows: Vec<Value> = serde_json::from_str(file).unwrap();
    let message = |row: &Value| Message::parse(row["json"].as_str().unwrap()).unwrap();
    rows.iter().map(|row| (row["name"].as_str().unwrap().to_owned(), message(row))).collect()
}

fn request(name: &str) -> Message {
    let mut all = golden(REQUESTS);
    let at = all.iter().position(|(n, _)| n == name).unwrap_or_else(|| panic!("{name}"));
    all.swap_remove(at).1
}

fn text(json: &str) -> Message {
    Message::parse(json).unwrap()
}

fn secret() -> HoldSecret {
    HoldSecret { hash: PaymentHash([1; 32]), preimage: Preimage([2; 32]) }
}

/// Reads a message; no destination in these tests is an invoice.
fn asked(message: &Message) -> Result<ParsedRequest, Declined> {
    read(message, |_| Destination::Unsupported, secret)
}

#[track_caller]
fn check(name: &str, command: Command) {
    assert_eq!(asked(&request(name)), Ok(ParsedRequest::Order { id: ORDER, command }), "{name}");
}

// spec: D1
#[test]
fn every_command_of_a_trade_is_read() {
    let destination = Destination::Unsupported;
    let given = Some(destination.clone());
    check("take-sell bare", Command::TakeSell { destination: None, secret: secret() });
    check("take-sell amount", Command::TakeSell { destination: None, secret: secret() });
    let with_invoice = Command::TakeSell { destination: given, secret: secret() };
    check("take-sell invoice", with_invoice.clone());
    check("take-sell lightning address + amount", with_invoice);
    check("take-buy bare", Command::TakeBuy { secret: secret() });
    check("take-buy amount", Command::TakeBuy { secret: secret() });
    check("add-invoice bolt11", Command::AddInvoice { destination, secret: secret() });
    check("fiat-sent", Command::FiatSent);
    check("fiat-sent with next trade", Command::FiatSent);
    check("release", Command::Release);
    check("release with next trade", Command::Release);
    check("cancel", Command::Cancel);
}

// spec: D1
#[test]
fn a_new_order_is_read_field_by_field() {
    let Ok(ParsedRequest::NewOrder(new)) =
        asked(&request("new-order buy fixed with lightning address"))
    else {
        panic!("not a new order")
    };
    let expected = NewOrder {
        kind: Some(Kind::Buy),
        fiat_code: "EUR".into(),
        fiat_amount: 10,
        min_amount: None,
        max_amount: None,
        amount: 10_000,
        payment_method: "face to face,bank transfer".into(),
        premium: 0,
        destination: Some(Destination::Unsupported),
        expires_at: None,
        names_a_mint: false,
    };
    assert_eq!(new, expected);
}

#[test]
fn a_range_an_expiry_and_a_mint_are_passed_on_to_the_core() {
    let new = |name: &str| match asked(&request(name)) {
        Ok(ParsedRequest::NewOrder(new)) => new,
        other => panic!("{other:?}"),
    };
    let range = new("new-order sell range");
    assert_eq!((range.min_amount, range.max_amount), (Some(10), Some(20)));
    assert_eq!(new("new-order with explicit expiry").expires_at, Some(1_760_259_200));
    assert!(new("new-order cashu mint").names_a_mint);
}

#[test]
fn a_destination_is_decoded_from_the_text_as_sent() {
    let seen = std::cell::RefCell::new(Vec::new());
    let decode = |text: &str| {
        seen.borrow_mut().push(text.to_owned());
        Destination::Unsupported
    };
    for name in ["add-invoice lightning address", "new-order buy fixed with lightning address"] {
        read(&request(name), decode, secret).unwrap();
    }
    assert_eq!(*seen.borrow(), ["buyer@ln.example.com", "maker@ln.example.com"]);
}

// spec: D26
#[test]
fn every_request_that_is_not_built_yet_is_refused_as_invalid_action() {
    const BUILT: [Action; 7] = [
        Action::NewOrder,
        Action::TakeSell,
        Action::TakeBuy,
        Action::AddInvoice,
        Action::FiatSent,
        Action::Release,
        Action::Cancel,
    ];
    for (name, message) in golden(REQUESTS) {
        let action = message.body.action;
        if BUILT.contains(&action) {
            assert!(asked(&message).is_ok(), "{name}");
        } else if action == Action::SendDm {
            assert_eq!(asked(&message), Err(Declined::Ignored), "{name}");
        } else {
            let refused = Declined::Refused(Refusal::InvalidAction);
            assert_eq!(asked(&message), Err(refused), "{name}");
        }
    }
}

// spec: D26
#[test]
fn a_reputation_request_is_answered_even_if_it_is_malformed() {
    for action in ["export-reputation", "import-reputation"] {
        let bare = format!(r#"{{"order":{{"version":2,"action":"{action}"}}}}"#);
        assert_eq!(asked(&text(&bare)), Err(Declined::Refused(Refusal::InvalidAction)));
    }
}

#[test]
fn a_pay_invoice_of_a_user_is_refused_as_invalid_action() {
    let pay = request("take-sell invoice");
    let pay = Message { body: Body { action: Action::PayInvoice, ..pay.body }, ..pay };
    assert_eq!(asked(&pay), Err(Declined::Refused(Refusal::InvalidAction)));
}

#[test]
fn a_message_that_only_daemons_send_is_ignored() {
    // These actions are requests too when a client sends them.
    const ALSO_REQUESTS: [Action; 9] = [
        Action::NewOrder,
        Action::AddInvoice,
        Action::PayInvoice,
        Action::AddBondInvoice,
        Action::AdminAddSolver,
        Action::TradePubkey,
        Action::RestoreSession,
        Action::LastTradeIndex,
        Action::UserInfo,
    ];
    for (name, message) in golden(ANSWERS) {
        let action = message.body.action;
        if !ALSO_REQUESTS.contains(&action)
            && !matches!(action, Action::Orders | Action::PaymentHistory)
        {
            assert_eq!(asked(&message), Err(Declined::Ignored), "{name}");
        }
    }
}

#[test]
fn a_malformed_request_is_ignored() {
    for json in [
        r#"{"order":{"version":2,"action":"fiat-sent"}}"#,
        r#"{"order":{"version":2,"action":"new-order"}}"#,
        r#"{"order":{"version":2,"action":"user-info"}}"#,
    ] {
        assert_eq!(asked(&text(json)), Err(Declined::Ignored), "{json}");
    }
}

// spec: K-02
#[test]
fn a_payload_of_another_action_is_refused_as_invalid_payload() {
    let id = "308e1272-d5f4-47e6-bd97-3504baea9c23";
    for action in ["take-sell", "take-buy", "fiat-sent", "release"] {
        let json = format!(
            r#"{{"order":{{"version":2,"id":"{id}","action":"{action}","payload":{{"text_message":"x"}}}}}}"#
        );
        assert_eq!(
            asked(&text(&json)),
            Err(Declined::Refused(Refusal::InvalidPayload)),
            "{action}"
        );
    }
}

#[test]
fn the_wrapper_of_a_request_does_not_matter() {
    let mut cancel = request("cancel");
    cancel.wrapper = crate::wire::Wrapper::Dispute;
    assert_eq!(asked(&cancel), Ok(ParsedRequest::Order { id: ORDER, command: Command::Cancel }));
}
