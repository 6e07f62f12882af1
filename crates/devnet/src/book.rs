//! The public events of a node: orders and its own description.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nostr_sdk::{
    Client, Event, Filter, Kind, PublicKey, RelayMessage, RelayPoolNotification, SubscriptionId,
    TagKind,
};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

/// The public events of one node, in the order in which the relay sent them.
#[derive(Debug)]
pub struct Book {
    /// Closes the connection when this is dropped.
    _client: Client,
    notifications: Receiver<RelayPoolNotification>,
    events: Vec<Event>,
    patience: Duration,
}

pub const ORDER: Kind = Kind::Custom(38_383);
pub const INFO: Kind = Kind::Custom(38_385);

const TIMEOUT: Duration = Duration::from_secs(15);

impl Book {
    /// Subscribes, and reads the events of this node that the relay has stored.
    ///
    /// # Errors
    /// If the relay cannot be reached.
    pub async fn watch(relay: &str, node: PublicKey) -> Result<Self> {
        let client = Client::default();
        client
            .add_relay(relay)
            .await
            .with_context(|| format!("{relay} is not the URL of a relay"))?;
        let connected = client.try_connect(TIMEOUT).await;
        ensure!(!connected.success.is_empty(), "no relay answers at {relay}");
        let public = Filter::new().author(node).kinds([ORDER, INFO]);
        let notifications = client.notifications();
        let asked = client.subscribe(public, None).await?;
        let mut book =
            Self { _client: client, notifications, events: Vec::new(), patience: TIMEOUT };
        let read = timeout(TIMEOUT, book.read_stored(&asked.val)).await;
        read.with_context(|| format!("{relay} does not send the end of its stored events"))??;
        Ok(book)
    }

    /// Waits until an order shows this public status.
    ///
    /// # Errors
    /// If it does not in time; the error lists the statuses that it showed.
    pub async fn until(&mut self, order: Uuid, status: &str) -> Result<Event> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(event) = self.newest(order).filter(|event| tag(event, "s") == [status]) {
                return Ok(event.clone());
            }
            if !self.read_event(deadline).await? {
                let shown: Vec<_> = self.revisions(order).map(|event| tag(event, "s")).collect();
                bail!("order {order} should have the status {status}; it had {shown:?}");
            }
        }
    }

    /// Waits for a new description of the node.
    ///
    /// # Errors
    /// If there is none by the deadline.
    pub async fn next_info(&mut self, deadline: Instant) -> Result<Event> {
        let known = self.infos().count();
        loop {
            if let Some(event) = self.infos().nth(known) {
                return Ok(event.clone());
            }
            if !self.read_event(deadline).await? {
                bail!("the node did not publish its info event (kind 38385)");
            }
        }
    }

    /// All revisions of an order's event, oldest first.
    pub fn revisions(&self, order: Uuid) -> impl Iterator<Item = &Event> {
        let id = order.to_string();
        self.events
            .iter()
            .filter(move |event| event.kind == ORDER && event.tags.identifier() == Some(&id))
    }

    /// The revision of an order that a client shows now.
    #[must_use]
    pub fn newest(&self, order: Uuid) -> Option<&Event> {
        self.revisions(order).max_by_key(|event| event.created_at)
    }

    /// All descriptions of the node, oldest first.
    pub fn infos(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| event.kind == INFO)
    }

    /// Reads up to the end of stored events.
    async fn read_stored(&mut self, subscription: &SubscriptionId) -> Result<()> {
        loop {
            match self.notification().await? {
                RelayPoolNotification::Event { event, .. } => self.events.push(*event),
                RelayPoolNotification::Message {
                    message: RelayMessage::EndOfStoredEvents(ended),
                    ..
                } if *ended == *subscription => return Ok(()),
                _ => {}
            }
        }
    }

    /// Waits for one more event; `false` at the deadline.
    async fn read_event(&mut self, deadline: Instant) -> Result<bool> {
        loop {
            let Ok(notification) = timeout_at(deadline, self.notification()).await else {
                return Ok(false);
            };
            if let RelayPoolNotification::Event { event, .. } = notification? {
                self.events.push(*event);
                return Ok(true);
            }
        }
    }

    async fn notification(&mut self) -> Result<RelayPoolNotification> {
        match self.notifications.recv().await {
            Ok(notification) => Ok(notification),
            Err(RecvError::Lagged(missed)) => bail!("{missed} events of the book were missed"),
            Err(RecvError::Closed) => bail!("the connection to the book's relay was closed"),
        }
    }
}

/// The values of a tag, without its name; none if it is absent.
#[must_use]
pub fn tag<'a>(event: &'a Event, name: &str) -> &'a [String] {
    let found = event.tags.find(TagKind::custom(name));
    found.and_then(|tag| tag.as_slice().get(1..)).unwrap_or_default()
}
