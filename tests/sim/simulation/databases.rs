//! Databases of earlier versions: each is opened and migrated, and every trade in it ends.
//!
//! `tests/databases/` has one file per version, named after its newest migration: trades in every
//! state, with their messages and acts that are still to be done. Nothing is replayed: LND is rebuilt
//! from the holds and payments in the file, and the traders' keys follow from the seed.
//!
//! Before a change of what is stored, write the file of the old version, on the commit before the change:
//! `WRITE_DATABASE=1 cargo test --test sim databases::`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mostrod::clock::ManualClock;
use mostrod::engine::Write;
use mostrod::entropy::Entropy as _;
use mostrod::nostr::JsonUtil as _;
use mostrod::store::{Class, Sealed};
use mostrod::wire::notice;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use trade::{
    BlockHeight, Destination, FailureReason, HoldStatus, Input, Invoice, Msats, Observation, Order,
    OrderState, PaymentHash, PaymentStatus, Preimage, Sats, Status, Timestamp,
};

use super::{SeededEntropy, Simulation, folder, text};
use crate::daemon::read_destination;
use crate::lnd::{FakeLnd, Ledger, Payee, hash_of};
use crate::ops::ClientAction::{AddInvoice, Cancel, FiatSent, Release, Take, TakeWithInvoice};
use crate::ops::Op::{
    Advance, CreateOrder, HangAfter, LndUnreachable, LoseRequest, Mine, PeersDisconnect,
    PeersReconnect, Reconcile, Send,
};
use crate::ops::Who::{Maker, Rival, Taker};
use crate::ops::{ClientAction, End, Op, Who, is_buy};
use crate::relay::LAST_TRADE;

const SEED: u64 = 4;

/// More random values than the writing of a file draws.
const DRAWS: usize = 1_000;

/// Each trade of a file, its state in the file, and its end. Odd ones are buy orders.
const TRADES: [(u8, &str, &str); 26] = [
    // A frozen trade waits for a person; LND's report of the payment unfreezes two of them.
    (0, "Frozen", "Frozen"),             // the escrow was lost
    (2, "Frozen and Frozen", "Success"), // LND lost the payment
    (4, "Frozen", "Frozen"),             // LND lost the hold
    (6, "Frozen", "Frozen"),             // settled without a decision
    (8, "Frozen and Frozen", "Success"), // LND paid an attempt that had failed
    (10, "Success and Paid", "Success"), // no message was sent yet
    (12, "AwaitingInvoice", "Success"),  // before the hold
    (14, "Expired", "Expired"),
    (16, "PayingBuyer and NeedsInvoice", "Success"),
    (18, "FiatSent", "Success"),      // the escrow is at its margin
    (20, "PreparingHold", "Success"), // after the buyer sent an invoice
    (22, "Settling", "Success"),      // the escrow is near its margin
    (24, "Pending", "Success"),       //
    (1, "Pending", "Success"),        // back in the book, a refund is due
    (3, "PayingBuyer and Sending", "Success"), // the daemon crashed during the call
    (5, "Active", "Success"),         //
    (7, "FiatSent", "Success"),       //
    (9, "AwaitingInvoice", "Success"), // after the escrow
    (11, "AwaitingHold", "Success"),  //
    (13, "Canceled", "Canceled"),     // a refund is due
    (15, "Pending", "Success"),       // with the maker's invoice
    (17, "PayingBuyer and Sending", "Success"), // in flight
    (19, "PayingBuyer and Due", "Success"), // failed once
    (21, "PayingBuyer and Sending", "Success"), // the call was not answered
    (23, "PayingBuyer and Sending", "Success"), // the call was not made
    (25, "PreparingHold", "Success"), // after a take
];

/// The step up to which a trade is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    Made,
    Taken,
    Paid,
    Active,
    FiatSent,
    Released,
}

/// Creates the trades of a file, each in its state.
struct DatabaseWriter {
    simulation: Simulation,
    /// Whether no relay accepts a message, so that all stay in the outbox.
    relays_refuse: bool,
}

impl DatabaseWriter {
    async fn perform(&mut self, ops: &[Op]) -> Result<(), String> {
        for op in ops {
            if self.relays_refuse {
                self.simulation.refusals = u8::MAX;
            }
            self.simulation.perform(*op).await.map_err(|wrong| format!("{op:?}: {wrong}"))?;
        }
        Ok(())
    }

    async fn send(&mut self, trade: u8, who: Who, action: ClientAction) -> Result<(), String> {
        self.perform(&[Send { trade, who, action }]).await
    }

