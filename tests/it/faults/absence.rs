//! The daemon was away for a while.

use anyhow::Result;
use devnet::Transport;
use mostro_core::message::Action;

use crate::harness::{BUYER_GETS, SELLER_PAYS, World, on_both_transports, settings};

// spec: T24 T29 INV-6 C20
#[tokio::test]
async fn what_was_said_while_the_daemon_was_down_is_honoured() -> Result<()> {
    on_both_transports(settings()?, async |w: &mut World| {
        let offer = w.sale_active().await?;

        w.net.daemon.sigterm().await?;
        w.buyer.trader.fiat_sent(offer.id).await?;
        w.seller.trader.release(offer.id).await?;
        w.net.daemon.start().await?;

        w.seller.trader.wait_for(Action::FiatSentOk).await?;
        w.buyer.trader.wait_for(Action::FiatSentOk).await?;
        w.seller.trader.wait_for(Action::HoldInvoicePaymentSettled).await?;
        w.is_success(&offer).await?;
        w.audit(offer.id, -SELLER_PAYS, BUYER_GETS).await
    })
    .await
}

// spec: E3 C20 P5
#[tokio::test]
async fn an_escrow_paid_while_the_daemon_was_down_is_seen() -> Result<()> {
    let mut w = World::open(Transport::V2).await?;
    let (offer, hold) = w.sale_invoiced().await?;

    w.net.daemon.kill9().await?;
    w.seller.wallet.pay(&hold).await?;
    w.net.daemon.start().await?;

    w.is_active().await?;
    w.released(&offer).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}
