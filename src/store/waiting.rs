//! Every order that waits for a person, for a buyer, or for LND for long.

use std::collections::BTreeSet;
use std::fmt;

use sqlx::SqliteConnection;
use trade::{OrderId, Timestamp, Waiting};

use super::text::{At, Text as _};
use super::{Reader, StoreError, orders};

/// An order that an operator should know of. Its `Display` says why, since when, and what to do.
#[derive(Debug)]
pub struct WaitingOrder {
    pub order: OrderId,
    /// An error: its rows contradict one another.
    pub what: Result<Waiting, StoreError>,
    /// When it last changed, in UTC.
    since: Option<String>,
}

impl WaitingOrder {
    /// Whether a person other than the parties must act.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        self.what.as_ref().map_or(true, Waiting::needs_a_person)
    }
}

impl Reader {
    /// What is frozen, cannot be read, is owed, or has waited for LND for long.
    pub async fn list_waiting(
        &self,
        now: Timestamp,
        margin: u32,
    ) -> Result<Vec<WaitingOrder>, StoreError> {
        let height = self.daemon_state().await?.height.unwrap_or_default();
        let mut tx = self.snapshot().await?;
        let mut found = Vec::new();
        for id in not_done(&mut tx).await? {
            let (last, since) = last_change(&mut tx, id).await?;
            let unchanged_for = now.since(last.unwrap_or(now));
            let whats = match orders::find(&mut tx, id).await {
                Ok(Some(order)) => order.waiting(unchanged_for, height, margin),
                Ok(None) => continue,
                Err(error) if error.is_unavailable() => return Err(error),
                Err(error) => {
                    found.push(WaitingOrder { order: id, what: Err(error), since });
                    continue;
                }
            };
            found.extend(whats.into_iter().map(|what| {
                let since = since.clone();
                WaitingOrder { order: id, what: Ok(what), since }
            }));
        }
        Ok(found)
    }
}

/// The orders that have not ended, and those with a hold that has not. One whose id cannot be read is
/// left out; it was reported at the start.
async fn not_done(connection: &mut SqliteConnection) -> Result<BTreeSet<OrderId>, StoreError> {
    let open = orders::open(connection).await?.into_iter().flatten();
    let mut ids: BTreeSet<OrderId> = open.collect();
    let holding =
        sqlx::query_scalar!("select order_id from holds where seen not in ('canceled', 'settled')")
            .fetch_all(connection)
            .await?;
    let readable = |id: &String| At::new("holds", id).read::<OrderId>("order_id", id).ok();
    ids.extend(holding.iter().filter_map(readable));
    Ok(ids)
}

async fn last_change(
    connection: &mut SqliteConnection,
    order: OrderId,
) -> Result<(Option<Timestamp>, Option<String>), StoreError> {
    let order = order.to_text();
    let last = sqlx::query!(
        r#"select max(at) as "at: i64", datetime(max(at), 'unixepoch') as "since: String"
        from journal where order_id = ?"#,
        order
    )
    .fetch_one(connection)
    .await?;
    Ok((last.at.map(Timestamp), last.since))
}

impl fmt::Display for WaitingOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Ok(what) => write!(f, "{what}")?,
            Err(error) => write!(f, "{error}")?,
        }
        match &self.since {
            Some(since) => write!(f, " (unchanged since {since} UTC)"),
            None => Ok(()),
        }
    }
}
