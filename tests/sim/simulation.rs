//! The daemon without its sockets, and its environment: traders, relays, LND, time and randomness.
//!
//! Intake, engine, store, core, timers, reconciliation, health and the Lightning part of the outbox are
//! the real ones, on a real file. Only parts that would open a socket are replaced: users' messages
//! are real events in intake's channel, messages to users are delivered directly, and LND's streams
//! deliver updates at [`Op::Hear`]. Time passes only by operations; no timer of the runtime is used.

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
use crate::daemon::{CATCH_UP, Daemon, Environment, MARGIN, invoice_text};
use crate::lnd::{FakeLnd, Fault, Payee, hash_of};
use crate::ops::{End, Op, Random, Said, Who, is_buy};
use crate::relay::{Asked, LAST_TRADE, Relays, Request, Sent, Trader};

/// A fault that is planted to test whether the checks notice it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plant {
    /// A payment that LND does not know counts as failed.
    NotFoundMeansFailed,
    /// A call about a hold without an answer counts as a cancel.
    LostMeansCanceled,
    /// A message that no relay accepted counts as sent.
    DropsRefusedMessages,
    /// Anybody can release.
    AnybodyReleases,
    /// A request can reach LND long after the quiet time of payouts.
    ArrivesAfterTheQuiet,
    /// Acts that were started before a crash count as done.
    BegunMeansDone,
}

pub(crate) const START: Timestamp = Timestamp(1_800_000_000);
const HEIGHT: u32 = 1_000;
const AMOUNT: Sats = Sats(100_000);
/// Two percent, half from each side.
const OWED: Sats = Sats(99_000);
/// The most messages of one sender for one order that wait.
const PER_SENDER: u8 = 32;

/// Seconds between two heartbeats, short enough not to count as unreachable.
const BEAT_SECS: u16 = 20;
/// Beats between two reconciliations with LND, as in the daemon.
const COMPARE_EVERY: u64 = 3;
/// Beats within which everything must end once there are no more faults: most of an hour, in which the
/// longest wait ends, also after a clock change, every mined horizon passes and every debt is paid.
const END_BEATS: u16 = 150;
/// Blocks past the guard height after which a trade may end although no relay was reachable.
const UNREACHABLE_BLOCKS: u32 = 3;
/// A clock error in seconds up to which every message is accepted.
const FRESH: i64 = 300;

pub(crate) struct Simulation {
    environment: Environment,
    /// The clock of everybody else, including LND.
    time: Arc<ManualClock>,
    /// How many seconds the daemon's clock is ahead.
    clock_ahead: i64,
    pub(crate) lnd: Arc<FakeLnd>,
    plant: Option<Plant>,
    seed: u64,
    random: SeededEntropy,
    daemon: Daemon,
    relays: Relays,
    /// How many seconds each client's clock is ahead.
    client_clocks: BTreeMap<(u8, Who), i64>,
    made: BTreeSet<u8>,
    pub(crate) orders: BTreeMap<u8, OrderId>,
    /// The message number of each event; copies of a message have the same number.
    numbers: BTreeMap<String, u64>,
    /// Messages that were valid when sent, and must be decided once they are received.
    expected: Vec<Expected>,
    /// The traders who have flooded the relays since they were last reachable.
    flooded: BTreeSet<(u8, Who)>,
    /// Orders whose buyer sent `fiat-sent` in time, and their guard heights.
    pub(crate) fiat_sent: BTreeMap<OrderId, BlockHeight>,
    /// The messages to each key.
    pub(crate) told: BTreeMap<TradeKey, Vec<wire::Message>>,
    pub(crate) taken: BTreeSet<i64>,
    /// Orders whose seller sent `release`.
    pub(crate) released: BTreeSet<OrderId>,
    /// The trade of each payout hash.
    payout_of: BTreeMap<PaymentHash, u8>,
    refusals: u8,
    said: u64,
    beats: u64,
    /// Whether traders take every step to complete a trade.
    complete_all: bool,
    checker: Checker,
}

