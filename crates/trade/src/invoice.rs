//! A buyer's invoice, as far as the rules care (behaviour §4.5).

use std::fmt;

use crate::{Msats, NodeKey, PaymentHash, Policy, Sats, Timestamp};

/// The chain an invoice or a node belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    Mainnet,
    Testnet,
    Signet,
    Regtest,
    Simnet,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mainnet => "mainnet",
            Self::Testnet => "testnet",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
            Self::Simnet => "simnet",
        })
    }
}

/// Who our own Lightning node is. Learned from it once and remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LightningIdentity {
    pub key: NodeKey,
    pub network: Network,
}

/// A BOLT 11 invoice that LND can read and register: the shell has checked that (D44).
#[derive(Clone, PartialEq, Eq)]
pub struct Invoice {
    /// The text as the buyer sent it; what is paid, byte for byte (P2).
    pub text: String,
    pub hash: PaymentHash,
    pub payee: NodeKey,
    /// `None`: the payer says how much. Never zero (D44).
    pub amount: Option<Msats>,
    pub expires_at: Timestamp,
    pub min_final_cltv: u32,
    pub network: Network,
}

/// What a buyer named as the place to be paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Bolt11(Invoice),
    /// Unreadable, or of a kind this daemon does not pay.
    Unsupported,
}

impl std::fmt::Debug for Invoice {
    /// Without the text: users' invoices do not belong into logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Invoice({}, {:?})", self.hash, self.amount)
    }
}

impl Invoice {
    /// Whether a payout of `expected` may be promised to this invoice now.
    ///
    /// `node` is unknown only before the first contact with LND; chain and payee go unchecked then.
    #[must_use]
    pub fn is_payable(
        &self,
        expected: Sats,
        node: Option<&LightningIdentity>,
        policy: &Policy,
        now: Timestamp,
    ) -> bool {
        let right_node =
            node.is_none_or(|node| self.network == node.network && self.payee != node.key);
        let right_amount = self.amount.is_none() || self.amount == expected.to_msats();
        let lives = self.expires_at >= now.after(policy.invoice_window) && self.expires_at > now;
        right_node && right_amount && lives && self.min_final_cltv <= policy.max_final_cltv
    }
}
