//! The daemon without its sockets, and everybody around it: traders, a relay, LND, time and chance.
//!
//! Engine, store, core, timers, comparison, health and the Lightning half of the outbox are the real
//! ones, on a real file. Only what would open a socket is played here: users' messages go straight
//! to the engine, messages to users straight into their hands, and streams tell what
//! [`Op::Hear`] says. Time moves when an operation says so; the runtime's timers are never waited for.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mostrod::clock::{Clock as _, Entropy, ManualClock, draw_hold_secret};
use mostrod::engine::{Applied, Engine, EngineError};
use mostrod::facts::Facts;
use mostrod::lightning::LightningNode;
use mostrod::nostr::{Keys, Options, Relays, SecretKey, Transport};
use mostrod::outbox::{Messenger, Outbox};
use mostrod::store::{self, Act, Class, Delivery, EventId, OutboxRow, Reader};
use mostrod::timers::Timers;
use mostrod::watcher::{Comparison, HealthMonitor};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use trade::{
    Backlog, Command, Destination, HoldStatus, IdentityKey, Input, Invoice, Kind, Network,
    NewOrder, NodeKey, Notice, Observation, OrderId, OrderState, Outcome, PaymentHash,
    PaymentStatus, PayoutState, Policy, Ppm, Preimage, Request, Sats, Sender, Timestamp, TradeKey,
};

use crate::check::Checker;
use crate::lnd::{FakeLnd, Fault, News, Payee, hash_of};
use crate::ops::{Chance, End, Op, Said, TRADES, Who, is_buy};

/// A fault that is built in on purpose, to see whether anybody notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plant {
    /// LND does not know a payment, so it failed.
    NotFoundMeansFailed,
    /// A call about a hold that has no answer has canceled it.
    LostMeansCanceled,
    /// A message that no relay took is done.
    DropsRefusedMessages,
    /// Whoever asks for a release is the seller.
    AnybodyReleases,
    /// A request may reach LND long after the quiet time of payouts, on which P6 relies.
    ArrivesAfterTheQuiet,
    /// What the last daemon had begun need not be done again.
    BegunMeansDone,
}

pub(crate) const START: Timestamp = Timestamp(1_800_000_000);
const HEIGHT: u32 = 1_000;
const MARGIN: u32 = 24;
const AMOUNT: Sats = Sats(100_000);
/// Two percent, half from each side.
const OWED: Sats = Sats(99_000);
/// From one heartbeat to the next, short enough not to count as deaf.
const BEAT: u16 = 20;
/// Beats between two comparisons with LND, as in the daemon.
const COMPARE_EVERY: u64 = 3;
/// Far shorter than in the daemon, so that messages come again that are forgotten.
const MEMORY: Duration = Duration::from_mins(2);
/// The patience with a world in which nothing goes wrong any more: half an hour of its time, in
/// which the longest of the waits below ends, every mined horizon passes and every debt is paid.
const LAST_BEATS: u16 = 90;

pub(crate) struct World {
    folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) lnd: Arc<FakeLnd>,
    plant: Option<Plant>,
    chance: Arc<Seeded>,
    daemon: Daemon,
    pub(crate) orders: BTreeMap<u8, OrderId>,
    spoken: Vec<Spoken>,
    /// What each key was told.
    pub(crate) told: BTreeMap<TradeKey, Vec<Notice>>,
    pub(crate) taken: BTreeSet<i64>,
    /// Orders whose own seller asked for the release.
    pub(crate) released: BTreeSet<OrderId>,
    /// Whose payout goes to which hash.
    pub(crate) payout_of: BTreeMap<PaymentHash, OrderId>,
    refusals: u8,
    events: u64,
    beats: u64,
    checker: Checker,
}

/// What dies in a crash.
struct Daemon {
    engine: Engine,
    reader: Reader,
    outbox: Arc<Outbox>,
    comparison: Comparison,
    monitor: HealthMonitor,
    timers: Timers,
    facts: Facts,
    writer: JoinSet<Result<(), EngineError>>,
    acts: JoinSet<String>,
    busy: BTreeSet<String>,
    streams: BTreeMap<PaymentHash, Stream>,
}

