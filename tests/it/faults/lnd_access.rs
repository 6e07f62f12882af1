//! LND cannot be used: it is down, locked, another node, or refuses access. The daemon logs the problem
//! and a remedy, and continues by itself after the remedy.

use std::fs;

use anyhow::{Result, ensure};
use devnet::{BUYER, HUB, Lightning, NodeAccess, SELLER, Transport};
use lnd_sim::InvoiceState;
use mostro_core::message::Action;
use mostro_core::order::Kind;

use crate::fixture::binary::{FAILURE, Process, USAGE, command, ends, free_address, run};
use crate::fixture::{BUYER_GETS, Fixture, SELLER_PAYS};

// spec: E3 K-46
#[tokio::test]
async fn an_lnd_that_comes_up_later_is_found() -> Result<()> {
    let fixture = Fixture::stopped().await?;
    fixture.exchange.lnd.kill_node(HUB).await?;
    let mut process = Process::start(&fixture.exchange, &[])?;
    process.wait_for_log("LND did not answer").await?;
    fixture.exchange.lnd.start_locked(HUB).await?;
    process.wait_for_log("LND's wallet is locked: unlock it").await?;
    fixture.exchange.lnd.unlock(HUB).await?;
    fixture.trades_again(process).await
}

#[tokio::test]
async fn a_missing_certificate_or_macaroon_is_reported_with_its_remedy() -> Result<()> {
    let fixture = Fixture::stopped().await?;
    let access = fixture.exchange.lnd.access(HUB)?;
    fs::remove_file(&access.tls_cert)?;
    fs::remove_file(fixture.exchange.macaroon())?;

    let output = run(fixture.exchange.daemon.dir(), &[]).await?;

    let [certificate, macaroon] =
        [access.tls_cert, fixture.exchange.macaroon()].map(|path| format!("{path:?}"));
    ends(&output, USAGE, &["lightning.lnd_cert_file = ", &certificate, "copy LND's tls.cert"])?;
    ends(&output, USAGE, &["lightning.lnd_macaroon_file = ", &macaroon, "bake a macaroon"])?;
    fixture.exchange.end()
}

#[tokio::test]
async fn a_wrong_certificate_is_reported_and_read_again() -> Result<()> {
    let fixture = Fixture::stopped().await?;
    let certificate = fixture.exchange.lnd.access(HUB)?.tls_cert;
    let right = fs::read(&certificate)?;
    fs::copy(fixture.exchange.lnd.access(SELLER)?.tls_cert, &certificate)?;
    let mut process = Process::start(&fixture.exchange, &[])?;
    process.wait_for_log("does not present the certificate in").await?;
    fs::remove_file(&certificate)?;
    process
        .wait_for_log(&format!("cannot read LND's certificate from {}", certificate.display()))
        .await?;
    fs::write(&certificate, right)?;
    fixture.trades_again(process).await
}

#[tokio::test]
async fn a_wrong_macaroon_is_reported_and_read_again() -> Result<()> {
    let fixture = Fixture::stopped().await?;
    let macaroon = fixture.exchange.macaroon();
    let right = fs::read(&macaroon)?;
    fs::copy(fixture.exchange.lnd.access(SELLER)?.macaroon, &macaroon)?;
    let mut process = Process::start(&fixture.exchange, &[])?;
    process.wait_for_log("Bake a macaroon of this node").await?;
    fs::remove_file(&macaroon)?;
    process.wait_for_log(&format!("cannot read the macaroon from {}", macaroon.display())).await?;
    fs::write(&macaroon, right)?;
    fixture.trades_again(process).await
}

#[tokio::test]
async fn a_macaroon_without_a_permission_is_reported_and_read_again() -> Result<()> {
    let mut fixture = Fixture::stopped().await?;
    let macaroon = fixture.exchange.macaroon();
    let right = fs::read(&macaroon)?;
    fs::write(&macaroon, baked(&fixture, &["GetInfo", "ListChannels"]).await?)?;
    let mut process = Process::start(&fixture.exchange, &[])?;

    process.wait_for_log("the macaroon does not allow AddHoldInvoice").await?;
    let line = process.line().to_owned();
    ensure!(line.contains("lncli bakemacaroon"), "no remedy: {line}");
    let output = run(fixture.exchange.daemon.dir(), &["check"]).await?;
    let found = String::from_utf8(output.stdout)?;
    ensure!(found.contains("lnd: TROUBLE: the macaroon does not allow"), "{found}");
    let offer = fixture.offered(Kind::Buy).await?;
    fixture.seller.trader.take_buy(offer.id).await?;
    fixture.seller.trader.expect(Action::CantDo).await?;
    fs::write(&macaroon, right)?;
    fixture.trades_again(process).await
}

