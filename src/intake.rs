//! From a relay's event to a command: opened on all cores, checked for its age, passed on in order.
//!
//! Unknown, stale and forged events leave no trace. Messages of the parties of one order are handled
//! one after the other, all others concurrently. While the relays are still sending stored events,
//! nothing is handled, so that the messages can be sorted first. Every message that has arrived is
//! finished, which means decided or dropped; until then the cursor does not pass it.

mod age;
mod backlog;
mod handler;
mod in_flight;
mod lanes;
mod opener;
mod reachability;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use trade::{Destination, Policy, Timestamp};

use crate::clock::Clock;
use crate::engine::Engine;
use crate::entropy::Entropy;
use crate::facts::Facts;
use crate::nostr::{Event, Keys, Subscriptions, Transport};
use crate::store::{DaemonState, EventId, Reader};
use age::Age;
pub use age::memory;
use handler::{Handler, Todo};
use in_flight::{InFlight, NotAdmitted};
use lanes::Lanes;
use opener::{Opener, Opening, Received};
use reachability::{HonouredPeriod, Reachability};

/// Events that are decrypted at once.
const MAX_OPENING: usize = 16;

/// Messages of parties that are handled or waiting before reading pauses. Those of strangers do not
/// count: they have a limit of their own.
const MAX_OF_PARTIES: usize = 1_024;

/// Messages of strangers that are handled at once.
const MAX_STRANGERS: usize = 32;

/// Bytes of messages kept for sorting while relays send stored events. Beyond that, messages are
/// handled as they arrive.
const BACKLOG_BYTES: usize = 32 << 20;

/// Messages kept until the clock is corrected, of one sender and of all.
const EARLY_PER_SENDER: usize = 4;
const MAX_EARLY: usize = 256;

/// Numbers the messages in the order of their arrival.
type Ticket = u64;

