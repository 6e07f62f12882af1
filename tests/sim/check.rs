//! What must hold after every step (I1 to I9), and when everything has ended (I12).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mostrod::wire::{Action, Message, Payload};
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection};
use trade::{Cause, HoldStatus, OrderId, PaymentHash, PaymentStatus, TradeKey};

use crate::lnd::{Ledger, Refusals};
use crate::simulation::{Simulation, text};

/// How many refusals of a payout by LND are allowed before the buyer or the operator is notified.
const MOST_REFUSALS: u32 = 6;

/// The allowed changes of status.
const GRAPH: [(&str, &str); 18] = [
    ("pending", "waiting-payment"),
    ("pending", "waiting-buyer-invoice"),
    ("pending", "canceled"),
    ("pending", "expired"),
    ("waiting-payment", "pending"),
    ("waiting-payment", "waiting-buyer-invoice"),
    ("waiting-payment", "active"),
    ("waiting-payment", "canceled"),
    ("waiting-buyer-invoice", "pending"),
    ("waiting-buyer-invoice", "waiting-payment"),
    ("waiting-buyer-invoice", "active"),
    ("waiting-buyer-invoice", "canceled"),
    ("active", "fiat-sent"),
    ("active", "canceled"),
    ("fiat-sent", "settled-hold-invoice"),
    ("settled-hold-invoice", "success"),
    ("waiting-payment", "waiting-payment"),
    ("pending", "pending"),
];

/// Statuses in which a party relies on the escrow.
const RELIED_ON: [&str; 4] =
    ["waiting-buyer-invoice", "active", "fiat-sent", "settled-hold-invoice"];

const FINAL: [&str; 3] = ["success", "canceled", "expired"];

/// Reads the daemon's database and compares it with LND.
#[derive(Default)]
pub(crate) struct Checker {
    database: Option<SqliteConnection>,
    last_entry: i64,
    /// The status of each order by the journal.
    statuses: BTreeMap<String, String>,
    /// The messages that were acted on.
    messages: BTreeSet<u64>,
    unfinished: Vec<String>,
    frozen: BTreeSet<String>,
    /// Orders that were frozen in a file of an earlier version, for any reason.
    pub(crate) frozen_before: BTreeSet<String>,
    trace: Sha256,
}

struct Hold {
    hash: PaymentHash,
    order: String,
    seen: String,
    decision: Option<String>,
}

struct Attempt {
    hash: PaymentHash,
    order: String,
    state: String,
}

impl Checker {
    pub(crate) async fn open(file: &Path) -> Result<Self, String> {
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        let database = options.disable_statement_logging().connect().await.map_err(text)?;
        Ok(Self { database: Some(database), ..Self::default() })
    }

    pub(crate) fn trace(&self) -> [u8; 32] {
        self.trace.clone().finalize().into()
    }

    /// The number of orders by their end.
    pub(crate) fn ends(&self) -> BTreeMap<String, u32> {
        let mut ends = BTreeMap::new();
        for (order, status) in &self.statuses {
            let end = if self.frozen.contains(order) { "frozen" } else { status };
            *ends.entry(end.to_owned()).or_default() += 1;
        }
        ends
    }

    /// Whether everything has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// Every order and its maker.
    pub(crate) async fn makers(&mut self) -> Result<Vec<(TradeKey, OrderId)>, String> {
        let rows = self.ask("select maker_key, id from orders where version > ?", 0).await?;
        let read = |row: SqliteRow| {
            let id = uuid::Uuid::parse_str(row.get(1)).ok()?;
            Some((TradeKey::from_hex(row.get(0))?, OrderId(id.into_bytes())))
        };
        rows.into_iter().map(read).collect::<Option<_>>().ok_or("an unreadable order".to_owned())
    }

    pub(crate) async fn check(&mut self, simulation: &Simulation) -> Result<(), String> {
        self.follow_journal(simulation).await?;
        let (holds, attempts) = (self.holds().await?, self.attempts().await?);
        self.unfinished.clear();
        self.check_holds(simulation, &holds)?;
        self.check_attempts(simulation, &holds, &attempts)?;
        self.check_refusals(simulation, &attempts).await?;
        self.check_outbox(simulation).await?;
        self.check_orders(&holds, &attempts).await
    }

    pub(crate) async fn check_end(&mut self, simulation: &Simulation) -> Result<(), String> {
        if !self.unfinished.is_empty() {
            return Err(format!("I12: {}", self.unfinished.join("; ")));
        }
        let holds = self.holds().await?;
        self.check_ends(simulation, &holds)?;
        let balance = simulation.lnd.ledger().balance;
        self.check_ledger(balance).await?;
        self.check_completion_messages(simulation).await
    }

