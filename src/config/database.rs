//! `[database]`: upstream's one key, which says nothing. The database lies beside the settings.

use std::path::{Path, PathBuf};

use super::layers::{Reported, Section};

const FILE_NAME: &str = "mostro.db";
/// What the template and upstream say.
const USUAL_URL: &str = "sqlite://mostro.db";

/// Where the database is.
#[derive(Debug, Clone)]
pub struct Database {
    pub file: PathBuf,
}

pub(super) fn read(s: &mut Section<'_>, dir: &Path) -> Result<Database, Reported> {
    let file = dir.join(FILE_NAME);
    let elsewhere = s.optional::<String>("url")?.filter(|url| url != USUAL_URL);
    if elsewhere.is_some() {
        s.warn("url", format!("has no effect: the database is always {}", file.display()));
    }
    Ok(Database { file })
}
