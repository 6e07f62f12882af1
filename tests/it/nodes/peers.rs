//! Peers that are disconnected or slow.

use anyhow::{Result, ensure};
use devnet::{BUYER, HUB, Lightning as _, SELLER, Transport};
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState;
use mostro_core::message::Action;
use tokio::time::{Duration, Instant};

use super::{invoice_state, payout, payouts, until};
use crate::fixture::{BUYER_GETS, Fixture, SELLER_PAYS, fast_retries};

/// After this time LND makes no further attempt of a payment.
const LND_TRIES: Duration = Duration::from_mins(1);

// spec: E2 P0 T29 T32
#[tokio::test]
async fn a_seller_disconnected_at_the_release_still_pays() -> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let sale = fixture.sale_fiat_sent().await?;

    fixture.exchange.lnd.disconnect(HUB, SELLER).await?;
    fixture.seller.trader.release(sale.id).await?;
    fixture.is_success(&sale).await?;

    fixture.exchange.lnd.connect(HUB, SELLER).await?;
    fixture.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P9 FL-F8 T32
#[tokio::test]
async fn a_buyer_disconnected_at_the_payout_is_paid_on_the_same_invoice() -> Result<()> {
    let settings = fast_retries()?.set("lightning", "payment_attempts", 100);
    let mut fixture = Fixture::with(settings, Transport::Nip44).await?;
    let sale = fixture.sale_fiat_sent().await?;

    fixture.exchange.lnd.disconnect(HUB, BUYER).await?;
    fixture.seller.trader.release(sale.id).await?;
    fixture.buyer.trader.wait_for(Action::PaymentFailed).await?;

    fixture.exchange.lnd.connect(HUB, BUYER).await?;
    fixture.is_success(&sale).await?;
    fixture.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P5 P7 INV-2
#[tokio::test]
async fn a_payout_that_is_held_for_longer_than_lnd_tries_is_paid_once() -> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let (held, preimage) = fixture.payout_held().await?;
    let since = Instant::now();
    let mut trades = 1;
    while since.elapsed() < LND_TRIES {
        let other = fixture.sale_active().await?;
        fixture.released(&other).await?;
        trades += 1;
    }
    fixture.exchange.lnd.mine(6).await?;
    let before = payouts(&fixture).await?.len();

    fixture.buyer.wallet.settle(preimage.0).await?;
    fixture.buyer.trader.wait_for(Action::PurchaseCompleted).await?;
    fixture.buyer.trader.wait_for(Action::Rate).await?;
    fixture.book.until(held.id, "success").await?;

    ensure!(payouts(&fixture).await?.len() == before, "another payment was started");
    fixture.close(held.id, -trades * SELLER_PAYS, trades * BUYER_GETS).await
}

// spec: P0 P9 E6
#[tokio::test]
async fn nothing_is_paid_before_a_channel_is_active_again() -> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let (sale, hold) = fixture.sale_invoiced().await?;
    fixture.funded(&hold).await?;
    fixture.fiat_sent(&sale).await?;
    for node in [HUB, SELLER, BUYER] {
        fixture.exchange.lnd.kill_node(node).await?;
    }
    fixture.seller.trader.release(sale.id).await?;

    fixture.exchange.lnd.start_node(HUB).await?;
    let is_settled = async || Ok(invoice_state(&fixture, &hold).await? == InvoiceState::Settled);
    until(&fixture, "LND settles the escrow", is_settled).await?;
    fixture
        .exchange
        .daemon
        .wait_for_log("LND has no active channel: no payout until it has")
        .await?;
    ensure!(payouts(&fixture).await?.is_empty(), "a payment was started");

    fixture.exchange.lnd.start_node(BUYER).await?;
    fixture.exchange.lnd.start_node(SELLER).await?;
    fixture.is_success(&sale).await?;
    let paid = payout(&fixture).await?;
    ensure!(
        paid.is_some() && payouts(&fixture).await?.len() == 1,
        "it was paid by another payment"
    );
    fixture.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}
