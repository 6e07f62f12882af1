//! Tests of the engine, each on a real migrated file.

mod batches;
mod clock;
mod messages;
mod retention;
mod strangers;
mod trades;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinSet;
use trade::{
    Backlog, BlockHeight, Command, Destination, Fact, HoldSecret, HoldStatus, IdentityKey, Input,
    Invoice, Kind, LightningIdentity, Msats, Network, NewOrder, NodeKey, Observation, Order,
    OrderId, PaymentHash, Payout, PayoutPurpose, Policy, Ppm, Preimage, Question, Request, Sats,
    Sender, Timestamp, TradeKey,
};

use super::{Applied, Engine, EngineError, Write};
use crate::clock::{Clock as _, ManualClock};
use crate::store::tests::open;
use crate::store::{Act, Class, Delivery, EventId, OutboxRow, Reader, Transport};

const START: Timestamp = Timestamp(1_800_000_000);
pub(crate) const HEIGHT: BlockHeight = BlockHeight(1_000);
pub(crate) const PAID: HoldStatus =
    HoldStatus::Accepted { paid: Msats(101_000_000), expires_at: BlockHeight(1_147) };

/// A running engine on a file of its own.
pub(crate) struct EngineFixture {
    folder: TempDir,
    pub(crate) engine: Engine,
    pub(crate) reader: Reader,
    pub(crate) clock: Arc<ManualClock>,
    writer: JoinSet<Result<(), EngineError>>,
    /// The number of the next event.
    next: AtomicU8,
}

impl EngineFixture {
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::at(START));
        let fixture = Self::on(folder, clock, 1).await;
        fixture.engine.write(Write::SetTip(HEIGHT)).await.unwrap();
        let node = LightningIdentity { key: NodeKey([2; 33]), network: Network::Regtest };
        fixture.engine.write(Write::SetNode(node)).await.unwrap();
        fixture.engine.relays_reachable().await.unwrap();
        fixture.engine.set_backlog(Backlog::Decided);
        fixture
    }

    async fn on(folder: TempDir, clock: Arc<ManualClock>, next: u8) -> Self {
        let (writer, reader) = open(&folder.path().join("trades.db")).await.unwrap();
        let (engine, task) = Engine::new(writer, policy(), clock.clone());
        let mut writer = JoinSet::new();
        writer.spawn(task.run());
        Self { folder, engine, reader, clock, writer, next: AtomicU8::new(next) }
    }

    /// The same file under a new daemon.
    pub(crate) async fn restarted(self) -> Self {
        let Self { folder, engine, reader, clock, mut writer, next } = self;
        drop((engine, reader));
        writer.join_next().await.unwrap().unwrap().unwrap();
        Self::on(folder, clock, next.into_inner()).await
    }

    /// A new event.
    fn delivery(&self, from: TradeKey) -> Delivery {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        Delivery {
            event_id: EventId([n; 32]),
            rumor_id: None,
            created_at: self.clock.now(),
            from,
            transport: Transport::Nip44,
        }
    }

    async fn create(&self, n: u8) -> OrderId {
        let id = OrderId([n; 16]);
        let maker = Sender { trade_index: Some(i64::from(n)), ..seller() };
        let applied =
            self.engine.create(self.delivery(maker.trade), id, maker, Some(1), sell_order()).await;
        assert_eq!(applied.unwrap(), Applied::Saved);
        id
    }

    /// Delivers a command to an order, with LND answering every question with `lnd`.
    async fn say(&self, sender: Sender, order: OrderId, command: Command) -> Applied {
        self.say_while(sender, order, command, None).await
    }

    async fn say_while(
        &self,
        sender: Sender,
        order: OrderId,
        command: Command,
        lnd: Option<HoldStatus>,
    ) -> Applied {
        let request = Request { sender, request_id: Some(77), command };
        let delivery = self.delivery(sender.trade);
        self.engine.deliver(delivery, order, request, answers(lnd)).await.unwrap()
    }

    pub(crate) async fn lnd_says(&self, order: OrderId, observation: Observation) -> Applied {
        self.engine.apply(order, Input::Lightning(observation)).await.unwrap()
    }

    pub(crate) async fn order(&self, id: OrderId) -> Order {
        self.reader.find_order(id).await.unwrap().unwrap()
    }

    /// The payout to the buyer of an order.
    async fn payout(&self, id: OrderId) -> Payout {
        self.order(id).await.payout(PayoutPurpose::Buyer).unwrap().clone()
    }

    /// A sell order taken with an invoice, its hold acknowledged by LND.
    pub(crate) async fn awaiting_hold(&self, n: u8) -> OrderId {
        let id = self.create(n).await;
        let destination = Some(Destination::Bolt11(invoice(100 + n)));
        let take = Command::TakeSell { destination, secret: secret(n) };
        let taker = Sender { trade_index: Some(i64::from(n)), ..buyer() };
        assert_eq!(self.say(taker, id, take).await, Applied::Saved);
        let bolt11 = "lnbcrt1hold".to_owned();
        let opened = Observation::HoldOpened { hash: secret(n).hash, bolt11 };
        assert_eq!(self.lnd_says(id, opened).await, Applied::Saved);
        id
    }

    /// Everything that is due in the outbox at this moment, in order of commitment, and then is done.
    async fn acts(&self) -> Vec<OutboxRow> {
        let mut done = Vec::new();
        loop {
            let limits = Class::ALL.map(|class| (class, 100));
            let due = self.reader.list_acts_due(self.clock.now(), &limits).await.unwrap();
            if due.is_empty() {
                done.sort_by_key(|row: &OutboxRow| row.id);
                return done;
            }
            for row in due {
                let row = row.act.unwrap();
                self.engine.finish_act(row.id, None).await.unwrap();
                done.push(row);
            }
        }
    }

    /// The messages that are due in the outbox for a key; see [`EngineFixture::acts`].
    async fn messages(&self, to: TradeKey) -> Vec<String> {
        let messages = self.acts().await.into_iter().filter_map(|row| match row.act {
            Act::Notify { to: reader, text } if reader == to => Some(text),
            _ => None,
        });
        messages.collect()
    }
}

