//! A network of real nodes. Run by `make regtest`, which builds the nodes first.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState;
use fedimint_tonic_lnd::lnrpc::payment::PaymentStatus;
use fedimint_tonic_lnd::lnrpc::{
    ChannelBalanceRequest, GetInfoRequest, ListChannelsRequest, PaymentHash,
};
use regtest::{BUYER, Config, FAR_BUYER, HUB, Regtest, SELLER, Wallet};
use tempfile::TempDir;
use tokio::time::{Duration, sleep};

/// A preimage, and its SHA-256.
const PREIMAGE: [u8; 32] = [7; 32];
const HASH: &str = "4bb06f8e4e3a7715d201d573d0aa423762e55dabd61a2c02278fa56cc6d294e0";

#[tokio::test]
async fn the_seller_pays_the_hub_and_the_hub_pays_both_buyers() -> Result<()> {
    let network = Regtest::start(Config { has_router: true, ..Config::new()? }).await?;
    let hub = network.wallet(HUB)?;

    paid(&network.wallet(SELLER)?, &hub, 1_000).await?;
    paid(&hub, &network.wallet(BUYER)?, 2_000).await?;
    paid(&hub, &network.wallet(FAR_BUYER)?, 3_000).await?;

    network.end();
    Ok(())
}

#[tokio::test]
async fn a_hold_survives_a_kill_of_its_node() -> Result<()> {
    let network = Regtest::start(Config::new()?).await?;
    let hub = network.wallet(HUB)?;
    let bolt11 = hub.hold(hash()?, 5_000).await?;
    let status = network.wallet(SELLER)?.pay(&bolt11).await?;
    ensure!(status == PaymentStatus::InFlight, "{status:?}");
    becomes(&hub, InvoiceState::Accepted).await?;

    network.kill(HUB)?;
    network.start_node(HUB).await?;

    becomes(&hub, InvoiceState::Accepted).await?;
    hub.settle(PREIMAGE).await?;
    becomes(&hub, InvoiceState::Settled).await?;
    network.end();
    Ok(())
}

#[tokio::test]
async fn a_node_that_was_stopped_misses_no_block() -> Result<()> {
    let network = Regtest::start(Config::new()?).await?;
    let before = network.height().await?;

    network.stop(BUYER).await?;
    network.mine(3).await?;
    network.start_node(BUYER).await?;

    let info = network.wallet(BUYER)?.lightning().get_info(GetInfoRequest {}).await?;
    assert_eq!(info.into_inner().block_height, before + 3);
    paid(&network.wallet(HUB)?, &network.wallet(BUYER)?, 1_000).await?;
    network.end();
    Ok(())
}

#[tokio::test]
async fn a_node_can_be_started_with_a_locked_wallet() -> Result<()> {
    let network = Regtest::start(Config::new()?).await?;

    network.kill(HUB)?;
    network.start_locked(HUB).await?;

    let refused = network.wallet(HUB)?.invoice(1_000).await.unwrap_err();
    ensure!(format!("{refused:#}").contains("wallet locked"), "{refused:#}");
    network.unlock(HUB).await?;
    paid(&network.wallet(HUB)?, &network.wallet(BUYER)?, 1_000).await?;
    network.end();
    Ok(())
}

#[tokio::test]
async fn a_node_with_a_renewed_certificate_is_sent_nothing_by_clients_that_pinned_the_old_one()
-> Result<()> {
    let network = Regtest::start(Config::new()?).await?;
    let old = network.wallet(HUB)?;

    network.renew_certificate(HUB).await?;

    ensure!(old.invoice(1_000).await.is_err(), "the old certificate is still accepted");
    paid(&network.wallet(HUB)?, &network.wallet(BUYER)?, 1_000).await?;
    network.end();
    Ok(())
}

#[tokio::test]
async fn disconnected_peers_stay_disconnected_until_they_are_connected() -> Result<()> {
    let network = Regtest::start(Config::new()?).await?;
    let (hub, buyer) = (network.wallet(HUB)?, network.wallet(BUYER)?);

    network.disconnect(HUB, BUYER).await?;
    network.mine(1).await?;

    assert!(hub.pay(&buyer.invoice(1_000).await?).await.is_err(), "there was a way");
    network.connect(HUB, BUYER).await?;
    paid(&hub, &buyer, 1_000).await?;
    network.end();
    Ok(())
}

#[tokio::test]
async fn a_closed_channel_can_be_reopened_with_the_same_balances() -> Result<()> {
    let network = Regtest::start(Config::new()?).await?;
    let (hub, buyer) = (network.wallet(HUB)?, network.wallet(BUYER)?);
    paid(&hub, &buyer, 20_000).await?;
    let asked = ListChannelsRequest::default();
    let channels = buyer.lightning().list_channels(asked).await?.into_inner().channels;
    let chan_id = channels.first().context("the buyer has a channel")?.chan_id;

    let same_balances = network.close_channel(HUB, chan_id).await?;
    assert_eq!(balance(&buyer).await?, 0);
    network.open_channel(same_balances).await?;

    assert_eq!(balance(&buyer).await?, 20_000);
    paid(&hub, &buyer, 1_000).await?;
    network.end();
    Ok(())
}

