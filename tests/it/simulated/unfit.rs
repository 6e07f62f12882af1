//! An LND that is not synced, on another chain, or too old.

use anyhow::{Result, ensure};
use lnd_sim::{HUB, InvoiceState};
use mostro_core::message::Action;
use mostro_core::order::Kind;

use crate::fixture::Fixture;
use crate::fixture::binary::{Process, run};

#[tokio::test]
async fn an_lnd_that_is_not_synced_is_reported() -> Result<()> {
    let fixture = Fixture::stopped().await?;
    fixture.exchange.lnd.set_synced(HUB, false)?;
    let mut process = Process::start(&fixture.exchange, &[])?;
    process.wait_for_log("not synced to its chain").await?;
    fixture.exchange.lnd.set_synced(HUB, true)?;
    fixture.trades_again(process).await
}

#[tokio::test]
async fn an_lnd_on_another_chain_is_reported() -> Result<()> {
    let fixture = Fixture::stopped().await?;
    fixture.exchange.lnd.set_network(HUB, "mainnet")?;
    let mut process = Process::start(&fixture.exchange, &[])?;
    process.wait_for_log("this is another Lightning node").await?;
    let line = process.line();
    ensure!(line.contains("Mainnet") && line.contains("Regtest"), "no chain: {process:?}");
    ensure!(line.contains("`allow_node_change`"), "no remedy: {process:?}");
    fixture.exchange.lnd.set_network(HUB, "regtest")?;
    fixture.trades_again(process).await
}

#[tokio::test]
async fn an_lnd_that_is_too_old_is_reported_and_not_used() -> Result<()> {
    let mut fixture = Fixture::stopped().await?;
    fixture.exchange.lnd.set_version(HUB, "0.19.3-beta commit=v0.19.3-beta")?;
    let mut process = Process::start(&fixture.exchange, &[])?;

    process.wait_for_log("this is LND 0.19.3-beta").await?;
    ensure!(process.line().contains("0.20 or newer only, upgrade"), "no remedy: {process:?}");
    let output = run(fixture.exchange.daemon.dir(), &["check"]).await?;
    let found = String::from_utf8(output.stdout)?;
    ensure!(found.contains("lnd: TROUBLE: this is LND 0.19.3-beta"), "{found}");
    let offer = fixture.offered(Kind::Buy).await?;
    fixture.seller.trader.take_buy(offer.id).await?;
    fixture.seller.trader.expect(Action::CantDo).await?;
    ensure!(
        fixture.exchange.lnd.list_invoices(HUB, InvoiceState::Open).is_empty(),
        "a hold invoice was created"
    );
    fixture.exchange.lnd.set_version(HUB, "0.20.0-beta")?;
    fixture.trades_again(process).await
}
