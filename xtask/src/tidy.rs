//! The rules of the tree that neither compiler nor clippy can check.
//!
//! Runs as `cargo xtask tidy` and as a test of this crate. Each rule is a function from a file's text
//! to faults, so that its tests need no files.

mod arrows;
mod documents;
mod fault;
mod rules;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::source::{Source, numbered, sql_comments};
use crate::tree::list_files;
use crate::{laws, planted};
use fault::fault;

pub use fault::Fault;

/// Files longer than this do more than one job; tests may be long.
const MAX_LINES: usize = 600;
/// Words that announce work.
const PROMISES: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
/// Beginnings of SQL statements, lower case.
const SQL: [&str; 7] = [
    "select ",
    "insert into ",
    "delete from ",
    "create table ",
    "create index ",
    "begin immediate",
    "pragma ",
];

/// Prints every fault there is.
///
/// # Errors
/// If there is one, or the tree cannot be read.
pub fn run(root: &Path) -> Result<()> {
    let faults = check(root)?;
    for fault in &faults {
        eprintln!("{fault}");
    }
    ensure!(faults.is_empty(), "{} faults", faults.len());
    Ok(())
}

/// Checks all rules on the tree under `root`.
///
/// # Errors
/// If the tree cannot be read.
pub fn check(root: &Path) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    let mut rust = String::new();
    let read = |file: PathBuf| {
        let text = fs::read_to_string(root.join(&file));
        text.with_context(|| format!("reading {}", file.display())).map(|text| (file, text))
    };
    let files = list_files(root)?.into_iter().map(read).collect::<Result<Vec<_>>>()?;
    for (file, text) in &files {
        faults.extend(check_promises(file, text));
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => {
                faults.extend(check_rust(file, text));
                if file.starts_with("src/config") {
                    rust.push_str(text);
                }
            }
            Some("md") => faults.extend(documents::check_links(root, file, text)),
            Some("sql") => faults.extend(check_history_in(file, sql_comments(text))),
            _ => {}
        }
    }
    faults.extend(rules::check(root, &files));
    faults.extend(documents::check_index(root)?);
    let read =
        |name: &str| fs::read_to_string(root.join(name)).with_context(|| format!("reading {name}"));
    faults.extend(documents::check_template(&read("settings.tpl.toml")?, &rust));
    faults.extend(documents::check_dependencies(&read("Cargo.toml")?));
    faults.extend(documents::check_architecture(&read("ARCHITECTURE.md")?));
    let stray = laws::stray(root)?;
    faults.extend(stray.map(|law| fault(laws::FILE_NAME, 0, format!("run `make laws`: {law}"))));
    faults.extend(planted::stray(root)?.map(|(file, what)| fault(file, 0, what)));
    Ok(faults)
}

fn check_rust(file: &Path, text: &str) -> Vec<Fault> {
    let source = Source::read(text);
    let mut faults = check_length(file, text);
    let comments = source.lines.iter().enumerate().map(|(at, line)| (at + 1, &*line.comment));
    faults.extend(check_history_in(file, comments));
    if !is_test(file) {
        faults.extend(check_sql(file, &source));
        faults.extend(arrows::check(file, &source));
    }
    faults
}

fn check_length(file: &Path, text: &str) -> Vec<Fault> {
    let lines = text.lines().count();
    if lines <= MAX_LINES || is_test(file) {
        return Vec::new();
    }
    vec![fault(file, 0, format!("{lines} lines, at most {MAX_LINES}: split the file by its jobs"))]
}

fn check_promises(file: &Path, text: &str) -> Vec<Fault> {
    numbered(text)
        .filter(|(_, line)| PROMISES.iter().any(|word| line.contains(word)))
        .map(|(at, _)| fault(file, at, "work is announced: do it, or write an issue"))
        .collect()
}

/// Comments describe the present; history is in git.
fn check_history_in<'a>(
    file: &Path,
    comments: impl Iterator<Item = (usize, &'a str)>,
) -> Vec<Fault> {
    let is_issue = |comment: &str| {
        comment.match_indices('#').any(|(at, _)| {
            comment.get(at + 1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    };
    comments
        .filter(|(_, comment)| is_issue(comment) || comment.contains(concat!("Pha", "se")))
        .map(|(at, _)| {
            fault(file, at, "history in a comment: issue numbers and phases belong into git")
        })
        .collect()
}

fn check_sql(file: &Path, source: &Source) -> Vec<Fault> {
    if !file.starts_with("src")
        || file.starts_with("src/store")
        || file == Path::new("src/store.rs")
    {
        return Vec::new();
    }
    let numbered = source.lines.iter().enumerate();
    numbered
        .filter(|(_, line)| is_sql(&line.text))
        .map(|(at, _)| fault(file, at + 1, "SQL outside src/store"))
        .collect()
}

fn is_sql(text: &str) -> bool {
    let text = text.trim_start().to_lowercase();
    SQL.iter().any(|word| text.starts_with(word))
        || text.starts_with("update ") && text.contains(" set ")
}

/// Tests may be long, may use every module, and may write SQL.
fn is_test(file: &Path) -> bool {
    let is_tests = |name: &std::ffi::OsStr| name == "tests" || name == "tests.rs";
    file.iter().any(is_tests)
}
