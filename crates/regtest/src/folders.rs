//! Where a network keeps its files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// In memory if possible: the nodes write much and wait for it.
pub(crate) fn fast_folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Creates a folder that is deleted when this is dropped.
pub(crate) fn make(parent: &Path) -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix("regtest-").tempdir_in(parent);
    made.with_context(|| format!("cannot make a folder in {}", parent.display()))
}
