//! What can go wrong with the database, and what an operator does about it.

use std::path::PathBuf;

use trade::OrderId;

/// A read or a write that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing is known to be wrong with what was asked; try again later.
    #[error("the database does not answer: is the disk full, or failing?")]
    Unavailable(#[source] sqlx::Error),
    /// The schema guards the same rules as the core, and one of them was broken.
    #[error("the schema forbids what was to be saved: this is a bug, the order is left as it was")]
    Forbidden(#[source] sqlx::Error),
    #[error(
        "{table} row {row} contradicts itself ({why}): the order is set aside until the row is \
         restored from a backup or repaired"
    )]
    Corrupt { table: &'static str, row: String, why: String },
    /// As `Corrupt`, found before it was known where.
    #[error(
        "the database holds what cannot be read: the order is set aside until it is restored from a \
         backup or repaired"
    )]
    Unreadable(#[source] sqlx::Error),
    #[error("order {order} is no longer at version {version}: this is a bug, nothing was saved")]
    Moved { order: OrderId, version: u64 },
}

impl StoreError {
    /// Whether it says nothing about what was asked for: the same may be tried again.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Something that is due and cannot be read; whoever asked puts it off by its id.
#[derive(Debug)]
pub struct Stuck<Id> {
    pub id: Id,
    pub error: StoreError,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        /// `SQLITE_CONSTRAINT`, the low byte of all its extended codes.
        const CONSTRAINT: u32 = 19;
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
        match error {
            _ if code.is_some_and(|code| code & 0xff == CONSTRAINT) => Self::Forbidden(error),
            sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => Self::Unreadable(error),
            _ => Self::Unavailable(error),
        }
    }
}

/// Why the database was not opened. The daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot create or open {}: check that the folder exists and is ours", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("another daemon holds {}: stop it first, two must never share a database", path.display())]
    InUse { path: PathBuf },
    #[error("{} cannot be opened as a SQLite database: restore it from a backup", path.display())]
    Unreadable { path: PathBuf, source: sqlx::Error },
    #[error("{} is damaged ({found}): restore it from a backup", path.display())]
    Damaged { path: PathBuf, found: String },
    #[error("SQLite {found} is too old: {needed} is the first without the WAL-reset bug")]
    OldSqlite { found: String, needed: &'static str },
    #[error("pragma {name} is {found} and must be {needed}: is the file on a network share?")]
    Pragma { name: &'static str, found: String, needed: &'static str },
    #[error(
        "{} cannot be migrated: if a newer daemon or another program wrote it, use that one, or \
         another file", path.display()
    )]
    Migration { path: PathBuf, source: sqlx::migrate::MigrateError },
}
