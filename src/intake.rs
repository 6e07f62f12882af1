//! From a relay's event to a command: opened on all cores, judged by age, handed on in order.
//!
//! What is unknown, stale or forged leaves no trace. What the parties of one order say is handled one
//! after the other, everything else side by side (INV-9). While the relays are still sending what they
//! had stored, nothing is handled: it is sorted first (D5). A message that has arrived comes to its
//! end: it is decided, or judged and dropped; until then the cursor does not pass it (D42).

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
use trade::{Destination, Timestamp};

use crate::clock::Clock;
use crate::engine::Engine;
use crate::entropy::Entropy;
use crate::facts::Facts;
use crate::nostr::{Event, Keys, Subscriptions, Transport};
use crate::store::{DaemonState, EventId, Reader};
use age::Age;
pub use age::memory;
use handler::{Handler, What};
use in_flight::{Dropped, InFlight};
use lanes::Lanes;
use opener::{Opener, Received};
use reachability::{Reachability, Useful};

/// Events being decrypted at once.
const OPENING_AT_ONCE: usize = 16;

/// Messages of parties being handled, or waiting for it, before more is read. Those of strangers stop
/// nobody: there are only so many (D42).
const HANDLING_AT_ONCE: usize = 1_024;

/// Messages of strangers being handled at the same time.
const STRANGERS_AT_ONCE: usize = 32;

/// Bytes of messages kept for sorting while relays send what they had stored. What is beyond is
/// handled as it comes.
const BACKLOG_BYTES: usize = 32 << 20;

/// Messages kept until the clock is set right, of one sender and of all.
const EARLY_PER_SENDER: usize = 4;
const EARLY: usize = 256;

/// Numbers the messages in the order of their arrival.
type Ticket = u64;

/// What intake needs of the others.
#[derive(Debug)]
pub struct Parts {
    pub events: mpsc::Receiver<Event>,
    pub subscriptions: watch::Receiver<Subscriptions>,
    pub node: Keys,
    pub pow: u8,
    pub transports: Vec<Transport>,
    pub catch_up: Duration,
    pub reader: Reader,
    pub engine: Engine,
    pub facts: Facts,
    /// Reads where a buyer wants to be paid.
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
    opening: FuturesOrdered<BoxFuture<'static, (Ticket, Option<Received>)>>,
    backlog: Vec<(Ticket, Received)>,
    backlog_bytes: usize,
    /// How many events have still to be opened before all that relays had stored is here; none while
    /// they are still sending, or nobody waits for it.
    flush_after: Option<usize>,
    lanes: Lanes,
    strangers: Arc<Semaphore>,
    early: Vec<Received>,
    waiting: backlog::Waiting,
}

/// What intake waits for.
enum Happened {
    Arrived(Box<Event>),
    /// An event was read; none if it is of no use.
    Opened(Ticket, Option<Box<Received>>),
    SubscriptionsChanged,
    /// A message was decided.
    Handled(Ticket),
}

