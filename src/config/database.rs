//! `[database]`: upstream's one key, without effect. The database is always beside the settings.

use std::path::{Path, PathBuf};

use super::layers::{Invalid, Section};

const FILE_NAME: &str = "mostro.db";
/// The value in the template, here and upstream.
const DEFAULT_URL: &str = "sqlite://mostro.db";

/// Where the database is.
#[derive(Debug, Clone)]
pub struct Database {
    pub file: PathBuf,
}

pub(super) fn read(s: &mut Section<'_>, dir: &Path) -> Result<Database, Invalid> {
    let file = dir.join(FILE_NAME);
    let changed = s.optional::<String>("url")?.filter(|url| url != DEFAULT_URL);
    if changed.is_some() {
        s.warn("url", format!("has no effect: the database is always {}", file.display()));
    }
    Ok(Database { file })
}