/// What a stream has still to tell.
struct Stream {
    order: OrderId,
    waiting: VecDeque<News>,
    /// How much of LND's news it has taken in.
    read: usize,
}

/// A message that a relay may hand on again.
#[derive(Clone)]
struct Spoken {
    delivery: Delivery,
    order: OrderId,
    what: Words,
    was_answered: bool,
}

#[derive(Clone)]
enum Words {
    New(Sender, Box<NewOrder>),
    Ask(Request),
}

#[derive(Debug)]
struct Seeded(std::sync::Mutex<Chance>);

impl Entropy for Seeded {
    fn draw(&self) -> [u8; 32] {
        let mut chance = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut bytes = [0; 32];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&chance.draw().to_le_bytes());
        }
        bytes
    }
}

/// What became of a list in which nothing went wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Of everything that was decided, said and paid, in its order.
    trace: [u8; 32],
    /// How many orders ended as what.
    pub(crate) as_what: BTreeMap<String, u32>,
}

/// Carries the list out, lets everything come to its end, and tells what was wrong, if it was.
pub(crate) async fn run(ops: &[Op], seed: u64, plant: Option<Plant>) -> Result<Ended, String> {
    let mut world = World::new(seed, plant).await?;
    for (at, op) in ops.iter().enumerate() {
        let done = match world.perform(*op).await {
            Ok(()) => world.check().await,
            Err(wrong) => Err(wrong),
        };
        done.map_err(|wrong| format!("after op {at}, {op:?}: {wrong}"))?;
    }
    world.come_to_an_end().await.map_err(|wrong| format!("at the end: {wrong}"))?;
    Ok(Ended { trace: world.trace(), as_what: world.checker.ends() })
}

impl World {
    async fn new(seed: u64, plant: Option<Plant>) -> Result<Self, String> {
        let memory = std::path::Path::new("/dev/shm");
        let folder =
            if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.map_err(text)?;
        let clock = Arc::new(ManualClock::at(START));
        let lnd = Arc::new(FakeLnd::new(Arc::clone(&clock), HEIGHT, plant));
        let daemon = Daemon::start(&folder, &clock, &lnd).await?;
        let checker = Checker::open(&folder.path().join("trades.db")).await?;
        Ok(Self {
            folder,
            clock,
            lnd,
            plant,
            chance: Arc::new(Seeded(std::sync::Mutex::new(Chance::new(seed)))),
            daemon,
            orders: BTreeMap::new(),
            spoken: Vec::new(),
            told: BTreeMap::new(),
            taken: BTreeSet::new(),
            released: BTreeSet::new(),
            payout_of: BTreeMap::new(),
            refusals: 0,
            events: 0,
            beats: 0,
            checker,
        })
    }

