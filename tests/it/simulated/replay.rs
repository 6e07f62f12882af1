//! LND was killed in the milliseconds after an escrow was paid. When it is back it gives the sats back
//! as a replay, and goes on calling the escrow accepted. A real one does so once in several kills.

use anyhow::{Context as _, Result, ensure};
use devnet::Transport;
use lnd_sim::{HUB, InvoiceState, PaymentHash, Rpc};
use mostro_core::message::Action;

use crate::harness::World;

/// The settings' `hold_invoice_cltv_delta`.
const CLTV_DELTA: u32 = 144;

// spec: P0 E2
#[tokio::test]
async fn an_escrow_that_lnd_lost_freezes_a_trade_in_which_fiat_was_sent() -> Result<()> {
    let mut w = World::open(Transport::Nip44).await?;
    let before = w.net.lnd.balances();
    let offer = w.sale_fiat_sent().await?;

    let held = w.lnd_dies().await?;
    w.seller.trader.release(offer.id).await?;
    w.lnd_returns_without(held).await?;

    w.seller.trader.wait_for(Action::HoldInvoicePaymentCanceled).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentCanceled).await?;
    w.net.daemon.says("ALARM: LND gave the escrow back although fiat was sent").await?;
    ensure!(w.net.lnd.calls_about(Rpc::SettleInvoice, held) == 0, "LND was asked to settle it");
    ensure!(w.net.lnd.balances() == before, "somebody gained");
    w.net.end()
}

// spec: P0 T27
#[tokio::test]
async fn an_escrow_that_lnd_lost_ends_a_trade_before_fiat_is_sent() -> Result<()> {
    let mut w = World::open(Transport::Nip44).await?;
    let offer = w.sale_active().await?;

    let held = w.lnd_dies().await?;
    w.lnd_returns_without(held).await?;

    w.seller.trader.wait_for(Action::HoldInvoicePaymentCanceled).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentCanceled).await?;
    w.seller.trader.wait_for(Action::Canceled).await?;
    w.buyer.trader.wait_for(Action::Canceled).await?;
    w.book.until(offer.id, "canceled").await?;
    // LND calls the escrow accepted until the payment would have run out.
    w.net.lnd.mine(CLTV_DELTA);
    w.close(offer.id, 0, 0).await
}

impl World {
    /// Answers the escrow that it holds.
    async fn lnd_dies(&self) -> Result<PaymentHash> {
        let held = self.net.lnd.list_invoices(HUB, InvoiceState::Accepted);
        self.net.lnd.kill(HUB).await;
        self.net.daemon.says("LND did not answer").await?;
        held.first().copied().context("an escrow is held")
    }

    async fn lnd_returns_without(&self, held: PaymentHash) -> Result<()> {
        self.net.lnd.lose_held(HUB, held)?;
        Ok(self.net.lnd.start_node(HUB).await?)
    }
}
