//! The first coins of the chain. They belong to no wallet: all blocks are mined to a well-known key.

use anyhow::{Context as _, Result};
use bitcoin::secp256k1::{Message, PublicKey, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{
    Address, Amount, CompressedPublicKey, KnownHrp, Network, OutPoint, ScriptBuf, Sequence,
    Transaction, TxIn, TxOut, Txid, Witness, absolute,
};

/// The reward of each of the first blocks.
const COINBASE: Amount = Amount::from_int_btc(50);
/// More than enough on a chain without other transactions.
const FEE: Amount = Amount::from_sat(10_000);

/// The address that mined coins go to.
pub(crate) fn address() -> Address {
    Address::p2wpkh(&CompressedPublicKey(public_key()), KnownHrp::Regtest)
}

/// Spends an early coinbase: this amount to each address, the rest back to the well-known key.
pub(crate) fn spend(coinbase: Txid, to: &[String], amount: Amount) -> Result<Transaction> {
    let mut output = Vec::new();
    for address in to {
        let address: Address<_> = address.parse()?;
        let script_pubkey = address.require_network(Network::Regtest)?.script_pubkey();
        output.push(TxOut { value: amount, script_pubkey });
    }
    let spent = output.iter().try_fold(FEE, |sum, output| sum.checked_add(output.value));
    let rest = spent
        .and_then(|spent| COINBASE.checked_sub(spent))
        .context("the amounts exceed one coinbase")?;
    output.push(TxOut { value: rest, script_pubkey: address().script_pubkey() });

    let mut transaction = Transaction {
        version: Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint { txid: coinbase, vout: 0 },
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output,
    };
    transaction.input[0].witness = witness(&transaction)?;
    Ok(transaction)
}

fn witness(transaction: &Transaction) -> Result<Witness> {
    let sighash = SighashCache::new(transaction).p2wpkh_signature_hash(
        0,
        &address().script_pubkey(),
        COINBASE,
        EcdsaSighashType::All,
    )?;
    let signature = Secp256k1::new().sign_ecdsa(&Message::from(sighash), &secret_key());
    let signature = bitcoin::ecdsa::Signature::sighash_all(signature);
    Ok(Witness::p2wpkh(&signature, &public_key()))
}

fn public_key() -> PublicKey {
    PublicKey::from_secret_key(&Secp256k1::new(), &secret_key())
}

/// The integer 1.
fn secret_key() -> SecretKey {
    SecretKey::from_slice(&bitcoin::secp256k1::constants::ONE).expect("1 is a key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coins_are_mined_to_the_well_known_key() {
        assert_eq!(address().to_string(), "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080");
    }
}