/// A message that must move its order on, whatever others send.
struct Expected {
    order: OrderId,
    by: (u8, Who),
    said: Said,
    /// Whether all clocks were right.
    is_plain: bool,
}

#[derive(Debug)]
struct SeededEntropy(std::sync::Mutex<Random>);

impl SeededEntropy {
    fn new(seed: u64) -> Self {
        Self(std::sync::Mutex::new(Random::new(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn draw(&self) -> [u8; 32] {
        let mut random = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut bytes = [0; 32];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&random.draw().to_le_bytes());
        }
        bytes
    }
}

/// The result of a list without errors.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// A hash of all decisions, messages and payments in their order.
    trace: [u8; 32],
    /// The number of orders by their end.
    pub(crate) as_what: BTreeMap<String, u32>,
}

/// Performs the list, waits until everything has ended, and returns the first error.
pub(crate) async fn run(ops: &[Op], seed: u64, plant: Option<Plant>) -> Result<Ended, String> {
    let mut simulation = Simulation::new(seed, plant).await?;
    for (at, op) in ops.iter().enumerate() {
        let done = match simulation.perform(*op).await {
            Ok(()) => simulation.check().await,
            Err(wrong) => Err(wrong),
        };
        done.map_err(|wrong| format!("after op {at}, {op:?}: {wrong}"))?;
    }
    simulation.finish().await.map_err(|wrong| format!("at the end: {wrong}"))?;
    Ok(Ended { trace: simulation.trace(), as_what: simulation.checker.ends() })
}

impl Simulation {
    async fn new(seed: u64, plant: Option<Plant>) -> Result<Self, String> {
        let time = Arc::new(ManualClock::at(START));
        let lnd = Arc::new(FakeLnd::new(Arc::clone(&time), HEIGHT, plant));
        Self::open(folder()?, time, lnd, seed, seed, plant).await
    }

    /// A simulation on the database in `folder`. `seed` determines the traders, `drawn` all randomness
    /// from now on.
    async fn open(
        folder: TempDir,
        time: Arc<ManualClock>,
        lnd: Arc<FakeLnd>,
        seed: u64,
        drawn: u64,
        plant: Option<Plant>,
    ) -> Result<Self, String> {
        let clock = Arc::new(ManualClock::at(time.now()));
        let entropy = Arc::new(SeededEntropy::new(!drawn)) as _;
        let environment = Environment { folder, clock, lnd: Arc::clone(&lnd), entropy };
        let random = SeededEntropy::new(drawn);
        let relays = Relays::new([1, 2, 5][usize::from(random.draw()[0] % 3)]);
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
            random,
            daemon,
            relays,
            client_clocks: BTreeMap::new(),
            made: BTreeSet::new(),
            orders: BTreeMap::new(),
            numbers: BTreeMap::new(),
            expected: Vec::new(),
            flooded: BTreeSet::new(),
            fiat_sent: BTreeMap::new(),
            told: BTreeMap::new(),
            taken: BTreeSet::new(),
            released: BTreeSet::new(),
            payout_of: BTreeMap::new(),
            refusals: 0,
            said: 0,
            beats: 0,
            complete_all: false,
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
            Op::PeersLeave => self.lnd.ledger().has_no_channel = true,
            Op::PeersReturn => self.lnd.ledger().has_no_channel = false,
            Op::Advance { secs } => self.advance(secs).await?,
            Op::Offline { secs } => self.be_offline(secs).await?,
            Op::RelaysLeave => self.lose_relays().await,
            Op::RelaysReturn => self.find_relays().await?,
            Op::Clock { ahead } => self.set_clock(ahead).await,
            Op::ClientClock { trade, who, ahead } => {
                _ = self.client_clocks.insert((trade, who), ahead.into());
            }
            Op::Flood { trade, who, times } => self.flood(trade, who, times).await?,
            Op::LndRefuses => self.lnd.ledger().refuses = true,
            Op::LndPaysAgain => self.lnd.ledger().refuses = false,
            Op::Mine { blocks } => {
                self.lnd.ledger().mine(blocks.into());
                self.daemon.monitor.check().await;
                self.daemon.look().await?;
                self.drop_late_fiat_sent();
            }
            Op::RelayRefuses { times } => self.refusals = times,
            Op::Crash { steps } => self.lnd.ledger().steps_to_crash = Some(steps),
            Op::Restart => self.crash().await?,
            Op::Reconcile => self.daemon.compare().await?,
        }
        self.settle().await?;
        self.find_new_orders().await
    }

