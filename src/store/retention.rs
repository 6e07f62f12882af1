//! What is forgotten, and when: a little at a time, the oldest first.
//!
//! Orders, holds, payouts, the journal and the ledger are the books: they stay.

use std::ops::RangeInclusive;
use std::time::Duration;

use trade::{Alarm, Timestamp};

use super::{StoreError, WriteTx, orders};

/// How long an operator can still look at acts that are done. No decision reads them.
const DONE_ACTS: Duration = Duration::from_hours(7 * 24);

/// How long the transport of a key is kept that is in no running trade and that no message waits for.
const IDLE_KEYS: Duration = Duration::from_hours(30 * 24);

/// A key whose row is dated further ahead than this was written while our clock was wrong.
const MOST_AHEAD: Duration = Duration::from_hours(24);

/// How far the clock of a sender may differ from ours.
const SKEW: Duration = Duration::from_mins(5);

/// Rows of each table that are deleted at once: some 40 ms of the writer's time in a database of 1 GiB.
pub(super) const AT_ONCE: u32 = 100;

impl WriteTx<'_> {
    /// Forgets a little of what is of no more use: ids of messages written longer than
    /// `inbox_memory` ago and before any running trade could have begun, acts done long ago, the
    /// transports of idle keys. `now` is a time that LND's chain confirms.
    pub async fn forget(
        &mut self,
        now: Timestamp,
        inbox_memory: Duration,
    ) -> Result<(), StoreError> {
        self.take_in_messages_again(now).await?;
        let useless = before(now, inbox_memory);
        let trades = orders::oldest_take(&mut self.tx).await?;
        let useless = trades.map_or(useless, |began| before(began, SKEW).min(useless));
        self.forget_messages(useless).await?;
        self.forget_acts(before(now, DONE_ACTS)).await?;
        self.forget_keys(i64::MIN..=before(now, IDLE_KEYS).0.saturating_sub(1)).await?;
        self.forget_keys(now.after(MOST_AHEAD).0..=i64::MAX).await
    }

    /// While our clock ran far ahead everything was forgotten, and since then everything is refused that
    /// is not dated later still. All that may have been acted on was written before now, or by a clock a
    /// little ahead of ours.
    async fn take_in_messages_again(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let until = now.after(SKEW);
        let Some(forgotten) = self.forgotten_until().await?.filter(|at| *at > until) else {
            return Ok(());
        };
        self.confirm_clock(now).await?;
        self.set_forgotten_until(until).await?;
        tracing::error!(forgotten_until = forgotten.0, "ALARM: {}", Alarm::ClockWasAhead);
        Ok(())
    }

    /// From then on no message is acted on that is as old as the newest that was forgotten.
    async fn forget_messages(&mut self, before: Timestamp) -> Result<(), StoreError> {
        let newest = sqlx::query_scalar!(
            r#"select max(created_at) as "newest: i64" from (
                select created_at from inbox where created_at < ? order by created_at limit ?
            )"#,
            before.0,
            AT_ONCE
        )
        .fetch_one(&mut *self.tx)
        .await?;
        let Some(newest) = newest else { return Ok(()) };
        self.set_forgotten_until(Timestamp(newest)).await?;
        sqlx::query!(
            "delete from inbox where rowid in (
                select rowid from inbox where created_at <= ? order by created_at limit ?
            )",
            newest,
            AT_ONCE
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    async fn forget_acts(&mut self, before: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "delete from outbox where id in (
                select id from outbox where done_at < ? order by done_at limit ?
            )",
            before.0,
            AT_ONCE
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Not those in a running trade, nor those that a message waits for: their transport is still used.
    async fn forget_keys(&mut self, updated_at: RangeInclusive<i64>) -> Result<(), StoreError> {
        let (from, to) = updated_at.into_inner();
        sqlx::query!(
            "with running as (
                select maker_key, taker_key from orders where ended = 0
            )
            delete from trade_keys where rowid in (
                select rowid from trade_keys
                where updated_at between ? and ?
                    and key not in (
                        select maker_key from running
                        union all select taker_key from running where taker_key is not null
                    )
                    and not exists (select 1 from lanes where lane = 'dm:' || key)
                order by updated_at limit ?
            )",
            from,
            to,
            AT_ONCE
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub_unsigned(age.as_secs()))
}
