//! The traders' clients, which write real events, and the relays that store them.

use mostrod::nostr::{Event, JsonUtil as _, Keys, SecretKey, Transport};
use mostrod::wire::message::Body;
use mostrod::wire::{Action, Message, Payload, Private, SmallOrder, Wrapper};
use nostr_sdk::nips::nip44;
use nostr_sdk::secp256k1::Message as Digest;
use nostr_sdk::{Kind, Tag, UnsignedEvent};
use sha2::{Digest as _, Sha256};
use trade::{OrderId, Timestamp, TradeKey};

use crate::ops::{ClientAction, Who};

/// How far gift wraps are dated back; clients choose up to two days at random.
const BACK_DATED: i64 = 90_000;

/// How far before its cursor the daemon's subscriptions start, as over sockets.
const WRAP_OVERLAP: i64 = 49 * 3_600;
const NIP44_OVERLAP: i64 = 15 * 60;

/// The last trade whose traders have keys.
pub(crate) const LAST_TRADE: u8 = 25;

/// A trader's client in one trade.
pub(crate) struct Trader {
    trade: Keys,
    /// Makers have one, others use full privacy.
    identity: Option<Keys>,
    transport: Transport,
}

/// A request of a trader.
pub(crate) struct Request<'a> {
    pub(crate) order: Option<OrderId>,
    pub(crate) id: u64,
    pub(crate) content: RequestContent<'a>,
}

pub(crate) enum RequestContent<'a> {
    NewOrder(Box<SmallOrder>),
    /// The invoice is used by the actions that have one.
    Action(ClientAction, &'a str),
}

/// An event. The seal of a gift wrap is kept, so that the message can be wrapped again.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) event: Event,
    seal: Option<String>,
}

/// The relays, which all store the same events. Each sends every event.
pub(crate) struct Relays {
    pub(crate) count: u8,
    pub(crate) are_reachable: bool,
    pub(crate) stored: Vec<Sent>,
    pub(crate) node: Keys,
}

impl Trader {
    /// The client's transport depends on `seed`.
    pub(crate) fn of(trade: u8, who: Who, seed: u64) -> Self {
        let role = match who {
            Who::Maker => 1,
            Who::Taker => 2,
            Who::Rival => 3,
        };
        let number = trade * 10 + role;
        let uses_v1 = (seed / 2 + u64::from(number)).is_multiple_of(3);
        Self {
            trade: keys(number),
            identity: (who == Who::Maker).then(|| identity(trade)),
            transport: if uses_v1 { Transport::GiftWrap } else { Transport::Nip44 },
        }
    }

    pub(crate) fn key(&self) -> TradeKey {
        TradeKey(self.trade.public_key().to_bytes())
    }

    /// The event of this client for a request, at the time `at` of its clock.
    pub(crate) fn write(&self, request: Request<'_>, node: &Keys, at: Timestamp) -> Sent {
        let message = message(request, self.transport, self.identity.is_some()).to_json();
        match self.transport {
            Transport::Nip44 => {
                let content = self.nip44_content(&message);
                let kind = Kind::PrivateDirectMessage;
                Sent { event: encrypted(&self.trade, kind, &content, node, at), seal: None }
            }
            Transport::GiftWrap => {
                let seal = self.seal(&message, node, at).as_json();
                Sent { event: wrapped(&seal, node, at), seal: Some(seal) }
            }
        }
    }

