//! Events during a downtime of the daemon.

use anyhow::Result;
use devnet::{Lightning, Transport};
use mostro_core::message::Action;

use crate::fixture::{BUYER_GETS, Fixture, SELLER_PAYS, on_both_transports, settings};

// spec: T24 T29 INV-6 C20
#[tokio::test]
async fn messages_sent_during_daemon_downtime_are_accepted() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.sale_active().await?;

        fixture.exchange.daemon.sigterm().await?;
        fixture.buyer.trader.fiat_sent(offer.id).await?;
        fixture.seller.trader.release(offer.id).await?;
        fixture.exchange.daemon.start().await?;

        fixture.seller.trader.wait_for(Action::FiatSentOk).await?;
        fixture.buyer.trader.wait_for(Action::FiatSentOk).await?;
        fixture.seller.trader.wait_for(Action::HoldInvoicePaymentSettled).await?;
        fixture.is_success(&offer).await?;
        fixture.audit(offer.id, -SELLER_PAYS, BUYER_GETS).await
    })
    .await
}

// spec: E3 C20 P5
#[tokio::test]
async fn an_escrow_paid_while_the_daemon_was_down_is_seen() -> Result<()> {
    let mut fixture = Fixture::open(Transport::Nip44).await?;
    let (offer, hold) = fixture.sale_invoiced().await?;

    fixture.exchange.daemon.kill().await?;
    fixture.seller.wallet.pay(&hold).await?;
    fixture.exchange.daemon.start().await?;

    fixture.is_active().await?;
    fixture.released(&offer).await?;
    fixture.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

/// Blocks from the payment of a hold to its margin, with the template's settings and the three blocks
/// that a payer adds.
const MARGIN: u32 = 144 + 3 - 24;
/// Blocks from the payment of a hold until LND refunds it by itself.
const LND_ACTS: u32 = 144 + 3 - 18;

// spec: D40 T24 T27 C20
#[tokio::test]
async fn blocks_mined_while_the_daemon_was_down_do_not_end_a_trade_that_was_paid_in_time()
-> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.sale_active().await?;

        fixture.exchange.daemon.sigterm().await?;
        fixture.buyer.trader.fiat_sent(offer.id).await?;
        Lightning::mine(&fixture.exchange.lnd, MARGIN).await?;
        fixture.exchange.daemon.start().await?;

        fixture.seller.trader.wait_for(Action::FiatSentOk).await?;
        fixture.buyer.trader.wait_for(Action::FiatSentOk).await?;
        fixture.seller.trader.release(offer.id).await?;
        fixture.seller.trader.wait_for(Action::HoldInvoicePaymentSettled).await?;
        fixture.is_success(&offer).await?;
        fixture.audit(offer.id, -SELLER_PAYS, BUYER_GETS).await
    })
    .await
}

// spec: D40 C13
#[tokio::test]
async fn an_escrow_that_lnd_refunded_during_daemon_downtime_freezes_a_trade_paid_in_time()
-> Result<()> {
    let mut fixture = Fixture::open(Transport::Nip44).await?;
    let offer = fixture.sale_active().await?;

    fixture.exchange.daemon.sigterm().await?;
    fixture.buyer.trader.fiat_sent(offer.id).await?;
    Lightning::mine(&fixture.exchange.lnd, LND_ACTS).await?;
    fixture.exchange.daemon.start().await?;

    fixture.seller.trader.wait_for(Action::FiatSentOk).await?;
    fixture.seller.trader.wait_for(Action::HoldInvoicePaymentCanceled).await?;
    fixture.buyer.trader.wait_for(Action::FiatSentOk).await?;
    fixture.buyer.trader.wait_for(Action::HoldInvoicePaymentCanceled).await?;
    fixture
        .exchange
        .daemon
        .wait_for_log("ALARM: LND gave the escrow back although fiat was sent")
        .await?;
    fixture.frozen.push(offer.id);
    fixture.close(offer.id, 0, 0).await
}

// spec: D40 T27
#[tokio::test]
async fn a_trade_without_fiat_is_ended_once_the_backlog_is_read() -> Result<()> {
    let mut fixture = Fixture::open(Transport::Nip44).await?;
    let offer = fixture.sale_active().await?;

    fixture.exchange.daemon.sigterm().await?;
    Lightning::mine(&fixture.exchange.lnd, MARGIN).await?;
    fixture.exchange.daemon.start().await?;

    fixture.seller.trader.wait_for(Action::Canceled).await?;
    fixture.buyer.trader.wait_for(Action::Canceled).await?;
    fixture.close(offer.id, 0, 0).await
}