/// What intake is built from.
#[derive(Debug)]
pub struct Setup {
    pub events: mpsc::Receiver<Event>,
    pub subscriptions: watch::Receiver<Subscriptions>,
    pub node: Keys,
    pub pow: u8,
    pub transports: Vec<Transport>,
    pub catch_up: Duration,
    pub policy: Policy,
    pub reader: Reader,
    pub engine: Engine,
    pub facts: Facts,
    /// Parses a buyer's invoice or address.
    pub read_destination: fn(&str) -> Destination,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

#[derive(Debug)]
pub struct Intake {
    events: mpsc::Receiver<Event>,
    subscriptions: watch::Receiver<Subscriptions>,
    engine: Engine,
    opener: Opener,
    reachability: Reachability,
    handler: Handler,
    in_flight: InFlight,
    opening: FuturesOrdered<BoxFuture<'static, (Ticket, Option<Opening>)>>,
    backlog: Vec<(Ticket, Received)>,
    backlog_bytes: usize,
    /// How many events are still to be opened until all stored events of the relays have arrived; none
    /// while the relays are still sending, or if that has happened already.
    flush_after: Option<usize>,
    lanes: Lanes,
    strangers: Arc<Semaphore>,
    early: Vec<Received>,
    backlog_state: backlog::BacklogState,
}

/// What intake waits for.
enum Happened {
    Arrived(Box<Event>),
    /// An event was opened; none if it is not to be handled.
    Opened(Ticket, Option<Opening>),
    SubscriptionsChanged,
    /// A message was decided.
    Handled(Ticket),
}

impl Intake {
    /// `oldest_take` is when the oldest running trade began. The receiver has the cursor from which
    /// events are requested.
    #[must_use]
    pub fn new(
        setup: Setup,
        remembered: &DaemonState,
        oldest_take: Option<Timestamp>,
    ) -> (Self, watch::Receiver<Timestamp>) {
        let Setup { events, subscriptions, node, pow, transports, catch_up, policy, .. } = setup;
        let Setup { reader, engine, facts, read_destination, clock, entropy, .. } = setup;
        let backlog_state = backlog::BacklogState::new(clock.monotonic());
        let period = HonouredPeriod { catch_up, oldest_take };
        let (reachability, cursor) =
            Reachability::new(engine.clone(), clock, subscriptions.clone(), remembered, period);
        let intake = Self {
            events,
            subscriptions,
            engine: engine.clone(),
            opener: Opener { node, pow, transports: transports.into(), catch_up, policy, reader },
            reachability,
            handler: Handler { engine, facts, read_destination, entropy },
            in_flight: InFlight::default(),
            opening: FuturesOrdered::new(),
            backlog: Vec::new(),
            backlog_bytes: 0,
            flush_after: None,
            lanes: Lanes::default(),
            strangers: Arc::new(Semaphore::new(MAX_STRANGERS)),
            early: Vec::new(),
            backlog_state,
        };
        (intake, cursor)
    }

    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut heartbeats = tokio::time::interval(reachability::HEARTBEAT_INTERVAL);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.step() => {}
                _ = heartbeats.tick() => self.heartbeat().await,
            }
        }
        self.lanes.finish().await;
    }

    /// Waits for the next thing to happen, and handles it. Cancel safe.
    async fn step(&mut self) {
        let happened = self.next().await;
        self.process(happened);
        self.advance().await;
    }

    /// Saves that the node is reachable, while it is. To be called every ten seconds.
    pub async fn heartbeat(&mut self) {
        self.recheck_early();
        self.reachability.heartbeat().await;
        self.flush_after = self.flush_after.or_else(|| self.events_before_flush());
        self.mark_received();
        self.advance().await;
    }

    /// Handles everything that has arrived, and returns when nothing is left to do.
    pub async fn until_idle(&mut self) {
        while self.is_busy() {
            self.step().await;
        }
    }

    fn is_busy(&self) -> bool {
        let has_changed = self.subscriptions.has_changed().unwrap_or(false);
        has_changed
            || !(self.events.is_empty() && self.opening.is_empty() && self.lanes.are_empty())
    }

    /// What happens next. Cancel safe.
    async fn next(&mut self) -> Happened {
        let may_wait = self.in_flight.of_parties() < MAX_OF_PARTIES || self.lanes.are_empty();
        let has_room = self.opening.len() < MAX_OPENING && may_wait;
        tokio::select! {
            Some(event) = self.events.recv(), if has_room => Happened::Arrived(Box::new(event)),
            Some((ticket, opening)) = self.opening.next() => {
                Happened::Opened(ticket, opening)
            }
            Ok(()) = self.subscriptions.changed() => Happened::SubscriptionsChanged,
            Some(ticket) = self.lanes.next() => Happened::Handled(ticket),
            else => std::future::pending().await,
        }
    }

    fn process(&mut self, happened: Happened) {
        match happened {
            Happened::Arrived(event) => self.start_opening(*event),
            Happened::Opened(ticket, opening) => {
                self.flush_after = self.flush_after.map(|left| left.saturating_sub(1));
                match opening {
                    Some(Opening::Handle(received)) => self.admit(ticket, *received),
                    Some(Opening::Unanswerable) => {
                        self.engine.count_unanswered(self.reachability.monotonic());
                        self.in_flight.finish(ticket);
                    }
                    None => self.in_flight.finish(ticket),
                }
            }
            Happened::SubscriptionsChanged => self.flush_after = self.events_before_flush(),
            Happened::Handled(ticket) => self.in_flight.finish(ticket),
        }
    }

    /// Handles the backlog, moves the cursor and updates the state of the backlog, as far as possible.
    async fn advance(&mut self) {
        if self.flush_after == Some(0) {
            self.reachability.resume().await;
            self.flush_after = None;
            self.mark_received();
        }
        if self.reachability.is_reachable() || self.backlog_bytes >= BACKLOG_BYTES {
            self.flush();
        }
        let unread = self.unread();
        let Self { reachability, in_flight, backlog_state, subscriptions, early, .. } = self;
        // A reserved place in the queue may stay empty: then `mark` is beyond all tickets.
        let is_finished =
            |mark| in_flight.all_finished_before(mark) || (unread == 0 && in_flight.is_empty());
        reachability.advance_cursor(is_finished).await;
        let subscriptions = subscriptions.borrow();
        let situation = backlog::Situation {
            now: reachability.monotonic(),
            subscriptions: &subscriptions,
            some_are_early: !early.is_empty(),
        };
        let backlog = backlog_state.update(&situation, in_flight.mark(unread), is_finished);
        self.engine.set_backlog(backlog);
    }

    /// The events in the queue, and the places in it that are reserved for events.
    fn unread(&self) -> usize {
        self.events.max_capacity().saturating_sub(self.events.capacity())
    }

    /// Not while the queue is full: relays then hold received events that are not counted.
    fn mark_received(&mut self) {
        if self.events.capacity() > 0 {
            self.reachability.mark_received(self.in_flight.mark(self.unread()));
        }
    }

    /// After how many more opened events all stored events of the relays have arrived; `None` while the
    /// relays are still sending, while none is reachable, and if that has happened already.
    fn events_before_flush(&mut self) -> Option<usize> {
        let subscriptions = self.subscriptions.borrow_and_update().clone();
        if !(subscriptions.is_reachable() && subscriptions.is_caught_up()) {
            self.reachability.set_unreachable();
            return None;
        }
        (!self.reachability.is_reachable()).then_some(self.events.len() + self.opening.len())
    }

    fn start_opening(&mut self, event: Event) {
        let Some(ticket) = self.in_flight.arrive(EventId(event.id.to_bytes())) else {
            self.flush_after = self.flush_after.map(|left| left.saturating_sub(1));
            return;
        };
        let (opener, at) = (self.opener.clone(), self.reachability.now());
        let opening = async move { (ticket, opener.open(event, at).await) };
        self.opening.push_back(opening.boxed());
    }

    fn admit(&mut self, ticket: Ticket, received: Received) {
        if received.age == Age::Early {
            self.in_flight.finish(ticket);
            self.keep_early(received);
            return;
        }
        let Received { opened, lane, bytes, .. } = &received;
        let rumor = opened.rumor_id.map(|id| EventId(id.to_bytes()));
        if let Err(reason) = self.in_flight.admit(ticket, rumor, *lane, opened.sender) {
            self.in_flight.finish(ticket);
            self.log_dropped(&received, reason);
            return;
        }
        self.backlog_bytes += bytes;
        self.backlog.push((ticket, received));
    }

    fn log_dropped(&mut self, received: &Received, reason: NotAdmitted) {
        let (sender, now) = (received.opened.sender, self.reachability.monotonic());
        if reason == NotAdmitted::Duplicate || !self.in_flight.may_warn_of(sender, now) {
            return;
        }
        let event = received.opened.event_id;
        match reason {
            NotAdmitted::Duplicate => {}
            NotAdmitted::SenderLimit => tracing::warn!(
                event.id = %event, key = %sender, "dropped: too many messages of this sender are waiting"
            ),
            NotAdmitted::StrangerLimit => tracing::warn!(
                event.id = %event, key = %sender,
                "dropped: too many messages of strangers are waiting; a higher `pow` makes that costly"
            ),
        }
    }

    fn keep_early(&mut self, received: Received) {
        let Received { opened, .. } = &received;
        let of_sender = self.early.iter().filter(|early| early.opened.sender == opened.sender);
        let is_known = self.early.iter().any(|early| early.opened.event_id == opened.event_id);
        if is_known || of_sender.count() >= EARLY_PER_SENDER || self.early.len() >= MAX_EARLY {
            tracing::debug!(event.id = %opened.event_id, "a message dated ahead was not kept");
            return;
        }
        tracing::warn!(
            event.id = %opened.event_id,
            "a trader's message is dated {:?} ahead: it waits. If this machine's clock is slow, set it",
            opened.created_at.since(self.reachability.now())
        );
        self.early.push(received);
    }

    fn recheck_early(&mut self) {
        let now = self.reachability.now();
        for mut received in std::mem::take(&mut self.early) {
            let Received { opened, taken_at, .. } = &received;
            match self.opener.age(opened, now, *taken_at) {
                Age::Early => self.early.push(received),
                Age::Stale(_) => {}
                age @ (Age::Honoured | Age::Ahead) => {
                    received.age = age;
                    let event = EventId(received.opened.event_id.to_bytes());
                    if let Some(ticket) = self.in_flight.arrive(event) {
                        self.admit(ticket, received);
                    }
                }
            }
        }
    }

    fn flush(&mut self) {
        let mut backlog = std::mem::take(&mut self.backlog);
        self.backlog_bytes = 0;
        backlog.sort_by_key(|(_, received)| age::sort_key(&received.opened));
        for (ticket, Received { opened, lane, age, .. }) in backlog {
            let todo = if age == Age::Honoured { Todo::Act } else { Todo::Remember };
            let (mut handler, strangers) = (self.handler.clone(), Arc::clone(&self.strangers));
            if lane.is_of_stranger() {
                handler.engine = handler.engine.for_strangers();
            }
            self.lanes.push(lane, ticket, async move {
                let permit =
                    if lane.is_of_stranger() { strangers.acquire().await.ok() } else { None };
                handler.handle(opened, todo).await;
                drop(permit);
            });
        }
    }
}