    async fn advance_to(&mut self, trade: u8, to: Point) -> Result<(), String> {
        let (buyer, seller) = if is_buy(trade) { (Maker, Taker) } else { (Taker, Maker) };
        self.perform(&[CreateOrder { trade }]).await?;
        if to >= Point::Taken {
            self.send(trade, Taker, TakeWithInvoice).await?;
        }
        if to >= Point::Paid {
            let hash = self.simulation.hold_of(trade).await?;
            self.simulation.lnd.ledger().pay(hash, 0, 0);
            self.perform(&[Reconcile]).await?;
        }
        let is_asked = self.simulation.order(trade).await?.status() == Status::WaitingBuyerInvoice;
        if to >= Point::Active && is_asked {
            self.send(trade, buyer, AddInvoice).await?;
        }
        if to >= Point::FiatSent {
            self.send(trade, buyer, FiatSent).await?;
        }
        if to >= Point::Released {
            self.send(trade, seller, Release).await?;
        }
        Ok(())
    }

    /// Ends the payment of a trade.
    async fn end_payment(&mut self, trade: u8, how: End) -> Result<PaymentHash, String> {
        let hash = self.simulation.payout_hash(trade).await?;
        self.simulation.lnd.ledger().end_payment(hash, how);
        self.perform(&[Reconcile]).await?;
        Ok(hash)
    }

    /// States that need time and blocks. Their messages are sent.
    async fn create_slow_states(&mut self) -> Result<(), String> {
        self.advance_to(14, Point::Made).await?;
        self.perform(&[Advance { secs: 620 }]).await?;
        self.advance_to(0, Point::FiatSent).await?;
        self.perform(&[Mine { blocks: 130 }, Reconcile]).await?;

        self.advance_to(4, Point::Active).await?;
        let hash = self.simulation.hold_of(4).await?;
        self.simulation.lnd.ledger().holds.remove(&hash);
        self.advance_to(6, Point::Active).await?;
        let hash = self.simulation.hold_of(6).await?;
        if let Some(invoice) = self.simulation.lnd.ledger().holds.get_mut(&hash) {
            invoice.status = HoldStatus::Settled;
        }
        self.perform(&[Reconcile]).await?;

        self.advance_to(2, Point::Released).await?;
        let hash = self.simulation.payout_hash(2).await?;
        self.simulation.lnd.ledger().payments.remove(&hash);
        self.perform(&[Reconcile, Advance { secs: 140 }]).await?;
        self.advance_to(16, Point::Released).await?;
        self.end_payment(16, End::Refused).await?;
        self.advance_to(8, Point::Released).await?;
        let hash = self.end_payment(8, End::Refused).await?;
        self.send(8, Taker, AddInvoice).await?;
        let (receipt, fee) = (self.simulation.lnd.ledger().payees[&hash].preimage, Msats(1_000));
        let status = PaymentStatus::Succeeded { index: 1_000, receipt, fee };
        self.simulation.apply_observation(8, Observation::Payment { hash, status }).await?;

        self.advance_to(18, Point::FiatSent).await?;
        self.advance_to(22, Point::FiatSent).await?;
        self.perform(&[Mine { blocks: 112 }]).await
    }

    /// States that wait for traders. Their messages are still to be sent.
    async fn create_states_that_wait_for_traders(&mut self) -> Result<(), String> {
        self.advance_to(10, Point::Released).await?;
        self.end_payment(10, End::Paid).await?;
        for (trade, to) in [
            (24, Point::Made),
            (15, Point::Made),
            (11, Point::Taken),
            (9, Point::Paid),
            (5, Point::Active),
            (7, Point::FiatSent),
            (17, Point::Released),
            (19, Point::Released),
        ] {
            self.advance_to(trade, to).await?;
        }
        for trade in [12, 20] {
            self.perform(&[CreateOrder { trade }, Send { trade, who: Taker, action: Take }])
                .await?;
        }
        self.end_payment(19, End::NoRoute).await?;
        self.send(5, Rival, Release).await
    }

