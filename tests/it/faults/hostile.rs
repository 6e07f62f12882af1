//! Events that must have no effect: malformed, forged, replayed, stale, too large or not
//! for this node. Also requests that are refused with an answer, because they are not built yet.

use anyhow::{Context as _, Result, ensure};
use devnet::Transport;
use devnet::trader::{TIMEOUT, on_the_wire};
use mostro_core::message::{Action, Message, Payload};
use mostro_core::order::{Kind as Side, SmallOrder};
use mostrod::store::{self, EventId};
use nostr_sdk::nips::nip44;
use nostr_sdk::pool::relay::ReqExitPolicy;
use nostr_sdk::{
    Client, Event, Filter, JsonUtil as _, Keys, Kind, PublicKey, Tag, Timestamp, UnsignedEvent,
};
use serde_json::{Value, json};
use trade::{Order, OrderId, TradeKey};
use uuid::Uuid;

use crate::fixture::{BUYER_GETS, Fixture, SELLER_PAYS, on_both_transports, order, settings};

/// A flaw that passes with time.
const AHEAD: &str = "a time in 6 min";

// spec: K-06 INV-9
#[tokio::test]
async fn an_invalid_event_changes_nothing_and_gets_no_answer() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.offered(Side::Sell).await?;
        let forger = Forger::join(fixture).await?;
        let before = in_database(fixture, offer.id).await?;

        let flawed = forger.flawed(offer.id)?;
        for (flaw, event) in &flawed {
            forger.deliver(fixture, event).await.with_context(|| (*flaw).to_owned())?;
        }
        fixture.seller.trader.receives_nothing_more(offer.id).await?;
        ensure!(in_database(fixture, offer.id).await? == before, "the order has changed");

        // The flaws were the only reason: the same take without a flaw is accepted.
        let honest = Forger::join(fixture).await?;
        honest.deliver(fixture, &honest.event_with(&honest.take(offer.id).to_string())?).await?;
        fixture.book.until(offer.id, "in-progress").await?;

        let sale = fixture.sale_active().await?;
        fixture.released(&sale).await?;
        has_no_effect(fixture, &forger, &flawed).await?;
        ensure!(fixture.exchange.daemon.is_running(), "the daemon has ended");
        fixture.audit(sale.id, -SELLER_PAYS, BUYER_GETS).await
    })
    .await
}

// spec: C25 I7
#[tokio::test]
async fn a_repeated_request_is_handled_once() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.offered(Side::Sell).await?;
        let forger = Forger::join(fixture).await?;
        let rumor = forger.rumor(&forger.signed(&forger.take(offer.id).to_string()), NOW)?;
        let take = forger.seal(rumor.clone())?;
        forger.deliver(fixture, &take).await?;
        fixture.book.until(offer.id, "in-progress").await?;
        let cancel = forger.event_with(&forger.request(offer.id, "cancel").to_string())?;
        forger.deliver(fixture, &cancel).await?;
        fixture.book.until(offer.id, "pending").await?;
        fixture.seller.trader.wait_for(Action::NewOrder).await?;
        let before = in_database(fixture, offer.id).await?;

        let again = forger.again(&take, rumor)?;
        for event in [&take, &again, &cancel] {
            fixture.exchange.relay.push(event.clone());
        }
        fixture.seller.trader.receives_nothing_more(offer.id).await?;
        fixture.exchange.daemon.restart().await?;
        fixture.exchange.relay.push(again);
        fixture.seller.trader.receives_nothing_more(offer.id).await?;

        ensure!(in_database(fixture, offer.id).await? == before, "the order has changed");
        ensure!(forger.answers().await? == 2, "one answer to the take and one to the cancel");
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: D26
#[tokio::test]
async fn an_action_that_is_not_built_is_refused_with_an_answer() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.offered(Side::Sell).await?;
        let before = in_database(fixture, offer.id).await?;
        let solver = Payload::TextMessage(fixture.exchange.node().to_hex());

        for (action, order, payload) in [
            (Action::Dispute, Some(offer.id), None),
            (Action::RateUser, Some(offer.id), Some(Payload::RatingUser(5))),
            (Action::Orders, None, Some(Payload::Ids(vec![offer.id]))),
            (Action::RestoreSession, None, None),
            (Action::LastTradeIndex, None, None),
            (Action::AdminCancel, Some(offer.id), None),
            (Action::AdminSettle, Some(offer.id), None),
            (Action::AdminTakeDispute, Some(offer.id), None),
            (Action::AdminAddSolver, Some(offer.id), Some(solver)),
        ] {
            let name = on_the_wire(&action);
            let sent = fixture.buyer.trader.send(action, order, payload).await?;
            is_refused(fixture, sent.request_id, "invalid_action").await.context(name)?;
        }
        ensure!(in_database(fixture, offer.id).await? == before, "the order has changed");
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: D26
#[tokio::test]
async fn market_and_range_orders_are_refused_with_an_answer() -> Result<()> {
    let mut fixture = Fixture::open(Transport::Nip44).await?;
    let market = SmallOrder { amount: 0, ..order(Side::Buy) };
    let range = SmallOrder {
        amount: 0,
        fiat_amount: 0,
        min_amount: Some(10),
        max_amount: Some(20),
        ..order(Side::Buy)
    };
    for (what, order) in [("a market order", market), ("a range order", range)] {
        let sent = fixture.buyer.trader.new_order(order).await?;
        is_refused(&mut fixture, sent.request_id, "invalid_parameters").await.context(what)?;
    }
    fixture.exchange.end()
}

