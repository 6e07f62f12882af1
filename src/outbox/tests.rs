pub(crate) mod clock;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use futures::stream::BoxStream;
use nostr_relay_builder::prelude::{LocalRelay, PolicyResult, RelayBuilder, WritePolicy};
use nostr_sdk::util::BoxedFuture;
use nostr_sdk::{Event, Keys, PublicKey};
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use trade::{
    BlockHeight, Cause, Decision, Effect, EscrowEvidence, Fiat, FiatAmount, Held, Hold,
    HoldDecision, HoldSecret, HoldStatus, HorizonWarning, IdentityKey, Invoice, Kind,
    LightningIdentity, LnCommand, Msats, Network, NodeKey, Notice, Order, OrderId, OrderState,
    Outcome, Party, PaymentHash, PaymentStatus, Preimage, Price, Quote, Refusal, Sats, Seen, Terms,
    Timestamp, TradeKey,
};

use super::*;
use crate::clock::ManualClock;
use crate::engine::Applied;
use crate::engine::tests::policy;
use crate::lightning::{
    AddedHold, Htlc, InvoiceState, NewHold, NewPayment, NodeDescription, Readiness,
};
use crate::nostr::{Options, Relays, Transport};
use crate::publisher::{AboutNode, Publisher};
use crate::recorded_log::Log;
use crate::store::{Class, Delivery, EventId, JournalLine, Notification, Writer};
use crate::wire::notice::render;
use crate::wire::tags::{NodeIdentity, NodeTerms, Profile};

const NOW: Timestamp = Timestamp(1_800_000_000);
const ORDER: OrderId = OrderId([1; 16]);
const MARGIN: u32 = 24;

/// An outbox on a new file, of an order whose holds are all to be canceled.
pub(crate) struct OutboxFixture {
    folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    outbox: Arc<Outbox>,
    /// The holds that LND was requested to cancel.
    canceled: mpsc::UnboundedReceiver<PaymentHash>,
    /// How it was asked to settle.
    settled: mpsc::UnboundedReceiver<EscrowEvidence>,
    writer: JoinSet<Result<(), EngineError>>,
}

impl OutboxFixture {
    /// With a message to each of `people` keys, and then a cancel of each of `holds` holds.
    pub(crate) async fn new(
        relays: Vec<String>,
        people: u8,
        holds: u8,
    ) -> (Self, crate::nostr::Listener) {
        Self::with(relays, people, canceled(holds)).await
    }

    /// With a message to each of `people` keys, and then the effects of an order.
    async fn with(
        relays: Vec<String>,
        people: u8,
        after: (Order, Vec<Effect>),
    ) -> (Self, crate::nostr::Listener) {
        let folder = TempDir::new().unwrap();
        let (mut writer, reader) =
            crate::store::open(&folder.path().join("trades.db"), render).await.unwrap();
        fill(&mut writer, people, after).await;
        let clock = Arc::new(ManualClock::at(NOW));
        let (engine, task) = Engine::new(writer, policy(), clock.clone());
        let mut writer = JoinSet::new();
        writer.spawn(task.run());
        let node = Keys::generate();
        let options = Options {
            urls: relays,
            transports: vec![Transport::Nip44],
            max_event_bytes: 16_384,
            queue: 1,
            retry: Duration::from_millis(50),
        };
        let (relays, listener, _) = Relays::new(&options, &node).await.unwrap();
        let messenger = Messenger {
            relays,
            node,
            engine: engine.clone(),
            clock: clock.clone(),
            retention: Duration::from_hours(1),
            transports: vec![Transport::Nip44],
        };
        let (cancels, canceled) = mpsc::unbounded_channel();
        let (settles, settled) = mpsc::unbounded_channel();
        let lnd = Arc::new(FakeLnd { cancels, settles });
        let outbox = Outbox::new(lnd, messenger, reader, engine, clock.clone(), MARGIN);
        (Self { folder, clock, outbox, canceled, settled, writer }, listener)
    }

    /// Starts the due acts, and waits until they have ended.
    async fn run_due(&self) {
        let mut lanes = BusyLanes::new();
        self.outbox.start_due(&mut lanes).await.unwrap();
        lanes.all_done().await;
    }

