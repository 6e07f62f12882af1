//! A relay on a websocket, with its events in memory and without the limits of public relays.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nostr_relay_builder::LocalRelay;
use nostr_relay_builder::builder::{PolicyResult, RateLimit, RelayBuilder, WritePolicy};
use nostr_sdk::util::BoxedFuture;
use nostr_sdk::{Event, PublicKey};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A relay in this process. It stops when this is dropped.
#[derive(Debug)]
pub struct Relay {
    /// None while it is down.
    running: Option<Running>,
    address: SocketAddr,
    url: String,
    blocked: Blocked,
}

#[derive(Debug)]
struct Running {
    local: LocalRelay,
    /// Accepts connections, and has a task for each.
    _listening: JoinSet<()>,
}

/// Events addressed to these keys are refused.
#[derive(Debug, Clone, Default)]
struct Blocked(Arc<RwLock<HashSet<PublicKey>>>);

impl WritePolicy for Blocked {
    fn admit_event<'a>(
        &'a self,
        event: &'a Event,
        _: &'a SocketAddr,
    ) -> BoxedFuture<'a, PolicyResult> {
        let blocked = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_blocked = event.tags.public_keys().any(|to| blocked.contains(to));
        let answer = if is_blocked {
            PolicyResult::Reject("blocked: not delivered here".to_owned())
        } else {
            PolicyResult::Accept
        };
        Box::pin(std::future::ready(answer))
    }
}

const TIMEOUT: Duration = Duration::from_secs(5);

/// More than a load test sends; the default of 60 a minute stops a single trade.
const NOTES_PER_MINUTE: u32 = 10_000_000;
/// Events in the answer to a filter without a limit; 500, the default, would hide some of a busy
/// node's inbox.
const STORED_EVENTS_PER_ANSWER: usize = 75_000;

impl Relay {
    /// Starts a relay on a free port of the loopback interface.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start() -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts a relay at this address.
    ///
    /// # Errors
    /// If the port is taken.
    pub async fn start_at(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await;
        let listener =
            listener.with_context(|| format!("the relay cannot open a port on {address}"))?;
        let address = listener.local_addr()?;
        let blocked = Blocked::default();
        let limits = RateLimit { max_reqs: 10_000, notes_per_minute: NOTES_PER_MINUTE };
        let builder = RelayBuilder::default()
            .write_policy(blocked.clone())
            .rate_limit(limits)
            .default_filter_limit(STORED_EVENTS_PER_ANSWER);
        let local = LocalRelay::new(builder);
        let mut listening = JoinSet::new();
        listening.spawn(listen(listener, local.clone()));
        let running = Some(Running { local, _listening: listening });
        Ok(Self { running, address, url: format!("ws://{address}"), blocked })
    }

    /// Stops it: closes its port and every connection, and drops its stored events.
    pub fn die(&mut self) {
        self.running = None;
    }

    /// Starts it again at its old address, without stored events.
    ///
    /// # Errors
    /// If its port cannot be opened again.
    pub async fn come_back(&mut self) -> Result<()> {
        self.die();
        let reopened = async {
            loop {
                match Self::start_at(self.address).await {
                    Ok(relay) => return relay,
                    // The old listener ends when its task is next run.
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        *self = timeout(TIMEOUT, reopened).await.context("the relay's port is not released")?;
        Ok(())
    }

    /// `ws://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends an event to all matching subscriptions without any check.
    pub fn push(&self, event: Event) {
        if let Some(running) = &self.running {
            running.local.notify_event(event);
        }
    }

    /// From now on refuses every event that is addressed to one of these keys.
    pub fn block(&self, keys: impl IntoIterator<Item = PublicKey>) {
        self.blocked.0.write().unwrap_or_else(PoisonError::into_inner).extend(keys);
    }
}

/// Accepts connections, which end with this. What is sent on them is sent at once: the listener of
/// `LocalRelay` leaves Nagle's algorithm on, with which each short message waits up to 40 ms.
async fn listen(listener: TcpListener, relay: LocalRelay) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((tcp, from)) = accepted {
                    connections.spawn(serve(relay.clone(), tcp, from));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A failed connection is noticed by its client.
async fn serve(relay: LocalRelay, tcp: TcpStream, from: SocketAddr) {
    if tcp.set_nodelay(true).is_ok()
        && let Ok(mut websocket) = tokio_tungstenite::accept_async(tcp).await
    {
        drop(relay.take_connection(websocket.get_mut(), from).await);
    }
}
