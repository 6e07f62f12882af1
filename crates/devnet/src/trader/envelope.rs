//! Opens the node's envelopes with `mostro-core`, and checks what `mostro-core` does not check.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mostro_core::nip59::unwrap_message;
use mostro_core::transport::unwrap_message_nip44;
use nostr_sdk::nips::nip44;
use nostr_sdk::{Event, JsonUtil as _, Keys, Kind, PublicKey};
use serde_json::Value;

use super::received::Received;
use super::transport::Transport;

/// Opens an event for a trade key and checks the rules for the node's envelopes: the node's key on
/// every layer, no inner signature, the version of the transport.
pub(super) async fn open(event: &Event, trade: &Keys, node: PublicKey) -> Result<Received> {
    let (transport, opened) = match event.kind {
        Kind::GiftWrap => (Transport::GiftWrap, unwrap_message(event, trade).await?),
        _ => (Transport::Nip44, unwrap_message_nip44(event, trade)?),
    };
    let opened = opened.context("it cannot be opened with the key it is addressed to")?;
    ensure!(opened.sender == node, "its author is {}", opened.sender);
    ensure!(opened.identity == node, "it proves another identity: {}", opened.identity);
    ensure!(
        opened.signature.is_none(),
        "it has an inner signature, which clients expect of their own messages only"
    );
    let version = opened.message.get_inner_message_kind().version;
    ensure!(version == transport.version(), "it has version {version} on {transport}");
    if transport == Transport::Nip44 {
        ensure!(event.tags.expiration().is_some(), "it has no expiration");
    }
    let json = message_json(event, transport, trade)?;
    Ok(Received {
        event: event.id,
        transport,
        to: trade.public_key(),
        message: opened.message,
        json,
        after: Duration::ZERO,
    })
}

/// The message as the node wrote it. `mostro-core` drops unknown fields.
fn message_json(event: &Event, transport: Transport, trade: &Keys) -> Result<Value> {
    let decrypt = |from: &PublicKey, text: &str| nip44::decrypt(trade.secret_key(), from, text);
    let content = decrypt(&event.pubkey, &event.content)?;
    let tuple = match transport {
        Transport::Nip44 => content,
        Transport::GiftWrap => {
            let seal = Event::from_json(content)?;
            let rumor: Value = serde_json::from_str(&decrypt(&seal.pubkey, &seal.content)?)?;
            ensure!(rumor["id"].is_string(), "the rumor has no id, which phone clients require");
            rumor["content"].as_str().context("the rumor has no content")?.to_owned()
        }
    };
    let mut tuple: Vec<Value> = serde_json::from_str(&tuple)?;
    ensure!(!tuple.is_empty(), "the tuple is empty");
    Ok(tuple.swap_remove(0))
}
