//! Reads an invoice with LND's checks, in LND's order and with LND's errors (`zpay32`).
//!
//! It is no better than LND: what LND cannot read is not read here, and an amount or an expiry that
//! overflows in LND overflows here.

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::ecdsa::{RecoverableSignature, RecoveryId, Signature};
use bitcoin::secp256k1::{Message, PublicKey, Secp256k1};

use super::amount;
use super::bech32::{self, to_bytes, to_bytes_padded};
use super::features::Features;
use crate::hash::PaymentHash;
use crate::lnd_error::LndError;

/// The contents of an invoice.
#[derive(Debug, Clone)]
pub(crate) struct Decoded {
    /// The payee's public key, as hex.
    pub(crate) payee: String,
    pub(crate) hash: PaymentHash,
    /// Absent if it is left to the payer. A written zero is an amount, as in LND.
    pub(crate) amount_msat: Option<u64>,
    pub(crate) payment_addr: Option<[u8; 32]>,
    pub(crate) min_final_cltv: u64,
    pub(crate) created_at_secs: u64,
    pub(crate) expiry_secs: u64,
    pub(crate) description: String,
    pub(crate) description_hash: Option<[u8; 32]>,
    pub(crate) features: Features,
    pub(crate) has_blinded_paths: bool,
}

impl Decoded {
    /// When it expires. LND counts an expiry in nanoseconds, which overflow after 292 years and can give
    /// a time in the past.
    pub(crate) fn expires_at_secs(&self) -> u64 {
        let nanos = self.expiry_secs.wrapping_mul(1_000_000_000).cast_signed();
        self.created_at_secs.saturating_add_signed(nanos.div_euclid(1_000_000_000))
    }

    /// LND has room for 16 bits.
    pub(crate) fn final_cltv(&self) -> u32 {
        let [low, high, ..] = self.min_final_cltv.to_le_bytes();
        u32::from(u16::from_le_bytes([low, high]))
    }
}

/// What a QR code can hold.
const MAX_CHARS: usize = 7_089;
const PREFIX: &str = "lnbcrt";
const SIGNATURE_GROUPS: usize = 104;
const TIMESTAMP_GROUPS: usize = 7;
const HASH_GROUPS: usize = 52;
const KEY_GROUPS: usize = 53;
const HOP_BYTES: usize = 51;
const KEY_BYTES: usize = 33;
const DEFAULT_EXPIRY_SECS: u64 = 3600;
const DEFAULT_FINAL_CLTV: u64 = 18;

fn no<T>(text: impl Into<String>) -> Result<T, LndError> {
    Err(LndError::unknown(text))
}

pub(crate) fn decode(text: &str) -> Result<Decoded, LndError> {
    if text.len() > MAX_CHARS {
        return no("invoice is too large");
    }
    let (hrp, data) = bech32::decode(text)?;
    if hrp.len() < 3 {
        return no("hrp too short");
    }
    if !hrp.starts_with("ln") {
        return no("prefix should be \"ln\"");
    }
    let Some(amount) = hrp.strip_prefix(PREFIX) else {
        return no("invoice not for current active network 'regtest'");
    };
    let amount_msat = if amount.is_empty() { None } else { Some(amount::decode(amount)?) };
    let Some(signed_groups) = data.len().checked_sub(SIGNATURE_GROUPS) else {
        return no("short invoice");
    };
    let (signed, signature) = data.split_at(signed_groups);
    if signed.len() < TIMESTAMP_GROUPS {
        return no(format!("data too short: {}", signed.len()));
    }
    let (timestamp, tagged) = signed.split_at(TIMESTAMP_GROUPS);
    let created_at_secs = to_u64(timestamp)?;
    let fields = Fields::parse(tagged)?;
    let payee = payee(&hrp, signed, signature, fields.payee.as_ref())?;
    let hash = fields.validate()?;
    Ok(Decoded {
        payee: payee.to_string(),
        hash: PaymentHash(hash),
        amount_msat,
        payment_addr: fields.payment_addr,
        min_final_cltv: fields.min_final_cltv.unwrap_or(DEFAULT_FINAL_CLTV),
        created_at_secs,
        expiry_secs: fields.expiry_secs.unwrap_or(DEFAULT_EXPIRY_SECS),
        description: fields.description.unwrap_or_default(),
        description_hash: fields.description_hash,
        features: fields.features.unwrap_or_default(),
        has_blinded_paths: fields.blinded_paths > 0,
    })
}

