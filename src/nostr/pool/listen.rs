//! Listening: subscriptions that start from a cursor, are opened again, and lose nothing.

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

/// The time of a gift wrap is up to two days before it was sent; an hour for slow clocks.
const WRAP_OVERLAP_SECS: i64 = 49 * 60 * 60;
const DIRECT_OVERLAP_SECS: i64 = 15 * 60;

/// How long catching up may hold up what was heard already (D5).
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(10);
/// A relay that takes longer to answer a question does not listen to us.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// After so long without an event the relay is asked again: perhaps it forgot.
const SILENCE: Duration = Duration::from_mins(15);
/// How often a relay is asked for a page of what it has stored: 500 events at a time, in most.
const MAX_PAGES: u32 = 1_000;

/// The task that keeps us listening. It ends when it is dropped.
#[derive(Debug)]
pub struct Listener {
    pub(super) lines: Vec<Line>,
    pub(super) subscriptions: watch::Sender<Subscriptions>,
}

impl Listener {
    /// Connects to the relays and listens to each: first from `cursor` on, and after a loss from
    /// where the cursor stood then. Whoever moves it on says that all that was heard is safe.
    pub async fn run(self, cursor: watch::Receiver<Timestamp>) {
        let lines = join_all(self.lines.iter().map(|line| line.listen(&cursor)));
        join(lines, watch_patience(&self.subscriptions)).await;
    }
}

/// Ends a catching up that takes too long, each time there is one.
pub(super) async fn watch_patience(subscriptions: &watch::Sender<Subscriptions>) {
    let mut seen = subscriptions.subscribe();
    loop {
        if seen.wait_for(Subscriptions::is_catching_up).await.is_err() {
            return;
        }
        let over = seen.wait_for(|subscriptions| !subscriptions.is_catching_up());
        if timeout(CATCH_UP_PATIENCE, over).await.is_err() {
            subscriptions.send_modify(Subscriptions::run_out_of_patience);
        }
    }
}

/// Takes each verified event out of the pool, in the task that reads from the relay's socket: a
/// full queue slows the relay down, and drops nothing.
#[derive(Debug)]
pub(super) struct EventSink {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) tallies: HashMap<RelayUrl, Arc<Tally>>,
}

impl AdmitPolicy for EventSink {
    fn admit_event<'a>(
        &'a self,
        relay_url: &'a RelayUrl,
        subscription_id: &'a SubscriptionId,
        event: &'a Event,
    ) -> BoxedFuture<'a, Result<AdmitStatus, PolicyError>> {
        Box::pin(async move {
            let tally = self.tallies.get(relay_url);
            let asked_for = tally.is_some_and(|tally| tally.count(subscription_id, event));
            if asked_for && self.events.send(event.clone()).await.is_err() {
                tracing::debug!(event.id = %event.id, "an event came after the last reader left");
            }
            // Not for the pool's own memory, which would call it seen the next time.
            Ok(AdmitStatus::Rejected { reason: None })
        })
    }
}

/// What one relay has sent.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    events: u64,
    /// The question that waits for its answer, and the time of the oldest event in it.
    asked: Option<SubscriptionId>,
    oldest: Option<nostr_sdk::Timestamp>,
}

impl Tally {
    /// Counts an event; false when it answers no question of ours.
    fn count(&self, id: &SubscriptionId, event: &Event) -> bool {
        if !is_ours(id) {
            return false;
        }
        let mut counts = self.counts();
        counts.events = counts.events.wrapping_add(1);
        if counts.asked.as_ref() == Some(id) {
            let oldest = counts.oldest.map_or(event.created_at, |at| at.min(event.created_at));
            counts.oldest = Some(oldest);
        }
        true
    }

    fn events(&self) -> u64 {
        self.counts().events
    }

    fn begin(&self, question: &SubscriptionId) {
        let mut counts = self.counts();
        (counts.asked, counts.oldest) = (Some(question.clone()), None);
    }

