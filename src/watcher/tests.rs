//! Tests of the watcher, each on a real file, with a scripted node.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::watch;
use tokio::time::timeout;
use trade::{
    BlockHeight, EscrowEvidence, HoldStatus, LightningIdentity, Msats, Network, NodeKey,
    OrderState, PaymentStatus, Preimage, Seen, Timestamp,
};

use super::*;
use crate::clock::Clock as _;
use crate::engine::tests::{EngineFixture, HEIGHT, PAID, secret};
use crate::lightning::{
    AddedHold, Health, Htlc, InvoiceState, LightningError, NewHold, NewPayment, NodeDescription,
    Readiness,
};
use crate::tasks::Tasks;

/// Long enough for many blocks.
const OUTAGE: Duration = Duration::from_hours(10);

const HASH: PaymentHash = PaymentHash([9; 32]);
const IN_FLIGHT: PaymentStatus = PaymentStatus::InFlight { index: 1 };

/// A node's answer about a payment; a function, because errors cannot be copied.
type Answer = fn() -> Result<PaymentStatus, LightningError>;

/// A node with scripted answers.
#[derive(Debug, Default)]
struct FakeLnd {
    readiness: Mutex<Option<Readiness>>,
    /// The answer about a payment.
    payment: Mutex<Option<Answer>>,
    /// The status of a hold that its streams call accepted; [`PAID`] by default.
    hold: Mutex<Option<HoldStatus>>,
    streams: AtomicUsize,
    /// The error of the next health check.
    error: Mutex<Option<LightningError>>,
}

impl FakeLnd {
    fn says_of_a_payment(&self, answer: Answer) {
        *self.payment.lock().unwrap() = Some(answer);
    }

    fn falls_silent(&self) {
        *self.readiness.lock().unwrap() = None;
    }

    fn is_synced_at(&self, height: BlockHeight) {
        *self.readiness.lock().unwrap() = Some(ready_at(height));
    }

    fn catches_up_at(&self, height: BlockHeight) {
        *self.readiness.lock().unwrap() = Some(Readiness { synced: false, ..ready_at(height) });
    }
}

fn ready_at(height: BlockHeight) -> Readiness {
    Readiness {
        active: true,
        synced: true,
        channels_active: Some(1),
        lacks: vec![],
        height,
        best_header_at: Timestamp(1_800_000_000),
        identity: LightningIdentity { key: NodeKey([2; 33]), network: Network::Regtest },
        node: NodeDescription::default(),
    }
}

#[async_trait]
impl LightningNode for FakeLnd {
    async fn readiness(&self) -> Result<Readiness, LightningError> {
        if let Some(error) = self.error.lock().unwrap().take() {
            return Err(error);
        }
        self.readiness.lock().unwrap().clone().ok_or(LightningError::Locked)
    }

    async fn hold_status(&self, _: PaymentHash) -> Result<HoldStatus, LightningError> {
        Ok(self.hold.lock().unwrap().unwrap_or(PAID))
    }

    fn watch(&self, _: PaymentHash) -> BoxStream<'_, InvoiceState> {
        self.streams.fetch_add(1, Ordering::SeqCst);
        stream::iter([InvoiceState::Accepted]).chain(stream::pending()).boxed()
    }

    fn follow(&self, _: PaymentHash) -> BoxStream<'_, PaymentStatus> {
        stream::iter([IN_FLIGHT]).boxed()
    }

    async fn payment_status(&self, _: PaymentHash) -> Result<PaymentStatus, LightningError> {
        let answer = *self.payment.lock().unwrap();
        answer.expect("no payment is open")()
    }

    async fn find_htlc(&self, _: PaymentHash) -> Result<Option<Htlc>, LightningError> {
        unimplemented!("no payment is open")
    }

    async fn add_hold(&self, _: NewHold) -> Result<AddedHold, LightningError> {
        unimplemented!("the watcher adds nothing")
    }

    async fn settle_hold(
        &self,
        _: Preimage,
        _: EscrowEvidence,
    ) -> Result<InvoiceState, LightningError> {
        unimplemented!("the watcher settles nothing")
    }

    async fn cancel_hold(&self, _: PaymentHash) -> Result<InvoiceState, LightningError> {
        unimplemented!("the watcher cancels nothing")
    }

    async fn send(&self, _: NewPayment) -> Result<PaymentStatus, LightningError> {
        unimplemented!("the watcher pays nothing")
    }
}

/// The parts of the watcher, around one fake node.
struct Watched {
    fixture: EngineFixture,
    node: Arc<FakeLnd>,
    monitor: HealthMonitor,
    health: Health,
    reconciliation: Reconciliation,
    failures: watch::Sender<()>,
}