    /// Answers to so many strangers.
    async fn answer_strangers(&self, strangers: u16) {
        for n in 0..strangers {
            let mut id = [9; 32];
            id[..2].copy_from_slice(&n.to_be_bytes());
            let to = TradeKey(Keys::generate().public_key().to_bytes());
            let delivery = Delivery {
                event_id: EventId(id),
                rumor_id: None,
                created_at: NOW,
                from: to,
                transport: crate::store::Transport::Nip44,
            };
            let notice = Notice::CantDo(Refusal::NotFound);
            let message =
                Notification { to, order: None, request_id: None, trade_index: None, notice };
            let answered = self.outbox.engine.answer(delivery, message).await.unwrap();
            assert_eq!(answered, Applied::Saved);
        }
    }

    /// How many rows of the outbox match a condition.
    async fn count(&self, condition: &str) -> i64 {
        let path = self.folder.path().join("trades.db");
        let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("select count(*) from outbox where {condition}"));
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
    }

    /// A publisher beside it, with an LND on a network of this name.
    pub(crate) fn publisher(&self, network: &str) -> Publisher {
        let Outbox { reader, engine, messenger, .. } = &*self.outbox;
        let (_, health) = tokio::sync::watch::channel(Some(readiness(network)));
        Publisher {
            reader: reader.clone(),
            engine: engine.clone(),
            relays: messenger.relays.clone(),
            node: messenger.node.clone(),
            health,
            clock: self.clock.clone(),
            about: about(messenger.node.public_key()),
            reported: Reported::default(),
            renewals: BTreeMap::new(),
        }
    }

    fn canceled(&mut self) -> usize {
        std::iter::from_fn(|| self.canceled.try_recv().ok()).count()
    }

    /// Runs SQL that the daemon never runs.
    async fn tamper(&self, sql: &'static str) {
        let path = self.folder.path().join("trades.db");
        let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }
}

/// An order whose holds are all to be canceled.
fn canceled(holds: u8) -> (Order, Vec<Effect>) {
    let cancel = |n: u8| {
        let hold = Hold { decision: Some(HoldDecision::Cancel), ..wanted(n) };
        let command = LnCommand::EndHold { hash: hold.hash };
        (hold, Effect::Lightning(command))
    };
    let (holds, effects) = (1..=holds).map(cancel).unzip();
    let state = OrderState::Ended(Outcome::Canceled);
    (Order { version: 2, state, holds, ..order() }, effects)
}

/// An order whose escrow, which expires at height 500, is to be settled.
fn settling() -> (Order, Vec<Effect>) {
    let (paid, expires_at) = (Msats(101_000_000), BlockHeight(500));
    let hold = Hold {
        bolt11: Some("the hold invoice".to_owned()),
        seen: Seen::Accepted { paid, expires_at },
        decision: Some(HoldDecision::Settle),
        ..wanted(1)
    };
    let hash = hold.hash;
    let escrow = Held { hash, paid, expires_at };
    let warned = HorizonWarning::NotYet;
    let trade = TradeKey([2; 32]);
    let order = Order {
        version: 2,
        taker: Some(Party { trade, identity: IdentityKey(trade.0), index: None }),
        taken_at: Some(NOW),
        destination: Some(Invoice {
            text: "the buyer's invoice".to_owned(),
            hash: PaymentHash([9; 32]),
            payee: NodeKey([3; 33]),
            amount: None,
            expires_at: NOW.after(Duration::from_hours(24)),
            min_final_cltv: 80,
            network: Network::Regtest,
        }),
        state: OrderState::Settling { held: escrow, request_id: None, warned },
        holds: vec![hold],
        ..order()
    };
    (order, vec![Effect::Lightning(LnCommand::EndHold { hash })])
}

fn wanted(n: u8) -> Hold {
    let secret = HoldSecret { hash: PaymentHash([n; 32]), preimage: Preimage([n; 32]) };
    Hold::wanted(secret, trade::HoldPurpose::Escrow, Sats(101_000))
}

async fn fill(writer: &mut Writer, people: u8, (after, effects): (Order, Vec<Effect>)) {
    let before = order();
    let line = JournalLine { at: NOW, input: "test", event_id: None };
    let decision = |order, effects| Decision {
        order,
        effects,
        postings: vec![],
        account: None,
        notes: vec![],
        child: None,
        cause: Cause::LateNews,
    };
    let mut tx = writer.begin().await.unwrap();
    tx.create(&decision(before.clone(), vec![]), &line, MARGIN).await.unwrap();
    for n in 1..=people {
        let to = TradeKey(Keys::generate().public_key().to_bytes());
        let (order, request_id) = (Some(ORDER), Some(n.into()));
        let message =
            Notification { to, order, request_id, trade_index: None, notice: Notice::Released };
        tx.send(&message, NOW).await.unwrap();
    }
    tx.save(&before, &decision(after, effects), &line, MARGIN).await.unwrap();
    tx.commit().await.unwrap();
}

