//! LND is killed and restarted; the trade continues by itself.

use anyhow::Result;
use devnet::Transport;

use crate::fixture::{BUYER_GETS, Fixture, SELLER_PAYS, fast_retries};

// spec: E3 K-44 T10
#[tokio::test]
async fn a_trade_survives_a_kill_of_lnd_before_the_hold_is_paid() -> Result<()> {
    let mut fixture = fixture().await?;
    let (offer, hold) = fixture.sale_invoiced().await?;

    fixture.kill_and_restart_lnd().await?;

    fixture.funded(&hold).await?;
    fixture.released(&offer).await?;
    fixture.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: E3 T29
#[tokio::test]
async fn a_trade_survives_a_kill_of_lnd_with_the_escrow_held() -> Result<()> {
    let mut fixture = fixture().await?;
    let offer = fixture.sale_active().await?;

    fixture.kill_and_restart_lnd().await?;

    fixture.released(&offer).await?;
    fixture.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P3 P5 T32
#[tokio::test]
async fn a_trade_survives_a_kill_of_lnd_with_the_payout_in_flight() -> Result<()> {
    let mut fixture = fixture().await?;
    let (offer, preimage) = fixture.payout_held().await?;

    fixture.kill_and_restart_lnd().await?;
    fixture.buyer.wallet.settle(preimage.0).await?;

    fixture.is_success(&offer).await?;
    fixture.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P3 P5 C20 INV-2
#[tokio::test]
async fn a_trade_survives_a_kill_of_lnd_and_the_daemon() -> Result<()> {
    let mut fixture = fixture().await?;
    let (offer, preimage) = fixture.payout_held().await?;

    fixture.exchange.daemon.kill().await?;
    fixture.kill_and_restart_lnd().await?;
    fixture.buyer.wallet.settle(preimage.0).await?;
    fixture.exchange.daemon.start().await?;

    fixture.is_success(&offer).await?;
    fixture.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

async fn fixture() -> Result<Box<Fixture<crate::Processes>>> {
    let exchange = Box::pin(crate::processes(fast_retries()?)).await?;
    Box::pin(Fixture::around(exchange, Transport::Nip44)).await
}