impl Watched {
    async fn new() -> Self {
        let fixture = EngineFixture::new().await;
        let node = Arc::new(FakeLnd::default());
        let (sender, failures) = watch::channel(());
        let (monitor, health) = HealthMonitor::new(
            node.clone(),
            fixture.engine.clone(),
            fixture.clock.clone(),
            failures,
            None,
        );
        let reconciliation = Reconciliation {
            node: node.clone(),
            reader: fixture.reader.clone(),
            engine: fixture.engine.clone(),
            health: health.clone(),
            period: Duration::from_mins(1),
        };
        Self { fixture, node, monitor, health, reconciliation, failures: sender }
    }

    async fn hears_of_the_payment(&self, order: OrderId) {
        let news = Observation::Hold { hash: secret(1).hash, status: PAID };
        report(&self.fixture.engine, order, news).await;
    }
}

// spec: D21 INV-1 T10 E3
#[tokio::test]
async fn after_an_outage_an_escrow_counts_once_the_tip_of_the_chain_is_known() {
    let mut it = Watched::new().await;
    let order = it.fixture.awaiting_hold(1).await;
    it.fixture.clock.advance(OUTAGE);

    it.hears_of_the_payment(order).await;
    it.reconciliation.round().await.unwrap();
    assert!(matches!(it.fixture.order(order).await.state, OrderState::AwaitingHold { .. }));

    it.node.is_synced_at(HEIGHT);
    it.monitor.check().await;
    it.reconciliation.round().await.unwrap();
    assert!(matches!(it.fixture.order(order).await.state, OrderState::Active { .. }));
}

// spec: D21 INV-1 E5
#[tokio::test]
async fn an_escrow_that_reached_its_margin_during_an_outage_is_canceled() {
    let mut it = Watched::new().await;
    let order = it.fixture.awaiting_hold(1).await;
    it.fixture.clock.advance(OUTAGE);

    it.hears_of_the_payment(order).await;
    it.node.is_synced_at(BlockHeight(HEIGHT.0 + 130));
    it.monitor.check().await;
    it.reconciliation.round().await.unwrap();

    assert!(it.fixture.order(order).await.state.is_final());
}

// spec: D21 E3
#[tokio::test]
async fn when_lnd_is_at_the_tip_again_every_escrow_is_reconciled_at_once() {
    let mut it = Watched::new().await;
    let order = it.fixture.awaiting_hold(1).await;
    it.fixture.clock.advance(OUTAGE);
    it.node.catches_up_at(HEIGHT);
    it.monitor.check().await;
    let mut commits = it.fixture.engine.commits();
    let mut tasks = Tasks::new();
    tasks.spawn("LND reconciliation", it.reconciliation.run(tasks.shutdown()));
    while it.fixture.order(order).await.holds.iter().all(|hold| hold.seen == Seen::Open) {
        commits.changed().await.unwrap();
    }

    it.node.is_synced_at(HEIGHT);
    it.monitor.check().await;

    let is_relied_on = async {
        while !matches!(it.fixture.order(order).await.state, OrderState::Active { .. }) {
            commits.changed().await.unwrap();
        }
    };
    timeout(Duration::from_secs(30), is_relied_on).await.expect("a round, long before the next");
}

// spec: D21 INV-1 E6
#[tokio::test]
async fn the_height_of_an_lnd_that_is_not_synced_is_not_the_tip() {
    let mut it = Watched::new().await;
    let order = it.fixture.awaiting_hold(1).await;
    it.fixture.clock.advance(OUTAGE);

    it.node.catches_up_at(BlockHeight(HEIGHT.0 + 1));
    it.monitor.check().await;
    it.reconciliation.round().await.unwrap();

    assert!(matches!(it.fixture.order(order).await.state, OrderState::AwaitingHold { .. }));
    let known = it.fixture.reader.daemon_state().await.unwrap();
    assert_eq!(known.height, Some(BlockHeight(HEIGHT.0 + 1)), "deadlines go by it");
}

// spec: P9
#[tokio::test]
async fn an_lnd_that_does_not_answer_is_unhealthy_and_one_that_refuses_is_not() {
    let answers: [(Answer, bool); 6] = [
        (|| Ok(IN_FLIGHT), false),
        (|| Err(refused()), false),
        (|| Err(LightningError::Nonsense { call: "TrackPaymentV2", problem: "odd" }), false),
        (|| Err(LightningError::Starting), true),
        (|| Err(LightningError::Locked), true),
        (|| Err(unreachable()), true),
    ];
    for (answer, is_unhealthy) in answers {
        let it = Watched::new().await;
        let order = it.fixture.awaiting_hold(1).await;
        it.node.says_of_a_payment(answer);

        // The stream ends while the payment is in flight.
        streams::follow_payment(it.node.clone(), it.fixture.engine.clone(), order, HASH).await;

        let known = it.fixture.reader.daemon_state().await.unwrap();
        assert_eq!(known.lnd_unhealthy_at.is_some(), is_unhealthy, "{:?}", answer());
    }
}

