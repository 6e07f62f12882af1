//! What was decided and is to be done: in order within a lane, until it is done.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;
use trade::{Alarm, Effect, LnCommand, Notice, OrderId, PaymentHash, Sats, Timestamp, TradeKey};

use super::text::{At, Spelled, Text};
use super::{Reader, StoreError, Stuck, Transport, WriteTx};
use crate::retry::LONGEST_RETRY;

/// The order of commitment, and of execution within a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxId(pub i64);

/// One thing to do, at least once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    pub id: OutboxId,
    /// `None` of an answer that belongs to no order.
    pub order: Option<OrderId>,
    /// Rows of one lane are done one after the other.
    pub lane: String,
    pub act: Act,
    /// How often it failed.
    pub attempts: u32,
    /// When it was first tried; from then on it may have happened.
    pub begun_at: Option<Timestamp>,
    /// The signed event, once sealed. Every send is of these bytes (INV-6).
    pub event: Option<String>,
    /// When the message was first sealed.
    pub written_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    /// An answer to a key that is party to no open order.
    pub to_stranger: bool,
    /// The transport on which the reader of the message last wrote.
    pub transport: Option<Transport>,
}

/// The signed event of a message, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub event: String,
    /// The time of the message; of a gift wrap, that of the inner event.
    pub written_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Acts of one class wait for none of another. What is listed first is done first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    Lightning,
    Alarm,
    /// Messages to parties of orders.
    Trade,
    /// Answers to keys that are party to no open order.
    Stranger,
}

impl Class {
    pub const ALL: [Self; 4] = [Self::Lightning, Self::Alarm, Self::Trade, Self::Stranger];
}

/// The first act of a lane that is due.
#[derive(Debug)]
pub struct Due {
    pub class: Class,
    pub lane: String,
    /// An unreadable one stops its own lane, not the others.
    pub act: Result<OutboxRow, Stuck<OutboxId>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Lightning(LnCommand),
    /// `text` is the message as JSON of the wire, without the version, which the envelope adds.
    Notify {
        to: TradeKey,
        text: String,
    },
    Alarm(Alarm),
}

/// A message to one trade key, before it is rendered for the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub to: TradeKey,
    /// The id the message names; of a refusal, also one that no order has.
    pub order: Option<OrderId>,
    /// Echoed to the requester only.
    pub request_id: Option<u64>,
    pub trade_index: Option<i64>,
    pub notice: Notice,
}

/// Renders a notice for the wire: about which order, as the answer to which request, and with which
/// trade index of its reader.
pub type Render = fn(&Notice, Option<OrderId>, Option<u64>, Option<i64>) -> String;

