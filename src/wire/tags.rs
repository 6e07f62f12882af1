//! The public events of the node, unsigned: kinds, contents and tags in the protocol's order.
//!
//! Other programs read the tags by name and mostly by position; the golden events fix both.

use std::time::Duration;

use nostr_sdk::{Event, Keys, Kind as EventKind, PublicKey, Tag, TagKind, UnsignedEvent, Url};
use serde::Serialize;
use trade::{Fiat, IdentityKey, Order, OrderId, Ppm, PublicStatus, Reputation, Sats, Timestamp};

use super::names::Kind;
use super::payload::UserInfo;

const ORDER: u16 = 38_383;
const NODE: u16 = 38_385;
const RELAY_LIST: u16 = 10_002;
const PROFILE: u16 = 0;

/// An event without its time, its author and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub kind: EventKind,
    pub content: String,
    pub tags: Vec<Tag>,
}

/// What identifies the node in its events.
#[derive(Debug, Clone)]
pub struct NodeIdentity {
    pub pubkey: PublicKey,
    /// The node's name, if it has one.
    pub instance: Option<String>,
    /// Where its orders are found.
    pub relays: Vec<String>,
    /// As LND names them; empty until LND has answered once.
    pub networks: Vec<String>,
}

/// One order as the public book shows it.
#[derive(Debug, Clone)]
pub struct BookEntry {
    pub id: OrderId,
    pub kind: Kind,
    pub status: Listing,
    pub fiat_code: String,
    /// Zero is the market price.
    pub amount: Sats,
    pub fiat_amount: Fiat,
    pub payment_method: String,
    pub premium: i64,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// The public status of an order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Listing {
    /// In the book, with what is known of its maker.
    Pending(UserInfo),
    InProgress,
    Success,
    Canceled,
}

/// The terms of the node: what a client must know before it trades here.
#[derive(Debug, Clone)]
pub struct NodeTerms {
    pub version: String,
    pub commit_hash: String,
    pub max_order_amount: Sats,
    pub min_order_amount: Sats,
    pub expiration_hours: u32,
    pub expiration_seconds: u32,
    /// Empty accepts all.
    pub fiat_currencies: Vec<String>,
    pub max_orders_per_response: u32,
    /// Of both sides together.
    pub fee: Ppm,
    /// Required of known and of new keys.
    pub pow: u8,
    pub protocol_version: u8,
    pub hold_invoice_cltv_delta: u32,
    pub escrow_deadline_margin_blocks: u32,
    /// None until LND has answered once.
    pub lnd: Option<LndNode>,
    pub invoice_expiration_window: u32,
    pub hold_invoice_expiration_window: u32,
    /// The key of a dispute assistant; only advertised.
    pub serbero: Option<IdentityKey>,
}

/// LND's own description of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LndNode {
    pub version: String,
    pub pubkey: String,
    pub commit_hash: String,
    pub alias: String,
    pub chains: Vec<String>,
    pub networks: Vec<String>,
    pub uris: Vec<String>,
}

/// How the node presents itself to people.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Profile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<Url>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website: Option<Url>,
}

/// The order event, kind 38383, as published at `now`; relays are asked to keep it for `retention`
/// once it has left the book.
#[must_use]
pub fn order(entry: &BookEntry, node: &NodeIdentity, now: Timestamp, retention: Duration) -> Draft {
    let id = entry.id.to_string();
    let methods = entry.payment_method.split(',').filter(|method| !method.is_empty());

    let mut tags = vec![
        tag("d", &id),
        tag("k", entry.kind.as_str()),
        tag("f", &entry.fiat_code),
        tag("s", entry.status.as_str()),
        tag("amt", entry.amount.0),
        tag("fa", entry.fiat_amount.0),
        tag_of("pm", methods.map(str::to_owned).collect()),
        tag("premium", entry.premium),
    ];
    if let Listing::Pending(maker) = &entry.status {
        let source =
            format!("mostro:{id}?relays={}&mostro={}", node.relays.join(","), node.pubkey.to_hex());
        tags.extend([tag("rating", rating(maker)), tag("source", source)]);
    }
    let networks = if node.networks.is_empty() { "unknown" } else { &node.networks.join(",") };
    tags.extend([
        tag("network", networks),
        tag("layer", "lightning"),
        tag("published_at", entry.created_at.0),
        tag("expires_at", entry.expires_at.0),
        tag("expiration", entry.kept_until(now, retention).0),
        node.y_tag(),
        tag("z", "order"),
    ]);
    draft(ORDER, String::new(), tags)
}

