//! Which module may depend on which. A new arrow is a change of the design and needs an ADR.

use std::path::Path;

use super::fault::{Fault, fault};
use crate::source::Source;

/// Each module of the daemon, and the modules it may name.
const ARROWS: [(&str, &[&str]); 23] = [
    ("check", &["daemon", "engine", "lightning", "nostr", "store", "wire"]),
    ("clock", &[]),
    ("config", &[]),
    ("crash", &[]),
    (
        "daemon",
        &[
            "engine",
            "facts",
            "intake",
            "lightning",
            "nostr",
            "outbox",
            "publisher",
            "store",
            "timers",
            "watcher",
            "wire",
        ],
    ),
    ("engine", &["store"]),
    ("entropy", &[]),
    ("error_chain", &[]),
    ("facts", &["lightning"]),
    ("intake", &["engine", "facts", "nostr", "store", "wire"]),
    ("lib", &[]),
    ("lightning", &[]),
    ("main", &["check", "daemon"]),
    ("nostr", &["wire"]),
    ("outbox", &["engine", "lightning", "nostr", "store", "wire"]),
    ("publisher", &["engine", "lightning", "nostr", "store", "wire"]),
    ("recorded_log", &[]),
    ("retry", &[]),
    ("store", &[]),
    ("tasks", &[]),
    ("timers", &["engine", "facts", "lightning", "store"]),
    ("watcher", &["engine", "lightning", "store"]),
    ("wire", &[]),
];
/// Modules that anyone may name.
const FREE: [&str; 8] =
    ["clock", "config", "crash", "entropy", "error_chain", "recorded_log", "retry", "tasks"];

/// Crates that only one module may use, and that module.
const CRATES: [(&str, &[&str]); 6] = [
    ("fedimint_tonic_lnd", &["lightning"]),
    ("getrandom", &["entropy"]),
    ("mostro_core", &[]),
    ("nostr_sdk", &["nostr", "wire"]),
    ("sqlx", &["store"]),
    ("tonic", &["lightning"]),
];

pub(super) fn check(file: &Path, source: &Source) -> Vec<Fault> {
    let Ok(inside) = file.strip_prefix("src") else { return Vec::new() };
    let path = inside.with_extension("");
    let names = path.iter().filter_map(|name| name.to_str()).collect::<Vec<_>>();
    let Some(&here) = names.first() else { return Vec::new() };
    let Some((_, may_name)) = ARROWS.iter().find(|(module, _)| *module == here) else {
        return vec![fault(file, 0, "a module that is not in xtask/src/tidy/arrows.rs")];
    };

    let mut faults = Vec::new();
    let code = Code::read(source);
    let up = "super::".repeat(names.len());
    for (line, target) in code.named_after(&["crate::", "mostrod::", &up]) {
        let is_placed = ARROWS.iter().any(|(module, _)| *module == target);
        let is_free = target == here || FREE.contains(&target);
        if is_placed && !is_free && !may_name.contains(&target) {
            faults.push(fault(file, line, format!("{here} may not use {target}")));
        }
    }
    for (name, owners) in CRATES {
        for line in code.lines_with_path(name) {
            if !owners.contains(&here) {
                faults.push(fault(file, line, format!("{here} may not name the crate {name}")));
            }
        }
    }
    faults
}

/// A file's code as one text, with the line of each part.
struct Code {
    text: String,
}

impl Code {
    fn read(source: &Source) -> Self {
        let lines = source.shipped_code().map(|(_, code)| code).collect::<Vec<_>>();
        Self { text: lines.join("\n") }
    }

    /// The first name of each path that begins with one of `roots`, also within braces.
    fn named_after(&self, roots: &[&str]) -> Vec<(usize, &str)> {
        let mut named = Vec::new();
        for root in roots {
            for (at, _) in self.text.match_indices(root) {
                let (before, rest) = self.text.split_at(at);
                if before.ends_with(is_part_of_path) {
                    continue;
                }
                let rest = rest.get(root.len()..).unwrap_or_default();
                named.extend(first_names(rest).into_iter().map(|name| (line_at(before), name)));
            }
        }
        named.sort_unstable();
        named
    }

    fn lines_with_path(&self, name: &str) -> Vec<usize> {
        let stands_alone = |at: usize| {
            let (before, rest) = self.text.split_at(at);
            let rest = rest.get(name.len()..).unwrap_or_default();
            !before.ends_with(is_part_of_path) && rest.starts_with("::")
        };
        let found = self.text.match_indices(name).map(|(at, _)| at).filter(|at| stands_alone(*at));
        found.map(|at| line_at(self.text.split_at(at).0)).collect()
    }
}

/// `a::b` names `a`; `{a::{b, c}, d}` names `a` and `d`.
fn first_names(path: &str) -> Vec<&str> {
    let Some(group) = path.strip_prefix('{') else { return Vec::from([first_name(path)]) };
    let mut names = Vec::new();
    let mut depth = 0_u32;
    let mut expects_name = true;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects_name = true,
            _ if depth == 0 && expects_name && !character.is_whitespace() => {
                names.push(first_name(group.get(at..).unwrap_or_default()));
                expects_name = false;
            }
            _ => {}
        }
    }
    names
}

fn first_name(path: &str) -> &str {
    let end = path.find(|character| !is_part_of_name(character)).unwrap_or(path.len());
    path.get(..end).unwrap_or_default()
}

fn is_part_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn is_part_of_path(character: char) -> bool {
    is_part_of_name(character) || character == ':' || character == '$'
}

fn line_at(before: &str) -> usize {
    before.matches('\n').count() + 1
}
