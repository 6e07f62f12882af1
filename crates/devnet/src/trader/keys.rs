//! The keys of a client, derived from one BIP-39 seed by the protocol's path.

use anyhow::{Context as _, Result};
use nostr_sdk::Keys;
use nostr_sdk::nips::nip06::FromMnemonic as _;
use nostr_sdk::prelude::bip39::Mnemonic;

/// Twelve words, from which keys are derived: `m/44'/1237'/38383'/0/<index>`.
pub struct Seed(Mnemonic);

const ACCOUNT: u32 = 38_383;
const IDENTITY: u32 = 0;

impl Seed {
    /// # Errors
    /// If the system has no randomness.
    pub fn random() -> Result<Self> {
        let mut entropy = [0; 16];
        getrandom::fill(&mut entropy)?;
        Ok(Self(Mnemonic::from_entropy(&entropy)?))
    }

    /// # Errors
    /// If the words are not a BIP-39 seed.
    pub fn parse(words: &str) -> Result<Self> {
        Ok(Self(Mnemonic::parse(words)?))
    }

    /// The identity key, which only the node may know.
    ///
    /// # Errors
    /// If the derivation fails.
    pub fn identity(&self) -> Result<Keys> {
        self.derive(IDENTITY)
    }

    /// A trade key; `index` starts at 1.
    ///
    /// # Errors
    /// If the derivation fails.
    pub fn trade(&self, index: u32) -> Result<Keys> {
        self.derive(index)
    }

    fn derive(&self, index: u32) -> Result<Keys> {
        let words = self.0.to_string();
        Keys::from_mnemonic_advanced(words, None, Some(ACCOUNT), Some(0), Some(index))
            .with_context(|| format!("no key at index {index}"))
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed([secret])")
    }
}

#[cfg(test)]
mod tests {
    use nostr_sdk::ToBech32 as _;
    use serde_json::Value;

    use super::*;

    #[test]
    fn keys_are_derived_by_the_protocols_path() {
        let golden = include_str!("../../../../tests/golden/keys.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let maker = &golden["maker"];
        let seed = Seed::parse(maker["mnemonic"].as_str().unwrap()).unwrap();

        for key in maker["keys"].as_array().unwrap() {
            let index = u32::try_from(key["index"].as_u64().unwrap()).unwrap();
            let derived = seed.derive(index).unwrap().public_key().to_bech32().unwrap();
            assert_eq!(derived, key["npub"].as_str().unwrap(), "index {index}");
        }
    }
}
