//! The daemon without its sockets, and its environment: traders, relays, LND, time and randomness.
//!
//! Intake, engine, store, core, timers, reconciliation, health and the Lightning part of the outbox are
//! the real ones, on a real file. Only parts that would open a socket are replaced: users' messages
//! are real events in intake's channel, messages to users are delivered directly, and LND's streams
//! deliver updates at [`Op::DeliverUpdates`]. Time passes only by operations; no timer of the runtime is used.

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
use crate::ops::{ClientAction, End, Op, Random, Who, is_buy};
use crate::relay::{LAST_TRADE, Relays, Request, RequestContent, Sent, Trader};

/// A fault that is planted to test whether the checks detect it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plant {
    /// A payment that LND does not know counts as failed.
    NotFoundMeansFailed,
    /// A call about a hold without an answer counts as canceled.
    LostMeansCanceled,
    /// A message that no relay accepted counts as sent.
    DropsRefusedMessages,
    /// Anybody can release.
    AnybodyReleases,
    /// A request can reach LND long after the quiet time of payouts.
    ArrivesAfterQuietTime,
    /// Acts that were started before a crash count as done.
    StartedMeansDone,
}

pub(crate) const START: Timestamp = Timestamp(1_800_000_000);
const HEIGHT: u32 = 1_000;
const AMOUNT: Sats = Sats(100_000);
/// Two percent, half from each side.
const OWED: Sats = Sats(99_000);
/// How many messages of one sender for one order may wait.
const PER_SENDER: u8 = 32;

/// Seconds between two heartbeats, short enough not to count as unreachable.
const HEARTBEAT_SECS: u16 = 20;
/// Heartbeats between two reconciliations with LND, as in the daemon.
const RECONCILE_EVERY: u64 = 3;
/// Heartbeats within which everything must end once there are no more faults: most of an hour. That is
/// enough for the longest deadline after a clock change, for every escrow's horizon and for every retry.
const END_HEARTBEATS: u16 = 150;
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
    created: BTreeSet<u8>,
    pub(crate) orders: BTreeMap<u8, OrderId>,
    /// The message number of each event; copies of a message have the same number.
    numbers: BTreeMap<String, u64>,
    /// Messages that were valid when sent, and must be decided once they are received.
    expected: Vec<Expected>,
    /// The traders who have flooded the relays since they were last reachable.
    flooded: BTreeSet<(u8, Who)>,
    /// Orders whose buyer sent `fiat-sent` in time, and their guard heights.
    pub(crate) fiat_sent: BTreeMap<OrderId, BlockHeight>,
    /// The messages that each key was sent.
    pub(crate) delivered: BTreeMap<TradeKey, Vec<wire::Message>>,
    /// The ids of messages that a relay accepted.
    pub(crate) accepted: BTreeSet<i64>,
    /// Orders whose seller sent `release`.
    pub(crate) released: BTreeSet<OrderId>,
    /// The trade of each payout hash.
    payout_of: BTreeMap<PaymentHash, u8>,
    /// How many of the next messages no relay accepts.
    refusals: u8,
    requests: u64,
    heartbeats: u64,
    /// Whether the traders complete every trade that they can.
    complete_all: bool,
    checker: Checker,
}

