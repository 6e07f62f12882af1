//! BOLT 11 invoices: written and signed by a simulated node, read with LND's words for what is wrong.

mod amount;
mod bech32;
mod decode;
mod features;

use std::time::Duration;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use lightning_invoice::{
    Bolt11InvoiceDescription, Currency, Description, InvoiceBuilder, PaymentSecret, Sha256,
};

pub(crate) use decode::decode;
pub(crate) use features::Features;

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
    /// Absent if the payer chooses; LND takes a written zero for an amount.
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
    /// Until when it may be paid. LND counts an expiry in nanoseconds, which overflow after 292 years:
    /// then it may have been long ago.
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
