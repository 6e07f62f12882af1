//! Tests of the store, each on a real migrated file.

mod faults;
mod forbidden;
mod lanes;
mod messages;
mod migrations;
mod money;
mod opening;
mod orders;
mod plans;
mod retention;
mod traders;
mod waiting;

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use trade::{
    Attempt, Cause, Decision, Effect, Fiat, FiatAmount, Hold, HoldDecision, HoldPurpose,
    HoldSecret, IdentityKey, Invoice, Kind, Network, NodeKey, Notice, Order, OrderId, OrderState,
    Outcome, Party, PaymentHash, Payout, PayoutPurpose, PayoutState, Preimage, Price, Quote, Sats,
    Seen, Terms, Timestamp, TradeKey,
};

use super::text::{At, Text as _};
use super::{
    Class, EventId, JournalLine, OpenError, OutboxRow, Reader, StoreError, Transport, WriteTx,
    Writer,
};

/// The escrow margin of these tests.
const MARGIN: u32 = 24;

/// The text of a message in these tests; it shows everything that is rendered.
pub(crate) fn spoken(
    notice: &Notice,
    order: Option<OrderId>,
    request_id: Option<u64>,
    trade_index: Option<i64>,
) -> String {
    format!("{notice:?} {order:?} {request_id:?} {trade_index:?}")
}

pub(crate) async fn open(path: &Path) -> Result<(Writer, Reader), OpenError> {
    super::open(path, spoken).await
}

impl Reader {
    /// Whether a message with this event or rumor was acted on.
    pub(crate) async fn is_remembered(&self, id: EventId) -> Result<bool, StoreError> {
        Ok(self.find_known(id, None, None, TradeKey([0; 32])).await?.is_remembered)
    }

    /// The transport a trade key last wrote on.
    pub(crate) async fn find_transport(
        &self,
        key: TradeKey,
    ) -> Result<Option<Transport>, StoreError> {
        let text: Option<String> =
            sqlx::query_scalar("select transport from trade_keys where key = ?")
                .bind(key.to_text())
                .fetch_optional(&mut *self.connection().await?)
                .await?;
        At::new("trade_keys", key).read_some("transport", text.as_deref())
    }
}

/// A new database, deleted on drop.
struct Disk {
    folder: TempDir,
    writer: Writer,
    reader: Reader,
}

impl Disk {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let (writer, reader) = open(&folder.path().join("trades.db")).await.unwrap();
        Self { folder, writer, reader }
    }

    /// The same file, closed and opened again.
    async fn reopened(self) -> Self {
        let Self { folder, writer, reader } = self;
        reader.pool.close().await;
        writer.close().await.unwrap();
        let (writer, reader) = open(&folder.path().join("trades.db")).await.unwrap();
        Self { folder, writer, reader }
    }

    async fn begin(&mut self) -> WriteTx<'_> {
        self.writer.begin().await.unwrap()
    }

    async fn create(&mut self, order: &Order) {
        let mut tx = self.begin().await;
        tx.create(&decision(order.clone(), vec![]), &line(1), MARGIN).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Saves `after` as the next version of the order.
    async fn save(&mut self, after: &Order, effects: Vec<Effect>) -> Result<(), StoreError> {
        let before = self.order(after.id).await;
        let mut tx = self.begin().await;
        tx.save(&before, &decision(after.clone(), effects), &line(2), MARGIN).await?;
        tx.commit().await
    }

    /// The due acts of all classes at this time.
    async fn due(&self, now: i64) -> Vec<OutboxRow> {
        let limits = Class::ALL.map(|class| (class, 100));
        let due = self.reader.list_acts_due(Timestamp(now), &limits).await.unwrap();
        due.into_iter().map(|due| due.act.unwrap()).collect()
    }

    async fn order(&self, id: OrderId) -> Order {
        self.reader.find_order(id).await.unwrap().unwrap()
    }

    /// Runs SQL that the daemon never runs.
    async fn tamper(&mut self, sql: &'static str) -> Result<(), StoreError> {
        sqlx::query(sql).execute(&mut self.writer.connection).await?;
        Ok(())
    }
}

fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trades.db");
    (folder, path)
}

fn line(at: i64) -> JournalLine {
    JournalLine { at: Timestamp(at), input: "test", event_id: None }
}

fn decision(order: Order, effects: Vec<Effect>) -> Decision {
    Decision {
        order,
        effects,
        postings: vec![],
        account: None,
        notes: vec![],
        child: None,
        cause: Cause::LateNews,
    }
}

fn party(n: u8) -> Party {
    Party {
        trade: TradeKey([n; 32]),
        identity: IdentityKey([n.wrapping_add(100); 32]),
        index: Some(i64::from(n)),
    }
}

fn hash(n: u8) -> PaymentHash {
    PaymentHash([n; 32])
}

fn wanted_hold(n: u8) -> Hold {
    let secret = HoldSecret { hash: hash(n), preimage: Preimage([n; 32]) };
    Hold::wanted(secret, HoldPurpose::Escrow, Sats(101_000))
}

fn canceled_hold(n: u8) -> Hold {
    Hold { decision: Some(HoldDecision::Cancel), seen: Seen::Open, ..wanted_hold(n) }
}

fn invoice(n: u8) -> Invoice {
    Invoice {
        text: format!("lnbcrt1{n}"),
        hash: hash(n),
        payee: NodeKey([2; 33]),
        amount: None,
        expires_at: Timestamp(100_000),
        min_final_cltv: 80,
        network: Network::Regtest,
    }
}

/// A sell order in the book.
fn pending(n: u8) -> Order {
    Order {
        id: OrderId([n; 16]),
        version: 1,
        terms: Terms {
            kind: Kind::Sell,
            fiat_code: "EUR".to_owned(),
            fiat: FiatAmount::Fixed(Fiat(90)),
            price: Price::Fixed,
            payment_method: "face to face".to_owned(),
            quote: Quote::new(Fiat(90), Sats(100_000), Sats(1_000)),
            created_at: Timestamp(1),
            expires_at: Timestamp(1_000),
        },
        maker: party(1),
        taker: None,
        taken_at: None,
        destination: None,
        state: OrderState::Pending,
        holds: vec![],
        payouts: vec![],
    }
}

/// The same order, taken, with the hold `h` requested.
fn awaiting_hold(n: u8, h: u8) -> Order {
    Order {
        taker: Some(party(2)),
        taken_at: Some(Timestamp(2)),
        state: OrderState::AwaitingHold { hash: hash(h), until: Timestamp(900) },
        holds: vec![Hold { bolt11: Some("lnbcrt".to_owned()), seen: Seen::Open, ..wanted_hold(h) }],
        ..pending(n)
    }
}

fn ended(n: u8, outcome: Outcome) -> Order {
    Order { state: OrderState::Ended(outcome), ..pending(n) }
}

/// The payout to the buyer: due, or being sent with `attempt`.
fn payout(attempt: Option<Attempt>) -> Payout {
    let state = match attempt {
        Some(_) => PayoutState::Sending,
        None => PayoutState::Due { at: Timestamp(5) },
    };
    Payout { state, attempt, ..Payout::owed(PayoutPurpose::Buyer, Sats(99_000), Timestamp(4)) }
}

/// A sell order whose hold was settled.
fn paying(n: u8, attempt: Option<Attempt>) -> Order {
    Order {
        taker: Some(party(2)),
        taken_at: Some(Timestamp(2)),
        state: OrderState::PayingBuyer,
        payouts: vec![payout(attempt)],
        ..pending(n)
    }
}

fn attempt(n: u8) -> Attempt {
    Attempt {
        hash: hash(n),
        bolt11: "lnbcrt1".to_owned(),
        amount: None,
        max_fee: Sats(10),
        subsidy: None,
        cltv_limit: 1_008,
        expires_at: Timestamp(10_000),
        tries: 1,
        begun_at: Timestamp(5),
        acked: false,
        base_index: 0,
        payment_index: 0,
        unanswered_since: None,
        refused_since: None,
        refusal: None,
        in_doubt_since: None,
        missing_since: None,
        htlc_missing_since: None,
        receipt: None,
    }
}
