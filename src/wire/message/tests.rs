use serde_json::Value;

use super::*;
use crate::wire::names::{CantDoReason, DisputeStatus, Kind, Side, Status};
use crate::wire::payload::Private;

const REQUESTS: &str = include_str!("../../../tests/golden/messages_client_to_mostro.json");
const ANSWERS: &str = include_str!("../../../tests/golden/messages_mostro_to_client.json");
const REFUSALS: &str = include_str!("../../../tests/golden/cant_do.json");
const LENIENT: &str = include_str!("../../../tests/golden/lenient_inputs.json");
const ENUMS: &str = include_str!("../../../tests/golden/enums.json");

struct Vector {
    name: String,
    json: String,
    newest: Value,
    oracle: Value,
}

fn vectors(file: &str) -> Vec<Vector> {
    let rows: Vec<Value> = serde_json::from_str(file).unwrap();
    assert!(!rows.is_empty());
    rows.into_iter()
        .map(|row| Vector {
            name: row["name"].as_str().unwrap().to_owned(),
            json: row["json"].as_str().unwrap().to_owned(),
            newest: row["core_0_17_3"].clone(),
            oracle: row["core_0_14_2"].clone(),
        })
        .collect()
}

/// The canonical text of a vector as the newest protocol crate writes it.
fn canonical(vector: &Vector) -> &str {
    vector.newest["reserialized"].as_str().unwrap_or(&vector.json)
}

#[track_caller]
fn check_read_and_written_back(file: &str) {
    for vector in vectors(file) {
        let message =
            Message::parse(&vector.json).unwrap_or_else(|e| panic!("{}: {e}", vector.name));
        assert_eq!(message.to_json(), canonical(&vector), "{}", vector.name);
    }
}

#[track_caller]
fn check_oracle_reads_ours(file: &str) {
    for vector in vectors(file).iter().filter(|v| v.oracle["parses"] == true) {
        let ours = Message::parse(&vector.json).unwrap().to_json();
        let theirs = mostro_core::prelude::Message::from_json(&ours)
            .unwrap_or_else(|e| panic!("{}: {e:?}", vector.name));
        let expected = vector.oracle["reserialized"].as_str().unwrap_or(&vector.json);
        assert_eq!(theirs.as_json().unwrap(), expected, "{}", vector.name);
    }
}

// spec: D1
#[test]
fn every_request_is_read_and_written_back_byte_for_byte() {
    check_read_and_written_back(REQUESTS);
}

// spec: D1
#[test]
fn every_answer_is_read_and_written_back_byte_for_byte() {
    check_read_and_written_back(ANSWERS);
}

// spec: D1
#[test]
fn every_refusal_is_read_and_written_back_byte_for_byte() {
    check_read_and_written_back(REFUSALS);
}

// spec: D1
#[test]
fn the_oracle_reads_what_we_write() {
    for file in [REQUESTS, ANSWERS, REFUSALS] {
        check_oracle_reads_ours(file);
    }
}

// spec: D1
#[test]
fn the_structural_check_agrees_with_the_newest_protocol() {
    for vector in [REQUESTS, ANSWERS, REFUSALS, LENIENT].into_iter().flat_map(vectors) {
        let Some(verdict) = vector.newest["verify"].as_bool() else { continue };
        let message = Message::parse(&vector.json).unwrap();
        assert_eq!(message.is_well_formed(), verdict, "{}", vector.name);
    }
}

// spec: D1
#[test]
fn lenient_inputs_are_judged_as_the_newest_protocol_does() {
    // The protocol's documentation shows two elements, so clients may send two.
    const WE_ACCEPT: &str = "payment_request with 2 elements";
    for vector in vectors(LENIENT) {
        let message = Message::parse(&vector.json);
        if vector.name == WE_ACCEPT {
            let Ok(Message { body: Body { payload: Some(payload), .. }, .. }) = message else {
                panic!("{WE_ACCEPT}: {message:?}");
            };
            assert!(matches!(payload, Payload::PaymentRequest(None, _, None)));
            continue;
        }
        match message {
            Ok(message) => assert_eq!(message.to_json(), canonical(&vector), "{}", vector.name),
            Err(_) => assert_eq!(vector.newest["parses"], false, "{}", vector.name),
        }
    }
}

// spec: D1
#[test]
fn exactly_the_names_of_the_protocol_are_known() {
    let golden: Value = serde_json::from_str(ENUMS).unwrap();
    let names = |list: &str| -> Vec<String> {
        let entries = golden[list].as_array().unwrap().iter();
        entries.map(|e| e.as_str().or(e["value"].as_str()).unwrap().to_owned()).collect()
    };

    assert_eq!(ours(Wrapper::ALL), names("wrappers"));
    assert_eq!(ours(Action::ALL), names("actions"));
    assert_eq!(ours(CantDoReason::ALL), names("cant_do_reasons"));
    assert_eq!(ours(Kind::ALL), names("order_kind"));
    assert_eq!(ours(Status::ALL), names("order_status"));
    assert_eq!(ours(DisputeStatus::ALL), names("dispute_status"));
    assert_eq!(ours(Side::ALL), names("dispute_initiator"));
    assert_eq!(ours(crate::wire::names::BuyerMode::ALL), names("buyer_mode"));
}

fn ours(all: &[impl Serialize + std::fmt::Display]) -> Vec<String> {
    for name in all {
        assert_eq!(serde_json::to_value(name).unwrap(), name.to_string());
    }
    all.iter().map(ToString::to_string).collect()
}

#[test]
fn a_message_longer_than_one_ciphertext_is_not_read() {
    let long = format!("\"{}\"", "x".repeat(MAX_MESSAGE_BYTES));
    assert_eq!(Message::parse(&long), Err(ParseError::TooLong { bytes: long.len() }));
}

#[test]
fn deep_nesting_is_refused_and_does_not_exhaust_the_stack() {
    for (open, close) in [("[", "]"), ("{\"order\":", "}"), ("{\"a\":", "}")] {
        let depth = 5_000;
        let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        let ignored = format!(r#"{{"order":{{"version":1,"action":"cancel","foo":{deep}}}}}"#);
        assert!(Message::parse(&deep).is_err());
        assert!(Message::parse(&ignored).is_ok(), "an unknown field is skipped, however deep");
    }
}

// spec: I10
#[test]
fn neither_an_error_nor_a_debug_print_repeats_what_a_user_wrote() {
    let error = Message::parse(r#"{"order":{"version":1,"action":"lnbc1secret"}}"#).unwrap_err();
    let payload = Payload::TextMessage(Private("lnbc1secret".into()));
    assert!(!format!("{error} {error:?} {payload:?}").contains("secret"));
}

proptest::proptest! {
    // spec: D1
    #[test]
    fn no_text_makes_the_parser_panic(text in ".*") {
        drop(Message::parse(&text));
    }

    // spec: D1
    #[test]
    fn a_corrupted_message_is_refused_or_read_and_never_panics(
        at in 0_usize..400,
        byte in 0x20_u8..0x7f,
        which in 0_usize..40,
    ) {
        let mut text = vectors(REQUESTS).swap_remove(which).json.into_bytes();
        let at = at % text.len();
        text[at] = byte;
        if let Ok(message) = Message::parse(&String::from_utf8(text).unwrap()) {
            let again = Message::parse(&message.to_json());
            proptest::prop_assert_eq!(again, Ok(message));
        }
    }
}
