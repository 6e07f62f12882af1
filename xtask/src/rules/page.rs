//! A page of rules: a heading per code, the rule, whether it is built and where, and a
//! list of the tests that prove it.
//!
//! ```text
//! ### T23
//!
//! The order's time in the book is over: it ends as `expired`, and its maker is notified.
//!
//! Built: yes, in `crates/trade/src/decide/expiry.rs`.
//!
//! (here comes the list)
//! ```

use super::proof::Proofs;

const HEADING: &str = "### ";
const BUILT: &str = "Built: ";
const LACKS: &str = "Lacks: ";
const LIST: &str = "<details><summary>Proved by ";
const LIST_END: &str = "</details>";

#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) rules: Vec<Rule>,
    /// Deviations from the form above, and their lines.
    pub(crate) mistakes: Vec<(usize, String)>,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) code: String,
    pub(crate) line: usize,
    pub(crate) status: Status,
    /// The paths of its implementation.
    pub(crate) places: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Built,
    Partly,
    NotBuilt,
}

impl Page {
    pub(crate) fn read(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let starts: Vec<usize> =
            (0..lines.len()).filter(|at| lines[*at].starts_with(HEADING)).collect();
        let mut page = Self::default();
        for (nth, start) in starts.iter().enumerate() {
            let end = starts.get(nth + 1).copied().unwrap_or(lines.len());
            match read_rule(start + 1, &lines[*start..end]) {
                Ok(rule) => page.rules.push(rule),
                Err(mistake) => page.mistakes.push((start + 1, mistake)),
            }
        }
        page
    }
}

fn read_rule(line: usize, lines: &[&str]) -> Result<Rule, String> {
    let code = lines[0].trim_start_matches(HEADING).to_owned();
    let built = lines.iter().position(|line| line.starts_with(BUILT));
    let built = built.ok_or_else(|| format!("{code} does not say whether it is built"))?;
    if lines[1..built].iter().all(|line| line.is_empty()) {
        return Err(format!("{code} does not say what the rule is"));
    }
    let (built_part, lacks) = match lines[built].split_once(LACKS) {
        Some((built_part, lacks)) => (built_part, Some(lacks)),
        None => (lines[built], None),
    };
    let word = built_part.trim_start_matches(BUILT).split([',', '.']).next().unwrap_or_default();
    let places: Vec<String> = built_part.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let status = match (word, places.is_empty(), lacks) {
        ("yes", false, None) => Status::Built,
        ("partly", false, Some(_)) => Status::Partly,
        ("no", true, None) => Status::NotBuilt,
        _ => {
            return Err(format!(
                "{code}: the forms are \"Built: yes, in `path`.\", \"Built: partly, in `path`. \
                 Lacks: what.\" and \"Built: no.\""
            ));
        }
    };
    Ok(Rule { code, line, status, places })
}

/// The page with new lists of tests.
pub(crate) fn render(text: &str, proofs: &Proofs) -> String {
    let mut fresh: Vec<String> = Vec::new();
    let mut code = "";
    let mut is_list = false;
    for line in text.lines() {
        if line.starts_with(LIST) {
            is_list = true;
            // The blank line before it comes with the new list.
            fresh.pop_if(|last| last.is_empty());
        } else if line.starts_with(HEADING) {
            code = line.trim_start_matches(HEADING);
        }
        if !is_list {
            fresh.push(line.to_owned());
        }
        if line.starts_with(BUILT) {
            fresh.extend(list(code, proofs));
        }
        is_list &= line != LIST_END;
    }
    fresh.join("\n") + "\n"
}

fn list(code: &str, proofs: &Proofs) -> Vec<String> {
    let Some(tests) = proofs.get(code) else { return Vec::new() };
    let noun = if tests.len() == 1 { "test" } else { "tests" };
    let mut lines =
        vec![String::new(), format!("{LIST}{} {noun}</summary>", tests.len()), String::new()];
    lines.extend(tests.iter().map(|(file, test)| format!("- `{}`: `{test}`", file.display())));
    lines.extend([String::new(), LIST_END.to_owned()]);
    lines
}
