//! A copy of the tree, updated without touching unchanged files, so that only the files of a patch are
//! compiled again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The version of the copy's crates: see [`super`].
const VERSION: &str = "version = \"0.0.0-planted\"";

/// Makes `tree` a copy of `root`, without build results and files of this machine.
///
/// # Errors
/// If a file cannot be read or written.
pub(super) fn sync(root: &Path, tree: &Path, target: &Path) -> Result<()> {
    let files = list(root, target)?;
    let old = if tree.is_dir() { list(tree, target)? } else { Vec::new() };
    for file in old.iter().filter(|file| !files.contains(file)) {
        fs::remove_file(tree.join(file)).with_context(|| format!("removing {}", file.display()))?;
    }
    for file in &files {
        let text =
            fs::read(root.join(file)).with_context(|| format!("reading {}", file.display()))?;
        let text = if file == Path::new("Cargo.toml") { rename(&text)? } else { text };
        let place = tree.join(file);
        if fs::read(&place).is_ok_and(|is| is == text) {
            continue;
        }
        fs::create_dir_all(place.parent().unwrap_or(tree))?;
        fs::write(&place, text).with_context(|| format!("writing {}", place.display()))?;
    }
    Ok(())
}

fn rename(manifest: &[u8]) -> Result<Vec<u8>> {
    let manifest = std::str::from_utf8(manifest).context("Cargo.toml is no text")?;
    let at = manifest.find("[workspace.package]\nversion = ");
    let at = at.context("Cargo.toml does not begin [workspace.package] with the version")?;
    let (head, rest) = manifest.split_at(at);
    let mut lines = rest.splitn(3, '\n');
    let (table, _, tail) = (lines.next(), lines.next(), lines.next());
    Ok(format!("{head}{}\n{VERSION}\n{}", table.unwrap_or_default(), tail.unwrap_or_default())
        .into())
}

/// Files of the tree, by their paths in it.
fn list(root: &Path, target: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type()?;
            if !is_source(&path) || root.join(&path) == target {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Not those in `.gitignore`, nor git's own.
fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_of_machine = path == Path::new("config") || path == Path::new("target");
    let is_database = name.ends_with(".db") || name.contains(".db-");
    !is_of_machine && !is_database && name != ".git" && name != ".env"
}
