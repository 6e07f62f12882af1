//! What is forgotten, and when: a little at a time, the oldest first.
//!
//! Orders, holds, payouts, the journal and the ledger are the books: they stay.

use std::time::Duration;

use trade::Timestamp;

use super::{StoreError, WriteTx};

/// How long an operator can still look at what was done. No decision reads it.
const DONE_ACTS: Duration = Duration::from_hours(7 * 24);

/// How long the transport of a key is known that is in no running trade and is told nothing.
const IDLE_KEYS: Duration = Duration::from_hours(30 * 24);

/// Rows of each table that go at once: some 40 ms of the writer's time in a database of 1 GiB.
pub(super) const AT_ONCE: u32 = 100;

impl WriteTx<'_> {
    /// Forgets a little of what is of no more use: ids of messages written longer than
    /// `inbox_memory` ago, acts done long ago, the transports of idle keys.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn forget(
        &mut self,
        now: Timestamp,
        inbox_memory: Duration,
    ) -> Result<(), StoreError> {
        self.forget_messages(before(now, inbox_memory)).await?;
        self.forget_acts(before(now, DONE_ACTS)).await?;
        self.forget_keys(before(now, IDLE_KEYS)).await
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
    async fn forget_keys(&mut self, before: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "with running as (
                select maker_key, taker_key from orders where status not in
                    ('success', 'canceled', 'cooperatively-canceled', 'canceled-by-admin', 'expired')
            )
            delete from trade_keys where rowid in (
                select rowid from trade_keys
                where updated_at < ?
                    and key not in (
                        select maker_key from running
                        union all select taker_key from running where taker_key is not null
                    )
                    and not exists (select 1 from lanes where lane = 'dm:' || key)
                order by updated_at limit ?
            )",
            before.0,
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
