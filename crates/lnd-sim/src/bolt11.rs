//! BOLT 11 invoices: written and signed by a simulated node, read with LND's words for what is wrong.

use std::time::Duration;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use lightning_invoice::{
    Bolt11InvoiceDescription, Currency, Description, InvoiceBuilder, PaymentSecret, Sha256,
    SignedRawBolt11Invoice,
};

use crate::PaymentHash;
use crate::error::LndError;

/// What goes into an invoice.
pub(crate) struct Terms<'a> {
    pub(crate) hash: PaymentHash,
    pub(crate) payment_addr: [u8; 32],
    /// 0 lets the payer choose.
    pub(crate) value_msat: u64,
    pub(crate) memo: &'a str,
    pub(crate) description_hash: Option<[u8; 32]>,
    pub(crate) created_at: Duration,
    pub(crate) expiry_secs: u64,
    pub(crate) cltv_expiry: u32,
}

/// What an invoice says.
#[derive(Debug, Clone)]
pub(crate) struct Decoded {
    /// The payee's public key, as hex.
    pub(crate) payee: String,
    pub(crate) hash: PaymentHash,
    /// Absent if the payer chooses.
    pub(crate) amount_msat: Option<u64>,
    pub(crate) payment_addr: Option<[u8; 32]>,
    pub(crate) min_final_cltv: u64,
    pub(crate) created_at_secs: u64,
    pub(crate) expiry_secs: u64,
    pub(crate) description: String,
    pub(crate) description_hash: Option<[u8; 32]>,
    pub(crate) is_amp: bool,
}

impl Decoded {
    pub(crate) fn expires_at_secs(&self) -> u64 {
        self.created_at_secs.saturating_add(self.expiry_secs)
    }
}

/// Longest text field BOLT 11 has room for: 1,023 groups of five bits.
const MAX_TEXT_BYTES: usize = 639;

pub(crate) fn encode(terms: &Terms<'_>, key: &SecretKey) -> Result<String, LndError> {
    let unfit = |error: lightning_invoice::CreationError| LndError::unknown(error.to_string());
    let description = match terms.description_hash {
        Some(hash) => Bolt11InvoiceDescription::Hash(Sha256(sha256::Hash::from_byte_array(hash))),
        None if terms.memo.len() > MAX_TEXT_BYTES => {
            let groups = (terms.memo.len() * 8).div_ceil(5);
            return Err(LndError::unknown(format!(
                "data length too big to fit within 10 bits: {groups}"
            )));
        }
        None => Bolt11InvoiceDescription::Direct(
            Description::new(terms.memo.to_owned()).map_err(unfit)?,
        ),
    };
    let mut builder = InvoiceBuilder::new(Currency::Regtest)
        .invoice_description(description)
        .payment_hash(sha256::Hash::from_byte_array(terms.hash.0))
        .payment_secret(PaymentSecret(terms.payment_addr))
        .duration_since_epoch(Duration::from_secs(terms.created_at.as_secs()))
        .min_final_cltv_expiry_delta(u64::from(terms.cltv_expiry))
        .expiry_time(Duration::from_secs(terms.expiry_secs))
        .basic_mpp();
    if terms.value_msat > 0 {
        builder = builder.amount_milli_satoshis(terms.value_msat);
    }
    let curve = Secp256k1::signing_only();
    let invoice =
        builder.build_signed(|digest| curve.sign_ecdsa_recoverable(digest, key)).map_err(unfit)?;
    Ok(invoice.to_string())
}

pub(crate) fn decode(text: &str) -> Result<Decoded, LndError> {
    let text = text.strip_prefix("lightning:").unwrap_or(text).to_lowercase();
    let signed: SignedRawBolt11Invoice = text.parse().map_err(|_| unreadable(&text))?;
    let raw = signed.raw_invoice();
    if raw.currency() != Currency::Regtest {
        return Err(other_network());
    }
    let payee = match raw.payee_pub_key() {
        Some(key) if signed.check_signature() => key.0,
        Some(_) => return Err(LndError::unknown("invalid invoice signature")),
        None => {
            signed
                .recover_payee_pub_key()
                .map_err(|_| LndError::unknown("invalid invoice signature"))?
                .0
        }
    };
    let hash = raw.payment_hash().ok_or_else(|| LndError::unknown("no payment hash found"))?;
    let amount_msat = match raw.amount_pico_btc() {
        Some(pico) if pico % 10 != 0 => {
            return Err(LndError::unknown("invoice amount is not a whole millisatoshi"));
        }
        Some(pico) => Some(pico / 10),
        None => None,
    };
    let flags = raw.features().map(|features| features.le_flags().to_vec()).unwrap_or_default();
    Ok(Decoded {
        payee: payee.to_string(),
        hash: PaymentHash(hash.0.to_byte_array()),
        amount_msat: amount_msat.filter(|msat| *msat > 0),
        payment_addr: raw.payment_secret().map(|secret| secret.0),
        min_final_cltv: raw.min_final_cltv_expiry_delta().map_or(18, |delta| delta.0),
        created_at_secs: raw.data.timestamp.as_unix_timestamp(),
        expiry_secs: raw.expiry_time().map_or(3600, lightning_invoice::ExpiryTime::as_seconds),
        description: raw.description().map(ToString::to_string).unwrap_or_default(),
        description_hash: raw.description_hash().map(|hash| hash.0.to_byte_array()),
        is_amp: flags.get(3).is_some_and(|byte| byte & 0b1100_0000 != 0), // bits 30 and 31
    })
}

fn other_network() -> LndError {
    LndError::unknown("invoice not for current active network 'regtest'")
}

fn unreadable(text: &str) -> LndError {
    const CHARSET: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let Some((_, payload)) = text.rsplit_once('1') else {
        return LndError::unknown("decoding bech32 failed: invalid index of 1: -1");
    };
    match payload.chars().find(|letter| !CHARSET.contains(*letter)) {
        Some(letter) => LndError::unknown(format!(
            "failed converting data to bytes: invalid character not part of charset: {}",
            u32::from(letter)
        )),
        None => LndError::unknown("checksum failed"),
    }
}
