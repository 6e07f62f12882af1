//! Which tests name which rules: a line `// spec: T10 INV-1` above a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::code::Family;
use crate::source::{Line, Source};

/// Lines after the comment on which the test must begin, and those on which its name must stand.
const BEGINS_WITHIN: usize = 3;
const NAMED_WITHIN: usize = 10;

/// A test, and the rules that it proves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    pub(crate) test: String,
    pub(crate) codes: Vec<String>,
}

/// The tests that name each rule: file and name.
pub(crate) type Proofs = BTreeMap<String, Vec<(PathBuf, String)>>;

#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) proofs: Vec<Proof>,
    /// Lines that prove nothing, and why.
    pub(crate) mistakes: Vec<(usize, String)>,
}

pub(crate) fn read(file: &Path, source: &str) -> Found {
    let lines = Source::read(source).lines;
    let mut found = Found::default();
    for (at, line) in lines.iter().enumerate() {
        let Some(named) = line.comment.trim_start().strip_prefix("spec:") else { continue };
        let (codes, others): (Vec<_>, Vec<_>) =
            named.split_whitespace().partition(|word| Family::of(word).is_some());
        if codes.is_empty() || !others.is_empty() {
            let what = "a line \"spec:\" lists codes of rules and nothing else".to_owned();
            found.mistakes.push((at + 1, what));
        }
        match test_below(lines.get(at + 1..).unwrap_or_default()) {
            Some(test) => found.proofs.push(Proof {
                file: file.to_path_buf(),
                line: at + 1,
                test,
                codes: codes.into_iter().map(str::to_owned).collect(),
            }),
            None => found.mistakes.push((at + 1, "a line \"spec:\" above no test".to_owned())),
        }
    }
    found
}

pub(crate) fn by_rule(proofs: &[Proof]) -> Proofs {
    let mut by_rule = Proofs::new();
    for Proof { file, test, codes, .. } in proofs {
        for code in codes {
            by_rule.entry(code.clone()).or_default().push((file.clone(), test.clone()));
        }
    }
    for tests in by_rule.values_mut() {
        tests.sort();
        tests.dedup();
    }
    by_rule
}

/// A function without a test attribute is called by tests, like the laws of LND.
fn test_below(lines: &[Line]) -> Option<String> {
    let begins = |line: &Line| {
        line.code.contains("#[") && line.code.contains("test") || name_in(&line.code).is_some()
    };
    lines.iter().take(BEGINS_WITHIN).find(|line| begins(line))?;
    lines.iter().take(NAMED_WITHIN).find_map(|line| name_in(&line.code)).map(str::to_owned)
}

/// The name of the function that begins on this line.
fn name_in(code: &str) -> Option<&str> {
    let (before, rest) = code.split_once("fn ")?;
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let name = rest.get(..rest.find(|c| !is_word(c)).unwrap_or(rest.len()))?;
    (!before.ends_with(is_word) && !name.is_empty()).then_some(name)
}
