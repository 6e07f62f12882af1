//! All SQL. What was decided is on disk before anything is sent.
//!
//! One connection writes, a pool reads. Callers use types of the core, and there is one way to save an
//! order. The schema is in `migrations/`, what each table means in `docs/DATA_MODEL.md`.

mod daemon_state;
mod error;
mod holds;
mod inbox;
mod journal;
mod notices_v1;
mod open;
mod orders;
mod outbox;
mod payouts;
mod publications;
mod retention;
mod rows;
mod strangers;
mod text;
mod users;
mod waiting;

#[cfg(test)]
pub(crate) mod tests;

use std::fs::File;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, Sqlite, SqliteConnection, SqlitePool, Transaction};

pub use daemon_state::DaemonState;
pub use error::{OpenError, StoreError, Stuck};
pub use inbox::{Delivery, EventId, Known, Part, Transport};
pub use journal::JournalLine;
pub use open::{open, open_reader};
pub use orders::TimesAhead;
pub use outbox::{Act, Class, Due, Notification, OutboxId, OutboxRow, Render, Sealed};
pub use publications::{Publication, PublicationId, Published};
pub use strangers::Place;
pub use waiting::WaitingOrder;

/// The one connection that writes, and the lock that keeps a second daemon out.
#[derive(Debug)]
pub struct Writer {
    connection: SqliteConnection,
    options: SqliteConnectOptions,
    render: Render,
    _lock: File,
}

/// A transaction that will write. Dropped without [`WriteTx::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct WriteTx<'c> {
    tx: Transaction<'c, Sqlite>,
    render: Render,
}

/// Any number of readers of what was committed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    pool: SqlitePool,
}

impl Writer {
    /// Begins a transaction; there is only one at a time.
    pub async fn begin(&mut self) -> Result<WriteTx<'_>, StoreError> {
        let tx = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        Ok(WriteTx { tx, render: self.render })
    }

    /// Opens a new connection in place of one that failed.
    ///
    /// SQLite may have ended the transaction by itself, for example on a full disk; the old connection
    /// does not know that and would refuse to begin another.
    ///
    /// # Errors
    /// If the file cannot be opened; the old connection stays then.
    pub async fn renew(&mut self) -> Result<(), OpenError> {
        self.connection = open::connect(&self.options).await?;
        Ok(())
    }

    /// Closes the file. What was committed is safe without it; after it, all of it is in one file, and
    /// a copy of that is a backup.
    pub async fn close(mut self) -> Result<(), StoreError> {
        // If readers close later, SQLite would leave the checkpoint to the next start.
        sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut self.connection).await?;
        Ok(self.connection.close().await?)
    }
}

impl WriteTx<'_> {
    /// A part of this transaction that can be undone by itself.
    pub async fn savepoint(&mut self) -> Result<WriteTx<'_>, StoreError> {
        Ok(WriteTx { tx: self.tx.begin().await?, render: self.render })
    }

    /// Makes it durable, or, of a savepoint, a part of the transaction around it.
    ///
    /// # Errors
    /// If the database does not answer; then nothing was saved.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.tx.commit().await?)
    }

    /// Undoes it.
    pub async fn rollback(self) -> Result<(), StoreError> {
        Ok(self.tx.rollback().await?)
    }
}

impl Reader {
    /// Checks the whole file, as is done when it is opened.
    ///
    /// # Errors
    /// If it is damaged, or the database does not answer.
    pub async fn check_pages(&self) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        let found: String =
            sqlx::query_scalar("pragma quick_check(1)").fetch_one(&mut *connection).await?;
        if found == "ok" {
            return Ok(());
        }
        Err(StoreError::Damaged(sqlx::Error::Protocol(found)))
    }

    async fn connection(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        Ok(self.pool.acquire().await?)
    }

    /// Several reads that see the same moment.
    async fn snapshot(&self) -> Result<Transaction<'_, Sqlite>, StoreError> {
        Ok(self.pool.begin().await?)
    }
}
