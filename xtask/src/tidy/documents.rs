//! Documents beside the code must be reachable and correct.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::fault::{Fault, fault};
use crate::source::numbered;

const ADR_FOLDER: &str = "docs/adr";
const ADR_INDEX: &str = "docs/adr/README.md";
/// The greatest length of ARCHITECTURE.md.
const MAX_MAP_LINES: usize = 300;

/// Every ADR is in the index.
pub(super) fn check_index(root: &Path) -> Result<Vec<Fault>> {
    let index = fs::read_to_string(root.join(ADR_INDEX)).context("reading the index of ADRs")?;
    let mut faults = Vec::new();
    for entry in fs::read_dir(root.join(ADR_FOLDER))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "README.md" && !index.contains(&format!("]({name})")) {
            faults.push(fault(ADR_INDEX, 0, format!("{name} is missing")));
        }
    }
    Ok(faults)
}

/// Every link into the tree has a target.
pub(super) fn check_links(root: &Path, file: &Path, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let folder = root.join(file).parent().map(Path::to_path_buf).unwrap_or_default();
    for (line, text) in numbered(text) {
        for (at, opening) in text.match_indices("](") {
            let rest = text.get(at + opening.len()..).unwrap_or_default();
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            let is_ours = !target.is_empty() && !target.contains("://");
            if is_ours && !folder.join(target).exists() {
                faults.push(fault(file, line, format!("{target} does not exist")));
            }
        }
    }
    faults
}

/// Every key in the template is read by `src/config`, whose text is `code`. That each is explained
/// and has the value that the code means is a test there.
pub(super) fn check_template(template: &str, code: &str) -> Vec<Fault> {
    let keys = numbered(template).filter_map(|(at, line)| {
        let (key, _) = line.trim_start_matches("# ").split_once(" = ")?;
        let is_key = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_key.then_some((at, key))
    });
    keys.filter(|(_, key)| !code.contains(&format!("\"{key}\"")))
        .map(|(at, key)| fault("settings.tpl.toml", at, format!("{key} is not read")))
        .collect()
}

/// Every dependency has a comment with its reason.
pub(super) fn check_dependencies(manifest: &str) -> Vec<Fault> {
    let mut is_inside = false;
    let mut faults = Vec::new();
    for (at, line) in numbered(manifest) {
        if line.starts_with('[') {
            is_inside = line == "[workspace.dependencies]";
        } else if is_inside && line.contains(" = ") && !line.contains('#') {
            let is_member = line.contains("path = ");
            if !is_member {
                faults.push(fault("Cargo.toml", at, "a dependency without a reason"));
            }
        }
    }
    faults
}

pub(super) fn check_architecture(text: &str) -> Vec<Fault> {
    let lines = text.lines().count();
    if lines <= MAX_MAP_LINES {
        return Vec::new();
    }
    vec![fault("ARCHITECTURE.md", 0, format!("{lines} lines, at most {MAX_MAP_LINES}"))]
}
