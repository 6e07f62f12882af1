//! LND, the daemon, or both are killed while something is under way.

use anyhow::Result;
use mostro_core::message::Action;

use super::{is_paid, lnd_dies_and_returns, payout_in_flight, world};
use crate::harness::{BUYER_GETS, SELLER_PAYS};

// spec: E3 P5 T10 T29 T32
#[tokio::test]
async fn lnd_is_killed_with_the_escrow_open_then_held_then_with_the_payout_in_flight() -> Result<()>
{
    let mut w = world().await?;
    let (first, hold) = w.sale_invoiced().await?;
    lnd_dies_and_returns(&w).await?;
    w.seller.wallet.pay(&hold).await?;
    w.seller.trader.wait_for(Action::BuyerTookOrder).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentAccepted).await?;
    w.released(&first).await?;

    let second = w.sale_active().await?;
    lnd_dies_and_returns(&w).await?;
    w.released(&second).await?;

    let (third, preimage) = payout_in_flight(&mut w).await?;
    lnd_dies_and_returns(&w).await?;
    w.buyer.wallet.settle(preimage.0).await?;
    is_paid(&mut w, &third).await?;
    w.close(third.id, -3 * SELLER_PAYS, 3 * BUYER_GETS).await
}

// spec: E3 P5 C20 INV-2
#[tokio::test]
async fn the_daemon_is_killed_alone_and_together_with_lnd() -> Result<()> {
    let mut w = world().await?;
    let (first, hold) = w.sale_invoiced().await?;
    w.net.daemon.kill9().await?;
    w.seller.wallet.pay(&hold).await?;
    w.net.daemon.start().await?;
    w.seller.trader.wait_for(Action::BuyerTookOrder).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentAccepted).await?;
    w.released(&first).await?;

    let (second, preimage) = payout_in_flight(&mut w).await?;
    w.net.daemon.kill9().await?;
    lnd_dies_and_returns(&w).await?;
    w.buyer.wallet.settle(preimage.0).await?;
    w.net.daemon.start().await?;
    is_paid(&mut w, &second).await?;
    w.close(second.id, -2 * SELLER_PAYS, 2 * BUYER_GETS).await
}
