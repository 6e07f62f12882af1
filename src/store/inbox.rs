//! Which messages were acted on, and on which transport each key wrote last.

use trade::{Timestamp, TradeKey};

use super::text::{At, Text as _};
use super::{Reader, StoreError, WriteTx};

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

impl WriteTx<'_> {
    /// Whether a message was acted on before, or is as old as what was forgotten, so that it may
    /// have been: [`WriteTx::remember`] would not accept it.
    pub async fn is_repeat(&mut self, delivery: &Delivery) -> Result<bool, StoreError> {
        let event = delivery.event_id.to_text();
        let rumor = delivery.rumor_id.map(|id| id.to_text());
        let found = sqlx::query_scalar!(
            r#"select exists (select 1 from inbox where event_id = ?1)
                or exists (select 1 from inbox where rumor_id = ?2)
                or exists (
                    select 1 from daemon_state
                    where key = 'forgotten_until' and cast(value as integer) >= ?3
                ) as "found!: bool""#,
            event,
            rumor,
            delivery.created_at.0
        )
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(found)
    }

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
    /// Whether a message was acted on: cheaper than asking the writer. A yes is certain.
    pub async fn is_remembered(&self, event_id: EventId) -> Result<bool, StoreError> {
        let event = event_id.to_text();
        let found = sqlx::query_scalar!(
            r#"select exists (select 1 from inbox where event_id = ?1 or rumor_id = ?1)
            as "found!: bool""#,
            event
        )
        .fetch_one(&mut *self.connection().await?)
        .await?;
        Ok(found)
    }

    /// The transport a trade key last wrote on.
    pub async fn find_transport(&self, key: TradeKey) -> Result<Option<Transport>, StoreError> {
        let key = key.to_text();
        let transport = sqlx::query_scalar!("select transport from trade_keys where key = ?", key)
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        At::new("trade_keys", key).read_some("transport", transport.as_deref())
    }
}
