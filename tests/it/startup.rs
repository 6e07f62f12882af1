//! Command line, settings, database, log and relays at the daemon's start: an error that the operator
//! must correct comes with a remedy, one that can pass is retried. None of it is about LND.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use devnet::{Book, Exchange, Person, Relay, Settings, Trader, Transport};
use mostro_core::order::Kind;
use mostrod::store;
use nostr_sdk::ToBech32 as _;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;
use trade::OrderId;

use crate::fixture::binary::{
    FAILURE, Process, TIMEOUT, USAGE, command, ends, free_address, run, stderr,
};
use crate::fixture::{Fixture, settings};

/// The exit code for errors that a restart cannot correct; `contrib/mostrod.service` does not restart.
const NO_RESTART: i32 = 2;

// spec: D12
#[tokio::test]
async fn without_settings_a_template_is_written_readable_by_its_owner_only() -> Result<()> {
    let home = TempDir::new()?;
    let dir = home.path().join("node");

    let first = run(&dir, &[]).await?;
    ends(&first, 0, &["there were no settings", "settings.toml", "start again"])?;
    let mode = |path: &Path| fs::metadata(path).map(|found| found.permissions().mode() & 0o777);
    ensure!(mode(&dir)? == 0o700, "others can read the folder");
    ensure!(mode(&dir.join("settings.toml"))? == 0o600, "others can read the settings");

    let second = run(&dir, &[]).await?;
    ends(&second, USAGE, &["nostr.nsec_privkey: is missing", "MOSTRO_NSEC_PRIVKEY"])
}

#[tokio::test]
async fn a_check_without_settings_writes_none_and_fails() -> Result<()> {
    let home = TempDir::new()?;
    let dir = home.path().join("node");

    let output = run(&dir, &["check"]).await?;

    ends(&output, USAGE, &["settings.toml: cannot be read"])?;
    ensure!(!dir.exists(), "the check has written something");
    Ok(())
}

#[tokio::test]
async fn a_non_utf8_variable_is_reported_if_it_is_a_setting() -> Result<()> {
    let home = TempDir::new()?;
    run(home.path(), &[]).await?;
    let not_text = OsStr::from_bytes(b"\xff");
    let mut strange = command(home.path())?;
    strange.env("LC_NAME", not_text).env("MOSTRO__MOSTRO__NAME", not_text);

    let output = strange.output().await?;

    ends(&output, USAGE, &["MOSTRO__MOSTRO__NAME: is not UTF-8"])?;
    ensure!(!stderr(&output).contains("LC_NAME"), "LC_NAME is not a setting");
    Ok(())
}

// spec: D12
#[tokio::test]
async fn all_wrong_settings_are_reported_at_once_with_value_and_remedy() -> Result<()> {
    let home = TempDir::new()?;
    let typo = "nsec1thisismysecret";
    Settings::template()?
        .set("nostr", "nsec_privkey", typo)
        .set("nostr", "relays", toml::Value::Array(vec!["https://relay.example".into()]))
        .set("lightning", "lnd_grpc_host", "http://127.0.0.1:10009")
        .set("lightning", "payment_attempts", -1)
        .set("mostro", "fee", "lots")
        .set("mostro", "pow", 999)
        .set("mostro", "transport", "pigeon")
        .write(home.path())?;

    let output = run(home.path(), &[]).await?;

    ends(&output, USAGE, &[&format!("{}", home.path().display())])?;
    let lines = stderr(&output);
    for (key, value) in [
        ("nostr.nsec_privkey", None),
        ("nostr.relays", Some("https://relay.example")),
        ("lightning.lnd_grpc_host", Some("http://127.0.0.1:10009")),
        ("lightning.payment_attempts", Some("-1")),
        ("mostro.fee", Some("lots")),
        ("mostro.pow", Some("999")),
        ("mostro.transport", Some("pigeon")),
    ] {
        let line = lines.lines().find(|line| line.contains(key));
        let line = line.with_context(|| format!("{key} is not named in\n{lines}"))?;
        ensure!(value.is_none_or(|value| line.contains(value)), "no value in {line}");
        ensure!(line.contains("; "), "no remedy in {line}");
    }
    ensure!(!lines.contains(typo), "a secret is shown");
    Ok(())
}

