//! Invoices that LND registers and pays.

use super::{Case, right};
use crate::draft::{C, D, F, H, M, N, P, R, S, X, of_bytes, of_number, payee_key, plain};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = fields();
    cases.extend(amounts());
    cases.extend(features());
    cases
}

fn amounts() -> Vec<Case> {
    vec![
        Case { amount_msat: 1_000, ..right("no amount", &plain().prefix("lnbcrt")) },
        right("amount in bitcoin", &plain().prefix("lnbcrt1")),
        right("amount in micro-bitcoin", &plain().prefix("lnbcrt25u")),
        right("amount in nano-bitcoin", &plain().prefix("lnbcrt7n")),
        right("amount of one msat", &plain().prefix("lnbcrt10p")),
    ]
}

fn features() -> Vec<Case> {
    vec![
        right("optional features only", &plain().features(&[9, 15])),
        right("parts required", &plain().features(&[8, 14, 16])),
        right("an optional feature that nobody knows", &plain().features(&[8, 14, 17, 149])),
        right("metadata", &plain().features(&[8, 14, 17, 48]).set(M, of_bytes(&[1, 2, 3]))),
    ]
}

fn fields() -> Vec<Case> {
    let hop = [&payee_key()[..], &[0, 0, 1, 0, 0, 1, 0, 1], &[0, 0, 0, 1, 0, 0, 0, 2, 0, 40]];
    let shouted = plain().write().to_uppercase();
    vec![
        right("plain", &plain()),
        Case { is_accepted: true, ..Case::new("all upper case", shouted) },
        right("a description's hash", &plain().without(D).set(H, of_bytes(&[5; 32]))),
        right("an empty description", &plain().set(D, vec![])),
        right("the payee's name", &plain().set(N, of_bytes(&payee_key()))),
        right("no expiry", &plain().without(X)),
        right("no time lock", &plain().without(C)),
        right("an expiry of a year", &plain().set(X, of_number(31_536_000))),
        right("a fallback to a witness program", &plain().set(F, address(0, 20))),
        right("a fallback to a script hash", &plain().set(F, address(18, 20))),
        right("a fallback to taproot", &plain().set(F, address(1, 32))),
        right("a fallback of a version to come", &plain().set(F, address(2, 20))),
        right("a hint of a hop", &plain().and(R, of_bytes(&hop.concat()))),
        right(
            "a hint of two hops",
            &plain().and(R, of_bytes(&[hop.concat(), hop.concat()].concat())),
        ),
        right("a field that nobody knows", &plain().and(2, vec![1, 2, 3])),
        right("a hash of another length first", &first(P, &[7; 31])),
        right("a secret of another length first", &first(S, &[9; 31])),
    ]
}

fn first(tag: u8, bytes: &[u8]) -> crate::draft::Draft {
    let mut draft = plain();
    draft.fields.insert(0, (tag, of_bytes(bytes)));
    draft
}

pub(super) fn address(version: u8, bytes: usize) -> Vec<u8> {
    [vec![version], of_bytes(&vec![3; bytes])].concat()
}
