//! Orders that stand still until a person acts (D13).

use std::fmt;

use trade::{Alarm, FrozenBecause, Order, OrderId, OrderState};

use super::text::Text as _;
use super::{Reader, StoreError, orders};

/// An order that nothing moves on. Its `Display` says why, since when, and what to do.
#[derive(Debug)]
pub struct StandsStill {
    pub order: OrderId,
    /// An error: its rows contradict one another.
    pub because: Result<FrozenBecause, StoreError>,
    /// When it last changed, in UTC.
    pub since: Option<String>,
}

impl Reader {
    /// The orders that are frozen or cannot be read.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn list_standing_still(&self) -> Result<Vec<StandsStill>, StoreError> {
        let mut tx = self.snapshot().await?;
        let mut found = Vec::new();
        // One whose id cannot be read was reported at the start.
        for id in orders::open(&mut tx).await?.into_iter().flatten() {
            let because = match orders::find(&mut tx, id).await {
                Ok(Some(Order { state: OrderState::Frozen { because, .. }, .. })) => Ok(because),
                Ok(_) => continue,
                Err(error) if error.is_unavailable() => return Err(error),
                Err(error) => Err(error),
            };
            let order = id.to_text();
            let since = sqlx::query_scalar!(
                r#"select datetime(max(at), 'unixepoch') as "since: String"
                from journal where order_id = ?"#,
                order
            )
            .fetch_one(&mut *tx)
            .await?;
            found.push(StandsStill { order: id, because, since });
        }
        Ok(found)
    }
}

impl fmt::Display for StandsStill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.because {
            Ok(because) => write!(f, "{}", Alarm::from(*because))?,
            Err(error) => write!(f, "{error}")?,
        }
        match &self.since {
            Some(since) => write!(f, " (unchanged since {since} UTC)"),
            None => Ok(()),
        }
    }
}
