//! Receiving: subscriptions that start from a cursor, are reopened, and lose nothing.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{join, join_all};
use nostr_sdk::pool::policy::{AdmitPolicy, AdmitStatus, PolicyError};
use nostr_sdk::pool::{Relay, RelayNotification, RelayStatus};
use nostr_sdk::util::BoxedFuture;
use nostr_sdk::{ClientMessage, Event, Filter, PublicKey, RelayMessage, RelayUrl, SubscriptionId};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use trade::Timestamp;

use super::quoted;
use super::subscriptions::{Phase, Subscriptions};
use crate::nostr::envelope::Transport;
use crate::wire::tags::unix;

/// The time of a gift wrap is up to two days before it was sent; one more hour for slow clocks.
const WRAP_OVERLAP_SECS: i64 = 49 * 60 * 60;
const DIRECT_OVERLAP_SECS: i64 = 15 * 60;

/// How long the events that have arrived may wait for the rest of the backlog.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// A request that a relay has not answered by then is made again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// After this time without an event the subscriptions are renewed: the relay may have forgotten them.
const IDLE_TIMEOUT: Duration = Duration::from_mins(15);
/// The most pages of stored events that are requested from a relay; most relays send 500 in a page.
const MAX_PAGES: u32 = 1_000;

/// The task that receives from all relays. It ends when it is dropped.
#[derive(Debug)]
pub struct Listener {
    pub(super) relays: Vec<RelayListener>,
    pub(super) subscriptions: watch::Sender<Subscriptions>,
}

impl Listener {
    /// Connects to the relays and subscribes at each: at first from `cursor`, and after a lost
    /// connection from the cursor of that moment. Everything up to the cursor has been processed.
    pub async fn run(self, cursor: watch::Receiver<Timestamp>) {
        let relays = join_all(self.relays.iter().map(|relay| relay.run(&cursor)));
        join(relays, limit_catch_up(&self.subscriptions)).await;
    }
}

/// Ends each catch-up that takes too long.
pub(super) async fn limit_catch_up(subscriptions: &watch::Sender<Subscriptions>) {
    let mut seen = subscriptions.subscribe();
    loop {
        if seen.wait_for(Subscriptions::is_catching_up).await.is_err() {
            return;
        }
        let over = seen.wait_for(|subscriptions| !subscriptions.is_catching_up());
        if timeout(CATCH_UP_TIMEOUT, over).await.is_err() {
            subscriptions.send_modify(Subscriptions::end_catch_up);
        }
    }
}

/// Receives each verified event from the pool, in the task that reads the relay's socket: a full
/// queue slows the relay down and drops nothing.
#[derive(Debug)]
pub(super) struct EventSink {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) stats: HashMap<RelayUrl, Arc<Stats>>,
}

impl AdmitPolicy for EventSink {
    fn admit_event<'a>(
        &'a self,
        relay_url: &'a RelayUrl,
        subscription_id: &'a SubscriptionId,
        event: &'a Event,
    ) -> BoxedFuture<'a, Result<AdmitStatus, PolicyError>> {
        Box::pin(async move {
            let stats = self.stats.get(relay_url);
            let is_requested = stats.is_some_and(|stats| stats.count(subscription_id, event));
            if is_requested && self.events.send(event.clone()).await.is_err() {
                tracing::debug!(event.id = %event.id, "an event came after intake had ended");
            }
            // Otherwise the pool would remember the event, and drop it the next time.
            Ok(AdmitStatus::Rejected { reason: None })
        })
    }
}

/// What one relay has sent.
#[derive(Debug, Default)]
pub(super) struct Stats(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    events: u64,
    /// The request that is being answered, and the time of the oldest event so far in the answer.
    request: Option<SubscriptionId>,
    oldest: Option<nostr_sdk::Timestamp>,
}

impl Stats {
    /// Counts an event; false when it belongs to no request of ours.
    fn count(&self, id: &SubscriptionId, event: &Event) -> bool {
        if !is_ours(id) {
            return false;
        }
        let mut counts = self.counts();
        counts.events = counts.events.wrapping_add(1);
        if counts.request.as_ref() == Some(id) {
            let oldest = counts.oldest.map_or(event.created_at, |at| at.min(event.created_at));
            counts.oldest = Some(oldest);
        }
        true
    }