    /// Either the escrow is settled and the buyer is paid once, or neither.
    fn check_ends(&self, simulation: &Simulation, holds: &[Hold]) -> Result<(), String> {
        let lnd = simulation.lnd.ledger();
        for (order, status) in &self.statuses {
            if self.frozen_before.contains(order) {
                continue;
            }
            let of_order = |hash: &PaymentHash| {
                simulation.order_of(*hash).is_some_and(|of| of.to_string() == *order)
            };
            let is_paid = |status| matches!(status, PaymentStatus::Succeeded { .. });
            let paid = lnd
                .payments
                .iter()
                .filter(|(hash, payment)| of_order(hash) && is_paid(payment.status));
            let paid = paid.count();
            let settled = holds
                .iter()
                .filter(|hold| hold.order == *order && lnd.hold(hold.hash) == HoldStatus::Settled);
            let (settled, wanted) = (settled.count(), usize::from(status == "success"));
            if (settled, paid) != (wanted, wanted) {
                return Err(format!("I12: {order} is {status}, settled {settled}, paid {paid}"));
            }
        }
        Ok(())
    }

    /// I6 and I7, for each new entry of the journal.
    async fn follow_journal(&mut self, simulation: &Simulation) -> Result<(), String> {
        let lines = self
            .ask(
                "select id, order_id, version, input, event_id, from_status, to_status, cause, at
                from journal where id > ? order by id",
                self.last_entry,
            )
            .await?;
        for line in lines {
            let (order, to): (String, String) = (line.get(1), line.get(6));
            let (event, from): (Option<String>, Option<String>) = (line.get(4), line.get(5));
            let (input, cause): (String, String) = (line.get(3), line.get(7));
            let (version, at): (i64, i64) = (line.get(2), line.get(8));
            let entry = format!("{order} {version} {input} {from:?} {to} {cause} {at}");
            let before = self.statuses.insert(order.clone(), to.clone());
            if before != from {
                return Err(format!("I6: {entry}, and the status before is {before:?}"));
            }
            let is_allowed = match from.as_deref() {
                None => to == "pending",
                Some(from) => from == to || GRAPH.contains(&(from, to.as_str())),
            };
            if !is_allowed {
                return Err(format!("I6: {entry}"));
            }
            if cause == Cause::Released.text() && event.is_none() {
                return Err(format!("I5: a release without a message: {entry}"));
            }
            let number = event.and_then(|event| simulation.number_of(&event));
            if number.is_some_and(|number| !self.messages.insert(number)) {
                return Err(format!("I7: one message acted on twice: {entry}"));
            }
            let is_in_time = simulation.fiat_sent.keys().any(|id| id.to_string() == order);
            if to == "canceled" && is_in_time {
                return Err(format!("D40: canceled although fiat-sent was sent in time: {entry}"));
            }
            self.last_entry = line.get(0);
            self.trace.update(entry);
        }
        Ok(())
    }

    /// I3 and the second half of I5.
    fn check_holds(&mut self, simulation: &Simulation, holds: &[Hold]) -> Result<(), String> {
        use HoldStatus::{Accepted, Canceled, Open, Settled, Unknown};
        let lnd = simulation.lnd.ledger();
        for hold in holds.iter().filter(|hold| !self.frozen_before.contains(&hold.order)) {
            let status = lnd.hold(hold.hash);
            let was_paid = lnd.holds.get(&hold.hash).is_some_and(|invoice| invoice.was_paid);
            let decision = hold.decision.as_deref();
            if let (Accepted { paid, .. }, Some(order)) = (status, self.statuses.get(&hold.order)) {
                let asked = lnd.holds.get(&hold.hash).and_then(|invoice| invoice.amount.to_msats());
                let is_relied_on =
                    decision != Some("cancel") && RELIED_ON.contains(&order.as_str());
                if is_relied_on && asked.is_none_or(|asked| paid < asked) {
                    let id = &hold.order;
                    return Err(format!(
                        "D33: {id} is {order} on an escrow of {paid} of {asked:?}"
                    ));
                }
            }
            let is_allowed = match (hold.seen.as_str(), status) {
                ("wanted", Unknown | Open)
                | ("open", Open)
                | ("open" | "accepted", Accepted { .. } | Canceled)
                | ("canceled", Canceled) => true,
                // Nobody has paid the invoice.
                ("wanted", Canceled) | ("canceled", Unknown | Open) => !was_paid,
                ("open" | "accepted" | "settled", Settled) => decision == Some("settle"),
                _ => false,
            };
            let Hold { hash, order, seen, .. } = hold;
            if !is_allowed {
                return Err(format!(
                    "I3: {order} {hash}: {seen}, {decision:?}, and LND: {status:?}"
                ));
            }
            let is_released =
                simulation.released.iter().any(|released| released.to_string() == *order);
            if decision == Some("settle") && !is_released {
                return Err(format!("I5: {order} is settled without a release of its seller"));
            }
            if matches!(status, Accepted { .. }) {
                self.unfinished.push(format!("LND holds {hash} of {order}"));
            }
        }
        let known: BTreeSet<_> = holds.iter().map(|hold| hold.hash).collect();
        match lnd.holds.keys().find(|hash| !known.contains(hash)) {
            Some(hash) => {
                Err(format!("I3: LND has an invoice that is not in the database: {hash}"))
            }
            None => Ok(()),
        }
    }

