//! From a message of ours to the event that carries it.

use nostr_sdk::nips::nip44;
use nostr_sdk::{Event, JsonUtil, Keys, Kind, PublicKey, Tag, UnsignedEvent};
use trade::{Timestamp, TradeKey};

use super::Transport;
use crate::wire::Message;
use crate::wire::tags::unix;

/// The times of wraps and seals are random within this time before now (NIP-59).
const BACKDATING_SECS: u64 = 172_800;

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("cannot encrypt for {to}: not a key, or the message is too long")]
    Encrypt { to: TradeKey, source: nip44::Error },
    #[error("cannot sign the event for {to}")]
    Sign { to: TradeKey, source: nostr_sdk::event::Error },
}

/// Seals one message of the node for one key, and sets its transport's version in it.
///
/// The inner message is unsigned: decrypting it proves that the node wrote it, and clients take a
/// signed message by the node key for a solver's. Two calls never give the same event.
/// `expires_at` applies to direct messages; gift wraps have no expiration.
///
/// # Errors
/// When `to` is not a point on the curve or the message does not fit into NIP-44.
pub fn seal(
    message: &Message,
    to: TradeKey,
    transport: Transport,
    node: &Keys,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<Event, SealError> {
    let times = SealTimes { written_at: unix(now), now: unix(now), is_backdated: true };
    sealed(message, to, transport, node, times, expires_at)
}

/// Seals a message again, whose event relays refuse for its time: the message stays the same, the
/// inner event of a gift wrap byte for byte, and the outer times are `now`.
///
/// # Errors
/// As [`seal`].
pub fn reseal(
    message: &Message,
    to: TradeKey,
    transport: Transport,
    node: &Keys,
    [written_at, now]: [Timestamp; 2],
    expires_at: Timestamp,
) -> Result<Event, SealError> {
    let times = SealTimes { written_at: unix(written_at), now: unix(now), is_backdated: false };
    sealed(message, to, transport, node, times, expires_at)
}

#[derive(Clone, Copy)]
struct SealTimes {
    /// Of the inner event.
    written_at: nostr_sdk::Timestamp,
    now: nostr_sdk::Timestamp,
    /// Whether the outer times of a gift wrap are random times in the past.
    is_backdated: bool,
}

impl SealTimes {
    fn outer(self) -> nostr_sdk::Timestamp {
        if self.is_backdated { backdated(self.now) } else { self.now }
    }
}

fn sealed(
    message: &Message,
    to: TradeKey,
    transport: Transport,
    node: &Keys,
    times: SealTimes,
    expires_at: Timestamp,
) -> Result<Event, SealError> {
    let mut message = message.clone();
    message.body.version = transport.version();
    let message = message.to_json();
    match transport {
        Transport::GiftWrap => gift_wrap(&format!("[{message},null]"), to, node, times),
        Transport::Nip44 => {
            let content = format!("[{message},null,null]");
            let tags = [p_tag(to), Tag::expiration(unix(expires_at))];
            encrypted(node, to, Kind::PrivateDirectMessage, &content, tags, times.now)
        }
    }
}

fn gift_wrap(
    content: &str,
    to: TradeKey,
    node: &Keys,
    times: SealTimes,
) -> Result<Event, SealError> {
    let written_at = times.written_at;
    let mut rumor = UnsignedEvent::new(node.public_key(), written_at, Kind::TextNote, [], content);
    rumor.ensure_id(); // the mobile app requires it
    let seal = encrypted(node, to, Kind::Seal, &rumor.as_json(), [], times.outer())?;
    let ephemeral = Keys::generate();
    encrypted(&ephemeral, to, Kind::GiftWrap, &seal.as_json(), [p_tag(to)], times.outer())
}

/// An event by `author` whose content only `to` can read.
fn encrypted<const N: usize>(
    author: &Keys,
    to: TradeKey,
    kind: Kind,
    content: &str,
    tags: [Tag; N],
    created_at: nostr_sdk::Timestamp,
) -> Result<Event, SealError> {
    let reader = PublicKey::from_byte_array(to.0);
    let content = nip44::encrypt(author.secret_key(), &reader, content, nip44::Version::V2)
        .map_err(|source| SealError::Encrypt { to, source })?;
    UnsignedEvent::new(author.public_key(), created_at, kind, tags, content)
        .sign_with_keys(author)
        .map_err(|source| SealError::Sign { to, source })
}

fn p_tag(key: TradeKey) -> Tag {
    Tag::public_key(PublicKey::from_byte_array(key.0))
}

fn backdated(now: nostr_sdk::Timestamp) -> nostr_sdk::Timestamp {
    let mut at = now;
    at.tweak(0..BACKDATING_SECS);
    at
}
