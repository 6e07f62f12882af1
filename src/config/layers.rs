//! The layers of the settings, merged, and the typed reading of a section's keys.
//!
//! A key that cannot be used is recorded as a problem and returned as `Invalid`, so that the section
//! goes on to its next key.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Config, Environment, FileFormat, Map, Value, ValueKind};
use trade::Ppm;
use zeroize::Zeroizing;

use super::{FILE_NAME, Problem, TEMPLATE, Warning};

/// The prefix of environment variables that are settings.
const ENV_PREFIX: &str = "MOSTRO";
/// What `config` calls the origin of a value that came from the environment.
const ENV_ORIGIN: &str = "the environment";
/// Longer values are cut when they are shown.
const SHOWN_CHARS: usize = 120;

/// The key has no usable value, and the problem is recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Invalid;

/// What to do when a key is missing.
pub(super) enum Absent<T> {
    Required,
    Default(T),
}

/// The file and the environment, merged, and the problems found so far.
pub(super) struct Layers {
    tree: Value,
    env: BTreeMap<String, Zeroizing<String>>,
    dotenv: BTreeMap<String, Zeroizing<String>>,
    known: BTreeSet<String>,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

/// One `[section]`, read key by key.
pub(super) struct Section<'a> {
    layers: &'a mut Layers,
    name: &'static str,
}

impl Layers {
    pub(super) fn read(
        dir: &Path,
        env: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Vec<Problem>> {
        let file = dir.join(FILE_NAME);
        let text = fs::read_to_string(&file).map(Zeroizing::new).map_err(|error| {
            vec![Problem {
                key: file.display().to_string(),
                value: None,
                fault: format!("cannot be read ({error})"),
                remedy: "make it readable, or start in an empty directory to have it written"
                    .into(),
            }]
        })?;
        let mut warnings = Vec::new();
        let dotenv = read_dotenv(&dir.join(".env"), &mut warnings);
        let (env, problems) = read_environment(env);
        let tree = merge(&text, &dotenv, &env).map_err(|cause| {
            vec![Problem {
                key: file.display().to_string(),
                value: None,
                fault: format!("is not TOML ({})", without_excerpt(&cause.to_string())),
                remedy: "correct that line".into(),
            }]
        })?;
        Ok(Self { tree, env, dotenv, known: BTreeSet::new(), problems, warnings })
    }

    pub(super) fn section(&mut self, name: &'static str) -> Section<'_> {
        let is_value = child(&self.tree, name).is_some_and(|value| !is_table(value));
        if is_value && self.known.insert(name.to_owned()) {
            self.problems.push(Problem {
                key: name.to_owned(),
                value: None,
                fault: "is a section, not a value".into(),
                remedy: format!("write a line [{name}] and the keys below it"),
            });
        }
        Section { layers: self, name }
    }

    /// A variable of the process, or else of `.env`. Blank ones count as unset.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        [&self.env, &self.dotenv]
            .into_iter()
            .filter_map(|layer| layer.get(name))
            .map(|value| value.trim())
            .find(|value| !value.is_empty())
    }

    /// Takes `section.key` out of the tree, so that no copy of a secret stays behind in it.
    pub(super) fn take_secret(&mut self, section: &str, key: &str) -> Option<Zeroizing<String>> {
        self.known.insert(format!("{section}.{key}"));
        let ValueKind::Table(sections) = &mut self.tree.kind else { return None };
        let ValueKind::Table(keys) = &mut sections.get_mut(section)?.kind else { return None };
        match keys.remove(key)?.kind {
            ValueKind::String(text) => Some(Zeroizing::new(text)),
            other => Some(Zeroizing::new(other.to_string())),
        }
    }

    /// Accepts all keys of `section`, and returns whether the section exists.
    pub(super) fn accept_whole(&mut self, section: &str) -> bool {
        self.known.insert(section.to_owned());
        child(&self.tree, section).is_some()
    }

    pub(super) fn report(&mut self, problem: Problem) -> Invalid {
        self.problems.push(problem);
        Invalid
    }

    pub(super) fn warn(&mut self, key: &str, meaning: impl Into<String>) {
        self.warnings.push(Warning { key: key.to_owned(), meaning: meaning.into() });
    }

    /// Warns of every key that no section has read.
    pub(super) fn warn_of_unknown_keys(&mut self) {
        let mut leaves = Vec::new();
        list_leaves(&self.tree, "", &mut leaves);
        leaves.sort();
        for key in leaves {
            let mut at_or_above =
                std::iter::successors(Some(key.as_str()), |path| Some(path.rsplit_once('.')?.0));
            if !at_or_above.any(|path| self.known.contains(path)) {
                self.warn(&key, "is not a setting of this daemon and has no effect");
            }
        }
    }

    pub(super) fn into_findings(self) -> (Vec<Problem>, Vec<Warning>) {
        (self.problems, self.warnings)
    }

    /// Every `section.key` that has been read.
    #[cfg(test)]
    pub(super) fn known(&self) -> &BTreeSet<String> {
        &self.known
    }
}

impl Section<'_> {
    /// Whether the file or the environment has this section.
    pub(super) fn is_present(&self) -> bool {
        child(&self.layers.tree, self.name).is_some()
    }

