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

/// What an event must bring before it is worth decrypting.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// Leading zero bits of the event id.
    pub pow: u8,
    /// Of the whole event, as JSON.
    pub max_bytes: usize,
    pub transports: &'a [Transport],
}

/// A message, and who is proven to have sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    pub event_id: EventId,
    /// Gift wraps only: what is inside has an id of its own, and a new wrap does not make it new.
    pub rumor_id: Option<EventId>,
    pub sender: TradeKey,
    /// Equal to the sender in full privacy. None: it is not proven, which `user-info` alone is told;
    /// the sender is proven all the same.
    pub identity: Option<IdentityKey>,
    pub transport: Transport,
    /// When the sender wrote it, by the sender's clock. A gift wrap's own time is random.
    pub created_at: Timestamp,
    pub message: Message,
}

/// Why an event is nobody's message. Nobody is told; there is nobody to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    #[error("kind {kind} is not a transport in use here")]
    Kind { kind: u16 },
    #[error("no p tag names this node")]
    Addressee,
    #[error("{bytes} bytes are more than the {max_bytes} allowed")]
    TooLarge { bytes: usize, max_bytes: usize },
    #[error("{bits} bits of work where {wanted} are wanted")]
    TooLittleWork { bits: u8, wanted: u8 },
    #[error("the id or the signature is wrong")]
    Forged,
    #[error("it does not decrypt for this node")]
    Undecryptable,
    #[error("the wrap does not hold a seal")]
    NoSeal,
    #[error("the seal's id or signature is wrong")]
    ForgedSeal,
    #[error("the seal does not decrypt for this node")]
    UndecryptableSeal,
    #[error("the seal does not hold a rumor of kind 1")]
    NoRumor,
    #[error("the content has not the elements its transport wants")]
    Elements,
    #[error("the content is not a message")]
    Message(#[from] ParseError),
    #[error("the trade key did not sign the message")]
    TradeSignature,
    #[error("the identity did not sign for this trade key")]
    IdentityProof,
    #[error("an identity beside the trade key needs the trade key's signature")]
    Unsigned,
    #[error("this node wrote it")]
    OwnAnswer,
}

/// An event that passed the cheap checks.
#[derive(Debug, Clone)]
pub struct Candidate {
    event: Event,
    transport: Transport,
}

/// Opens an event and proves who sent it; checks in the order of wire-protocol §1.2 and §1.3.
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

/// The checks that cost next to nothing come first: somebody may have to be asked before an event is
/// worth opening.
///
/// # Errors
/// With the first check that failed.
pub fn glance(event: Event, node: &Keys, policy: &Policy<'_>) -> Result<Candidate, Dropped> {
    let transport = policy.transports.iter().find(|transport| transport.kind() == event.kind);
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
    if bytes > policy.max_bytes {
        return Err(Dropped::TooLarge { bytes, max_bytes: policy.max_bytes });
    }
    let bits = get_leading_zero_bits(event.id.as_bytes());
    if bits < policy.pow {
        return Err(Dropped::TooLittleWork { bits, wanted: policy.pow });
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
    // A signature over a stated id proves nothing about the content: the id is recomputed here.
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
    let seen = Opened {
        event_id: event.id,
        rumor_id: Some(rumor_id),
        sender: TradeKey(rumor.pubkey.to_bytes()),
        identity: Some(IdentityKey(seal.pubkey.to_bytes())),
        transport: Transport::GiftWrap,
        created_at: timestamp(rumor.created_at),
        message: signed.message,
    };
    seen.checked(signature.is_some(), node)
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
    let seen = Opened {
        event_id: event.id,
        rumor_id: None,
        sender: TradeKey(event.pubkey.to_bytes()),
        identity,
        transport: Transport::Nip44,
        created_at: timestamp(event.created_at),
        message: signed.message,
    };
    seen.checked(signature.is_some(), node)
}

impl Opened {
    /// What can be judged only once both keys are known.
    fn checked(self, is_signed: bool, node: &Keys) -> Result<Self, Dropped> {
        if is_signed {
            return Ok(self);
        }
        // Our answers to a solver who uses the node key come back to us; they are never signed
        // inside, and a request by that key always is.
        if self.sender.0 == node.public_key().to_bytes() {
            return Err(Dropped::OwnAnswer);
        }
        if self.identity.is_none_or(|identity| identity.0 == self.sender.0) {
            return Ok(self);
        }
        // Nothing but that signature proves the sender of a gift wrap.
        let is_told =
            self.transport == Transport::Nip44 && self.message.body.action == Action::UserInfo;
        if is_told { Ok(Self { identity: None, ..self }) } else { Err(Dropped::Unsigned) }
    }
}

/// A message and the texts a signature over it may cover: its canonical form, and the bytes as they
/// came. The latter keep fields that are newer than our types.
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

/// What an identity signs to prove that it is behind a trade key: another key cannot reuse it.
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
