//! `docs/LIGHTNING.md`: what we rely on LND for, and on which nodes it was checked.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

pub(crate) const FILE_NAME: &str = "docs/LIGHTNING.md";

/// The files with laws. Those in `contract` are for every kind of network.
const SOURCES: [&str; 7] = [
    "contract/holds.rs",
    "contract/payments.rs",
    "contract/restarts.rs",
    "contract/links.rs",
    "contract/access.rs",
    "access.rs",
    "faults.rs",
];

const HEAD: &str = "\
# What LND promises

Everything that we rely on LND for is a law in `tests/lightning`, checked through our own client.
Each law is checked on the simulated LND in every test run, and on real nodes by `make regtest`; it rests on the measured cases in `tests/lightning/lnd-0.21.2.json`.
If the two differ the simulator is wrong, and this table shows it.
A law that is simulated only gives the reason why real nodes cannot show it.

Made by `make laws` from a run on both; do not edit.
";

/// Behaviour of real nodes that no law can wait for.
const SEEN: &str = "
## Seen on real nodes without a law

- LND that is killed within milliseconds of accepting an HTLC, before it has recorded it as handled, takes it for a replayed one after its restart (`sphinx packet replay attempted`): the HTLC is failed to the payer, the invoice stays `ACCEPTED`, and settling it then makes it `SETTLED` although no sats came (1 of 5 kills right after `ACCEPTED`). The simulated node can be made to do so; our client reports such a hold as canceled.
- A payment whose LND is killed right after the first update is in flight for ever (it dangles), in flight as it should be, or `FAILED` without a route, depending on the exact moment of the kill.
- A payment that is sent in the 0.2 seconds in which LND closes the connection to a peer that has just gone waits in that connection: it is in flight for more than half a minute.
- A node that has never had an invoice answers `LookupInvoiceV2` with code Unknown, \"there are no existing invoices\"; the older `LookupInvoice` says NotFound.
";

/// A law, named by its test.
#[derive(Debug, PartialEq, Eq)]
struct Law {
    name: String,
    /// The measured cases that it rests on.
    cases: String,
    /// Why real nodes cannot show it, if they cannot.
    simulated_because: Option<String>,
}

/// The outcome of each test of a run.
type Outcomes = BTreeMap<String, bool>;

/// Checks every law on simulated and on real nodes, and writes the document.
///
/// # Errors
/// If a law does not hold, or nothing could be run.
pub fn write(root: &Path) -> Result<()> {
    let (simulated, real) = (run(root, "lightning")?, run(root, "lightning-real")?);
    let table = table(root, &version(root)?, &simulated, &real)?;
    fs::write(root.join(FILE_NAME), table).with_context(|| format!("writing {FILE_NAME}"))?;
    let all_hold = simulated.values().chain(real.values()).all(|holds| *holds);
    ensure!(all_hold, "a law does not hold: see {FILE_NAME}");
    Ok(())
}

/// The first law that is only in the sources or only in the document.
///
/// # Errors
/// If a file cannot be read.
pub(crate) fn stray(root: &Path) -> Result<Option<String>> {
    let text = fs::read_to_string(root.join(FILE_NAME))?;
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Law"));
    let mut rows = rows.filter(|line| !line.starts_with("| ---")).collect::<Vec<_>>();
    for source in SOURCES {
        for law in laws(&fs::read_to_string(folder(root).join(source))?) {
            let begin = format!("| {} | {} |", sentence(&law.name), law.cases);
            let end = law.simulated_because.map(|why| format!("| simulated only: {why} |"));
            let ends = |row: &str| end.as_ref().is_none_or(|end| row.ends_with(end));
            match rows.iter().position(|row| row.starts_with(&begin) && ends(row)) {
                Some(at) => drop(rows.remove(at)),
                None => return Ok(Some(law.name)),
            }
        }
    }
    Ok(rows.first().map(ToString::to_string))
}

/// Runs a test target; its lines are shown as they come.
fn run(root: &Path, target: &str) -> Result<Outcomes> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--test", target]).current_dir(root).stdout(Stdio::piped());
    let mut cargo = cargo.spawn().context("cargo does not start")?;
    let mut output = String::new();
    for line in BufReader::new(cargo.stdout.take().context("it is piped")?).lines() {
        let line = line?;
        eprintln!("{line}");
        output.push_str(&line);
        output.push('\n');
    }
    cargo.wait()?;
    let outcomes = outcomes(&output);
    ensure!(!outcomes.is_empty(), "no test ran in {target}");
    Ok(outcomes)
}