/// The signer: the key that the invoice names, or the one recovered from the signature.
fn payee(
    hrp: &str,
    signed: &[u8],
    signature: &[u8],
    named: Option<&PublicKey>,
) -> Result<PublicKey, LndError> {
    let bytes = to_bytes_padded(signature);
    let Some((recovery, compact)) = bytes.split_last() else { return no("short invoice") };
    let digest = [hrp.as_bytes(), &to_bytes_padded(signed)].concat();
    let digest = Message::from_digest(sha256::Hash::hash(&digest).to_byte_array());
    let curve = Secp256k1::verification_only();
    if let Some(named) = named {
        let Ok(mut standard) = Signature::from_compact(compact) else {
            return no("unable to deserialize signature: invalid signature");
        };
        standard.normalize_s();
        return match curve.verify_ecdsa(&digest, &standard, named) {
            Ok(()) => Ok(*named),
            Err(_) => no("invalid invoice signature"),
        };
    }
    let Ok(recovery_id) = RecoveryId::from_i32(i32::from(*recovery)) else {
        return no(format!(
            "invalid signature: public key recovery code {} is not in the valid range [27, 34]",
            recovery.wrapping_add(31)
        ));
    };
    let recovered = RecoverableSignature::from_compact(compact, recovery_id)
        .and_then(|signature| curve.recover_ecdsa(&digest, &signature));
    recovered.or_else(|_| no("invalid signature: signature is not for a valid curve point"))
}

/// The tagged fields. Of most kinds the first valid one counts.
#[derive(Default)]
struct Fields {
    hash: Option<[u8; 32]>,
    payment_addr: Option<[u8; 32]>,
    description: Option<String>,
    description_hash: Option<[u8; 32]>,
    has_metadata: bool,
    payee: Option<PublicKey>,
    expiry_secs: Option<u64>,
    min_final_cltv: Option<u64>,
    has_fallback: bool,
    features: Option<Features>,
    route_hints: usize,
    blinded_paths: usize,
}

impl Fields {
    fn parse(mut rest: &[u8]) -> Result<Self, LndError> {
        let mut fields = Self::default();
        while !rest.is_empty() {
            let [tag, high, low, after @ ..] = rest else {
                return no("last tagged field is broken");
            };
            let groups = (usize::from(*high) << 5) | usize::from(*low);
            let Some((data, after)) = after.split_at_checked(groups) else {
                return no("invalid field length");
            };
            fields.read(*tag, data)?;
            rest = after;
        }
        Ok(fields)
    }

