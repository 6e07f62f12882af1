//! LND is killed, as by a power cut, and started again; the trade goes on by itself.

use anyhow::Result;
use devnet::Transport;

use crate::harness::{BUYER_GETS, SELLER_PAYS, World, impatient};

// spec: E3 K-44 T10
#[tokio::test]
async fn killed_between_the_hold_invoice_and_its_payment() -> Result<()> {
    let mut w = world().await?;
    let (offer, hold) = w.sale_invoiced().await?;

    w.lnd_dies_and_returns().await?;

    w.funded(&hold).await?;
    w.released(&offer).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: E3 T29
#[tokio::test]
async fn killed_with_the_escrow_held() -> Result<()> {
    let mut w = world().await?;
    let offer = w.sale_active().await?;

    w.lnd_dies_and_returns().await?;

    w.released(&offer).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P3 P5 T32
#[tokio::test]
async fn killed_with_the_payout_in_flight() -> Result<()> {
    let mut w = world().await?;
    let (offer, preimage) = w.payout_held().await?;

    w.lnd_dies_and_returns().await?;
    w.buyer.wallet.settle(preimage.0).await?;

    w.is_success(&offer).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P3 P5 C20 INV-2
#[tokio::test]
async fn killed_together_with_the_daemon() -> Result<()> {
    let mut w = world().await?;
    let (offer, preimage) = w.payout_held().await?;

    w.net.daemon.kill9().await?;
    w.lnd_dies_and_returns().await?;
    w.buyer.wallet.settle(preimage.0).await?;
    w.net.daemon.start().await?;

    w.is_success(&offer).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

async fn world() -> Result<Box<World<crate::Processes>>> {
    let net = Box::pin(crate::processes(impatient()?)).await?;
    Box::pin(World::around(net, Transport::Nip44)).await
}
