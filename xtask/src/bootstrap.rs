//! Puts `protoc` where `.cargo/config.toml` expects it: the installed one, or the one in a crate.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// # Errors
/// If there is no `protoc` for this machine, or it cannot be put in place.
pub fn run(root: &Path) -> Result<()> {
    let place = root.join("target/tools/protoc");
    if works(&place) {
        return Ok(());
    }
    fs::create_dir_all(root.join("target/tools"))?;
    if place.symlink_metadata().is_ok() {
        fs::remove_file(&place)?;
    }
    if let Some(installed) = installed() {
        symlink(&installed, &place).with_context(|| format!("linking {}", place.display()))?;
        eprintln!("protoc: {}", installed.display());
        return Ok(());
    }
    let carried = protoc_bin_vendored::protoc_bin_path()
        .context("no protoc is installed and no crate has one for this machine; install protoc")?;
    fs::copy(&carried, &place).with_context(|| format!("copying to {}", place.display()))?;
    eprintln!("protoc: the one in protoc-bin-vendored");
    Ok(())
}

fn installed() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join("protoc")).find(|protoc| works(protoc))
}

/// Whether it runs, and knows the optional fields that LND's files use (3.15 and newer).
fn works(protoc: &Path) -> bool {
    let Ok(output) = Command::new(protoc).arg("--version").output() else { return false };
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success() && text.strip_prefix("libprotoc ").is_some_and(is_new_enough)
}

/// Versions went from 3.20 to 21: newer ones have only the number that was the minor one.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.trim().split('.').map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(3), Some(minor)) => minor >= 15,
        (Some(major), _) => major > 3,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_new_enough;

    #[test]
    fn an_old_protoc_is_not_used() {
        for (version, is_fine) in
            [("3.12.4\n", false), ("3.15.0", true), ("3.21.12", true), ("29.3", true), ("", false)]
        {
            assert_eq!(is_new_enough(version), is_fine, "{version}");
        }
    }
}