    fn read(&mut self, tag: u8, data: &[u8]) -> Result<(), LndError> {
        match tag {
            1 if self.hash.is_none() => self.hash = to_32_bytes(data)?,
            16 if self.payment_addr.is_none() => self.payment_addr = to_32_bytes(data)?,
            13 if self.description.is_none() => {
                let Ok(text) = String::from_utf8(to_bytes(data)?) else {
                    return no("description is not valid UTF-8");
                };
                self.description = Some(text);
            }
            27 if !self.has_metadata => {
                to_bytes(data)?;
                self.has_metadata = true;
            }
            19 if self.payee.is_none() && data.len() == KEY_GROUPS => {
                self.payee = Some(to_key(&to_bytes(data)?)?);
            }
            23 if self.description_hash.is_none() => self.description_hash = to_32_bytes(data)?,
            6 if self.expiry_secs.is_none() => self.expiry_secs = Some(to_u64(data)?),
            24 if self.min_final_cltv.is_none() => self.min_final_cltv = Some(to_u64(data)?),
            9 if !self.has_fallback => self.has_fallback = is_fallback(data)?,
            3 => {
                check_route_hint(&to_bytes(data)?)?;
                self.route_hints += 1;
            }
            5 if self.features.is_none() => self.features = Some(Features::from_groups(data)),
            20 => {
                check_blinded_path(&to_bytes(data)?)?;
                self.blinded_paths += 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn validate(&self) -> Result<[u8; 32], LndError> {
        let Some(hash) = self.hash else { return no("no payment hash found") };
        if self.route_hints > 0 && self.blinded_paths > 0 {
            return no("cannot have both route hints and blinded payment paths");
        }
        match (&self.description, &self.description_hash) {
            (Some(_), Some(_)) => no("both description and description hash set"),
            (None, None) => no("neither description nor description hash set"),
            (Some(_), None) | (None, Some(_)) => Ok(hash),
        }
    }
}

/// Fields of another length are skipped.
fn to_32_bytes(groups: &[u8]) -> Result<Option<[u8; 32]>, LndError> {
    if groups.len() != HASH_GROUPS {
        return Ok(None);
    }
    Ok(<[u8; 32]>::try_from(to_bytes(groups)?).ok())
}

fn to_u64(groups: &[u8]) -> Result<u64, LndError> {
    if groups.len() > 13 {
        return no(format!("cannot parse data of length {} as uint64", groups.len()));
    }
    Ok(groups.iter().fold(0, |value: u64, group| (value << 5) | u64::from(*group)))
}

fn to_key(bytes: &[u8]) -> Result<PublicKey, LndError> {
    let format = bytes.first().copied().unwrap_or_default();
    if !matches!(format, 2 | 3) {
        return no(format!("invalid public key: unsupported format: {format:x}"));
    }
    PublicKey::from_slice(bytes).or_else(|_| {
        let x = hex::encode(bytes.get(1..).unwrap_or_default());
        no(format!("invalid public key: x coordinate {x} is not on the secp256k1 curve"))
    })
}

/// Whether it is an address that LND accepts; unknown versions are not checked.
fn is_fallback(data: &[u8]) -> Result<bool, LndError> {
    let [version, program @ ..] = data else { return no("empty fallback address field") };
    if program.is_empty() {
        return no("empty fallback address field");
    }
    let is_address = match version {
        0 => match to_bytes(program)?.len() {
            20 | 32 => Ok(true),
            other => Err(format!("unknown witness program length {other}")),
        },
        1 if to_bytes(program)?.len() != 32 => {
            Err("witness program must be 32 bytes for p2tr".to_owned())
        }
        17 if to_bytes(program)?.len() != 20 => Err("pkHash must be 20 bytes".to_owned()),
        18 if to_bytes(program)?.len() != 20 => Err("scriptHash must be 20 bytes".to_owned()),
        1 | 17 | 18 => Ok(true),
        _ => Ok(false),
    };
    is_address.or_else(no)
}

fn check_route_hint(bytes: &[u8]) -> Result<(), LndError> {
    if !bytes.len().is_multiple_of(HOP_BYTES) {
        return no("length is not a multiple of hop hint length");
    }
    if bytes.is_empty() {
        return no("route hint field contains no hop data");
    }
    for hop in bytes.chunks(HOP_BYTES) {
        to_key(hop.get(..KEY_BYTES).unwrap_or_default())?;
    }
    Ok(())
}

/// Fees, limits and features of the path, where it begins, and its hops.
fn check_blinded_path(bytes: &[u8]) -> Result<(), LndError> {
    let mut rest = bytes;
    for relay_info in [4, 4, 2, 8, 8] {
        take(&mut rest, relay_info)?;
    }
    let features = take(&mut rest, 2)?;
    take(&mut rest, features.iter().fold(0, |size, byte| (size << 8) | usize::from(*byte)))?;
    to_key(take(&mut rest, KEY_BYTES)?)?;
    for _ in 0..take(&mut rest, 1)?.first().copied().unwrap_or_default() {
        to_key(take(&mut rest, KEY_BYTES)?)?;
        let size = match take(&mut rest, 1)? {
            [0xfd] => take(&mut rest, 2)?,
            short => short,
        };
        take(&mut rest, size.iter().fold(0, |size, byte| (size << 8) | usize::from(*byte)))?;
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], LndError> {
    let Some((taken, after)) = rest.split_at_checked(count) else {
        return no(if rest.is_empty() { "EOF" } else { "unexpected EOF" });
    };
    *rest = after;
    Ok(taken)
}
