//! The daemon without its sockets, and everybody around it: traders, relays, LND, time and chance.
//!
//! Intake, engine, store, core, timers, comparison, health and the Lightning half of the outbox are
//! the real ones, on a real file. Only what would open a socket is played here: users' messages are
//! real events that go into intake's channel, messages to users go straight into their hands, and
//! streams tell what [`Op::Hear`] says. Time moves when an operation says so; the runtime's timers are
//! never waited for.

mod databases;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mostrod::clock::{Clock as _, ManualClock};
use mostrod::engine::Write;
use mostrod::entropy::Entropy;
use mostrod::store::{Act, OutboxRow};
use mostrod::wire::{self, Action, Payload, SmallOrder};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use trade::{
    BlockHeight, Input, Observation, OrderId, OrderState, Outcome, PaymentHash, PayoutPurpose,
    PayoutState, Preimage, Sats, Timestamp, TradeKey,
};

use crate::check::Checker;
use crate::daemon::{Daemon, Environment, MARGIN, invoice_text};
use crate::lnd::{FakeLnd, Fault, Payee, hash_of};
use crate::ops::{Chance, End, Op, Said, Who, is_buy};
use crate::relay::{Asked, LAST_TRADE, Relays, Request, Sent, Trader};

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
const AMOUNT: Sats = Sats(100_000);
/// Two percent, half from each side.
const OWED: Sats = Sats(99_000);
/// How many messages of one sender for one order wait at most.
const PER_SENDER: u8 = 32;

/// From one heartbeat to the next, short enough not to count as unreachable.
const BEAT: u16 = 20;
/// Beats between two comparisons with LND, as in the daemon.
const COMPARE_EVERY: u64 = 3;
/// The patience with a simulation in which nothing goes wrong any more: most of an hour of its time, in
/// which the longest of the waits ends, also after the clock was set, every mined horizon passes and
/// every debt is paid.
const LAST_BEATS: u16 = 150;
/// Blocks past the guard height after which a trade may end although no relay could be reached (D40).
const UNREACHABLE_BLOCKS: u32 = 3;
/// A clock that is this wrong changes nothing of what is honoured (D5).
const FRESH: i64 = 300;

pub(crate) struct Simulation {
    environment: Environment,
    /// What the clock of everybody else shows, LND's among them.
    time: Arc<ManualClock>,
    /// How far the clock of the daemon's machine is ahead.
    clock_ahead: i64,
    pub(crate) lnd: Arc<FakeLnd>,
    plant: Option<Plant>,
    seed: u64,
    chance: Seeded,
    daemon: Daemon,
    relays: Relays,
    /// How far each client's clock is ahead.
    phones: BTreeMap<(u8, Who), i64>,
    made: BTreeSet<u8>,
    pub(crate) orders: BTreeMap<u8, OrderId>,
    /// Which message each event carries: the copies of one have its number.
    numbers: BTreeMap<String, u64>,
    /// What was said while it was the speaker's turn, and has to be decided once it can be heard.
    owed: Vec<Owed>,
    /// Who has flooded the relays since they were last reachable.
    flooded: BTreeSet<(u8, Who)>,
    /// Orders whose buyer said in time that fiat was sent, and their guard heights.
    pub(crate) fiat_sent: BTreeMap<OrderId, BlockHeight>,
    /// What each key was told.
    pub(crate) told: BTreeMap<TradeKey, Vec<wire::Message>>,
    pub(crate) taken: BTreeSet<i64>,
    /// Orders whose own seller asked for the release.
    pub(crate) released: BTreeSet<OrderId>,
    /// The trade whose payout goes to which hash.
    payout_of: BTreeMap<PaymentHash, u8>,
    refusals: u8,
    said: u64,
    beats: u64,
    /// Whether traders do all that they can to bring a trade to its end.
    are_eager: bool,
    checker: Checker,
}

/// A word that moves an order on, whoever else says what.
struct Owed {
    order: OrderId,
    by: (u8, Who),
    said: Said,
    /// Whether all clocks were right.
    is_plain: bool,
}

#[derive(Debug)]
struct Seeded(std::sync::Mutex<Chance>);

impl Seeded {
    fn new(seed: u64) -> Self {
        Self(std::sync::Mutex::new(Chance::new(seed)))
    }
}

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
    let mut simulation = Simulation::new(seed, plant).await?;
    for (at, op) in ops.iter().enumerate() {
        let done = match simulation.perform(*op).await {
            Ok(()) => simulation.check().await,
            Err(wrong) => Err(wrong),
        };
        done.map_err(|wrong| format!("after op {at}, {op:?}: {wrong}"))?;
    }
    simulation.come_to_an_end().await.map_err(|wrong| format!("at the end: {wrong}"))?;
    Ok(Ended { trace: simulation.trace(), as_what: simulation.checker.ends() })
}

