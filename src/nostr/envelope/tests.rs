use futures::executor::block_on;
use mostro_core::prelude as oracle;
use nostr_sdk::{Event, JsonUtil, Keys, PublicKey, SecretKey, Tag, UnsignedEvent};
use proptest::prelude::*;
use serde_json::Value;
use trade::{IdentityKey, Timestamp, TradeKey};

use super::*;
use crate::wire::{Message, ParseError};

const V1: &str = include_str!("../../../tests/golden/transport_v1.json");
const V2: &str = include_str!("../../../tests/golden/transport_v2.json");
const SIGNATURES: &str = include_str!("../../../tests/golden/signatures.json");
const POW: &str = include_str!("../../../tests/golden/pow.json");
const KEYS: &str = include_str!("../../../tests/golden/keys.json");
const REQUESTS: &str = include_str!("../../../tests/golden/messages_client_to_mostro.json");
const ANSWERS: &str = include_str!("../../../tests/golden/messages_mostro_to_client.json");

const NOW: Timestamp = Timestamp(1_760_000_000);

fn required() -> EventRequirements<'static> {
    EventRequirements { pow: 0, max_bytes: 16_384, transports: &Transport::ALL }
}

fn open(event: &Event, node: &Keys, required: &EventRequirements<'_>) -> Result<Opened, Dropped> {
    super::open(&precheck(event.clone(), node, required)?, node)
}

fn rows(file: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(file).unwrap();
    file.get("vectors").unwrap_or(&file).as_array().unwrap().clone()
}

fn keys(secret: &Value) -> Keys {
    Keys::new(SecretKey::from_hex(secret.as_str().unwrap()).unwrap())
}

fn event(row: &Value) -> Event {
    Event::from_json(row["event"].to_string()).unwrap()
}

fn node() -> Keys {
    keys(&serde_json::from_str::<Value>(KEYS).unwrap()["mostro"]["secret"])
}

/// The maker's identity key and first trade key.
fn maker() -> (Keys, Keys) {
    let file: Value = serde_json::from_str(KEYS).unwrap();
    let keys_of = &file["maker"]["keys"];
    (keys(&keys_of[0]["secret"]), keys(&keys_of[1]["secret"]))
}

/// Opens the golden event of that name with the key it was made for.
#[track_caller]
fn open_golden(file: &str, name: &str) -> Result<Opened, Dropped> {
    let rows = rows(file);
    let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}"));
    open(&event(row), &keys(&row["unwrapped_with_secret"]), &required())
}

/// Opens every golden event that is not in `refused`; the result must be what the oracle unwrapped.
#[track_caller]
fn check_accepted(file: &str, transport: Transport, refused: &[(&str, Dropped)], ours: &[&str]) {
    for row in rows(file) {
        let name = row["name"].as_str().unwrap();
        if refused.iter().any(|(refused, _)| *refused == name) {
            continue;
        }
        let opened = open(&event(&row), &keys(&row["unwrapped_with_secret"]), &required())
            .unwrap_or_else(|dropped| panic!("{name}: {dropped}"));
        assert_eq!(opened.transport, transport, "{name}");
        assert_eq!(opened.rumor_id.is_some(), transport == Transport::GiftWrap, "{name}");
        if ours.contains(&name) {
            continue;
        }
        let expected = &row["core_0_14_2_unwrap"];
        assert_eq!(opened.sender.to_string(), expected["sender"], "{name}");
        assert_eq!(opened.identity.unwrap().to_string(), expected["identity"], "{name}");
        assert_eq!(opened.created_at.0, expected["created_at"], "{name}");
    }
}

#[track_caller]
fn check_refused(file: &str, refused: &[(&str, Dropped)]) {
    for (name, why) in refused {
        assert_eq!(open_golden(file, name), Err(*why), "{name}");
    }
}

