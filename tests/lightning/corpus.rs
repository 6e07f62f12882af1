//! Valid invoices and invoices with one error, with LND's answer to each.
//!
//! The texts are in `tests/golden/invoices_lnd.json`, which the tests of our reader use too.
//! `UPDATE_GOLDEN=1 cargo test --test lightning corpus` rewrites it.

mod right;
mod wrong;

use serde::{Deserialize, Serialize};

use crate::draft::Draft;

const FILE: &str = "tests/golden/invoices_lnd.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bolt11: String,
    /// Whether a buyer may send it. Nothing that LND refuses is accepted here.
    pub(crate) is_accepted: bool,
    /// The error of `DecodePayReq`, if any. `…` at the end stands for more text.
    pub(crate) decode: Option<String>,
    /// The error of `SendPaymentV2` before it registers the payment, if any.
    pub(crate) send: Option<String>,
    /// The amount in the request in msat, if the invoice has none.
    pub(crate) amount_msat: u64,
}

impl Case {
    fn new(name: &str, bolt11: String) -> Self {
        Self {
            name: name.to_owned(),
            bolt11,
            is_accepted: false,
            decode: None,
            send: None,
            amount_msat: 0,
        }
    }
}

/// Accepted here, and registered by LND.
fn right(name: &str, draft: &Draft) -> Case {
    Case { is_accepted: true, ..Case::new(name, draft.write()) }
}

/// LND registers it, and its payment fails.
fn unpayable(name: &str, draft: &Draft) -> Case {
    Case::new(name, draft.write())
}

/// LND cannot read it.
fn unreadable(name: &str, draft: &Draft, why: &str) -> Case {
    garbage(name, draft.write(), why)
}

fn garbage(name: &str, bolt11: String, why: &str) -> Case {
    Case { decode: Some(why.to_owned()), send: Some(why.to_owned()), ..Case::new(name, bolt11) }
}

/// LND can read it, and does not register the payment.
fn refused(name: &str, draft: &Draft, why: &str) -> Case {
    Case { send: Some(why.to_owned()), ..Case::new(name, draft.write()) }
}

/// The file.
pub(crate) fn cases() -> Vec<Case> {
    let text = include_str!("../golden/invoices_lnd.json");
    serde_json::from_str(text).expect("the corpus is JSON")
}

/// Whether LND's answer is the expected one.
pub(crate) fn is_as_expected(expected: Option<&str>, actual: Option<&str>) -> bool {
    match (expected.and_then(|text| text.strip_suffix('…')), actual) {
        (Some(beginning), Some(actual)) => actual.starts_with(beginning),
        (Some(_), None) => false,
        (None, actual) => expected == actual,
    }
}

#[test]
fn the_corpus_file_matches_the_cases_in_the_code() {
    let written: Vec<Case> = right::cases().into_iter().chain(wrong::cases()).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&written).expect("JSON");
        std::fs::write(FILE, text + "\n").expect("the file is written");
        return;
    }
    assert_eq!(cases(), written, "UPDATE_GOLDEN=1 writes it");
}
