//! A client that knows only the protocol, built on `mostro-core`.
//!
//! It derives its keys as clients do, sends on the given transport, and keeps all received messages in
//! order. It checks the rules for the node's envelopes.

mod envelope;
mod keys;
mod received;
mod transport;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use mostro_core::message::{Action, Message, MessageKind, Payload};
use mostro_core::order::SmallOrder;
use nostr_sdk::{Client, Event, EventId, Filter, Keys, Kind, PublicKey, RelayPoolNotification};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

pub use keys::Seed;
pub use received::{Received, Unexpected, on_the_wire};
pub use transport::Transport;

/// How long a client waits for an answer.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// A client: one identity, one trade key per order.
#[derive(Debug)]
pub struct Trader {
    name: String,
    relay: String,
    seed: Seed,
    identity: Keys,
    transport: Transport,
    node: PublicKey,
    client: Client,
    events: Receiver<RelayPoolNotification>,
    /// The trade keys, by public key.
    keys: HashMap<PublicKey, TradeKey>,
    /// The trade key of the newest order, and of each known order.
    newest: Option<PublicKey>,
    orders: HashMap<Uuid, PublicKey>,
    next_index: u32,
    received: Vec<Received>,
    /// How many of `received` were taken by `expect`.
    taken: usize,
    patience: Duration,
    joined: Instant,
}

#[derive(Debug, Clone)]
struct TradeKey {
    index: u32,
    keys: Keys,
}

/// A request that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub request_id: u64,
    /// The request's trade index, if it has one.
    pub trade_index: Option<i64>,
    /// The trade key it was sent with.
    pub from: PublicKey,
    pub event: EventId,
}

impl Trader {
    /// Connects a new trader with new keys to a node on a relay.
    ///
    /// # Errors
    /// If the relay cannot be reached.
    pub async fn join(
        name: &str,
        relay: &str,
        node: PublicKey,
        transport: Transport,
    ) -> Result<Self> {
        let seed = Seed::random()?;
        let client = connect(name, relay).await?;
        Ok(Self {
            name: name.to_owned(),
            relay: relay.to_owned(),
            identity: seed.identity()?,
            seed,
            transport,
            node,
            events: client.notifications(),
            client,
            keys: HashMap::new(),
            newest: None,
            orders: HashMap::new(),
            next_index: 1,
            received: Vec::new(),
            taken: 0,
            patience: TIMEOUT,
            joined: Instant::now(),
        })
    }

    /// Connects to the relay again, as a client does when it is opened.
    ///
    /// # Errors
    /// If the relay cannot be reached.
    pub async fn reconnect(&mut self) -> Result<()> {
        self.client = connect(&self.name, &self.relay).await?;
        self.events = self.client.notifications();
        for key in self.keys.keys() {
            self.subscribe(*key).await?;
        }
        Ok(())
    }

    /// Uses another relay from now on.
    ///
    /// # Errors
    /// If that relay cannot be reached.
    pub async fn move_to(&mut self, relay: &str) -> Result<()> {
        relay.clone_into(&mut self.relay);
        self.reconnect().await
    }