const V1_REFUSED: &[(&str, Dropped)] = &[
    ("identity without trade signature", Dropped::Unsigned),
    ("trade signature by another key", Dropped::TradeSignature),
    ("trade signature over different bytes", Dropped::TradeSignature),
    ("rumor kind 14", Dropped::NoRumor),
    ("one-element tuple", Dropped::Elements),
    ("three-element tuple inside a gift wrap", Dropped::Elements),
    ("addressed to someone else", Dropped::Addressee),
    ("tampered seal signature", Dropped::ForgedSeal),
    // The oracle trusts the stated id here; we must not.
    ("seal id does not hash its content (valid sig over a foreign id)", Dropped::ForgedSeal),
];

const V2_REFUSED: &[(&str, Dropped)] = &[
    ("identity proof without trade signature", Dropped::Unsigned),
    ("trade signature by another key", Dropped::TradeSignature),
    ("identity proof grafted from another trade key", Dropped::IdentityProof),
    ("identity proof signed over the message only (no domain tag)", Dropped::IdentityProof),
    ("identity proof claims a foreign identity", Dropped::IdentityProof),
    ("two-element tuple inside kind 14", Dropped::Elements),
    ("addressed to someone else", Dropped::Addressee),
    ("kind 4", Dropped::Kind { kind: 4 }),
    ("tampered event signature", Dropped::Forged),
    ("created_at changed after signing (id mismatch)", Dropped::Forged),
];

/// The oracle rejects these; we accept a signature over the raw bytes.
const V2_OURS: &[&str] = &[
    "message JSON not in canonical form, signature over the raw bytes",
    "unknown envelope field, signature over the raw bytes",
];

// spec: D4
#[test]
fn every_accepted_form_of_a_gift_wrap_is_opened() {
    check_accepted(V1, Transport::GiftWrap, V1_REFUSED, &[]);
}

// spec: D4
#[test]
fn every_broken_gift_wrap_is_dropped_for_its_own_reason() {
    check_refused(V1, V1_REFUSED);
}

// spec: D4
#[test]
fn every_accepted_form_of_a_direct_message_is_opened() {
    check_accepted(V2, Transport::Nip44, V2_REFUSED, V2_OURS);
}

// spec: D4
#[test]
fn every_broken_direct_message_is_dropped_for_its_own_reason() {
    check_refused(V2, V2_REFUSED);
}

const USER_INFO: &str = r#"{"restore":{"version":2,"request_id":7,"trade_index":null,"action":"user-info","payload":null}}"#;

/// The result of opening a direct message with a proof for `proven`, signed by `signed_by`.
#[track_caller]
fn check_proof(
    message: &str,
    signed_by: Option<&Keys>,
    proven: &str,
    expected: Result<Option<IdentityKey>, Dropped>,
) {
    let (identity, trade) = maker();
    let sign = |text: &str, keys: &Keys| oracle::Message::sign(text.to_owned(), keys).to_string();
    let statement = open::identity_statement(&trade.public_key(), proven);
    let proof = [identity.public_key().to_hex(), sign(&statement, &identity)];
    let signature = signed_by.map(|keys| sign(message, keys));
    let content = serde_json::json!([0, signature, proof]).to_string().replacen('0', message, 1);
    let event = encrypted_event(&trade, Kind::PrivateDirectMessage, &content);

    let opened = open(&event, &node(), &required());
    let sender = opened.as_ref().map(|opened| opened.sender.0);
    assert!(sender.is_err() || sender == Ok(trade.public_key().to_bytes()));
    assert_eq!(opened.map(|opened| opened.identity), expected);
}

// spec: D4
#[test]
fn a_user_info_with_an_invalid_proof_is_opened_without_an_identity() {
    let (identity, trade) = maker();
    let proven = IdentityKey(identity.public_key().to_bytes());
    check_proof(USER_INFO, Some(&trade), USER_INFO, Ok(Some(proven)));
    check_proof(USER_INFO, Some(&trade), "{}", Ok(None));
    check_proof(USER_INFO, None, USER_INFO, Ok(None));
    check_proof(USER_INFO, None, "{}", Ok(None));
}

