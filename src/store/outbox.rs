//! What was decided and is still to be done: in order within a lane, until it is done.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;
use trade::{Alarm, Effect, LnCommand, Notice, OrderId, PaymentHash, Sats, Timestamp, TradeKey};

use super::rows::NoticeV1;
use super::text::{At, Spelled, Text};
use super::{Reader, StoreError, Stuck, WriteTx};

/// The order of commitment, and of execution within a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxId(pub i64);

/// One thing to do, at least once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    pub id: OutboxId,
    /// None: an answer that belongs to no order.
    pub order: Option<OrderId>,
    /// Rows of one lane are done one after the other.
    pub lane: String,
    pub act: Act,
    /// How often it failed.
    pub attempts: u32,
    /// When it was first tried; if it was, it may have happened.
    pub begun_at: Option<Timestamp>,
    /// The signed event, once sealed. Every send is of these bytes (INV-6).
    pub event: Option<String>,
    pub expires_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Lightning(LnCommand),
    Notify(Box<Message>),
    Alarm(Alarm),
}

/// A message to one trade key, before it has an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub to: TradeKey,
    /// The id the message names; of a refusal, also one that no order has.
    pub order: Option<OrderId>,
    /// Echoed to the requester only (D14).
    pub request_id: Option<u64>,
    pub trade_index: Option<i64>,
    pub notice: Notice,
}

