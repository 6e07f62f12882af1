//! BOLT 11 invoices: written and signed by a simulated node, read with LND's errors.

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

pub(crate) use decode::{Decoded, decode};

use crate::hash::PaymentHash;
use crate::lnd_error::LndError;

/// The terms of an invoice.
pub(crate) struct Terms<'a> {
    pub(crate) hash: PaymentHash,
    pub(crate) payment_addr: [u8; 32],
    /// 0 leaves the amount to the payer.
    pub(crate) value_msat: u64,
    pub(crate) memo: &'a str,
    pub(crate) description_hash: Option<[u8; 32]>,
    pub(crate) created_at: Duration,
    pub(crate) expiry_secs: u64,
    pub(crate) cltv_expiry: u32,
}

/// The longest text field of BOLT 11: 1,023 groups of five bits.
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
