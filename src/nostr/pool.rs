//! The relays: one handle to publish, one task to receive.
//!
//! The library's pool keeps the connections. Subscriptions are managed here: the library repeats its
//! own with the times of the first one, forgets them on `CLOSED`, and delivers events through a
//! channel that drops what is not read in time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use nostr_sdk::pool::pool::RelayPoolBuilder;
use nostr_sdk::pool::relay::limits::{RelayEventLimits, RelayMessageLimits};
use nostr_sdk::pool::{Relay, RelayLimits, RelayOptions, RelayPool};
use nostr_sdk::{Event, Keys, RelayUrl};
use tokio::sync::{mpsc, watch};

use super::envelope::Transport;

mod listen;
mod socket;
mod subscriptions;

pub use listen::Listener;
pub use subscriptions::{Phase, Subscriptions};

/// What a relay adds to an event: the message type and the id of our subscription.
const FRAME_BYTES: u32 = 256;

#[derive(Debug, Clone)]
pub struct Options {
    pub urls: Vec<String>,
    /// What to subscribe to.
    pub transports: Vec<Transport>,
    /// Larger events are not accepted from a relay.
    pub max_event_bytes: u32,
    /// How many events may wait to be read; when the queue is full, no more is read from the relays.
    pub queue: usize,
    /// How long to wait before a lost connection or a refused subscription is retried.
    pub retry: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("`{url}` is not a relay's address: it should look like wss://relay.example.com")]
    BadUrl { url: String },
    #[error("cannot use the relay {url}")]
    Unusable { url: String, source: nostr_sdk::pool::pool::Error },
    #[error("no relay is connected")]
    NoneConnected,
    #[error("no relay accepted the event: {}", quoted_all(refusals))]
    Refused { refusals: Vec<NotAccepted> },
}

/// Why one relay did not accept an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAccepted {
    /// The relay, and the reason.
    pub text: String,
    /// The relay's own text; none if it did not answer.
    pub answer: Option<String>,
}

impl NotAccepted {
    fn new(relay: &RelayUrl, error: &nostr_sdk::pool::relay::Error) -> Self {
        let answer = match error {
            nostr_sdk::pool::relay::Error::RelayMessage(text) => Some(text.clone()),
            _ => None,
        };
        Self { text: format!("{relay}: {error}"), answer }
    }
}

impl RelayError {
    /// Whether no relay accepted the event because of its time: at least one relay answered, and every
    /// answer says so.
    #[must_use]
    pub fn is_about_time(&self) -> bool {
        let Self::Refused { refusals } = self else { return false };
        let mut answers =
            refusals.iter().filter_map(|refusal| refusal.answer.as_deref()).peekable();
        answers.peek().is_some() && answers.all(mentions_time)
    }
}

/// The protocol has no code for this reason: these are phrases of relays in use.
fn mentions_time(answer: &str) -> bool {
    const PHRASES: [&str; 10] = [
        "created_at",
        "created at",
        "creation date",
        "timestamp",
        "in the future",
        "in the past",
        "too early",
        "too late",
        "too old",
        "expired",
    ];
    let answer = answer.to_lowercase();
    !answer.starts_with("rate-limited:") && PHRASES.iter().any(|phrase| answer.contains(phrase))
}

fn quoted_all(refusals: &[NotAccepted]) -> String {
    refusals.iter().map(|refusal| quoted(&refusal.text)).collect::<Vec<_>>().join("; ")
}

/// A relay's text, on one line and cut short: a relay can send anything, and this goes to the log.
fn quoted(text: &str) -> String {
    const SHOWN_CHARS: usize = 200;
    let mut rest = text.escape_debug();
    let shown: String = rest.by_ref().take(SHOWN_CHARS).collect();
    if rest.next().is_none() { shown } else { format!("{shown}…") }
}

/// Publishes to the relays and shows the state of their subscriptions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Relays {
    pool: RelayPool,
    /// As configured.
    urls: Vec<RelayUrl>,
    subscriptions: watch::Receiver<Subscriptions>,
}

