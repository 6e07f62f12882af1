//! Facts of the watcher, each on a real file, with a node that says what it is told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use trade::{
    BlockHeight, HoldStatus, LightningIdentity, Network, NodeKey, OrderState, PaymentStatus,
    Preimage,
};

use super::*;
use crate::engine::tests::{HEIGHT, PAID, World, secret};
use crate::lightning::{
    Bolt11, Htlc, LightningError, NewHold, NewPayment, NodeDescription, Readiness,
};

/// Long enough for many blocks.
const OUTAGE: Duration = Duration::from_hours(10);

/// A node that answers, or does not.
#[derive(Debug, Default)]
struct Node {
    readiness: Mutex<Option<Readiness>>,
}

impl Node {
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
        channels_active: 1,
        height,
        identity: LightningIdentity { key: NodeKey([2; 33]), network: Network::Regtest },
        node: NodeDescription::default(),
    }
}

#[async_trait]
impl LightningNode for Node {
    async fn readiness(&self) -> Result<Readiness, LightningError> {
        self.readiness.lock().unwrap().clone().ok_or(LightningError::Locked)
    }

    async fn hold_status(&self, _: PaymentHash) -> Result<HoldStatus, LightningError> {
        Ok(PAID)
    }

    fn watch(&self, _: PaymentHash) -> BoxStream<'_, HoldStatus> {
        stream::iter([PAID]).chain(stream::pending()).boxed()
    }

    fn follow(&self, _: PaymentHash) -> BoxStream<'_, PaymentStatus> {
        stream::pending().boxed()
    }

    async fn payment_status(&self, _: PaymentHash) -> Result<PaymentStatus, LightningError> {
        unimplemented!("no payment is open")
    }

    async fn find_htlc(&self, _: PaymentHash) -> Result<Option<Htlc>, LightningError> {
        unimplemented!("no payment is open")
    }

    async fn add_hold(&self, _: NewHold) -> Result<Bolt11, LightningError> {
        unimplemented!("the watcher adds nothing")
    }

    async fn settle_hold(&self, _: Preimage) -> Result<HoldStatus, LightningError> {
        unimplemented!("the watcher settles nothing")
    }

    async fn cancel_hold(&self, _: PaymentHash) -> Result<HoldStatus, LightningError> {
        unimplemented!("the watcher cancels nothing")
    }

    async fn send(&self, _: NewPayment) -> Result<PaymentStatus, LightningError> {
        unimplemented!("the watcher pays nothing")
    }
}

/// What the daemon makes of its node, told by the monitor.
struct Watched {
    world: World,
    node: Arc<Node>,
    monitor: HealthMonitor,
    comparison: Comparison,
}

impl Watched {
    async fn new() -> Self {
        let world = World::new().await;
        let node = Arc::new(Node::default());
        let (monitor, health) = HealthMonitor::new(node.clone(), world.engine.clone(), None);
        let comparison = Comparison {
            node: node.clone(),
            reader: world.reader.clone(),
            engine: world.engine.clone(),
            health,
            period: Duration::from_mins(1),
        };
        Self { world, node, monitor, comparison }
    }

    async fn hears_of_the_payment(&self, order: OrderId) {
        let news = Observation::Hold { hash: secret(1).hash, status: PAID };
        report(&self.world.engine, order, news).await;
    }
}

// spec: D21 INV-1 T10 E3
#[tokio::test]
async fn after_an_outage_an_escrow_is_relied_on_once_the_tip_of_the_chain_is_known() {
    let mut it = Watched::new().await;
    let order = it.world.awaiting_hold(1).await;
    it.world.clock.advance(OUTAGE);

    it.hears_of_the_payment(order).await;
    it.comparison.round().await.unwrap();
    assert!(matches!(it.world.order(order).await.state, OrderState::AwaitingHold { .. }));

    it.node.is_synced_at(HEIGHT);
    it.monitor.ask().await;
    it.comparison.round().await.unwrap();
    assert!(matches!(it.world.order(order).await.state, OrderState::Active { .. }));
}

// spec: D21 INV-1 E5
#[tokio::test]
async fn an_escrow_that_ran_out_of_blocks_during_an_outage_is_given_back() {
    let mut it = Watched::new().await;
    let order = it.world.awaiting_hold(1).await;
    it.world.clock.advance(OUTAGE);

    it.hears_of_the_payment(order).await;
    it.node.is_synced_at(BlockHeight(HEIGHT.0 + 130));
    it.monitor.ask().await;
    it.comparison.round().await.unwrap();

    assert!(it.world.order(order).await.state.is_final());
}

// spec: D21 INV-1 E6
#[tokio::test]
async fn the_height_of_an_lnd_that_is_not_synced_is_not_the_tip() {
    let mut it = Watched::new().await;
    let order = it.world.awaiting_hold(1).await;
    it.world.clock.advance(OUTAGE);

    it.node.catches_up_at(BlockHeight(HEIGHT.0 + 1));
    it.monitor.ask().await;
    it.comparison.round().await.unwrap();

    assert!(matches!(it.world.order(order).await.state, OrderState::AwaitingHold { .. }));
    let known = it.world.reader.daemon_state().await.unwrap();
    assert_eq!(known.height, Some(BlockHeight(HEIGHT.0 + 1)), "deadlines go by it");
}
