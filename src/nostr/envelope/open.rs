//! From a relay's event to an authenticated message.

use std::borrow::Cow;

use nostr_sdk::nips::nip13::get_leading_zero_bits;
use nostr_sdk::nips::nip44;
use nostr_sdk::secp256k1::schnorr::Signature;
use nostr_sdk::secp256k1::{Message as Digest, SECP256K1};
use nostr_sdk::{Event, EventId, JsonUtil, Keys, Kind, PublicKey, UnsignedEvent};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use trade::{IdentityKey, Timestamp, TradeKey};

use super::Transport;
use crate::wire::{Action, Message, ParseError};

/// What an event must fulfil before it is decrypted.
#[derive(Debug, Clone, Copy)]
pub struct EventRequirements<'a> {
    /// Leading zero bits of the event id.
    pub pow: u8,
    /// The size limit of the whole event, as JSON.
    pub max_bytes: usize,
    pub transports: &'a [Transport],
}

/// A message with its proven sender.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    pub event_id: EventId,
    /// Gift wraps only: the id of the inner event, which stays the same in another wrap.
    pub rumor_id: Option<EventId>,
    pub sender: TradeKey,
    /// Equal to the sender in full privacy. None if it is not proven: only a `user-info` is opened then,
    /// to be refused. The sender is always proven.
    pub identity: Option<IdentityKey>,
    pub transport: Transport,
    /// When the sender wrote it, by the sender's clock. The outer time of a gift wrap is random.
    pub created_at: Timestamp,
    pub message: Message,
}

/// Why an event is dropped. Nobody gets a reply: no sender is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    #[error("kind {kind} is not of a transport in use")]
    Kind { kind: u16 },
    #[error("no p tag names this node")]
    Addressee,
    #[error("{bytes} bytes are more than the {max_bytes} allowed")]
    TooLarge { bytes: usize, max_bytes: usize },
    #[error("{bits} bits of work, {required} are required")]
    TooLittleWork { bits: u8, required: u8 },
    #[error("the id or the signature is wrong")]
    Forged,
    #[error("it does not decrypt for this node")]
    Undecryptable,
    #[error("the wrap does not contain a seal")]
    NoSeal,
    #[error("the seal's id or signature is wrong")]
    ForgedSeal,
    #[error("the seal does not decrypt for this node")]
    UndecryptableSeal,
    #[error("the seal does not contain a rumor of kind 1")]
    NoRumor,
    #[error("the content does not have the elements that its transport requires")]
    Elements,
    #[error("the content is not a message")]
    Message(#[from] ParseError),
    #[error("the trade key did not sign the message")]
    TradeSignature,
    #[error("the identity did not sign for this trade key")]
    IdentityProof,
    #[error("a message with an identity needs the trade key's signature")]
    Unsigned,
    #[error("this node sent it")]
    OwnMessage,
}

/// An event that passed the cheap checks.
#[derive(Debug, Clone)]
pub struct Candidate {
    event: Event,
    transport: Transport,
}

/// Opens an event and verifies who sent it.
///
/// # Errors
/// With the first check that failed.
pub fn open(candidate: &Candidate, node: &Keys) -> Result<Opened, Dropped> {
    let Candidate { event, transport } = candidate;
    event.verify().map_err(|_| Dropped::Forged)?;
    match transport {
        Transport::GiftWrap => open_gift_wrap(event, node),
        Transport::Nip44 => open_direct(event, node),
    }
}

/// The cheap checks, apart from [`open`]: between them the caller can look for a duplicate.
///
/// # Errors
/// With the first check that failed.
pub fn precheck(
    event: Event,
    node: &Keys,
    required: &EventRequirements<'_>,
) -> Result<Candidate, Dropped> {
    let transport = required.transports.iter().find(|transport| transport.kind() == event.kind);
    let transport = *transport.ok_or(Dropped::Kind { kind: event.kind.as_u16() })?;
    let node = node.public_key().to_hex();
    if !event
        .tags
        .iter()
        .any(|tag| matches!(tag.as_slice(), [p, key, ..] if p == "p" && *key == node))
    {
        return Err(Dropped::Addressee);
    }
    let bytes = event.as_json().len();
    if bytes > required.max_bytes {
        return Err(Dropped::TooLarge { bytes, max_bytes: required.max_bytes });
    }
    let bits = get_leading_zero_bits(event.id.as_bytes());
    if bits < required.pow {
        return Err(Dropped::TooLittleWork { bits, required: required.pow });
    }
    Ok(Candidate { event, transport })
}