    /// A setting that may be left out; blank text counts as left out.
    pub(super) fn optional<T: Setting>(&mut self, key: &'static str) -> Result<Option<T>, Invalid> {
        let path = self.path(key);
        self.layers.known.insert(path);
        let Some(value) = self.find(key) else { return Ok(None) };
        let read = match &value.kind {
            ValueKind::String(text) if text.trim().is_empty() && T::BLANK_IS_ABSENT => {
                return Ok(None);
            }
            ValueKind::String(text) if value.origin() == Some(ENV_ORIGIN) => {
                T::from_text(text.trim())
            }
            kind => T::from_toml(kind),
        };
        let fault = || format!("is not {}", T::KIND);
        read.map(Some).ok_or_else(|| self.refuse(key, fault(), example(self.name, key)))
    }

    pub(super) fn value<T: Setting>(
        &mut self,
        key: &'static str,
        absent: Absent<T>,
    ) -> Result<T, Invalid> {
        match (self.optional(key)?, absent) {
            (Some(value), _) | (None, Absent::Default(value)) => Ok(value),
            (None, Absent::Required) => {
                Err(self.refuse(key, "is missing", example(self.name, key)))
            }
        }
    }

    pub(super) fn number(
        &mut self,
        key: &'static str,
        absent: Absent<u32>,
        range: impl RangeBounds<u32>,
    ) -> Result<u32, Invalid> {
        let number = self.value(key, absent)?;
        if range.contains(&number) {
            return Ok(number);
        }
        let edge = |bound: Bound<&u32>| match bound {
            Bound::Included(edge) | Bound::Excluded(edge) => Some(*edge),
            Bound::Unbounded => None,
        };
        let fault = match (edge(range.start_bound()), edge(range.end_bound())) {
            (low, Some(high)) => format!("is not between {} and {high}", low.unwrap_or(0)),
            (low, None) => format!("is below {}", low.unwrap_or(0)),
        };
        Err(self.refuse(key, fault, example(self.name, key)))
    }