// spec: P9 P12
#[tokio::test]
async fn an_lnd_that_was_not_checked_before_may_have_been_restarted() {
    let mut it = Watched::new().await;
    it.node.is_synced_at(HEIGHT);
    it.monitor.check().await;
    let first = it.fixture.reader.daemon_state().await.unwrap().lnd_unhealthy_at;
    it.fixture.clock.advance(OUTAGE);
    it.monitor.check().await;

    let known = it.fixture.reader.daemon_state().await.unwrap();
    assert!(first.is_some(), "it had not been checked before");
    assert_eq!(known.lnd_unhealthy_at, first, "it has been healthy since");
}

// spec: D39
#[tokio::test]
async fn an_lnd_that_was_seen_starting_was_restarted_and_an_unreachable_one_was_not() {
    for (answer, was_restarted) in [
        (LightningError::Starting, true),
        (LightningError::Locked, true),
        (unreachable(), false),
        (refused(), false),
    ] {
        let text = answer.to_string();
        let mut it = Watched::new().await;
        it.node.is_synced_at(HEIGHT);
        it.monitor.check().await;
        let asked_at = it.fixture.clock.now();
        *it.node.error.lock().unwrap() = Some(answer);
        it.monitor.check().await;
        assert_eq!(restarted_at(&it).await, None, "its identity is not known yet");

        it.fixture.clock.advance(Duration::from_secs(9));
        it.monitor.check().await;
        assert_eq!(restarted_at(&it).await, was_restarted.then_some(asked_at), "{text}");
    }
}

// spec: D39
#[tokio::test]
async fn a_start_of_another_node_is_no_restart_of_the_known_node() {
    let mut it = Watched::new().await;
    it.node.is_synced_at(HEIGHT);
    it.monitor.check().await;
    for answer in [LightningError::Starting, unreachable()] {
        *it.node.error.lock().unwrap() = Some(answer);
        it.monitor.check().await;
    }
    it.monitor.check().await;

    assert_eq!(restarted_at(&it).await, None);
}

async fn restarted_at(it: &Watched) -> Option<trade::Timestamp> {
    it.fixture.reader.daemon_state().await.unwrap().lnd_restarted_at
}

fn refused() -> LightningError {
    LightningError::Refused {
        call: "SendPaymentV2",
        code: tonic::Code::Unknown,
        reason: "invoice expired. Valid until 2026-11-21 15:08:33 +0000 UTC".to_owned(),
    }
}

fn unreachable() -> LightningError {
    LightningError::Unreachable { call: "TrackPaymentV2", source: "the link broke".into() }
}

// spec: P9 E3
#[tokio::test]
async fn a_failed_call_makes_the_monitor_check_at_once() {
    let mut it = Watched::new().await;
    it.node.is_synced_at(HEIGHT);
    let mut tasks = Tasks::new();
    tasks.spawn("LND health", it.monitor.run(tasks.shutdown()));
    it.health.wait_for(Option::is_some).await.unwrap();

    it.node.falls_silent();
    it.failures.send_replace(());

    let away = it.health.wait_for(Option::is_none);
    drop(timeout(health::HEALTHY_INTERVAL / 2, away).await.expect("it checked").unwrap());
}

// spec: D33 T10
#[tokio::test]
async fn the_amount_of_an_escrow_is_looked_up_whatever_a_stream_reports() {
    for (paid, is_active) in [(101_000_000, true), (100_999_999, false), (0, false)] {
        let mut it = Watched::new().await;
        let order = it.fixture.awaiting_hold(1).await;
        it.node.is_synced_at(HEIGHT);
        it.monitor.check().await;
        let HoldStatus::Accepted { expires_at, .. } = PAID else { unreachable!("it is paid") };
        let shown = HoldStatus::Accepted { paid: Msats(paid), expires_at };
        *it.node.hold.lock().unwrap() = Some(shown);
        let mut commits = it.fixture.engine.commits();
        let waits = it.fixture.order(order).await.state;

        let mut tasks = Tasks::new();
        let streams = Streams::new(
            it.node.clone(),
            it.fixture.reader.clone(),
            it.fixture.engine.clone(),
            it.health.clone(),
        );
        tasks.spawn("LND streams", streams.run(tasks.shutdown()));
        while it.fixture.order(order).await.state == waits {
            commits.changed().await.unwrap();
        }

        let state = it.fixture.order(order).await.state;
        assert_eq!(matches!(state, OrderState::Active { .. }), is_active, "{paid}: {state:?}");
        assert_eq!(state.is_final(), !is_active, "{paid}: {state:?}");
    }
}

#[tokio::test]
async fn no_stream_is_opened_while_lnd_does_not_answer() {
    let mut it = Watched::new().await;
    it.fixture.awaiting_hold(1).await;
    let mut streams = Streams::new(
        it.node.clone(),
        it.fixture.reader.clone(),
        it.fixture.engine.clone(),
        it.health.clone(),
    );
    streams.open_missing().await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(it.node.streams.load(Ordering::SeqCst), 0);

    it.node.is_synced_at(HEIGHT);
    it.monitor.check().await;
    streams.open_missing().await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(it.node.streams.load(Ordering::SeqCst), 1);
}