fn open_gift_wrap(event: &Event, node: &Keys) -> Result<Opened, Dropped> {
    let seal = nip44::decrypt(node.secret_key(), &event.pubkey, &event.content)
        .map_err(|_| Dropped::Undecryptable)?;
    let seal = Event::from_json(seal).map_err(|_| Dropped::NoSeal)?;
    if seal.kind != Kind::Seal {
        return Err(Dropped::NoSeal);
    }
    // Also recomputes the id: a signature over the stated one would prove nothing about the content.
    seal.verify().map_err(|_| Dropped::ForgedSeal)?;

    let rumor = nip44::decrypt(node.secret_key(), &seal.pubkey, &seal.content)
        .map_err(|_| Dropped::UndecryptableSeal)?;
    let mut rumor = UnsignedEvent::from_json(rumor).map_err(|_| Dropped::NoRumor)?;
    if rumor.kind != Kind::TextNote || rumor.verify_id().is_err() {
        return Err(Dropped::NoRumor);
    }
    let rumor_id = rumor.id();

    let (raw, signature): (&RawValue, Option<String>) =
        serde_json::from_str(&rumor.content).map_err(|_| Dropped::Elements)?;
    let signed = Signed::read(raw)?;
    signed.check_trade_signature(&rumor.pubkey, signature.as_deref())?;
    let opened = Opened {
        event_id: event.id,
        rumor_id: Some(rumor_id),
        sender: TradeKey(rumor.pubkey.to_bytes()),
        identity: Some(IdentityKey(seal.pubkey.to_bytes())),
        transport: Transport::GiftWrap,
        created_at: timestamp(rumor.created_at),
        message: signed.message,
    };
    opened.checked(signature.is_some(), node)
}

fn open_direct(event: &Event, node: &Keys) -> Result<Opened, Dropped> {
    let content = nip44::decrypt(node.secret_key(), &event.pubkey, &event.content)
        .map_err(|_| Dropped::Undecryptable)?;
    let (raw, signature, proof): (&RawValue, Option<String>, Option<(String, String)>) =
        serde_json::from_str(&content).map_err(|_| Dropped::Elements)?;
    let signed = Signed::read(raw)?;
    signed.check_trade_signature(&event.pubkey, signature.as_deref())?;
    let proven = match proof {
        Some((identity, proof)) => signed.check_identity(&event.pubkey, &identity, &proof),
        None => Ok(event.pubkey),
    };
    let identity = match proven {
        Ok(identity) => Some(IdentityKey(identity.to_bytes())),
        Err(_) if signed.message.body.action == Action::UserInfo => None,
        Err(dropped) => return Err(dropped),
    };
    let opened = Opened {
        event_id: event.id,
        rumor_id: None,
        sender: TradeKey(event.pubkey.to_bytes()),
        identity,
        transport: Transport::Nip44,
        created_at: timestamp(event.created_at),
        message: signed.message,
    };
    opened.checked(signature.is_some(), node)
}

impl Opened {
    /// The checks that need both keys.
    fn checked(self, is_signed: bool, node: &Keys) -> Result<Self, Dropped> {
        if is_signed {
            return Ok(self);
        }
        // Our messages to a solver who uses the node key come back to us. They are never signed inside,
        // and a request by that key always is.
        if self.sender.0 == node.public_key().to_bytes() {
            return Err(Dropped::OwnMessage);
        }
        if self.identity.is_none_or(|identity| identity.0 == self.sender.0) {
            return Ok(self);
        }
        // Only that signature proves the sender of a gift wrap.
        let is_user_info =
            self.transport == Transport::Nip44 && self.message.body.action == Action::UserInfo;
        if is_user_info { Ok(Self { identity: None, ..self }) } else { Err(Dropped::Unsigned) }
    }
}

/// A message and the texts that a signature may cover: its canonical form, and the bytes as received,
/// which still have the fields that our types do not know.
struct Signed<'a> {
    message: Message,
    texts: Vec<Cow<'a, str>>,
}

impl<'a> Signed<'a> {
    fn read(raw: &'a RawValue) -> Result<Self, Dropped> {
        let message = Message::parse(raw.get())?;
        let canonical = message.to_json();
        let mut texts = vec![Cow::Borrowed(raw.get())];
        if canonical != raw.get() {
            texts.insert(0, Cow::Owned(canonical));
        }
        Ok(Self { message, texts })
    }

    fn check_trade_signature(
        &self,
        trade: &PublicKey,
        signature: Option<&str>,
    ) -> Result<(), Dropped> {
        let Some(signature) = signature else { return Ok(()) };
        let valid = self.texts.iter().any(|text| has_signed(trade, text, signature));
        if valid { Ok(()) } else { Err(Dropped::TradeSignature) }
    }

    fn check_identity(
        &self,
        trade: &PublicKey,
        identity: &str,
        proof: &str,
    ) -> Result<PublicKey, Dropped> {
        let identity = PublicKey::parse(identity).map_err(|_| Dropped::IdentityProof)?;
        let mut statements = self.texts.iter().map(|text| identity_statement(trade, text));
        let valid = statements.any(|statement| has_signed(&identity, &statement, proof));
        if valid { Ok(identity) } else { Err(Dropped::IdentityProof) }
    }
}

/// What an identity signs to prove that it owns a trade key; no other key can reuse it.
pub(super) fn identity_statement(trade: &PublicKey, message: &str) -> String {
    format!("mostro-transport-v2-identity:{}:{message}", trade.to_hex())
}

/// Whether `key` signed the SHA-256 of `text`.
pub(super) fn has_signed(key: &PublicKey, text: &str, signature: &str) -> bool {
    let (Ok(signature), Ok(key)) = (signature.parse::<Signature>(), key.xonly()) else {
        return false;
    };
    let digest = Digest::from_digest(Sha256::digest(text).into());
    SECP256K1.verify_schnorr(&signature, &digest, &key).is_ok()
}

fn timestamp(at: nostr_sdk::Timestamp) -> Timestamp {
    Timestamp(i64::try_from(at.as_secs()).unwrap_or(i64::MAX))
}
