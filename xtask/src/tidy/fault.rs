//! A fault that `tidy` finds.

use std::fmt;
use std::path::{Path, PathBuf};

/// A rule that is broken, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub file: PathBuf,
    /// Zero for the file as a whole.
    pub line: usize,
    pub what: String,
}

pub(super) fn fault(file: impl AsRef<Path>, line: usize, what: impl Into<String>) -> Fault {
    Fault { file: file.as_ref().to_path_buf(), line, what: what.into() }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.what),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.what),
        }
    }
}