impl Simulation {
    async fn new(seed: u64, plant: Option<Plant>) -> Result<Self, String> {
        let time = Arc::new(ManualClock::at(START));
        let lnd = Arc::new(FakeLnd::new(Arc::clone(&time), HEIGHT, plant));
        Self::open(folder()?, time, lnd, seed, seed, plant).await
    }

    /// Everybody around the database in `folder`. `seed` says who the traders are, `drawn` what is
    /// drawn from now on.
    async fn open(
        folder: TempDir,
        time: Arc<ManualClock>,
        lnd: Arc<FakeLnd>,
        seed: u64,
        drawn: u64,
        plant: Option<Plant>,
    ) -> Result<Self, String> {
        let clock = Arc::new(ManualClock::at(time.now()));
        let entropy = Arc::new(Seeded::new(!drawn)) as _;
        let environment = Environment { folder, clock, lnd: Arc::clone(&lnd), entropy };
        let chance = Seeded::new(drawn);
        let relays = Relays::new([1, 2, 5][usize::from(chance.draw()[0] % 3)]);
        let mut daemon = Daemon::start(&environment, &relays.node).await?;
        daemon.connect(&relays).await?;
        let checker = Checker::open(&environment.folder.path().join("trades.db")).await?;
        Ok(Self {
            environment,
            time,
            clock_ahead: 0,
            lnd,
            plant,
            seed,
            chance,
            daemon,
            relays,
            phones: BTreeMap::new(),
            made: BTreeSet::new(),
            orders: BTreeMap::new(),
            numbers: BTreeMap::new(),
            owed: Vec::new(),
            flooded: BTreeSet::new(),
            fiat_sent: BTreeMap::new(),
            told: BTreeMap::new(),
            taken: BTreeSet::new(),
            released: BTreeSet::new(),
            payout_of: BTreeMap::new(),
            refusals: 0,
            said: 0,
            beats: 0,
            are_eager: false,
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
            Op::PeersLeave => self.lnd.ledger().is_alone = true,
            Op::PeersReturn => self.lnd.ledger().is_alone = false,
            Op::Advance { secs } => self.advance(secs).await?,
            Op::Offline { secs } => self.be_offline(secs).await?,
            Op::RelaysLeave => self.lose_relays().await,
            Op::RelaysReturn => self.find_relays().await?,
            Op::Clock { ahead } => self.set_clock(ahead).await,
            Op::Phone { trade, who, ahead } => _ = self.phones.insert((trade, who), ahead.into()),
            Op::Flood { trade, who, times } => self.flood(trade, who, times).await?,
            Op::LndRefuses => self.lnd.ledger().refuses = true,
            Op::LndPaysAgain => self.lnd.ledger().refuses = false,
            Op::Mine { blocks } => {
                self.lnd.ledger().mine(blocks.into());
                self.daemon.monitor.ask().await;
                self.daemon.look().await?;
                self.excuse();
            }
            Op::RelayRefuses { times } => self.refusals = times,
            Op::Crash { steps } => self.lnd.ledger().dies_in = Some(steps),
            Op::Restart => self.crash().await?,
            Op::Reconcile => self.daemon.compare().await?,
        }
        self.settle().await?;
        self.learn().await
    }

    async fn check(&mut self) -> Result<(), String> {
        if self.clock_ahead == 0 {
            self.check_owed(false).await?;
        }
        let mut checker = std::mem::take(&mut self.checker);
        let verdict = checker.check(self).await;
        self.checker = checker;
        verdict
    }

    /// No more faults: whoever can end a trade does, and time does the rest.
    async fn come_to_an_end(&mut self) -> Result<(), String> {
        self.lnd.ledger().heal();
        self.refusals = 0;
        self.phones.clear();
        self.set_clock(0).await;
        self.lose_relays().await;
        self.find_relays().await?;
        self.check_owed(true).await?;
        self.run_out().await
    }

    async fn run_out(&mut self) -> Result<(), String> {
        for beat in 0..LAST_BEATS {
            self.settle().await?;
            self.hear(u8::MAX).await?;
            self.lnd.ledger().resolve(0, End::Paid);
            self.daemon.compare().await?;
            self.settle().await?;
            self.check().await?;
            self.learn().await?;
            if self.checker.is_over() {
                break;
            }
            for (trade, id) in self.orders.clone() {
                self.help(trade, id).await?;
            }
            if self.are_eager {
                self.settle().await?;
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
        let needs = order.payout(PayoutPurpose::Buyer).map(|payout| payout.state)
            == Some(PayoutState::NeedsInvoice);
        let (sender, what) = match (&order.state, buyer, seller) {
            (OrderState::Pending, ..) if self.are_eager => {
                return self.say(trade, Who::Rival, Said::TakeWithInvoice).await;
            }
            (OrderState::AwaitingHold { hash, .. }, ..) if self.are_eager => {
                self.lnd.ledger().pay(*hash, 0, 0);
                return Ok(());
            }
            (OrderState::AwaitingInvoice { .. }, Some(buyer), _) if self.are_eager => {
                (buyer, Said::AddInvoice)
            }
            (OrderState::FiatSent { .. }, _, Some(seller)) => (seller, Said::Release),
            (OrderState::Active { .. }, Some(buyer), _)
                if self.are_eager || trade.is_multiple_of(2) =>
            {
                (buyer, Said::FiatSent)
            }
            (OrderState::PayingBuyer, Some(buyer), _) if needs => (buyer, Said::AddInvoice),
            _ => return Ok(()),
        };
        let who = [Who::Maker, Who::Taker, Who::Rival]
            .into_iter()
            .find(|who| self.trader(trade, *who).key() == sender.trade);
        match who {
            Some(who) => self.say(trade, who, what).await,
            None => Err("an order has a party that nobody is".to_owned()),
        }
    }

    async fn make(&mut self, trade: u8) -> Result<(), String> {
        if trade > LAST_TRADE || !self.made.insert(trade) {
            return Ok(());
        }
        let (kind, has_invoice) = (is_buy(trade), trade % 4 == 3);
        let new = Box::new(SmallOrder {
            id: None,
            kind: Some(if kind { wire::Kind::Buy } else { wire::Kind::Sell }),
            status: None,
            amount: i64::try_from(AMOUNT.0).map_err(text)?,
            fiat_code: "EUR".to_owned(),
            min_amount: None,
            max_amount: None,
            fiat_amount: 90,
            payment_method: "face to face".to_owned(),
            premium: 0,
            buyer_trade_pubkey: None,
            seller_trade_pubkey: None,
            buyer_invoice: has_invoice.then(|| wire::Private(self.invoice(trade))),
            created_at: None,
            expires_at: None,
            cashu_mint_url: None,
        });
        self.speak(trade, Who::Maker, None, Asked::New(new)).await
    }

    async fn say(&mut self, trade: u8, who: Who, what: Said) -> Result<(), String> {
        let Some(id) = self.orders.get(&trade).copied() else { return Ok(()) };
        let what = match what {
            Said::Take | Said::TakeWithInvoice if is_buy(trade) => Said::TakeBuy,
            what => what,
        };
        let invoice = match what {
            Said::TakeWithInvoice | Said::AddInvoice => self.invoice(trade),
            _ => String::new(),
        };
        let who = self.note(trade, id, who, what).await?;
        self.speak(trade, who, Some(id), Asked::Say(what, &invoice)).await
    }

    /// Remembers what must come of a word that is said now. Who speaks, as far as the daemon can tell.
    async fn note(&mut self, trade: u8, id: OrderId, who: Who, said: Said) -> Result<Who, String> {
        let order = self.daemon.reader.find_order(id).await.map_err(text)?;
        let Some(order) = order else { return Ok(who) };
        let key = self.trader(trade, who).key();
        let is_seller = order.seller().is_some_and(|seller| seller.trade == key);
        let is_buyer = order.buyer().is_some_and(|buyer| buyer.trade == key);
        let ahead = self.phones.get(&(trade, who)).copied().unwrap_or_default();
        let is_plain = self.clock_ahead == 0 && ahead.abs() <= FRESH;
        let by = (trade, who);
        match (said, &order.state) {
            _ if self.flooded.contains(&by) => {}
            (Said::FiatSent, OrderState::Active { held }) if is_buyer => {
                let guard = held.guard_height(MARGIN);
                if self.lnd.ledger().height() < guard {
                    self.fiat_sent.insert(id, guard);
                }
                self.owed.push(Owed { order: id, by, said, is_plain });
            }
            (Said::Release, OrderState::FiatSent { .. }) if is_seller => {
                self.owed.push(Owed { order: id, by, said, is_plain });
            }
            _ => {}
        }
        if said == Said::Release {
            if is_seller {
                self.released.insert(id);
            } else if self.plant == Some(Plant::AnybodyReleases) {
                let all = [Who::Maker, Who::Taker, Who::Rival].into_iter();
                let seller = order.seller().map(|seller| seller.trade);
                let of = |who: &Who| Some(self.trader(trade, *who).key()) == seller;
                return Ok(all.clone().find(of).unwrap_or(who));
            }
        }
        Ok(who)
    }

    async fn speak(
        &mut self,
        trade: u8,
        who: Who,
        order: Option<OrderId>,
        what: Asked<'_>,
    ) -> Result<(), String> {
        self.said += 1;
        let ahead = self.phones.get(&(trade, who)).copied().unwrap_or_default();
        let at = Timestamp(self.time.now().0 + ahead);
        let request = Request { order, id: self.said, what };
        let sent = self.trader(trade, who).write(request, &self.relays.node, at);
        self.numbers.insert(sent.event.id.to_hex(), self.said);
        self.publish(sent).await
    }

    /// A relay keeps it, and hands it on to whoever listens.
    async fn publish(&mut self, sent: Sent) -> Result<(), String> {
        let event = sent.event.clone();
        self.relays.stored.push(sent);
        for _ in 0..if self.relays.are_reachable { self.relays.count } else { 0 } {
            self.daemon.receive(event.clone()).await?;
        }
        self.learn().await
    }

    async fn say_again(&mut self, back: u8) -> Result<(), String> {
        let at = self.relays.stored.len().checked_sub(usize::from(back) + 1);
        let Some(sent) = at.map(|at| self.relays.stored[at].clone()) else { return Ok(()) };
        let number = self.number_of(&sent.event.id.to_hex()).ok_or("an event that nobody sent")?;
        let again = sent.again(&self.relays.node, self.time.now());
        self.numbers.insert(again.event.id.to_hex(), number);
        self.publish(again).await
    }

    /// So many words of one party that change nothing.
    async fn flood(&mut self, trade: u8, who: Who, times: u8) -> Result<(), String> {
        for _ in 0..times {
            self.say(trade, who, Said::Dispute).await?;
        }
        let is_kept = !self.relays.are_reachable || self.clock_ahead != 0;
        if is_kept && times >= PER_SENDER {
            self.excuse_flooder(trade, who);
        }
        Ok(())
    }

    /// Of what relays have kept of one sender for one order, so much is read: who floods pushes out
    /// words of his own, but nobody else's (D42).
    fn excuse_flooder(&mut self, trade: u8, who: Who) {
        self.flooded.insert((trade, who));
        for owed in self.owed.extract_if(.., |owed| owed.by == (trade, who)) {
            if owed.said == Said::FiatSent {
                self.fiat_sent.remove(&owed.order);
            }
        }
    }

    fn trader(&self, trade: u8, who: Who) -> Trader {
        Trader::of(trade, who, self.seed)
    }

    /// Whose payout goes to this hash.
    pub(crate) fn order_of(&self, hash: PaymentHash) -> Option<OrderId> {
        self.orders.get(self.payout_of.get(&hash)?).copied()
    }

    /// Which message an event carries.
    pub(crate) fn number_of(&self, event: &str) -> Option<u64> {
        self.numbers.get(event).copied()
    }

    /// Reads in the public book which orders there are.
    async fn learn(&mut self) -> Result<(), String> {
        if self.orders.len() == self.made.len() {
            return Ok(());
        }
        for (maker, id) in self.checker.makers().await? {
            let made = self.made.iter().copied();
            let of = made.clone().find(|trade| self.trader(*trade, Who::Maker).key() == maker);
            let trade = of.ok_or("an order that nobody made")?;
            self.orders.insert(trade, id);
        }
        Ok(())
    }

    /// A place to be paid that nobody named before. Some expire soon, some have no amount.
    fn invoice(&mut self, trade: u8) -> String {
        let preimage = Preimage(self.chance.draw());
        let (hash, traits) = (hash_of(preimage), preimage.0[0]);
        let lives = Duration::from_secs(if traits.is_multiple_of(3) { 200 } else { 86_400 });
        let expires_at = self.time.now().after(lives);
        let amount = (!traits.is_multiple_of(2)).then_some(OWED);
        self.lnd.ledger().payees.insert(hash, Payee { preimage, amount, expires_at });
        self.payout_of.insert(hash, trade);
        invoice_text(hash, amount, expires_at)
    }

    /// A seller can only pay what it was sent.
    fn pay(&mut self, trade: u8, over: u8, lacks: u64) {
        let sellers: &[Who] = if is_buy(trade) { &[Who::Taker, Who::Rival] } else { &[Who::Maker] };
        for who in sellers {
            let told = self.told.get(&self.trader(trade, *who).key());
            let asked = told.into_iter().flatten().rev().find_map(|message| {
                match (message.body.action, &message.body.payload) {
                    (Action::PayInvoice, Some(Payload::PaymentRequest(_, bolt11, _))) => {
                        PaymentHash::from_hex(&bolt11.0)
                    }
                    _ => None,
                }
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
        for (hash, trade) in &self.payout_of {
            let Some(order) = self.orders.get(trade) else { continue };
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
            self.pass(step);
            self.beats += 1;
            self.daemon.monitor.ask().await;
            self.daemon.beat().await;
            if self.beats.is_multiple_of(COMPARE_EVERY) {
                self.daemon.compare().await?;
            }
            self.daemon.look().await?;
            self.settle().await?;
        }
        Ok(())
    }

    fn pass(&self, secs: u16) {
        for clock in [&self.time, &self.environment.clock] {
            clock.advance(Duration::from_secs(secs.into()));
        }
    }

    async fn be_offline(&mut self, secs: u16) -> Result<(), String> {
        self.lose_relays().await;
        self.pass(secs);
        self.daemon.look().await?;
        self.settle().await?;
        self.find_relays().await
    }

    async fn lose_relays(&mut self) {
        self.relays.are_reachable = false;
        self.daemon.disconnect().await;
    }

    async fn find_relays(&mut self) -> Result<(), String> {
        if !std::mem::replace(&mut self.relays.are_reachable, true) {
            self.daemon.connect(&self.relays).await?;
            self.flooded.clear();
        }
        Ok(())
    }

    /// Sets the clock of the daemon's machine. The next heartbeat comes before anything else does.
    async fn set_clock(&mut self, ahead: i32) {
        self.clock_ahead = ahead.into();
        self.environment.clock.set(Timestamp(self.time.now().0 + self.clock_ahead));
        self.daemon.beat().await;
    }

    /// No relay could be reached for so long that what was said may come too late (D40).
    fn excuse(&mut self) {
        if self.relays.are_reachable {
            return;
        }
        let height = self.lnd.ledger().height();
        self.fiat_sent.retain(|_, guard| guard.0 + UNREACHABLE_BLOCKS > height.0);
    }

    /// What was said while it was the speaker's turn is decided as soon as it is heard.
    async fn check_owed(&mut self, at_the_end: bool) -> Result<(), String> {
        if !self.relays.are_reachable {
            return Ok(());
        }
        let (now, later) = std::mem::take(&mut self.owed)
            .into_iter()
            .partition::<Vec<_>, _>(|owed| owed.is_plain || at_the_end);
        self.owed = later;
        for Owed { order: id, said, .. } in now {
            let order = self.daemon.reader.find_order(id).await.map_err(text)?;
            let still_waits = order.is_some_and(|order| match order.state {
                OrderState::Active { .. } => said == Said::FiatSent,
                OrderState::FiatSent { .. } => said == Said::Release,
                _ => false,
            });
            if still_waits {
                return Err(format!("INV-9: {said:?} of {id} was said, and is not decided"));
            }
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
            let Some(row) = self.daemon.next_act().await? else { return Ok(()) };
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
            Act::Notify { to, text: said } => {
                let is_refused = self.refusals > 0;
                self.refusals = self.refusals.saturating_sub(1);
                if is_refused && self.plant != Some(Plant::DropsRefusedMessages) {
                    let at = self.daemon.now().after(Duration::from_secs(1));
                    self.daemon.engine.write(Write::RetryAct { id, at }).await.map_err(text)?;
                    return Ok(());
                }
                if !is_refused {
                    self.taken.insert(id.0);
                    let message = wire::Message::parse(said).map_err(text)?;
                    self.told.entry(*to).or_default().push(message);
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
        self.daemon.die().await;
        self.daemon = Daemon::start(&self.environment, &self.relays.node).await?;
        if self.relays.are_reachable {
            self.daemon.connect(&self.relays).await?;
        }
        if self.plant == Some(Plant::BegunMeansDone) {
            let due = self.daemon.due().await?;
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

/// In memory where there is such a place.
fn folder() -> Result<TempDir, String> {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.map_err(text)
}

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
