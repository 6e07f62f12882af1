//! Which messages were acted on, and on which transport each key wrote last.

use trade::{OrderId, Timestamp, TradeKey};

use super::text::Text as _;
use super::{Reader, StoreError, WriteTx, strangers};

/// The id of a signed event, whose signature was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub [u8; 32]);

/// How a message travels; each key is answered on the one it last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// v1: NIP-59 gift wraps, kind 1059.
    GiftWrap,
    /// v2: signed kind 14.
    Nip44,
}

/// What is remembered of a message that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    pub event_id: EventId,
    /// Of a gift wrap: the id of the inner event, computed by us.
    pub rumor_id: Option<EventId>,
    /// By the author's clock; of a gift wrap, the time of the inner event.
    pub created_at: Timestamp,
    /// Its author.
    pub from: TradeKey,
    pub transport: Transport,
}

/// What is known of a message once it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Whether it was acted on, in this event or another one.
    pub is_remembered: bool,
    /// Whether an answer to its author can be stored: to a party of any order that has not ended
    /// always, to a stranger while few such answers wait.
    pub has_place: bool,
    /// Whether there is an order of the id that it names.
    pub order_exists: bool,
    /// What its author has to do with that order, if it has not ended.
    pub part: Option<Part>,
}

/// What a trade key has to do with an order that has not ended and that it is a party of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// When the present taker took it; `None` in the book.
    pub taken_at: Option<Timestamp>,
}

impl WriteTx<'_> {
    /// Remembers a message and the transport of its author. False: it was acted on before, or is as
    /// old as what was forgotten, so that it may have been.
    ///
    /// For the transport, a message dated ahead counts as written when it was received: its author can
    /// change the transport at any time.
    pub async fn remember(
        &mut self,
        delivery: &Delivery,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        if !self.remember_id(delivery, at).await? {
            return Ok(false);
        }
        let (key, transport) = (delivery.from.to_text(), delivery.transport.to_text());
        let written = delivery.created_at.min(at);
        sqlx::query!(
            "insert into trade_keys (key, transport, updated_at) values (?1, ?2, ?3)
            on conflict (key) do update set
                transport = excluded.transport, updated_at = excluded.updated_at
            where excluded.updated_at >= updated_at or updated_at > ?4",
            key,
            transport,
            written.0,
            at.0
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(true)
    }

    /// Remembers a message, and nothing of its author. False: as [`WriteTx::remember`].
    pub async fn remember_id(
        &mut self,
        delivery: &Delivery,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let event = delivery.event_id.to_text();
        let rumor = delivery.rumor_id.map(|id| id.to_text());
        let new = sqlx::query!(
            "insert into inbox (event_id, rumor_id, created_at, at)
            select ?1, ?2, ?3, ?4 where not exists (
                select 1 from daemon_state
                where key = 'forgotten_until' and cast(value as integer) >= ?3
            )
            on conflict do nothing",
            event,
            rumor,
            delivery.created_at.0,
            at.0
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(new.rows_affected() > 0)
    }
}

impl Reader {
    /// What is known of an opened message.
    pub async fn find_known(
        &self,
        event: EventId,
        rumor: Option<EventId>,
        order: Option<OrderId>,
        author: TradeKey,
    ) -> Result<Known, StoreError> {
        let (event, rumor) = (event.to_text(), rumor.map(|id| id.to_text()));
        let (order, author) = (order.map(|id| id.to_text()), author.to_text());
        let row = sqlx::query!(
            r#"select
                exists (select 1 from inbox where event_id in (?1, ?5) or rumor_id in (?1, ?5))
                    as "is_remembered!: bool",
                exists (select 1 from orders where maker_key = ?3 and ended = 0)
                    or exists (select 1 from orders where taker_key = ?3 and ended = 0)
                    or (
                        select count(*) from (select 1 from outbox where to_stranger = 1 limit ?4)
                    ) < ?4
                    as "has_place!: bool",
                exists (select 1 from orders where id = ?2) as "order_exists!: bool",
                exists (
                    select 1 from orders
                    where id = ?2 and ended = 0 and ?3 in (maker_key, taker_key)
                ) as "is_party!: bool",
                (select taken_at from orders where id = ?2) as taken_at"#,
            event,
            order,
            author,
            strangers::MOST,
            rumor
        )
        .fetch_one(&mut *self.connection().await?)
        .await?;
        Ok(Known {
            is_remembered: row.is_remembered,
            has_place: row.has_place,
            order_exists: row.order_exists,
            part: row.is_party.then(|| Part { taken_at: row.taken_at.map(Timestamp) }),
        })
    }
}