impl WriteTx<'_> {
    /// Stores a message that no decision of an order asked for: a refusal, an answer (D19).
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn send(&mut self, message: &Message, at: Timestamp) -> Result<(), StoreError> {
        enqueue_message(&mut self.tx, message, at).await
    }

    /// Says that an act is about to be tried: from now on it may have happened.
    ///
    /// # Errors
    /// If the database does not answer.
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
    pub async fn seal_message(
        &mut self,
        id: OutboxId,
        event: &str,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update outbox set event = ?, expires_at = ? where id = ? and done_at is null",
            event,
            expires_at.0,
            id.0
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Marks an act as done. False: it was done before.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn finish_act(&mut self, id: OutboxId, at: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "update outbox set done_at = ? where id = ? and done_at is null",
            at.0,
            id.0
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(done.rows_affected() == 1)
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

    /// Puts an act off after a failure. Its lane waits with it.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn retry_act(&mut self, id: OutboxId, due_at: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "update outbox set due_at = ?, attempts = attempts + 1
            where id = ? and done_at is null",
            due_at.0,
            id.0
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}

impl Reader {
    /// What may be done now: the first unfinished row of each lane, if it is due. At most `limit`
    /// messages and `limit` other acts, so that neither kind hides the other.
    ///
    /// An unreadable row is an error of its own: its lane stands still, the others do not.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn list_acts_due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Result<OutboxRow, Stuck<OutboxId>>>, StoreError> {
        // `+id`, or SQLite reads the table in the order of ids, from the first row ever done.
        let rows = sqlx::query_as!(
            Row,
            r#"select id, order_id, lane, kind, body, attempts, begun_at, event, expires_at
            from (
                select *, row_number() over (partition by lane glob 'dm:*' order by +id) as place
                from outbox
                where done_at is null and due_at <= ?1 and not exists (
                    select 1 from outbox earlier
                    where earlier.lane = outbox.lane and earlier.done_at is null
                    and earlier.id < outbox.id
                )
            )
            where place <= ?2 order by +id"#,
            now.0,
            limit
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        let read = |row: Row| {
            let id = OutboxId(row.id);
            row.into_outbox_row().map_err(|error| Stuck { id, error })
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// The sealed events of messages that a relay took since then and that have not expired: the
    /// newest ones, the oldest of them first.
    ///
    /// # Errors
    /// If the database does not answer.
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

    /// How many acts wait, and since when the oldest is due.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn outbox_depth(&self) -> Result<(i64, Option<Timestamp>), StoreError> {
        let row = sqlx::query!(
            r#"select count(*) as "count!: i64", min(due_at) as "oldest: i64"
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
    order: OrderId,
    effect: &Effect,
    at: Timestamp,
) -> Result<(), StoreError> {
    match effect {
        Effect::Lightning(command) => {
            let lane = format!("ln:{}", command.hash().to_text());
            let (kind, body) = CommandV1::of(command);
            insert(connection, Some(order), &lane, kind, &body, at).await
        }
        Effect::Notify { to, request_id, trade_index, notice } => {
            let message = Message {
                to: *to,
                order: Some(order),
                request_id: *request_id,
                trade_index: *trade_index,
                notice: notice.clone(),
            };
            enqueue_message(connection, &message, at).await
        }
        Effect::Alarm(alarm) => {
            insert(connection, Some(order), "alarm", ALARM, &Spelled(*alarm), at).await
        }
    }
}

const NOTICE: &str = "notice/1";
const ALARM: &str = "alarm/1";
const HOLD_ADD: &str = "hold.add/1";
const HOLD_SETTLE: &str = "hold.settle/1";
const HOLD_CANCEL: &str = "hold.cancel/1";
const PAYOUT_SEND: &str = "payout.send/1";

/// The body of `notice/1`.
#[derive(Serialize, Deserialize)]
struct MessageV1 {
    to: Spelled<TradeKey>,
    order: Option<Spelled<OrderId>>,
    request_id: Option<u64>,
    trade_index: Option<i64>,
    notice: NoticeV1,
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
            LnCommand::SettleHold { hash } => (HOLD_SETTLE, Self::OfHash { hash: Spelled(*hash) }),
            LnCommand::CancelHold { hash } => (HOLD_CANCEL, Self::OfHash { hash: Spelled(*hash) }),
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
            (HOLD_SETTLE, Self::OfHash { hash }) => LnCommand::SettleHold { hash: hash.0 },
            (HOLD_CANCEL, Self::OfHash { hash }) => LnCommand::CancelHold { hash: hash.0 },
            (PAYOUT_SEND, Self::OfHash { hash }) => LnCommand::SendPayout { hash: hash.0 },
            _ => return None,
        })
    }
}

async fn enqueue_message(
    connection: &mut SqliteConnection,
    message: &Message,
    at: Timestamp,
) -> Result<(), StoreError> {
    let body = MessageV1 {
        to: Spelled(message.to),
        order: message.order.map(Spelled),
        request_id: message.request_id,
        trade_index: message.trade_index,
        notice: NoticeV1::from(&message.notice),
    };
    let lane = format!("dm:{}", message.to.to_text());
    insert(connection, message.order, &lane, NOTICE, &body, at).await
}

/// `order` may be an id that a stranger made up: then the row belongs to no order.
async fn insert(
    connection: &mut SqliteConnection,
    order: Option<OrderId>,
    lane: &str,
    kind: &str,
    body: &impl Serialize,
    at: Timestamp,
) -> Result<(), StoreError> {
    let order = order.map(|id| id.to_text());
    let body = At::new("outbox", lane).write("body", body)?;
    sqlx::query!(
        "insert into outbox (order_id, lane, kind, body, due_at)
        values ((select id from orders where id = ?), ?, ?, ?, ?)",
        order,
        lane,
        kind,
        body,
        at.0
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
    expires_at: Option<i64>,
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
            expires_at: self.expires_at.map(Timestamp),
        })
    }
}

fn read_act(at: &At, kind: &str, body: &str) -> Result<Act, StoreError> {
    match kind {
        NOTICE => {
            let body: MessageV1 = at.parse("body", body)?;
            Ok(Act::Notify(Box::new(Message {
                to: body.to.0,
                order: body.order.map(|id| id.0),
                request_id: body.request_id,
                trade_index: body.trade_index,
                notice: body.notice.into(),
            })))
        }
        ALARM => Ok(Act::Alarm(at.parse::<Spelled<Alarm>>("body", body)?.0)),
        _ => at
            .parse::<CommandV1>("body", body)?
            .into_command(kind)
            .map(Act::Lightning)
            .ok_or_else(|| at.corrupt(format!("kind {kind} is unknown"))),
    }
}