fn order() -> Order {
    let trade = TradeKey([1; 32]);
    Order {
        id: ORDER,
        version: 1,
        terms: Terms {
            kind: Kind::Sell,
            fiat_code: "EUR".to_owned(),
            fiat: FiatAmount::Fixed(Fiat(90)),
            price: Price::Fixed,
            payment_method: "face to face".to_owned(),
            quote: Quote::new(Fiat(90), Sats(100_000), Sats(1_000)),
            created_at: NOW,
            expires_at: NOW.after(Duration::from_hours(1)),
        },
        maker: Party { trade, identity: IdentityKey(trade.0), index: None },
        taker: None,
        taken_at: None,
        destination: None,
        state: OrderState::Pending,
        holds: vec![],
        payouts: vec![],
    }
}

/// A node that cancels what it is asked to, and settles an escrow only without evidence.
#[derive(Debug)]
struct FakeLnd {
    cancels: mpsc::UnboundedSender<PaymentHash>,
    settles: mpsc::UnboundedSender<EscrowEvidence>,
}

#[async_trait]
impl LightningNode for FakeLnd {
    async fn cancel_hold(&self, hash: PaymentHash) -> Result<InvoiceState, LightningError> {
        self.cancels.send(hash).unwrap();
        Ok(InvoiceState::Canceled)
    }

    async fn add_hold(&self, _: NewHold) -> Result<AddedHold, LightningError> {
        unimplemented!("nothing but cancels")
    }

    async fn settle_hold(
        &self,
        _: Preimage,
        evidence: EscrowEvidence,
    ) -> Result<InvoiceState, LightningError> {
        self.settles.send(evidence).unwrap();
        match evidence {
            EscrowEvidence::Required => {
                let source = Box::new(LightningError::Starting);
                Err(LightningError::EscrowUnseen { source })
            }
            EscrowEvidence::Waived => Ok(InvoiceState::Settled),
        }
    }

    async fn hold_status(&self, _: PaymentHash) -> Result<HoldStatus, LightningError> {
        unimplemented!("nothing but cancels")
    }

    async fn send(&self, _: NewPayment) -> Result<PaymentStatus, LightningError> {
        unimplemented!("nothing but cancels")
    }

    async fn payment_status(&self, _: PaymentHash) -> Result<PaymentStatus, LightningError> {
        unimplemented!("nothing but cancels")
    }

    async fn find_htlc(&self, _: PaymentHash) -> Result<Option<Htlc>, LightningError> {
        unimplemented!("nothing but cancels")
    }

    fn watch(&self, _: PaymentHash) -> BoxStream<'_, InvoiceState> {
        unimplemented!("nothing but cancels")
    }

    fn follow(&self, _: PaymentHash) -> BoxStream<'_, PaymentStatus> {
        unimplemented!("nothing but cancels")
    }

    async fn readiness(&self) -> Result<Readiness, LightningError> {
        unimplemented!("nothing but cancels")
    }
}

/// A relay that receives events and never answers.
#[derive(Debug)]
struct Silent;

impl WritePolicy for Silent {
    fn admit_event<'a>(
        &'a self,
        _event: &'a Event,
        _from: &'a SocketAddr,
    ) -> BoxedFuture<'a, PolicyResult> {
        Box::pin(std::future::pending())
    }
}

// spec: INV-9
#[tokio::test]
async fn lightning_commands_do_not_wait_for_messages_to_a_silent_relay() {
    let relay = LocalRelay::new(RelayBuilder::default().write_policy(Silent));
    relay.run().await.unwrap();
    let (mut fixture, listener) =
        OutboxFixture::new(vec![relay.url().await.to_string()], 200, 1).await;
    let (_cursor, cursor) = tokio::sync::watch::channel(NOW);
    let mut listening = JoinSet::new();
    listening.spawn(listener.run(cursor));
    let mut subscriptions = fixture.outbox.messenger.relays.subscriptions();
    subscriptions.wait_for(crate::nostr::Subscriptions::is_reachable).await.unwrap();

    let mut tasks = crate::tasks::Tasks::new();
    tasks.spawn("outbox", Arc::clone(&fixture.outbox).run(tasks.shutdown()));

    // A send to a relay times out after ten seconds.
    let asked = timeout(Duration::from_secs(8), fixture.canceled.recv()).await;
    assert_eq!(asked.expect("LND was not asked in time"), Some(PaymentHash([1; 32])));
}

