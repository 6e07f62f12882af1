//! From a relay's event to a command: opened on all cores, judged by age, handed on in order.
//!
//! What is unknown, stale or forged leaves no trace. What the parties of one order say is handled one
//! after the other, everything else side by side (INV-9). While the relays are still sending what they had
//! stored, nothing is handled: it is sorted first (D5).

mod age;
mod hearing;
mod lanes;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, watch};
use trade::{Destination, Notice, OrderId, Refusal, Request, Sender, Timestamp};

use crate::clock::{Clock, Entropy, draw_hold_secret, draw_order_id};
use crate::crash;
use crate::engine::{Applied, Engine, EngineError};
use crate::facts::Facts;
use crate::nostr::{Event, Hearing, Keys, Opened, Policy, Transport, glance, open};
use crate::store::{self, DaemonState, Delivery, EventId, Message, Reader};
use crate::tasks::Shutdown;
use crate::wire::command::{self, Asked, Declined};
use crate::wire::message::Body;
use age::Age;
pub use age::memory;
use hearing::Ear;
use lanes::{Lane, Lanes};

/// The largest event we take, wrapped or not (wire-protocol §1.5).
pub const MAX_EVENT_BYTES: u32 = 65_536;

/// Events being decrypted at once.
const OPENING_AT_ONCE: usize = 16;

/// Commands being handled, or waiting for it, before more is read.
const HANDLING_AT_ONCE: usize = 1_024;

/// Bytes of messages kept for sorting while relays send what they had stored. What is beyond is
/// handled as it comes.
const BACKLOG_BYTES: usize = 32 << 20;

/// How long a message waits for a database that does not answer: doubled each time, up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// What intake needs of the others.
#[derive(Debug)]
pub struct Parts {
    pub events: mpsc::Receiver<Event>,
    pub hearing: watch::Receiver<Hearing>,
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
    hearing: watch::Receiver<Hearing>,
    opener: Opener,
    ear: Ear,
    handler: Handler,
    opening: FuturesOrdered<BoxFuture<'static, Option<Received>>>,
    backlog: Vec<Received>,
    backlog_bytes: usize,
    /// How many events have still to be opened before all that relays had stored is here; none while
    /// they are still sending, or nobody waits for it.
    flush_after: Option<usize>,
    lanes: Lanes,
}

/// What intake waits for.
enum Happened {
    Arrived(Box<Event>),
    /// An event was read; none if it is not to be honoured.
    Opened(Option<Box<Received>>),
    HearingChanged,
    /// A message was decided.
    Handled,
}

/// A message that is proven and to be honoured.
#[derive(Debug)]
struct Received {
    opened: Opened,
    lane: Lane,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Opener {
    node: Keys,
    pow: u8,
    transports: Arc<[Transport]>,
    catch_up: Duration,
    reader: Reader,
    engine: Engine,
}

#[derive(Debug, Clone)]
struct Handler {
    engine: Engine,
    facts: Facts,
    read_destination: fn(&str) -> Destination,
    entropy: Arc<dyn Entropy>,
}

impl Intake {
    /// The receiver is the cursor from which relays are asked.
    #[must_use]
    pub fn new(parts: Parts, remembered: &DaemonState) -> (Self, watch::Receiver<Timestamp>) {
        let Parts { events, hearing, node, pow, transports, catch_up, .. } = parts;
        let Parts { reader, engine, facts, read_destination, clock, entropy, .. } = parts;
        let (ear, cursor) = Ear::new(engine.clone(), clock, hearing.clone(), remembered, catch_up);
        let transports = transports.into();
        let intake = Self {
            events,
            hearing,
            opener: Opener { node, pow, transports, catch_up, reader, engine: engine.clone() },
            ear,
            handler: Handler { engine, facts, read_destination, entropy },
            opening: FuturesOrdered::new(),
            backlog: Vec::new(),
            backlog_bytes: 0,
            flush_after: None,
            lanes: Lanes::default(),
        };
        (intake, cursor)
    }

    pub async fn run(mut self, mut shutdown: Shutdown) {
        let mut beat = tokio::time::interval(hearing::BEAT);
        loop {
            tokio::select! {
                () = shutdown.requested() => break,
                () = self.step() => {}
                _ = beat.tick() => self.beat().await,
            }
        }
        self.lanes.finish().await;
    }

