//! Payment hashes and preimages: 32 bytes that must not be swapped.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::lnd_error::LndError;

/// A payment hash, written as hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PaymentHash(pub [u8; 32]);

/// The preimage of a payment hash, which settles its HTLCs.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Preimage(pub [u8; 32]);

impl Preimage {
    /// The hash of this preimage.
    #[must_use]
    pub fn hash(&self) -> PaymentHash {
        PaymentHash(Sha256::digest(self.0).into())
    }
}

impl PaymentHash {
    /// Reads a hash from a request. Other lengths are refused with LND's text.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, LndError> {
        <[u8; 32]>::try_from(bytes).map(Self).map_err(|_| {
            LndError::unknown(format!("invalid hash length of {}, want 32", bytes.len()))
        })
    }
}

impl Preimage {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, LndError> {
        <[u8; 32]>::try_from(bytes).map(Self).map_err(|_| {
            LndError::unknown(format!("invalid preimage length of {}, want 32", bytes.len()))
        })
    }
}

/// Text that is not 64 hex digits.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("want 64 hex digits")]
pub struct NotHex;

fn parse(text: &str) -> Result<[u8; 32], NotHex> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| NotHex)?;
    Ok(bytes)
}

impl FromStr for PaymentHash {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Self, NotHex> {
        parse(text).map(Self)
    }
}

impl TryFrom<String> for PaymentHash {
    type Error = NotHex;

    fn try_from(text: String) -> Result<Self, NotHex> {
        text.parse()
    }
}

impl TryFrom<String> for Preimage {
    type Error = NotHex;

    fn try_from(text: String) -> Result<Self, NotHex> {
        parse(&text).map(Self)
    }
}

impl From<PaymentHash> for String {
    fn from(hash: PaymentHash) -> Self {
        hex::encode(hash.0)
    }
}

impl From<Preimage> for String {
    fn from(preimage: Preimage) -> Self {
        hex::encode(preimage.0)
    }
}

impl fmt::Display for PaymentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PaymentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Preimage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