    /// States in which a call did not reach LND, or LND did not answer it.
    async fn create_states_that_wait_for_lnd(&mut self) -> Result<(), String> {
        for (trade, fault) in [(21, LoseRequest), (3, HangAfter)] {
            self.perform(&[PeersDisconnect]).await?;
            self.advance_to(trade, Point::Released).await?;
            self.perform(&[PeersReconnect, fault, Advance { secs: 10 }]).await?;
        }
        self.advance_to(1, Point::Paid).await?;
        self.advance_to(13, Point::Paid).await?;
        self.perform(&[CreateOrder { trade: 25 }, PeersDisconnect]).await?;
        self.advance_to(23, Point::Released).await?;
        self.perform(&[LndUnreachable]).await?;
        self.send(1, Taker, Cancel).await?;
        self.send(13, Maker, Cancel).await?;
        self.send(22, Maker, Release).await?;
        self.send(25, Taker, Take).await?;
        self.send(20, Taker, AddInvoice).await
    }

    /// A message that is sealed and not sent, and an alarm that is not logged.
    async fn create_started_rows(&mut self) -> Result<(), String> {
        let Simulation { daemon, relays, .. } = &self.simulation;
        let soon = daemon.now().after(Duration::from_mins(1));
        let limits = Class::ALL.map(|class| (class, 64));
        let due = daemon.reader.list_acts_due(soon, &limits).await.map_err(text)?;
        let mut message = due.into_iter().filter(|due| due.class == Class::Trade);
        let message = message.find_map(|due| due.act.ok()).ok_or("no message")?;
        let event = relays.stored.last().ok_or("no event")?.event.as_json();
        let sealed =
            Sealed { event, written_at: daemon.now(), expires_at: daemon.now().after(DAY) };
        daemon.engine.write(Write::SealMessage { id: message.id, sealed }).await.map_err(text)?;

        let height = self.simulation.lnd.ledger().height().0;
        daemon.engine.write(Write::RaiseHeight(BlockHeight(height + 11))).await.map_err(text)?;
        let order = self.simulation.orders[&18];
        daemon.engine.apply(order, Input::Deadline).await.map_err(text)?;
        Ok(())
    }
}

const DAY: Duration = Duration::from_hours(24);

/// Writes the file of this version into `folder`.
async fn write(folder: &Path) -> Result<PathBuf, String> {
    let mut writer =
        DatabaseWriter { simulation: Simulation::new(SEED, None).await?, relays_refuse: false };
    writer.create_slow_states().await?;
    writer.relays_refuse = true;
    writer.create_states_that_wait_for_traders().await?;
    writer.create_states_that_wait_for_lnd().await?;
    writer.create_started_rows().await?;
    let mut simulation = writer.simulation;
    simulation.daemon.kill().await;
    let mut database = database(&simulation.environment.folder.path().join("trades.db")).await?;
    let newest = sqlx::query("select max(version) from _sqlx_migrations").fetch_one(&mut database);
    let newest: i64 = newest.await.map_err(text)?.get(0);
    let file = folder.join(format!("{newest:04}.sqlite"));
    if file.exists() {
        std::fs::remove_file(&file).map_err(text)?;
    }
    // Small pages: most tables have a few rows.
    sqlx::query("pragma page_size = 1024").execute(&mut database).await.map_err(text)?;
    let path = file.to_str().ok_or("a path that is not UTF-8")?;
    sqlx::query("vacuum into ?").bind(path).execute(&mut database).await.map_err(text)?;
    database.close().await.map_err(text)?;
    Ok(file)
}

async fn database(file: &Path) -> Result<SqliteConnection, String> {
    let options = SqliteConnectOptions::new().filename(file);
    options.disable_statement_logging().connect().await.map_err(text)
}

impl Simulation {
    /// A simulation on a copy of `file`, with traders and LND in the states that the file implies.
    async fn reopen(file: &Path) -> Result<Self, String> {
        let folder = folder()?;
        let path = folder.path().join("trades.db");
        std::fs::copy(file, &path).map_err(text)?;
        let (writer, reader) = mostrod::store::open(&path, notice::render).await.map_err(text)?;
        let height = reader.daemon_state().await.map_err(text)?.height.unwrap_or_default();
        drop(reader);
        writer.close().await.map_err(text)?;

        let mut database = database(&path).await?;
        let now = sqlx::query("select max(at) from journal").fetch_one(&mut database);
        let now = Timestamp(now.await.map_err(text)?.get(0));
        let time = Arc::new(ManualClock::at(now));
        let lnd = Arc::new(FakeLnd::new(Arc::clone(&time), height.0, None));
        let rows = lightning_rows(&mut database).await?;
        restore(&mut lnd.ledger(), &rows)?;
        let mut simulation = Self::open(folder, time, lnd, SEED, SEED + 1, None).await?;
        simulation.complete_all = true;
        simulation.created = (0..=LAST_TRADE).collect();
        simulation.find_new_orders().await?;
        simulation.restore_records(&mut database).await?;
        Ok(simulation)
    }

