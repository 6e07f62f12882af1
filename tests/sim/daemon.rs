//! The daemon without its sockets: its real parts on a real file, driven step by step.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mostrod::clock::{Clock as _, ManualClock};
use mostrod::engine::{Engine, EngineError};
use mostrod::entropy::Entropy;
use mostrod::facts::Facts;
use mostrod::intake::{Intake, Setup, memory};
use mostrod::lightning::LightningNode;
use mostrod::nostr::{Event, Keys, Options, Phase, Relays as Pool, Subscriptions, Transport};
use mostrod::outbox::{Messenger, Outbox};
use mostrod::store::{self, Class, DaemonState, OutboxRow, Reader};
use mostrod::timers::{JumpGuard, Timers};
use mostrod::watcher::{HealthMonitor, Reconciliation};
use mostrod::wire::notice;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use trade::{
    Destination, HoldStatus, Input, Invoice, Msats, Network, NodeKey, Observation, OrderId,
    PaymentHash, PaymentStatus, Policy, Ppm, Sats, Timestamp,
};

use crate::lnd::{FakeLnd, Update};
use crate::relay::Relays;
use crate::simulation::text;

/// Events that may wait to be read, as in the daemon.
const QUEUE: usize = 1_024;

/// How many blocks before an escrow's expiry a trade without fiat sent is canceled.
pub(crate) const MARGIN: u32 = 24;

/// The greatest age of a message of an active trade.
pub(crate) const CATCH_UP: Duration = Duration::from_hours(24);

/// What a crash of the daemon does not change.
pub(crate) struct Environment {
    pub(crate) folder: TempDir,
    /// The daemon's clock.
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) lnd: Arc<FakeLnd>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// What is lost in a crash.
pub(crate) struct Daemon {
    pub(crate) engine: Engine,
    pub(crate) reader: Reader,
    outbox: Arc<Outbox>,
    reconciliation: Reconciliation,
    pub(crate) monitor: HealthMonitor,
    timers: Timers,
    guard: JumpGuard,
    intake: DrivenIntake,
    clock: Arc<ManualClock>,
    writer: JoinSet<Result<(), EngineError>>,
    acts: JoinSet<String>,
    pub(crate) busy: BTreeSet<String>,
    streams: BTreeMap<PaymentHash, Stream>,
}

/// Intake, and the relays' ends of its channels.
struct DrivenIntake {
    intake: Intake,
    events: mpsc::Sender<Event>,
    subscriptions: watch::Sender<Subscriptions>,
    /// The start of the next subscription.
    cursor: watch::Receiver<Timestamp>,
}

/// A stream of LND, with the updates that are still to be delivered.
struct Stream {
    order: OrderId,
    waiting: VecDeque<Update>,
    /// How many of LND's updates it has read.
    read: usize,
}

impl Daemon {
    pub(crate) async fn start(environment: &Environment, node: &Keys) -> Result<Self, String> {
        let Environment { folder, clock, lnd, .. } = environment;
        let file = folder.path().join("trades.db");
        let (writer, reader) = store::open(&file, notice::render).await.map_err(text)?;
        let lightning: Arc<dyn LightningNode> = Arc::clone(lnd) as _;
        let (engine, task) = Engine::new(writer, policy(), Arc::clone(clock) as _);
        let mut writer = JoinSet::new();
        writer.spawn(task.run());
        let remembered = reader.daemon_state().await.map_err(text)?;
        let (mut monitor, health) = {
            let (lightning, clock) = (Arc::clone(&lightning), Arc::clone(clock) as _);
            let failures = watch::channel(()).1;
            HealthMonitor::new(lightning, engine.clone(), clock, failures, remembered.node)
        };
        let reconciliation = Reconciliation {
            node: Arc::clone(&lightning),
            reader: reader.clone(),
            engine: engine.clone(),
            health: health.clone(),
            period: Duration::from_mins(1),
        };
        let facts = Facts::new(Arc::clone(&lightning));
        let timers = Timers {
            reader: reader.clone(),
            engine: engine.clone(),
            facts: facts.clone(),
            clock: Arc::clone(clock) as _,
            health,
            inbox_memory: memory(CATCH_UP),
        };
        let guard = JumpGuard::new(&**clock);
        let messenger = messenger(&engine, clock, node).await?;
        let outbox = {
            let (reader, engine, clock) = (reader.clone(), engine.clone(), Arc::clone(clock) as _);
            Outbox::new(lightning, messenger, reader, engine, clock, MARGIN)
        };
        let oldest_take = reader.oldest_take().await.map_err(text)?;
        let intake =
            DrivenIntake::new(environment, node, &reader, &engine, facts, &remembered, oldest_take);
        monitor.check().await;
        Ok(Self {
            engine,
            reader,
            outbox,
            reconciliation,
            monitor,
            timers,
            guard,
            intake,
            clock: Arc::clone(clock),
            writer,
            acts: JoinSet::new(),
            busy: BTreeSet::new(),
            streams: BTreeMap::new(),
        })
    }

