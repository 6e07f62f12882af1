//! In an active trade only messages of the right party move sats.

use anyhow::{Context as _, Result, ensure};
use devnet::{HUB, Person, SELLER, Transport};
use lnd_sim::InvoiceState;
use mostro_core::message::Action;
use nostr_sdk::secp256k1::Message as Digest;
use nostr_sdk::{
    Client, Event, EventId, Filter, JsonUtil as _, Keys, Kind, PublicKey, Tag, Timestamp,
    UnsignedEvent,
};
use serde_json::json;
use trade::Order;

use super::hostile::{Forger, encrypt, in_database, sign};
use crate::fixture::{
    BUYER_GETS, Fixture, Offer, SELLER_PAYS, on_both_transports, receives, settings,
};

// spec: T24 INV-4
#[tokio::test]
async fn only_the_buyer_can_send_fiat_sent() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.sale_active().await?;
        let before = Snapshot::of(fixture, &offer).await?;
        let mut stranger = fixture.exchange.person(SELLER, fixture.transport).await?;

        for person in [&mut stranger, &mut fixture.seller] {
            let sent = person.trader.send(Action::FiatSent, Some(offer.id), None).await?;
            receives(person, offer.refused(&sent, "invalid_pubkey")).await?;
        }

        before.is_unchanged(fixture, &offer).await?;
        fixture.released(&offer).await?;
        fixture.audit(offer.id, -SELLER_PAYS, BUYER_GETS).await
    })
    .await
}

// spec: T29 INV-4
#[tokio::test]
async fn only_the_seller_can_release() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.sale_fiat_sent().await?;
        let before = Snapshot::of(fixture, &offer).await?;
        let mut stranger = fixture.exchange.person(SELLER, fixture.transport).await?;

        for person in [&mut stranger, &mut fixture.buyer] {
            let sent = person.trader.send(Action::Release, Some(offer.id), None).await?;
            receives(person, offer.refused(&sent, "invalid_peer")).await?;
        }

        before.is_unchanged(fixture, &offer).await?;
        succeeds(fixture, &offer).await
    })
    .await
}

// spec: INV-4 C25
#[tokio::test]
async fn a_message_with_a_forged_author_is_ignored() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.sale_active().await?;
        let forger = Forger::join(fixture).await?;
        let buyer = Victim::of(&fixture.buyer, &offer)?;
        let seller = Victim::of(&fixture.seller, &offer)?;

        send_forgeries(&forger, fixture, &offer, "fiat-sent", &buyer).await?;
        fixture.buyer.trader.fiat_sent(offer.id).await?;
        fixture.buyer.trader.wait_for(Action::FiatSentOk).await?;
        fixture.seller.trader.wait_for(Action::FiatSentOk).await?;
        send_forgeries(&forger, fixture, &offer, "release", &seller).await?;

        ensure!(forger.answers().await? == 0, "an answer was sent");
        succeeds(fixture, &offer).await
    })
    .await
}

// spec: I7 INV-4
#[tokio::test]
async fn a_release_that_came_too_early_is_not_honoured_when_it_is_repeated() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.sale_active().await?;
        let early = fixture.seller.trader.release(offer.id).await?;
        receives(&mut fixture.seller, offer.refused(&early, "not_allowed_by_status")).await?;
        fixture.buyer.trader.fiat_sent(offer.id).await?;
        fixture.buyer.trader.wait_for(Action::FiatSentOk).await?;
        fixture.seller.trader.wait_for(Action::FiatSentOk).await?;
        let before = Snapshot::of(fixture, &offer).await?;

        let release = on_relay(fixture, early.event).await?;
        fixture.exchange.relay.push(release.clone());
        before.is_unchanged(fixture, &offer).await?;
        fixture.exchange.daemon.restart().await?;
        fixture.exchange.relay.push(release);
        before.is_unchanged(fixture, &offer).await?;

        succeeds(fixture, &offer).await
    })
    .await
}

// spec: I7 INV-4
#[tokio::test]
async fn messages_of_one_trade_do_not_change_another() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let first = fixture.sale_active().await?;
        let fiat_sent = fixture.buyer.trader.fiat_sent(first.id).await?;
        fixture.seller.trader.wait_for(Action::FiatSentOk).await?;
        let release = fixture.seller.trader.release(first.id).await?;
        fixture.seller.trader.wait_for(Action::Rate).await?;
        fixture.buyer.trader.wait_for(Action::Rate).await?;
        let offer = fixture.sale_active().await?;
        let before = Snapshot::of(fixture, &offer).await?;

        for event in [fiat_sent.event, release.event] {
            fixture.exchange.relay.push(on_relay(fixture, event).await?);
        }

        before.is_unchanged(fixture, &offer).await?;
        fixture.released(&offer).await?;
        fixture.audit(offer.id, -2 * SELLER_PAYS, 2 * BUYER_GETS).await
    })
    .await
}

/// The state of a trade before an attempt to change it.
struct Snapshot(Order);

impl Snapshot {
    async fn of(fixture: &Fixture, offer: &Offer) -> Result<Self> {
        Ok(Self(in_database(fixture, offer.id).await?))
    }