// spec: D4
#[test]
fn any_other_message_with_an_invalid_proof_is_dropped() {
    let (identity, trade) = maker();
    let orders = USER_INFO.replace("user-info", "restore-session");
    check_proof(&orders, Some(&trade), "{}", Err(Dropped::IdentityProof));
    check_proof(&orders, None, &orders, Err(Dropped::Unsigned));
    check_proof(USER_INFO, Some(&identity), USER_INFO, Err(Dropped::TradeSignature));
}

// spec: D4
#[test]
fn a_user_info_in_a_gift_wrap_needs_the_trade_keys_signature() {
    let (identity, trade) = maker();
    let rumor = serde_json::json!({
        "pubkey": trade.public_key().to_hex(), "created_at": NOW.0, "kind": 1, "tags": [],
        "content": format!("[{USER_INFO},null]"),
    });
    let wrap = wrapped(&sealed(&rumor.to_string(), &identity));
    assert_eq!(open(&wrap, &node(), &required()), Err(Dropped::Unsigned));
}

#[test]
fn a_signature_over_the_raw_bytes_keeps_the_trade_key_as_sender() {
    let (_, trade) = maker();
    for name in V2_OURS {
        let opened = open_golden(V2, name).unwrap();
        assert_eq!(opened.sender.0, trade.public_key().to_bytes(), "{name}");
    }
}

#[test]
fn golden_signatures_are_valid_for_their_own_bytes_only() {
    for row in rows(SIGNATURES) {
        let text = |field: &str| row[field].as_str().unwrap().to_owned();
        let trade = PublicKey::from_hex(&text("trade_pubkey")).unwrap();
        let (message, signature) = (text("message_json"), text("trade_sig"));
        assert_eq!(Message::parse(&message).unwrap().to_json(), message);
        assert!(open::has_signed(&trade, &message, &signature));
        assert!(!open::has_signed(&trade, &format!("{message} "), &signature));

        let Some(proof) = row["identity_sig"].as_str() else { continue };
        let identity = PublicKey::from_hex(&text("identity_pubkey")).unwrap();
        let statement = open::identity_statement(&trade, &message);
        assert_eq!(statement, text("identity_payload"));
        assert!(open::has_signed(&identity, &statement, proof));
        assert!(!open::has_signed(&identity, &message, proof));
    }
}

#[test]
fn proof_of_work_is_checked_on_the_event_id_before_decryption() {
    for row in rows(POW) {
        let bits = u8::try_from(row["leading_zero_bits"].as_u64().unwrap()).unwrap();
        let open_with = |pow| open(&event(&row), &node(), &EventRequirements { pow, ..required() });
        assert_eq!(open_with(bits), Err(Dropped::Undecryptable));
        let too_little = Dropped::TooLittleWork { bits, required: bits + 1 };
        assert_eq!(open_with(bits + 1), Err(too_little));
    }
}

#[test]
fn an_event_beyond_the_size_limit_is_dropped_before_its_signature_is_checked() {
    let row = &rows(V2)[0];
    let bytes = event(row).as_json().len();
    let open_with = |event: &Event, max_bytes| {
        open(event, &node(), &EventRequirements { max_bytes, ..required() })
    };
    assert!(open_with(&event(row), bytes).is_ok());

    let mut forged = event(row);
    forged.content.push('x');
    let too_large = Dropped::TooLarge { bytes: bytes + 1, max_bytes: bytes };
    assert_eq!(open_with(&forged, bytes), Err(too_large));
}

// spec: D4
#[test]
fn an_event_of_a_transport_that_is_switched_off_is_dropped() {
    let only_direct = EventRequirements { transports: &[Transport::Nip44], ..required() };
    let only_wraps = EventRequirements { transports: &[Transport::GiftWrap], ..required() };
    let (wrap, direct) = (event(&rows(V1)[0]), event(&rows(V2)[0]));
    assert_eq!(open(&wrap, &node(), &only_direct), Err(Dropped::Kind { kind: 1059 }));
    assert_eq!(open(&direct, &node(), &only_wraps), Err(Dropped::Kind { kind: 14 }));
}

