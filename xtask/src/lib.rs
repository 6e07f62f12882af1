//! Chores of the workspace. A library as well, so that `tidy` runs as an ordinary test.

pub mod bootstrap; // what a build needs on a new machine
pub mod laws; // docs/LIGHTNING.md
pub mod planted; // faults that tests must find
#[cfg(feature = "database")]
pub mod queries; // .sqlx
pub mod rules; // the lists in docs/rules
#[cfg(feature = "database")]
pub mod schema; // schema.sql
mod source; // Rust and SQL files, split into code and comments
pub mod tidy; // the rules of the tree
mod tree; // the files of the tree

use std::path::{Path, PathBuf};

/// The folder of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