    async fn perform(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::Make { trade } => self.make(trade).await?,
            Op::Say { trade, who, what } => self.say(trade, who, what).await?,
            Op::Duplicate { back } => self.say_again(back).await?,
            Op::Pay { trade, over } => self.pay(trade, over, 0),
            Op::Underpay { trade, lacks } => self.pay(trade, 0, lacks),
            Op::Resolve { nth, how } => self.lnd.ledger().resolve(nth, how),
            Op::Hear { news } => self.hear(news).await?,
            Op::HearLate => self.hear_late().await?,
            Op::LoseRequest => self.lnd.ledger().faults.push_back(Fault::LoseRequest),
            Op::LoseReply => self.lnd.ledger().faults.push_back(Fault::LoseReply),
            Op::DelayRequest => self.lnd.ledger().faults.push_back(Fault::DelayRequest),
            Op::HangBefore => self.lnd.ledger().faults.push_back(Fault::HangBefore),
            Op::HangAfter => self.lnd.ledger().faults.push_back(Fault::HangAfter),
            Op::LnArrives => self.lnd.ledger().arrive(),
            Op::LnAnswersLate => self.lnd.ledger().answer_late(),
            Op::LndFails => self.lnd.ledger().fails = true,
            Op::LndIsBack => self.lnd.ledger().fails = false,
            Op::LndRefuses => self.lnd.ledger().refuses = true,
            Op::LndPaysAgain => self.lnd.ledger().refuses = false,
            Op::PeersLeave => self.lnd.ledger().is_alone = true,
            Op::PeersReturn => self.lnd.ledger().is_alone = false,
            Op::Advance { secs } => self.advance(secs).await?,
            Op::Deaf { secs } => self.be_deaf(secs).await?,
            Op::Mine { blocks } => {
                self.lnd.ledger().mine(blocks.into());
                self.daemon.monitor.ask().await;
                self.look().await?;
            }
            Op::RelayRefuses { times } => self.refusals = times,
            Op::Crash { steps } => self.lnd.ledger().dies_in = Some(steps),
            Op::Restart => self.crash().await?,
            Op::Reconcile => self.daemon.compare().await?,
        }
        self.settle().await
    }

    async fn check(&mut self) -> Result<(), String> {
        let mut checker = std::mem::take(&mut self.checker);
        let verdict = checker.check(self).await;
        self.checker = checker;
        verdict
    }

    /// No more faults: whoever can end a trade does, and time does the rest.
    async fn come_to_an_end(&mut self) -> Result<(), String> {
        self.lnd.ledger().heal();
        self.refusals = 0;
        for beat in 0..LAST_BEATS {
            self.settle().await?;
            self.hear(u8::MAX).await?;
            self.lnd.ledger().resolve(0, End::Paid);
            self.daemon.compare().await?;
            self.settle().await?;
            self.check().await?;
            if self.checker.is_over(&self.orders) {
                break;
            }
            for (trade, id) in self.orders.clone() {
                self.help(trade, id).await?;
            }
            if beat % 3 == 2 {
                self.lnd.ledger().mine(6);
            }
            self.advance(BEAT).await?;
        }
        let mut checker = std::mem::take(&mut self.checker);
        let verdict = checker.check_end(self).await;
        self.checker = checker;
        verdict
    }

    /// What honest traders do to come to an end.
    async fn help(&mut self, trade: u8, id: OrderId) -> Result<(), String> {
        let Some(order) = self.daemon.reader.find_order(id).await.map_err(text)? else {
            return Ok(());
        };
        let (buyer, seller) = (order.buyer().copied(), order.seller().copied());
        let needs = order.payout.map(|payout| payout.state) == Some(PayoutState::NeedsInvoice);
        let (sender, what) = match (&order.state, buyer, seller) {
            (OrderState::FiatSent { .. }, _, Some(seller)) => (seller, Said::Release),
            (OrderState::Active { .. }, Some(buyer), _) if trade.is_multiple_of(2) => {
                (buyer, Said::FiatSent)
            }
            (OrderState::PayingBuyer, Some(buyer), _) if needs => (buyer, Said::AddInvoice),
            _ => return Ok(()),
        };
        let who = [Who::Maker, Who::Taker, Who::Rival]
            .into_iter()
            .find(|who| sender_of(trade, *who).trade == sender.trade);
        match who {
            Some(who) => self.say(trade, who, what).await,
            None => Err("an order has a party that nobody is".to_owned()),
        }
    }

    async fn make(&mut self, trade: u8) -> Result<(), String> {
        if trade >= TRADES || self.orders.contains_key(&trade) {
            return Ok(());
        }
        let id = OrderId([trade + 1; 16]);
        self.orders.insert(trade, id);
        let new = NewOrder {
            kind: Some(if is_buy(trade) { Kind::Buy } else { Kind::Sell }),
            fiat_code: "EUR".to_owned(),
            fiat_amount: 90,
            min_amount: None,
            max_amount: None,
            amount: i64::try_from(AMOUNT.0).map_err(text)?,
            payment_method: "face to face".to_owned(),
            premium: 0,
            destination: (trade % 4 == 3).then(|| self.invoice(id)),
            expires_at: None,
            names_a_mint: false,
        };
        let sender = sender_of(trade, Who::Maker);
        let what = Words::New(sender, Box::new(new));
        self.speak(id, sender, what).await
    }

    async fn say(&mut self, trade: u8, who: Who, what: Said) -> Result<(), String> {
        let Some(id) = self.orders.get(&trade).copied() else { return Ok(()) };
        let mut sender = sender_of(trade, who);
        let secret = draw_hold_secret(&*self.chance);
        let command = match what {
            Said::Take | Said::TakeWithInvoice if is_buy(trade) => Command::TakeBuy { secret },
            Said::Take => Command::TakeSell { destination: None, secret },
            Said::TakeWithInvoice => {
                Command::TakeSell { destination: Some(self.invoice(id)), secret }
            }
            Said::AddInvoice => Command::AddInvoice { destination: self.invoice(id), secret },
            Said::FiatSent => Command::FiatSent,
            Said::Release => Command::Release,
            Said::Cancel => Command::Cancel,
        };
        if what == Said::Release {
            let order = self.daemon.reader.find_order(id).await.map_err(text)?;
            let seller = order.and_then(|order| order.seller().copied());
            match seller {
                Some(seller) if seller.trade == sender.trade => _ = self.released.insert(id),
                Some(seller) if self.plant == Some(Plant::AnybodyReleases) => {
                    sender.trade = seller.trade;
                }
                _ => {}
            }
        }
        let request = Request { sender, request_id: Some(self.events), command };
        self.speak(id, sender, Words::Ask(request)).await
    }

    async fn speak(&mut self, order: OrderId, by: Sender, what: Words) -> Result<(), String> {
        self.events += 1;
        let delivery = Delivery {
            event_id: EventId(Sha256::digest(self.events.to_be_bytes()).into()),
            rumor_id: None,
            created_at: self.clock.now(),
            from: by.trade,
            transport: store::Transport::Nip44,
        };
        let mut spoken = Spoken { delivery, order, what, was_answered: false };
        self.daemon.hear_out(&spoken).await?;
        spoken.was_answered = true;
        self.spoken.push(spoken);
        Ok(())
    }

    async fn say_again(&mut self, back: u8) -> Result<(), String> {
        let at = self.spoken.len().checked_sub(usize::from(back) + 1);
        let Some(spoken) = at.map(|at| self.spoken[at].clone()) else { return Ok(()) };
        match self.daemon.hear_out(&spoken).await? {
            Applied::Repeat => Ok(()),
            applied if spoken.was_answered => {
                Err(format!("I7: acted twice on one event: {applied:?}"))
            }
            _ => Ok(()),
        }
    }

    /// A place to be paid that nobody named before. Some expire soon, some have no amount.
    fn invoice(&mut self, order: OrderId) -> Destination {
        let preimage = Preimage(self.chance.draw());
        let (hash, traits) = (hash_of(preimage), preimage.0[0]);
        let lives = Duration::from_secs(if traits.is_multiple_of(3) { 200 } else { 86_400 });
        let expires_at = self.clock.now().after(lives);
        let amount = (!traits.is_multiple_of(2)).then_some(OWED);
        self.lnd.ledger().payees.insert(hash, Payee { preimage, amount, expires_at });
        self.payout_of.insert(hash, order);
        Destination::Bolt11(Invoice {
            text: format!("lnsim{hash}"),
            hash,
            payee: NodeKey([3; 33]),
            amount: amount.and_then(Sats::to_msats),
            expires_at,
            min_final_cltv: 80,
            network: Network::Regtest,
        })
    }

    /// A seller can only pay what it was sent.
    fn pay(&mut self, trade: u8, over: u8, lacks: u64) {
        let sellers: &[Who] = if is_buy(trade) { &[Who::Taker, Who::Rival] } else { &[Who::Maker] };
        for who in sellers {
            let told = self.told.get(&sender_of(trade, *who).trade);
            let asked = told.into_iter().flatten().rev().find_map(|notice| match notice {
                Notice::PayInvoice { bolt11, .. } => PaymentHash::from_hex(bolt11),
                _ => None,
            });
            if let Some(hash) = asked {
                self.lnd.ledger().pay(hash, over, lacks);
            }
        }
    }

    async fn hear(&mut self, news: u8) -> Result<(), String> {
        let lnd = Arc::clone(&self.lnd);
        for _ in 0..news {
            if !self.daemon.hear_one(&lnd).await? {
                break;
            }
        }
        Ok(())
    }

    /// Also of payments that nobody would ask about any more.
    async fn hear_late(&mut self) -> Result<(), String> {
        for (hash, order) in &self.payout_of {
            let status = self.lnd.ledger().payment(*hash);
            let news = Input::Lightning(Observation::Payment { hash: *hash, status });
            self.daemon.engine.apply(*order, news).await.map_err(text)?;
        }
        Ok(())
    }

    async fn advance(&mut self, secs: u16) -> Result<(), String> {
        let mut left = secs;
        while left > 0 {
            let step = left.min(BEAT);
            left -= step;
            self.clock.advance(Duration::from_secs(step.into()));
            self.beats += 1;
            self.daemon.monitor.ask().await;
            self.daemon.engine.heard().await.map_err(text)?;
            if self.beats.is_multiple_of(COMPARE_EVERY) {
                self.daemon.compare().await?;
            }
            self.look().await?;
            self.settle().await?;
        }
        Ok(())
    }

    async fn be_deaf(&mut self, secs: u16) -> Result<(), String> {
        self.clock.advance(Duration::from_secs(secs.into()));
        self.look().await?;
        self.settle().await?;
        self.daemon.engine.heard().await.map_err(text)?;
        Ok(())
    }

    async fn look(&mut self) -> Result<(), String> {
        self.daemon.timers.forget().await;
        let timers = &self.daemon.timers;
        for order in timers.look(false, &HashSet::new()).await.map_err(text)? {
            timers.ask(order).await;
        }
        Ok(())
    }

    /// Does what can be done now: one act after the other, until only calls that hang are left.
    async fn settle(&mut self) -> Result<(), String> {
        loop {
            self.daemon.wait(&self.lnd).await;
            if self.lnd.ledger().dies_in == Some(0) && self.lnd.ledger().waiting() > 0 {
                self.crash().await?;
                continue;
            }
            let due = self.daemon.due(&self.clock).await?;
            let Some(row) = due.into_iter().find(|row| !self.daemon.busy.contains(&row.lane))
            else {
                return Ok(());
            };
            if self.lnd.kills() {
                self.crash().await?;
                continue;
            }
            self.carry_out(row).await?;
        }
    }

    async fn carry_out(&mut self, row: OutboxRow) -> Result<(), String> {
        let id = row.id;
        match &row.act {
            Act::Lightning(_) => self.daemon.start_act(row),
            Act::Alarm(_) => _ = self.daemon.engine.finish_act(id, None).await.map_err(text)?,
            Act::Notify(message) => {
                let is_refused = self.refusals > 0;
                self.refusals = self.refusals.saturating_sub(1);
                if is_refused && self.plant != Some(Plant::DropsRefusedMessages) {
                    let again = self.clock.now().after(Duration::from_secs(1));
                    self.daemon.engine.retry_act(id, again).await.map_err(text)?;
                    return Ok(());
                }
                if !is_refused {
                    self.taken.insert(id.0);
                    self.told.entry(message.to).or_default().push(message.notice.clone());
                }
                // The relay has it, and the daemon may die before it knows.
                if self.lnd.kills() {
                    return self.crash().await;
                }
                self.daemon.engine.finish_act(id, None).await.map_err(text)?;
            }
        }
        Ok(())
    }

    /// Everything that was not on disk is gone.
    async fn crash(&mut self) -> Result<(), String> {
        self.lnd.ledger().dies_in = None;
        self.daemon.acts.shutdown().await;
        self.daemon.writer.shutdown().await;
        self.begin_anew().await
    }

    async fn begin_anew(&mut self) -> Result<(), String> {
        self.daemon = Daemon::start(&self.folder, &self.clock, &self.lnd).await?;
        if self.plant == Some(Plant::BegunMeansDone) {
            let due = self.daemon.due(&self.clock).await?;
            for row in due.into_iter().filter(|row| row.begun_at.is_some()) {
                self.daemon.engine.finish_act(row.id, None).await.map_err(text)?;
            }
        }
        Ok(())
    }

    /// The buyers of the trades that ended well.
    pub(crate) async fn buyers_paid(&self) -> Result<BTreeSet<TradeKey>, String> {
        let mut paid = BTreeSet::new();
        for id in self.orders.values() {
            let order = self.daemon.reader.find_order(*id).await.map_err(text)?;
            let ended = order.filter(|order| order.state == OrderState::Ended(Outcome::Success));
            paid.extend(ended.and_then(|order| order.buyer().map(|buyer| buyer.trade)));
        }
        Ok(paid)
    }

    fn trace(&self) -> [u8; 32] {
        let mut trace = Sha256::new();
        trace.update(self.checker.trace());
        trace.update(format!("{:?}", self.told));
        trace.update(format!("{:?}", self.lnd.ledger().news));
        trace.finalize().into()
    }
}