    /// Nobody got a message, and the order and the sats are unchanged.
    async fn is_unchanged(&self, fixture: &mut Fixture, offer: &Offer) -> Result<()> {
        fixture.seller.trader.receives_nothing_more(offer.id).await?;
        fixture.buyer.trader.receives_nothing_more(offer.id).await?;
        ensure!(in_database(fixture, offer.id).await? == self.0, "the order has changed");
        let held = fixture.invoices(HUB, InvoiceState::Accepted).await?;
        ensure!(held.len() == 1, "the escrow is not held any more: {held:?}");
        Ok(())
    }
}

/// From `fiat-sent` to the end.
async fn succeeds(fixture: &mut Fixture, offer: &Offer) -> Result<()> {
    fixture.seller.trader.release(offer.id).await?;
    fixture.is_success(offer).await?;
    fixture.audit(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

/// An event as the relay stores it, which anybody can copy.
async fn on_relay(fixture: &Fixture, event: EventId) -> Result<Event> {
    let client = Client::default();
    client.add_relay(fixture.exchange.relay.url()).await?;
    client.connect().await;
    let found = client.fetch_events(Filter::new().id(event), devnet::trader::TIMEOUT).await?;
    found.first_owned().context("the relay has no such event")
}

/// The trader whose messages are forged.
struct Victim {
    trade: PublicKey,
    identity: PublicKey,
}

impl Victim {
    fn of(person: &Person, offer: &Offer) -> Result<Self> {
        let trade = person.trader.trade_key(offer.id).context("a party has a key")?;
        Ok(Self { trade, identity: person.trader.identity() })
    }
}

/// Sends every forgery; none may have an effect.
async fn send_forgeries(
    forger: &Forger,
    fixture: &mut Fixture,
    offer: &Offer,
    action: &str,
    victim: &Victim,
) -> Result<()> {
    let before = Snapshot::of(fixture, offer).await?;
    let message = forger.request(offer.id, action).to_string();
    for (trick, event) in forger.forged(&message, victim)? {
        forger.deliver(fixture, &event).await.with_context(|| trick.to_owned())?;
    }
    before.is_unchanged(fixture, offer).await.with_context(|| action.to_owned())
}

impl Forger {
    /// This message with the victim as its author, forged in each possible way.
    fn forged(&self, message: &str, victim: &Victim) -> Result<Vec<(&'static str, Event)>> {
        let ours = sign(message, &self.trade);
        match self.transport {
            Transport::GiftWrap => {
                let sealed = |signature: &str, seal: PublicKey, signer: &Keys| {
                    let content = self.content(message, signature, "");
                    self.wrap_as(victim.trade, &content, seal, signer)
                };
                let (we, identity) = (self.identity.public_key(), &self.identity);
                Ok(vec![
                    ("a rumor by another than our seal", sealed("null", we, identity)?),
                    ("the same, signed by us", sealed(&ours, we, identity)?),
                    (
                        "a seal in the name of the trade key",
                        sealed("null", victim.trade, identity)?,
                    ),
                    (
                        "a seal in the name of the identity",
                        sealed(&ours, victim.identity, identity)?,
                    ),
                ])
            }
            Transport::Nip44 => {
                let made_up = json!([victim.identity, "0".repeat(128)]).to_string();
                let (we, them) = (self.identity.public_key().to_hex(), victim.identity.to_hex());
                let grafted = self.proof(message, &self.trade).replace(&we, &them);
                let direct = |author, signature: &str, proof: &str| {
                    self.direct_as(author, self.content(message, signature, proof))
                };
                let we = self.trade.public_key();
                Ok(vec![
                    ("an event in the name of the trade key", direct(victim.trade, &ours, "null")?),
                    ("the same, unsigned inside", direct(victim.trade, "null", "null")?),
                    ("a made-up proof of the identity", direct(we, &ours, &made_up)?),
                    ("our own proof in the identity's name", direct(we, &ours, &grafted)?),
                ])
            }
        }
    }

    /// A gift wrap with these authors of rumor and seal, whose seal is signed by one of our keys.
    fn wrap_as(
        &self,
        author: PublicKey,
        content: &str,
        sealer: PublicKey,
        signer: &Keys,
    ) -> Result<Event> {
        let mut rumor = UnsignedEvent::new(author, Timestamp::now(), Kind::TextNote, [], content);
        rumor.ensure_id();
        let content = encrypt(signer, &self.node, rumor.as_json())?;
        let seal = UnsignedEvent::new(sealer, Timestamp::now(), Kind::Seal, [], content);
        self.wrap(signed_by(signer, seal).as_json())
    }

    fn direct_as(&self, author: PublicKey, plain: String) -> Result<Event> {
        let content = encrypt(&self.trade, &self.node, plain)?;
        let to = Tag::public_key(self.node);
        let kind = Kind::PrivateDirectMessage;
        let event = UnsignedEvent::new(author, Timestamp::now(), kind, [to], content);
        Ok(signed_by(&self.trade, event))
    }
}

/// The event with its correct id, signed by this key, which need not be its author's.
fn signed_by(signer: &Keys, mut event: UnsignedEvent) -> Event {
    let id = event.id();
    let signature = signer.sign_schnorr(&Digest::from_digest(id.to_bytes()));
    let UnsignedEvent { pubkey, created_at, kind, tags, content, .. } = event;
    Event::new(id, pubkey, created_at, kind, tags, content, signature)
}