// spec: D26
#[tokio::test]
async fn a_lightning_address_is_refused_with_an_answer_and_the_order_stays_in_the_book()
-> Result<()> {
    let mut fixture = Fixture::open(Transport::Nip44).await?;
    let offer = fixture.offered(Side::Sell).await?;
    let before = in_database(&fixture, offer.id).await?;

    let address = "alice@wallet.example".to_owned();
    let sent = fixture.buyer.trader.take_sell(offer.id, Some(address)).await?;

    is_refused(&mut fixture, sent.request_id, "invalid_invoice").await?;
    ensure!(in_database(&fixture, offer.id).await? == before, "the order has changed");
    fixture.close(offer.id, 0, 0).await
}

// spec: FL-R5
#[tokio::test]
async fn a_user_info_request_with_an_invalid_identity_proof_is_refused() -> Result<()> {
    let fixture = Fixture::open(Transport::Nip44).await?;
    let message = json!({ "restore": {
        "version": 2, "request_id": 7, "trade_index": null, "action": "user-info", "payload": null,
    } });
    let message = message.to_string();
    let refusal = json!({ "cant-do": {
        "version": 2, "request_id": 7, "trade_index": null, "action": "cant-do",
        "payload": { "cant_do": "invalid_signature" },
    } });
    for is_signed in [true, false] {
        let forger = Forger::join(&fixture).await?;
        let (signature, proof) = if is_signed {
            (sign(&message, &forger.trade), forger.proof("{}", &forger.trade))
        } else {
            ("null".to_owned(), forger.proof(&message, &forger.trade))
        };
        let content = forger.content(&message, &signature, &proof);
        forger.deliver(&fixture, &forger.seal(forger.rumor(&content, NOW)?)?).await?;

        let answer = forger.answer().await?;
        ensure!(answer == refusal, "answered with {answer}");
    }
    fixture.exchange.end()
}

/// The next message to the buyer refuses this request, for this reason.
async fn is_refused(fixture: &mut Fixture, request_id: u64, reason: &str) -> Result<()> {
    let got = fixture.buyer.trader.expect(Action::CantDo).await?;
    ensure!(got.kind().request_id == Some(request_id), "another request is refused: {got}");
    ensure!(got.json["cant-do"]["payload"] == json!({ "cant_do": reason }), "refused as {got}");
    Ok(())
}

async fn has_no_effect(fixture: &Fixture, forger: &Forger, flawed: &[Flawed]) -> Result<()> {
    let reader = store::open_reader(&fixture.exchange.daemon.dir().join("mostro.db")).await?;
    for (flaw, event) in flawed {
        let (id, nobody) = (EventId(event.id.to_bytes()), TradeKey([0; 32]));
        let is_remembered = reader.find_known(id, None, None, nobody).await?.is_remembered;
        // The id of an event from the future is stored, or the event would be accepted later.
        ensure!(is_remembered == (*flaw == AHEAD), "wrongly remembered or forgotten: {flaw}");
    }
    ensure!(forger.answers().await? == 0, "an answer was sent");
    let log = fixture.exchange.daemon.log();
    ensure!(
        !log.contains("panicked") && !log.contains("ERROR"),
        "the daemon logged an error:\n{log}"
    );
    Ok(())
}

