//! Migrations are compiled in: a new file must rebuild the daemon. So is the commit of a release.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-env-changed=MOSTROD_COMMIT");
    // Other builds would be made anew after every commit.
    let is_release = std::env::var_os("PROFILE").is_some_and(|profile| profile == "release");
    if is_release && std::env::var_os("MOSTROD_COMMIT").is_none() {
        tell_commit();
    }
}

/// What git says, if this folder is the root of its tree and not a part of another's.
fn tell_commit() {
    let is_ours = git("--show-prefix", &[]).is_some_and(|prefix| prefix.is_empty());
    if let Some(commit) = git("HEAD", &[]).filter(|_| is_ours)
        && let Some(log) = git("--git-path", &["logs/HEAD"])
    {
        println!("cargo:rerun-if-changed={log}");
        println!("cargo:rustc-env=MOSTROD_COMMIT={commit}");
    }
}

fn git(what: &str, more: &[&str]) -> Option<String> {
    let output = Command::new("git").args(["rev-parse", what]).args(more).output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| answer.trim().to_owned())
}
