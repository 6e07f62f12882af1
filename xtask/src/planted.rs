//! Planted faults: each `tests/planted/*.patch` brings one old fault back, and the tests it names must
//! find it: they are faults that lost money or messages.
//!
//! A patch begins with a description:
//!
//! ```text
//! # fault: one sentence
//! # command: cargo test --test sim a_filter
//! # complaint: text that the failing output must contain
//! ```
//!
//! It is applied to a copy of the tree. The copy's crates have their own version, so that the
//! build shares every dependency with this tree and no faulty artifact is used in a normal build.

mod copy;
mod patch;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use patch::Patch;

/// Where the patches are.
const FOLDER: &str = "tests/planted";

/// A fault, how to find it, and how to bring it back.
#[derive(Debug, PartialEq, Eq)]
struct Planted {
    name: String,
    fault: String,
    /// The words of a `cargo` command, without `cargo`.
    command: Vec<String>,
    complaint: String,
    patch: Patch,
}

/// Where a planted fault is built and run.
struct Scratch {
    /// The tree that is not changed.
    root: PathBuf,
    /// The build directory of that tree.
    target: PathBuf,
    tree: PathBuf,
}

/// Plants each fault, or those with the given names, and checks that its command finds it.
///
/// # Errors
/// If a fault is not found or cannot be planted, or a given name does not exist.
pub fn run(root: &Path, names: &[String]) -> Result<()> {
    let mut all = list(root)?;
    if let Some(name) = names.iter().find(|name| all.iter().all(|planted| planted.name != **name)) {
        bail!("there is no {FOLDER}/{name}.patch");
    }
    all.retain(|planted| names.is_empty() || names.contains(&planted.name));
    let scratch = Scratch::at(root)?;
    let mut lines = Vec::new();
    let mut missed = 0_usize;
    for planted in &all {
        let Planted { name, fault, .. } = planted;
        eprintln!("planting {name}: {fault}");
        let line = match scratch.finds(planted) {
            Ok(()) => format!("found   {name}: {fault}"),
            Err(error) => {
                missed = missed.saturating_add(1);
                format!("MISSED  {name}: {error:#}")
            }
        };
        eprintln!("{line}");
        lines.push(line);
    }
    eprintln!("\n{} of {} planted faults found:", all.len().saturating_sub(missed), all.len());
    for line in lines {
        eprintln!("  {line}");
    }
    ensure!(missed == 0, "{missed} planted faults were not found");
    Ok(())
}

/// The first patch that is incomplete or does not apply to the tree any more.
///
/// # Errors
/// If the folder or a file cannot be read.
pub(crate) fn stray(root: &Path) -> Result<Option<(PathBuf, String)>> {
    for file in files(root)? {
        let fits = read(root, &file).and_then(|planted| planted.patch.apply_to(root));
        if let Err(error) = fits {
            return Ok(Some((file, format!("{error:#}"))));
        }
    }
    Ok(None)
}

fn list(root: &Path) -> Result<Vec<Planted>> {
    files(root)?.iter().map(|file| read(root, file)).collect()
}

fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(FOLDER)).with_context(|| format!("reading {FOLDER}"))? {
        let file = Path::new(FOLDER).join(entry?.file_name());
        if file.extension().is_some_and(|extension| extension == "patch") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn read(root: &Path, file: &Path) -> Result<Planted> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let text = fs::read_to_string(root.join(file));
    Planted::parse(name, &text.with_context(|| format!("reading {}", file.display()))?)
        .with_context(|| file.display().to_string())
}

impl Planted {
    fn parse(name: String, text: &str) -> Result<Self> {
        let value = |key: &str| {
            let lines = text.lines().take_while(|line| line.starts_with('#'));
            let mut values =
                lines.filter_map(|line| line[1..].trim().strip_prefix(key)?.strip_prefix(':'));
            let value = values.next().map(str::trim).filter(|value| !value.is_empty());
            value.map(str::to_owned).with_context(|| format!("add a line `# {key}: …` at its head"))
        };
        let (fault, command, complaint) = (value("fault")?, value("command")?, value("complaint")?);
        let mut words = command.split_whitespace();
        let is_test = (words.next(), words.next()) == (Some("cargo"), Some("test"));
        ensure!(is_test, "its command must begin with `cargo test`: {command}");
        let command = command.split_whitespace().skip(1).map(str::to_owned).collect();
        Ok(Self { name, fault, command, complaint, patch: Patch::parse(text)? })
    }
}

impl Scratch {
    fn at(root: &Path) -> Result<Self> {
        let target = target_of(root);
        let tree = target.join("planted/tree");
        copy::sync(root, &tree, &target)?;
        Ok(Self { root: root.to_path_buf(), target, tree })
    }

    /// Ok if its command finds the fault.
    fn finds(&self, planted: &Planted) -> Result<()> {
        let changed = planted.patch.apply_to(&self.root)?;
        for (file, text) in &changed {
            fs::write(self.tree.join(file), text)
                .with_context(|| format!("planting in {}", file.display()))?;
        }
        let found = self.try_to_find(planted);
        for file in changed.keys() {
            // With the current time, so that cargo builds it again.
            fs::read(self.root.join(file))
                .and_then(|text| fs::write(self.tree.join(file), text))
                .with_context(|| format!("restoring {}", file.display()))?;
        }
        found
    }

    fn try_to_find(&self, planted: &Planted) -> Result<()> {
        let mut build = planted.command.clone();
        let at = build.iter().position(|word| word == "--").unwrap_or(build.len());
        build.insert(at, "--no-run".to_owned());
        let (is_built, output) = self.cargo(&build)?;
        ensure!(is_built, "it does not compile:\n{}", last_lines(&output));
        let (passes, output) = self.cargo(&planted.command)?;
        ensure!(!passes, "every test passed: `cargo {}`", planted.command.join(" "));
        let Planted { complaint, .. } = planted;
        ensure!(
            output.contains(complaint.as_str()),
            "a test failed without the complaint {complaint:?}:\n{}",
            last_lines(&output)
        );
        Ok(())
    }

    /// Whether it succeeds, and its output.
    fn cargo(&self, words: &[String]) -> Result<(bool, String)> {
        let mut cargo = Command::new("cargo");
        cargo.args(words).current_dir(&self.tree);
        cargo.env("CARGO_BUILD_BUILD_DIR", &self.target);
        // Final artifacts, such as the daemon, go to another folder than ours.
        cargo.env("CARGO_TARGET_DIR", self.target.join("planted/out"));
        cargo.env("PROTOC", self.root.join("target/tools/protoc"));
        let output = cargo.output().context("cargo does not start")?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }
}

fn target_of(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// The end of the output, which shows the error.
fn last_lines(output: &str) -> String {
    let lines = output.lines().collect::<Vec<_>>();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