    pub(super) fn seconds(
        &mut self,
        key: &'static str,
        absent: Absent<u32>,
        range: impl RangeBounds<u32>,
    ) -> Result<Duration, Invalid> {
        self.number(key, absent, range).map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// A file that must exist and be readable by the daemon.
    pub(super) fn file(
        &mut self,
        key: &'static str,
        remedy: &'static str,
    ) -> Result<PathBuf, Invalid> {
        let path = PathBuf::from(self.value::<String>(key, Absent::Required)?);
        let readable = File::open(&path).and_then(|file| {
            let is_file = file.metadata()?.is_file();
            is_file.then_some(()).ok_or_else(|| io::Error::other("not a file"))
        });
        match readable {
            Ok(()) => Ok(path),
            Err(error) => Err(self.refuse(key, format!("cannot be read ({error})"), remedy)),
        }
    }

    /// Records why the value of `key` cannot be used.
    pub(super) fn refuse(
        &mut self,
        key: &'static str,
        fault: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Invalid {
        let value = self.find(key).map(shown);
        let from_env = self.find(key).is_some_and(|value| value.origin() == Some(ENV_ORIGIN));
        let mut path = self.path(key);
        if from_env {
            let variable = format!("{ENV_PREFIX}__{}__{}", self.name, key).to_uppercase();
            path = format!("{path} ({variable})");
        }
        self.layers.report(Problem { key: path, value, fault: fault.into(), remedy: remedy.into() })
    }

    pub(super) fn warn(&mut self, key: &str, meaning: impl Into<String>) {
        let path = self.path(key);
        self.layers.warn(&path, meaning);
    }

    /// Warns that a setting has no effect yet, if it is not at its default.
    pub(super) fn without_effect<T: PartialEq>(
        &mut self,
        key: &str,
        value: Result<T, Invalid>,
        default: &T,
        because: &str,
    ) -> Result<(), Invalid> {
        if value? != *default {
            self.warn(key, format!("has no effect yet: {because}"));
        }
        Ok(())
    }

    /// Accepts keys that are upstream's and have no effect here.
    pub(super) fn accept(&mut self, keys: &[&str]) {
        let paths = keys.iter().map(|key| self.path(key)).collect::<Vec<_>>();
        self.layers.known.extend(paths);
    }

    fn find(&self, key: &str) -> Option<&Value> {
        child(child(&self.layers.tree, self.name)?, key)
    }

    fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }
}

/// A type that a setting can have, read from TOML or from the text of a variable.
pub(super) trait Setting: Sized {
    const KIND: &'static str;
    const BLANK_IS_ABSENT: bool = true;
    fn from_toml(kind: &ValueKind) -> Option<Self>;
    fn from_text(text: &str) -> Option<Self>;
}

impl Setting for bool {
    const KIND: &'static str = "true or false";

    fn from_toml(kind: &ValueKind) -> Option<Self> {
        if let ValueKind::Boolean(value) = kind { Some(*value) } else { None }
    }

    fn from_text(text: &str) -> Option<Self> {
        text.to_lowercase().parse().ok()
    }
}

impl Setting for u32 {
    const KIND: &'static str = "a whole number from 0 to 4294967295";