// spec: D5
#[test]
fn the_same_rumor_in_a_new_wrap_keeps_its_id() {
    let row = &rows(V1)[0];
    let seal = row["seal"].to_string();
    let ids: Vec<_> = (0..2)
        .map(|_| {
            let wrap = wrapped(&seal);
            let opened = open(&wrap, &node(), &required()).unwrap();
            (opened.event_id, opened.rumor_id)
        })
        .collect();
    assert_ne!(ids[0].0, ids[1].0);
    assert_eq!(ids[0].1, ids[1].1);
    assert_eq!(ids[0].1.unwrap().to_hex(), row["rumor"]["id"]);
}

#[test]
fn a_rumor_without_an_id_or_with_foreign_fields_is_read() {
    let (identity, trade) = maker();
    let content = rows(V1)[0]["rumor"]["content"].clone();
    let rumor = serde_json::json!({
        "pubkey": trade.public_key().to_hex(), "created_at": NOW.0, "kind": 1,
        "tags": [["p", node().public_key().to_hex()]], "content": content, "sig": "", "x": 1,
    });
    let wrap = wrapped(&sealed(&rumor.to_string(), &identity));
    assert!(open(&wrap, &node(), &required()).is_ok());

    let mut wrong = rumor;
    wrong["id"] = "00".repeat(32).into();
    let wrap = wrapped(&sealed(&wrong.to_string(), &identity));
    assert_eq!(open(&wrap, &node(), &required()), Err(Dropped::NoRumor));
}

#[test]
fn a_message_of_the_node_to_its_own_key_is_dropped() {
    let own = TradeKey(node().public_key().to_bytes());
    for transport in Transport::ALL {
        let event = seal(&answer(), own, transport, &node(), NOW, NOW).unwrap();
        assert_eq!(open(&event, &node(), &required()), Err(Dropped::OwnMessage));
    }
}

#[test]
fn a_signed_request_by_the_node_key_is_a_request() {
    let request = oracle::Message::from_json(rows(REQUESTS)[0]["json"].as_str().unwrap()).unwrap();
    let event = client_event(&request, &node(), &node(), Transport::GiftWrap);
    assert!(open(&event, &node(), &required()).is_ok());
}

// spec: D4
#[test]
fn every_answer_is_read_by_the_oracle_on_both_transports() {
    let (_, trade) = maker();
    let to = TradeKey(trade.public_key().to_bytes());
    for row in rows(ANSWERS).iter().filter(|row| row["core_0_14_2"]["parses"] == true) {
        let answer = Message::parse(row["json"].as_str().unwrap()).unwrap();
        for transport in Transport::ALL {
            let event = seal(&answer, to, transport, &node(), NOW, NOW).unwrap();
            let read = block_on(oracle::unwrap_incoming(&event, &trade)).unwrap().unwrap();
            assert_eq!(read.sender, node().public_key());
            assert_eq!(read.identity, node().public_key());
            assert_eq!(read.signature, None);
            assert_eq!(read.created_at.as_secs(), NOW.0.unsigned_abs());
            assert_eq!(read.message.get_inner_message_kind().version, transport.version());
        }
    }
}

#[test]
fn a_direct_answer_is_signed_by_the_node_and_has_a_recipient_and_an_expiration() {
    let (_, trade) = maker();
    let to = TradeKey(trade.public_key().to_bytes());
    let event = seal(&answer(), to, Transport::Nip44, &node(), NOW, Timestamp(NOW.0 + 60)).unwrap();

    let tags: Vec<_> = event.tags.iter().map(Tag::as_slice).collect();
    assert_eq!(event.pubkey, node().public_key());
    assert_eq!(event.created_at.as_secs(), NOW.0.unsigned_abs());
    assert_eq!(tags, [["p", &to.to_string()], ["expiration", "1760000060"]]);
}

