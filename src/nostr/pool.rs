//! The relays: one handle to speak, one task to listen.
//!
//! The library's pool keeps the connections. Everything about subscriptions is done here: its own
//! would be repeated with the times of the first one, forgotten on `CLOSED`, and read through a
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
mod subscriptions;

pub use listen::Listener;
pub use subscriptions::{Phase, Subscriptions};

/// What a relay puts around an event: the message type and our subscription's name.
const FRAME_BYTES: u32 = 256;

#[derive(Debug, Clone)]
pub struct Options {
    pub urls: Vec<String>,
    /// What to listen to.
    pub transports: Vec<Transport>,
    /// Larger events are not taken from a relay.
    pub max_event_bytes: u32,
    /// How many events may wait to be read; when they do, the relays wait too.
    pub queue: usize,
    /// How long to wait before a lost connection or a refused subscription is tried again.
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
    #[error("no relay took the event: {}", quoted_all(refusals))]
    Refused { refusals: Vec<NotTaken> },
}

/// Why one relay did not take an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    /// The relay, and why.
    pub text: String,
    /// In the relay's own words; none if it did not answer.
    pub answer: Option<String>,
}

impl NotTaken {
    fn new(relay: &RelayUrl, error: &nostr_sdk::pool::relay::Error) -> Self {
        let answer = match error {
            nostr_sdk::pool::relay::Error::RelayMessage(said) => Some(said.clone()),
            _ => None,
        };
        Self { text: format!("{relay}: {error}"), answer }
    }
}

impl RelayError {
    /// Whether the event's time is why no relay took it: all that answered say so, and one did.
    #[must_use]
    pub fn is_about_time(&self) -> bool {
        let Self::Refused { refusals } = self else { return false };
        let mut answers =
            refusals.iter().filter_map(|refusal| refusal.answer.as_deref()).peekable();
        answers.peek().is_some() && answers.all(speaks_of_time)
    }
}

/// There is no word for it in the protocol: these are those of the relays in use.
fn speaks_of_time(answer: &str) -> bool {
    const WORDS: [&str; 10] = [
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
    !answer.starts_with("rate-limited:") && WORDS.iter().any(|word| answer.contains(word))
}

fn quoted_all(refusals: &[NotTaken]) -> String {
    refusals.iter().map(|refusal| quoted(&refusal.text)).collect::<Vec<_>>().join("; ")
}

/// What a relay said, as a log may show it: anybody runs relays, and writes what he likes.
fn quoted(text: &str) -> String {
    const SHOWN_CHARS: usize = 200;
    let mut rest = text.escape_debug();
    let shown: String = rest.by_ref().take(SHOWN_CHARS).collect();
    if rest.next().is_none() { shown } else { format!("{shown}…") }
}

/// The handle to speak with the relays. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Relays {
    pool: RelayPool,
    /// As configured.
    urls: Vec<RelayUrl>,
    subscriptions: watch::Receiver<Subscriptions>,
}

impl Relays {
    /// Prepares the relays; nothing is connected before the listener runs. The receiver gets what
    /// is addressed to `node`, repeated as often as relays repeat it, signatures verified.
    ///
    /// # Errors
    /// When an address is none.
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
        let tallies: HashMap<_, _> = urls.iter().map(|url| (url.clone(), Arc::default())).collect();
        let sink = listen::EventSink { events, tallies: tallies.clone() };
        let pool = RelayPoolBuilder::new().admit_policy(sink).build();
        // Some relays hand out messages only to whom they are addressed (NIP-42).
        pool.state().set_signer(node.clone()).await;

        let (subscriptions, heard) = watch::channel(Subscriptions::new(urls.len()));
        let mut lines = Vec::new();
        for (place, url) in urls.iter().enumerate() {
            let unusable = |source| RelayError::Unusable { url: url.to_string(), source };
            pool.add_relay(url.clone(), options.for_relay()).await.map_err(unusable)?;
            lines.push(listen::Line {
                relay: pool.relay(url.clone()).await.map_err(unusable)?,
                place,
                node: node.public_key(),
                transports: options.transports.clone(),
                retry: options.retry,
                tally: tallies.get(url).cloned().unwrap_or_default(),
                subscriptions: subscriptions.clone(),
            });
        }
        let listener = Listener { lines, subscriptions };
        Ok((Self { pool, urls, subscriptions: heard }, listener, received))
    }

    /// Sends an event to every connected relay; done when the first one has taken it.
    ///
    /// # Errors
    /// When no relay is connected, or each one refused or did not answer in 10 s.
    pub async fn publish(&self, event: &Event) -> Result<(), RelayError> {
        let relays = self.pool.relays().await;
        let connected = relays.values().filter(|relay| relay.is_connected());
        // The first poll hands the event to all of them; after the first yes nobody waits for the
        // others.
        let mut answers: FuturesUnordered<_> = connected
            .map(|relay| async move { (relay.url(), relay.send_event(event).await) })
            .collect();
        let mut refusals = Vec::new();
        while let Some((url, answer)) = answers.next().await {
            match answer {
                Ok(_) => return Ok(()),
                Err(reason) => refusals.push(NotTaken::new(url, &reason)),
            }
        }
        if refusals.is_empty() {
            return Err(RelayError::NoneConnected);
        }
        Err(RelayError::Refused { refusals })
    }

    /// How many relays there are: they are known by their place in the settings, without repeats.
    #[must_use]
    pub fn count(&self) -> usize {
        self.urls.len()
    }

    /// Sends an event to one relay.
    ///
    /// # Errors
    /// When it is not connected, refused, or did not answer in 10 s.
    pub async fn publish_at(&self, place: usize, event: &Event) -> Result<(), RelayError> {
        let relays = self.pool.relays().await;
        let relay = self.urls.get(place).and_then(|url| relays.get(url));
        let connected = relay.filter(|relay| relay.is_connected());
        let relay = connected.ok_or(RelayError::NoneConnected)?;
        let refused =
            |reason| RelayError::Refused { refusals: vec![NotTaken::new(relay.url(), &reason)] };
        relay.send_event(event).await.map(drop).map_err(refused)
    }

    /// The connected relays, in the order of the settings.
    pub async fn connected(&self) -> Vec<String> {
        let relays = self.pool.relays().await;
        let is_connected = |url: &&RelayUrl| relays.get(url).is_some_and(Relay::is_connected);
        let connected = self.urls.iter().filter(is_connected);
        connected.map(|url| url.as_str_without_trailing_slash().to_owned()).collect()
    }

    /// Tells whether anybody is heard, and whether what was missed has arrived.
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