pub(super) async fn in_database(fixture: &Fixture, order: Uuid) -> Result<Order> {
    let reader = store::open_reader(&fixture.exchange.daemon.dir().join("mostro.db")).await?;
    let order = reader.find_order(OrderId(order.into_bytes())).await?;
    order.context("the order is not in the database")
}

/// An event, and its flaw.
type Flawed = (&'static str, Event);

/// The time of an event, in seconds from now.
type Offset = i64;

const NOW: Offset = 0;

/// A client that writes events with one flaw each.
pub(super) struct Forger {
    pub(super) transport: Transport,
    pub(super) node: PublicKey,
    pub(super) identity: Keys,
    pub(super) trade: Keys,
    stranger: Keys,
    client: Client,
}

impl Forger {
    pub(super) async fn join(fixture: &Fixture) -> Result<Self> {
        let client = Client::default();
        client.add_relay(fixture.exchange.relay.url()).await?;
        client.connect().await;
        let [identity, trade, stranger] = std::array::from_fn(|_| Keys::generate());
        Ok(Self {
            transport: fixture.transport,
            node: fixture.exchange.node(),
            identity,
            trade,
            stranger,
            client,
        })
    }

    /// Sends it through the relay, or directly to the subscribers if the relay rejects it.
    pub(super) async fn deliver(&self, fixture: &Fixture, event: &Event) -> Result<()> {
        let output = self.client.send_event(event).await;
        if output.is_ok_and(|output| output.success.is_empty()) {
            fixture.exchange.relay.push(event.clone());
        }
        Ok(())
    }

    /// How many events are addressed to any of our keys.
    pub(super) async fn answers(&self) -> Result<usize> {
        let keys = [&self.identity, &self.trade, &self.stranger].map(Keys::public_key);
        let to_us = Filter::new().pubkeys(keys);
        Ok(self.client.fetch_events(to_us, TIMEOUT).await?.len())
    }

    /// The message in the first answer to the trade key, once it is there.
    async fn answer(&self) -> Result<Value> {
        let to_us = Filter::new().pubkey(self.trade.public_key());
        let first = ReqExitPolicy::WaitForEvents(1);
        let answers = self.client.pool().fetch_events(to_us, TIMEOUT, first).await?;
        let answer = answers.first().context("no answer")?;
        let plain = nip44::decrypt(self.trade.secret_key(), &answer.pubkey, &answer.content)?;
        Ok(serde_json::from_str::<Value>(&plain)?[0].take())
    }

    fn take(&self, order: Uuid) -> Value {
        let mut take = self.request(order, "take-sell");
        take["order"]["trade_index"] = json!(1);
        take
    }

    pub(super) fn request(&self, order: Uuid, action: &str) -> Value {
        let version = if self.transport == Transport::GiftWrap { 1 } else { 2 };
        json!({ "order": {
            "version": version, "request_id": 7, "trade_index": null, "id": order,
            "action": action, "payload": null,
        } })
    }

    /// The content around a message, signed by trade key and identity.
    fn signed(&self, message: &str) -> String {
        self.content(message, &sign(message, &self.trade), &self.proof(message, &self.trade))
    }

    pub(super) fn content(&self, message: &str, signature: &str, proof: &str) -> String {
        match self.transport {
            Transport::GiftWrap => format!("[{message},{signature}]"),
            Transport::Nip44 => format!("[{message},{signature},{proof}]"),
        }
    }

    /// The proof that a trade key belongs to our identity.
    pub(super) fn proof(&self, message: &str, trade: &Keys) -> String {
        let trade = trade.public_key().to_hex();
        let statement = format!("mostro-transport-v2-identity:{trade}:{message}");
        format!(r#"["{}",{}]"#, self.identity.public_key(), sign(&statement, &self.identity))
    }

    /// The event with this message, without a flaw.
    fn event_with(&self, message: &str) -> Result<Event> {
        self.seal(self.rumor(&self.signed(message), NOW)?)
    }

    /// The trade key's rumor; on v2 its content is still to be encrypted.
    fn rumor(&self, content: &str, written: Offset) -> Result<UnsignedEvent> {
        let now = i64::try_from(Timestamp::now().as_secs())?;
        let at = Timestamp::from_secs(u64::try_from(now + written)?);
        let (kind, tags) = match self.transport {
            Transport::GiftWrap => (Kind::TextNote, vec![]),
            Transport::Nip44 => (Kind::PrivateDirectMessage, vec![Tag::public_key(self.node)]),
        };
        let mut rumor = UnsignedEvent::new(self.trade.public_key(), at, kind, tags, content);
        rumor.ensure_id();
        Ok(rumor)
    }

    fn seal(&self, rumor: UnsignedEvent) -> Result<Event> {
        match self.transport {
            Transport::GiftWrap => self.wrap(self.seal_of(Kind::Seal, rumor.as_json())?.as_json()),
            Transport::Nip44 => self.direct(rumor.content.clone(), rumor),
        }
    }

    /// The same message in another envelope; on v2 the event itself is the message, so there is no other envelope.
    fn again(&self, event: &Event, rumor: UnsignedEvent) -> Result<Event> {
        match self.transport {
            Transport::GiftWrap => self.seal(rumor),
            Transport::Nip44 => Ok(event.clone()),
        }
    }

    fn direct(&self, plain: impl AsRef<[u8]>, mut rumor: UnsignedEvent) -> Result<Event> {
        rumor.content = encrypt(&self.trade, &self.node, plain)?;
        rumor.id = None;
        Ok(rumor.sign_with_keys(&self.trade)?)
    }

    /// A seal, or something of another kind in its place.
    fn seal_of(&self, kind: Kind, plain: impl AsRef<[u8]>) -> Result<Event> {
        let content = encrypt(&self.identity, &self.node, plain)?;
        sign_event(&self.identity, kind, vec![], content)
    }

    pub(super) fn wrap(&self, plain: impl AsRef<[u8]>) -> Result<Event> {
        let author = Keys::generate();
        let content = encrypt(&author, &self.node, plain)?;
        sign_event(&author, Kind::GiftWrap, vec![Tag::public_key(self.node)], content)
    }

    /// Takes of this order, each with one flaw or unreadable.
    fn flawed(&self, order: Uuid) -> Result<Vec<Flawed>> {
        let take = self.take(order);
        let mut flawed = Vec::new();
        for (flaw, message) in malformed(&take) {
            flawed.push((flaw, self.event_with(&message)?));
        }
        let message = take.to_string();
        for (flaw, content) in
            self.badly_signed(&message).into_iter().chain(malformed_tuples(&message))
        {
            flawed.push((flaw, self.seal(self.rumor(&content, NOW)?)?));
        }
        let content = self.signed(&message);
        for (flaw, written) in [("a time 6 min ago", -360), (AHEAD, 360)] {
            flawed.push((flaw, self.seal(self.rumor(&content, written)?)?));
        }
        // More than 64 KiB once it is sealed: twice on v1.
        let padding = if self.transport == Transport::GiftWrap { 35_000 } else { 60_000 };
        let padded = format!("{content}{}", " ".repeat(padding));
        flawed.push(("too many bytes", self.seal(self.rumor(&padded, NOW)?)?));
        flawed.extend(match self.transport {
            Transport::GiftWrap => self.badly_wrapped(&content)?,
            Transport::Nip44 => self.badly_sent(&content)?,
        });
        flawed.extend(self.misdirected(&self.event_with(&message)?)?);
        Ok(flawed)
    }

    fn badly_signed(&self, message: &str) -> Vec<(&'static str, String)> {
        let signature = sign(message, &self.trade);
        let proof = self.proof(message, &self.trade);
        let strangers = sign(message, &self.stranger);
        let of_other = sign("{}", &self.trade);
        let mut all = vec![
            ("another's signature", self.content(message, &strangers, &proof)),
            ("a signature of something else", self.content(message, &of_other, &proof)),
            ("a signature that is no hex", self.content(message, r#""zz""#, &proof)),
            ("a signature that is a number", self.content(message, "7", &proof)),
            ("an identity, and no signature", self.content(message, "null", &proof)),
        ];
        if self.transport == Transport::Nip44 {
            let key = self.identity.public_key();
            for (flaw, proof) in [
                ("a proof for another trade key", self.proof(message, &self.stranger)),
                ("a proof for another message", self.proof("{}", &self.trade)),
                ("a proof by another", format!(r#"["{key}",{strangers}]"#)),
                ("a proof that is no hex", format!(r#"["{key}","zz"]"#)),
                ("a proof by no key", format!(r#"["zz",{strangers}]"#)),
                ("a proof without a signature", format!(r#"["{key}"]"#)),
            ] {
                all.push((flaw, self.content(message, &signature, &proof)));
            }
            all.push(("two elements", format!("[{message},{signature}]")));
        } else {
            all.push(("three elements", format!("[{message},{signature},null]")));
        }
        all
    }

    fn badly_wrapped(&self, content: &str) -> Result<Vec<Flawed>> {
        let rumor = self.rumor(content, NOW)?;
        let seal = self.seal_of(Kind::Seal, rumor.as_json())?;
        let other_seal = self.seal_of(Kind::Seal, "{}")?;
        let changed = |seal: &Event, key: &str, value: Value| {
            let mut seal: Value = serde_json::from_str(&seal.as_json())?;
            seal[key] = value;
            self.wrap(seal.to_string())
        };
        let anothers = sign_event(&self.stranger, Kind::Seal, vec![], seal.content.clone())?;
        let mut event = rumor.clone();
        event.kind = Kind::PrivateDirectMessage;
        event.id = None;
        let mut renamed = rumor.clone();
        renamed.id = Some(seal.id);
        let to_stranger = {
            let plain = encrypt(&self.identity, &self.stranger.public_key(), rumor.as_json())?;
            sign_event(&self.identity, Kind::Seal, vec![], plain)?
        };
        let sealed = |kind: Kind, plain: String| self.wrap(self.seal_of(kind, plain)?.as_json());
        Ok(vec![
            (
                "a seal under the id of another",
                changed(&other_seal, "content", json!(seal.content))?,
            ),
            ("a seal signed by another", changed(&seal, "sig", json!(anothers.sig))?),
            ("a seal in another's name", changed(&seal, "pubkey", json!(anothers.pubkey))?),
            ("a seal for another reader", self.wrap(to_stranger.as_json())?),
            ("no seal", self.wrap(rumor.as_json())?),
            ("a note in place of a seal", sealed(Kind::TextNote, rumor.as_json())?),
            ("text in place of a seal", self.wrap("seal")?),
            ("a seal that is not UTF-8", self.wrap([0xff, 0xfe, 0x00])?),
            (
                "a rumor that is not UTF-8",
                self.wrap(self.seal_of(Kind::Seal, [0xff, 0x00])?.as_json())?,
            ),
            ("text in place of a rumor", sealed(Kind::Seal, "rumor".to_owned())?),
            ("a rumor of another kind", sealed(Kind::Seal, event.as_json())?),
            ("a rumor under another id", sealed(Kind::Seal, renamed.as_json())?),
        ])
    }

    fn badly_sent(&self, content: &str) -> Result<Vec<Flawed>> {
        let rumor = self.rumor(content, NOW)?;
        let event = self.direct(content, rumor.clone())?;
        let other = self.direct("[]", rumor.clone())?;
        let changed = |key: &str, value: Value| -> Result<Event> {
            let mut event: Value = serde_json::from_str(&event.as_json())?;
            event[key] = value;
            Ok(Event::from_json(event.to_string())?)
        };
        Ok(vec![
            ("a content that is not UTF-8", self.direct([0xff, 0xfe, 0x00], rumor)?),
            ("the signature of another event", changed("sig", json!(other.sig))?),
            ("the id of another event", changed("id", json!(other.id))?),
            ("another's name", changed("pubkey", json!(self.stranger.public_key()))?),
        ])
    }

    /// The same event for another addressee, or unreadable.
    fn misdirected(&self, event: &Event) -> Result<Vec<Flawed>> {
        let nobody = Keys::generate().public_key();
        let to = |tags: Vec<Tag>, content: &str| {
            sign_event(&self.trade, event.kind, tags, content.to_owned())
        };
        let tag = |key: PublicKey| vec![Tag::public_key(key)];
        let readable = encrypt(&self.trade, &self.node, "[]")?;
        let for_nobody = encrypt(&self.trade, &nobody, "[]")?;
        Ok(vec![
            ("no addressee", to(vec![], &readable)?),
            ("another addressee", to(tag(nobody), &readable)?),
            ("an addressee that is no key", to(vec![Tag::parse(["p", "zz"])?], &readable)?),
            ("an addressee who cannot read it", to(tag(self.node), &for_nobody)?),
            ("no content", to(tag(self.node), "")?),
            ("a content in clear", to(tag(self.node), "[]")?),
            ("a content of NULs", to(tag(self.node), "\0\0\0")?),
            ("a content that only looks like NIP-44", to(tag(self.node), &"Ag".repeat(200))?),
            ("a content cut off", to(tag(self.node), &readable[..readable.len() / 2])?),
        ])
    }
}

/// Malformed messages.
fn malformed(take: &Value) -> Vec<(&'static str, String)> {
    let body = &take["order"];
    let with = |key: &str, value: Value| {
        let mut take = take.clone();
        take["order"][key] = value;
        take.to_string()
    };
    let mut unversioned = take.clone();
    unversioned["order"].as_object_mut().map(|body| body.remove("version"));
    let text = take.to_string();
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    vec![
        ("a list in place of a message", "[]".to_owned()),
        ("a message without a wrapper", body.to_string()),
        ("an unknown wrapper", json!({ "trade": body }).to_string()),
        ("two wrappers", json!({ "order": body, "dispute": body }).to_string()),
        ("no version", unversioned.to_string()),
        ("a version in words", with("version", json!("two"))),
        ("a version beyond a byte", with("version", json!(300))),
        ("an unknown action", with("action", json!("steal"))),
        ("an action with a NUL", with("action", json!("take-sell\0"))),
        ("a number as action", with("action", json!(1))),
        ("a negative request id", with("request_id", json!(-1))),
        ("a request id beyond 64 bits", with("request_id", json!(1e20))),
        ("half a trade index", with("trade_index", json!(1.5))),
        ("an invalid order id", with("id", json!("42"))),
        ("a number as order id", with("id", json!(42))),
        ("an unknown payload", with("payload", json!({ "gold": 1 }))),
        ("two payloads", with("payload", json!({ "amount": 1, "rating_user": 5 }))),
        ("a field twice", text.replacen(r#""version""#, r#""version":1,"version""#, 1)),
        ("endless nesting", text.replacen(r#""payload":null"#, &format!(r#""payload":{deep}"#), 1)),
        ("an action that only the node takes", with("action", json!("canceled"))),
    ]
}

/// Contents that are not a tuple.
fn malformed_tuples(message: &str) -> Vec<(&'static str, String)> {
    vec![
        ("text in place of a tuple", "hello".to_owned()),
        ("a NUL in place of a tuple", "\0".to_owned()),
        ("no elements", "[]".to_owned()),
        ("one element", format!("[{message}]")),
        ("four elements", format!("[{message},null,null,null]")),
        ("an object in place of a tuple", message.to_owned()),
        ("a tuple cut off", format!("[{message},nu")),
        ("an endless tuple", "[".repeat(20_000)),
    ]
}

pub(super) fn sign(text: &str, keys: &Keys) -> String {
    json!(Message::sign(text.to_owned(), keys).to_string()).to_string()
}

pub(super) fn encrypt(from: &Keys, to: &PublicKey, plain: impl AsRef<[u8]>) -> Result<String> {
    Ok(nip44::encrypt(from.secret_key(), to, plain, nip44::Version::V2)?)
}

fn sign_event(author: &Keys, kind: Kind, tags: Vec<Tag>, content: String) -> Result<Event> {
    let event = UnsignedEvent::new(author.public_key(), Timestamp::now(), kind, tags, content);
    Ok(event.sign_with_keys(author)?)
}