impl WriteTx<'_> {
    /// Stores a message to a trader that no decision on an order asked for: a refusal, an answer.
    pub async fn send(&mut self, message: &Notification, at: Timestamp) -> Result<(), StoreError> {
        enqueue_message(&mut self.tx, self.render, message, at, None).await
    }

    /// Records that an act is about to be tried: from now on it may have happened.
    pub async fn begin_act(&mut self, id: OutboxId, at: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "update outbox set begun_at = coalesce(begun_at, ?) where id = ? and done_at is null",
            at.0,
            id.0
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Saves the signed event of a message before its first send.
    ///
    /// # Errors
    /// `Forbidden` if another event was saved before.
    pub async fn seal_message(&mut self, id: OutboxId, sealed: &Sealed) -> Result<(), StoreError> {
        sqlx::query!(
            "update outbox set event = ?1, written_at = ?2,
                expires_at = min(coalesce(expires_at, ?3), ?3)
            where id = ?4 and done_at is null",
            sealed.event,
            sealed.written_at.0,
            sealed.expires_at.0,
            id.0
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Saves another signed event of a message, because every relay that answered refused the time of the
    /// one before, or a clock that ran ahead dated it.
    pub async fn seal_message_anew(
        &mut self,
        id: OutboxId,
        sealed: &Sealed,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update outbox set event = ?1, seals = seals + 1, written_at = ?2,
                expires_at = min(coalesce(expires_at, ?3), ?3)
            where id = ?4 and done_at is null",
            sealed.event,
            sealed.written_at.0,
            sealed.expires_at.0,
            id.0
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Marks an act as done. False: it was done before. An answer to a stranger is deleted.
    pub async fn finish_act(&mut self, id: OutboxId, at: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            r#"update outbox set done_at = ? where id = ? and done_at is null
            returning to_stranger as "to_stranger: bool""#,
            at.0,
            id.0
        )
        .fetch_optional(&mut *self.tx)
        .await?;
        if done.as_ref().is_some_and(|done| done.to_stranger) {
            sqlx::query!("delete from outbox where id = ?", id.0).execute(&mut *self.tx).await?;
        }
        Ok(done.is_some())
    }

    /// The order an act belongs to.
    ///
    /// # Errors
    /// `Corrupt` if the row is unreadable.
    pub async fn order_of_act(&mut self, id: OutboxId) -> Result<Option<OrderId>, StoreError> {
        let order = sqlx::query_scalar!("select order_id from outbox where id = ?", id.0)
            .fetch_optional(&mut *self.tx)
            .await?;
        At::new("outbox", id.0).read_some("order_id", order.flatten().as_deref())
    }

    /// Acts that a clock which ran ahead put off for longer than any act is put off are due now.
    pub async fn retry_acts_that_lie_ahead(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let latest = now.after(LONGEST_RETRY);
        sqlx::query!(
            "update lanes set due_at = ?1
            where class in ('lightning', 'alarm', 'trade', 'stranger') and due_at > ?2",
            now.0,
            latest.0
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Puts an act off after a failure. Its lane waits with it.
    pub async fn retry_act(&mut self, id: OutboxId, due_at: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "update outbox set attempts = attempts + 1 where id = ? and done_at is null",
            id.0
        )
        .execute(&mut *self.tx)
        .await?;
        sqlx::query!("update lanes set due_at = ? where head = ?", due_at.0, id.0)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }
}

impl Reader {
    /// What may be done now: the first unfinished act of each lane, if it is due; of each class at
    /// most so many, those that have been due the longest. However much waits, no more is read.
    pub async fn list_acts_due(
        &self,
        now: Timestamp,
        limits: &[(Class, u32)],
    ) -> Result<Vec<Due>, StoreError> {
        let mut connection = self.connection().await?;
        let mut due = Vec::new();
        for (class, limit) in limits {
            let name = class.to_text();
            let rows = sqlx::query_as!(
                Row,
                r#"select act.id as "id!", act.order_id, act.lane, act.kind, act.body, act.attempts,
                    act.begun_at, act.event, act.written_at, act.expires_at,
                    act.to_stranger as "to_stranger: bool",
                    -- The lane of messages is 'dm:' and the key of their reader.
                    (select transport from trade_keys where key = substr(act.lane, 4))
                        as "transport?"
                from lanes join outbox act on act.id = lanes.head
                where lanes.class = ? and lanes.due_at <= ?
                order by lanes.due_at, lanes.head limit ?"#,
                name,
                now.0,
                limit
            )
            .fetch_all(&mut *connection)
            .await?;
            due.extend(rows.into_iter().map(|row| {
                let (id, lane) = (OutboxId(row.id), row.lane.clone());
                let act = row.into_outbox_row().map_err(|error| Stuck { id, error });
                Due { class: *class, lane, act }
            }));
        }
        Ok(due)
    }

    /// The sealed events of messages that a relay took since then and that have not expired: the
    /// newest ones, the oldest of them first.
    pub async fn list_sent(
        &self,
        since: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let mut events = sqlx::query_scalar!(
            r#"select event as "event!" from outbox
            where done_at >= ?1 and event is not null and expires_at > ?2
            order by done_at desc, id desc limit ?3"#,
            since.0,
            now.0,
            limit
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        events.reverse();
        Ok(events)
    }

    /// How many acts wait, and since when the oldest.
    pub async fn outbox_depth(&self) -> Result<(i64, Option<Timestamp>), StoreError> {
        let row = sqlx::query!(
            r#"select count(*) as "count!: i64", min(at) as "oldest: i64"
            from outbox where done_at is null"#
        )
        .fetch_one(&mut *self.connection().await?)
        .await?;
        Ok((row.count, row.oldest.map(Timestamp)))
    }
}

/// Stores what a decision asks to be done.
pub(super) async fn enqueue(
    connection: &mut SqliteConnection,
    render: Render,
    order: OrderId,
    effect: &Effect,
    at: Timestamp,
) -> Result<(), StoreError> {
    match effect {
        Effect::Lightning(command) => {
            let lane = format!("ln:{}", command.hash().to_text());
            let (kind, body) = CommandV1::of(command);
            insert(connection, Some(order), &lane, kind, &body, at, None).await
        }
        Effect::Notify { to, request_id, trade_index, notice } => {
            let message = Notification {
                to: *to,
                order: Some(order),
                request_id: *request_id,
                trade_index: *trade_index,
                notice: notice.clone(),
            };
            enqueue_message(connection, render, &message, at, None).await
        }
        Effect::Alarm(alarm) => {
            insert(connection, Some(order), "alarm", ALARM, &Spelled(*alarm), at, None).await
        }
    }
}

pub(super) const NOTICE: &str = "notice/2";
const ALARM: &str = "alarm/1";
const HOLD_ADD: &str = "hold.add/1";
const HOLD_END: &str = "hold.end/1";
/// Kinds of earlier versions, which had one for each way to end a hold.
const HOLD_SETTLE: &str = "hold.settle/1";
const HOLD_CANCEL: &str = "hold.cancel/1";
const PAYOUT_SEND: &str = "payout.send/1";

/// The body of [`NOTICE`]: rendered at the commit of the decision that asked for it.
#[derive(Serialize, Deserialize)]
pub(super) struct MessageV2 {
    pub(super) to: Spelled<TradeKey>,
    pub(super) text: String,
}

/// The bodies of the Lightning kinds.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum CommandV1 {
    Add { hash: Spelled<PaymentHash>, amount: u64, expiry_secs: u64, cltv_delta: u32, memo: String },
    OfHash { hash: Spelled<PaymentHash> },
}

impl CommandV1 {
    fn of(command: &LnCommand) -> (&'static str, Self) {
        match command {
            LnCommand::AddHold { hash, amount, expiry, cltv_delta, memo } => {
                let add = Self::Add {
                    hash: Spelled(*hash),
                    amount: amount.0,
                    expiry_secs: expiry.as_secs(),
                    cltv_delta: *cltv_delta,
                    memo: memo.clone(),
                };
                (HOLD_ADD, add)
            }
            LnCommand::EndHold { hash } => (HOLD_END, Self::OfHash { hash: Spelled(*hash) }),
            LnCommand::SendPayout { hash } => (PAYOUT_SEND, Self::OfHash { hash: Spelled(*hash) }),
        }
    }

    fn into_command(self, kind: &str) -> Option<LnCommand> {
        Some(match (kind, self) {
            (HOLD_ADD, Self::Add { hash, amount, expiry_secs, cltv_delta, memo }) => {
                LnCommand::AddHold {
                    hash: hash.0,
                    amount: Sats(amount),
                    expiry: Duration::from_secs(expiry_secs),
                    cltv_delta,
                    memo,
                }
            }
            (HOLD_END | HOLD_SETTLE | HOLD_CANCEL, Self::OfHash { hash }) => {
                LnCommand::EndHold { hash: hash.0 }
            }
            (PAYOUT_SEND, Self::OfHash { hash }) => LnCommand::SendPayout { hash: hash.0 },
            _ => return None,
        })
    }
}

/// The lane of messages to a key.
pub(super) fn lane_to(key: TradeKey) -> String {
    format!("dm:{}", key.to_text())
}

/// `stranger_until`: when an answer to a stranger expires.
pub(super) async fn enqueue_message(
    connection: &mut SqliteConnection,
    render: Render,
    message: &Notification,
    at: Timestamp,
    stranger_until: Option<Timestamp>,
) -> Result<(), StoreError> {
    let Notification { to, order, request_id, trade_index, notice } = message;
    let text = render(notice, *order, *request_id, *trade_index);
    let body = MessageV2 { to: Spelled(*to), text };
    insert(connection, *order, &lane_to(*to), NOTICE, &body, at, stranger_until).await
}

/// `order` may be an id that a stranger made up: then the row belongs to no order.
async fn insert(
    connection: &mut SqliteConnection,
    order: Option<OrderId>,
    lane: &str,
    kind: &str,
    body: &impl Serialize,
    at: Timestamp,
    stranger_until: Option<Timestamp>,
) -> Result<(), StoreError> {
    let order = order.map(|id| id.to_text());
    let body = At::new("outbox", lane).write("body", body)?;
    let (to_stranger, expires_at) = (stranger_until.is_some(), stranger_until.map(|until| until.0));
    sqlx::query!(
        "insert into outbox (order_id, lane, kind, body, at, to_stranger, expires_at)
        values ((select id from orders where id = ?), ?, ?, ?, ?, ?, ?)",
        order,
        lane,
        kind,
        body,
        at.0,
        to_stranger,
        expires_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

struct Row {
    id: i64,
    order_id: Option<String>,
    lane: String,
    kind: String,
    body: String,
    attempts: i64,
    begun_at: Option<i64>,
    event: Option<String>,
    written_at: Option<i64>,
    expires_at: Option<i64>,
    to_stranger: bool,
    transport: Option<String>,
}

impl Row {
    fn into_outbox_row(self) -> Result<OutboxRow, StoreError> {
        let at = At::new("outbox", self.id);
        Ok(OutboxRow {
            id: OutboxId(self.id),
            order: at.read_some("order_id", self.order_id.as_deref())?,
            act: read_act(&at, &self.kind, &self.body)?,
            lane: self.lane,
            attempts: at.number("attempts", self.attempts)?,
            begun_at: self.begun_at.map(Timestamp),
            event: self.event,
            written_at: self.written_at.map(Timestamp),
            expires_at: self.expires_at.map(Timestamp),
            to_stranger: self.to_stranger,
            transport: at.read_some("transport", self.transport.as_deref())?,
        })
    }
}

fn read_act(at: &At, kind: &str, body: &str) -> Result<Act, StoreError> {
    match kind {
        NOTICE => {
            let MessageV2 { to, text } = at.parse("body", body)?;
            Ok(Act::Notify { to: to.0, text })
        }
        ALARM => Ok(Act::Alarm(at.parse::<Spelled<Alarm>>("body", body)?.0)),
        _ => at
            .parse::<CommandV1>("body", body)?
            .into_command(kind)
            .map(Act::Lightning)
            .ok_or_else(|| at.corrupt(format!("kind {kind} is unknown"))),
    }
}