    /// Fills in what the simulation would have recorded while it played the trades.
    async fn restore_records(&mut self, database: &mut SqliteConnection) -> Result<(), String> {
        let trades: BTreeMap<_, _> =
            self.orders.iter().map(|(trade, id)| (id.to_string(), (*trade, *id))).collect();
        let of = |row: &SqliteRow| trades.get(row.get::<&str, _>(0)).copied();
        for row in rows(database, "select id from orders where state like '%frozen%'").await? {
            self.checker.frozen_before.insert(row.get(0));
        }
        for row in rows(database, "select order_id from holds where decision = 'settle'").await? {
            self.released.extend(of(&row).map(|(_, id)| id));
        }
        let hashes = "select id, destination_hash from orders where destination_hash is not null
            union select order_id, hash
            from payout_attempts attempt join payouts on payouts.id = attempt.payout_id";
        for row in rows(database, hashes).await? {
            let hash = PaymentHash::from_hex(row.get(1)).ok_or("an unreadable hash")?;
            self.payout_of.extend(of(&row).map(|(trade, _)| (hash, trade)));
        }
        let sent = "select id from outbox where done_at is not null and lane like 'dm:%'";
        self.accepted.extend(rows(database, sent).await?.iter().map(|row| row.get::<i64, _>(0)));
        Ok(())
    }

    async fn order(&self, trade: u8) -> Result<Order, String> {
        let id = self.orders.get(&trade).ok_or_else(|| format!("no order of {trade}"))?;
        let found = self.daemon.reader.find_order(*id).await.map_err(text)?;
        found.ok_or_else(|| format!("no order of {trade}"))
    }

    /// The hold in a trade's state.
    async fn hold_of(&self, trade: u8) -> Result<PaymentHash, String> {
        let state = self.order(trade).await?.state;
        state.hold().ok_or_else(|| format!("{trade} has no hold: {state:?}"))
    }

    /// The payment hash of a trade's payout.
    async fn payout_hash(&self, trade: u8) -> Result<PaymentHash, String> {
        let attempt =
            self.order(trade).await?.payouts.into_iter().find_map(|payout| payout.attempt);
        attempt.map(|attempt| attempt.hash).ok_or_else(|| format!("no attempt of {trade}"))
    }

    async fn apply_observation(
        &mut self,
        trade: u8,
        observation: Observation,
    ) -> Result<(), String> {
        let id = self.orders.get(&trade).ok_or("no order")?;
        self.daemon.engine.apply(*id, Input::Lightning(observation)).await.map_err(text)?;
        self.run_outbox().await
    }

    /// The state of every trade.
    async fn states(&self) -> Result<Vec<(u8, String)>, String> {
        let mut all = Vec::new();
        for (trade, ..) in TRADES {
            let order = self.order(trade).await?;
            let state = match order.state {
                OrderState::Ended(outcome) => format!("{outcome:?}"),
                state => first_word(&format!("{state:?}")),
            };
            let payout =
                order.payouts.first().map(|payout| first_word(&format!("{:?}", payout.state)));
            all.push((trade, payout.map_or(state.clone(), |of| format!("{state} and {of}"))));
        }
        Ok(all)
    }
}