    fn nip44_content(&self, message: &str) -> String {
        let Some(identity) = &self.identity else { return format!("[{message},null,null]") };
        let statement =
            format!("mostro-transport-v2-identity:{}:{message}", self.trade.public_key().to_hex());
        let signature = sign(&self.trade, message);
        let (key, proof) = (identity.public_key().to_hex(), sign(identity, &statement));
        format!(r#"[{message},"{signature}",["{key}","{proof}"]]"#)
    }

    fn seal(&self, message: &str, node: &Keys, at: Timestamp) -> Event {
        let content = match &self.identity {
            Some(_) => format!(r#"[{message},"{}"]"#, sign(&self.trade, message)),
            None => format!("[{message},null]"),
        };
        let author = self.trade.public_key();
        let mut rumor = UnsignedEvent::new(author, unix(at), Kind::TextNote, [], content);
        rumor.ensure_id();
        let identity = self.identity.as_ref().unwrap_or(&self.trade);
        encrypted(identity, Kind::Seal, &rumor.as_json(), node, back_dated(at))
    }
}

impl Sent {
    /// The same message again. A gift wrap is a new one, as when a client repeats a message.
    pub(crate) fn again(&self, node: &Keys, at: Timestamp) -> Self {
        match &self.seal {
            Some(seal) => Self { event: wrapped(seal, node, at), seal: Some(seal.clone()) },
            None => self.clone(),
        }
    }
}

impl Relays {
    pub(crate) fn new(count: u8) -> Self {
        Self { count, are_reachable: true, stored: Vec::new(), node: keys(250) }
    }

    /// The events for a subscription that starts at `cursor`, the newest first.
    pub(crate) fn since(&self, cursor: Timestamp) -> impl Iterator<Item = Event> {
        let is_requested = move |event: &&Event| {
            let overlap = if event.kind == Kind::GiftWrap { WRAP_OVERLAP } else { NIP44_OVERLAP };
            let from = u64::try_from(cursor.0.saturating_sub(overlap)).unwrap_or_default();
            event.created_at.as_secs() >= from
        };
        self.stored.iter().rev().map(|sent| &sent.event).filter(is_requested).cloned()
    }
}

fn message(request: Request<'_>, transport: Transport, has_identity: bool) -> Message {
    let Request { order, id, content } = request;
    let (action, payload) = match content {
        RequestContent::NewOrder(order) => (Action::NewOrder, Some(Payload::Order(order))),
        RequestContent::Action(action, invoice) => action_and_payload(action, invoice),
    };
    // Only a sender with an identity has a trade index.
    let trade_index = (has_identity && action == Action::NewOrder).then_some(1);
    let order = order.map(|order| uuid::Uuid::from_bytes(order.0));
    let version = transport.version();
    let body = Body { version, request_id: Some(id), trade_index, id: order, action, payload };
    Message { wrapper: Wrapper::Order, body }
}

fn action_and_payload(action: ClientAction, invoice: &str) -> (Action, Option<Payload>) {
    let payment_request = || Some(Payload::PaymentRequest(None, Private(invoice.to_owned()), None));
    match action {
        ClientAction::Take => (Action::TakeSell, None),
        ClientAction::TakeWithInvoice => (Action::TakeSell, payment_request()),
        ClientAction::TakeBuy => (Action::TakeBuy, None),
        ClientAction::AddInvoice => (Action::AddInvoice, payment_request()),
        ClientAction::FiatSent => (Action::FiatSent, None),
        ClientAction::Release => (Action::Release, None),
        ClientAction::Cancel => (Action::Cancel, None),
        ClientAction::Dispute => (Action::Dispute, None),
    }
}

fn wrapped(seal: &str, node: &Keys, at: Timestamp) -> Event {
    encrypted(&Keys::generate(), Kind::GiftWrap, seal, node, back_dated(at))
}

fn encrypted(author: &Keys, kind: Kind, content: &str, node: &Keys, at: Timestamp) -> Event {
    let (reader, version) = (node.public_key(), nip44::Version::V2);
    let content = nip44::encrypt(author.secret_key(), &reader, content, version);
    let tags = [Tag::public_key(reader)];
    let event = UnsignedEvent::new(
        author.public_key(),
        unix(at),
        kind,
        tags,
        content.expect("a message fits into an event"),
    );
    event.sign_with_keys(author).expect("a key signs")
}

fn sign(keys: &Keys, text: &str) -> String {
    keys.sign_schnorr(&Digest::from_digest(Sha256::digest(text).into())).to_string()
}

fn keys(number: u8) -> Keys {
    Keys::new(SecretKey::from_slice(&[number; 32]).expect("a secret key"))
}

fn identity(trade: u8) -> Keys {
    let mut secret = [trade; 32];
    secret[0] = 1;
    Keys::new(SecretKey::from_slice(&secret).expect("a secret key"))
}

fn back_dated(at: Timestamp) -> Timestamp {
    Timestamp(at.0.saturating_sub(BACK_DATED))
}

fn unix(at: Timestamp) -> nostr_sdk::Timestamp {
    nostr_sdk::Timestamp::from_secs(at.0.unsigned_abs())
}
