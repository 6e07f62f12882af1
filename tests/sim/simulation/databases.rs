//! Databases of earlier versions: each opens, migrates, and every trade in it ends.
//!
//! `tests/databases/` has one file per version, named after its newest migration: trades in every
//! state, with their messages and acts that are still to be done. Nothing is replayed: LND is rebuilt
//! from the holds and payments in the file, and the traders' keys follow from the seed.
//!
//! Before a change of what is stored, the file of the old version is written, on the commit before:
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
use crate::ops::Op::{
    Advance, HangAfter, LndFails, LoseRequest, Make, Mine, PeersLeave, PeersReturn, Reconcile, Say,
};
use crate::ops::Said::{AddInvoice, Cancel, FiatSent, Release, Take, TakeWithInvoice};
use crate::ops::Who::{Maker, Rival, Taker};
use crate::ops::{End, Op, Said, Who, is_buy};
use crate::relay::LAST_TRADE;

const SEED: u64 = 4;

/// More than are drawn while a file is written.
const DRAWS: usize = 1_000;

/// Each trade of a file, its state in the file, and its end. Odd ones are buy orders.
const TRADES: [(u8, &str, &str); 26] = [
    // Frozen ones are left to a person; LND's report of the payment unfreezes two of them.
    (0, "Frozen", "Frozen"),             // the escrow was lost
    (2, "Frozen and Frozen", "Success"), // the payout was forgotten
    (4, "Frozen", "Frozen"),             // the hold was forgotten
    (6, "Frozen", "Frozen"),             // settled without a decision
    (8, "Frozen and Frozen", "Success"), // paid though given up
    (10, "Success and Paid", "Success"), // no message was sent yet
    (12, "AwaitingInvoice", "Success"),  // before the hold
    (14, "Expired", "Expired"),          //
    (16, "PayingBuyer and NeedsInvoice", "Success"),
    (18, "FiatSent", "Success"),      // at the margin of its escrow
    (20, "PreparingHold", "Success"), // after the buyer sent an invoice
    (22, "Settling", "Success"),      // near the margin of its escrow
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

/// The state up to which a trade is brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    Made,
    Taken,
    Paid,
    Active,
    FiatSent,
    Released,
}

/// Brings trades to their states in a file.
struct Author {
    simulation: Simulation,
    /// Whether no message leaves the outbox.
    are_relays_full: bool,
}

impl Author {
    async fn go(&mut self, ops: &[Op]) -> Result<(), String> {
        for op in ops {
            if self.are_relays_full {
                self.simulation.refusals = u8::MAX;
            }
            self.simulation.perform(*op).await.map_err(|wrong| format!("{op:?}: {wrong}"))?;
        }
        Ok(())
    }

    async fn say(&mut self, trade: u8, who: Who, what: Said) -> Result<(), String> {
        self.go(&[Say { trade, who, what }]).await
    }

    async fn bring(&mut self, trade: u8, to: Point) -> Result<(), String> {
        let (buyer, seller) = if is_buy(trade) { (Maker, Taker) } else { (Taker, Maker) };
        self.go(&[Make { trade }]).await?;
        if to >= Point::Taken {
            self.say(trade, Taker, TakeWithInvoice).await?;
        }
        if to >= Point::Paid {
            let hash = self.simulation.held_for(trade).await?;
            self.simulation.lnd.ledger().pay(hash, 0, 0);
            self.go(&[Reconcile]).await?;
        }
        let is_asked = self.simulation.order(trade).await?.status() == Status::WaitingBuyerInvoice;
        if to >= Point::Active && is_asked {
            self.say(trade, buyer, AddInvoice).await?;
        }
        if to >= Point::FiatSent {
            self.say(trade, buyer, FiatSent).await?;
        }
        if to >= Point::Released {
            self.say(trade, seller, Release).await?;
        }
        Ok(())
    }

    /// Ends the payment of a trade.
    async fn end_payment(&mut self, trade: u8, how: End) -> Result<PaymentHash, String> {
        let hash = self.simulation.paid_to(trade).await?;
        self.simulation.lnd.ledger().end_payment(hash, how);
        self.go(&[Reconcile]).await?;
        Ok(hash)
    }