// spec: D3
#[tokio::test]
async fn a_renewed_certificate_needs_no_restart() -> Result<()> {
    let fixture = Fixture::open(Transport::Nip44).await?;
    Lightning::renew_certificate(&fixture.exchange.lnd, HUB).await?;
    fixture.trades().await
}

// spec: E2 P0 INV-4
#[tokio::test]
async fn a_release_waits_for_the_permission_to_settle() -> Result<()> {
    let mut fixture = Fixture::open(Transport::Nip44).await?;
    let offer = fixture.sale_fiat_sent().await?;
    let macaroon = fixture.exchange.macaroon();
    let right = fs::read(&macaroon)?;
    fs::write(&macaroon, baked(&fixture, &["GetInfo", "ListChannels", "LookupInvoice"]).await?)?;

    fixture.seller.trader.release(offer.id).await?;
    fixture.exchange.daemon.wait_for_log("refuses SettleInvoice (permission denied)").await?;
    fixture.exchange.daemon.wait_for_log("lncli bakemacaroon").await?;
    ensure!(
        fixture.invoices(HUB, InvoiceState::Accepted).await?.len() == 1,
        "the escrow is not held"
    );
    fs::write(&macaroon, right)?;

    fixture.seller.trader.wait_for(Action::HoldInvoicePaymentSettled).await?;
    fixture.is_success(&offer).await?;
    fixture.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: E2 P0 INV-4
#[tokio::test]
async fn a_release_waits_until_lnd_is_the_known_node() -> Result<()> {
    let mut fixture = Fixture::open(Transport::Nip44).await?;
    let offer = fixture.sale_fiat_sent().await?;
    fixture.exchange.daemon.sigterm().await?;

    let other = fixture.exchange.lnd.access(BUYER)?;
    let mut process = Process::start(&fixture.exchange, &at_lnd(&other))?;
    process.wait_for_log("this is another Lightning node").await?;
    fixture.seller.trader.release(offer.id).await?;
    process.wait_for_log("an outbox row failed and is retried").await?;
    process.kill().await?;

    fixture.exchange.daemon.start().await?;
    fixture.seller.trader.wait_for(Action::HoldInvoicePaymentSettled).await?;
    fixture.is_success(&offer).await?;
    fixture.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

#[tokio::test]
async fn a_different_lightning_node_is_reported() -> Result<()> {
    let fixture = Fixture::stopped().await?;
    let other = fixture.exchange.lnd.access(BUYER)?;
    let mut process = Process::start(&fixture.exchange, &at_lnd(&other))?;
    process.wait_for_log("this is another Lightning node").await?;
    ensure!(process.line().contains("`allow_node_change`"), "no remedy: {process:?}");
    process.kill().await?;

    let process = Process::start(&fixture.exchange, &[])?;
    fixture.trades_again(process).await
}

#[tokio::test]
async fn a_check_lists_every_problem_and_fails() -> Result<()> {
    let fixture = Fixture::stopped().await?;
    let other = fixture.exchange.lnd.access(BUYER)?;
    let nobody = format!("ws://{}", free_address()?);
    fixture.exchange.lnd.kill_node(HUB).await?;
    let home = fixture.exchange.daemon.dir();

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
    fixture.exchange.lnd.start_node(HUB).await?;
    let output = run(home, &["check"]).await?;
    ends(&output, FAILURE, &["trouble in 1 of these"])?;
    let found = String::from_utf8(output.stdout)?;
    ensure!(
        found.contains("database: TROUBLE: ") && found.contains("no SQLite database"),
        "{found}"
    );
    fixture.exchange.end()
}

/// A macaroon of our node that allows these calls only.
async fn baked(fixture: &Fixture, calls: &[&str]) -> Result<Vec<u8>> {
    let calls: Vec<_> = calls.iter().map(|call| format!("/lnrpc.Lightning/{call}")).collect();
    let calls: Vec<_> = calls.iter().map(String::as_str).collect();
    Lightning::bake_macaroon(&fixture.exchange.lnd, HUB, 7, &calls).await
}

/// The environment for another LND than in the settings.
fn at_lnd(lnd: &NodeAccess) -> [(&'static str, String); 3] {
    [
        ("MOSTRO__LIGHTNING__LND_GRPC_HOST", lnd.url()),
        ("MOSTRO__LIGHTNING__LND_CERT_FILE", lnd.tls_cert.display().to_string()),
        ("MOSTRO__LIGHTNING__LND_MACAROON_FILE", lnd.macaroon.display().to_string()),
    ]
}
