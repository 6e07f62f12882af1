//! From an answer of ours to the event that carries it.

use nostr_sdk::nips::nip44;
use nostr_sdk::{Event, JsonUtil, Keys, Kind, PublicKey, Tag, UnsignedEvent};
use trade::{Timestamp, TradeKey};

use super::Transport;
use crate::wire::Message;
use crate::wire::tags::unix;

/// How far back the times of wraps and seals are spread, so that they tell nothing (NIP-59).
const BACKDATING_SECS: u64 = 172_800;

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("cannot encrypt for {to}: not a key, or the message is too long")]
    Encrypt { to: TradeKey, source: nip44::Error },
    #[error("cannot sign the event for {to}")]
    Sign { to: TradeKey, source: nostr_sdk::event::Error },
}

/// Seals one answer of the node for one key, stamped with its transport's version.
///
/// The inside is unsigned: whoever decrypts it knows that the node wrote it, and clients take a
/// signed message by the node key for a solver's own. Two calls never give the same event.
/// `expires_at` applies to direct messages; gift wraps carry no expiration.
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
    let times = Times { written_at: unix(now), now: unix(now), is_blurred: true };
    sealed(message, to, transport, node, times, expires_at)
}

/// Seals an answer once more that no relay took for its time: what it says stays, the inner event of
/// a gift wrap to the byte, and the outer times are the present.
///
/// # Errors
/// As [`seal`].
pub fn seal_anew(
    message: &Message,
    to: TradeKey,
    transport: Transport,
    node: &Keys,
    [written_at, now]: [Timestamp; 2],
    expires_at: Timestamp,
) -> Result<Event, SealError> {
    let times = Times { written_at: unix(written_at), now: unix(now), is_blurred: false };
    sealed(message, to, transport, node, times, expires_at)
}

#[derive(Clone, Copy)]
struct Times {
    /// Of the inner event.
    written_at: nostr_sdk::Timestamp,
    now: nostr_sdk::Timestamp,
    /// Whether the outer times of a gift wrap are spread back.
    is_blurred: bool,
}

impl Times {
    fn outer(self) -> nostr_sdk::Timestamp {
        if self.is_blurred { backdated(self.now) } else { self.now }
    }
}

fn sealed(
    message: &Message,
    to: TradeKey,
    transport: Transport,
    node: &Keys,
    times: Times,
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

fn gift_wrap(content: &str, to: TradeKey, node: &Keys, times: Times) -> Result<Event, SealError> {
    let written_at = times.written_at;
    let mut rumor = UnsignedEvent::new(node.public_key(), written_at, Kind::TextNote, [], content);
    rumor.ensure_id(); // the mobile app insists on it
    let seal = encrypted(node, to, Kind::Seal, &rumor.as_json(), [], times.outer())?;
    let stranger = Keys::generate();
    encrypted(&stranger, to, Kind::GiftWrap, &seal.as_json(), [p_tag(to)], times.outer())
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