// spec: D12
#[tokio::test]
async fn settings_that_cannot_be_read_are_reported() -> Result<()> {
    let home = TempDir::new()?;
    fs::create_dir(home.path().join("settings.toml"))?;
    ends(&run(home.path(), &[]).await?, USAGE, &["settings.toml: cannot be read", "; make it"])?;

    let home = TempDir::new()?;
    fs::write(home.path().join("settings.toml"), "[nostr\n")?;
    ends(&run(home.path(), &[]).await?, USAGE, &["settings.toml: is not TOML", "; correct"])
}

#[tokio::test]
async fn a_folder_that_cannot_be_created_is_reported() -> Result<()> {
    let home = TempDir::new()?;
    fs::write(home.path().join("file"), "")?;
    let below_a_file = home.path().join("file/node");

    let output = run(&below_a_file, &[]).await?;

    ends(&output, FAILURE, &["cannot write settings into", "file/node"])
}

#[tokio::test]
async fn a_wrong_command_line_is_answered_with_the_usage() -> Result<()> {
    let home = TempDir::new()?;
    for wrong in ["fly", "--fly"] {
        ends(&run(home.path(), &[wrong]).await?, USAGE, &["Usage: mostrod", wrong])?;
    }
    ensure!(fs::read_dir(home.path())?.next().is_none(), "it started anyway");
    Ok(())
}

// spec: D11 K-59
#[tokio::test]
async fn a_second_daemon_on_the_same_database_does_not_start() -> Result<()> {
    let mut exchange = Box::pin(Exchange::start(settings()?)).await?;

    let output = run(exchange.daemon.dir(), &[]).await?;

    ends(&output, FAILURE, &["another daemon holds", "mostro.db.lock", "stop it first"])?;
    ensure!(exchange.daemon.is_running(), "the first one has ended");
    Ok(())
}

// spec: D11
#[tokio::test]
async fn a_damaged_database_is_not_written() -> Result<()> {
    let mut exchange = Box::pin(Exchange::start(settings()?)).await?;
    exchange.daemon.sigterm().await?;
    let file = exchange.daemon.dir().join("mostro.db");
    let sound = fs::read(&file)?;
    let mut scratched = sound.clone();
    scratched[sound.len() / 4..].fill(0xa5);
    let remedy = "under A damaged database";
    for damaged in
        [scratched, b"no database at all".repeat(1_000), sound[..sound.len() / 2 + 7].to_vec()]
    {
        fs::write(&file, &damaged)?;
        ends(&run(exchange.daemon.dir(), &[]).await?, NO_RESTART, &["mostro.db", remedy])?;
        ensure!(fs::read(&file)? == damaged, "the damaged file was changed");
    }
    Ok(())
}

// spec: K-59
#[tokio::test]
async fn after_a_shutdown_the_database_is_one_file() -> Result<()> {
    let mut fixture = Fixture::open(Transport::Nip44).await?;
    let offer = fixture.offered(Kind::Sell).await?;
    fixture.exchange.daemon.sigterm().await?;

    let copy = TempDir::new()?;
    let file = copy.path().join("mostro.db");
    fs::copy(fixture.exchange.daemon.dir().join("mostro.db"), &file)?;

    let order = store::open_reader(&file).await?.find_order(OrderId(offer.id.into_bytes())).await?;
    ensure!(order.is_some(), "the copy has no such order");
    Ok(())
}

// spec: D11
#[tokio::test]
async fn a_database_that_cannot_be_written_is_reported() -> Result<()> {
    let mut exchange = Box::pin(Exchange::start(settings()?)).await?;
    exchange.daemon.sigterm().await?;
    let lock = exchange.daemon.dir().join("mostro.db.lock");
    fs::remove_file(&lock)?;
    fs::create_dir(&lock)?;

    let output = run(exchange.daemon.dir(), &[]).await?;

    ends(&output, NO_RESTART, &["cannot create or open", "mostro.db.lock", "must be there"])
}