    /// Waits for one thing to happen, and does what follows from it. Cancel safe.
    async fn step(&mut self) {
        let happened = self.next().await;
        self.take_in(happened).await;
    }

    /// Writes down that relays are heard, while they are. To be called every ten seconds.
    pub async fn beat(&mut self) {
        self.ear.beat().await;
        self.flush_after = self.flush_after.or_else(|| self.listen_up());
        self.go_on().await;
    }

    /// Handles everything that has come, and returns when nothing is left to do.
    pub async fn until_idle(&mut self) {
        while self.is_busy() {
            self.step().await;
        }
    }

    fn is_busy(&self) -> bool {
        let has_news = self.hearing.has_changed().unwrap_or(false);
        has_news || !(self.events.is_empty() && self.opening.is_empty() && self.lanes.len() == 0)
    }

    /// What happens next. Nothing is lost if the caller does not wait for it.
    async fn next(&mut self) -> Happened {
        let has_room = self.opening.len() < OPENING_AT_ONCE && self.lanes.len() < HANDLING_AT_ONCE;
        tokio::select! {
            Some(event) = self.events.recv(), if has_room => Happened::Arrived(Box::new(event)),
            Some(opened) = self.opening.next() => Happened::Opened(opened.map(Box::new)),
            Ok(()) = self.hearing.changed() => Happened::HearingChanged,
            Some(()) = self.lanes.next() => Happened::Handled,
            else => std::future::pending().await,
        }
    }

    async fn take_in(&mut self, happened: Happened) {
        match happened {
            Happened::Arrived(event) => self.start_opening(*event),
            Happened::Opened(received) => {
                self.flush_after = self.flush_after.map(|left| left.saturating_sub(1));
                self.backlog_bytes += received.as_ref().map_or(0, |received| received.bytes);
                self.backlog.extend(received.map(|received| *received));
            }
            Happened::HearingChanged => self.flush_after = self.listen_up(),
            Happened::Handled => {}
        }
        self.go_on().await;
    }

    async fn go_on(&mut self) {
        if self.flush_after == Some(0) {
            self.ear.resume().await;
            self.flush_after = None;
        }
        if self.ear.is_reachable() || self.backlog_bytes >= BACKLOG_BYTES {
            self.flush();
        }
    }

    /// What the relays had stored is all here once so many more events have been opened; `None`
    /// while they are still sending, or nobody is heard.
    fn listen_up(&mut self) -> Option<usize> {
        let hearing = self.hearing.borrow_and_update().clone();
        if !(hearing.is_hearing() && hearing.is_caught_up()) {
            self.ear.lose();
            return None;
        }
        (!self.ear.is_reachable()).then_some(self.events.len() + self.opening.len())
    }

    fn start_opening(&mut self, event: Event) {
        let (opener, at) = (self.opener.clone(), self.ear.now());
        self.opening.push_back(async move { opener.open(event, at).await }.boxed());
    }

    fn flush(&mut self) {
        let mut backlog = std::mem::take(&mut self.backlog);
        self.backlog_bytes = 0;
        backlog.sort_by_key(|received| age::turn(&received.opened));
        for Received { opened, lane, .. } in backlog {
            let (handler, event_id) = (self.handler.clone(), opened.event_id);
            if !self.lanes.push(lane, async move { handler.handle(opened).await }) {
                tracing::debug!(event.id = %event_id, "dropped: its sender says too much at once");
            }
        }
    }
}

impl Opener {
    /// Reads what only this node can read, on a thread of its own. What was acted on before is not
    /// read again.
    async fn open(self, event: Event, at: Timestamp) -> Option<Received> {
        let bytes = event.content.len();
        if let Err(dropped) = glance(&event, &self.node, &self.policy()) {
            tracing::debug!(event.id = %event.id, %dropped, "dropped");
            return None;
        }
        match self.reader.is_remembered(EventId(event.id.to_bytes())).await {
            Ok(false) => {}
            Ok(true) => return None,
            Err(error) => tracing::error!(%error, "the inbox cannot be read"),
        }
        let own = self.clone();
        let opening = tokio::task::spawn_blocking(move || {
            open(&event, &own.node, &own.policy())
                .inspect_err(|dropped| {
                    tracing::debug!(event.id = %event.id, %dropped, "dropped");
                })
                .ok()
        });
        let opened = opening.await.inspect_err(|error| {
            tracing::error!(%error, "an event broke what reads it; please report this");
        });
        let opened = opened.ok()??;
        if !self.is_honoured(&opened, at).await {
            return None;
        }
        let lane = self.lane_of(&opened).await;
        Some(Received { opened, lane, bytes })
    }