    /// Ends the daemon as SIGKILL does.
    pub(crate) async fn kill(&mut self) {
        self.acts.shutdown().await;
        self.writer.shutdown().await;
    }

    /// A relay sends an event, which is then handled.
    pub(crate) async fn receive(&mut self, event: Event) -> Result<(), String> {
        self.intake.receive(event).await
    }

    /// The relays send their stored events, then the end of them.
    pub(crate) async fn connect(&mut self, relays: &Relays) -> Result<(), String> {
        let cursor = *self.intake.cursor.borrow();
        self.intake.set_phase(Phase::Requested).await;
        for event in relays.since(cursor) {
            for _ in 0..relays.count {
                self.intake.receive(event.clone()).await?;
            }
        }
        self.intake.set_phase(Phase::Open).await;
        self.heartbeat().await;
        Ok(())
    }

    pub(crate) async fn disconnect(&mut self) {
        self.intake.set_phase(Phase::Closed).await;
    }

    pub(crate) async fn heartbeat(&mut self) {
        self.intake.intake.heartbeat().await;
        self.intake.intake.until_idle().await;
    }

    pub(crate) async fn run_timers(&mut self) -> Result<(), String> {
        let time_is_paused = self.timers.watch_clock(&mut self.guard).await;
        if !time_is_paused {
            self.timers.forget().await;
        }
        for (order, question) in
            self.timers.look(time_is_paused, &HashSet::new()).await.map_err(text)?
        {
            self.timers.ask(order, question).await;
        }
        Ok(())
    }

    /// The acts that are due, in the order of commitment.
    pub(crate) async fn due(&self) -> Result<Vec<OutboxRow>, String> {
        let limits = Class::ALL.map(|class| (class, 64));
        let due = self.reader.list_acts_due(self.now(), &limits).await.map_err(text)?;
        let due = due.into_iter().map(|due| due.act.map_err(|stuck| text(stuck.error)));
        let mut due = due.collect::<Result<Vec<_>, _>>()?;
        due.sort_by_key(|row| row.id);
        Ok(due)
    }

    /// The next due act whose lane is free.
    pub(crate) async fn next_act(&self) -> Result<Option<OutboxRow>, String> {
        let due = self.due().await?;
        Ok(due.into_iter().find(|row| !self.busy.contains(&row.lane)))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn reconcile(&self) -> Result<(), String> {
        self.reconciliation.round().await.map_err(text)
    }

    pub(crate) fn start_act(&mut self, row: OutboxRow) {
        let (outbox, lane) = (Arc::clone(&self.outbox), row.lane.clone());
        self.busy.insert(lane.clone());
        self.acts.spawn(async move {
            outbox.carry_out(row).await;
            lane
        });
    }

    /// Waits until every act has ended or waits for LND.
    pub(crate) async fn wait_for_acts(&mut self, lnd: &FakeLnd) {
        while self.acts.len() > lnd.ledger().waiting() {
            tokio::select! {
                biased;
                Some(ended) = self.acts.join_next() => {
                    self.busy.remove(&ended.expect("an act does not panic"));
                }
                () = lnd.parked() => {}
            }
        }
    }

    /// Delivers one update of a stream, if there is one.
    pub(crate) async fn deliver_one_update(&mut self, lnd: &FakeLnd) -> Result<bool, String> {
        let holds = self.reader.list_holds_to_watch().await.map_err(text)?;
        let payments = self.reader.list_payments_to_follow().await.map_err(text)?;
        {
            let ledger = lnd.ledger();
            let now = ledger.updates.len();
            for (order, hash) in holds {
                let first = Update::Hold(ledger.hold(hash));
                self.streams.entry(hash).or_insert_with(|| Stream::new(order, first, now));
            }
            for (order, hash) in payments {
                let first = Update::Payment(ledger.payment(hash));
                self.streams.entry(hash).or_insert_with(|| Stream::new(order, first, now));
            }
            for (hash, stream) in &mut self.streams {
                let fresh = ledger.updates.iter().skip(stream.read).filter(|(of, _)| of == hash);
                stream.waiting.extend(fresh.map(|(_, update)| *update));
                stream.read = now;
            }
        }
        let Some((hash, stream)) =
            self.streams.iter_mut().find(|(_, stream)| !stream.waiting.is_empty())
        else {
            return Ok(false);
        };
        let (hash, order) = (*hash, stream.order);
        let Some(update) = stream.waiting.pop_front() else { return Ok(false) };
        if is_last(update) {
            self.streams.remove(&hash);
        }
        let observation = match update {
            // LND sends no update about unknown hashes, and an open hold has not changed.
            Update::Hold(HoldStatus::Unknown | HoldStatus::Open)
            | Update::Payment(PaymentStatus::Unknown) => return Ok(true),
            // The stream does not show the amount of the escrow.
            Update::Hold(HoldStatus::Accepted { .. }) => {
                let Ok(status) = lnd.hold_status(hash).await else { return Ok(true) };
                Observation::Hold { hash, status }
            }
            Update::Hold(status) => Observation::Hold { hash, status },
            Update::Payment(status) => Observation::Payment { hash, status },
        };
        self.engine.apply(order, Input::Lightning(observation)).await.map_err(text)?;
        Ok(true)
    }
}

impl DrivenIntake {
    fn new(
        environment: &Environment,
        node: &Keys,
        reader: &Reader,
        engine: &Engine,
        facts: Facts,
        remembered: &DaemonState,
        oldest_take: Option<Timestamp>,
    ) -> Self {
        let (events, received) = mpsc::channel(QUEUE);
        let (subscriptions, received_subscriptions) = watch::channel(Subscriptions::new(1));
        let setup = Setup {
            events: received,
            subscriptions: received_subscriptions,
            node: node.clone(),
            pow: 0,
            transports: Transport::ALL.to_vec(),
            catch_up: CATCH_UP,
            policy: policy(),
            reader: reader.clone(),
            engine: engine.clone(),
            facts,
            read_destination,
            clock: Arc::clone(&environment.clock) as _,
            entropy: Arc::clone(&environment.entropy),
        };
        let (intake, cursor) = Intake::new(setup, remembered, oldest_take);
        Self { intake, events, subscriptions, cursor }
    }