#[test]
fn a_wrapped_answer_shows_a_time_in_the_past_its_recipient_and_an_ephemeral_key_only() {
    let (_, trade) = maker();
    let to = TradeKey(trade.public_key().to_bytes());
    let wraps: Vec<_> = (0..2)
        .map(|_| seal(&answer(), to, Transport::GiftWrap, &node(), NOW, NOW).unwrap())
        .collect();

    for wrap in &wraps {
        let tags: Vec<_> = wrap.tags.iter().map(Tag::as_slice).collect();
        assert_eq!(tags, [["p", &to.to_string()]]);
        let age = NOW.0.unsigned_abs() - wrap.created_at.as_secs();
        assert!(age < 172_800, "{age}");
        assert_ne!(wrap.pubkey, node().public_key());
    }
    assert_ne!(wraps[0].pubkey, wraps[1].pubkey);
}

#[test]
fn a_wrapped_rumor_carries_its_id() {
    let (_, trade) = maker();
    let to = TradeKey(trade.public_key().to_bytes());
    let wrap = seal(&answer(), to, Transport::GiftWrap, &node(), NOW, NOW).unwrap();

    let decrypt = |event: &Event| {
        nostr_sdk::nips::nip44::decrypt(trade.secret_key(), &event.pubkey, &event.content).unwrap()
    };
    let seal = Event::from_json(decrypt(&wrap)).unwrap();
    let rumor: Value = serde_json::from_str(&decrypt(&seal)).unwrap();
    assert!(seal.tags.is_empty());
    assert!(rumor["id"].is_string() && rumor["tags"] == Value::Array(vec![]));
}

// spec: D31 INV-6
#[test]
fn a_resealed_message_is_the_same_with_the_present_time_outside() {
    let reader = Keys::generate();
    let to = TradeKey(reader.public_key().to_bytes());
    let written_at = Timestamp(1_700_000_000);
    let now = Timestamp(1_700_500_000);
    let rumor = |wrap: &Event| {
        let seal =
            nostr_sdk::nips::nip44::decrypt(reader.secret_key(), &wrap.pubkey, &wrap.content)
                .unwrap();
        let seal = Event::from_json(seal).unwrap();
        nostr_sdk::nips::nip44::decrypt(reader.secret_key(), &seal.pubkey, &seal.content).unwrap()
    };
    let transport = Transport::GiftWrap;
    let first = seal(&answer(), to, transport, &node(), written_at, written_at).unwrap();
    let second = reseal(&answer(), to, transport, &node(), [written_at, now], now).unwrap();
    assert_eq!(rumor(&second), rumor(&first));
    assert_eq!(second.created_at.as_secs(), 1_700_500_000, "no relay refuses it as old");

    let transport = Transport::Nip44;
    let second = reseal(&answer(), to, transport, &node(), [written_at, now], now).unwrap();
    assert_eq!(second.created_at.as_secs(), 1_700_500_000);
}

