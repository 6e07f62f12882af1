//! The files of the tree that people write.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// The folders with such files; the rest of the tree is generated.
const FOLDERS: [&str; 6] = ["crates", "docs", "migrations", "src", "tests", "xtask"];

/// All files to check, sorted by path.
pub(crate) fn list_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = FOLDERS.map(PathBuf::from).to_vec();
    folders.retain(|folder| root.join(folder).is_dir());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if is_written_by_people(&path) {
                found.push(path);
            }
        }
    }
    for entry in fs::read_dir(root)? {
        let path = PathBuf::from(entry?.file_name());
        if is_written_by_people(&path) && root.join(&path).is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_written_by_people(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("rs" | "md" | "sql" | "toml" | "proto" | "yml"))
}