    async fn check(&mut self) -> Result<(), String> {
        if self.clock_ahead == 0 {
            self.check_expected(false).await?;
        }
        let mut checker = std::mem::take(&mut self.checker);
        let verdict = checker.check(self).await;
        self.checker = checker;
        verdict
    }

    /// Without more faults, lets traders and time end every trade.
    async fn finish(&mut self) -> Result<(), String> {
        self.lnd.ledger().clear_faults();
        self.refusals = 0;
        self.client_clocks.clear();
        self.set_clock(0).await;
        self.lose_relays().await;
        self.find_relays().await?;
        self.check_expected(true).await?;
        self.run_to_the_end().await
    }

    async fn run_to_the_end(&mut self) -> Result<(), String> {
        for beat in 0..END_BEATS {
            self.settle().await?;
            self.hear(u8::MAX).await?;
            self.lnd.ledger().resolve(0, End::Paid);
            self.daemon.compare().await?;
            self.settle().await?;
            self.check().await?;
            self.find_new_orders().await?;
            if self.checker.is_over() {
                break;
            }
            for (trade, id) in self.orders.clone() {
                self.act_for_traders(trade, id).await?;
            }
            if self.complete_all {
                self.settle().await?;
            }
            if beat % 3 == 2 {
                self.lnd.ledger().mine(6);
            }
            self.advance(BEAT_SECS).await?;
        }
        let mut checker = std::mem::take(&mut self.checker);
        let verdict = checker.check_end(self).await;
        self.checker = checker;
        verdict
    }