impl Daemon {
    async fn start(
        folder: &TempDir,
        clock: &Arc<ManualClock>,
        lnd: &Arc<FakeLnd>,
    ) -> Result<Self, String> {
        let (writer, reader) = store::open(&folder.path().join("trades.db")).await.map_err(text)?;
        let node: Arc<dyn LightningNode> = Arc::clone(lnd) as _;
        let (engine, task) = Engine::new(writer, policy(), Arc::clone(clock) as _);
        let mut writer = JoinSet::new();
        writer.spawn(task.run());
        let remembered = reader.daemon_state().await.map_err(text)?.node;
        let (mut monitor, health) = {
            let bell = watch::channel(()).1;
            HealthMonitor::new(
                Arc::clone(&node),
                engine.clone(),
                Arc::clone(clock) as _,
                bell,
                remembered,
            )
        };
        let comparison = Comparison {
            node: Arc::clone(&node),
            reader: reader.clone(),
            engine: engine.clone(),
            health: health.clone(),
            period: Duration::from_mins(1),
        };
        let facts = Facts::new(Arc::clone(&node));
        let timers = Timers {
            reader: reader.clone(),
            engine: engine.clone(),
            facts: facts.clone(),
            clock: Arc::clone(clock) as _,
            health,
            inbox_memory: MEMORY,
        };
        let messenger = messenger(&reader, &engine, clock).await?;
        let outbox = Outbox::new(
            node,
            messenger,
            reader.clone(),
            engine.clone(),
            Arc::clone(clock) as _,
            MARGIN,
        );
        monitor.ask().await;
        engine.heard().await.map_err(text)?;
        engine.set_backlog(Backlog::Decided);
        Ok(Self {
            engine,
            reader,
            outbox,
            comparison,
            monitor,
            timers,
            facts,
            writer,
            acts: JoinSet::new(),
            busy: BTreeSet::new(),
            streams: BTreeMap::new(),
        })
    }

