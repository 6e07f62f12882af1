//! Invoices that LND cannot read, does not register, or cannot pay; and some that only we refuse.

use super::right::address;
use super::{Case, garbage, refused, unpayable, unreadable};
use crate::draft::{
    B, C, D, F, H, N, P, R, S, X, of_bytes, of_number, of_number_in, plain, with_checksum,
};

const TWICE: &str = "amount must not be specified when paying a non-zero amount invoice";
const INCOMPLETE: &str = "invalid incomplete group";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = texts();
    cases.extend(amounts());
    cases.extend(times());
    cases.extend(features());
    cases.extend(required_fields());
    cases.extend(broken_fields());
    cases.extend(broken_fallbacks());
    cases.extend(read_by_lnd_alone());
    cases
}

fn texts() -> Vec<Case> {
    let text = plain().write();
    let abroad = "invoice not for current active network 'regtest'";
    let mut mixed = text.clone();
    mixed.replace_range(..1, "L");
    let mut changed = text.clone();
    let last = changed.pop().unwrap_or_default();
    changed.push(if last == 'q' { 'p' } else { 'q' });
    vec![
        garbage("a changed character", changed, "checksum failed. Expected…"),
        garbage("letters of both cases", mixed, "string not all lowercase or all uppercase"),
        garbage("a scheme before it", format!("lightning:{text}"), "checksum failed. Expected…"),
        garbage("a space before it", format!(" {text}"), "invalid character in string: ' '"),
        garbage("too long", text.repeat(30), "invoice is too large"),
        garbage("no signature", with_checksum("lnbcrt1m", &[0; 20]), "short invoice"),
        garbage("no time", with_checksum("lnbcrt1m", &[0; 106]), "data too short: 2"),
        unreadable("for no network", &plain().prefix("lnxx1m"), abroad),
    ]
}

fn amounts() -> Vec<Case> {
    let of = |amount: &str| plain().prefix(&format!("lnbcrt{amount}"));
    let sent_for =
        |name: &str, amount: &str| Case { amount_msat: 1_000, ..refused(name, &of(amount), TWICE) };
    vec![
        sent_for("zero", "0"),
        sent_for("zero milli-bitcoin", "0m"),
        sent_for("zero micro-bitcoin", "0u"),
        sent_for("zero nano-bitcoin", "0n"),
        unreadable("zero pico-bitcoin", &of("0p"), "minimum amount is 10p"),
        unreadable("half a msat", &of("5p"), "minimum amount is 10p"),
        unreadable("one and a half msat", &of("15p"), "amount 15 pBTC not expressible in msat"),
        unreadable("an amount without a number", &of("u"), "number must be non-empty"),
        unreadable("an unknown multiplier", &of("1x"), "unknown multiplier x"),
        sent_for("more pico-bitcoin than 64 bits", "20000000"),
        sent_for("more msat than 64 bits", "200000000000"),
        sent_for("more msat than 64 bits in milli-bitcoin", "18446744073709551615m"),
        unreadable(
            "a number of more than 64 bits",
            &of("18446744073709551616u"),
            "strconv.ParseUint: parsing \"18446744073709551616\": value out of range",
        ),
    ]
}

fn times() -> Vec<Case> {
    let expired = "invoice expired. Valid until…";
    vec![
        unpayable("an expiry of a year and a second", &plain().set(X, of_number(31_536_001))),
        refused(
            "an expiry that overflows in nanoseconds",
            &plain().set(X, of_number(9_223_372_037)),
            expired,
        ),
        unpayable(
            "an expiry that overflows to a second ago",
            &plain().set(X, of_number(u64::MAX / 2)),
        ),
        unreadable(
            "an expiry of too many groups",
            &plain().set(X, of_number_in(1, 14)),
            "cannot parse data of length 14 as uint64",
        ),
        unreadable(
            "a time lock of too many groups",
            &plain().set(C, of_number_in(1, 14)),
            "cannot parse data of length 14 as uint64",
        ),
    ]
}