impl Intake {
    /// `oldest_take` is when the oldest running trade began. The receiver is the cursor from which
    /// relays are asked.
    #[must_use]
    pub fn new(
        parts: Parts,
        remembered: &DaemonState,
        oldest_take: Option<Timestamp>,
    ) -> (Self, watch::Receiver<Timestamp>) {
        let Parts { events, subscriptions, node, pow, transports, catch_up, .. } = parts;
        let Parts { reader, engine, facts, read_destination, clock, entropy, .. } = parts;
        let waiting = backlog::Waiting::from(clock.monotonic());
        let useful = Useful { catch_up, oldest_take };
        let (reachability, cursor) =
            Reachability::new(engine.clone(), clock, subscriptions.clone(), remembered, useful);
        let intake = Self {
            events,
            subscriptions,
            engine: engine.clone(),
            opener: Opener { node, pow, transports: transports.into(), catch_up, reader },
            reachability,
            handler: Handler { engine, facts, read_destination, entropy },
            in_flight: InFlight::default(),
            opening: FuturesOrdered::new(),
            backlog: Vec::new(),
            backlog_bytes: 0,
            flush_after: None,
            lanes: Lanes::default(),
            strangers: Arc::new(Semaphore::new(STRANGERS_AT_ONCE)),
            early: Vec::new(),
            waiting,
        };
        (intake, cursor)
    }

    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut beat = tokio::time::interval(reachability::BEAT);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.step() => {}
                _ = beat.tick() => self.beat().await,
            }
        }
        self.lanes.finish().await;
    }

    /// Waits for one thing to happen, and does what follows from it. Cancel safe.
    async fn step(&mut self) {
        let happened = self.next().await;
        self.take_in(happened);
        self.go_on().await;
    }

    /// Writes down that relays are heard, while they are. To be called every ten seconds.
    pub async fn beat(&mut self) {
        self.judge_early_ones_again();
        self.reachability.beat().await;
        self.flush_after = self.flush_after.or_else(|| self.listen_up());
        self.note_what_has_arrived();
        self.go_on().await;
    }

    /// Handles everything that has come, and returns when nothing is left to do.
    pub async fn until_idle(&mut self) {
        while self.is_busy() {
            self.step().await;
        }
    }

    fn is_busy(&self) -> bool {
        let has_news = self.subscriptions.has_changed().unwrap_or(false);
        has_news || !(self.events.is_empty() && self.opening.is_empty() && self.lanes.are_empty())
    }

    /// What happens next. Nothing is lost if the caller does not wait for it.
    async fn next(&mut self) -> Happened {
        let is_quiet = self.in_flight.of_parties() < HANDLING_AT_ONCE || self.lanes.are_empty();
        let has_room = self.opening.len() < OPENING_AT_ONCE && is_quiet;
        tokio::select! {
            Some(event) = self.events.recv(), if has_room => Happened::Arrived(Box::new(event)),
            Some((ticket, received)) = self.opening.next() => {
                Happened::Opened(ticket, received.map(Box::new))
            }
            Ok(()) = self.subscriptions.changed() => Happened::SubscriptionsChanged,
            Some(ticket) = self.lanes.next() => Happened::Handled(ticket),
            else => std::future::pending().await,
        }
    }

    fn take_in(&mut self, happened: Happened) {
        match happened {
            Happened::Arrived(event) => self.start_opening(*event),
            Happened::Opened(ticket, received) => {
                self.flush_after = self.flush_after.map(|left| left.saturating_sub(1));
                match received {
                    Some(received) => self.admit(ticket, *received),
                    None => self.in_flight.end(ticket),
                }
            }
            Happened::SubscriptionsChanged => self.flush_after = self.listen_up(),
            Happened::Handled(ticket) => self.in_flight.end(ticket),
        }
    }

    async fn go_on(&mut self) {
        if self.flush_after == Some(0) {
            self.reachability.resume().await;
            self.flush_after = None;
            self.note_what_has_arrived();
        }
        if self.reachability.is_reachable() || self.backlog_bytes >= BACKLOG_BYTES {
            self.flush();
        }
        let unread = self.unread();
        let Self { reachability, in_flight, waiting, subscriptions, early, .. } = self;
        // A place that is promised to a relay's event may stay empty.
        let has_ended =
            |mark| in_flight.are_ended_before(mark) || (unread == 0 && in_flight.is_empty());
        reachability.move_on(has_ended).await;
        let subscriptions = subscriptions.borrow();
        let situation = backlog::Situation {
            now: reachability.monotonic(),
            subscriptions: &subscriptions,
            some_are_early: !early.is_empty(),
        };
        let backlog = waiting.goes_on(&situation, in_flight.mark(unread), has_ended);
        self.engine.set_backlog(backlog);
    }

    /// Events that relays have handed over, or wait to hand over to a place that is theirs.
    fn unread(&self) -> usize {
        self.events.max_capacity().saturating_sub(self.events.capacity())
    }

    /// Not while relays wait for room: they hold events that nobody counts.
    fn note_what_has_arrived(&mut self) {
        if self.events.capacity() > 0 {
            self.reachability.has_all_before(self.in_flight.mark(self.unread()));
        }
    }

    /// What the relays had stored is all here once so many more events have been opened; `None`
    /// while they are still sending, or nobody is heard.
    fn listen_up(&mut self) -> Option<usize> {
        let subscriptions = self.subscriptions.borrow_and_update().clone();
        if !(subscriptions.is_reachable() && subscriptions.is_caught_up()) {
            self.reachability.lose();
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
            self.in_flight.end(ticket);
            self.keep_early(received);
            return;
        }
        let Received { opened, lane, bytes, .. } = &received;
        let rumor = opened.rumor_id.map(|id| EventId(id.to_bytes()));
        if let Err(dropped) = self.in_flight.admit(ticket, rumor, *lane, opened.sender) {
            self.in_flight.end(ticket);
            self.complain(&received, dropped);
            return;
        }
        self.backlog_bytes += bytes;
        self.backlog.push((ticket, received));
    }

    fn complain(&mut self, received: &Received, dropped: Dropped) {
        let (sender, now) = (received.opened.sender, self.reachability.monotonic());
        if dropped == Dropped::Copy || !self.in_flight.may_name(sender, now) {
            return;
        }
        let event = received.opened.event_id;
        match dropped {
            Dropped::Copy => {}
            Dropped::TooMany => tracing::warn!(
                event.id = %event, key = %sender, "dropped: too many messages of this sender are waiting"
            ),
            Dropped::Crowded => tracing::warn!(
                event.id = %event, key = %sender,
                "dropped: too many messages of strangers are waiting; a higher `pow` makes that costly"
            ),
        }
    }

    fn keep_early(&mut self, received: Received) {
        let Received { opened, .. } = &received;
        let of_sender = self.early.iter().filter(|early| early.opened.sender == opened.sender);
        let is_known = self.early.iter().any(|early| early.opened.event_id == opened.event_id);
        if is_known || of_sender.count() >= EARLY_PER_SENDER || self.early.len() >= EARLY {
            tracing::debug!(event.id = %opened.event_id, "not kept until its time comes");
            return;
        }
        tracing::warn!(
            event.id = %opened.event_id,
            "a trader's message is dated {:?} ahead: it waits. If this machine's clock is slow, set it",
            opened.created_at.since(self.reachability.now())
        );
        self.early.push(received);
    }

    fn judge_early_ones_again(&mut self) {
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
        backlog.sort_by_key(|(_, received)| age::turn(&received.opened));
        for (ticket, Received { opened, lane, age, .. }) in backlog {
            let what = if age == Age::Honoured { What::Act } else { What::Remember };
            let (handler, turns) = (self.handler.clone(), Arc::clone(&self.strangers));
            self.lanes.push(lane, ticket, async move {
                let turn = if lane.is_of_stranger() { turns.acquire().await.ok() } else { None };
                handler.handle(opened, what).await;
                drop(turn);
            });
        }
    }
}
