use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[test]
fn every_golden_invoice_is_read_as_it_was_written() {
    for (name, golden) in golden() {
        let Destination::Bolt11(invoice) = decode(&golden.bolt11) else {
            panic!("{name} is not read");
        };
        let expected = Invoice {
            text: golden.bolt11,
            hash: PaymentHash::from_hex(&golden.payment_hash).expect("hex"),
            payee: NodeKey::from_hex(&golden.payee_pubkey).expect("hex"),
            amount: golden.amount_msat.map(Msats),
            expires_at: Timestamp(golden.expires_at),
            min_final_cltv: golden.min_final_cltv_expiry_delta,
            network: match golden.network.as_str() {
                "mainnet" => Network::Mainnet,
                "regtest" => Network::Regtest,
                other => panic!("{name} is on {other}"),
            },
        };
        assert_eq!(invoice, expected, "{name}");
    }
}

// spec: D26
#[test]
fn addresses_and_lnurls_are_of_a_kind_that_is_not_paid() {
    for text in [
        "buyer@example.com",
        "lnurl1dp68gurn8ghj7um9wfmxjcm99e3k7mf0v9cxj0m385ekvcenxc6r2c35xvukxefcv5mkvv34x5ekzd3ev56nyd3hxqurzepexejxxepnxscrvwfnv9nxzcn9xq6xyefhvgcxxcmyxymnserxfq5fns",
    ] {
        assert_eq!(decode(text), Destination::Unsupported, "{text}");
    }
}

#[test]
fn a_changed_character_makes_an_invoice_unreadable() {
    for (name, golden) in golden() {
        let mut text = golden.bolt11;
        let last = text.pop().expect("not empty");
        text.push(if last == 'q' { 'p' } else { 'q' });
        assert_eq!(decode(&text), Destination::Unsupported, "{name}");
    }
}

#[test]
fn an_upper_case_invoice_is_read_and_kept_as_it_came() {
    let (_, golden) = golden().remove(0);
    let text = golden.bolt11.to_uppercase();

    let Destination::Bolt11(invoice) = decode(&text) else { panic!("not read") };

    assert_eq!(invoice.text, text);
}

#[test]
fn a_text_without_an_end_is_not_read() {
    let (_, golden) = golden().remove(0);
    assert_eq!(decode(&golden.bolt11.repeat(100)), Destination::Unsupported);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC*") {
        prop_assert_eq!(decode(&text), Destination::Unsupported);
    }

    #[test]
    fn no_text_that_begins_like_an_invoice_makes_the_reader_panic(rest in "[0-9a-z]{0,400}") {
        for prefix in ["lnbc1", "lnbcrt20n1", "lntb99999999999999999999m1"] {
            prop_assert_eq!(decode(&format!("{prefix}{rest}")), Destination::Unsupported);
        }
    }
}

// spec: D44
#[test]
fn no_invoice_is_read_that_lnd_cannot_register() {
    #[derive(Deserialize)]
    struct Case {
        name: String,
        bolt11: String,
        is_accepted: bool,
    }
    let text = include_str!("../../../tests/golden/invoices_lnd.json");
    let cases: Vec<Case> = serde_json::from_str(text).expect("the golden file is JSON");

    let differences: Vec<String> = cases
        .into_iter()
        .filter(|case| (decode(&case.bolt11) != Destination::Unsupported) != case.is_accepted)
        .map(|case| case.name)
        .collect();

    assert_eq!(differences, [""; 0]);
}

// spec: D44
#[test]
fn an_amount_that_was_written_is_an_amount() {
    let cases = [("amount in nano-bitcoin", Some(Msats(700))), ("no amount", None)];
    let text = include_str!("../../../tests/golden/invoices_lnd.json");
    let file: Vec<serde_json::Value> = serde_json::from_str(text).expect("JSON");
    for (name, amount) in cases {
        let case = file.iter().find(|case| case["name"] == name).expect("a case");
        let read = read(case["bolt11"].as_str().expect("a text")).expect("readable");
        assert_eq!(read.amount, amount, "{name}");
    }
}

#[derive(Deserialize)]
struct Golden {
    amount_msat: Option<u64>,
    bolt11: String,
    expires_at: i64,
    min_final_cltv_expiry_delta: u32,
    network: String,
    payee_pubkey: String,
    payment_hash: String,
}

fn golden() -> Vec<(String, Golden)> {
    #[derive(Deserialize)]
    struct File {
        invoices: std::collections::BTreeMap<String, Golden>,
    }
    let text = include_str!("../../../tests/golden/invoices.json");
    let file: File = serde_json::from_str(text).expect("the golden file is JSON");
    file.invoices.into_iter().collect()
}