/// A message that must move its order on, whatever others send.
struct Expected {
    order: OrderId,
    by: (u8, Who),
    action: ClientAction,
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
    pub(crate) orders_by_end: BTreeMap<String, u32>,
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
    Ok(Ended { trace: simulation.trace(), orders_by_end: simulation.checker.ends() })
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
            created: BTreeSet::new(),
            orders: BTreeMap::new(),
            numbers: BTreeMap::new(),
            expected: Vec::new(),
            flooded: BTreeSet::new(),
            fiat_sent: BTreeMap::new(),
            delivered: BTreeMap::new(),
            accepted: BTreeSet::new(),
            released: BTreeSet::new(),
            payout_of: BTreeMap::new(),
            refusals: 0,
            requests: 0,
            heartbeats: 0,
            complete_all: false,
            checker,
        })
    }

    async fn perform(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::CreateOrder { trade } => self.create_order(trade).await?,
            Op::Send { trade, who, action } => self.send(trade, who, action).await?,
            Op::Duplicate { back } => self.resend(back).await?,
            Op::Pay { trade, over } => self.pay(trade, over, 0),
            Op::Underpay { trade, missing } => self.pay(trade, 0, missing),
            Op::Resolve { nth, how } => self.lnd.ledger().resolve(nth, how),
            Op::DeliverUpdates { max } => self.deliver_updates(max).await?,
            Op::DeliverAllPayments => self.deliver_all_payments().await?,
            Op::LoseRequest => self.lnd.ledger().faults.push_back(Fault::LoseRequest),
            Op::LoseReply => self.lnd.ledger().faults.push_back(Fault::LoseReply),
            Op::DelayRequest => self.lnd.ledger().faults.push_back(Fault::DelayRequest),
            Op::HangBefore => self.lnd.ledger().faults.push_back(Fault::HangBefore),
            Op::HangAfter => self.lnd.ledger().faults.push_back(Fault::HangAfter),
            Op::DeliverDelayedRequest => self.lnd.ledger().arrive(),
            Op::ResumeHangingCall => self.lnd.ledger().answer_late(),
            Op::LndUnreachable => self.lnd.ledger().fails = true,
            Op::LndReachable => self.lnd.ledger().fails = false,
            Op::PeersDisconnect => self.lnd.ledger().has_no_channel = true,
            Op::PeersReconnect => self.lnd.ledger().has_no_channel = false,
            Op::Advance { secs } => self.advance(secs).await?,
            Op::Offline { secs } => self.go_offline(secs).await?,
            Op::RelaysUnreachable => self.disconnect_relays().await,
            Op::RelaysReachable => self.connect_relays().await?,
            Op::SetDaemonClock { ahead } => self.set_clock(ahead).await,
            Op::SetClientClock { trade, who, ahead } => {
                _ = self.client_clocks.insert((trade, who), ahead.into());
            }
            Op::Flood { trade, who, times } => self.flood(trade, who, times).await?,
            Op::LndRefusesPayments => self.lnd.ledger().refuses = true,
            Op::LndAcceptsPayments => self.lnd.ledger().refuses = false,
            Op::Mine { blocks } => {
                self.lnd.ledger().mine(blocks.into());
                self.daemon.monitor.check().await;
                self.daemon.run_timers().await?;
                self.drop_late_fiat_sent();
            }
            Op::RelaysRefuse { times } => self.refusals = times,
            Op::Crash { steps } => self.lnd.ledger().steps_to_crash = Some(steps),
            Op::Restart => self.crash().await?,
            Op::Reconcile => self.daemon.reconcile().await?,
        }
        self.run_outbox().await?;
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

    /// Ends all faults, and continues until every trade has ended.
    async fn finish(&mut self) -> Result<(), String> {
        self.lnd.ledger().clear_faults();
        self.refusals = 0;
        self.client_clocks.clear();
        self.set_clock(0).await;
        self.disconnect_relays().await;
        self.connect_relays().await?;
        self.check_expected(true).await?;
        self.run_to_the_end().await
    }

    async fn run_to_the_end(&mut self) -> Result<(), String> {
        for beat in 0..END_HEARTBEATS {
            self.run_outbox().await?;
            self.deliver_updates(u8::MAX).await?;
            self.lnd.ledger().resolve(0, End::Paid);
            self.daemon.reconcile().await?;
            self.run_outbox().await?;
            self.check().await?;
            self.find_new_orders().await?;
            if self.checker.is_over() {
                break;
            }
            for (trade, id) in self.orders.clone() {
                self.act_for_traders(trade, id).await?;
            }
            if self.complete_all {
                self.run_outbox().await?;
            }
            if beat % 3 == 2 {
                self.lnd.ledger().mine(6);
            }
            self.advance(HEARTBEAT_SECS).await?;
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
        let needs_invoice = order.payout(PayoutPurpose::Buyer).map(|payout| payout.state)
            == Some(PayoutState::NeedsInvoice);
        let (sender, action) = match (&order.state, buyer, seller) {
            (OrderState::Pending, ..) if self.complete_all => {
                return self.send(trade, Who::Rival, ClientAction::TakeWithInvoice).await;
            }
            (OrderState::AwaitingHold { hash, .. }, ..) if self.complete_all => {
                self.lnd.ledger().pay(*hash, 0, 0);
                return Ok(());
            }
            (OrderState::AwaitingInvoice { .. }, Some(buyer), _) if self.complete_all => {
                (buyer, ClientAction::AddInvoice)
            }
            (OrderState::FiatSent { .. }, _, Some(seller)) => (seller, ClientAction::Release),
            (OrderState::Active { .. }, Some(buyer), _)
                if self.complete_all || trade.is_multiple_of(2) =>
            {
                (buyer, ClientAction::FiatSent)
            }
            (OrderState::PayingBuyer, Some(buyer), _) if needs_invoice => {
                (buyer, ClientAction::AddInvoice)
            }
            _ => return Ok(()),
        };
        let who = [Who::Maker, Who::Taker, Who::Rival]
            .into_iter()
            .find(|who| self.trader(trade, *who).key() == sender.trade);
        match who {
            Some(who) => self.send(trade, who, action).await,
            None => Err("an order has an unknown party".to_owned()),
        }
    }

    async fn create_order(&mut self, trade: u8) -> Result<(), String> {
        if trade > LAST_TRADE || !self.created.insert(trade) {
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
        self.send_request(trade, Who::Maker, None, RequestContent::NewOrder(new)).await
    }

    async fn send(&mut self, trade: u8, who: Who, action: ClientAction) -> Result<(), String> {
        let Some(id) = self.orders.get(&trade).copied() else { return Ok(()) };
        let action = match action {
            ClientAction::Take | ClientAction::TakeWithInvoice if is_buy(trade) => {
                ClientAction::TakeBuy
            }
            action => action,
        };
        let invoice = match action {
            ClientAction::TakeWithInvoice | ClientAction::AddInvoice => self.invoice(trade),
            _ => String::new(),
        };
        let who = self.record_expectations(trade, id, who, action).await?;
        self.send_request(trade, who, Some(id), RequestContent::Action(action, &invoice)).await
    }

    /// Records what must follow from a message. Returns the sender that the daemon sees.
    async fn record_expectations(
        &mut self,
        trade: u8,
        id: OrderId,
        who: Who,
        action: ClientAction,
    ) -> Result<Who, String> {
        let order = self.daemon.reader.find_order(id).await.map_err(text)?;
        let Some(order) = order else { return Ok(who) };
        let key = self.trader(trade, who).key();
        let is_seller = order.seller().is_some_and(|seller| seller.trade == key);
        let is_buyer = order.buyer().is_some_and(|buyer| buyer.trade == key);
        let ahead = self.client_clocks.get(&(trade, who)).copied().unwrap_or_default();
        let is_plain = self.clock_ahead == 0 && ahead.abs() <= FRESH;
        let by = (trade, who);
        match (action, &order.state) {
            _ if self.flooded.contains(&by) => {}
            (ClientAction::FiatSent, OrderState::Active { held }) if is_buyer => {
                let guard = held.guard_height(MARGIN);
                if self.lnd.ledger().height() < guard && !self.clock_is_far_behind() {
                    self.fiat_sent.insert(id, guard);
                }
                self.expected.push(Expected { order: id, by, action, is_plain });
            }
            (ClientAction::Release, OrderState::FiatSent { .. }) if is_seller => {
                self.expected.push(Expected { order: id, by, action, is_plain });
            }
            _ => {}
        }
        if action == ClientAction::Release {
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

    async fn send_request(
        &mut self,
        trade: u8,
        who: Who,
        order: Option<OrderId>,
        content: RequestContent<'_>,
    ) -> Result<(), String> {
        self.requests += 1;
        let ahead = self.client_clocks.get(&(trade, who)).copied().unwrap_or_default();
        let at = Timestamp(self.time.now().0 + ahead);
        let request = Request { order, id: self.requests, content };
        let sent = self.trader(trade, who).write(request, &self.relays.node, at);
        self.numbers.insert(sent.event.id.to_hex(), self.requests);
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

    async fn resend(&mut self, back: u8) -> Result<(), String> {
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
            self.send(trade, who, ClientAction::Dispute).await?;
        }
        let is_stored = !self.relays.are_reachable || self.clock_ahead != 0;
        if is_stored && times >= PER_SENDER {
            self.drop_displaced(trade, who);
        }
        Ok(())
    }

    /// The daemon reads a limited number of one sender's stored messages for an order. A flood displaces
    /// messages of the same sender, and these need not be decided.
    fn drop_displaced(&mut self, trade: u8, who: Who) {
        self.flooded.insert((trade, who));
        for message in self.expected.extract_if(.., |message| message.by == (trade, who)) {
            if message.action == ClientAction::FiatSent {
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
        if self.orders.len() == self.created.len() {
            return Ok(());
        }
        for (maker, id) in self.checker.makers().await? {
            let made = self.created.iter().copied();
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
        let lifetime = Duration::from_secs(if traits.is_multiple_of(3) { 200 } else { 86_400 });
        let expires_at = self.time.now().after(lifetime);
        let amount = (!traits.is_multiple_of(2)).then_some(OWED);
        self.lnd.ledger().payees.insert(hash, Payee { preimage, amount, expires_at });
        self.payout_of.insert(hash, trade);
        invoice_text(hash, amount, expires_at)
    }

    /// The seller pays the newest hold invoice that it received.
    fn pay(&mut self, trade: u8, over: u8, missing: u64) {
        let sellers: &[Who] = if is_buy(trade) { &[Who::Taker, Who::Rival] } else { &[Who::Maker] };
        for who in sellers {
            let messages = self.delivered.get(&self.trader(trade, *who).key());
            let requested = messages.into_iter().flatten().rev().find_map(|message| {
                match (message.body.action, &message.body.payload) {
                    (Action::PayInvoice, Some(Payload::PaymentRequest(_, bolt11, _))) => {
                        PaymentHash::from_hex(&bolt11.0)
                    }
                    _ => None,
                }
            });
            if let Some(hash) = requested {
                self.lnd.ledger().pay(hash, over, missing);
            }
        }
    }

    async fn deliver_updates(&mut self, max: u8) -> Result<(), String> {
        let lnd = Arc::clone(&self.lnd);
        for _ in 0..max {
            if !self.daemon.deliver_one_update(&lnd).await? {
                break;
            }
        }
        Ok(())
    }

    /// Delivers the status of every payment, also of those that are not watched any more.
    async fn deliver_all_payments(&mut self) -> Result<(), String> {
        for (hash, trade) in &self.payout_of {
            let Some(order) = self.orders.get(trade) else { continue };
            let status = self.lnd.ledger().payment(*hash);
            let input = Input::Lightning(Observation::Payment { hash: *hash, status });
            self.daemon.engine.apply(*order, input).await.map_err(text)?;
        }
        Ok(())
    }

    async fn advance(&mut self, secs: u16) -> Result<(), String> {
        let mut left = secs;
        while left > 0 {
            let step = left.min(HEARTBEAT_SECS);
            left -= step;
            self.advance_clocks(step);
            self.heartbeats += 1;
            self.daemon.monitor.check().await;
            self.daemon.heartbeat().await;
            if self.heartbeats.is_multiple_of(RECONCILE_EVERY) {
                self.daemon.reconcile().await?;
            }
            self.daemon.run_timers().await?;
            self.run_outbox().await?;
        }
        Ok(())
    }

    fn advance_clocks(&self, secs: u16) {
        for clock in [&self.time, &self.environment.clock] {
            clock.advance(Duration::from_secs(secs.into()));
        }
    }

    async fn go_offline(&mut self, secs: u16) -> Result<(), String> {
        self.disconnect_relays().await;
        self.advance_clocks(secs);
        self.daemon.run_timers().await?;
        self.run_outbox().await?;
        self.connect_relays().await
    }

    async fn disconnect_relays(&mut self) {
        self.relays.are_reachable = false;
        self.daemon.disconnect().await;
    }

    async fn connect_relays(&mut self) -> Result<(), String> {
        if !std::mem::replace(&mut self.relays.are_reachable, true) {
            self.daemon.connect(&self.relays).await?;
            self.flooded.clear();
        }
        Ok(())
    }

    /// Sets the daemon's clock. A heartbeat follows immediately.
    async fn set_clock(&mut self, ahead: i32) {
        self.clock_ahead = ahead.into();
        if self.clock_is_far_behind() {
            for undecided in
                self.expected.iter().filter(|each| each.action == ClientAction::FiatSent)
            {
                self.fiat_sent.remove(&undecided.order);
            }
        }
        self.environment.clock.set(Timestamp(self.time.now().0 + self.clock_ahead));
        self.daemon.heartbeat().await;
    }

    /// Whether messages are dated further ahead than any is accepted: they wait until the clock is right,
    /// and blocks do not wait for them (D41).
    fn clock_is_far_behind(&self) -> bool {
        self.clock_ahead < -CATCH_UP.as_secs().cast_signed()
    }

    /// After so many blocks without a reachable relay, a `fiat-sent` may arrive too late.
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
        for Expected { order: id, action, .. } in now {
            let order = self.daemon.reader.find_order(id).await.map_err(text)?;
            let still_waits = order.is_some_and(|order| match order.state {
                OrderState::Active { .. } => action == ClientAction::FiatSent,
                OrderState::FiatSent { .. } => action == ClientAction::Release,
                _ => false,
            });
            if still_waits {
                return Err(format!("INV-9: {action:?} of {id} was received and is not decided"));
            }
        }
        Ok(())
    }

    /// Carries out every due act, one after the other, until only hanging calls are left.
    async fn run_outbox(&mut self) -> Result<(), String> {
        loop {
            self.daemon.wait_for_acts(&self.lnd).await;
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
            Act::Notify { to, text: json } => {
                let is_refused = self.refusals > 0;
                self.refusals = self.refusals.saturating_sub(1);
                if is_refused && self.plant != Some(Plant::DropsRefusedMessages) {
                    let at = self.daemon.now().after(Duration::from_secs(1));
                    self.daemon.engine.write(Write::RetryAct { id, at }).await.map_err(text)?;
                    return Ok(());
                }
                if !is_refused {
                    self.accepted.insert(id.0);
                    let message = wire::Message::parse(json).map_err(text)?;
                    self.delivered.entry(*to).or_default().push(message);
                }
                // The daemon can crash after the relay accepted the message, and before that is saved.
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
        self.daemon.kill().await;
        self.daemon = Daemon::start(&self.environment, &self.relays.node).await?;
        if self.relays.are_reachable {
            self.daemon.connect(&self.relays).await?;
        }
        if self.plant == Some(Plant::StartedMeansDone) {
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
        trace.update(format!("{:?}", self.delivered));
        trace.update(format!("{:?}", self.lnd.ledger().updates));
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
