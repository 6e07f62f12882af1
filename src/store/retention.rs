//! What is forgotten, and when: a little at a time, the oldest first.
//!
//! Orders, holds, payouts, the journal and the ledger are the books: they stay.

use std::ops::RangeInclusive;
use std::time::Duration;

use trade::{Alarm, Timestamp};

use super::{StoreError, WriteTx, orders};

/// How long an operator can still look at what was done. No decision reads it.
const DONE_ACTS: Duration = Duration::from_hours(7 * 24);

/// How long the transport of a key is known that is in no running trade and is told nothing.
const IDLE_KEYS: Duration = Duration::from_hours(30 * 24);

/// A key whose last message is dated further ahead than this was written by a wrong clock.
const MOST_AHEAD: Duration = Duration::from_hours(24);

/// How far ahead of ours the clock of a sender was, at most, whose message was acted on while ours was
/// right.
const SKEW: Duration = Duration::from_mins(5);

/// Rows of each table that go at once: some 40 ms of the writer's time in a database of 1 GiB.
pub(super) const AT_ONCE: u32 = 100;

impl WriteTx<'_> {
    /// Forgets a little of what is of no more use: ids of messages written longer than
    /// `inbox_memory` ago and before the oldest running trade began, acts done long ago, the
    /// transports of idle keys. `now` is a time that LND's chain confirms.
    pub async fn forget(
        &mut self,
        now: Timestamp,
        inbox_memory: Duration,
    ) -> Result<(), StoreError> {
        self.take_in_messages_again(now).await?;
        let useless = before(now, inbox_memory);
        let trades = orders::oldest_take(&mut self.tx).await?;
        self.forget_messages(trades.map_or(useless, |began| began.min(useless))).await?;
        self.forget_acts(before(now, DONE_ACTS)).await?;
        self.forget_keys(i64::MIN..=before(now, IDLE_KEYS).0.saturating_sub(1)).await?;
        self.forget_keys(now.after(MOST_AHEAD).0..=i64::MAX).await
    }

    /// A clock that ran far ahead had everything forgotten, and everything refused until its date.
    /// All that may have been acted on was written before now, or by a clock a little ahead of ours.
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

    /// From then on nothing is remembered, or acted on, that is as old as what went.
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

    /// A key that is in a running trade, or that a message waits for, is told on its own transport.
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