#[tokio::test]
async fn networks_run_side_by_side_and_end_independently() -> Result<()> {
    let (one, other) =
        futures::try_join!(Regtest::start(Config::new()?), Regtest::start(Config::new()?))?;

    let folder = folder_of(&one)?;
    one.end();

    assert!(!folder.exists(), "{} is still there", folder.display());
    paid(&other.wallet(HUB)?, &other.wallet(BUYER)?, 1_000).await?;
    other.end();
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_of_a_network_whose_program_was_killed() -> Result<()> {
    let logs = tempfile::tempdir()?;
    let mut program = program(&logs).stdout(Stdio::piped()).spawn()?;
    let output_text = BufReader::new(program.stdout.take().context("it is piped")?);
    let (mut address, mut folder) = (None, None);
    for line in output_text.lines() {
        let line = line?;
        let words = line.split_whitespace().collect::<Vec<_>>();
        match words[..] {
            ["gRPC", url] => address = url.strip_prefix("https://").map(str::to_owned),
            ["cert", path] => folder = Path::new(path).ancestors().nth(2).map(Path::to_owned),
            [.., "generate", "6"] => break,
            _ => {}
        }
    }
    let (address, folder) = (address.context("no address")?, folder.context("no folder")?);

    program.kill()?;
    program.wait()?;

    eventually(&format!("{} and {address} are gone", folder.display()), async || {
        Ok(!folder.exists() && TcpListener::bind(&address).is_ok())
    })
    .await
}

#[test]
fn the_output_of_an_lnd_that_does_not_start_is_shown_and_its_log_is_kept() -> Result<()> {
    let logs = tempfile::tempdir()?;

    let output = program(&logs).args(["--lnd", "--no-such-argument"]).output()?;

    let output_text = String::from_utf8(output.stderr)?;
    assert!(output_text.contains("error: hub ended with exit status: 1:"), "{output_text}");
    assert!(output_text.contains("unknown flag `no-such-argument'"), "{output_text}");
    let kept = output_text
        .lines()
        .find_map(|line| line.strip_prefix("the logs of the nodes are kept in "));
    assert!(Path::new(kept.context("no folder is named")?).join("hub.log").is_file());
    Ok(())
}

#[test]
fn a_problem_of_the_machine_is_reported_in_one_line_with_a_remedy() -> Result<()> {
    let logs = tempfile::tempdir()?;
    let old = logs.path().join("old-lnd");
    fs::write(&old, "#!/bin/sh\necho lnd version 0.19.3-beta\n")?;
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755))?;
    let taken = TcpListener::bind("127.0.0.1:0")?;

    let mut missing = program(&logs);
    missing.env("LND_BIN", logs.path().join("missing"));
    let mut outdated = program(&logs);
    outdated.env("LND_BIN", old);
    let mut busy = program(&logs);
    busy.args(["--port", &taken.local_addr()?.port().to_string()]);

    for (mut program, output_text) in [
        (missing, "which does not run: No such file or directory"),
        (outdated, "run `make nodes`, or set LND_BIN to a newer one"),
        (busy, "stop what listens there, or choose another range"),
    ] {
        let output = program.output()?;
        let error = String::from_utf8(output.stderr)?;
        ensure!(!output.status.success() && error.contains(output_text), "{error}");
        ensure!(error.starts_with("error: ") && error.lines().count() == 1, "{error}");
    }
    Ok(())
}

/// The program, with its logs in this folder.
fn program(logs: &TempDir) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_regtest"));
    program.env("TMPDIR", logs.path()).stdin(Stdio::null());
    program
}

/// One wallet pays the other, whose balance shows it.
async fn paid(from: &Wallet, to: &Wallet, sats: u64) -> Result<()> {
    let before = balance(to).await?;
    from.pay(&to.invoice(sats).await?).await?;
    eventually("the payee has the sats", async || Ok(balance(to).await? == before + sats)).await
}

async fn balance(wallet: &Wallet) -> Result<u64> {
    let balance = wallet.lightning().channel_balance(ChannelBalanceRequest {}).await?.into_inner();
    Ok(balance.local_balance.unwrap_or_default().sat)
}

async fn becomes(wallet: &Wallet, state: InvoiceState) -> Result<()> {
    let asked =
        || PaymentHash { r_hash: hash().unwrap_or_default().to_vec(), ..Default::default() };
    eventually(state.as_str_name(), async || {
        let invoice = wallet.lightning().lookup_invoice(asked()).await?.into_inner();
        Ok(invoice.state() == state)
    })
    .await
}

async fn eventually(what: &str, is_true: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let wait = async {
        while !is_true().await? {
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.with_context(|| what.to_owned())?
}

fn folder_of(network: &Regtest) -> Result<PathBuf> {
    let certificate = network.node(HUB)?.tls_cert;
    Ok(certificate.ancestors().nth(2).context("a network has a folder")?.to_owned())
}

fn hash() -> Result<[u8; 32]> {
    hex::decode(HASH)?.try_into().ok().context("a hash has 32 bytes")
}
