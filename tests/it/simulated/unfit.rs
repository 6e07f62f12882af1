//! LND is behind its chain, on another one, or too old.

use anyhow::{Result, ensure};
use lnd_sim::{HUB, InvoiceState};
use mostro_core::message::Action;
use mostro_core::order::Kind;

use crate::harness::World;
use crate::harness::binary::{Process, run};

#[tokio::test]
async fn an_lnd_that_is_behind_its_chain_is_named() -> Result<()> {
    let w = World::stopped().await?;
    w.net.lnd.set_synced(HUB, false)?;
    let mut process = Process::start(&w.net, &[])?;
    process.says("not synced to its chain").await?;
    w.net.lnd.set_synced(HUB, true)?;
    w.trades_again(process).await
}

#[tokio::test]
async fn our_lightning_node_on_another_chain_is_named() -> Result<()> {
    let w = World::stopped().await?;
    w.net.lnd.set_network(HUB, "mainnet")?;
    let mut process = Process::start(&w.net, &[])?;
    process.says("this is another Lightning node").await?;
    let line = process.line();
    ensure!(line.contains("Mainnet") && line.contains("Regtest"), "no chain: {process:?}");
    ensure!(line.contains("`allow_node_change`"), "no remedy: {process:?}");
    w.net.lnd.set_network(HUB, "regtest")?;
    w.trades_again(process).await
}

#[tokio::test]
async fn an_lnd_that_is_too_old_is_named_and_begins_nothing() -> Result<()> {
    let mut w = World::stopped().await?;
    w.net.lnd.set_version(HUB, "0.19.3-beta commit=v0.19.3-beta")?;
    let mut process = Process::start(&w.net, &[])?;

    process.says("this is LND 0.19.3-beta").await?;
    ensure!(process.line().contains("0.20 or newer only, upgrade"), "no remedy: {process:?}");
    let output = run(w.net.daemon.dir(), &["check"]).await?;
    let found = String::from_utf8(output.stdout)?;
    ensure!(found.contains("lnd: TROUBLE: this is LND 0.19.3-beta"), "{found}");
    let offer = w.offered(Kind::Buy).await?;
    w.seller.trader.take_buy(offer.id).await?;
    w.seller.trader.expect(Action::CantDo).await?;
    ensure!(w.net.lnd.list_invoices(HUB, InvoiceState::Open).is_empty(), "an escrow is begun");
    w.net.lnd.set_version(HUB, "0.20.0-beta")?;
    w.trades_again(process).await
}
