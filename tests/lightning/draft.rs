//! Invoices with any content, correctly signed.

use bech32::primitives::iter::Fe32IterExt as _;
use bech32::{Bech32, Fe32, Hrp};
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::{Message, PublicKey, Secp256k1, SecretKey};

pub(crate) const P: u8 = 1;
pub(crate) const R: u8 = 3;
pub(crate) const FEATURES: u8 = 5;
pub(crate) const X: u8 = 6;
pub(crate) const F: u8 = 9;
pub(crate) const D: u8 = 13;
pub(crate) const S: u8 = 16;
pub(crate) const N: u8 = 19;
pub(crate) const B: u8 = 20;
pub(crate) const H: u8 = 23;
pub(crate) const C: u8 = 24;
pub(crate) const M: u8 = 27;

/// In the far future, so that the invoices of the tests do not expire.
const WRITTEN_AT: u64 = 4_000_000_000;

/// The content of an invoice, as groups of five bits.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) prefix: String,
    pub(crate) written_at: u64,
    pub(crate) fields: Vec<(u8, Vec<u8>)>,
    pub(crate) recovery: Option<u8>,
}

/// An invoice over 100,000 sat as LND writes it.
pub(crate) fn plain() -> Draft {
    Draft {
        prefix: "lnbcrt1m".to_owned(),
        written_at: WRITTEN_AT,
        fields: vec![
            (P, of_bytes(&[7; 32])),
            (S, of_bytes(&[9; 32])),
            (D, of_bytes(b"payout")),
            (FEATURES, of_bits(&[8, 14, 17])),
            (X, of_number(86_400)),
            (C, of_number(18)),
        ],
        recovery: None,
    }
}

impl Draft {
    pub(crate) fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// With this field instead of those of its kind.
    pub(crate) fn set(self, tag: u8, groups: Vec<u8>) -> Self {
        self.without(tag).and(tag, groups)
    }

    pub(crate) fn without(mut self, tag: u8) -> Self {
        self.fields.retain(|(of, _)| *of != tag);
        self
    }

    /// With one more field, after all others.
    pub(crate) fn and(mut self, tag: u8, groups: Vec<u8>) -> Self {
        self.fields.push((tag, groups));
        self
    }

    pub(crate) fn features(self, bits: &[usize]) -> Self {
        self.set(FEATURES, of_bits(bits))
    }

    /// Signed by the payee, with a checksum.
    pub(crate) fn write(&self) -> String {
        let mut groups = of_number_in(self.written_at, 7);
        for (tag, field) in &self.fields {
            groups.push(*tag);
            groups.extend(of_number_in(u64::try_from(field.len()).expect("a length"), 2));
            groups.extend(field);
        }
        let digest = [self.prefix.as_bytes(), &to_bytes(&groups)].concat();
        let digest = Message::from_digest(sha256::Hash::hash(&digest).to_byte_array());
        let signed = Secp256k1::signing_only().sign_ecdsa_recoverable(&digest, &payee());
        let (recovery, signature) = signed.serialize_compact();
        let recovery = u8::try_from(recovery.to_i32()).expect("0 to 3");
        groups.extend(of_bytes(&[&signature[..], &[self.recovery.unwrap_or(recovery)]].concat()));
        with_checksum(&self.prefix, &groups)
    }
}

pub(crate) fn with_checksum(prefix: &str, groups: &[u8]) -> String {
    let hrp = Hrp::parse(prefix).expect("a prefix");
    let groups = groups.iter().map(|group| Fe32::try_from(*group).expect("five bits"));
    groups.with_checksum::<Bech32>(&hrp).chars().collect()
}

/// The key of no real node.
fn payee() -> SecretKey {
    SecretKey::from_slice(&[42; 32]).expect("a key")
}

pub(crate) fn payee_key() -> [u8; 33] {
    PublicKey::from_secret_key(&Secp256k1::signing_only(), &payee()).serialize()
}

pub(crate) fn of_bytes(bytes: &[u8]) -> Vec<u8> {
    let bits: Vec<bool> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| (byte >> bit) & 1 == 1)).collect();
    bits.chunks(5).map(|bits| group(bits) << (5 - bits.len())).collect()
}

/// The last group has the lowest bits.
pub(crate) fn of_bits(bits: &[usize]) -> Vec<u8> {
    let groups = bits.iter().max().map_or(0, |highest| highest / 5 + 1);
    (0..groups)
        .rev()
        .map(|index| {
            bits.iter()
                .filter(|bit| *bit / 5 == index)
                .fold(0, |group, bit| group | (1 << (bit % 5)))
        })
        .collect()
}

/// In as few groups as possible.
pub(crate) fn of_number(number: u64) -> Vec<u8> {
    let groups = of_number_in(number, 13);
    groups.into_iter().skip_while(|group| *group == 0).collect()
}

pub(crate) fn of_number_in(number: u64, groups: u32) -> Vec<u8> {
    (0..groups).rev().map(|index| number.checked_shr(5 * index).map_or(0, low_five)).collect()
}

fn low_five(number: u64) -> u8 {
    u8::try_from(number & 31).expect("five bits")
}

fn to_bytes(groups: &[u8]) -> Vec<u8> {
    let bits: Vec<bool> = groups
        .iter()
        .flat_map(|group| (0..5).rev().map(move |bit| (group >> bit) & 1 == 1))
        .collect();
    bits.chunks(8).map(|bits| group(bits) << (8 - bits.len())).collect()
}

fn group(bits: &[bool]) -> u8 {
    bits.iter().fold(0, |group, bit| (group << 1) | u8::from(*bit))
}