fn answers(lnd: Option<HoldStatus>) -> impl Fn(Question) -> std::future::Ready<Option<Fact>> {
    move |Question::HoldStatus { hash }| {
        std::future::ready(lnd.map(|status| Fact::HoldSeen { hash, status }))
    }
}

fn seller() -> Sender {
    Sender { trade: TradeKey([1; 32]), identity: IdentityKey([101; 32]), trade_index: Some(1) }
}

fn buyer() -> Sender {
    Sender { trade: TradeKey([2; 32]), identity: IdentityKey([102; 32]), trade_index: Some(1) }
}

pub(crate) fn secret(n: u8) -> HoldSecret {
    HoldSecret { hash: PaymentHash([n; 32]), preimage: Preimage([n; 32]) }
}

pub(crate) fn invoice(n: u8) -> Invoice {
    Invoice {
        text: format!("lnbcrt1invoice{n}"),
        hash: PaymentHash([n; 32]),
        payee: NodeKey([3; 33]),
        amount: None,
        expires_at: START.after(Duration::from_hours(24)),
        min_final_cltv: 80,
        network: Network::Regtest,
    }
}

pub(crate) fn sell_order() -> NewOrder {
    NewOrder {
        kind: Some(Kind::Sell),
        fiat_code: "EUR".to_owned(),
        fiat_amount: 90,
        min_amount: None,
        max_amount: None,
        amount: 100_000,
        payment_method: "face to face".to_owned(),
        premium: 0,
        destination: None,
        expires_at: None,
        names_a_mint: false,
    }
}

pub(crate) fn policy() -> Policy {
    Policy {
        fee: Ppm(20_000),
        max_order_amount: Sats(1_000_000),
        min_order_amount: Sats(100),
        fiat_codes: vec![],
        book_window: Duration::from_hours(24),
        max_book_window: Duration::from_hours(360),
        duty_window: Duration::from_mins(15),
        reply_window: Duration::from_secs(8),
        invoice_window: Duration::from_hours(1),
        max_final_cltv: 144,
        hold_cltv_delta: 144,
        escrow_margin: 24,
        payout_attempts: 3,
        payout_interval: Duration::from_mins(1),
        payout_quiet: Duration::from_mins(1),
        payout_slow_interval: Duration::from_hours(1),
        payout_patience: Duration::from_hours(24),
        max_routing_fee: Ppm(2_000),
        max_routing_subsidy: Sats(10_000),
        payout_cltv_limit: 1_008,
    }
}
