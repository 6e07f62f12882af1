//! Programs of this workspace that cargo has built.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

/// The path of the program with this name, beside this one.
///
/// # Errors
/// If there is none; the message has a remedy.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let here = this.parent().context("a program is in a folder")?;
    let profile = if here.ends_with("deps") { here.parent().unwrap_or(here) } else { here };
    let binary = profile.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let release = if profile.ends_with("release") { " --release" } else { "" };
    ensure!(
        binary.is_file(),
        "{} is missing; build it first: cargo build --workspace --bins{release}",
        binary.display()
    );
    Ok(binary)
}