    /// The oldest event in the answer.
    fn end(&self) -> Option<nostr_sdk::Timestamp> {
        let mut counts = self.counts();
        counts.asked = None;
        counts.oldest.take()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What our subscriptions' names begin with.
const OURS: &str = "mostro-";

fn is_ours(id: &SubscriptionId) -> bool {
    id.as_str().starts_with(OURS)
}

/// The subscription that stays open.
fn live(transport: Transport) -> SubscriptionId {
    SubscriptionId::new(match transport {
        Transport::GiftWrap => "mostro-wraps",
        Transport::Nip44 => "mostro-direct",
    })
}

/// The question for one page of what is stored. Each has a name of its own: what a relay still says
/// about the page before is not taken for the answer.
fn older(transport: Transport, page: u32) -> SubscriptionId {
    SubscriptionId::new(format!("{}-older-{page}", live(transport)))
}

/// What a relay says about our subscriptions.
#[derive(Debug)]
enum Said {
    AllSent(SubscriptionId),
    Closed(SubscriptionId, String),
    /// It knows who we are now; what it refused before it may give.
    Authenticated,
    Gone,
}

impl Said {
    fn by(message: RelayMessage<'static>) -> Option<Self> {
        match message {
            RelayMessage::EndOfStoredEvents(id) => Some(Self::AllSent(id.into_owned())),
            RelayMessage::Closed { subscription_id, message } => {
                Some(Self::Closed(subscription_id.into_owned(), message.into_owned()))
            }
            _ => None,
        }
    }
}

/// How a relay took a question.
#[derive(Debug)]
enum Answer {
    /// With the time of the oldest event, if there was one.
    Complete(Option<nostr_sdk::Timestamp>),
    Refused(String),
}

/// Why the subscriptions of a relay must be opened again.
#[derive(Debug)]
enum Ended {
    Refused(String),
    Authenticated,
    /// It sent nothing for so long that it may have forgotten them.
    Silent,
    Gone,
}

/// One relay, listened to.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) relay: Relay,
    /// Among the relays of the settings.
    pub(super) place: usize,
    pub(super) node: PublicKey,
    pub(super) transports: Vec<Transport>,
    pub(super) retry: Duration,
    pub(super) tally: Arc<Tally>,
    pub(super) subscriptions: watch::Sender<Subscriptions>,
}

type News = Receiver<RelayNotification>;

impl Line {
    /// The cursor moves on while anybody is heard. This relay is asked from where it stood when this
    /// relay was last heard in full.
    async fn listen(&self, cursor: &watch::Receiver<Timestamp>) {
        let mut news = self.relay.notifications();
        self.relay.connect();
        let mut from = *cursor.borrow();
        let mut is_open = false;
        loop {
            self.subscriptions.send_modify(|subscriptions| subscriptions.ask(self.place, from));
            self.connected(&mut news).await;
            // A clock that was set back meanwhile took the cursor back with it.
            from = from.min(*cursor.borrow());
            if !is_open {
                self.set(Phase::Asked);
            }
            let ended = match self.catch_up(&mut news, from, is_open).await {
                Ok(()) => {
                    if !is_open {
                        tracing::info!(relay.url = %self.relay.url(), "listening");
                    }
                    self.set(Phase::Open);
                    is_open = true;
                    let ended = self.until_it_ends(&mut news).await;
                    from = before_silence(*cursor.borrow(), &ended);
                    ended
                }
                Err(ended) => ended,
            };
            match ended {
                Ended::Authenticated | Ended::Silent => {}
                Ended::Gone => {
                    tracing::info!(relay.url = %self.relay.url(), "connection lost");
                    self.set(Phase::Closed);
                    is_open = false;
                }
                Ended::Refused(reason) => {
                    let reason = quoted(&reason);
                    tracing::warn!(relay.url = %self.relay.url(), reason, "subscription refused");
                    self.set(Phase::Closed);
                    is_open = false;
                    self.pause(&mut news).await;
                }
            }
        }
    }