    /// I3 of payments, I4, and the first half of I5.
    fn check_attempts(
        &mut self,
        simulation: &Simulation,
        holds: &[Hold],
        attempts: &[Attempt],
    ) -> Result<(), String> {
        use PaymentStatus::{Failed, InFlight, Succeeded, Unknown};
        let lnd = simulation.lnd.ledger();
        for Attempt { hash, order, state } in attempts {
            let status = lnd.payment(*hash);
            let is_allowed = match state.as_str() {
                "failed" => matches!(status, Unknown | Failed { .. }),
                "succeeded" => matches!(status, Succeeded { .. }),
                _ => true,
            };
            if !is_allowed {
                return Err(format!("I3: {order} {hash}: {state}, and LND: {status:?}"));
            }
            if matches!(status, InFlight { .. }) {
                self.unfinished.push(format!("LND pays {hash} of {order}"));
            }
        }
        let known: BTreeSet<_> = attempts.iter().map(|attempt| attempt.hash).collect();
        let mut open = BTreeMap::<_, (u32, u32)>::new();
        for (hash, payment) in &lnd.payments {
            let order = simulation.order_of(*hash).map(|of| of.to_string()).unwrap_or_default();
            if !known.contains(hash) {
                return Err(format!(
                    "I3: LND has a payment that is not in the database: {hash} of {order}"
                ));
            }
            if !is_settled(&lnd, holds, &order) {
                return Err(format!("I5: {order} is paid out before its escrow is settled"));
            }
            let (under_way, paid) = open.entry(order).or_default();
            match payment.status {
                PaymentStatus::InFlight { .. } => *under_way += 1,
                PaymentStatus::Succeeded { .. } => *paid += 1,
                PaymentStatus::Failed { .. } | PaymentStatus::Unknown => {}
            }
        }
        match open.iter().find(|(_, (under_way, paid))| under_way + paid > 1) {
            Some((order, (under_way, paid))) => {
                Err(format!("I4: {order} is paid {paid} times, {under_way} in flight"))
            }
            None => Ok(()),
        }
    }

    /// The buyer or the operator is notified of a payout that LND refuses repeatedly.
    async fn check_refusals(
        &mut self,
        simulation: &Simulation,
        attempts: &[Attempt],
    ) -> Result<(), String> {
        let alarms =
            self.ask("select 1 from outbox where id > ? and kind like 'alarm%'", 0).await?;
        if !alarms.is_empty() {
            return Ok(());
        }
        let lnd = simulation.lnd.ledger();
        let often =
            lnd.refusals.iter().filter(|(_, it)| !it.is_uncertain && it.count >= MOST_REFUSALS);
        for (hash, Refusals { count, .. }) in often {
            let Some(order) = simulation.order_of(*hash) else { continue };
            let is_notified = simulation.delivered.values().flatten().any(|message| {
                matches!(
                    (message.body.action, &message.body.payload),
                    (Action::PaymentFailed, _) | (Action::AddInvoice, Some(Payload::Order(_)))
                )
            });
            let is_open = attempts.iter().any(|it| it.hash == *hash && it.state == "dispatching");
            if is_open && !is_notified {
                return Err(format!(
                    "I12: LND refused {hash} of {order} {count} times without a notification"
                ));
            }
        }
        Ok(())
    }

    /// A message that is marked as sent was accepted by a relay.
    async fn check_outbox(&mut self, simulation: &Simulation) -> Result<(), String> {
        let rows = self.ask("select id, done_at, lane from outbox where id > ?", 0).await?;
        for row in rows {
            let (id, done, lane): (i64, Option<i64>, String) = (row.get(0), row.get(1), row.get(2));
            match done {
                Some(_) if lane.starts_with("dm:") && !simulation.accepted.contains(&id) => {
                    return Err(format!("I8: message {id} is marked as sent, and no relay has it"));
                }
                Some(_) => {}
                None => self.unfinished.push(format!("act {id} of {lane}")),
            }
        }
        Ok(())
    }