fn features() -> Vec<Case> {
    let amp = "the AMP flag (--amp or SendPaymentRequest.Amp) must be set to pay an AMP invoice";
    vec![
        refused("AMP required", &plain().features(&[8, 14, 30]), amp),
        refused("AMP optional", &plain().features(&[8, 14, 31]), amp),
        unpayable("an unknown feature required", &plain().features(&[8, 14, 100])),
        unpayable("trampoline required", &plain().features(&[8, 14, 56])),
        unpayable("no features", &plain().without(crate::draft::FEATURES)),
        unpayable("no payment secrets", &plain().features(&[8])),
        unpayable("payment secrets without the onion for them", &plain().features(&[14])),
        unpayable("zero conf without alias", &plain().features(&[8, 14, 51])),
    ]
}

fn required_fields() -> Vec<Case> {
    let no_secret = "payment request must contain either a payment address or blinded paths";
    vec![
        unreadable("no hash", &plain().without(P), "no payment hash found"),
        refused("no secret", &plain().without(S), no_secret),
        unreadable(
            "no description",
            &plain().without(D),
            "neither description nor description hash set",
        ),
        unreadable(
            "two descriptions",
            &plain().and(H, of_bytes(&[5; 32])),
            "both description and description hash set",
        ),
    ]
}

fn broken_fields() -> Vec<Case> {
    let mut padded = of_bytes(&[7; 32]);
    if let Some(last) = padded.last_mut() {
        *last |= 1;
    }
    let nobody = [&[2][..], &[0xff; 32]].concat();
    let somebody = [
        &[2][..],
        &[
            0x79, 0xbe, 0x66, 0x7e, 0xf9, 0xdc, 0xbb, 0xac, 0x55, 0xa0, 0x62, 0x95, 0xce, 0x87,
            0x0b, 0x07, 0x02, 0x9b, 0xfc, 0xdb, 0x2d, 0xce, 0x28, 0xd9, 0x59, 0xf2, 0x81, 0x5b,
            0x16, 0xf8, 0x17, 0x98,
        ],
    ]
    .concat();
    let key = "invalid public key…";
    vec![
        unreadable("bits after a hash", &plain().set(P, padded), INCOMPLETE),
        unreadable("a description of five bits", &plain().set(D, vec![0]), INCOMPLETE),
        unreadable(
            "a description that is no text",
            &plain().set(D, of_bytes(&[0xff, 0xfe])),
            "description is not valid UTF-8",
        ),
        unreadable("a payee that is no key", &plain().set(N, of_bytes(&nobody)), key),
        unreadable(
            "another payee",
            &plain().set(N, of_bytes(&somebody)),
            "invalid invoice signature",
        ),
        unreadable(
            "a hint of nothing",
            &plain().and(R, vec![]),
            "route hint field contains no hop data",
        ),
        unreadable(
            "half a hint",
            &plain().and(R, of_bytes(&[2; 50])),
            "length is not a multiple of hop hint length",
        ),
        unreadable("a hint that is no key", &plain().and(R, of_bytes(&[0xff; 51])), key),
        unreadable("half a blinded path", &plain().and(B, of_bytes(&[0; 4])), "EOF"),
        Case {
            decode: Some("invalid signature…".to_owned()),
            send: Some("invalid signature…".to_owned()),
            ..Case::new("a recovery code of 4", {
                let draft = crate::draft::Draft { recovery: Some(4), ..plain() };
                draft.write()
            })
        },
    ]
}

fn broken_fallbacks() -> Vec<Case> {
    vec![
        unreadable(
            "a fallback to nothing",
            &plain().set(F, vec![]),
            "empty fallback address field",
        ),
        unreadable(
            "a fallback of a version alone",
            &plain().set(F, vec![20]),
            "empty fallback address field",
        ),
        unreadable(
            "a fallback to half a witness program",
            &plain().set(F, address(0, 10)),
            "unknown witness program length 10",
        ),
        unreadable(
            "a fallback to half of taproot",
            &plain().set(F, address(1, 20)),
            "witness program must be 32 bytes for p2tr",
        ),
    ]
}

/// Our reader accepts one spelling only: the parsed invoice does not show how it was spelled.
fn read_by_lnd_alone() -> Vec<Case> {
    vec![
        unpayable("an amount with a zero before it", &plain().prefix("lnbcrt01m")),
        unpayable("an expiry with a zero before it", &plain().set(X, of_number_in(86_400, 6))),
        unpayable("features with a zero before them", &{
            let features = [vec![0], crate::draft::of_bits(&[8, 14, 17])].concat();
            plain().set(crate::draft::FEATURES, features)
        }),
        unpayable("two hashes", &plain().and(P, of_bytes(&[6; 32]))),
    ]
}