fn first_word(text: &str) -> String {
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

async fn rows(
    database: &mut SqliteConnection,
    sql: &'static str,
) -> Result<Vec<SqliteRow>, String> {
    sqlx::query(sql).fetch_all(database).await.map_err(text)
}

/// The holds, payments and destinations in a file.
struct LightningRows {
    holds: Vec<SqliteRow>,
    payments: Vec<SqliteRow>,
    destinations: Vec<SqliteRow>,
}

async fn lightning_rows(database: &mut SqliteConnection) -> Result<LightningRows, String> {
    // A hold that LND settled by itself is not in the ledger.
    let holds = "select hash, amount, seen, coalesce(paid_msat, 0), coalesce(expires_height, 0),
            iif(decision = 'settle', paid_msat, 0)
        from holds where bolt11 is not null";
    let payments = "select hash, payouts.amount, attempt.state, acked, payment_index, preimage,
            coalesce(fee_msat, 0), bolt11
        from payout_attempts attempt join payouts on payouts.id = attempt.payout_id";
    let destinations = "select json_extract(destination, '$.text') from orders
        where destination is not null union select bolt11 from payout_attempts";
    Ok(LightningRows {
        holds: rows(database, holds).await?,
        payments: rows(database, payments).await?,
        destinations: rows(database, destinations).await?,
    })
}

/// LND in the state that the file implies, with the payees of the seed.
fn restore(lnd: &mut Ledger, rows: &LightningRows) -> Result<(), String> {
    let random = SeededEntropy::new(SEED);
    let drawn = (0..DRAWS).map(|_| Preimage(random.draw()));
    let preimages: BTreeMap<_, _> = drawn.map(|preimage| (hash_of(preimage), preimage)).collect();
    for row in &rows.destinations {
        let Destination::Bolt11(invoice) = read_destination(row.get(0)) else {
            return Err("an unreadable destination".to_owned());
        };
        let Invoice { hash, amount, expires_at, .. } = invoice;
        let preimage = *preimages.get(&hash).ok_or("an unknown invoice")?;
        let amount = amount.map(|amount| Sats(amount.0 / 1_000));
        lnd.payees.insert(hash, Payee { preimage, amount, expires_at });
    }
    for row in &rows.holds {
        let hash = PaymentHash::from_hex(row.get(0)).ok_or("an unreadable hash")?;
        let [amount, paid, height] = [row.get(1), row.get(3), row.get(4)].map(unsigned);
        let (paid, earned) = (Msats(paid), Msats(unsigned(row.get(5))));
        let expires_at = BlockHeight(u32::try_from(height).map_err(text)?);
        let status = match row.get(2) {
            "open" => HoldStatus::Open,
            "accepted" => HoldStatus::Accepted { paid, expires_at },
            "settled" => HoldStatus::Settled,
            "canceled" => HoldStatus::Canceled,
            _ => return Err("a hold with an unexpected state".to_owned()),
        };
        lnd.restore_hold(hash, Sats(amount), status, earned);
    }
    for row in &rows.payments {
        let hash = PaymentHash::from_hex(row.get(0)).ok_or("an unreadable hash")?;
        let [amount, acked, index, fee] =
            [row.get(1), row.get(3), row.get(4), row.get(6)].map(unsigned);
        let status = match row.get(2) {
            "succeeded" => {
                let receipt = *preimages.get(&hash).ok_or("a payment to an unknown payee")?;
                PaymentStatus::Succeeded { index, receipt, fee: Msats(fee) }
            }
            "failed" => PaymentStatus::Failed { index, reason: FailureReason::NoRoute },
            _ if acked == 1 => PaymentStatus::InFlight { index },
            _ => PaymentStatus::Unknown,
        };
        lnd.restore_payment(hash, Msats(amount * 1_000), status);
    }
    Ok(())
}

fn unsigned(number: i64) -> u64 {
    number.unsigned_abs()
}

/// Opens a copy of `file`, checks the state of every trade, and lets all trades end.
async fn check(file: &Path) -> Result<(), String> {
    let mut simulation = Simulation::reopen(file).await?;
    let owned = |all: Vec<(u8, &str)>| -> Vec<_> {
        all.into_iter().map(|(trade, what)| (trade, what.to_owned())).collect()
    };
    let expected = owned(TRADES.map(|(trade, state, _)| (trade, state)).to_vec());
    assert_eq!(simulation.states().await?, expected);
    simulation.run_to_the_end().await?;
    let ended = simulation.states().await?;
    let ended: Vec<_> = ended.into_iter().map(|(trade, of)| (trade, first_word(&of))).collect();
    assert_eq!(ended, owned(TRADES.map(|(trade, _, end)| (trade, end)).to_vec()));
    Ok(())
}

fn block_on<T>(run: impl Future<Output = Result<T, String>>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run).expect("there is no error")
}

fn databases_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/databases")
}

fn must_write() -> bool {
    std::env::var_os("WRITE_DATABASE").is_some()
}

// spec: INV-3 INV-6 D13
#[test]
fn trades_in_every_state_end_in_a_database_of_this_version() {
    block_on(async {
        let scratch = folder()?;
        let file = write(scratch.path()).await?;
        check(&file).await?;
        if must_write() {
            let name = file.file_name().ok_or("no name")?;
            std::fs::copy(&file, databases_folder().join(name)).map_err(text)?;
        }
        Ok(())
    });
}

// spec: INV-3 INV-6 D13
#[test]
fn trades_in_every_state_end_in_a_database_of_each_earlier_version() {
    let files = std::fs::read_dir(databases_folder()).expect("databases");
    let files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    assert!(!files.is_empty());
    for file in files {
        block_on(check(&file));
    }
}