    fn events(&self) -> u64 {
        self.counts().events
    }

    fn begin(&self, request: &SubscriptionId) {
        let mut counts = self.counts();
        (counts.request, counts.oldest) = (Some(request.clone()), None);
    }

    /// Returns the time of the oldest event in the answer.
    fn end(&self) -> Option<nostr_sdk::Timestamp> {
        let mut counts = self.counts();
        counts.request = None;
        counts.oldest.take()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The prefix of our subscription ids.
const ID_PREFIX: &str = "mostro-";

fn is_ours(id: &SubscriptionId) -> bool {
    id.as_str().starts_with(ID_PREFIX)
}

/// The subscription that stays open.
fn live(transport: Transport) -> SubscriptionId {
    SubscriptionId::new(match transport {
        Transport::GiftWrap => "mostro-wraps",
        Transport::Nip44 => "mostro-direct",
    })
}

/// The request for one page of stored events. Each has its own id, so that a late message about an
/// earlier page is not read as the answer.
fn older(transport: Transport, page: u32) -> SubscriptionId {
    SubscriptionId::new(format!("{}-older-{page}", live(transport)))
}

/// What happened to our subscriptions at a relay.
#[derive(Debug)]
enum Change {
    EndOfStoredEvents(SubscriptionId),
    Closed(SubscriptionId, String),
    /// We are authenticated: the relay may now accept what it refused before.
    Authenticated,
    Disconnected,
}

impl Change {
    fn from_message(message: RelayMessage<'static>) -> Option<Self> {
        match message {
            RelayMessage::EndOfStoredEvents(id) => Some(Self::EndOfStoredEvents(id.into_owned())),
            RelayMessage::Closed { subscription_id, message } => {
                Some(Self::Closed(subscription_id.into_owned(), message.into_owned()))
            }
            _ => None,
        }
    }
}

/// How a relay answered a request.
#[derive(Debug)]
enum Answer {
    /// With the time of the oldest event, if there was one.
    Complete(Option<nostr_sdk::Timestamp>),
    Refused(String),
}

/// Why the subscriptions at a relay must be opened again.
#[derive(Debug)]
enum EndReason {
    Refused(String),
    Authenticated,
    /// No event for so long that the relay may have forgotten them.
    Idle,
    Disconnected,
}

/// Receives from one relay.
#[derive(Debug)]
pub(super) struct RelayListener {
    pub(super) relay: Relay,
    /// Among the relays of the settings.
    pub(super) index: usize,
    pub(super) node: PublicKey,
    pub(super) transports: Vec<Transport>,
    pub(super) retry: Duration,
    pub(super) stats: Arc<Stats>,
    pub(super) subscriptions: watch::Sender<Subscriptions>,
}

type Notifications = Receiver<RelayNotification>;

impl RelayListener {
    /// The cursor moves on while any relay is received. This relay is asked for events from where the
    /// cursor was when this relay was last fully received.
    async fn run(&self, cursor: &watch::Receiver<Timestamp>) {
        let mut notifications = self.relay.notifications();
        self.relay.connect();
        let mut from = *cursor.borrow();
        let mut is_open = false;
        loop {
            self.subscriptions.send_modify(|state| state.set_received_until(self.index, from));
            self.connected(&mut notifications).await;
            // If the clock was set back meanwhile, so was the cursor.
            from = from.min(*cursor.borrow());
            if !is_open {
                self.set(Phase::Requested);
            }
            let ended = match self.catch_up(&mut notifications, from, is_open).await {
                Ok(()) => {
                    if !is_open {
                        tracing::info!(relay.url = %self.relay.url(), "subscribed");
                    }
                    self.set(Phase::Open);
                    is_open = true;
                    let ended = self.wait_for_end(&mut notifications).await;
                    from = received_until(*cursor.borrow(), &ended);
                    ended
                }
                Err(ended) => ended,
            };
            match ended {
                EndReason::Authenticated | EndReason::Idle => {}
                EndReason::Disconnected => {
                    tracing::info!(relay.url = %self.relay.url(), "connection lost");
                    self.set(Phase::Closed);
                    is_open = false;
                }
                EndReason::Refused(reason) => {
                    let reason = quoted(&reason);
                    tracing::warn!(relay.url = %self.relay.url(), reason, "subscription refused");
                    self.set(Phase::Closed);
                    is_open = false;
                    self.pause(&mut notifications).await;
                }
            }
        }
    }

    /// Waits before the next request, unless the connection is lost or authenticated meanwhile.
    async fn pause(&self, notifications: &mut Notifications) {
        let changed = async {
            while !matches!(
                self.next(notifications).await,
                Change::Disconnected | Change::Authenticated
            ) {}
        };
        // In both cases the next request is due.
        timeout(self.retry, changed).await.unwrap_or_default();
    }

    /// Waits for a connection, which the pool retries. Logs once that the relay is unreachable.
    async fn connected(&self, notifications: &mut Notifications) {
        let mut is_logged = false;
        while !self.relay.is_connected() {
            match notifications.recv().await {
                Ok(RelayNotification::RelayStatus { status: RelayStatus::Disconnected })
                    if !is_logged =>
                {
                    let (url, retry) = (self.relay.url(), self.retry);
                    tracing::warn!(relay.url = %url, "unreachable; retrying every {retry:?}");
                    is_logged = true;
                }
                Err(RecvError::Closed) => std::future::pending().await,
                _ => {}
            }
        }
    }

    /// Subscribes to everything since `from`, and waits until all stored events have arrived. Sets the
    /// phase as soon as new events arrive: fetching the older ones may take minutes.
    async fn catch_up(
        &self,
        notifications: &mut Notifications,
        from: Timestamp,
        is_open: bool,
    ) -> Result<(), EndReason> {
        let mut newest_pages = Vec::new();
        for transport in &self.transports {
            let overlap = match transport {
                Transport::GiftWrap => WRAP_OVERLAP_SECS,
                Transport::Nip44 => DIRECT_OVERLAP_SECS,
            };
            let since = unix(Timestamp(from.0.saturating_sub(overlap)));
            let filter = Filter::new().kind(transport.kind()).pubkey(self.node).since(since);
            match self.request(notifications, &live(*transport), filter.clone()).await? {
                Answer::Complete(oldest) => newest_pages.push((*transport, filter, oldest)),
                Answer::Refused(reason) => return Err(EndReason::Refused(reason)),
            }
        }
        if !is_open {
            self.set(Phase::Paging);
        }
        for (transport, filter, oldest) in newest_pages {
            self.request_older(notifications, transport, filter, oldest).await?;
        }
        Ok(())
    }

    /// Requests page by page what was stored before `oldest`: relays send their newest few hundred
    /// events, and in 49 hours of gift wraps there may be more. A page that is refused is requested
    /// again.
    async fn request_older(
        &self,
        notifications: &mut Notifications,
        transport: Transport,
        filter: Filter,
        oldest: Option<nostr_sdk::Timestamp>,
    ) -> Result<(), EndReason> {
        let mut next = oldest;
        for page in 0..MAX_PAGES {
            let Some(until) = next else { return Ok(()) };
            let id = older(transport, page);
            match self.request(notifications, &id, filter.clone().until(until)).await? {
                Answer::Complete(oldest) => {
                    let is_wanted = |at: &_| filter.since.is_none_or(|since| *at >= since);
                    next = oldest.and_then(|oldest| next_until(oldest, until)).filter(is_wanted);
                }
                Answer::Refused(reason) => {
                    tracing::debug!(relay.url = %self.relay.url(), reason = quoted(&reason), "a page was refused");
                    if let Ok(ended) = timeout(self.retry, self.wait_for_end(notifications)).await {
                        return Err(ended);
                    }
                }
            }
            self.send(ClientMessage::close(id))?;
        }
        tracing::warn!(relay.url = %self.relay.url(), "too many stored events: the oldest were not requested");
        Ok(())
    }

    async fn request(
        &self,
        notifications: &mut Notifications,
        request: &SubscriptionId,
        filter: Filter,
    ) -> Result<Answer, EndReason> {
        self.stats.begin(request);
        self.send(ClientMessage::req(request.clone(), filter))?;
        loop {
            match self.next_within(REQUEST_TIMEOUT, notifications).await {
                Some(Change::EndOfStoredEvents(id)) if id == *request => {
                    return Ok(Answer::Complete(self.stats.end()));
                }
                Some(Change::Closed(id, reason)) if id == *request => {
                    return Ok(Answer::Refused(reason));
                }
                Some(Change::Closed(id, reason)) if self.is_live(&id) => {
                    return Err(EndReason::Refused(reason));
                }
                Some(Change::EndOfStoredEvents(_) | Change::Closed(..)) => {}
                Some(Change::Authenticated) => return Err(EndReason::Authenticated),
                Some(Change::Disconnected) => return Err(EndReason::Disconnected),
                None => return Ok(Answer::Refused("no answer".into())),
            }
        }
    }

    async fn wait_for_end(&self, notifications: &mut Notifications) -> EndReason {
        loop {
            match self.next_within(IDLE_TIMEOUT, notifications).await {
                Some(Change::Closed(id, reason)) if self.is_live(&id) => {
                    return EndReason::Refused(reason);
                }
                Some(Change::EndOfStoredEvents(_) | Change::Closed(..)) => {}
                Some(Change::Authenticated) => return EndReason::Authenticated,
                Some(Change::Disconnected) => return EndReason::Disconnected,
                None => return EndReason::Idle,
            }
        }
    }

    fn is_live(&self, id: &SubscriptionId) -> bool {
        self.transports.iter().any(|transport| live(*transport) == *id)
    }

    /// The next change; none after a time without a change and without an event.
    async fn next_within(
        &self,
        limit: Duration,
        notifications: &mut Notifications,
    ) -> Option<Change> {
        loop {
            let before = self.stats.events();
            match timeout(limit, self.next(notifications)).await {
                Ok(change) => return Some(change),
                Err(_) if self.stats.events() != before => {}
                Err(_) => return None,
            }
        }
    }

    async fn next(&self, notifications: &mut Notifications) -> Change {
        loop {
            match notifications.recv().await {
                Ok(RelayNotification::Message { message }) => {
                    if let Some(change) = Change::from_message(message) {
                        return change;
                    }
                }
                Ok(RelayNotification::Authenticated) => return Change::Authenticated,
                Ok(
                    RelayNotification::RelayStatus { status: RelayStatus::Connected }
                    | RelayNotification::Event { .. }
                    | RelayNotification::AuthenticationFailed,
                ) => {}
                // Missed notifications may include the end of our subscription: it is opened again.
                Ok(RelayNotification::RelayStatus { .. } | RelayNotification::Shutdown)
                | Err(RecvError::Lagged(_) | RecvError::Closed) => return Change::Disconnected,
            }
        }
    }

    fn send(&self, message: ClientMessage<'_>) -> Result<(), EndReason> {
        self.relay.send_msg(message).map_err(|error| EndReason::Refused(error.to_string()))
    }

    fn set(&self, phase: Phase) {
        self.subscriptions.send_modify(|subscriptions| subscriptions.set(self.index, phase));
    }
}

/// Until when everything was received, given the cursor at the end of the subscription. An idle relay
/// may have forgotten it right after its last event, and it counts as idle after twice the timeout at
/// most.
fn received_until(cursor: Timestamp, ended: &EndReason) -> Timestamp {
    match ended {
        EndReason::Idle => Timestamp(cursor.0.saturating_sub_unsigned(2 * IDLE_TIMEOUT.as_secs())),
        EndReason::Refused(_) | EndReason::Authenticated | EndReason::Disconnected => cursor,
    }
}

/// The `until` of the next page, after one with events up to `until`, whose oldest is of `oldest`. A
/// page that has events of one second only may not have all of them; the next one begins before that
/// second. None if the relay ignores `until`.
fn next_until(
    oldest: nostr_sdk::Timestamp,
    until: nostr_sdk::Timestamp,
) -> Option<nostr_sdk::Timestamp> {
    match oldest.cmp(&until) {
        Ordering::Less => Some(oldest),
        Ordering::Equal => until.as_secs().checked_sub(1).map(Into::into),
        Ordering::Greater => None,
    }
}