/// `test on_real_nodes::a_law ... ok`
fn outcomes(output: &str) -> Outcomes {
    let lines = output.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
    lines
        .map(|(test, outcome)| {
            let law = test.rsplit("::").next().unwrap_or(test);
            (law.to_owned(), outcome == "ok")
        })
        .collect()
}

fn table(root: &Path, version: &str, simulated: &Outcomes, real: &Outcomes) -> Result<String> {
    let word = |outcomes: &Outcomes, law: &str| match outcomes.get(law) {
        Some(true) => "holds",
        Some(false) => "**does not hold**",
        None => "**not run**",
    };
    let mut text = HEAD.to_owned();
    for source in SOURCES {
        let source = fs::read_to_string(folder(root).join(source))?;
        let title = source.lines().next().unwrap_or_default();
        let title = title.trim_start_matches("//! ").trim_end_matches('.');
        write!(text, "\n## {title}\n\n| Law | Measured as | Simulated | {version} |\n")?;
        writeln!(text, "| --- | --- | --- | --- |")?;
        for Law { name, cases, simulated_because } in laws(&source) {
            let real = match simulated_because {
                Some(why) => format!("simulated only: {why}"),
                None => word(real, &name).to_owned(),
            };
            let simulated = word(simulated, &name);
            writeln!(text, "| {} | {cases} | {simulated} | {real} |", sentence(&name))?;
        }
    }
    text.push_str(SEEN);
    Ok(text)
}

fn laws(source: &str) -> Vec<Law> {
    let (mut laws, mut cases, mut why, mut is_test) =
        (Vec::new(), String::new(), String::new(), false);
    for line in source.lines() {
        let for_all = line.strip_prefix("pub(crate) async fn ");
        let steered = line.strip_prefix("async fn ").filter(|_| is_test);
        if let Some(measured) = line.strip_prefix("// measured: ") {
            cases =
                measured.split(", ").map(|case| format!("`{case}`")).collect::<Vec<_>>().join(", ");
        } else if let Some(reason) = line.strip_prefix("// simulated only: ") {
            reason.clone_into(&mut why);
        } else if let Some((name, _)) = for_all.or(steered).and_then(|rest| rest.split_once('(')) {
            let (name, cases) = (name.to_owned(), std::mem::take(&mut cases));
            let simulated_because = steered.map(|_| std::mem::take(&mut why));
            laws.push(Law { name, cases, simulated_because });
        }
        is_test = line == "#[tokio::test]";
    }
    laws
}

/// A test's name as a sentence.
fn sentence(name: &str) -> String {
    let words = name.split('_').map(|word| if word == "lnd" { "LND" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// `LND 0.21.2-beta`, of the real node.
fn version(root: &Path) -> Result<String> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let lnd = env::var_os("LND_BIN").map_or_else(|| target.join("nodes/lnd"), PathBuf::from);
    let output = Command::new(&lnd).arg("--version").output();
    let output = output.with_context(|| format!("{} does not run", lnd.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().nth(2).context("LND prints no version")?;
    Ok(format!("LND {version}"))
}

fn folder(root: &Path) -> PathBuf {
    root.join("tests/lightning")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_is_read_with_its_cases_and_its_networks() {
        let source = "\
//! Holds.

// measured: one, two
// spec: E1
pub(crate) async fn a_law_of_lnd(fixture: &Fixture) {}

// simulated only: a reason
#[tokio::test]
async fn a_steered_one() {}

async fn no_law() {}
";
        let law = |name: &str, cases: &str, why: Option<&str>| Law {
            name: name.to_owned(),
            cases: cases.to_owned(),
            simulated_because: why.map(str::to_owned),
        };
        assert_eq!(
            laws(source),
            [law("a_law_of_lnd", "`one`, `two`", None), law("a_steered_one", "", Some("a reason"))]
        );
        assert_eq!(sentence("a_law_of_lnd"), "a law of LND");
    }

    #[test]
    fn the_outcome_of_each_law_is_read_from_a_run() {
        let output = "running 2 tests\ntest on::a_law ... ok\ntest on::another ... FAILED\n";

        let read = outcomes(output);

        assert_eq!(
            read,
            BTreeMap::from([("a_law".to_owned(), true), ("another".to_owned(), false)])
        );
    }
}
