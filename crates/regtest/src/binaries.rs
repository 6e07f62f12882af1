//! Where the nodes' programs are, and whether they are usable.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// The oldest LND whose hold invoices can be trusted.
const OLDEST_LND: (u32, u32) = (0, 20);

/// The programs of a network.
#[derive(Debug, Clone)]
pub struct Binaries {
    pub lnd: PathBuf,
    pub btcd: PathBuf,
    /// For people only; the network does not use it.
    pub lncli: PathBuf,
    /// For people only.
    pub btcctl: PathBuf,
}

impl Binaries {
    /// The programs that the environment names (`LND_BIN`, `BTCD_BIN`, `LNCLI_BIN`, `BTCCTL_BIN`), and
    /// otherwise those that `make nodes` has built.
    ///
    /// # Errors
    /// No btcd, no LND, or one that is too old; the message has a remedy.
    pub fn find() -> Result<Self> {
        let built = built()?;
        let find = |name: &str, variable| match std::env::var_os(variable) {
            Some(path) => PathBuf::from(path),
            None => built.join(name),
        };
        let binaries = Self {
            lnd: find("lnd", "LND_BIN"),
            btcd: find("btcd", "BTCD_BIN"),
            lncli: find("lncli", "LNCLI_BIN"),
            btcctl: find("btcctl", "BTCCTL_BIN"),
        };
        binaries.check()?;
        Ok(binaries)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let version = version(&self.lnd, "lnd", "LND_BIN")?;
        let numbers = numbers(&version).with_context(|| {
            format!("{} is not LND: its version is {version:?}", self.lnd.display())
        })?;
        let (major, minor) = OLDEST_LND;
        ensure!(
            numbers >= OLDEST_LND,
            "{} is LND {}.{}, and hold invoices of LND below {major}.{minor} are not reliable: \
             run `make nodes`, or set LND_BIN to a newer one",
            self.lnd.display(),
            numbers.0,
            numbers.1,
        );
        let version = self::version(&self.btcd, "btcd", "BTCD_BIN")?;
        let is_btcd = version.starts_with("btcd version");
        ensure!(is_btcd, "{} is not btcd: its version is {version:?}", self.btcd.display());
        Ok(())
    }
}

/// The path of `target/nodes`, derived from that of this program.
fn built() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let here = this.parent().context("a program is in a folder")?;
    let profile = if here.ends_with("deps") { here.parent().unwrap_or(here) } else { here };
    Ok(profile.with_file_name("nodes"))
}

fn version(binary: &Path, name: &str, variable: &str) -> Result<String> {
    let output = match Command::new(binary).arg("--version").output() {
        Ok(output) => output,
        Err(error) if std::env::var_os(variable).is_some() => {
            bail!("{variable} names {}, which does not run: {error}", binary.display())
        }
        Err(error) => bail!(
            "no {name} in {} ({error}): run `make nodes`, or set {variable}",
            binary.parent().unwrap_or(binary).display()
        ),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// `lnd version 0.21.2-beta commit=…`
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix("lnd version ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_wrong_program_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let program = |name: &str, output: &str| {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!/bin/sh\necho '{output}'\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let lnd = program("lnd", "lnd version 0.21.2-beta commit=");
        let btcd = program("btcd", "btcd version 0.25.0-beta");
        let old = program("old", "lnd version 0.19.3-beta commit=");
        let missing = dir.path().join("missing");

        for (lnd, btcd, problem) in [
            (&lnd, &btcd, ""),
            (&old, &btcd, "is LND 0.19, and hold invoices of LND below 0.20"),
            (&btcd, &btcd, "is not LND: its version is \"btcd version"),
            (&lnd, &lnd, "is not btcd: its version is \"lnd version"),
            (&missing, &btcd, "run `make nodes`, or set LND_BIN"),
            (&lnd, &missing, "run `make nodes`, or set BTCD_BIN"),
        ] {
            let (lnd, btcd) = (lnd.clone(), btcd.clone());
            let binaries = Binaries { lnd, btcd, lncli: PathBuf::new(), btcctl: PathBuf::new() };
            let reported =
                binaries.check().err().map(|error| error.to_string()).unwrap_or_default();
            assert!(
                reported.contains(problem) && reported.is_empty() == problem.is_empty(),
                "{reported}"
            );
            assert_eq!(reported.lines().count(), usize::from(!problem.is_empty()), "{reported}");
        }
    }
}