// spec: D42
#[tokio::test]
async fn answers_to_strangers_do_not_delay_traders_or_lightning() {
    let (mut fixture, _) = OutboxFixture::new(vec![], 10, 20).await;
    fixture.answer_strangers(100).await;

    fixture.run_due().await;

    assert_eq!(fixture.canceled(), 20);
    assert_eq!(fixture.count("to_stranger = 0 and attempts = 1").await, 10, "messages to traders");
    assert_eq!(fixture.count("to_stranger = 1 and attempts = 1").await, 8, "those with a place");
}

// spec: D42
#[tokio::test]
async fn answers_to_strangers_are_rate_limited_however_many_wait() {
    let mut lanes = BusyLanes::new();
    let mut started_at = async |monotonic| {
        let started = Arc::new(std::sync::atomic::AtomicU32::new(0));
        for n in 0..100 {
            let started = Arc::clone(&started);
            let act = async move { _ = started.fetch_add(1, std::sync::atomic::Ordering::Relaxed) };
            lanes.start_if_free(Class::Stranger, format!("dm:{n}"), monotonic, act);
            lanes.all_done().await;
        }
        started.load(std::sync::atomic::Ordering::Relaxed)
    };

    assert_eq!(started_at(Duration::from_secs(100)).await, 20, "after a quiet time");
    assert_eq!(started_at(Duration::from_secs(100)).await, 0);
    assert_eq!(started_at(Duration::from_secs(101)).await, 10);
    assert_eq!(started_at(Duration::from_secs(1_000)).await, 20);
}

// spec: D42
#[tokio::test]
async fn no_rows_are_read_of_a_class_at_its_limit() {
    let mut lanes = BusyLanes::new();
    for n in 0..100 {
        let lane = format!("dm:{n}");
        lanes.start_if_free(Class::Trade, lane, Duration::ZERO, std::future::pending());
    }

    let limits = lanes.limits(Duration::ZERO);

    let classes: Vec<_> = limits.iter().map(|(class, _)| *class).collect();
    assert_eq!(classes, [Class::Lightning, Class::Alarm, Class::Stranger]);
    assert!(limits.contains(&(Class::Lightning, 128)), "the busy ones may be among them");
}

// spec: D42
#[tokio::test]
async fn an_answer_to_a_stranger_that_has_expired_is_not_sent() {
    let (fixture, _) = OutboxFixture::new(vec![], 0, 0).await;
    fixture.answer_strangers(30).await;
    fixture.clock.advance(Duration::from_mins(5));

    fixture.outbox.expire_answers().await;

    assert_eq!(fixture.count("true").await, 0);
}

#[tokio::test]
async fn a_lane_that_fails_is_reported_once() {
    let log = Log::default();
    let _logging = log.begin();
    let (fixture, _) = OutboxFixture::new(vec![], 2, 0).await;
    fixture.answer_strangers(5).await;

    for _ in 0..10 {
        fixture.run_due().await;
        fixture.clock.advance(LONGEST_RETRY);
    }

    assert_eq!(fixture.count("to_stranger = 0 and attempts = 10").await, 2);
    assert_eq!(log.count("WARN"), 2, "{log:?}");
}

// spec: D17 D23
#[test]
fn what_waits_for_lnd_is_retried_after_one_second_and_then_up_to_every_five() {
    let waits = [0, 1, 2, 3, 1_000].map(|tries| not_yet(tries).as_secs());

    assert_eq!(waits, [1, 2, 4, 5, 5]);
}