    /// I9: every order that has not ended has a deadline or an act.
    async fn check_orders(&mut self, holds: &[Hold], attempts: &[Attempt]) -> Result<(), String> {
        let orders = self
            .ask(
                "select id, status, due_at is not null or due_height is not null,
                    state like '%frozen%',
                    exists (select 1 from outbox where order_id = orders.id and lane like 'ln:%'
                        and done_at is null),
                    exists (select 1 from payouts where order_id = orders.id
                        and state = 'needs-invoice'),
                    state like '%escrow-lost%'
                from orders where version > ?",
                0,
            )
            .await?;
        for order in orders {
            let (id, status): (String, String) = (order.get(0), order.get(1));
            let is_frozen: bool = order.get(3);
            if is_frozen {
                // This LND loses no payment and settles no hold by itself, so only a lost escrow freezes.
                if !order.get::<bool, _>(6) && !self.frozen_before.contains(&id) {
                    return Err(format!("I12: {id} is frozen without a reason"));
                }
                self.frozen.insert(id);
                continue;
            }
            if FINAL.contains(&status.as_str()) {
                continue;
            }
            self.unfinished.push(format!("{id} is {status}"));
            let is_watched = holds
                .iter()
                .any(|hold| hold.order == id && matches!(hold.seen.as_str(), "open" | "accepted"))
                || attempts
                    .iter()
                    .any(|attempt| attempt.order == id && attempt.state == "dispatching");
            let continues: [bool; 3] = [order.get(2), order.get(4), order.get(5)];
            if !is_watched && !continues.contains(&true) {
                return Err(format!("I9: {id} is {status} without a deadline or an act"));
            }
        }
        Ok(())
    }

    /// I1 and I2.
    async fn check_ledger(&mut self, balance: i64) -> Result<(), String> {
        let accounts = self
            .ask(
                "select account, sum(msat), order_id from (
                    select debit as account, amount_msat as msat, order_id, id from ledger
                    union all select credit, -amount_msat, order_id, id from ledger
                ) where id > ? group by account, order_id",
                0,
            )
            .await?;
        let mut sums = BTreeMap::<String, i64>::new();
        for row in accounts {
            let (account, msat, order): (String, i64, String) =
                (row.get(0), row.get(1), row.get(2));
            if account == "buyer" && msat != 0 && !self.frozen_before.contains(&order) {
                return Err(format!("I1: the buyer of {order} is owed {msat} msats"));
            }
            *sums.entry(account).or_default() += msat;
        }
        let lightning = sums.get("lightning").copied().unwrap_or_default();
        if sums.values().sum::<i64>() != 0 || lightning != balance {
            return Err(format!("I2: LND gained {balance} msats, and the ledger has {sums:?}"));
        }
        Ok(())
    }

    /// The buyers of successful trades, and nobody else, received the completion message.
    async fn check_completion_messages(&self, simulation: &Simulation) -> Result<(), String> {
        let paid = simulation.buyers_paid().await?;
        let notified = simulation.delivered.iter();
        let is_completed = |message: &Message| message.body.action == Action::PurchaseCompleted;
        let notified = notified.filter(|(_, messages)| messages.iter().any(is_completed));
        let notified = notified.map(|(key, _)| *key).collect::<BTreeSet<_>>();
        if notified == paid {
            return Ok(());
        }
        Err(format!("I12: paid buyers: {paid:?}, notified: {notified:?}"))
    }

    async fn holds(&mut self) -> Result<Vec<Hold>, String> {
        let sql = "select hash, order_id, seen, decision from holds where id > ? order by id";
        let rows = self.ask(sql, 0).await?;
        let hold = |row: SqliteRow| {
            let hash = PaymentHash::from_hex(row.get(0))?;
            Some(Hold { hash, order: row.get(1), seen: row.get(2), decision: row.get(3) })
        };
        rows.into_iter().map(hold).collect::<Option<_>>().ok_or("an unreadable hash".to_owned())
    }

    async fn attempts(&mut self) -> Result<Vec<Attempt>, String> {
        let sql = "select hash, order_id, attempt.state from payout_attempts attempt
            join payouts payout on payout.id = attempt.payout_id where attempt.id > ?";
        let rows = self.ask(sql, 0).await?;
        let attempt = |row: SqliteRow| {
            let hash = PaymentHash::from_hex(row.get(0))?;
            Some(Attempt { hash, order: row.get(1), state: row.get(2) })
        };
        rows.into_iter().map(attempt).collect::<Option<_>>().ok_or("an unreadable hash".to_owned())
    }

    async fn ask(&mut self, sql: &'static str, after: i64) -> Result<Vec<SqliteRow>, String> {
        let database = self.database.as_mut().ok_or("the database is not open")?;
        sqlx::query(sql).bind(after).fetch_all(database).await.map_err(text)
    }
}

fn is_settled(lnd: &Ledger, holds: &[Hold], order: &str) -> bool {
    let is_settled =
        |hold: &Hold| hold.order == order && lnd.hold(hold.hash) == HoldStatus::Settled;
    holds.iter().any(is_settled)
}
