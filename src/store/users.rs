//! Traders who gave an identity: trade index, ban, reputation.

use sqlx::SqliteConnection;
use trade::{AccountChange, IdentityKey, Reputation, Timestamp};

use super::text::{At, Text as _};
use super::{Reader, StoreError, WriteTx};

const DAY: i64 = 86_400;

/// What is known of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct User {
    pub(crate) last_index: Option<i64>,
    pub(crate) is_banned: bool,
    pub(crate) reputation: Reputation,
}

impl WriteTx<'_> {
    /// What is known of an identity; nothing of strangers and in full privacy.
    pub(crate) async fn user(
        &mut self,
        identity: IdentityKey,
        now: Timestamp,
    ) -> Result<User, StoreError> {
        find(&mut self.tx, identity, now).await
    }
}

impl Reader {
    /// The reputation of an identity; all zero for strangers and in full privacy.
    ///
    /// # Errors
    /// `Corrupt` if the row contradicts itself.
    pub async fn reputation(
        &self,
        identity: IdentityKey,
        now: Timestamp,
    ) -> Result<Reputation, StoreError> {
        Ok(find(&mut *self.connection().await?, identity, now).await?.reputation)
    }
}

async fn find(
    connection: &mut SqliteConnection,
    identity: IdentityKey,
    now: Timestamp,
) -> Result<User, StoreError> {
    let key = identity.to_text();
    let row = sqlx::query!(
        "select last_trade_index, banned, reviews, rating_sum, first_rating, created_at
        from users where identity = ?",
        key
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(User::default()) };
    let at = At::new("users", &key);
    let created_at = Timestamp(row.created_at);
    Ok(User {
        last_index: row.last_trade_index,
        is_banned: row.banned != 0,
        reputation: Reputation {
            rating_milli: at.number(
                "rating_sum",
                average_milli(row.rating_sum, row.first_rating, row.reviews),
            )?,
            reviews: at.number("reviews", row.reviews)?,
            operating_days: now.since(created_at).as_secs() / DAY.unsigned_abs(),
            since: Some(Timestamp(created_at.0 - created_at.0.rem_euclid(DAY))),
        },
    })
}

/// The average in thousandths of a star. The first rating counts half.
fn average_milli(sum: i64, first: Option<i64>, reviews: i64) -> i64 {
    let halves = sum.saturating_mul(2).saturating_sub(first.unwrap_or(0));
    halves.saturating_mul(500).checked_div(reviews).unwrap_or(0)
}

/// Carries out what a decision does to an account. The index only grows, except that one is given back
/// while it is still the last (D17).
pub(super) async fn change(
    connection: &mut SqliteConnection,
    change: &AccountChange,
    at: Timestamp,
) -> Result<(), StoreError> {
    match *change {
        AccountChange::RaiseIndex { identity, to } => {
            let identity = identity.to_text();
            sqlx::query!(
                "insert into users (identity, last_trade_index, created_at) values (?, ?, ?)
                on conflict (identity) do update set last_trade_index =
                    max(coalesce(last_trade_index, 0), excluded.last_trade_index)",
                identity,
                to,
                at.0
            )
            .execute(connection)
            .await?;
        }
        AccountChange::GiveBackIndex { identity, from, to } => {
            let identity = identity.to_text();
            sqlx::query!(
                "update users set last_trade_index = ? where identity = ? and last_trade_index = ?",
                to,
                identity,
                from
            )
            .execute(connection)
            .await?;
        }
    }
    Ok(())
}
