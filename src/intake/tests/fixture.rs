//! Intake without relays: a test sends their events, and sets the state of their subscription.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use trade::{
    BlockHeight, Command, Destination, HoldStatus, IdentityKey, Input, Kind, Msats, NewOrder,
    Notice, Observation, Order, OrderId, Refusal, Request, Sender, Timestamp, TradeKey,
};

use crate::clock::Clock as _;
use crate::engine::Applied;
use crate::engine::tests::{EngineFixture, invoice, secret};
use crate::entropy::SystemEntropy;
use crate::facts::Facts;
use crate::intake::{Intake, Setup, reachability};
use crate::lightning::{self, Lnd, LndAccess};
use crate::nostr::{Event, Keys, Phase, SecretKey, Subscriptions, Transport, seal};
use crate::store::{Delivery, EventId, Notification, Transport as Stored};
use crate::wire::Message;

pub(super) const PAID: HoldStatus =
    HoldStatus::Accepted { paid: Msats(101_000_000), expires_at: BlockHeight(1_147) };

/// Events that may wait to be read, as in the daemon.
const QUEUE: usize = 1_024;

pub(super) struct Fixture {
    pub(super) base: EngineFixture,
    pub(super) intake: Intake,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) subscriptions: watch::Sender<Subscriptions>,
    pub(super) cursor: watch::Receiver<Timestamp>,
    node: Keys,
    next_order: u8,
}

/// A sender with a trade key, in full privacy.
#[derive(Debug, Clone)]
pub(super) struct Trader(Keys);

impl Trader {
    pub(super) fn new(n: u8) -> Self {
        Self(Keys::new(SecretKey::from_slice(&[n; 32]).unwrap()))
    }

    pub(super) fn key(&self) -> TradeKey {
        TradeKey(self.0.public_key().to_bytes())
    }

    fn sender(&self) -> Sender {
        let key = self.key();
        Sender { trade: key, identity: IdentityKey(key.0), trade_index: None }
    }
}

pub(super) fn seller() -> Trader {
    Trader::new(11)
}

pub(super) fn buyer() -> Trader {
    Trader::new(12)
}

impl Fixture {
    /// A relay is connected, and has sent its stored events.
    pub(super) async fn new() -> Self {
        let mut fixture = Self::unreachable().await;
        fixture.connect_relay().await;
        fixture
    }

    /// No relay has been connected yet.
    pub(super) async fn unreachable() -> Self {
        Self::on(EngineFixture::new().await).await
    }

    pub(super) async fn on(base: EngineFixture) -> Self {
        let (events, received) = mpsc::channel(QUEUE);
        let (subscriptions, state) = watch::channel(Subscriptions::new(1));
        let node = Trader::new(7).0;
        let nowhere = LndAccess {
            host: "https://127.0.0.1:1".to_owned(),
            cert_file: "none".into(),
            macaroon_file: "none".into(),
        };
        let setup = Setup {
            events: received,
            subscriptions: state,
            node: node.clone(),
            pow: 0,
            transports: vec![Transport::Nip44, Transport::GiftWrap],
            catch_up: Duration::from_hours(24),
            policy: crate::engine::tests::policy(),
            reader: base.reader.clone(),
            engine: base.engine.clone(),
            facts: Facts::new(Arc::new(Lnd::new(nowhere).unwrap())),
            read_destination: lightning::invoice::decode,
            clock: base.clock.clone(),
            entropy: Arc::new(SystemEntropy),
        };
        let remembered = base.reader.daemon_state().await.unwrap();
        let oldest_take = base.reader.oldest_take().await.unwrap();
        let (intake, cursor) = Intake::new(setup, &remembered, oldest_take);
        Self { base, intake, events, subscriptions, cursor, node, next_order: 1 }
    }

    /// A daemon that starts on the same file; no relay has been connected yet.
    pub(super) async fn restarted(self) -> Self {
        let Self { base, intake, next_order, .. } = self;
        drop(intake);
        Self { next_order, ..Self::on(base.restarted().await).await }
    }

    pub(super) async fn set_phase(&mut self, phase: Phase) {
        self.subscriptions.send_modify(|subscriptions| subscriptions.set(0, phase));
        self.intake.until_idle().await;
    }

    pub(super) async fn connect_relay(&mut self) {
        self.set_phase(Phase::Open).await;
        self.intake.heartbeat().await;
    }

