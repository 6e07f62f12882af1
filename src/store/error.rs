//! What can go wrong with the database, and what an operator does about it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sqlx::migrate::MigrateError;
use trade::OrderId;

/// A read or a write that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing is known to be wrong with the request; try again later.
    #[error("the database does not answer: is the disk full, or failing?")]
    Unavailable(#[source] sqlx::Error),
    /// No other try can succeed; the daemon ends.
    #[error(
        "the database file is damaged: keep it and its -wal, and do what docs/OPERATIONS.md says under \
         A damaged database"
    )]
    Damaged(#[source] sqlx::Error),
    /// As `Damaged`.
    #[error(
        "the database cannot be written: its file and folder must belong to the daemon's user, and \
         the disk must not be mounted read-only; correct that and start again"
    )]
    NotWritable(#[source] sqlx::Error),
    /// The schema enforces rules of the core, and one of them was broken.
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
    /// Whether it says nothing about the request: the same may be tried again.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Damaged(_) | Self::NotWritable(_))
    }

    /// Whether only a person can mend it: the daemon ends.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::NotWritable(_))
    }
}

/// What SQLite's result code says of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Damaged,
    NotWritable,
    /// A constraint of the schema.
    Forbidden,
    /// Anything that may be over at the next try: a full disk, a failing one, a lock, no memory.
    Passing,
}

impl Fault {
    /// An error without a code may be over at the next try.
    pub(super) fn of(error: &sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code()?.parse().ok());
        code.map_or(Self::Passing, Self::of_code)
    }

    /// Extended codes have their kind in the low byte.
    fn of_code(code: u32) -> Self {
        const PERM: u32 = 3;
        const READONLY: u32 = 8;
        const CORRUPT: u32 = 11;
        const CONSTRAINT: u32 = 19;
        const AUTH: u32 = 23;
        const NOT_A_DATABASE: u32 = 26;
        const READONLY_RECOVERY: u32 = 264;
        const IO_SHORT_READ: u32 = 522;
        const READONLY_CANNOT_LOCK: u32 = 520;
        const READONLY_CANNOT_INIT: u32 = 1_288;
        const IO_DATA: u32 = 8_202;
        const IO_CORRUPT_FILE_SYSTEM: u32 = 8_458;
        match code {
            // A reader came while the log of an earlier run was recovered.
            READONLY_RECOVERY | READONLY_CANNOT_LOCK | READONLY_CANNOT_INIT => Self::Passing,
            IO_SHORT_READ | IO_DATA | IO_CORRUPT_FILE_SYSTEM => Self::Damaged,
            _ => match code & 0xff {
                CORRUPT | NOT_A_DATABASE => Self::Damaged,
                PERM | READONLY | AUTH => Self::NotWritable,
                CONSTRAINT => Self::Forbidden,
                _ => Self::Passing,
            },
        }
    }
}

/// Something that is due and cannot be read; the caller puts it off by its id.
#[derive(Debug)]
pub struct Stuck<Id> {
    pub id: Id,
    pub error: StoreError,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match (Fault::of(&error), &error) {
            (Fault::Forbidden, _) => Self::Forbidden(error),
            (Fault::Damaged, _) => Self::Damaged(error),
            (Fault::NotWritable, _) => Self::NotWritable(error),
            (Fault::Passing, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) => {
                Self::Unreadable(error)
            }
            (Fault::Passing, _) => Self::Unavailable(error),
        }
    }
}

/// Why the database was not opened. The daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "cannot create or open {} for writing: the file and its folder must be there and belong to \
         the daemon's user, and the disk must not be mounted read-only", path.display()
    )]
    File { path: PathBuf, source: std::io::Error },
    #[error("another daemon holds {}: stop it first, two must never share a database", path.display())]
    InUse { path: PathBuf },
    #[error(
        "SQLite cannot use {} now: is the disk full or failing, or does another program hold the file?",
        path.display()
    )]
    Unavailable { path: PathBuf, source: sqlx::Error },
    #[error(
        "{} cannot be written: the file, its -wal and their folder must belong to the daemon's user, \
         and the disk must not be mounted read-only", path.display()
    )]
    NotWritable { path: PathBuf, source: sqlx::Error },
    #[error(
        "{} is damaged, or no SQLite database: correct `database.url`, or keep the file and its -wal, \
         and do what docs/OPERATIONS.md says under A damaged database", path.display()
    )]
    Unreadable { path: PathBuf, source: sqlx::Error },
    #[error(
        "{} is damaged ({found}): keep it and its -wal, and do what docs/OPERATIONS.md says under \
         A damaged database", path.display()
    )]
    Damaged { path: PathBuf, found: String },
    #[error("SQLite {found} is too old: {needed} is the first without the WAL-reset bug")]
    OldSqlite { found: String, needed: &'static str },
    #[error("pragma {name} is {found} and must be {needed}: is the file on a network share?")]
    Pragma { name: &'static str, found: String, needed: &'static str },
    #[error(
        "{} cannot be migrated: if a newer daemon or another program wrote it, use that one, or \
         another file", path.display()
    )]
    Migration { path: PathBuf, source: MigrateError },
}

impl OpenError {
    pub(super) fn of(path: &Path, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        match Fault::of(&source) {
            Fault::Damaged => Self::Unreadable { path, source },
            Fault::NotWritable => Self::NotWritable { path, source },
            Fault::Forbidden | Fault::Passing => Self::Unavailable { path, source },
        }
    }

    /// Whether the next start would fail as this one did, until a person has done something.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::InUse { .. } => false,
            // A folder may be mounted late.
            Self::File { source, .. } => matches!(
                source.kind(),
                ErrorKind::PermissionDenied
                    | ErrorKind::ReadOnlyFilesystem
                    | ErrorKind::IsADirectory
            ),
            Self::Migration { source, .. } => match source {
                MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
                    Fault::of(source) != Fault::Passing
                }
                _ => true,
            },
            Self::NotWritable { .. }
            | Self::Unreadable { .. }
            | Self::Damaged { .. }
            | Self::OldSqlite { .. }
            | Self::Pragma { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: D13
    #[test]
    fn only_what_may_pass_by_itself_is_tried_again() {
        for (code, fault) in [
            (3, Fault::NotWritable),     // PERM
            (5, Fault::Passing),         // BUSY
            (6, Fault::Passing),         // LOCKED
            (7, Fault::Passing),         // NOMEM
            (8, Fault::NotWritable),     // READONLY
            (10, Fault::Passing),        // IOERR
            (11, Fault::Damaged),        // CORRUPT
            (13, Fault::Passing),        // FULL
            (14, Fault::Passing),        // CANTOPEN: too many open files, for one
            (19, Fault::Forbidden),      // CONSTRAINT
            (23, Fault::NotWritable),    // AUTH
            (26, Fault::Damaged),        // NOTADB
            (264, Fault::Passing),       // READONLY_RECOVERY
            (266, Fault::Passing),       // IOERR_READ
            (267, Fault::Damaged),       // CORRUPT_VTAB
            (522, Fault::Damaged),       // IOERR_SHORT_READ
            (776, Fault::NotWritable),   // READONLY_ROLLBACK
            (779, Fault::Damaged),       // CORRUPT_INDEX
            (1_032, Fault::NotWritable), // READONLY_DBMOVED
            (2_067, Fault::Forbidden),   // CONSTRAINT_UNIQUE
            (8_458, Fault::Damaged),     // IOERR_CORRUPTFS
        ] {
            assert_eq!(Fault::of_code(code), fault, "{code}");
        }
    }
}
