//! `.sqlx`: the database's description of each checked query, so that a build needs no database.
//!
//! The query macros write these files when they are expanded with a database; no other tool is needed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use sqlx::sqlite::SqliteConnectOptions;

use crate::schema;

const FOLDER: &str = ".sqlx";

/// # Errors
/// If the daemon does not compile against the migrated schema.
pub fn write(root: &Path) -> Result<()> {
    let folder = root.join(FOLDER);
    describe(root, &folder)
}

/// # Errors
/// If the daemon does not compile against the migrated schema, or a file is out of date.
pub fn check(root: &Path) -> Result<()> {
    let fresh = root.join("target/sqlx");
    describe(root, &fresh)?;
    let (written, fresh) = (contents(&root.join(FOLDER))?, contents(&fresh)?);
    ensure!(written == fresh, "{FOLDER} is out of date; run `cargo xtask sqlx`");
    Ok(())
}

fn describe(root: &Path, folder: &Path) -> Result<()> {
    let database = root.join("target/sqlx.db");
    for leftover in [database.clone(), database.with_extension("db-wal")] {
        absent_is_fine(fs::remove_file(leftover))?;
    }
    absent_is_fine(fs::remove_dir_all(folder))?;
    fs::create_dir_all(folder)?;
    fs::create_dir_all(root.join("target"))?;
    let options = SqliteConnectOptions::new().filename(&database).create_if_missing(true);
    schema::migrate(root, &options)?;

    expand_again(&root.join("src/lib.rs"))?;
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["check", "--quiet", "--workspace", "--all-targets"])
        .env("DATABASE_URL", format!("sqlite:{}", database.display()))
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", folder)
        .status()
        .context("starting cargo check")?;
    ensure!(status.success(), "the queries do not fit the migrated schema");
    Ok(())
}

/// Makes cargo compile the daemon again without a change.
#[expect(clippy::disallowed_methods, reason = "cargo decides by the time of a file")]
fn expand_again(source: &Path) -> Result<()> {
    let file = fs::File::options().append(true).open(source)?;
    file.set_modified(SystemTime::now()).with_context(|| format!("touching {}", source.display()))
}

fn contents(folder: &Path) -> Result<BTreeMap<String, String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", folder.display())),
    };
    entries
        .map(|entry| {
            let entry = entry?;
            let text = fs::read_to_string(entry.path())?;
            Ok((entry.file_name().to_string_lossy().into_owned(), text))
        })
        .collect()
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
