//! Unified diffs, applied in memory: every line that a patch keeps or removes must be there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// The changes to some files of the tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Patch {
    hunks: Vec<Hunk>,
}

#[derive(Debug, PartialEq, Eq)]
struct Hunk {
    file: PathBuf,
    /// Its line when the patch was made; it may have moved since.
    line: usize,
    before: Vec<String>,
    after: Vec<String>,
}

impl Patch {
    /// Lines outside of hunks are skipped, except the files' names.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut patch = Self::default();
        let mut file = None;
        let mut left = (0_usize, 0_usize);
        for line in text.lines() {
            if left == (0, 0) {
                if let Some(name) = line.strip_prefix("+++ ") {
                    let name = name.split('\t').next().unwrap_or(name);
                    file = Some(PathBuf::from(name.strip_prefix("b/").unwrap_or(name)));
                } else if let Some(ranges) = line.strip_prefix("@@ -") {
                    let file = file.clone().context("a hunk without a line `+++ b/file`")?;
                    let (hunk, lengths) = Hunk::begin(file, ranges)?;
                    left = lengths;
                    patch.hunks.push(hunk);
                }
                continue;
            }
            let hunk = patch.hunks.last_mut().context("a line of no hunk")?;
            hunk.take(line, &mut left)?;
        }
        ensure!(left == (0, 0), "its last hunk is cut off");
        ensure!(!patch.hunks.is_empty(), "it changes nothing");
        Ok(patch)
    }

    /// The changed files of the tree under `root`, as they would be.
    pub(super) fn apply_to(&self, root: &Path) -> Result<BTreeMap<PathBuf, String>> {
        let mut changed = BTreeMap::new();
        for hunk in &self.hunks {
            let text = match changed.remove(&hunk.file) {
                Some(text) => text,
                None => fs::read_to_string(root.join(&hunk.file))
                    .with_context(|| format!("it does not apply: no {}", hunk.file.display()))?,
            };
            changed.insert(hunk.file.clone(), hunk.apply(&text)?);
        }
        Ok(changed)
    }
}

impl Hunk {
    /// From `12,7 +12,9 @@`: the hunk, and how many lines it has before and after.
    fn begin(file: PathBuf, ranges: &str) -> Result<(Self, (usize, usize))> {
        let range = |text: &str| {
            let (line, length) = text.split_once(',').unwrap_or((text, "1"));
            Some((line.parse::<usize>().ok()?, length.parse::<usize>().ok()?))
        };
        let mut words = ranges.split_whitespace();
        let before = words.next().and_then(range);
        let after = words.next().and_then(|word| range(word.strip_prefix('+')?));
        let (before, after) =
            before.zip(after).with_context(|| format!("no hunk: @@ -{ranges}"))?;
        let hunk = Self { file, line: before.0, before: Vec::new(), after: Vec::new() };
        Ok((hunk, (before.1, after.1)))
    }

    fn take(&mut self, line: &str, left: &mut (usize, usize)) -> Result<()> {
        let (sign, text) = match line.split_at_checked(1) {
            Some((sign, text)) => (sign, text.to_owned()),
            // Editors remove the blank that stands for an empty line.
            None => (" ", String::new()),
        };
        let less = |count: &mut usize| {
            *count = count.checked_sub(1).context("a hunk is longer than its header declares")?;
            anyhow::Ok(())
        };
        match sign {
            " " => {
                less(&mut left.0)?;
                less(&mut left.1)?;
                self.before.push(text.clone());
                self.after.push(text);
            }
            "-" => {
                less(&mut left.0)?;
                self.before.push(text);
            }
            "+" => {
                less(&mut left.1)?;
                self.after.push(text);
            }
            "\\" => {}
            _ => anyhow::bail!("not a line of a hunk: {line}"),
        }
        Ok(())
    }

    /// Applies it at the matching place nearest to its old line.
    fn apply(&self, text: &str) -> Result<String> {
        let lines = text.lines().collect::<Vec<_>>();
        let length = self.before.len();
        let places = (0..=lines.len().saturating_sub(length)).filter(|at| {
            lines.get(*at..).is_some_and(|rest| {
                rest.len() >= length && rest.iter().zip(&self.before).all(|(is, was)| is == was)
            })
        });
        let at = places.min_by_key(|at| at.abs_diff(self.line.saturating_sub(1)));
        let at = at.with_context(|| {
            let file = self.file.display();
            format!("it does not apply: make its hunk at {file}:{} fit the code", self.line)
        })?;
        let (head, rest) = lines.split_at(at);
        let after = self.after.iter().map(String::as_str);
        let all = head.iter().copied().chain(after).chain(rest.iter().skip(length).copied());
        Ok(all.fold(String::new(), |text, line| text + line + "\n"))
    }
}