    async fn hear_out(&self, spoken: &Spoken) -> Result<Applied, String> {
        let Spoken { delivery, order, what, .. } = spoken.clone();
        let applied = match what {
            Words::New(sender, new) => {
                self.engine.create(delivery, order, sender, Some(1), *new).await
            }
            Words::Ask(request) => {
                let ask = |question| self.facts.ask(question);
                self.engine.deliver(delivery, order, request, ask).await
            }
        };
        applied.map_err(text)
    }

    async fn compare(&self) -> Result<(), String> {
        self.comparison.round().await.map_err(text)
    }

    /// The acts that may be done now, in the order of commitment.
    async fn due(&self, clock: &ManualClock) -> Result<Vec<OutboxRow>, String> {
        let limits = Class::ALL.map(|class| (class, 64));
        let due = self.reader.list_acts_due(clock.now(), &limits).await.map_err(text)?;
        let due = due.into_iter().map(|due| due.act.map_err(|stuck| text(stuck.error)));
        let mut due = due.collect::<Result<Vec<_>, _>>()?;
        due.sort_by_key(|row| row.id);
        Ok(due)
    }

    fn start_act(&mut self, row: OutboxRow) {
        let (outbox, lane) = (Arc::clone(&self.outbox), row.lane.clone());
        self.busy.insert(lane.clone());
        self.acts.spawn(async move {
            outbox.carry_out(row).await;
            lane
        });
    }