#[tokio::test]
async fn a_start_that_takes_long_can_be_stopped() -> Result<()> {
    let fixture = Fixture::stopped().await?;
    let database = fixture.exchange.daemon.dir().join("mostro.db");
    let mut holder = SqliteConnectOptions::new().filename(&database).connect().await?;
    sqlx::raw_sql("pragma journal_mode = delete; begin exclusive").execute(&mut holder).await?;
    let mut process = Process::start(&fixture.exchange, &[])?;
    process.wait_for_log("node npub1").await?;

    let pid = process.child.id().context("it has ended by itself")?.to_string();
    ensure!(Command::new("kill").args(["-TERM", &pid]).status().await?.success());

    let status = timeout(TIMEOUT, process.child.wait()).await??;
    ensure!(status.success(), "it ended with {status} and not at once");
    Ok(())
}

#[tokio::test]
async fn the_first_line_of_the_log_names_the_node() -> Result<()> {
    let settings = settings()?.set("mostro", "no_such_key", 1);
    let mut exchange = Box::pin(Exchange::start(settings)).await?;
    exchange.daemon.sigterm().await?;

    let log = exchange.daemon.log();
    let first = log.lines().next().context("the log is empty")?;
    ensure!(first.contains(&exchange.node().to_bech32()?), "it begins with {first}");
    ensure!(log.contains("mostro.no_such_key"), "an unknown key is not named");
    Ok(())
}

#[tokio::test]
async fn a_relay_that_comes_up_later_is_found() -> Result<()> {
    let mut fixture = Fixture::stopped().await?;
    let address = free_address()?;
    let url = format!("ws://{address}");
    let mut process = Process::start(&fixture.exchange, &[("MOSTRO__NOSTR__RELAYS", url.clone())])?;
    process.wait_for_log("unreachable; retrying").await?;
    ensure!(process.line().contains(&url), "the relay is not named: {process:?}");

    let _relay = Relay::start_at(address).await?;
    let node = fixture.exchange.node();
    fixture.book = Book::watch(&url, node).await?;
    for Person { trader, .. } in [&mut fixture.seller, &mut fixture.buyer] {
        *trader = Trader::join(trader.name(), &url, node, Transport::Nip44).await?;
    }
    process.wait_for_log("relays are reachable").await?;
    fixture.trades().await
}

#[tokio::test]
async fn a_check_of_a_healthy_node_succeeds_and_changes_nothing() -> Result<()> {
    let fixture = Fixture::stopped().await?;
    let home = fixture.exchange.daemon.dir();
    let before = files(home)?;

    let output = run(home, &["check"]).await?;

    ends(&output, 0, &[])?;
    let found = String::from_utf8(output.stdout)?;
    for line in ["node: npub1", "lnd: ", "relays: 1 of 1 connected", "database: "] {
        ensure!(found.lines().any(|found| found.starts_with(line)), "no {line:?} in\n{found}");
    }
    ensure!(found.contains("ready") && !found.contains("TROUBLE"), "{found}");
    ensure!(files(home)? == before, "the check has written something");
    Ok(())
}

#[tokio::test]
async fn a_check_reports_the_relays_that_are_not_connected() -> Result<()> {
    let fixture = Fixture::stopped().await?;
    let nobody = format!("ws://{}", free_address()?);
    let other = Relay::start_at(free_address()?).await?;
    let relays = format!("{},{nobody},{}", fixture.exchange.relay.url(), other.url());

    let mut check = command(fixture.exchange.daemon.dir())?;
    let output = check.arg("check").env("MOSTRO__NOSTR__RELAYS", relays).output().await?;

    let found = String::from_utf8(output.stdout)?;
    ensure!(found.contains(&format!("relays: 2 of 3 connected, not {nobody}")), "{found}");
    Ok(())
}

/// Name and content of every file in a folder, without SQLite's temporary ones.
fn files(dir: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if !(name.ends_with("-wal") || name.ends_with("-shm")) {
            files.push((path.clone(), fs::read(&path)?));
        }
    }
    files.sort();
    Ok(files)
}