    /// States that need time and blocks. Their messages are sent.
    async fn what_takes_long(&mut self) -> Result<(), String> {
        self.bring(14, Point::Made).await?;
        self.go(&[Advance { secs: 620 }]).await?;
        self.bring(0, Point::FiatSent).await?;
        self.go(&[Mine { blocks: 130 }, Reconcile]).await?;

        self.bring(4, Point::Active).await?;
        let hash = self.simulation.held_for(4).await?;
        self.simulation.lnd.ledger().holds.remove(&hash);
        self.bring(6, Point::Active).await?;
        let hash = self.simulation.held_for(6).await?;
        if let Some(invoice) = self.simulation.lnd.ledger().holds.get_mut(&hash) {
            invoice.status = HoldStatus::Settled;
        }
        self.go(&[Reconcile]).await?;

        self.bring(2, Point::Released).await?;
        let hash = self.simulation.paid_to(2).await?;
        self.simulation.lnd.ledger().payments.remove(&hash);
        self.go(&[Reconcile, Advance { secs: 140 }]).await?;
        self.bring(16, Point::Released).await?;
        self.end_payment(16, End::Refused).await?;
        self.bring(8, Point::Released).await?;
        let hash = self.end_payment(8, End::Refused).await?;
        self.say(8, Taker, AddInvoice).await?;
        let (receipt, fee) = (self.simulation.lnd.ledger().payees[&hash].preimage, Msats(1_000));
        let status = PaymentStatus::Succeeded { index: 1_000, receipt, fee };
        self.simulation.lnd_says(8, Observation::Payment { hash, status }).await?;

        self.bring(18, Point::FiatSent).await?;
        self.bring(22, Point::FiatSent).await?;
        self.go(&[Mine { blocks: 112 }]).await
    }

    /// States that wait for people. Their messages are still to be sent.
    async fn what_waits_for_people(&mut self) -> Result<(), String> {
        self.bring(10, Point::Released).await?;
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
            self.bring(trade, to).await?;
        }
        for trade in [12, 20] {
            self.go(&[Make { trade }, Say { trade, who: Taker, what: Take }]).await?;
        }
        self.end_payment(19, End::NoRoute).await?;
        self.say(5, Rival, Release).await
    }

    /// States in which LND has not done a call, or not answered it.
    async fn what_waits_for_lnd(&mut self) -> Result<(), String> {
        for (trade, fault) in [(21, LoseRequest), (3, HangAfter)] {
            self.go(&[PeersLeave]).await?;
            self.bring(trade, Point::Released).await?;
            self.go(&[PeersReturn, fault, Advance { secs: 10 }]).await?;
        }
        self.bring(1, Point::Paid).await?;
        self.bring(13, Point::Paid).await?;
        self.go(&[Make { trade: 25 }, PeersLeave]).await?;
        self.bring(23, Point::Released).await?;
        self.go(&[LndFails]).await?;
        self.say(1, Taker, Cancel).await?;
        self.say(13, Maker, Cancel).await?;
        self.say(22, Maker, Release).await?;
        self.say(25, Taker, Take).await?;
        self.say(20, Taker, AddInvoice).await
    }

    /// A message that was sealed and not sent, and an alarm that was not logged.
    async fn what_was_begun(&mut self) -> Result<(), String> {
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
    let mut author =
        Author { simulation: Simulation::new(SEED, None).await?, are_relays_full: false };
    author.what_takes_long().await?;
    author.are_relays_full = true;
    author.what_waits_for_people().await?;
    author.what_waits_for_lnd().await?;
    author.what_was_begun().await?;
    let mut simulation = author.simulation;
    simulation.daemon.die().await;
    let mut books = books(&simulation.environment.folder.path().join("trades.db")).await?;
    let newest = sqlx::query("select max(version) from _sqlx_migrations").fetch_one(&mut books);
    let newest: i64 = newest.await.map_err(text)?.get(0);
    let file = folder.join(format!("{newest:04}.sqlite"));
    if file.exists() {
        std::fs::remove_file(&file).map_err(text)?;
    }
    // Small pages: most tables have a few rows.
    sqlx::query("pragma page_size = 1024").execute(&mut books).await.map_err(text)?;
    let path = file.to_str().ok_or("a path that is not UTF-8")?;
    sqlx::query("vacuum into ?").bind(path).execute(&mut books).await.map_err(text)?;
    books.close().await.map_err(text)?;
    Ok(file)
}

