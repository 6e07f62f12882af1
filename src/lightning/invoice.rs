//! What a buyer named as the place to be paid, read without asking anybody.

use lightning_invoice::{Bolt11Invoice, Currency};
use trade::{Destination, Invoice, Msats, Network, NodeKey, PaymentHash, Timestamp};

/// Longer texts are not read: no wallet writes them, and BOLT 11 ends there.
const MAX_CHARS: usize = 7_089;

/// Reads a buyer's text. Lightning addresses, LNURLs and everything unreadable are `Unsupported`.
///
/// An invoice comes back with its checksum, signature and fields verified; whether it may be paid
/// is the core's question.
#[must_use]
pub fn decode(text: &str) -> Destination {
    read(text).map_or(Destination::Unsupported, Destination::Bolt11)
}

pub(crate) fn read(text: &str) -> Option<Invoice> {
    if text.len() > MAX_CHARS {
        return None;
    }
    let invoice: Bolt11Invoice = text.parse().ok()?;
    let expires_at = i64::try_from(invoice.expires_at()?.as_secs()).ok()?;
    Some(Invoice {
        text: text.to_owned(),
        hash: PaymentHash(*invoice.payment_hash().as_ref()),
        payee: NodeKey(invoice.get_payee_pub_key().serialize()),
        amount: invoice.amount_milli_satoshis().filter(|amount| *amount > 0).map(Msats),
        expires_at: Timestamp(expires_at),
        min_final_cltv: u32::try_from(invoice.min_final_cltv_expiry_delta()).ok()?,
        network: network(&invoice.currency()),
    })
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
