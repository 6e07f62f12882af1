//! Cited rules have entries, and rules that are called built are proved by tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::fault::{Fault, fault};
use crate::rules::code::{FOLDER, Family, cited, cited_in_document};
use crate::rules::page::{Page, Rule, Status};
use crate::rules::proof::{self, by_rule};
use crate::source::{Source, numbered, sql_comments};

/// Checks `files` against the pages of rules among them.
pub(super) fn check(root: &Path, files: &[(PathBuf, String)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut rules = BTreeMap::new();
    let is_page = |file: &Path| file.starts_with(FOLDER) && !file.ends_with("README.md");
    for (file, text) in files.iter().filter(|(file, _)| is_page(file)) {
        let Page { rules: found, mistakes } = Page::read(text);
        faults.extend(mistakes.into_iter().map(|(line, what)| fault(file, line, what)));
        for rule in found {
            faults.extend(check_place(root, file, &rule));
            let (line, code) = (rule.line, rule.code.clone());
            if rules.insert(rule.code.clone(), (file, rule)).is_some() {
                faults.push(fault(file, line, format!("a second entry for {code}")));
            }
        }
    }

    let mut proofs = Vec::new();
    for (file, text) in files {
        for (line, code) in citations(file, text) {
            if !rules.contains_key(&code) {
                let what =
                    format!("{code} has no entry in {FOLDER}: mistyped, or still to be written?");
                faults.push(fault(file, line, what));
            }
        }
        if file.extension().is_some_and(|extension| extension == "rs") {
            let found = proof::read(file, text);
            faults.extend(found.mistakes.into_iter().map(|(line, what)| fault(file, line, what)));
            proofs.extend(found.proofs);
        }
    }
    let proofs = by_rule(&proofs);
    faults.extend(rules.values().filter_map(|(file, rule)| {
        let tests = proofs.get(&rule.code);
        check_status(rule, tests.and_then(|tests| tests.first()))
            .map(|what| fault(file, rule.line, what))
    }));
    faults
}

/// A rule is on its family's page, and the paths of its implementation exist.
fn check_place(root: &Path, file: &Path, rule: &Rule) -> Vec<Fault> {
    let mut faults = Vec::new();
    if Family::of(&rule.code).is_none_or(|family| family.file() != file) {
        faults.push(fault(file, rule.line, format!("{} does not belong on this page", rule.code)));
    }
    for place in rule.places.iter().filter(|place| !root.join(place).exists()) {
        let what = format!("{} is implemented in {place}, which does not exist", rule.code);
        faults.push(fault(file, rule.line, what));
    }
    faults
}

fn check_status(rule: &Rule, proof: Option<&(PathBuf, String)>) -> Option<String> {
    let code = &rule.code;
    match (rule.status, proof) {
        (Status::Built, None) => Some(format!(
            "{code} is called built, and no test names it: add it to the line `// spec:` of the \
             test that proves it, or write that test, or say what it lacks"
        )),
        (Status::NotBuilt, Some((file, test))) => Some(format!(
            "{code} is called not built, and the test {test} in {} names it: say `yes` or `partly`",
            file.display()
        )),
        (Status::Built, Some(_)) | (Status::NotBuilt, None) | (Status::Partly, _) => None,
    }
}

/// Rules that a file names where people read: in comments, and in documents.
fn citations(file: &Path, text: &str) -> Vec<(usize, String)> {
    let owned = |(line, code): (usize, &str)| (line, code.to_owned());
    let extension = file.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("md") => cited_in_document(text).into_iter().map(owned).collect(),
        Some("rs") => {
            let lines = Source::read(text).lines;
            let comments = lines.iter().enumerate().map(|(at, line)| (at + 1, &*line.comment));
            comments.flat_map(cited_on).map(owned).collect()
        }
        Some("sql") => sql_comments(text).flat_map(cited_on).map(owned).collect(),
        Some("toml") => toml_comments(text).flat_map(cited_on).map(owned).collect(),
        _ => Vec::new(),
    }
}

fn cited_on((line, comment): (usize, &str)) -> impl Iterator<Item = (usize, &str)> {
    cited(comment).into_iter().map(move |code| (line, code))
}

fn toml_comments(text: &str) -> impl Iterator<Item = (usize, &str)> {
    numbered(text).filter_map(|(at, line)| Some((at, line.split_once('#')?.1)))
}