    /// Lets time pass, with a heartbeat at each interval.
    pub(super) async fn pass(&mut self, time: Duration) {
        let interval = reachability::HEARTBEAT_INTERVAL;
        for _ in 0..time.as_secs().div_ceil(interval.as_secs()) {
            self.base.clock.advance(interval);
            self.intake.heartbeat().await;
            self.intake.until_idle().await;
        }
    }

    /// A message as its author's client sends it at that time.
    pub(super) fn message(
        &self,
        by: &Trader,
        order: OrderId,
        action: &str,
        at: Timestamp,
    ) -> Event {
        self.message_over(by, order, action, at, Transport::Nip44)
    }

    pub(super) fn message_over(
        &self,
        by: &Trader,
        order: OrderId,
        action: &str,
        at: Timestamp,
        transport: Transport,
    ) -> Event {
        let json = format!(r#"{{"order":{{"version":2,"id":"{order}","action":"{action}"}}}}"#);
        self.sealed(by, &json, at, transport)
    }

    pub(super) fn sealed(
        &self,
        by: &Trader,
        json: &str,
        at: Timestamp,
        transport: Transport,
    ) -> Event {
        let message = Message::parse(json).unwrap();
        let node = TradeKey(self.node.public_key().to_bytes());
        let expires = at.after(Duration::from_hours(24 * 30));
        seal(&message, node, transport, &by.0, at, expires).unwrap()
    }

    /// Sends an event as a relay does, and waits until it is handled.
    pub(super) async fn receive(&mut self, event: Event) {
        self.events.send(event).await.unwrap();
        self.intake.until_idle().await;
    }

    pub(super) async fn send(&mut self, by: &Trader, order: OrderId, action: &str) {
        let event = self.message(by, order, action, self.base.clock.now());
        self.receive(event).await;
    }

    pub(super) async fn order(&self, id: OrderId) -> Order {
        self.base.reader.find_order(id).await.unwrap().unwrap()
    }

    /// Fills the outbox with answers to strangers up to the limit.
    pub(super) async fn fill_answers(&self) {
        for n in 0_u16..500 {
            let mut key = [0xee; 32];
            key[..2].copy_from_slice(&n.to_be_bytes());
            let delivery =
                Delivery { event_id: EventId(key), ..self.delivery(TradeKey([0xee; 32])) };
            let answer = Notification {
                to: TradeKey(key),
                order: None,
                request_id: None,
                trade_index: None,
                notice: Notice::CantDo(Refusal::NotFound),
            };
            let applied = self.base.engine.answer(delivery, answer).await;
            assert_eq!(applied.unwrap(), Applied::Saved);
        }
    }

    /// A sell order of [`seller`] in the book.
    pub(super) async fn pending(&mut self) -> OrderId {
        let id = OrderId([self.next_order; 16]);
        self.next_order += 1;
        let new = NewOrder { kind: Some(Kind::Sell), ..crate::engine::tests::sell_order() };
        let (sender, delivery) = (seller().sender(), self.delivery(seller().key()));
        let applied = self.base.engine.create(delivery, id, sender, None, new).await;
        assert_eq!(applied.unwrap(), Applied::Saved);
        id
    }

    /// [`buyer`] took it and gave an invoice; the seller has paid the hold.
    pub(super) async fn active(&mut self) -> OrderId {
        let id = self.pending().await;
        let n = self.next_order;
        let destination = Some(Destination::Bolt11(invoice(100 + n)));
        let command = Command::TakeSell { destination, secret: secret(n) };
        let request = Request { sender: buyer().sender(), request_id: None, command };
        let delivery = self.delivery(buyer().key());
        let nothing = |_| std::future::ready(None);
        let applied = self.base.engine.deliver(delivery, id, request, nothing).await;
        assert_eq!(applied.unwrap(), Applied::Saved);
        let hash = secret(n).hash;
        for news in [
            Observation::HoldOpened { hash, bolt11: format!("lnbcrt1hold{n}") },
            Observation::Hold { hash, status: PAID },
        ] {
            self.report(id, news).await;
        }
        id
    }

    pub(super) async fn report(&self, id: OrderId, news: Observation) -> Applied {
        self.base.engine.apply(id, Input::Lightning(news)).await.unwrap()
    }

    fn delivery(&self, from: TradeKey) -> Delivery {
        let mut id = [from.0[0]; 32];
        id[0] = self.next_order;
        Delivery {
            event_id: EventId(id),
            rumor_id: None,
            created_at: self.base.clock.now(),
            from,
            transport: Stored::Nip44,
        }
    }
}