    /// Sets how long it waits for each message.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Uses another transport from now on, as after a client's update.
    pub fn set_transport(&mut self, transport: Transport) {
        self.transport = transport;
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn identity(&self) -> PublicKey {
        self.identity.public_key()
    }

    /// The trade key of an order, or the newest one.
    #[must_use]
    pub fn trade_key(&self, order: Uuid) -> Option<PublicKey> {
        self.orders.get(&order).copied().or(self.newest)
    }

    /// All messages from the node, oldest first.
    #[must_use]
    pub fn received(&self) -> &[Received] {
        &self.received
    }

    /// Creates an order with a new trade key.
    ///
    /// # Errors
    /// If the relay does not accept the message.
    pub async fn new_order(&mut self, order: SmallOrder) -> Result<Sent> {
        self.open(Action::NewOrder, None, Some(Payload::Order(order))).await
    }

    /// Takes a sell order with a new trade key.
    ///
    /// # Errors
    /// If the relay does not accept the message.
    pub async fn take_sell(&mut self, order: Uuid, invoice: Option<String>) -> Result<Sent> {
        let payload = invoice.map(|bolt11| Payload::PaymentRequest(None, bolt11, None));
        self.open(Action::TakeSell, Some(order), payload).await
    }

    /// Takes a buy order with a new trade key.
    ///
    /// # Errors
    /// If the relay does not accept the message.
    pub async fn take_buy(&mut self, order: Uuid) -> Result<Sent> {
        self.open(Action::TakeBuy, Some(order), None).await
    }

    /// Sends the invoice for the payout.
    ///
    /// # Errors
    /// If the relay does not accept the message.
    pub async fn add_invoice(&mut self, order: Uuid, bolt11: &str) -> Result<Sent> {
        let payload = Payload::PaymentRequest(None, bolt11.to_owned(), None);
        self.send(Action::AddInvoice, Some(order), Some(payload)).await
    }

    /// # Errors
    /// If the relay does not accept the message.
    pub async fn fiat_sent(&mut self, order: Uuid) -> Result<Sent> {
        self.send(Action::FiatSent, Some(order), None).await
    }

    /// # Errors
    /// If the relay does not accept the message.
    pub async fn release(&mut self, order: Uuid) -> Result<Sent> {
        self.send(Action::Release, Some(order), None).await
    }

    /// # Errors
    /// If the relay does not accept the message.
    pub async fn cancel(&mut self, order: Uuid) -> Result<Sent> {
        self.send(Action::Cancel, Some(order), None).await
    }

    /// Sends any message with the trade key of its order.
    ///
    /// # Errors
    /// If the relay does not accept the message.
    pub async fn send(
        &mut self,
        action: Action,
        order: Option<Uuid>,
        payload: Option<Payload>,
    ) -> Result<Sent> {
        if self.newest.is_none() {
            self.next_trade_key().await?;
        }
        let key = order.and_then(|order| self.trade_key(order)).or(self.newest);
        let key = key.context("a trader has a trade key by now")?;
        self.send_with_key(key, action, order, None, payload).await
    }

    /// Takes the next message, which must have this action.
    ///
    /// # Errors
    /// If another message comes, or none in time; the error lists all received messages.
    pub async fn expect(&mut self, action: Action) -> Result<Received> {
        let deadline = Instant::now() + self.patience;
        if self.next_untaken(deadline).await? {
            let message = self.received[self.taken].clone();
            self.taken += 1;
            if message.kind().action == action {
                return Ok(message);
            }
        }
        Err(self.unexpected(action).into())
    }

    /// Takes the next message with this action and skips those before it.
    ///
    /// # Errors
    /// If it does not come in time, or a refusal comes before.
    pub async fn wait_for(&mut self, action: Action) -> Result<Received> {
        let deadline = Instant::now() + self.patience;
        while self.next_untaken(deadline).await? {
            let message = self.received[self.taken].clone();
            self.taken += 1;
            if message.kind().action == action {
                return Ok(message);
            }
            if message.kind().action == Action::CantDo {
                break;
            }
        }
        Err(self.unexpected(action).into())
    }

    /// Proves that the node has no more messages for the trade key of `order`: sends a request that is
    /// always refused, and the refusal must be the next message.
    ///
    /// # Errors
    /// If another message comes first, or no refusal.
    pub async fn receives_nothing_more(&mut self, order: Uuid) -> Result<()> {
        // The node does not know the key of a trader who never sent anything.
        let Some(key) = self.trade_key(order) else { return Ok(()) };
        let unknown_order = Uuid::new_v4();
        let sent = self.send_with_key(key, Action::Cancel, Some(unknown_order), None, None).await?;
        let refusal = self.expect(Action::CantDo).await?;
        ensure!(
            refusal.kind().request_id == Some(sent.request_id),
            "another request of {} was refused first: {refusal}",
            self.name
        );
        Ok(())
    }

    /// Sends with a new trade key, and with its index.
    async fn open(
        &mut self,
        action: Action,
        order: Option<Uuid>,
        payload: Option<Payload>,
    ) -> Result<Sent> {
        let key = self.next_trade_key().await?;
        if let Some(order) = order {
            self.orders.insert(order, key);
        }
        let index = self.keys.get(&key).map(|key| i64::from(key.index));
        self.send_with_key(key, action, order, index, payload).await
    }

    /// Derives the next trade key and subscribes to events for it.
    async fn next_trade_key(&mut self) -> Result<PublicKey> {
        let index = self.next_index;
        self.next_index += 1;
        let keys = self.seed.trade(index)?;
        let public = keys.public_key();
        self.subscribe(public).await?;
        self.keys.insert(public, TradeKey { index, keys });
        self.newest = Some(public);
        Ok(public)
    }

    /// Subscribes to events for a key.
    async fn subscribe(&self, public: PublicKey) -> Result<()> {
        // A gift wrap's author is random, a direct message's is the node.
        let wraps = Filter::new().kind(Kind::GiftWrap).pubkey(public);
        let directs =
            Filter::new().kind(Kind::PrivateDirectMessage).author(self.node).pubkey(public);
        for filter in [wraps, directs] {
            let subscribed = self.client.subscribe(filter, None).await?;
            ensure!(
                !subscribed.success.is_empty(),
                "{} cannot subscribe: {:?}",
                self.name,
                subscribed.failed
            );
        }
        Ok(())
    }

    async fn send_with_key(
        &mut self,
        key: PublicKey,
        action: Action,
        order: Option<Uuid>,
        trade_index: Option<i64>,
        payload: Option<Payload>,
    ) -> Result<Sent> {
        let trade = self.keys.get(&key).context("a key that was derived")?.keys.clone();
        let request_id = getrandom::u64()?;
        let mut kind = MessageKind::new(order, Some(request_id), trade_index, action, payload);
        kind.version = self.transport.version();
        let message = Message::Order(kind);
        let sealed = self.transport.seal(&message, &self.identity, &trade, self.node);
        let event = Box::pin(sealed).await?;
        self.publish(&event).await?;
        Ok(Sent { request_id, trade_index, from: key, event: event.id })
    }

    async fn publish(&self, event: &Event) -> Result<()> {
        let output = self.client.send_event(event).await?;
        if output.success.is_empty() {
            bail!("the relay did not accept a message of {}: {:?}", self.name, output.failed);
        }
        Ok(())
    }

    /// Waits until there is a message that was not taken; `false` at the deadline.
    async fn next_untaken(&mut self, deadline: Instant) -> Result<bool> {
        while self.received.len() == self.taken {
            let Ok(event) = timeout_at(deadline, self.events.recv()).await else {
                return Ok(false);
            };
            match event {
                Ok(RelayPoolNotification::Event { event, .. }) => self.open_event(&event).await?,
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => bail!("{} missed {missed} events", self.name),
                Err(RecvError::Closed) => {
                    bail!("the connection of {} to its relay was closed", self.name)
                }
            }
        }
        Ok(true)
    }

    async fn open_event(&mut self, event: &Event) -> Result<()> {
        let Some(to) = event.tags.public_keys().find(|key| self.keys.contains_key(key)) else {
            return Ok(());
        };
        let Some(key) = self.keys.get(to) else { return Ok(()) };
        // After a reconnect the relay sends all its events again.
        if self.received.iter().any(|message| message.event == event.id) {
            return Ok(());
        }
        let message = Box::pin(envelope::open(event, &key.keys, self.node))
            .await
            .with_context(|| format!("{} received an event that is not the node's", self.name))?;
        if let Some(order) = message.kind().id {
            self.orders.entry(order).or_insert(*to);
        }
        self.received.push(message.at(self.joined.elapsed()));
        Ok(())
    }

    fn unexpected(&self, wanted: Action) -> Unexpected {
        Unexpected {
            who: self.name.clone(),
            wanted,
            patience: self.patience,
            received: self.received.clone(),
            taken: self.taken,
        }
    }
}

async fn connect(name: &str, relay: &str) -> Result<Client> {
    let client = Client::default();
    client.add_relay(relay).await.with_context(|| format!("{relay} is not the URL of a relay"))?;
    let connected = client.try_connect(TIMEOUT).await;
    ensure!(!connected.success.is_empty(), "{name} cannot reach the relay at {relay}");
    Ok(client)
}
