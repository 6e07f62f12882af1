//! LND was killed milliseconds after an escrow was paid. After its restart it fails the HTLC as a
//! replay, and the invoice stays accepted. A real LND does so after some of such kills only.

use anyhow::{Context as _, Result, ensure};
use devnet::Transport;
use lnd_sim::{HUB, InvoiceState, PaymentHash, Rpc};
use mostro_core::message::Action;

use crate::fixture::Fixture;

/// The settings' `hold_invoice_cltv_delta`.
const CLTV_DELTA: u32 = 144;

// spec: P0 E2
#[tokio::test]
async fn an_escrow_that_lnd_lost_freezes_a_trade_in_which_fiat_was_sent() -> Result<()> {
    let mut fixture = Fixture::open(Transport::Nip44).await?;
    let before = fixture.exchange.lnd.balances();
    let offer = fixture.sale_fiat_sent().await?;

    let held = fixture.kill_lnd().await?;
    fixture.seller.trader.release(offer.id).await?;
    fixture.restart_lnd_without(held).await?;

    fixture.seller.trader.wait_for(Action::HoldInvoicePaymentCanceled).await?;
    fixture.buyer.trader.wait_for(Action::HoldInvoicePaymentCanceled).await?;
    fixture
        .exchange
        .daemon
        .wait_for_log("ALARM: LND gave the escrow back although fiat was sent")
        .await?;
    ensure!(
        fixture.exchange.lnd.calls_about(Rpc::SettleInvoice, held) == 0,
        "LND was asked to settle it"
    );
    ensure!(fixture.exchange.lnd.balances() == before, "a balance has changed");
    fixture.exchange.end()
}

// spec: P0 T27
#[tokio::test]
async fn an_escrow_that_lnd_lost_ends_a_trade_before_fiat_is_sent() -> Result<()> {
    let mut fixture = Fixture::open(Transport::Nip44).await?;
    let offer = fixture.sale_active().await?;

    let held = fixture.kill_lnd().await?;
    fixture.restart_lnd_without(held).await?;

    fixture.seller.trader.wait_for(Action::HoldInvoicePaymentCanceled).await?;
    fixture.buyer.trader.wait_for(Action::HoldInvoicePaymentCanceled).await?;
    fixture.seller.trader.wait_for(Action::Canceled).await?;
    fixture.buyer.trader.wait_for(Action::Canceled).await?;
    fixture.book.until(offer.id, "canceled").await?;
    // LND reports the escrow as accepted until the payment would have expired.
    fixture.exchange.lnd.mine(CLTV_DELTA);
    fixture.close(offer.id, 0, 0).await
}

impl Fixture {
    /// Returns the escrow that LND holds.
    async fn kill_lnd(&self) -> Result<PaymentHash> {
        let held = self.exchange.lnd.list_invoices(HUB, InvoiceState::Accepted);
        self.exchange.lnd.kill(HUB).await;
        self.exchange.daemon.wait_for_log("LND did not answer").await?;
        held.first().copied().context("an escrow is held")
    }

    async fn restart_lnd_without(&self, held: PaymentHash) -> Result<()> {
        self.exchange.lnd.fail_as_replay(HUB, held)?;
        Ok(self.exchange.lnd.start_node(HUB).await?)
    }
}