async fn books(file: &Path) -> Result<SqliteConnection, String> {
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

        let mut books = books(&path).await?;
        let now = sqlx::query("select max(at) from journal").fetch_one(&mut books);
        let now = Timestamp(now.await.map_err(text)?.get(0));
        let time = Arc::new(ManualClock::at(now));
        let lnd = Arc::new(FakeLnd::new(Arc::clone(&time), height.0, None));
        let orders = all_of(&mut books).await?;
        restore(&mut lnd.ledger(), &orders)?;
        let mut simulation = Self::open(folder, time, lnd, SEED, SEED + 1, None).await?;
        simulation.complete_all = true;
        simulation.made = (0..=LAST_TRADE).collect();
        simulation.find_new_orders().await?;
        simulation.remember(&mut books).await?;
        Ok(simulation)
    }

    /// Fills in what the simulation would know if it had played the trades itself.
    async fn remember(&mut self, books: &mut SqliteConnection) -> Result<(), String> {
        let trades: BTreeMap<_, _> =
            self.orders.iter().map(|(trade, id)| (id.to_string(), (*trade, *id))).collect();
        let of = |row: &SqliteRow| trades.get(row.get::<&str, _>(0)).copied();
        for row in rows(books, "select id from orders where state like '%frozen%'").await? {
            self.checker.frozen_before.insert(row.get(0));
        }
        for row in rows(books, "select order_id from holds where decision = 'settle'").await? {
            self.released.extend(of(&row).map(|(_, id)| id));
        }
        let hashes = "select id, destination_hash from orders where destination_hash is not null
            union select order_id, hash
            from payout_attempts attempt join payouts on payouts.id = attempt.payout_id";
        for row in rows(books, hashes).await? {
            let hash = PaymentHash::from_hex(row.get(1)).ok_or("an unreadable hash")?;
            self.payout_of.extend(of(&row).map(|(trade, _)| (hash, trade)));
        }
        let sent = "select id from outbox where done_at is not null and lane like 'dm:%'";
        self.taken.extend(rows(books, sent).await?.iter().map(|row| row.get::<i64, _>(0)));
        Ok(())
    }

    async fn order(&self, trade: u8) -> Result<Order, String> {
        let id = self.orders.get(&trade).ok_or_else(|| format!("no order of {trade}"))?;
        let found = self.daemon.reader.find_order(*id).await.map_err(text)?;
        found.ok_or_else(|| format!("no order of {trade}"))
    }

    /// The hold in a trade's state.
    async fn held_for(&self, trade: u8) -> Result<PaymentHash, String> {
        let state = self.order(trade).await?.state;
        state.hold().ok_or_else(|| format!("{trade} has no hold: {state:?}"))
    }

    /// The payment hash of a trade's payout.
    async fn paid_to(&self, trade: u8) -> Result<PaymentHash, String> {
        let attempt =
            self.order(trade).await?.payouts.into_iter().find_map(|payout| payout.attempt);
        attempt.map(|attempt| attempt.hash).ok_or_else(|| format!("no attempt of {trade}"))
    }

    async fn lnd_says(&mut self, trade: u8, news: Observation) -> Result<(), String> {
        let id = self.orders.get(&trade).ok_or("no order")?;
        self.daemon.engine.apply(*id, Input::Lightning(news)).await.map_err(text)?;
        self.settle().await
    }

    /// The state of every trade.
    async fn standing(&self) -> Result<Vec<(u8, String)>, String> {
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

async fn rows(books: &mut SqliteConnection, sql: &'static str) -> Result<Vec<SqliteRow>, String> {
    sqlx::query(sql).fetch_all(books).await.map_err(text)
}

/// The holds, payments and destinations in a file.
struct All {
    holds: Vec<SqliteRow>,
    payments: Vec<SqliteRow>,
    destinations: Vec<SqliteRow>,
}

async fn all_of(books: &mut SqliteConnection) -> Result<All, String> {
    // A hold that LND settled by itself is not in the ledger.
    let holds = "select hash, amount, seen, coalesce(paid_msat, 0), coalesce(expires_height, 0),
            iif(decision = 'settle', paid_msat, 0)
        from holds where bolt11 is not null";
    let payments = "select hash, payouts.amount, attempt.state, acked, payment_index, preimage,
            coalesce(fee_msat, 0), bolt11
        from payout_attempts attempt join payouts on payouts.id = attempt.payout_id";
    let destinations = "select json_extract(destination, '$.text') from orders
        where destination is not null union select bolt11 from payout_attempts";
    Ok(All {
        holds: rows(books, holds).await?,
        payments: rows(books, payments).await?,
        destinations: rows(books, destinations).await?,
    })
}

/// LND in the state that the file implies, with the payees of the seed.
fn restore(lnd: &mut Ledger, all: &All) -> Result<(), String> {
    let random = SeededEntropy::new(SEED);
    let drawn = (0..DRAWS).map(|_| Preimage(random.draw()));
    let preimages: BTreeMap<_, _> = drawn.map(|preimage| (hash_of(preimage), preimage)).collect();
    for row in &all.destinations {
        let Destination::Bolt11(invoice) = read_destination(row.get(0)) else {
            return Err("an unreadable destination".to_owned());
        };
        let Invoice { hash, amount, expires_at, .. } = invoice;
        let preimage = *preimages.get(&hash).ok_or("an unknown invoice")?;
        let amount = amount.map(|amount| Sats(amount.0 / 1_000));
        lnd.payees.insert(hash, Payee { preimage, amount, expires_at });
    }
    for row in &all.holds {
        let hash = PaymentHash::from_hex(row.get(0)).ok_or("an unreadable hash")?;
        let [amount, paid, height] = [row.get(1), row.get(3), row.get(4)].map(unsigned);
        let (paid, earned) = (Msats(paid), Msats(unsigned(row.get(5))));
        let expires_at = BlockHeight(u32::try_from(height).map_err(text)?);
        let status = match row.get(2) {
            "open" => HoldStatus::Open,
            "accepted" => HoldStatus::Accepted { paid, expires_at },
            "settled" => HoldStatus::Settled,
            "canceled" => HoldStatus::Canceled,
            _ => return Err("a hold with contradicting states".to_owned()),
        };
        lnd.restore_hold(hash, Sats(amount), status, earned);
    }
    for row in &all.payments {
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
    let expected = owned(TRADES.map(|(trade, stands, _)| (trade, stands)).to_vec());
    assert_eq!(simulation.standing().await?, expected);
    simulation.run_to_the_end().await?;
    let ended = simulation.standing().await?;
    let ended: Vec<_> = ended.into_iter().map(|(trade, of)| (trade, first_word(&of))).collect();
    assert_eq!(ended, owned(TRADES.map(|(trade, _, ends)| (trade, ends)).to_vec()));
    Ok(())
}

fn block_on<T>(run: impl Future<Output = Result<T, String>>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run).expect("there is no error")
}

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/databases")
}

fn is_to_be_kept() -> bool {
    std::env::var_os("WRITE_DATABASE").is_some()
}

// spec: INV-3 INV-6 D13
#[test]
fn trades_in_every_state_go_on_in_a_database_of_this_version() {
    block_on(async {
        let scratch = folder()?;
        let file = write(scratch.path()).await?;
        check(&file).await?;
        if is_to_be_kept() {
            let name = file.file_name().ok_or("no name")?;
            std::fs::copy(&file, kept().join(name)).map_err(text)?;
        }
        Ok(())
    });
}

// spec: INV-3 INV-6 D13
#[test]
fn trades_in_every_state_go_on_in_a_database_of_each_version_before() {
    let files = std::fs::read_dir(kept()).expect("databases");
    let files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    assert!(!files.is_empty());
    for file in files {
        block_on(check(&file));
    }
}
