//! The public events: a projection of what is true, published until the relays have it.

use sqlx::SqliteConnection;
use trade::{Order, OrderId, Timestamp};

use super::text::{At, Text as _};
use super::{Reader, StoreError, Stuck, WriteTx, orders};

/// An order whose public event is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookRow {
    /// As it is now.
    pub order: Order,
    pub revision: i64,
    /// The signed event of this very revision, if it was sealed before.
    pub event: Option<String>,
    /// Of the newest event that was signed; the next must be later (INV-7).
    pub last_created_at: Timestamp,
    /// Of the newest event that a relay took.
    pub taken_at: Timestamp,
    /// How often sending this revision failed.
    pub attempts: u32,
}

/// A signed public event, as it is sent, and the time it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub created_at: Timestamp,
    pub event: String,
}

impl WriteTx<'_> {
    /// Saves the signed event of a revision before its first send.
    ///
    /// # Errors
    /// `Forbidden` if its time is before that of an earlier one.
    pub async fn seal_book(
        &mut self,
        order: OrderId,
        revision: i64,
        published: &Published,
    ) -> Result<(), StoreError> {
        let order = order.to_text();
        sqlx::query!(
            "update book set event = ?, event_revision = ?, last_created_at = ?
            where order_id = ? and (event_revision is null or event_revision < ?)",
            published.event,
            revision,
            published.created_at.0,
            order,
            revision
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Saves another event of a revision whose saved one no relay took, dated by a wrong clock (D30).
    ///
    /// # Errors
    /// `Forbidden` if a relay took a later one.
    pub async fn seal_book_anew(
        &mut self,
        order: OrderId,
        revision: i64,
        published: &Published,
    ) -> Result<(), StoreError> {
        let order = order.to_text();
        sqlx::query!(
            "update book set event = ?, last_created_at = ?
            where order_id = ? and event_revision = ? and published < event_revision",
            published.event,
            published.created_at.0,
            order,
            revision
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Records that a relay has a revision, in an event of this time.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn publish_book(
        &mut self,
        order: OrderId,
        revision: i64,
        created_at: Timestamp,
    ) -> Result<(), StoreError> {
        let order = order.to_text();
        sqlx::query!(
            "update book set published = max(published, ?), taken_at = max(taken_at, ?),
                attempts = 0, retry_at = 0
            where order_id = ?",
            revision,
            created_at.0,
            order
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Puts the publication off after a failure.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn retry_book(&mut self, order: OrderId, at: Timestamp) -> Result<(), StoreError> {
        let order = order.to_text();
        sqlx::query!(
            "update book set attempts = attempts + 1, retry_at = ? where order_id = ?",
            at.0,
            order
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Records that a relay took the event of this time under an address.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn publish_addressable(
        &mut self,
        kind: u16,
        d: &str,
        created_at: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update addressable set taken_at = max(taken_at, ?) where kind = ? and d = ?",
            created_at.0,
            kind,
            d
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Saves the newest event under an address before it is sent.
    ///
    /// # Errors
    /// `Forbidden` if it is not later than the newest that a relay took.
    pub async fn seal_addressable(
        &mut self,
        kind: u16,
        d: &str,
        published: &Published,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into addressable (kind, d, created_at, event) values (?, ?, ?, ?)
            on conflict (kind, d) do update set
                created_at = excluded.created_at, event = excluded.event",
            kind,
            d,
            published.created_at.0,
            published.event
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}

impl Reader {
    /// The orders whose public event is behind and may be sent now.
    ///
    /// An unreadable order is an error of its own; the others are published.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn list_book_due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Result<BookRow, Stuck<OrderId>>>, StoreError> {
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query!(
            "select order_id, revision, event, event_revision, last_created_at, taken_at, attempts
            from book where published < revision and retry_at <= ? order by retry_at, order_id limit ?",
            now.0,
            limit
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut due = Vec::with_capacity(rows.len());
        for row in rows {
            let at = At::new("book", &row.order_id);
            // The order was reported at the start.
            let Ok(id) = at.read("order_id", &row.order_id) else { continue };
            let found: Result<BookRow, StoreError> = async {
                Ok(BookRow {
                    order: orders::find(&mut tx, id)
                        .await?
                        .ok_or_else(|| at.corrupt("its order is missing"))?,
                    revision: row.revision,
                    event: row.event.filter(|_| row.event_revision == Some(row.revision)),
                    last_created_at: Timestamp(row.last_created_at),
                    taken_at: Timestamp(row.taken_at),
                    attempts: at.number("attempts", row.attempts)?,
                })
            }
            .await;
            due.push(match found {
                Err(error) if error.is_unavailable() => return Err(error),
                Err(error) => Err(Stuck { id, error }),
                Ok(row) => Ok(row),
            });
        }
        Ok(due)
    }

    /// The newest signed event of each order that a relay may still show: of those under way, and
    /// of those that would be in the book if nobody had said that they have left it. In the order
    /// of the ids, after `after`.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn list_shown(
        &self,
        now: Timestamp,
        after: Option<OrderId>,
        limit: u32,
    ) -> Result<Vec<(OrderId, String)>, StoreError> {
        let after = after.map(|order| order.to_text()).unwrap_or_default();
        let rows = sqlx::query!(
            r#"select shown.id as "id!", book.event as "event!" from (
                select id from orders where expires_at > ?1
                union
                select id from orders where status in ('waiting-taker-bond',
                    'waiting-buyer-invoice', 'waiting-payment', 'active', 'fiat-sent', 'dispute',
                    'settled-hold-invoice')
            ) shown
            join book on book.order_id = shown.id
            where shown.id > ?2 and book.event is not null
            order by shown.id limit ?3"#,
            now.0,
            after,
            limit
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        let read = |id: &String| At::new("book", id).read("order_id", id);
        rows.into_iter().map(|row| Ok((read(&row.id)?, row.event))).collect()
    }

    /// The newest events of these kinds, which belong to no order.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn list_addressable(&self, kinds: [u16; 3]) -> Result<Vec<String>, StoreError> {
        let [one, two, three] = kinds;
        let events = sqlx::query_scalar!(
            "select event from addressable where kind in (?, ?, ?)",
            one,
            two,
            three
        );
        Ok(events.fetch_all(&mut *self.connection().await?).await?)
    }

    /// The times of the newest event under an address that belongs to no order, and of the newest that
    /// a relay took.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn find_addressable(
        &self,
        kind: u16,
        d: &str,
    ) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
        let row = sqlx::query!(
            "select created_at, taken_at from addressable where kind = ? and d = ?",
            kind,
            d
        )
        .fetch_optional(&mut *self.connection().await?)
        .await?;
        Ok(row.map(|row| (Timestamp(row.created_at), Timestamp(row.taken_at))))
    }
}

/// The public face of an order changed: its event is behind now.
pub(super) async fn bump(
    connection: &mut SqliteConnection,
    order: OrderId,
) -> Result<(), StoreError> {
    let order = order.to_text();
    sqlx::query!(
        "insert into book (order_id, revision) values (?, 1)
        on conflict (order_id) do update set revision = revision + 1, attempts = 0, retry_at = 0",
        order
    )
    .execute(connection)
    .await?;
    Ok(())
}
