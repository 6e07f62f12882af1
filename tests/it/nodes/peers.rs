//! Peers that are away, or take their time.

use anyhow::{Result, ensure};
use devnet::{BUYER, HUB, Lightning as _, SELLER, Transport};
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState;
use mostro_core::message::Action;
use tokio::time::{Duration, Instant};

use super::{invoice_state, payout, payouts, until};
use crate::harness::{BUYER_GETS, SELLER_PAYS, World, impatient};

/// After so long LND begins no further attempt of a payment.
const LND_TRIES: Duration = Duration::from_mins(1);

// spec: E2 P0 T29 T32
#[tokio::test]
async fn a_seller_who_is_away_at_the_release_still_pays() -> Result<()> {
    let mut w = World::with(impatient()?, Transport::Nip44).await?;
    let sale = w.sale_fiat_sent().await?;

    w.net.lnd.disconnect(HUB, SELLER).await?;
    w.seller.trader.release(sale.id).await?;
    w.is_success(&sale).await?;

    w.net.lnd.connect(HUB, SELLER).await?;
    w.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P9 FL-F8 T32
#[tokio::test]
async fn a_buyer_who_is_away_at_the_payout_is_paid_by_the_same_invoice() -> Result<()> {
    let settings = impatient()?.set("lightning", "payment_attempts", 100);
    let mut w = World::with(settings, Transport::Nip44).await?;
    let sale = w.sale_fiat_sent().await?;

    w.net.lnd.disconnect(HUB, BUYER).await?;
    w.seller.trader.release(sale.id).await?;
    w.buyer.trader.wait_for(Action::PaymentFailed).await?;

    w.net.lnd.connect(HUB, BUYER).await?;
    w.is_success(&sale).await?;
    w.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P5 P7 INV-2
#[tokio::test]
async fn a_payout_that_is_held_for_longer_than_lnd_tries_is_paid_once() -> Result<()> {
    let mut w = World::with(impatient()?, Transport::Nip44).await?;
    let (held, preimage) = w.payout_held().await?;
    let since = Instant::now();
    let mut trades = 1;
    while since.elapsed() < LND_TRIES {
        let other = w.sale_active().await?;
        w.released(&other).await?;
        trades += 1;
    }
    w.net.lnd.mine(6).await?;
    let before = payouts(&w).await?.len();

    w.buyer.wallet.settle(preimage.0).await?;
    w.buyer.trader.wait_for(Action::PurchaseCompleted).await?;
    w.buyer.trader.wait_for(Action::Rate).await?;
    w.book.until(held.id, "success").await?;

    ensure!(payouts(&w).await?.len() == before, "another payment was begun");
    w.close(held.id, -trades * SELLER_PAYS, trades * BUYER_GETS).await
}

// spec: P0 P9 E6
#[tokio::test]
async fn nothing_is_paid_before_a_channel_is_active_again() -> Result<()> {
    let mut w = World::with(impatient()?, Transport::Nip44).await?;
    let (sale, hold) = w.sale_invoiced().await?;
    w.funded(&hold).await?;
    w.fiat_sent(&sale).await?;
    for node in [HUB, SELLER, BUYER] {
        w.net.lnd.kill_node(node).await?;
    }
    w.seller.trader.release(sale.id).await?;

    w.net.lnd.start_node(HUB).await?;
    let is_settled = async || Ok(invoice_state(&w, &hold).await? == InvoiceState::Settled);
    until(&w, "LND settles the escrow", is_settled).await?;
    w.net.daemon.says("LND has no active channel: no payout until it has").await?;
    ensure!(payouts(&w).await?.is_empty(), "a payment was begun");

    w.net.lnd.start_node(BUYER).await?;
    w.net.lnd.start_node(SELLER).await?;
    w.is_success(&sale).await?;
    let paid = payout(&w).await?;
    ensure!(paid.is_some() && payouts(&w).await?.len() == 1, "it was paid by another try");
    w.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}
