//! Answers to strangers: keys that are party to no open order. A few are stored, for minutes; beyond
//! that strangers get no answer, so that nobody fills the outbox by asking (D42).

use std::time::Duration;

use trade::{Timestamp, TradeKey};

use super::outbox::{enqueue_message, lane_to};
use super::text::Text as _;
use super::{Notification, Reader, StoreError, WriteTx};

/// How long an answer to a stranger is of use. Clients wait for seconds.
const LIFE: Duration = Duration::from_mins(5);

/// Answers that may wait at once for one key.
pub(super) const MOST_TO_ONE: u32 = 4;

/// Answers that may wait at once for all of them.
pub(super) const MOST: u32 = 500;

/// Expired answers that are deleted at once.
const EXPIRED_AT_ONCE: u32 = 500;

/// Where an answer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// With the messages to traders, which are kept until they are sent.
    Trader,
    /// With the answers to strangers, which expire.
    Stranger,
    /// Nowhere: too many answers to strangers wait.
    Full,
}

impl WriteTx<'_> {
    /// Where an answer to this key is stored. A trader is the maker or taker of an order that has not
    /// ended.
    pub async fn place_for_answer(&mut self, key: TradeKey) -> Result<Place, StoreError> {
        let (lane, key) = (lane_to(key), key.to_text());
        let row = sqlx::query!(
            r#"select
                exists (select 1 from orders where maker_key = ?1 and ended = 0)
                    or exists (select 1 from orders where taker_key = ?1 and ended = 0)
                    as "is_trader!: bool",
                (select count(*) from (select 1 from outbox where to_stranger = 1 limit ?3)) < ?3
                    and (
                        select count(*) from (
                            select 1 from outbox where to_stranger = 1 and lane = ?2 limit ?4
                        )
                    ) < ?4
                    as "has_room!: bool""#,
            key,
            lane,
            MOST,
            MOST_TO_ONE
        )
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(match (row.is_trader, row.has_room) {
            (true, _) => Place::Trader,
            (false, true) => Place::Stranger,
            (false, false) => Place::Full,
        })
    }

    /// Stores an answer to a stranger; see [`WriteTx::place_for_answer`].
    pub async fn answer_stranger(
        &mut self,
        message: &Notification,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        enqueue_message(&mut self.tx, self.render, message, at, Some(at.after(LIFE))).await
    }

    /// Deletes a bounded number of answers to strangers that have expired; they are not sent.
    pub async fn expire_answers(&mut self, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "delete from outbox where id in (
                select id from outbox where to_stranger = 1 and expires_at <= ?
                order by expires_at limit ?
            )",
            now.0,
            EXPIRED_AT_ONCE
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// An answer whose expiry a clock that ran ahead has written expires as one that is stored now.
    pub async fn shorten_answers(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let latest = now.after(LIFE);
        sqlx::query!(
            "update outbox set expires_at = ?1 where to_stranger = 1 and expires_at > ?1",
            latest.0
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}

impl Reader {
    /// Whether an answer to a stranger has expired.
    pub async fn has_expired_answers(&self, now: Timestamp) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar!(
            r#"select exists (select 1 from outbox where to_stranger = 1 and expires_at <= ?)
            as "found!: bool""#,
            now.0
        )
        .fetch_one(&mut *self.connection().await?)
        .await?;
        Ok(found)
    }
}