    /// The next step of an honest trader to end the trade.
    async fn act_for_traders(&mut self, trade: u8, id: OrderId) -> Result<(), String> {
        let Some(order) = self.daemon.reader.find_order(id).await.map_err(text)? else {
            return Ok(());
        };
        let (buyer, seller) = (order.buyer().copied(), order.seller().copied());
        let needs = order.payout(PayoutPurpose::Buyer).map(|payout| payout.state)
            == Some(PayoutState::NeedsInvoice);
        let (sender, what) = match (&order.state, buyer, seller) {
            (OrderState::Pending, ..) if self.complete_all => {
                return self.say(trade, Who::Rival, Said::TakeWithInvoice).await;
            }
            (OrderState::AwaitingHold { hash, .. }, ..) if self.complete_all => {
                self.lnd.ledger().pay(*hash, 0, 0);
                return Ok(());
            }
            (OrderState::AwaitingInvoice { .. }, Some(buyer), _) if self.complete_all => {
                (buyer, Said::AddInvoice)
            }
            (OrderState::FiatSent { .. }, _, Some(seller)) => (seller, Said::Release),
            (OrderState::Active { .. }, Some(buyer), _)
                if self.complete_all || trade.is_multiple_of(2) =>
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
            None => Err("an order has an unknown party".to_owned()),
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

    /// Records what must follow from a message. Returns the sender that the daemon sees.
    async fn note(&mut self, trade: u8, id: OrderId, who: Who, said: Said) -> Result<Who, String> {
        let order = self.daemon.reader.find_order(id).await.map_err(text)?;
        let Some(order) = order else { return Ok(who) };
        let key = self.trader(trade, who).key();
        let is_seller = order.seller().is_some_and(|seller| seller.trade == key);
        let is_buyer = order.buyer().is_some_and(|buyer| buyer.trade == key);
        let ahead = self.client_clocks.get(&(trade, who)).copied().unwrap_or_default();
        let is_plain = self.clock_ahead == 0 && ahead.abs() <= FRESH;
        let by = (trade, who);
        match (said, &order.state) {
            _ if self.flooded.contains(&by) => {}
            (Said::FiatSent, OrderState::Active { held }) if is_buyer => {
                let guard = held.guard_height(MARGIN);
                if self.lnd.ledger().height() < guard && !self.clock_is_far_behind() {
                    self.fiat_sent.insert(id, guard);
                }
                self.expected.push(Expected { order: id, by, said, is_plain });
            }
            (Said::Release, OrderState::FiatSent { .. }) if is_seller => {
                self.expected.push(Expected { order: id, by, said, is_plain });
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
        let ahead = self.client_clocks.get(&(trade, who)).copied().unwrap_or_default();
        let at = Timestamp(self.time.now().0 + ahead);
        let request = Request { order, id: self.said, what };
        let sent = self.trader(trade, who).write(request, &self.relays.node, at);
        self.numbers.insert(sent.event.id.to_hex(), self.said);
        self.publish(sent).await
    }

    /// The relays store it and send it to the daemon if they are reachable.
    async fn publish(&mut self, sent: Sent) -> Result<(), String> {
        let event = sent.event.clone();
        self.relays.stored.push(sent);
        for _ in 0..if self.relays.are_reachable { self.relays.count } else { 0 } {
            self.daemon.receive(event.clone()).await?;
        }
        self.find_new_orders().await
    }

    async fn say_again(&mut self, back: u8) -> Result<(), String> {
        let at = self.relays.stored.len().checked_sub(usize::from(back) + 1);
        let Some(sent) = at.map(|at| self.relays.stored[at].clone()) else { return Ok(()) };
        let number = self.number_of(&sent.event.id.to_hex()).ok_or("an unknown event")?;
        let again = sent.again(&self.relays.node, self.time.now());
        self.numbers.insert(again.event.id.to_hex(), number);
        self.publish(again).await
    }

    /// Many messages of one party without effect.
    async fn flood(&mut self, trade: u8, who: Who, times: u8) -> Result<(), String> {
        for _ in 0..times {
            self.say(trade, who, Said::Dispute).await?;
        }
        let is_kept = !self.relays.are_reachable || self.clock_ahead != 0;
        if is_kept && times >= PER_SENDER {
            self.drop_displaced(trade, who);
        }
        Ok(())
    }

    /// Of one sender's stored messages for an order only so many are read: a flood displaces messages of
    /// the same sender, which need not be decided then.
    fn drop_displaced(&mut self, trade: u8, who: Who) {
        self.flooded.insert((trade, who));
        for message in self.expected.extract_if(.., |message| message.by == (trade, who)) {
            if message.said == Said::FiatSent {
                self.fiat_sent.remove(&message.order);
            }
        }
    }

    fn trader(&self, trade: u8, who: Who) -> Trader {
        Trader::of(trade, who, self.seed)
    }

    /// The order whose payout has this hash.
    pub(crate) fn order_of(&self, hash: PaymentHash) -> Option<OrderId> {
        self.orders.get(self.payout_of.get(&hash)?).copied()
    }

    /// The message number of an event.
    pub(crate) fn number_of(&self, event: &str) -> Option<u64> {
        self.numbers.get(event).copied()
    }

    /// Finds the ids of new orders.
    async fn find_new_orders(&mut self) -> Result<(), String> {
        if self.orders.len() == self.made.len() {
            return Ok(());
        }
        for (maker, id) in self.checker.makers().await? {
            let made = self.made.iter().copied();
            let of = made.clone().find(|trade| self.trader(*trade, Who::Maker).key() == maker);
            let trade = of.ok_or("an order of an unknown maker")?;
            self.orders.insert(trade, id);
        }
        Ok(())
    }

    /// A new invoice for a payout. Some expire soon, some have no amount.
    fn invoice(&mut self, trade: u8) -> String {
        let preimage = Preimage(self.random.draw());
        let (hash, traits) = (hash_of(preimage), preimage.0[0]);
        let lives = Duration::from_secs(if traits.is_multiple_of(3) { 200 } else { 86_400 });
        let expires_at = self.time.now().after(lives);
        let amount = (!traits.is_multiple_of(2)).then_some(OWED);
        self.lnd.ledger().payees.insert(hash, Payee { preimage, amount, expires_at });
        self.payout_of.insert(hash, trade);
        invoice_text(hash, amount, expires_at)
    }

    /// The seller pays the newest hold invoice that it received.
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

    /// Delivers updates of all payments, also of those that are not watched any more.
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
            let step = left.min(BEAT_SECS);
            left -= step;
            self.pass(step);
            self.beats += 1;
            self.daemon.monitor.check().await;
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

    /// Sets the daemon's clock. A heartbeat follows at once.
    async fn set_clock(&mut self, ahead: i32) {
        self.clock_ahead = ahead.into();
        if self.clock_is_far_behind() {
            self.fiat_sent.clear();
        }
        self.environment.clock.set(Timestamp(self.time.now().0 + self.clock_ahead));
        self.daemon.beat().await;
    }

    /// Whether messages are dated further ahead than any is honoured: they wait until the clock is right,
    /// and blocks do not wait for them (D41).
    fn clock_is_far_behind(&self) -> bool {
        self.clock_ahead < -CATCH_UP.as_secs().cast_signed()
    }

    /// Without a reachable relay for so long, a `fiat-sent` may arrive too late.
    fn drop_late_fiat_sent(&mut self) {
        if self.relays.are_reachable {
            return;
        }
        let height = self.lnd.ledger().height();
        self.fiat_sent.retain(|_, guard| guard.0 + UNREACHABLE_BLOCKS > height.0);
    }

    /// Messages that were valid when sent are decided as soon as they are received.
    async fn check_expected(&mut self, at_the_end: bool) -> Result<(), String> {
        if !self.relays.are_reachable {
            return Ok(());
        }
        let (now, later) = std::mem::take(&mut self.expected)
            .into_iter()
            .partition::<Vec<_>, _>(|message| message.is_plain || at_the_end);
        self.expected = later;
        for Expected { order: id, said, .. } in now {
            let order = self.daemon.reader.find_order(id).await.map_err(text)?;
            let still_waits = order.is_some_and(|order| match order.state {
                OrderState::Active { .. } => said == Said::FiatSent,
                OrderState::FiatSent { .. } => said == Said::Release,
                _ => false,
            });
            if still_waits {
                return Err(format!("INV-9: {said:?} of {id} was received and is not decided"));
            }
        }
        Ok(())
    }

    /// Carries out every due act, one after the other, until only hanging calls are left.
    async fn settle(&mut self) -> Result<(), String> {
        loop {
            self.daemon.wait(&self.lnd).await;
            if self.lnd.ledger().steps_to_crash == Some(0) && self.lnd.ledger().waiting() > 0 {
                self.crash().await?;
                continue;
            }
            let Some(row) = self.daemon.next_act().await? else { return Ok(()) };
            if self.lnd.crashes_here() {
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
                // The relay has it, and the daemon can crash before it knows that.
                if self.lnd.crashes_here() {
                    return self.crash().await;
                }
                self.daemon.engine.finish_act(id, None).await.map_err(text)?;
            }
        }
        Ok(())
    }

    /// A crash: only what is on disk remains.
    async fn crash(&mut self) -> Result<(), String> {
        self.lnd.ledger().steps_to_crash = None;
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

    /// The buyers of successful trades.
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

/// In memory if possible.
fn folder() -> Result<TempDir, String> {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.map_err(text)
}

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
