//! The public events: projections of the present state, published until relays have them.

use std::fmt;

use sqlx::SqliteConnection;
use trade::{OrderId, Timestamp};

use super::text::{At, Text as _};
use super::{Reader, StoreError, WriteTx};
use crate::retry::LONGEST_RETRY;

/// What a public event shows. Relays keep the newest event of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublicationId {
    Order(OrderId),
    /// What the node tells people about itself.
    Profile,
    /// Where the node is found.
    RelayList,
    /// What the node is, and the terms on which it serves.
    Info,
}

/// A public event that is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    pub id: PublicationId,
    pub revision: i64,
    /// The signed event of this very revision, if it was sealed before.
    pub event: Option<String>,
    /// Of the newest event that was signed; the next one must be later.
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

impl PublicationId {
    /// The kind of thing it shows.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self {
            Self::Order(_) => "order",
            Self::Profile => "profile",
            Self::RelayList => "relay-list",
            Self::Info => "info",
        }
    }

    /// Which one of its kind; empty where there is only one.
    fn about(&self) -> String {
        match self {
            Self::Order(order) => order.to_text(),
            Self::Profile | Self::RelayList | Self::Info => String::new(),
        }
    }

    fn read(what: &str, about: &str) -> Result<Self, StoreError> {
        let at = At::new("publications", format!("{what} {about}"));
        match (what, about) {
            ("order", order) => Ok(Self::Order(at.read("about", order)?)),
            ("profile", "") => Ok(Self::Profile),
            ("relay-list", "") => Ok(Self::RelayList),
            ("info", "") => Ok(Self::Info),
            _ => Err(at.corrupt("what it shows is unknown")),
        }
    }
}

impl fmt::Display for PublicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(order) => write!(f, "order {order}"),
            Self::Profile | Self::RelayList | Self::Info => write!(f, "{}", self.what()),
        }
    }
}

impl WriteTx<'_> {
    /// What an event shows has changed, or is to be published again: the event is behind now.
    pub async fn renew_publication(&mut self, id: PublicationId) -> Result<(), StoreError> {
        renew(&mut self.tx, id).await
    }

    /// Saves the signed event of a revision before its first send.
    ///
    /// # Errors
    /// `Forbidden` if its time is not later than that of one that a relay took.
    pub async fn seal_publication(
        &mut self,
        id: PublicationId,
        revision: i64,
        published: &Published,
    ) -> Result<(), StoreError> {
        let (what, about) = (id.what(), id.about());
        sqlx::query!(
            "update publications set event = ?, event_revision = ?, last_created_at = ?
            where what = ? and about = ? and (event_revision is null or event_revision < ?)",
            published.event,
            revision,
            published.created_at.0,
            what,
            about,
            revision
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Saves another event of a revision whose saved one no relay took, because a wrong clock dated it.
    ///
    /// # Errors
    /// `Forbidden` if a relay took a later one.
    pub async fn seal_publication_anew(
        &mut self,
        id: PublicationId,
        revision: i64,
        published: &Published,
    ) -> Result<(), StoreError> {
        let (what, about) = (id.what(), id.about());
        sqlx::query!(
            "update publications set event = ?, last_created_at = ?
            where what = ? and about = ? and event_revision = ? and published < event_revision",
            published.event,
            published.created_at.0,
            what,
            about,
            revision
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Records that a relay has a revision, in an event of this time.
    pub async fn record_published(
        &mut self,
        id: PublicationId,
        revision: i64,
        created_at: Timestamp,
    ) -> Result<(), StoreError> {
        let (what, about) = (id.what(), id.about());
        sqlx::query!(
            "update publications set published = max(published, ?), taken_at = max(taken_at, ?),
                attempts = 0, retry_at = 0
            where what = ? and about = ?",
            revision,
            created_at.0,
            what,
            about
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Puts a publication off after a failure.
    pub async fn retry_publication(
        &mut self,
        id: PublicationId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let (what, about) = (id.what(), id.about());
        sqlx::query!(
            "update publications set attempts = attempts + 1, retry_at = ?
            where what = ? and about = ?",
            at.0,
            what,
            about
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Publications that a clock which ran ahead put off for longer than any is put off are due now.
    pub async fn retry_publications_that_lie_ahead(
        &mut self,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let latest = now.after(LONGEST_RETRY);
        sqlx::query!(
            "update publications set retry_at = ?1 where published < revision and retry_at > ?2",
            now.0,
            latest.0
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}

impl Reader {
    /// The public events that are behind and may be sent now.
    pub async fn list_publications_due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Publication>, StoreError> {
        let rows = sqlx::query_as!(
            PublicationRow,
            "select what, about, revision, event, event_revision, last_created_at, taken_at, attempts
            from publications where published < revision and retry_at <= ?
            order by retry_at, what, about limit ?",
            now.0,
            limit
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        // An order whose id cannot be read is left out; it was reported at the start.
        Ok(rows.into_iter().filter_map(|row| row.into_publication().ok()).collect())
    }

    /// The newest signed event of each order that a relay may still show: of those under way, and of
    /// those that a relay which missed their last event still shows in the book. In the order of the
    /// ids, after `after`.
    pub async fn list_shown(
        &self,
        now: Timestamp,
        after: Option<OrderId>,
        limit: u32,
    ) -> Result<Vec<(OrderId, String)>, StoreError> {
        let after = after.map(|order| order.to_text()).unwrap_or_default();
        let rows = sqlx::query!(
            r#"select shown.id as "id!", publications.event as "event!" from (
                select id from orders where expires_at > ?1
                union
                select id from orders where ended = 0 and in_book = 0
            ) shown
            join publications on publications.what = 'order' and publications.about = shown.id
            where shown.id > ?2 and publications.event is not null
            order by shown.id limit ?3"#,
            now.0,
            after,
            limit
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        let read = |id: &String| At::new("publications", id).read("about", id);
        rows.into_iter().map(|row| Ok((read(&row.id)?, row.event))).collect()
    }

    /// The newest signed events of what the node says of itself.
    pub async fn list_own_events(&self) -> Result<Vec<String>, StoreError> {
        let events = sqlx::query_scalar!(
            r#"select event as "event!" from publications
            where what in ('profile', 'relay-list', 'info') and event is not null"#
        );
        Ok(events.fetch_all(&mut *self.connection().await?).await?)
    }
}

struct PublicationRow {
    what: String,
    about: String,
    revision: i64,
    event: Option<String>,
    event_revision: Option<i64>,
    last_created_at: i64,
    taken_at: i64,
    attempts: i64,
}

impl PublicationRow {
    fn into_publication(self) -> Result<Publication, StoreError> {
        let id = PublicationId::read(&self.what, &self.about)?;
        Ok(Publication {
            id,
            revision: self.revision,
            event: self.event.filter(|_| self.event_revision == Some(self.revision)),
            last_created_at: Timestamp(self.last_created_at),
            taken_at: Timestamp(self.taken_at),
            // It says only how long to wait.
            attempts: u32::try_from(self.attempts).unwrap_or(u32::MAX),
        })
    }
}

/// What an event shows has changed: the event is behind now.
pub(super) async fn renew(
    connection: &mut SqliteConnection,
    id: PublicationId,
) -> Result<(), StoreError> {
    let (what, about) = (id.what(), id.about());
    sqlx::query!(
        "insert into publications (what, about, revision) values (?, ?, 1)
        on conflict (what, about) do update set
            revision = revision + 1, attempts = 0, retry_at = 0",
        what,
        about
    )
    .execute(connection)
    .await?;
    Ok(())
}