    fn from_toml(kind: &ValueKind) -> Option<Self> {
        if let ValueKind::I64(value) = kind { Self::try_from(*value).ok() } else { None }
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Setting for u8 {
    const KIND: &'static str = "a whole number from 0 to 255";

    fn from_toml(kind: &ValueKind) -> Option<Self> {
        u32::from_toml(kind).and_then(|value| Self::try_from(value).ok())
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Setting for String {
    const KIND: &'static str = "a string in quotes";

    fn from_toml(kind: &ValueKind) -> Option<Self> {
        if let ValueKind::String(value) = kind { Some(value.trim().to_owned()) } else { None }
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Setting for Vec<String> {
    const KIND: &'static str = "a list of strings";
    const BLANK_IS_ABSENT: bool = false; // the environment's way to write an empty list

    fn from_toml(kind: &ValueKind) -> Option<Self> {
        let ValueKind::Array(values) = kind else { return None };
        values.iter().map(|value| String::from_toml(&value.kind)).collect()
    }

    fn from_text(text: &str) -> Option<Self> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Some(items.map(str::to_owned).collect())
    }
}

/// Fractions are read as decimal text, never as floating-point numbers: 0.006 is 6000 ppm.
impl Setting for Ppm {
    const KIND: &'static str = "a fraction of at most six decimals";

    fn from_toml(kind: &ValueKind) -> Option<Self> {
        match kind {
            ValueKind::I64(value) => Self::from_text(&value.to_string()),
            // Displays as the shortest text that parses to the same number, as written in the file.
            ValueKind::Float(value) => Self::from_text(&value.to_string()),
            _ => None,
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let decimals = decimals.trim_end_matches('0');
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || decimals.len() > 6 || !is_digits(whole) || !is_digits(decimals) {
            return None;
        }
        format!("{whole}{decimals:0<6}").parse().ok().map(Self)
    }
}

fn merge(
    text: &str,
    dotenv: &BTreeMap<String, Zeroizing<String>>,
    env: &BTreeMap<String, Zeroizing<String>>,
) -> Result<Value, config::ConfigError> {
    // The process environment overrides `.env`.
    let variables: Map<String, String> =
        dotenv.iter().chain(env).map(|(name, value)| (name.clone(), value.to_string())).collect();
    let environment = Environment::with_prefix(ENV_PREFIX)
        .prefix_separator("__")
        .separator("__")
        .source(Some(variables));
    let merged = Config::builder()
        .add_source(config::File::from_str(text, FileFormat::Toml))
        .add_source(environment)
        .build()?;
    Ok(merged.cache)
}

/// The variables with our prefix, and a problem for each that is not UTF-8. Others are ignored.
fn read_environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> (BTreeMap<String, Zeroizing<String>>, Vec<Problem>) {
    let is_ours = |name: &OsString| name.as_encoded_bytes().starts_with(ENV_PREFIX.as_bytes());
    let mut read = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, value) in variables.filter(|(name, _)| is_ours(name)) {
        let key = name.to_string_lossy().into_owned();
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => _ = read.insert(name, Zeroizing::new(value)),
            _ => problems.push(Problem {
                key,
                value: None,
                fault: "is not UTF-8".into(),
                remedy: "correct or unset this variable".into(),
            }),
        }
    }
    (read, problems)
}

fn read_dotenv(path: &Path, warnings: &mut Vec<Warning>) -> BTreeMap<String, Zeroizing<String>> {
    let mut variables = BTreeMap::new();
    let lines = match dotenvy::from_path_iter(path) {
        Ok(lines) => lines,
        Err(error) if error.not_found() => return variables,
        Err(_) => {
            warnings.push(Warning {
                key: path.display().to_string(),
                meaning: "cannot be read and has no effect".into(),
            });
            return variables;
        }
    };
    for line in lines {
        match line {
            Ok((name, value)) => {
                variables.insert(name, Zeroizing::new(value));
            }
            // Without the error: it quotes the line, which may contain the secret key.
            Err(_) => warnings.push(Warning {
                key: path.display().to_string(),
                meaning: "contains a line that is not NAME=value; that line has no effect".into(),
            }),
        }
    }
    variables
}

/// The parser's message without the lines it quotes: one of them may contain the secret key.
fn without_excerpt(message: &str) -> String {
    let lines = message.lines().filter(|line| !line.contains('|')).map(str::trim);
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
}

/// What to write instead, taken from the template where it has the key.
fn example(section: &str, key: &str) -> String {
    let template = merge(TEMPLATE, &BTreeMap::new(), &BTreeMap::new()).unwrap_or_default();
    match child(&template, section).and_then(|section| child(section, key)) {
        Some(value) => format!("set it under [{section}], for example {key} = {}", shown(value)),
        None => format!("set it under [{section}]; settings.tpl.toml explains it"),
    }
}

/// A text that may be logged. A key or credentials may have been put into the wrong setting.
pub(super) fn shown_text(text: &str) -> String {
    if text.contains("nsec1") || text.contains("://") && text.contains('@') {
        return "[secret]".into();
    }
    format!("{:?}", text.chars().take(SHOWN_CHARS).collect::<String>())
}

fn shown(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => shown_text(text),
        ValueKind::Array(items) => {
            format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
        ValueKind::Table(_) => "{ … }".into(),
        kind => kind.to_string(),
    }
}

fn child<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    if let ValueKind::Table(table) = &value.kind { table.get(name) } else { None }
}

fn is_table(value: &Value) -> bool {
    matches!(value.kind, ValueKind::Table(_))
}

fn list_leaves(value: &Value, path: &str, leaves: &mut Vec<String>) {
    let ValueKind::Table(table) = &value.kind else { return leaves.push(path.to_owned()) };
    for (name, value) in table {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        list_leaves(value, &path, leaves);
    }
}