/// The info event, kind 38385.
#[must_use]
pub fn node_terms(terms: &NodeTerms, node: &NodeIdentity) -> Draft {
    let mut tags = vec![
        tag("d", node.pubkey.to_hex()),
        tag("mostro_version", &terms.version),
        tag("mostro_commit_hash", &terms.commit_hash),
        tag("max_order_amount", terms.max_order_amount.0),
        tag("min_order_amount", terms.min_order_amount.0),
        tag("expiration_hours", terms.expiration_hours),
        tag("expiration_seconds", terms.expiration_seconds),
        tag("fiat_currencies_accepted", terms.fiat_currencies.join(",")),
        tag("max_orders_per_response", terms.max_orders_per_response),
        tag("fee", fraction(terms.fee)),
        tag("pow", terms.pow),
        tag("pow_first_contact", terms.pow),
        tag("protocol_version", terms.protocol_version),
        node.y_tag(),
        tag("z", "info"),
        tag("escrow_mode", "lightning"),
        tag("hold_invoice_cltv_delta", terms.hold_invoice_cltv_delta),
        tag("escrow_deadline_margin_blocks", terms.escrow_deadline_margin_blocks),
    ];
    if let Some(lnd) = &terms.lnd {
        tags.extend([
            tag("lnd_version", &lnd.version),
            tag("lnd_node_pubkey", &lnd.pubkey),
            tag("lnd_commit_hash", &lnd.commit_hash),
            tag("lnd_node_alias", &lnd.alias),
            tag("lnd_chains", lnd.chains.join(",")),
            tag("lnd_networks", lnd.networks.join(",")),
            tag("lnd_uris", lnd.uris.join(",")),
        ]);
    }
    tags.extend([
        tag("invoice_expiration_window", terms.invoice_expiration_window),
        tag("hold_invoice_expiration_window", terms.hold_invoice_expiration_window),
        tag("bond_enabled", "false"),
    ]);
    tags.extend(terms.serbero.map(|key| tag("serbero", key)));
    tags.push(tag("maintenance_mode", "false"));
    draft(NODE, String::new(), tags)
}

/// The relay list, kind 10002.
#[must_use]
pub fn relay_list(relays: &[String]) -> Draft {
    draft(RELAY_LIST, String::new(), relays.iter().map(|url| tag("r", url)).collect())
}

/// The profile, kind 0.
#[must_use]
pub fn profile(profile: &Profile) -> Draft {
    draft(PROFILE, json(profile), Vec::new())
}

impl Profile {
    /// Whether nothing is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { name, about, picture, website } = self;
        name.is_none() && about.is_none() && picture.is_none() && website.is_none()
    }
}

impl Draft {
    /// The `d` tag: an event replaces the one with the same. Empty for kinds that are replaced by kind
    /// alone.
    #[must_use]
    pub fn identifier(&self) -> &str {
        let mut values = self.tags.iter().map(Tag::as_slice);
        values.find_map(|tag| Some(tag.get(1)?.as_str()).filter(|_| tag[0] == "d")).unwrap_or("")
    }

    /// The signed event of `node`. The caller ensures that `created_at` is later than that of the event
    /// it replaces.
    ///
    /// # Errors
    /// When the library cannot sign; the caller cannot prevent it.
    pub fn sign(
        self,
        node: &Keys,
        created_at: Timestamp,
    ) -> Result<Event, nostr_sdk::event::Error> {
        let Self { kind, content, tags } = self;
        UnsignedEvent::new(node.public_key(), unix(created_at), kind, tags, content)
            .sign_with_keys(node)
    }
}

impl BookEntry {
    /// The entry of an order, given what is known of its maker.
    #[must_use]
    pub fn of(order: &Order, maker: Reputation) -> Self {
        let terms = &order.terms;
        Self {
            id: order.id,
            kind: terms.kind.into(),
            status: match order.public_status() {
                PublicStatus::Pending => Listing::Pending(maker.into()),
                PublicStatus::InProgress => Listing::InProgress,
                PublicStatus::Success => Listing::Success,
                PublicStatus::Canceled => Listing::Canceled,
            },
            fiat_code: terms.fiat_code.clone(),
            amount: terms.amount(),
            fiat_amount: terms.fiat_amount(),
            payment_method: terms.payment_method.clone(),
            premium: terms.premium(),
            created_at: terms.created_at,
            expires_at: terms.expires_at,
        }
    }

    fn kept_until(&self, now: Timestamp, retention: Duration) -> Timestamp {
        match self.status {
            Listing::Pending(_) if self.expires_at.0 > 0 => self.expires_at,
            _ => now.after(retention),
        }
    }
}

impl Listing {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Pending(_) => "pending",
            Self::InProgress => "in-progress",
            Self::Success => "success",
            Self::Canceled => "canceled",
        }
    }
}

impl NodeIdentity {
    /// The `y` tag: the protocol, and the node's name.
    fn y_tag(&self) -> Tag {
        let name = self.instance.as_deref().map(str::trim).filter(|name| !name.is_empty());
        tag_of("y", std::iter::once("mostro").chain(name).map(str::to_owned).collect())
    }
}

/// The maker's reputation as the text of a JSON array.
fn rating(maker: &UserInfo) -> String {
    #[derive(Serialize)]
    struct Figures {
        days: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<u64>,
        total_rating: f64,
        total_reviews: i64,
    }
    json(&(
        "rating",
        Figures {
            days: maker.operating_days,
            since: maker.since,
            total_rating: maker.rating,
            total_reviews: maker.reviews,
        },
    ))
}

/// A rate as a decimal fraction: `0.006`, `1`, `0`.
fn fraction(rate: Ppm) -> String {
    let text = format!("{}.{:06}", rate.0 / 1_000_000, rate.0 % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The same time in the library's type; times before 1970 become 1970.
pub(crate) fn unix(at: Timestamp) -> nostr_sdk::Timestamp {
    nostr_sdk::Timestamp::from_secs(u64::try_from(at.0).unwrap_or(0))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain fields write to memory")
}

fn draft(kind: u16, content: String, tags: Vec<Tag>) -> Draft {
    Draft { kind: EventKind::from_u16(kind), content, tags }
}

#[expect(clippy::needless_pass_by_value, reason = "numbers and texts alike, without a borrow")]
fn tag(name: &'static str, value: impl ToString) -> Tag {
    tag_of(name, vec![value.to_string()])
}

/// One tag with several values.
fn tag_of(name: &'static str, values: Vec<String>) -> Tag {
    Tag::custom(TagKind::custom(name), values)
}

#[cfg(test)]
mod tests;
