//! Escrows that reach their horizon.

use anyhow::{Result, ensure};
use devnet::{Lightning as _, SELLER, Transport};
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState;
use mostro_core::message::Action;

use super::dangling::GIVEN_BACK;
use super::{TIMEOUT, invoice_state, log_line, until};
use crate::fixture::{BUYER_GETS, Fixture, SELLER_PAYS, fast_retries};

/// Blocks from the payment of a hold until LND refunds it: our `hold_invoice_cltv_delta`, and three
/// blocks that the payer adds, less LND's `holdexpirydelta`.
const LND_ACTS: u32 = 144 + 3 - 18;
/// The same for the daemon: less its `escrow_deadline_margin_blocks`.
const WE_ACT: u32 = 144 + 3 - 24;

// spec: E2 E5 C13
#[tokio::test]
async fn an_escrow_that_lnd_refunded_during_daemon_downtime_is_frozen() -> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let (sale, hold) = fixture.sale_invoiced().await?;
    fixture.funded(&hold).await?;
    fixture.fiat_sent(&sale).await?;
    fixture.exchange.daemon.sigterm().await?;

    fixture.exchange.lnd.mine(LND_ACTS - 1).await?;
    ensure!(invoice_state(&fixture, &hold).await? == InvoiceState::Accepted, "a block too early");
    fixture.exchange.lnd.mine(1).await?;
    let is_canceled = async || Ok(invoice_state(&fixture, &hold).await? == InvoiceState::Canceled);
    until(&fixture, "LND gives the escrow back", is_canceled).await?;
    let is_back = async || Ok(fixture.exchange.lnd.balance(SELLER).await?.outgoing_held_msat == 0);
    until(&fixture, "the seller has the sats", is_back).await?;

    fixture.exchange.daemon.start().await?;
    fixture.seller.trader.wait_for(Action::HoldInvoicePaymentCanceled).await?;
    fixture.buyer.trader.wait_for(Action::HoldInvoicePaymentCanceled).await?;
    until(&fixture, GIVEN_BACK, async || Ok(log_line(&fixture, &sale, GIVEN_BACK).is_some()))
        .await?;
    fixture.frozen.push(sale.id);
    fixture.close(sale.id, 0, 0).await
}

// spec: E5 E7 T27
#[tokio::test]
async fn an_active_trade_is_ended_before_lnd_ends_it() -> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let (sale, hold) = fixture.sale_invoiced().await?;
    fixture.funded(&hold).await?;

    fixture.exchange.lnd.mine(WE_ACT).await?;

    // The daemon reads LND's height four times a minute.
    fixture.seller.trader.set_patience(TIMEOUT);
    fixture.seller.trader.wait_for(Action::Canceled).await?;
    fixture.buyer.trader.wait_for(Action::Canceled).await?;
    fixture.book.until(sale.id, "canceled").await?;
    let is_canceled = async || Ok(invoice_state(&fixture, &hold).await? == InvoiceState::Canceled);
    until(&fixture, "the daemon gives the escrow back", is_canceled).await?;
    fixture.close(sale.id, 0, 0).await
}

// spec: E5 T26 T29
#[tokio::test]
async fn after_fiat_sent_the_horizon_raises_an_alarm_and_a_release_still_pays() -> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let (sale, hold) = fixture.sale_invoiced().await?;
    fixture.funded(&hold).await?;
    fixture.fiat_sent(&sale).await?;

    fixture.exchange.lnd.mine(WE_ACT).await?;
    fixture
        .exchange
        .daemon
        .wait_for_log("ALARM: fiat was sent and the escrow has reached its margin")
        .await?;
    ensure!(invoice_state(&fixture, &hold).await? == InvoiceState::Accepted, "it was refunded");

    fixture.seller.trader.release(sale.id).await?;
    fixture.is_success(&sale).await?;
    fixture.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}