impl Relays {
    /// Prepares the relays; nothing is connected before the listener runs. The receiver gets the events
    /// addressed to `node`, with verified signatures; duplicates are not removed.
    ///
    /// # Errors
    /// When an address is invalid.
    pub async fn new(
        options: &Options,
        node: &Keys,
    ) -> Result<(Self, Listener, mpsc::Receiver<Event>), RelayError> {
        let mut urls = Vec::new();
        for url in &options.urls {
            let parsed =
                RelayUrl::parse(url).map_err(|_| RelayError::BadUrl { url: url.clone() })?;
            if !urls.contains(&parsed) {
                urls.push(parsed);
            }
        }

        let (events, received) = mpsc::channel(options.queue);
        let stats: HashMap<_, _> = urls.iter().map(|url| (url.clone(), Arc::default())).collect();
        let sink = listen::EventSink { events, stats: stats.clone() };
        let builder = RelayPoolBuilder::new().admit_policy(sink);
        let pool = builder.websocket_transport(socket::Sockets).build();
        // Some relays deliver messages only to their authenticated recipient (NIP-42).
        pool.state().set_signer(node.clone()).await;

        let (subscriptions, current) = watch::channel(Subscriptions::new(urls.len()));
        let mut relays = Vec::new();
        for (index, url) in urls.iter().enumerate() {
            let unusable = |source| RelayError::Unusable { url: url.to_string(), source };
            pool.add_relay(url.clone(), options.for_relay()).await.map_err(unusable)?;
            relays.push(listen::RelayListener {
                relay: pool.relay(url.clone()).await.map_err(unusable)?,
                index,
                node: node.public_key(),
                transports: options.transports.clone(),
                retry: options.retry,
                stats: stats.get(url).cloned().unwrap_or_default(),
                subscriptions: subscriptions.clone(),
            });
        }
        let listener = Listener { relays, subscriptions };
        Ok((Self { pool, urls, subscriptions: current }, listener, received))
    }

    /// Sends an event to every connected relay; returns when the first one has accepted it.
    ///
    /// # Errors
    /// When no relay is connected, or each one refused or did not answer within 10 s.
    pub async fn publish(&self, event: &Event) -> Result<(), RelayError> {
        let relays = self.pool.relays().await;
        let connected = relays.values().filter(|relay| relay.is_connected());
        // The first poll sends the event to all of them; after the first acceptance the other answers
        // are not awaited.
        let mut answers: FuturesUnordered<_> = connected
            .map(|relay| async move { (relay.url(), relay.send_event(event).await) })
            .collect();
        let mut refusals = Vec::new();
        while let Some((url, answer)) = answers.next().await {
            match answer {
                Ok(_) => return Ok(()),
                Err(reason) => refusals.push(NotAccepted::new(url, &reason)),
            }
        }
        if refusals.is_empty() {
            return Err(RelayError::NoneConnected);
        }
        Err(RelayError::Refused { refusals })
    }

    /// The number of relays. Each is identified by its index in the settings, without duplicates.
    #[must_use]
    pub fn count(&self) -> usize {
        self.urls.len()
    }

    /// Sends an event to one relay.
    ///
    /// # Errors
    /// When it is not connected, refused, or did not answer within 10 s.
    pub async fn publish_to(&self, relay: usize, event: &Event) -> Result<(), RelayError> {
        let relays = self.pool.relays().await;
        let relay = self.urls.get(relay).and_then(|url| relays.get(url));
        let connected = relay.filter(|relay| relay.is_connected());
        let relay = connected.ok_or(RelayError::NoneConnected)?;
        let refused =
            |reason| RelayError::Refused { refusals: vec![NotAccepted::new(relay.url(), &reason)] };
        relay.send_event(event).await.map(drop).map_err(refused)
    }

    /// The connected relays, in the order of the settings.
    pub async fn connected(&self) -> Vec<String> {
        let relays = self.pool.relays().await;
        let is_connected = |url: &&RelayUrl| relays.get(url).is_some_and(Relay::is_connected);
        let connected = self.urls.iter().filter(is_connected);
        connected.map(|url| url.as_str_without_trailing_slash().to_owned()).collect()
    }

    /// Shows whether the node is reachable, and whether the backlog has arrived.
    #[must_use]
    pub fn subscriptions(&self) -> watch::Receiver<Subscriptions> {
        self.subscriptions.clone()
    }
}

impl Options {
    fn for_relay(&self) -> RelayOptions {
        let limits = RelayLimits {
            messages: RelayMessageLimits {
                max_size: Some(self.max_event_bytes.saturating_add(FRAME_BYTES)),
            },
            events: RelayEventLimits {
                max_size: Some(self.max_event_bytes),
                ..RelayEventLimits::default()
            },
        };
        RelayOptions::new().limits(limits).retry_interval(self.retry).adjust_retry_interval(false)
    }
}

#[cfg(test)]
mod tests;