    async fn receive(&mut self, event: Event) -> Result<(), String> {
        self.events.send(event).await.map_err(text)?;
        self.intake.until_idle().await;
        Ok(())
    }

    async fn set_phase(&mut self, phase: Phase) {
        self.subscriptions.send_modify(|subscriptions| subscriptions.set(0, phase));
        self.intake.until_idle().await;
    }
}

impl Stream {
    fn new(order: OrderId, first: Update, read: usize) -> Self {
        Self { order, waiting: VecDeque::from([first]), read }
    }
}

/// Whether a stream ends with this update.
fn is_last(update: Update) -> bool {
    match update {
        Update::Hold(status) => {
            matches!(status, HoldStatus::Settled | HoldStatus::Canceled | HoldStatus::Unknown)
        }
        Update::Payment(status) => !matches!(status, PaymentStatus::InFlight { .. }),
    }
}

/// A messenger without relays: the simulation takes messages out of the outbox itself.
async fn messenger(
    engine: &Engine,
    clock: &Arc<ManualClock>,
    node: &Keys,
) -> Result<Messenger, String> {
    let options = Options {
        urls: Vec::new(),
        transports: Vec::new(),
        max_event_bytes: 65_536,
        queue: 1,
        retry: Duration::from_secs(5),
    };
    let (relays, ..) = Pool::new(&options, node).await.map_err(text)?;
    Ok(Messenger {
        relays,
        node: node.clone(),
        engine: engine.clone(),
        clock: Arc::clone(clock) as _,
        retention: Duration::from_hours(24),
        transports: vec![Transport::Nip44],
    })
}

/// Reads a buyer's invoice: see [`invoice_text`].
pub(crate) fn read_destination(text: &str) -> Destination {
    let read = || {
        let mut parts = text.strip_prefix("lnsim:")?.split(':');
        let hash = PaymentHash::from_hex(parts.next()?)?;
        let amount = parts.next()?.parse::<u64>().ok()?;
        let expires_at = Timestamp(parts.next()?.parse().ok()?);
        Some(Invoice {
            text: text.to_owned(),
            hash,
            payee: NodeKey([3; 33]),
            amount: (amount > 0).then_some(Msats(amount)),
            expires_at,
            min_final_cltv: 80,
            network: Network::Regtest,
        })
    };
    read().map_or(Destination::Unsupported, Destination::Bolt11)
}

/// An invoice in this simulation.
pub(crate) fn invoice_text(
    hash: PaymentHash,
    amount: Option<Sats>,
    expires_at: Timestamp,
) -> String {
    let amount = amount.and_then(Sats::to_msats).map_or(0, |amount| amount.0);
    format!("lnsim:{hash}:{amount}:{}", expires_at.0)
}

/// Short times, so that lists can be short.
fn policy() -> Policy {
    Policy {
        fee: Ppm(20_000),
        max_order_amount: Sats(1_000_000),
        min_order_amount: Sats(100),
        fiat_codes: vec![],
        book_window: Duration::from_mins(10),
        max_book_window: Duration::from_hours(1),
        duty_window: Duration::from_mins(2),
        reply_window: Duration::from_secs(8),
        invoice_window: Duration::from_mins(2),
        max_final_cltv: 144,
        hold_cltv_delta: 144,
        escrow_margin: MARGIN,
        payout_attempts: 2,
        payout_interval: Duration::from_secs(30),
        payout_quiet: Duration::from_mins(1),
        payout_slow_interval: Duration::from_mins(3),
        payout_patience: Duration::from_hours(24),
        max_routing_fee: Ppm(2_000),
        max_routing_subsidy: Sats(10_000),
        payout_cltv_limit: 1_008,
    }
}
