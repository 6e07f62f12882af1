//! The codes of rules, and where a text cites them.

use std::path::{Path, PathBuf};

/// The folder of the pages.
pub(crate) const FOLDER: &str = "docs/rules";

/// Rules with a common prefix, which are on one page.
#[derive(Debug)]
pub(crate) struct Family {
    prefix: &'static str,
    pub(crate) page: &'static str,
    is_number: fn(&str) -> bool,
}

pub(crate) const FAMILIES: &[Family] = &[
    family("T", "transitions.md"),
    family("C", "conflicts.md"),
    family("INV-", "invariants.md"),
    family("P", "payout.md"),
    family("E", "escrow.md"),
    family("I", "simulation.md"),
    family("K-", "known-mistakes.md"),
    Family { prefix: "FL-", page: "flows.md", is_number: is_step },
    family("D", "decisions.md"),
];

const fn family(prefix: &'static str, page: &'static str) -> Family {
    Family { prefix, page, is_number }
}

impl Family {
    pub(crate) fn of(word: &str) -> Option<&'static Self> {
        FAMILIES
            .iter()
            .find(|family| word.strip_prefix(family.prefix).is_some_and(family.is_number))
    }

    pub(crate) fn file(&self) -> PathBuf {
        Path::new(FOLDER).join(self.page)
    }
}

/// Longer numbers are other codes: `E0599`.
fn is_number(text: &str) -> bool {
    (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A flow's: `F1`, `F1b`.
fn is_step(text: &str) -> bool {
    let number = text.strip_prefix(|first: char| first.is_ascii_uppercase());
    number
        .is_some_and(|number| is_number(number.trim_end_matches(|c: char| c.is_ascii_lowercase())))
}

/// The codes in one line of prose. Text between backticks is code and cites nothing.
pub(crate) fn cited(prose: &str) -> Vec<&str> {
    let is_inside = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let words = prose.split('`').step_by(2).flat_map(|part| part.split(|c| !is_inside(c)));
    words.flat_map(codes_of).collect()
}

/// Of a word, or of a range like `P1-P9`.
fn codes_of(word: &str) -> Vec<&str> {
    if Family::of(word).is_some() {
        return vec![word];
    }
    let ends: Vec<&str> = word.split('-').collect();
    if ends.iter().all(|end| Family::of(end).is_some()) { ends } else { Vec::new() }
}

/// The codes in a document, each with its line. Blocks of code cite nothing.
pub(crate) fn cited_in_document(text: &str) -> Vec<(usize, &str)> {
    let mut is_code = false;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            found.extend(cited(line).into_iter().map(|code| (at + 1, code)));
        }
    }
    found
}
