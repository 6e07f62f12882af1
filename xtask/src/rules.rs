//! `docs/rules`: what must hold, whether it is built, and which tests prove it.
//!
//! People write the text; the lists of tests and the table in the index are generated here.

pub(crate) mod code;
pub(crate) mod page;
pub(crate) mod proof;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::tree::list_files;
use code::FAMILIES;
use page::{Page, Status};
use proof::by_rule;

const INDEX: &str = "docs/rules/README.md";

/// The lines around the table in the index.
const BEGIN: &str = "<!-- by `cargo xtask rules` -->";
const END: &str = "<!-- until here -->";

/// # Errors
/// If a page cannot be read or written.
pub fn write(root: &Path) -> Result<()> {
    for (file, text) in generate(root)? {
        fs::write(root.join(&file), text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// # Errors
/// If a page cannot be read, or is not what [`write()`] would make of it.
pub fn check(root: &Path) -> Result<()> {
    for (file, text) in generate(root)? {
        let written = fs::read_to_string(root.join(&file)).unwrap_or_default();
        ensure!(written == text, "{} is out of date; run `cargo xtask rules`", file.display());
    }
    Ok(())
}

/// Every page as it should be.
fn generate(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut proofs = Vec::new();
    for file in list_files(root)? {
        if file.extension().is_some_and(|extension| extension == "rs") {
            proofs.extend(proof::read(&file, &read(root, &file)?).proofs);
        }
    }
    let proofs = by_rule(&proofs);
    let mut pages = Vec::new();
    let mut rows = Vec::new();
    for family in FAMILIES {
        let file = family.file();
        let text = page::render(&read(root, &file)?, &proofs);
        rows.push(row(family.page, &text));
        pages.push((file, text));
    }
    let index = read(root, Path::new(INDEX))?;
    pages.push((PathBuf::from(INDEX), with_table(&index, &rows)?));
    Ok(pages)
}

/// The line of a page in the index.
fn row(name: &str, text: &str) -> String {
    let title = text.lines().next().unwrap_or_default().trim_start_matches("# ");
    let rules = Page::read(text).rules;
    let count = |status| rules.iter().filter(|rule| rule.status == status).count();
    let [first, last] =
        [rules.first(), rules.last()].map(|rule| rule.map_or("", |rule| &rule.code));
    format!(
        "| [{title}]({name}) | {first} to {last} | {} | {} | {} |",
        count(Status::Built),
        count(Status::Partly),
        count(Status::NotBuilt)
    )
}

fn with_table(index: &str, rows: &[String]) -> Result<String> {
    let parts = index.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts.with_context(|| format!("{INDEX} lacks {BEGIN} or {END}"))?;
    let head = "| Page | Codes | Built | Partly | Not built |\n| --- | --- | --- | --- | --- |";
    Ok(format!("{before}{BEGIN}\n\n{head}\n{}\n\n{END}{after}", rows.join("\n")))
}

fn read(root: &Path, file: &Path) -> Result<String> {
    fs::read_to_string(root.join(file)).with_context(|| format!("reading {}", file.display()))
}
