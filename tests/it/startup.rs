//! A start that cannot succeed says what to do; one that may heal keeps trying, and heals.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use devnet::{Book, Daemon, Net, Person, Relay, Settings, Trader, Transport};
use lnd_sim::{InvoiceState, LndState, MOSTRO, NodeAccess};
use mostro_core::message::Action;
use mostro_core::order::Kind;
use mostrod::store;
use nostr_sdk::{Keys, ToBech32 as _};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;
use trade::OrderId;

use crate::harness::{BUYER_GETS, SELLER_PAYS, World, settings};

const USAGE: i32 = 2;
const FAILURE: i32 = 1;

// spec: D12
#[tokio::test]
async fn without_settings_a_template_is_written_for_its_owners_eyes_only() -> Result<()> {
    let home = TempDir::new()?;
    let dir = home.path().join("node");

    let first = run(&dir, &[]).await?;
    ends(&first, 0, &["there were no settings", "settings.toml", "start again"])?;
    let mode = |path: &Path| fs::metadata(path).map(|found| found.permissions().mode() & 0o777);
    ensure!(mode(&dir)? == 0o700, "others can look into the folder");
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
async fn a_variable_that_is_not_text_is_named_if_it_is_ours() -> Result<()> {
    let home = TempDir::new()?;
    run(home.path(), &[]).await?;
    let not_text = OsStr::from_bytes(b"\xff");
    let mut strange = command(home.path())?;
    strange.env("LC_NAME", not_text).env("MOSTRO__MOSTRO__NAME", not_text);

    let output = strange.output().await?;

    ends(&output, USAGE, &["MOSTRO__MOSTRO__NAME: is not UTF-8"])?;
    ensure!(!stderr(&output).contains("LC_NAME"), "LC_NAME is nobody's setting");
    Ok(())
}

// spec: D12
#[tokio::test]
async fn all_wrong_settings_are_named_at_once_with_value_and_remedy() -> Result<()> {
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
async fn settings_that_cannot_be_read_are_named() -> Result<()> {
    let home = TempDir::new()?;
    fs::create_dir(home.path().join("settings.toml"))?;
    ends(&run(home.path(), &[]).await?, USAGE, &["settings.toml: cannot be read", "; make it"])?;

    let home = TempDir::new()?;
    fs::write(home.path().join("settings.toml"), "[nostr\n")?;
    ends(&run(home.path(), &[]).await?, USAGE, &["settings.toml: is not TOML", "; correct"])
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() -> Result<()> {
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
    ensure!(fs::read_dir(home.path())?.next().is_none(), "it has begun all the same");
    Ok(())
}

// spec: D11
#[tokio::test]
async fn a_second_daemon_on_the_same_database_does_not_start() -> Result<()> {
    let mut net = Box::pin(Net::start(settings()?)).await?;

    let output = run(net.daemon.dir(), &[]).await?;

    ends(&output, FAILURE, &["another daemon holds", "mostro.db.lock", "stop it first"])?;
    ensure!(net.daemon.is_running(), "the first one has ended");
    Ok(())
}

// spec: D11
#[tokio::test]
async fn a_damaged_database_is_not_written_to() -> Result<()> {
    let mut net = Box::pin(Net::start(settings()?)).await?;
    net.daemon.sigterm().await?;
    let file = net.daemon.dir().join("mostro.db");
    let sound = fs::read(&file)?;
    let mut scratched = sound.clone();
    scratched[sound.len() / 4..].fill(0xa5);
    let remedy = "restore it from a backup";
    for damaged in
        [scratched, b"no database at all".repeat(1_000), sound[..sound.len() / 2 + 7].to_vec()]
    {
        fs::write(&file, &damaged)?;
        ends(&run(net.daemon.dir(), &[]).await?, FAILURE, &["mostro.db", remedy])?;
        ensure!(fs::read(&file)? == damaged, "the damaged file was changed");
    }
    Ok(())
}

#[tokio::test]
async fn a_daemon_that_was_stopped_leaves_all_it_knows_in_one_file() -> Result<()> {
    let mut w = World::open(Transport::V2).await?;
    let offer = w.offered(Kind::Sell).await?;
    w.net.daemon.sigterm().await?;

    let copy = TempDir::new()?;
    let file = copy.path().join("mostro.db");
    fs::copy(w.net.daemon.dir().join("mostro.db"), &file)?;

    let order = store::open_reader(&file).await?.find_order(OrderId(offer.id.into_bytes())).await?;
    ensure!(order.is_some(), "the copy has no such order");
    Ok(())
}

// spec: D11
#[tokio::test]
async fn a_database_that_cannot_be_written_is_named() -> Result<()> {
    let mut net = Box::pin(Net::start(settings()?)).await?;
    net.daemon.sigterm().await?;
    let lock = net.daemon.dir().join("mostro.db.lock");
    fs::remove_file(&lock)?;
    fs::create_dir(&lock)?;

    let output = run(net.daemon.dir(), &[]).await?;

    ends(&output, FAILURE, &["cannot create or open", "mostro.db.lock", "check that"])
}

#[tokio::test]
async fn a_start_that_takes_long_can_be_stopped() -> Result<()> {
    let w = stopped().await?;
    let database = w.net.daemon.dir().join("mostro.db");
    let mut holder = SqliteConnectOptions::new().filename(&database).connect().await?;
    sqlx::raw_sql("pragma journal_mode = delete; begin exclusive").execute(&mut holder).await?;
    let mut process = Process::start(&w.net, &[])?;
    process.says("node npub1").await?;

    let pid = process.child.id().context("it has ended by itself")?.to_string();
    ensure!(Command::new("kill").args(["-TERM", &pid]).status().await?.success());

    let status = timeout(PATIENCE, process.child.wait()).await??;
    ensure!(status.success(), "it ended with {status}, as if it had waited for the database");
    Ok(())
}

#[tokio::test]
async fn the_first_line_of_the_log_names_the_node() -> Result<()> {
    let settings = settings()?.set("mostro", "no_such_key", 1);
    let mut net = Box::pin(Net::start(settings)).await?;
    net.daemon.sigterm().await?;

    let log = net.daemon.log();
    let first = log.lines().next().context("the log is empty")?;
    ensure!(first.contains(&net.node().to_bech32()?), "it begins with {first}");
    ensure!(log.contains("mostro.no_such_key"), "an unknown key is not named");
    Ok(())
}

// spec: E3
#[tokio::test]
async fn an_lnd_that_comes_up_later_is_found() -> Result<()> {
    let w = stopped().await?;
    w.net.lnd.kill(MOSTRO).await;
    let mut process = Process::start(&w.net, &[])?;
    process.says("LND did not answer").await?;
    w.net.lnd.start_node_at(MOSTRO, LndState::Locked).await?;
    process.says("LND's wallet is locked: unlock it").await?;
    w.net.lnd.set_state(MOSTRO, LndState::ServerActive)?;
    trades_again(w, process).await
}

#[tokio::test]
async fn an_lnd_that_is_behind_its_chain_is_named() -> Result<()> {
    let w = stopped().await?;
    w.net.lnd.set_synced(MOSTRO, false)?;
    let mut process = Process::start(&w.net, &[])?;
    process.says("not synced to its chain").await?;
    w.net.lnd.set_synced(MOSTRO, true)?;
    trades_again(w, process).await
}

#[tokio::test]
async fn a_missing_certificate_or_macaroon_is_named_with_its_remedy() -> Result<()> {
    let w = stopped().await?;
    let access = w.net.lnd.node(MOSTRO)?;
    fs::remove_file(&access.tls_cert)?;
    fs::remove_file(w.net.macaroon())?;

    let output = run(w.net.daemon.dir(), &[]).await?;

    let [certificate, macaroon] =
        [access.tls_cert, w.net.macaroon()].map(|path| format!("{path:?}"));
    ends(&output, USAGE, &["lightning.lnd_cert_file = ", &certificate, "copy LND's tls.cert"])?;
    ends(&output, USAGE, &["lightning.lnd_macaroon_file = ", &macaroon, "bake a macaroon"])
}

#[tokio::test]
async fn a_wrong_certificate_is_named_and_read_again() -> Result<()> {
    let w = stopped().await?;
    let certificate = w.net.lnd.node(MOSTRO)?.tls_cert;
    let right = fs::read(&certificate)?;
    fs::copy(w.net.lnd.node("seller")?.tls_cert, &certificate)?;
    let mut process = Process::start(&w.net, &[])?;
    process.says("does not present the certificate in").await?;
    fs::remove_file(&certificate)?;
    process.says(&format!("cannot read LND's certificate from {}", certificate.display())).await?;
    fs::write(&certificate, right)?;
    trades_again(w, process).await
}

#[tokio::test]
async fn a_wrong_macaroon_is_named_and_read_again() -> Result<()> {
    let w = stopped().await?;
    let macaroon = w.net.macaroon();
    let right = fs::read(&macaroon)?;
    fs::copy(w.net.lnd.node("seller")?.macaroon, &macaroon)?;
    let mut process = Process::start(&w.net, &[])?;
    process.says("Bake a macaroon of this node").await?;
    fs::remove_file(&macaroon)?;
    process.says(&format!("cannot read the macaroon from {}", macaroon.display())).await?;
    fs::write(&macaroon, right)?;
    trades_again(w, process).await
}

#[tokio::test]
async fn a_macaroon_without_a_right_is_named_and_read_again() -> Result<()> {
    let mut w = stopped().await?;
    let macaroon = w.net.macaroon();
    let right = fs::read(&macaroon)?;
    let calls = ["GetInfo", "ListChannels"].map(|call| format!("/lnrpc.Lightning/{call}"));
    fs::write(&macaroon, w.net.lnd.bake_macaroon(MOSTRO, 7, &calls)?)?;
    let mut process = Process::start(&w.net, &[])?;

    process.says("the macaroon does not allow AddHoldInvoice").await?;
    let line = process.line().to_owned();
    ensure!(line.contains("lncli bakemacaroon"), "no remedy: {line}");
    let output = run(w.net.daemon.dir(), &["check"]).await?;
    let found = String::from_utf8(output.stdout)?;
    ensure!(found.contains("lnd: TROUBLE: the macaroon does not allow"), "{found}");
    let offer = w.offered(Kind::Buy).await?;
    w.seller.trader.take_buy(offer.id).await?;
    w.seller.trader.expect(Action::CantDo).await?;
    fs::write(&macaroon, right)?;
    trades_again(w, process).await
}

// spec: E2 P0 INV-4
#[tokio::test]
async fn a_release_waits_for_the_right_to_settle() -> Result<()> {
    let mut w = World::open(Transport::V2).await?;
    let offer = w.sale_fiat_sent().await?;
    let macaroon = w.net.macaroon();
    let right = fs::read(&macaroon)?;
    let calls = ["GetInfo", "ListChannels", "LookupInvoice"];
    let calls = calls.map(|call| format!("/lnrpc.Lightning/{call}"));
    fs::write(&macaroon, w.net.lnd.bake_macaroon(MOSTRO, 7, &calls)?)?;

    w.seller.trader.release(offer.id).await?;
    w.net.daemon.says("refuses SettleInvoice (permission denied)").await?;
    w.net.daemon.says("lncli bakemacaroon").await?;
    ensure!(w.net.lnd.list_invoices(MOSTRO, InvoiceState::Accepted).len() == 1, "it is held");
    fs::write(&macaroon, right)?;

    w.seller.trader.wait_for(Action::HoldInvoicePaymentSettled).await?;
    w.seller.trader.wait_for(Action::Rate).await?;
    w.buyer.trader.wait_for(Action::Rate).await?;
    w.book.until(offer.id, "success").await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

#[tokio::test]
async fn a_renewed_certificate_needs_no_restart() -> Result<()> {
    let w = stopped().await?;
    let process = Process::start(&w.net, &[])?;
    w.net.lnd.renew_certificate(MOSTRO)?;
    trades_again(w, process).await
}

// spec: E2 P0 INV-4
#[tokio::test]
async fn a_release_waits_for_our_own_node() -> Result<()> {
    let mut w = World::open(Transport::V2).await?;
    let offer = w.sale_fiat_sent().await?;
    w.net.daemon.sigterm().await?;

    let other = w.net.lnd.node("buyer")?;
    let mut process = Process::start(&w.net, &at_lnd(&other))?;
    process.says("this is another Lightning node").await?;
    w.seller.trader.release(offer.id).await?;
    process.says("again in").await?;
    process.kill().await?;

    w.net.daemon.start().await?;
    w.seller.trader.wait_for(Action::HoldInvoicePaymentSettled).await?;
    w.seller.trader.wait_for(Action::Rate).await?;
    w.buyer.trader.wait_for(Action::Rate).await?;
    w.book.until(offer.id, "success").await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

#[tokio::test]
async fn another_lightning_node_than_ours_is_named() -> Result<()> {
    let w = stopped().await?;
    let other = w.net.lnd.node("buyer")?;
    let mut process = Process::start(&w.net, &at_lnd(&other))?;
    process.says("this is another Lightning node").await?;
    ensure!(process.line().contains("`allow_node_change`"), "no remedy: {process:?}");
    process.kill().await?;

    let process = Process::start(&w.net, &[])?;
    trades_again(w, process).await
}

#[tokio::test]
async fn a_relay_that_comes_up_later_is_found() -> Result<()> {
    let mut w = stopped().await?;
    let address = free_address()?;
    let url = format!("ws://{address}");
    let mut process = Process::start(&w.net, &[("MOSTRO__NOSTR__RELAYS", url.clone())])?;
    process.says("cannot be reached").await?;
    ensure!(process.line().contains(&url), "the relay is not named: {process:?}");

    let _relay = Relay::start_at(address).await?;
    let node = w.net.node();
    w.book = Book::watch(&url, node).await?;
    for Person { trader, .. } in [&mut w.seller, &mut w.buyer] {
        *trader = Trader::join(trader.name(), &url, node, Transport::V2).await?;
    }
    process.says("relays are heard").await?;
    w.trades().await
}

// spec: I10 K-10
#[tokio::test]
async fn no_secret_is_ever_logged() -> Result<()> {
    let mut w = stopped().await?;
    let path = w.net.daemon.dir().join("everything.log");
    let mut everything = command(w.net.daemon.dir())?;
    everything.env("RUST_LOG", "debug").stdin(Stdio::null()).stderr(File::create(&path)?);
    let mut process = everything.spawn()?;

    let (given_up, hold) = w.sale_invoiced().await?;
    w.seller.trader.cancel(given_up.id).await?;
    w.seller.trader.wait_for(Action::Canceled).await?;
    w.buyer.trader.wait_for(Action::Canceled).await?;
    let mut secrets = vec![hold, w.destination.clone()];
    let sale = w.sale_active().await?;
    secrets.push(w.destination.clone());
    w.released(&sale).await?;
    process.kill().await?;

    secrets.extend(secrets_of(&w)?);
    let log = fs::read_to_string(path)?;
    ensure!(log.contains("DEBUG"), "the log is not at its wordiest");
    ensure!(secrets.len() > 12, "there are more secrets than that: {}", secrets.len());
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        ensure!(line.is_none(), "{secret} is in the log: {}", line.unwrap_or_default());
    }
    Ok(())
}

/// Keys, macaroon and preimages, as a log might show them; who the traders are; what they say.
fn secrets_of(w: &World) -> Result<Vec<String>> {
    let home = w.net.daemon.dir();
    let settings: toml::Table = fs::read_to_string(home.join("settings.toml"))?.parse()?;
    let nsec = settings["nostr"]["nsec_privkey"].as_str().context("the node has a key")?;
    let keys = Keys::parse(nsec)?;
    let mut bytes = vec![keys.secret_key().to_secret_bytes().to_vec()];
    bytes.push(fs::read(w.net.macaroon())?);
    for payee in [MOSTRO, "buyer"] {
        for hash in w.net.lnd.list_invoices(payee, InvoiceState::Settled) {
            let invoice = w.net.lnd.find_invoice(payee, hash).context("it was listed")?;
            bytes.push(invoice.r_preimage);
        }
    }
    let mut secrets = vec![nsec.to_owned(), "request_id".to_owned()];
    secrets.extend(bytes.iter().flat_map(|bytes| [hex::encode(bytes), format!("{bytes:?}")]));
    for Person { trader, .. } in [&w.seller, &w.buyer] {
        secrets.extend([trader.identity().to_hex(), trader.identity().to_bech32()?]);
    }
    Ok(secrets)
}

#[tokio::test]
async fn a_check_says_that_all_is_well_and_changes_nothing() -> Result<()> {
    let w = stopped().await?;
    let home = w.net.daemon.dir();
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
async fn a_check_names_the_relays_that_are_missing() -> Result<()> {
    let w = stopped().await?;
    let nobody = format!("ws://{}", free_address()?);
    let other = Relay::start_at(free_address()?).await?;
    let relays = format!("{},{nobody},{}", w.net.relay.url(), other.url());

    let mut check = command(w.net.daemon.dir())?;
    let output = check.arg("check").env("MOSTRO__NOSTR__RELAYS", relays).output().await?;

    let found = String::from_utf8(output.stdout)?;
    ensure!(found.contains(&format!("relays: 2 of 3 connected, not {nobody}")), "{found}");
    Ok(())
}

#[tokio::test]
async fn a_check_names_every_trouble_and_fails() -> Result<()> {
    let w = stopped().await?;
    let other = w.net.lnd.node("buyer")?;
    let nobody = format!("ws://{}", free_address()?);
    w.net.lnd.kill(MOSTRO).await;
    let home = w.net.daemon.dir();

    let mut check = command(home)?;
    check.arg("check").env("MOSTRO__NOSTR__RELAYS", &nobody);
    let output = check.output().await?;
    ends(&output, FAILURE, &["trouble in 2 of these"])?;
    let found = String::from_utf8(output.stdout)?;
    ensure!(found.contains("lnd: TROUBLE: LND did not answer"), "{found}");
    ensure!(found.contains(&format!("relays: TROUBLE: none of {nobody} answers")), "{found}");

    let mut check = command(home)?;
    let output = check.arg("check").envs(at_lnd(&other)).output().await?;
    ends(&output, FAILURE, &["trouble in 1 of these"])?;
    let found = String::from_utf8(output.stdout)?;
    ensure!(found.contains("lnd: TROUBLE: this is another Lightning node"), "{found}");

    fs::write(home.join("mostro.db"), "no database")?;
    w.net.lnd.start_node(MOSTRO).await?;
    let output = run(home, &["check"]).await?;
    ends(&output, FAILURE, &["trouble in 1 of these"])?;
    let found = String::from_utf8(output.stdout)?;
    ensure!(found.contains("database: TROUBLE: ") && found.contains("restore it"), "{found}");
    Ok(())
}

/// Name and content of every file in a folder, without those that SQLite needs to read.
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

/// Another LND than in the settings.
fn at_lnd(lnd: &NodeAccess) -> [(&'static str, String); 3] {
    [
        ("MOSTRO__LIGHTNING__LND_GRPC_HOST", lnd.url()),
        ("MOSTRO__LIGHTNING__LND_CERT_FILE", lnd.tls_cert.display().to_string()),
        ("MOSTRO__LIGHTNING__LND_MACAROON_FILE", lnd.macaroon.display().to_string()),
    ]
}

/// A world whose daemon has run, and has been stopped.
async fn stopped() -> Result<Box<World>> {
    let mut w = World::open(Transport::V2).await?;
    w.net.daemon.sigterm().await?;
    Ok(w)
}

/// A sale completes, though the daemon was in trouble when it started.
async fn trades_again(w: Box<World>, mut process: Process) -> Result<()> {
    process.says("LND is ready").await?;
    w.trades().await
}

impl World {
    async fn trades(mut self: Box<Self>) -> Result<()> {
        let sale = self.sale_active().await?;
        self.released(&sale).await?;
        self.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Runs the binary to its end.
async fn run(dir: &Path, arguments: &[&str]) -> Result<Output> {
    let output = command(dir)?.args(arguments).stdin(Stdio::null()).output();
    timeout(PATIENCE, output).await.context("it does not end")?.context("it does not start")
}

fn command(dir: &Path) -> Result<Command> {
    let mut command = Command::new(Daemon::find_binary()?);
    command.env_clear().arg("-d").arg(dir).kill_on_drop(true);
    Ok(command)
}

/// It has ended with this code, and its complaint has these words in it.
fn ends(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let complaint = stderr(output);
    ensure!(output.status.code() == Some(code), "{}:\n{complaint}", output.status);
    for words in words {
        ensure!(complaint.contains(words), "nothing of {words:?} in\n{complaint}");
    }
    ensure!(!complaint.contains("panicked"), "{complaint}");
    Ok(())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const PATIENCE: Duration = Duration::from_secs(30);

/// The daemon, whose log is read as it is written. Killed when this is dropped.
#[derive(Debug)]
struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    lines: Vec<String>,
}

impl Process {
    /// In the place of the net's own daemon.
    fn start(net: &Net, env: &[(&str, String)]) -> Result<Self> {
        let mut command = command(net.daemon.dir())?;
        command.envs(env.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let log = BufReader::new(child.stderr.take().context("its log")?).lines();
        Ok(Self { child, log, lines: Vec::new() })
    }

    /// Reads its log until a line has these words in it.
    async fn says(&mut self, words: &str) -> Result<()> {
        let reading = async {
            while let Some(line) = self.log.next_line().await? {
                self.lines.push(line);
                if self.line().contains(words) {
                    return Ok(());
                }
            }
            bail!("it has ended")
        };
        let said = timeout(PATIENCE, reading).await.unwrap_or_else(|_| bail!("it is silent"));
        said.with_context(|| format!("no word of {words:?} in {:#?}", self.lines))
    }

    /// The line that was read last.
    fn line(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }

    async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}