    fn policy(&self) -> Policy<'_> {
        let max_bytes = MAX_EVENT_BYTES as usize;
        Policy { pow: self.pow, max_bytes, transports: &self.transports }
    }

    /// What lies ahead is remembered: relays send it again when its time has come.
    async fn is_honoured(&self, opened: &Opened, at: Timestamp) -> bool {
        let reason = match age::judge(opened, at, self.catch_up) {
            Age::Honoured => return true,
            Age::Stale(reason) => reason,
            Age::Ahead => {
                if let Err(error) = self.engine.disregard(delivery(opened)).await {
                    tracing::error!(%error, "a message from a fast clock may come again");
                }
                "its time lies ahead"
            }
        };
        tracing::debug!(event.id = %opened.event_id, reason, "not honoured");
        false
    }

    /// Who is no party of an order cannot make its parties wait.
    async fn lane_of(&self, opened: &Opened) -> Lane {
        let of_sender = Lane::Sender(opened.sender);
        let Some(order) = opened.message.body.id.map(order_id) else { return of_sender };
        match self.reader.is_party(order, opened.sender).await {
            Ok(true) => Lane::Order(order),
            Ok(false) => of_sender,
            Err(error) => {
                tracing::error!(%error, "the parties of an order cannot be read");
                of_sender
            }
        }
    }
}

impl Handler {
    /// Nothing was remembered of a message whose transaction failed: while the database does not
    /// answer, it is tried again.
    async fn handle(self, opened: Opened) {
        crash::point("intake.received");
        let mut wait = FIRST_RETRY;
        while let Err(error) = self.act_on(&opened).await {
            if !error.is_unavailable() {
                tracing::error!(event.id = %opened.event_id, %error, "a message broke its order");
                return;
            }
            tracing::warn!(%error, "a message waits for the database; again in {wait:?}");
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(LONGEST_RETRY);
        }
    }

    async fn act_on(&self, opened: &Opened) -> Result<Applied, EngineError> {
        let delivery = delivery(opened);
        let Body { request_id, trade_index, id, .. } = opened.message.body;
        let trade = opened.sender;
        let refuse = |refusal| {
            let (order, notice) = (id.map(order_id), Notice::CantDo(refusal));
            let message = Message { to: trade, order, request_id, trade_index: None, notice };
            self.engine.answer(delivery, message)
        };
        let Some(identity) = opened.identity else {
            return refuse(Refusal::InvalidSignature).await;
        };
        let sender = Sender { trade, identity, trade_index };
        let draw = || draw_hold_secret(&*self.entropy);
        match command::read(&opened.message, self.read_destination, draw) {
            Ok(Asked::NewOrder(new)) => {
                let id = draw_order_id(&*self.entropy);
                self.engine.create(delivery, id, sender, request_id, new).await
            }
            Ok(Asked::Order { id, command }) => {
                let request = Request { sender, request_id, command };
                let ask = |question| self.facts.ask(question);
                self.engine.deliver(delivery, id, request, ask).await
            }
            Err(Declined::Because(refusal)) => refuse(refusal).await,
            Err(Declined::Silently) => Ok(Applied::Unchanged),
        }
    }
}

fn delivery(opened: &Opened) -> Delivery {
    Delivery {
        event_id: EventId(opened.event_id.to_bytes()),
        rumor_id: opened.rumor_id.map(|id| EventId(id.to_bytes())),
        created_at: opened.created_at,
        from: opened.sender,
        transport: match opened.transport {
            Transport::GiftWrap => store::Transport::GiftWrap,
            Transport::Direct => store::Transport::Nip44,
        },
    }
}

fn order_id(id: uuid::Uuid) -> OrderId {
    OrderId(id.into_bytes())
}
