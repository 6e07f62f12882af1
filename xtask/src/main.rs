//! Chores of the workspace, each a command of `cargo xtask`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{bootstrap, laws, planted, rules, tidy};
#[cfg(feature = "database")]
use xtask::{queries, schema};

#[derive(Parser)]
#[command(about = "Chores of the workspace")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what a build needs on a new machine: protoc
    Bootstrap,
    /// Check the laws of tests/lightning on simulated and real nodes, and write docs/LIGHTNING.md
    Laws,
    /// Plant each fault of tests/planted in a copy of the tree, and check that its tests find it
    Planted {
        /// Only these
        names: Vec<String>,
    },
    /// Write into docs/rules which tests prove each rule
    Rules {
        /// Change nothing; fail if a page is out of date
        #[arg(long)]
        check: bool,
    },
    /// Check the rules of the tree that compiler and clippy cannot check
    Tidy,
    #[cfg(feature = "database")]
    /// Write schema.sql, the whole schema after all migrations
    Schema {
        /// Change nothing; fail if the file is out of date
        #[arg(long)]
        check: bool,
    },
    #[cfg(feature = "database")]
    /// Write .sqlx, the descriptions that the query macros are checked against
    Sqlx {
        /// Change nothing; fail if a file is out of date
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: &Chore) -> Result<()> {
    let root = xtask::root();
    match chore {
        Chore::Bootstrap => bootstrap::run(&root),
        Chore::Laws => laws::write(&root),
        Chore::Planted { names } => planted::run(&root, names),
        Chore::Rules { check: false } => rules::write(&root),
        Chore::Rules { check: true } => rules::check(&root),
        Chore::Tidy => tidy::run(&root),
        #[cfg(feature = "database")]
        Chore::Schema { check: false } => schema::write(&root),
        #[cfg(feature = "database")]
        Chore::Schema { check: true } => schema::check(&root),
        #[cfg(feature = "database")]
        Chore::Sqlx { check: false } => queries::write(&root),
        #[cfg(feature = "database")]
        Chore::Sqlx { check: true } => queries::check(&root),
    }
}