#[test]
fn sealing_for_an_invalid_key_fails() {
    let sealed = seal(&answer(), TradeKey([0xff; 32]), Transport::Nip44, &node(), NOW, NOW);
    assert!(matches!(sealed, Err(SealError::Encrypt { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    // spec: D4
    #[test]
    fn what_the_oracle_wraps_is_opened_with_the_keys_that_made_it(
        which in 0_usize..44,
        request_id: Option<u64>,
        private: bool,
        gift_wrap: bool,
    ) {
        let row = rows(REQUESTS).swap_remove(which);
        prop_assume!(row["core_0_14_2"]["parses"] == true);
        let mut ours = Message::parse(row["json"].as_str().unwrap()).unwrap();
        let transport = if gift_wrap { Transport::GiftWrap } else { Transport::Nip44 };
        ours.body.request_id = request_id;
        ours.body.version = transport.version();
        let (identity, trade) = maker();
        let identity = if private { trade.clone() } else { identity };

        let request = oracle::Message::from_json(&ours.to_json()).unwrap();
        let event = client_event(&request, &identity, &trade, transport);
        let opened = open(&event, &node(), &required()).unwrap();

        prop_assert_eq!(opened.message, ours);
        prop_assert_eq!(opened.sender, TradeKey(trade.public_key().to_bytes()));
        prop_assert_eq!(opened.identity, Some(IdentityKey(identity.public_key().to_bytes())));
        prop_assert_eq!(opened.transport, transport);
    }

    #[test]
    fn no_content_makes_opening_panic(content in ".{0,300}", wrapped_in in 0_usize..4) {
        let (identity, trade) = maker();
        let event = match wrapped_in {
            0 => signed_event(&trade, Kind::PrivateDirectMessage, &content),
            1 => encrypted_event(&trade, Kind::PrivateDirectMessage, &content),
            2 => wrapped(&content),
            _ => wrapped(&sealed(&content, &identity)),
        };
        prop_assert!(open(&event, &node(), &required()).is_err());
    }

    #[test]
    fn no_json_makes_opening_panic(
        message in "(null|1|\"x\"|\\{\\}|\\[\\]|\\{\"order\":\\{\"version\":1,\"action\":\"cancel\"\\}\\})",
        signature in "(null|\"\"|\"[0-9a-f]{128}\"|1)",
        proof in "(null|\\[\\]|\\[\"\",\"\"\\]|\\[\"npub1x\",null\\]|\\[\"[0-9a-f]{64}\",\"[0-9a-f]{128}\"\\])",
    ) {
        let (_, trade) = maker();
        let content = format!("[{message},{signature},{proof}]");
        let event = encrypted_event(&trade, Kind::PrivateDirectMessage, &content);
        if let Ok(opened) = open(&event, &node(), &required()) {
            prop_assert_eq!(Some(IdentityKey(opened.sender.0)), opened.identity);
        }
    }
}

#[test]
fn the_error_of_an_unreadable_message_does_not_quote_it() {
    let (_, trade) = maker();
    let event = encrypted_event(&trade, Kind::PrivateDirectMessage, r#"[{"secret":1},null,null]"#);
    let dropped = open(&event, &node(), &required()).unwrap_err();
    assert!(matches!(dropped, Dropped::Message(ParseError::Malformed { .. })));
    assert!(!format!("{dropped} {dropped:?}").contains("secret"));
}

fn answer() -> Message {
    Message::parse(rows(ANSWERS)[0]["json"].as_str().unwrap()).unwrap()
}

/// What a client built on the oracle sends.
fn client_event(
    request: &oracle::Message,
    identity: &Keys,
    trade: &Keys,
    transport: Transport,
) -> Event {
    let options = oracle::WrapOptions::default();
    let node = node().public_key();
    match transport {
        Transport::GiftWrap => {
            block_on(oracle::wrap_message(request, identity, trade, node, options)).unwrap()
        }
        Transport::Nip44 => {
            oracle::wrap_message_nip44(request, identity, trade, node, options).unwrap()
        }
    }
}

fn sealed(rumor: &str, author: &Keys) -> String {
    encrypted_event(author, Kind::Seal, rumor).as_json()
}

fn wrapped(seal: &str) -> Event {
    encrypted_event(&Keys::generate(), Kind::GiftWrap, seal)
}

fn encrypted_event(author: &Keys, kind: Kind, content: &str) -> Event {
    let node = node().public_key();
    // NIP-44 cannot encrypt an empty text.
    let content = if content.is_empty() { " " } else { content };
    let version = nostr_sdk::nips::nip44::Version::V2;
    let content =
        nostr_sdk::nips::nip44::encrypt(author.secret_key(), &node, content, version).unwrap();
    signed_event(author, kind, &content)
}

fn signed_event(author: &Keys, kind: Kind, content: &str) -> Event {
    let at = nostr_sdk::Timestamp::from_secs(NOW.0.unsigned_abs());
    let tags = [Tag::public_key(node().public_key())];
    UnsignedEvent::new(author.public_key(), at, kind, tags, content).sign_with_keys(author).unwrap()
}
