//! Opening the database: one daemon, durable commits, a known schema, or no start.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqliteConnection};

use super::{OpenError, Reader, Render, Writer, notices_v1};

/// The first SQLite without the WAL-reset corruption.
const OLDEST_SQLITE: &str = "3.51.3";

/// Connections that read at the same time; each is a thread of its own.
const READERS: u32 = 4;

/// How long a statement waits for the file. Nobody else writes, so only a checkpoint is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// Opens or creates the database, takes the lock against a second daemon, checks what we rely on and
/// brings the schema and waiting messages up to date. `render` makes the text of a message.
///
/// # Errors
/// With what an operator should do, if anything at all is not as it must be.
pub async fn open(path: &Path, render: Render) -> Result<(Writer, Reader), OpenError> {
    let lock = lock(path)?;
    private_file(path).map_err(|source| OpenError::File { path: path.to_owned(), source })?;

    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        .disable_statement_logging();
    let mut connection = connect(&options).await?;
    check_sqlite(&mut connection, path).await?;
    check_pages(&mut connection, path).await?;
    sqlx::migrate!()
        .run(&mut connection)
        .await
        .map_err(|source| OpenError::Migration { path: path.to_owned(), source })?;
    notices_v1::render_waiting(&mut connection, render)
        .await
        .map_err(|source| OpenError::of(path, source))?;

    // A file cannot be lost as a server can: a test of each connection is a thread hop for nothing.
    let pool = PoolOptions::new().max_connections(READERS).test_before_acquire(false);
    let pool = pool
        .connect_with(options.clone().read_only(true))
        .await
        .map_err(|source| OpenError::of(path, source))?;
    Ok((Writer { connection, options, render, _lock: lock }, Reader { pool }))
}

/// A connection that writes durably, or none.
pub(super) async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, OpenError> {
    let path = options.get_filename();
    let mut connection = options.connect().await.map_err(|source| OpenError::of(path, source))?;
    check_pragmas(&mut connection, path).await?;
    Ok(connection)
}

/// Opens an existing database to read from, beside a daemon that may be running.
///
/// # Errors
/// With what an operator should do, if it cannot be read.
pub async fn open_reader(path: &Path) -> Result<Reader, OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY)
        .disable_statement_logging();
    let unreadable = |source| OpenError::of(path, source);
    let pool = PoolOptions::new().max_connections(1).connect_with(options).await;
    let pool = pool.map_err(unreadable)?;
    check_pages(&mut *pool.acquire().await.map_err(unreadable)?, path).await?;
    Ok(Reader { pool })
}

/// The system gives the lock back when the process ends, however it ends.
fn lock(database: &Path) -> Result<File, OpenError> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let file =
        private_file(&path).map_err(|source| OpenError::File { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path }),
        Err(TryLockError::Error(source)) => Err(OpenError::File { path, source }),
    }
}

/// It holds preimages: nobody else may read it. SQLite gives its `-wal` the same mode.
fn private_file(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

async fn check_sqlite(writer: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let found = ask(writer, "select sqlite_version()", path).await?;
    if numbers(&found) < numbers(OLDEST_SQLITE) {
        return Err(OpenError::OldSqlite { found, needed: OLDEST_SQLITE });
    }
    Ok(())
}

async fn check_pages(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let found = ask(connection, "pragma quick_check(1)", path).await?;
    if found == "ok" {
        return Ok(());
    }
    Err(OpenError::Damaged { path: path.to_owned(), found })
}

async fn check_pragmas(writer: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    for (name, sql, needed) in [
        ("journal_mode", "select journal_mode from pragma_journal_mode", "wal"),
        ("synchronous", "select cast(synchronous as text) from pragma_synchronous", "2"),
        ("foreign_keys", "select cast(foreign_keys as text) from pragma_foreign_keys", "1"),
    ] {
        let found = ask(writer, sql, path).await?;
        if found != needed {
            return Err(OpenError::Pragma { name, found, needed });
        }
    }
    Ok(())
}

async fn ask(
    connection: &mut SqliteConnection,
    sql: &'static str,
    path: &Path,
) -> Result<String, OpenError> {
    sqlx::query_scalar(sql)
        .fetch_one(connection)
        .await
        .map_err(|source| OpenError::of(path, source))
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}