    /// Waits before asking again, unless the relay goes or comes to know us.
    async fn pause(&self, news: &mut News) {
        let changed =
            async { while !matches!(self.next(news).await, Said::Gone | Said::Authenticated) {} };
        // Either way it is time to ask again.
        timeout(self.retry, changed).await.unwrap_or_default();
    }

    /// Says once that the relay cannot be reached; the pool goes on trying.
    async fn connected(&self, news: &mut News) {
        let mut was_said = false;
        while !self.relay.is_connected() {
            match news.recv().await {
                Ok(RelayNotification::RelayStatus { status: RelayStatus::Disconnected })
                    if !was_said =>
                {
                    let (url, retry) = (self.relay.url(), self.retry);
                    tracing::warn!(relay.url = %url, "cannot be reached; again every {retry:?}");
                    was_said = true;
                }
                Err(RecvError::Closed) => std::future::pending().await,
                _ => {}
            }
        }
    }

    /// Subscribes to everything from then on, and waits until all that is stored has come.
    /// From when on something new is heard is said in between: fetching the rest may take minutes.
    async fn catch_up(&self, news: &mut News, from: Timestamp, is_open: bool) -> Result<(), Ended> {
        let mut pasts = Vec::new();
        for transport in &self.transports {
            let overlap = match transport {
                Transport::GiftWrap => WRAP_OVERLAP_SECS,
                Transport::Nip44 => DIRECT_OVERLAP_SECS,
            };
            let since = unix(Timestamp(from.0.saturating_sub(overlap)));
            let filter = Filter::new().kind(transport.kind()).pubkey(self.node).since(since);
            match self.ask(news, &live(*transport), filter.clone()).await? {
                Answer::Complete(oldest) => pasts.push((*transport, filter, oldest)),
                Answer::Refused(reason) => return Err(Ended::Refused(reason)),
            }
        }
        if !is_open {
            self.set(Phase::Paging);
        }
        for (transport, filter, oldest) in pasts {
            self.ask_for_older(news, transport, filter, oldest).await?;
        }
        Ok(())
    }

    /// Asks page by page for what was stored before `oldest`: relays send their newest few hundred
    /// events, and in 49 hours of gift wraps there may be more. A page that is refused is asked for
    /// again.
    async fn ask_for_older(
        &self,
        news: &mut News,
        transport: Transport,
        filter: Filter,
        oldest: Option<nostr_sdk::Timestamp>,
    ) -> Result<(), Ended> {
        let mut next = oldest;
        for page in 0..MAX_PAGES {
            let Some(until) = next else { return Ok(()) };
            let question = older(transport, page);
            match self.ask(news, &question, filter.clone().until(until)).await? {
                Answer::Complete(oldest) => {
                    let is_asked_for = |at: &_| filter.since.is_none_or(|since| *at >= since);
                    next = oldest.and_then(|oldest| before(oldest, until)).filter(is_asked_for);
                }
                Answer::Refused(reason) => {
                    tracing::debug!(relay.url = %self.relay.url(), reason = quoted(&reason), "a page was refused");
                    if let Ok(ended) = timeout(self.retry, self.until_it_ends(news)).await {
                        return Err(ended);
                    }
                }
            }
            self.tell(ClientMessage::close(question))?;
        }
        tracing::warn!(relay.url = %self.relay.url(), "not all that is stored was sent");
        Ok(())
    }