// spec: D23 P0
#[tokio::test]
async fn a_settle_waits_for_evidence_of_its_escrow_with_one_alarm_up_to_the_margin_only() {
    let log = Log::default();
    let _logging = log.begin();
    let (mut fixture, _) = OutboxFixture::with(vec![], 0, settling()).await;
    let Outbox { engine, .. } = &*fixture.outbox;
    engine.write(Write::RaiseHeight(BlockHeight(475))).await.unwrap();
    for _ in 0..60 {
        fixture.run_due().await;
        fixture.clock.advance(Duration::from_secs(1));
    }
    let waits: Vec<_> = std::iter::from_fn(|| fixture.settled.try_recv().ok()).collect();
    assert!(waits.len() > 4, "it is retried: {waits:?}");
    assert!(waits.iter().all(|evidence| *evidence == EscrowEvidence::Required), "{waits:?}");
    assert_eq!(log.count("ALARM: an escrow that was released is not settled"), 1, "{log:?}");

    fixture.outbox.engine.write(Write::RaiseHeight(BlockHeight(476))).await.unwrap();
    fixture.clock.advance(LONGEST_RETRY);
    fixture.run_due().await;

    let sent: Vec<_> = std::iter::from_fn(|| fixture.settled.try_recv().ok()).collect();
    assert_eq!(sent, [EscrowEvidence::Waived], "{log:?}");
    let found = fixture.outbox.reader.find_order(ORDER).await.unwrap().unwrap();
    assert!(matches!(found.state, OrderState::PayingBuyer), "{:?}", found.state);
}

#[tokio::test]
async fn unreadable_rows_do_not_block_other_lanes() {
    let (mut fixture, _) = OutboxFixture::new(vec![], 0, 200).await;
    fixture.tamper("update outbox set kind = 'hold.explode/1' where id < 200").await;

    for _ in 0..4 {
        fixture.run_due().await;
    }

    assert_eq!(fixture.canceled(), 1);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_reported_once() {
    let log = Log::default();
    let _logging = log.begin();
    let (mut fixture, _) = OutboxFixture::new(vec![], 0, 1).await;
    fixture.tamper("update outbox set kind = 'hold.explode/1'").await;

    for _ in 0..3 {
        fixture.run_due().await;
        fixture.clock.advance(LONGEST_RETRY);
    }
    assert_eq!(log.count("ERROR"), 1, "{log:?}");

    fixture.tamper("update outbox set kind = 'hold.cancel/1'").await;
    fixture.run_due().await;
    assert_eq!(fixture.canceled(), 1, "it was repaired");
}

#[tokio::test]
async fn a_row_that_cannot_be_finished_is_reported_once_and_retried_with_backoff() {
    let log = Log::default();
    let _logging = log.begin();
    let (mut fixture, _) = OutboxFixture::new(vec![], 0, 1).await;
    // LND's answer about the hold cannot be applied to the order.
    fixture.tamper("update orders set maker_identity = replace(hex(zeroblob(32)), '0', 'z')").await;

    for _ in 0..60 {
        fixture.run_due().await;
        fixture.clock.advance(Duration::from_secs(1));
    }

    assert_eq!(fixture.canceled(), 6, "after 1, 2, 4, 8 and 16 seconds");
    assert_eq!(log.count("an outbox row fails, and its lane waits for it"), 1, "{log:?}");
    fixture.writer.abort_all();
}

/// The own events of a node with a profile.
fn about(node: PublicKey) -> AboutNode {
    AboutNode {
        identity: NodeIdentity { pubkey: node, instance: None, relays: vec![], networks: vec![] },
        terms: NodeTerms {
            version: "1".to_owned(),
            commit_hash: "unknown".to_owned(),
            max_order_amount: Sats(1),
            min_order_amount: Sats(1),
            expiration_hours: 24,
            expiration_seconds: 900,
            fiat_currencies: vec![],
            max_orders_per_response: 10,
            fee: trade::Ppm(0),
            pow: 0,
            protocol_version: 2,
            hold_invoice_cltv_delta: 144,
            escrow_deadline_margin_blocks: 24,
            lnd: None,
            invoice_expiration_window: 3_000,
            hold_invoice_expiration_window: 300,
            serbero: None,
        },
        profile: Profile { name: Some("a node".to_owned()), ..Profile::default() },
        order_retention: Duration::from_hours(24),
        info_interval: Duration::from_mins(5),
        relays_interval: Duration::from_mins(1),
    }
}

pub(crate) fn readiness(network: &str) -> Readiness {
    Readiness {
        active: true,
        synced: true,
        channels_active: Some(1),
        height: BlockHeight(1),
        best_header_at: NOW,
        identity: LightningIdentity { key: NodeKey([2; 33]), network: Network::Regtest },
        lacks: vec![],
        node: NodeDescription { networks: vec![network.to_owned()], ..NodeDescription::default() },
    }
}
