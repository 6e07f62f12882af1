//! The destination that a buyer gave, read without any call.
//!
//! LND refuses an invoice that it cannot read before it registers a payment, and a payout that it does
//! not know is sent again. So LND must be able to register whatever is accepted here (D44).

mod features;

use lightning_invoice::{
    Bolt11Invoice, Currency, Fallback, RawBolt11Invoice, RawTaggedField, SignedRawBolt11Invoice,
    TaggedField,
};
use trade::{Destination, Invoice, Msats, Network, NodeKey, PaymentHash, Timestamp};

/// The longest invoice of BOLT 11. Longer texts are not read.
const MAX_CHARS: usize = 7_089;

/// LND makes no invoice with a longer expiry, and overflows on one of centuries.
const MAX_EXPIRY_SECS: u64 = 31_536_000;

const FALLBACK_TAG: u8 = 9;
const BLINDED_PATH_TAG: u8 = 20;

/// Reads a buyer's text. Lightning addresses, LNURLs and everything unreadable are `Unsupported`.
///
/// The checksum, signature and fields of an invoice are verified; whether it may be paid is decided by
/// the core.
#[must_use]
pub fn decode(text: &str) -> Destination {
    read(text).map_or(Destination::Unsupported, Destination::Bolt11)
}

/// The hash of an invoice that was accepted before. LND checks the rest.
pub(crate) fn payment_hash(text: &str) -> Option<PaymentHash> {
    let signed: SignedRawBolt11Invoice = text.parse().ok()?;
    signed.payment_hash().map(|hash| PaymentHash(*hash.0.as_ref()))
}

fn read(text: &str) -> Option<Invoice> {
    if text.len() > MAX_CHARS {
        return None;
    }
    let signed: SignedRawBolt11Invoice = text.parse().ok()?;
    // The library leaves out fields that it cannot read, and then computes another payee than LND.
    let is_whole = signed.to_string().eq_ignore_ascii_case(text);
    if !is_whole || !signed.raw_invoice().data.tagged_fields.iter().all(is_readable) {
        return None;
    }
    let amount = match signed.raw_invoice().hrp.raw_amount {
        Some(_) => Some(msats(signed.raw_invoice())?),
        None => None,
    };
    let invoice = Bolt11Invoice::from_signed(signed).ok()?;
    if invoice.expiry_time().as_secs() > MAX_EXPIRY_SECS
        || !features::are_payable(invoice.features()?.le_flags())
    {
        return None;
    }
    let expires_at = i64::try_from(invoice.expires_at()?.as_secs()).ok()?;
    Some(Invoice {
        text: text.to_owned(),
        hash: PaymentHash(*invoice.payment_hash().as_ref()),
        payee: NodeKey(invoice.get_payee_pub_key().serialize()),
        amount,
        expires_at: Timestamp(expires_at),
        min_final_cltv: u32::try_from(invoice.min_final_cltv_expiry_delta()).ok()?,
        network: network(&invoice.currency()),
    })
}

/// The amount in the invoice, if LND can read it and pay it. To LND a zero there is an amount.
fn msats(invoice: &RawBolt11Invoice) -> Option<Msats> {
    let pico = invoice.amount_pico_btc()?;
    let is_whole = pico > 0 && pico.is_multiple_of(10);
    is_whole.then_some(Msats(pico / 10))
}

/// Whether LND reads this field too. The payee of a blinded path could be our own node without our
/// knowing.
fn is_readable(field: &RawTaggedField) -> bool {
    match field {
        RawTaggedField::KnownSemantics(TaggedField::PrivateRoute(route)) => !route.0.is_empty(),
        RawTaggedField::KnownSemantics(TaggedField::Fallback(fallback)) => match fallback {
            Fallback::SegWitProgram { version, program } => match version.to_num() {
                0 => matches!(program.len(), 20 | 32),
                1 => program.len() == 32,
                _ => true,
            },
            Fallback::PubKeyHash(_) | Fallback::ScriptHash(_) => true,
        },
        RawTaggedField::KnownSemantics(_) => true,
        RawTaggedField::UnknownSemantics(groups) => {
            // A tag, a length of two groups, and the data.
            match groups.first().map(|tag| tag.to_u8()) {
                Some(FALLBACK_TAG) => groups.len() > 4,
                tag => tag != Some(BLINDED_PATH_TAG),
            }
        }
    }
}

fn network(currency: &Currency) -> Network {
    match currency {
        Currency::Bitcoin => Network::Mainnet,
        Currency::BitcoinTestnet => Network::Testnet,
        Currency::Regtest => Network::Regtest,
        Currency::Simnet => Network::Simnet,
        Currency::Signet => Network::Signet,
    }
}

#[cfg(test)]
mod tests;
