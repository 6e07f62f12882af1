//! The daemon was away for a while.

use anyhow::Result;
use devnet::{Lightning, Transport};
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
    let mut w = World::open(Transport::Nip44).await?;
    let (offer, hold) = w.sale_invoiced().await?;

    w.net.daemon.kill9().await?;
    w.seller.wallet.pay(&hold).await?;
    w.net.daemon.start().await?;

    w.is_active().await?;
    w.released(&offer).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

/// From the block at which a hold is paid to its margin, with the template's settings and the three
/// blocks that a payer adds.
const MARGIN: u32 = 144 + 3 - 24;
/// The same to the block at which LND gives it back by itself.
const LND_ACTS: u32 = 144 + 3 - 18;

// spec: D40 T24 T27 C20
#[tokio::test]
async fn blocks_mined_while_the_daemon_was_down_do_not_end_a_trade_that_was_paid_in_time()
-> Result<()> {
    on_both_transports(settings()?, async |w: &mut World| {
        let offer = w.sale_active().await?;

        w.net.daemon.sigterm().await?;
        w.buyer.trader.fiat_sent(offer.id).await?;
        Lightning::mine(&w.net.lnd, MARGIN).await?;
        w.net.daemon.start().await?;

        w.seller.trader.wait_for(Action::FiatSentOk).await?;
        w.buyer.trader.wait_for(Action::FiatSentOk).await?;
        w.seller.trader.release(offer.id).await?;
        w.seller.trader.wait_for(Action::HoldInvoicePaymentSettled).await?;
        w.is_success(&offer).await?;
        w.audit(offer.id, -SELLER_PAYS, BUYER_GETS).await
    })
    .await
}

// spec: D40 C13
#[tokio::test]
async fn an_escrow_that_lnd_gave_back_while_we_were_away_freezes_what_was_paid_in_time()
-> Result<()> {
    let mut w = World::open(Transport::Nip44).await?;
    let offer = w.sale_active().await?;

    w.net.daemon.sigterm().await?;
    w.buyer.trader.fiat_sent(offer.id).await?;
    Lightning::mine(&w.net.lnd, LND_ACTS).await?;
    w.net.daemon.start().await?;

    w.seller.trader.wait_for(Action::FiatSentOk).await?;
    w.seller.trader.wait_for(Action::HoldInvoicePaymentCanceled).await?;
    w.buyer.trader.wait_for(Action::FiatSentOk).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentCanceled).await?;
    w.net.daemon.says("ALARM: LND gave the escrow back although fiat was sent").await?;
    w.frozen.push(offer.id);
    w.close(offer.id, 0, 0).await
}

// spec: D40 T27
#[tokio::test]
async fn a_trade_without_fiat_is_ended_once_the_relays_have_said_all() -> Result<()> {
    let mut w = World::open(Transport::Nip44).await?;
    let offer = w.sale_active().await?;

    w.net.daemon.sigterm().await?;
    Lightning::mine(&w.net.lnd, MARGIN).await?;
    w.net.daemon.start().await?;

    w.seller.trader.wait_for(Action::Canceled).await?;
    w.buyer.trader.wait_for(Action::Canceled).await?;
    w.close(offer.id, 0, 0).await
}
