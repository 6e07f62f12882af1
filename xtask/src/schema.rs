//! `schema.sql`: the schema after all migrations, for reading and for reviews.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

const FILE_NAME: &str = "schema.sql";

/// # Errors
/// If a migration fails or the file cannot be written.
pub fn write(root: &Path) -> Result<()> {
    let schema = dump(root)?;
    fs::write(root.join(FILE_NAME), schema).with_context(|| format!("writing {FILE_NAME}"))
}

/// # Errors
/// If a migration fails or the file is not what the migrations make.
pub fn check(root: &Path) -> Result<()> {
    let schema = dump(root)?;
    let written = fs::read_to_string(root.join(FILE_NAME)).unwrap_or_default();
    ensure!(written == schema, "{FILE_NAME} is out of date; run `cargo xtask schema`");
    Ok(())
}

/// Runs all migrations on a new database, and reads its schema.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn migrate(root: &Path, options: &SqliteConnectOptions) -> Result<Vec<String>> {
    let migrations = Migrator::new(root.join("migrations")).await.context("reading migrations/")?;
    let mut database = options.connect().await.context("opening a database to migrate")?;
    migrations.run(&mut database).await.context("migrating an empty database")?;
    // Each table is followed by its indexes and triggers.
    let statements = sqlx::query_scalar(
        "select sql from sqlite_schema
         where sql is not null and name not like 'sqlite_%' and tbl_name <> '_sqlx_migrations'
         order by tbl_name, type <> 'table', type, name",
    )
    .fetch_all(&mut database)
    .await
    .context("reading the migrated schema")?;
    database.close().await?;
    Ok(statements)
}

fn dump(root: &Path) -> Result<String> {
    let mut schema =
        String::from("-- Made by `cargo xtask schema` from migrations/; do not edit.\n");
    for statement in migrate(root, &SqliteConnectOptions::new().in_memory(true))? {
        writeln!(schema, "\n{statement};")?;
    }
    Ok(schema)
}