    async fn ask(
        &self,
        news: &mut News,
        question: &SubscriptionId,
        filter: Filter,
    ) -> Result<Answer, Ended> {
        self.tally.begin(question);
        self.tell(ClientMessage::req(question.clone(), filter))?;
        loop {
            match self.next_within(ANSWER_WITHIN, news).await {
                Some(Said::AllSent(id)) if id == *question => {
                    return Ok(Answer::Complete(self.tally.end()));
                }
                Some(Said::Closed(id, reason)) if id == *question => {
                    return Ok(Answer::Refused(reason));
                }
                Some(Said::Closed(id, reason)) if self.is_live(&id) => {
                    return Err(Ended::Refused(reason));
                }
                Some(Said::AllSent(_) | Said::Closed(..)) => {}
                Some(Said::Authenticated) => return Err(Ended::Authenticated),
                Some(Said::Gone) => return Err(Ended::Gone),
                None => return Ok(Answer::Refused("no answer".into())),
            }
        }
    }

    async fn until_it_ends(&self, news: &mut News) -> Ended {
        loop {
            match self.next_within(SILENCE, news).await {
                Some(Said::Closed(id, reason)) if self.is_live(&id) => {
                    return Ended::Refused(reason);
                }
                Some(Said::AllSent(_) | Said::Closed(..)) => {}
                Some(Said::Authenticated) => return Ended::Authenticated,
                Some(Said::Gone) => return Ended::Gone,
                None => return Ended::Silent,
            }
        }
    }

    fn is_live(&self, id: &SubscriptionId) -> bool {
        self.transports.iter().any(|transport| live(*transport) == *id)
    }

    /// The next thing the relay says; none if it says nothing and sends nothing for so long.
    async fn next_within(&self, patience: Duration, news: &mut News) -> Option<Said> {
        loop {
            let before = self.tally.events();
            match timeout(patience, self.next(news)).await {
                Ok(said) => return Some(said),
                Err(_) if self.tally.events() != before => {}
                Err(_) => return None,
            }
        }
    }

    /// The next thing the relay says about our subscriptions.
    async fn next(&self, news: &mut News) -> Said {
        loop {
            match news.recv().await {
                Ok(RelayNotification::Message { message }) => {
                    if let Some(said) = Said::by(message) {
                        return said;
                    }
                }
                Ok(RelayNotification::Authenticated) => return Said::Authenticated,
                Ok(
                    RelayNotification::RelayStatus { status: RelayStatus::Connected }
                    | RelayNotification::Event { .. }
                    | RelayNotification::AuthenticationFailed,
                ) => {}
                // Missed news may have been the end of our subscription: it is opened anew.
                Ok(RelayNotification::RelayStatus { .. } | RelayNotification::Shutdown)
                | Err(RecvError::Lagged(_) | RecvError::Closed) => return Said::Gone,
            }
        }
    }

    fn tell(&self, message: ClientMessage<'_>) -> Result<(), Ended> {
        self.relay.send_msg(message).map_err(|error| Ended::Refused(error.to_string()))
    }

    fn set(&self, phase: Phase) {
        self.subscriptions.send_modify(|subscriptions| subscriptions.set(self.place, phase));
    }
}

/// From when on a relay is to be asked. One that fell silent may have forgotten us right after its last
/// word, and silence is noticed after twice its measure at most.
fn before_silence(now: Timestamp, ended: &Ended) -> Timestamp {
    match ended {
        Ended::Silent => Timestamp(now.0.saturating_sub_unsigned(2 * SILENCE.as_secs())),
        Ended::Refused(_) | Ended::Authenticated | Ended::Gone => now,
    }
}

/// Until when to ask next, after an answer of what was stored up to `until`. That second belonged to
/// it: an answer with nothing else may have been cut short by it, and what is before is still to be
/// asked for. None from a relay that does not heed the question.
fn before(
    oldest: nostr_sdk::Timestamp,
    until: nostr_sdk::Timestamp,
) -> Option<nostr_sdk::Timestamp> {
    match oldest.cmp(&until) {
        Ordering::Less => Some(oldest),
        Ordering::Equal => until.as_secs().checked_sub(1).map(Into::into),
        Ordering::Greater => None,
    }
}