    /// Returns when every act has come to its end, or waits for LND.
    async fn wait(&mut self, lnd: &FakeLnd) {
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

    /// Whether a stream had something to tell.
    async fn hear_one(&mut self, lnd: &FakeLnd) -> Result<bool, String> {
        let holds = self.reader.list_holds_to_watch().await.map_err(text)?;
        let payments = self.reader.list_payments_to_follow().await.map_err(text)?;
        {
            let ledger = lnd.ledger();
            let now = ledger.news.len();
            for (order, hash) in holds {
                let first = News::Hold(ledger.hold(hash));
                self.streams.entry(hash).or_insert_with(|| Stream::new(order, first, now));
            }
            for (order, hash) in payments {
                let first = News::Payment(ledger.payment(hash));
                self.streams.entry(hash).or_insert_with(|| Stream::new(order, first, now));
            }
            for (hash, stream) in &mut self.streams {
                let fresh = ledger.news.iter().skip(stream.read).filter(|(of, _)| of == hash);
                stream.waiting.extend(fresh.map(|(_, news)| *news));
                stream.read = now;
            }
        }
        let Some((hash, stream)) =
            self.streams.iter_mut().find(|(_, stream)| !stream.waiting.is_empty())
        else {
            return Ok(false);
        };
        let (hash, order) = (*hash, stream.order);
        let Some(news) = stream.waiting.pop_front() else { return Ok(false) };
        if is_last(news) {
            self.streams.remove(&hash);
        }
        let told = match news {
            // What LND does not know it says nothing about; that a hold is open is no news.
            News::Hold(HoldStatus::Unknown | HoldStatus::Open)
            | News::Payment(PaymentStatus::Unknown) => return Ok(true),
            // What it is worth a stream does not tell.
            News::Hold(HoldStatus::Accepted { .. }) => {
                let Ok(status) = lnd.hold_status(hash).await else { return Ok(true) };
                Observation::Hold { hash, status }
            }
            News::Hold(status) => Observation::Hold { hash, status },
            News::Payment(status) => Observation::Payment { hash, status },
        };
        self.engine.apply(order, Input::Lightning(told)).await.map_err(text)?;
        Ok(true)
    }
}

impl Stream {
    fn new(order: OrderId, first: News, read: usize) -> Self {
        Self { order, waiting: VecDeque::from([first]), read }
    }
}

/// A stream ends with such news.
fn is_last(news: News) -> bool {
    match news {
        News::Hold(status) => {
            matches!(status, HoldStatus::Settled | HoldStatus::Canceled | HoldStatus::Unknown)
        }
        News::Payment(status) => !matches!(status, PaymentStatus::InFlight { .. }),
    }
}

/// Nobody is connected: the world takes the messages out of the outbox itself.
async fn messenger(
    reader: &Reader,
    engine: &Engine,
    clock: &Arc<ManualClock>,
) -> Result<Messenger, String> {
    let node = Keys::new(SecretKey::from_slice(&[7; 32]).map_err(text)?);
    let options = Options {
        urls: Vec::new(),
        transports: Vec::new(),
        max_event_bytes: 65_536,
        queue: 1,
        retry: Duration::from_secs(5),
    };
    let (relays, ..) = Relays::new(&options, &node).await.map_err(text)?;
    Ok(Messenger {
        relays,
        node,
        reader: reader.clone(),
        engine: engine.clone(),
        clock: Arc::clone(clock) as _,
        retention: Duration::from_hours(24),
        transports: vec![Transport::Direct],
    })
}

/// Makers have an identity of their own, everybody else wants full privacy.
fn sender_of(trade: u8, who: Who) -> Sender {
    let role = match who {
        Who::Maker => 1,
        Who::Taker => 2,
        Who::Rival => 3,
    };
    let key = [trade * 10 + role; 32];
    match who {
        Who::Maker => Sender {
            trade: TradeKey(key),
            identity: IdentityKey([trade + 200; 32]),
            trade_index: Some(1),
        },
        Who::Taker | Who::Rival => {
            Sender { trade: TradeKey(key), identity: IdentityKey(key), trade_index: None }
        }
    }
}

/// Everything is short, so that a list need not be long.
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
        payout_cltv_limit: 1_008,
    }
}

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
