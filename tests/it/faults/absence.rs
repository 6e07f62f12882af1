//! The daemon, or its LND, was away for a while.

use anyhow::{Result, ensure};
use devnet::Transport;
use lightning_invoice::Bolt11Invoice;
use lnd_sim::{MOSTRO, PaymentHash, Rpc};
use mostro_core::message::Action;

use crate::harness::{BUYER_GETS, Offer, SELLER_PAYS, World, on_both_transports, settings};

// spec: T24 T29 INV-6 C20
#[tokio::test]
async fn what_was_said_while_the_daemon_was_down_is_honoured() -> Result<()> {
    on_both_transports(async |transport| {
        let mut w = World::open(transport).await?;
        let offer = w.sale_active().await?;

        w.net.daemon.sigterm().await?;
        w.buyer.trader.fiat_sent(offer.id).await?;
        w.seller.trader.release(offer.id).await?;
        w.net.daemon.start().await?;

        w.seller.trader.wait_for(Action::FiatSentOk).await?;
        w.buyer.trader.wait_for(Action::FiatSentOk).await?;
        w.seller.trader.wait_for(Action::HoldInvoicePaymentSettled).await?;
        w.seller.trader.wait_for(Action::Rate).await?;
        w.buyer.trader.wait_for(Action::Rate).await?;
        w.book.until(offer.id, "success").await?;
        w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
    })
    .await
}

// spec: E3 K-44 T10
#[tokio::test]
async fn an_escrow_paid_after_lnd_was_away_is_seen() -> Result<()> {
    let mut w = World::open(Transport::V2).await?;
    let (offer, hold) = w.sale_invoiced().await?;

    w.net.lnd.kill(MOSTRO).await;
    w.net.lnd.start_node(MOSTRO).await?;
    w.seller.wallet.pay(&hold).await?;

    w.seller.trader.wait_for(Action::BuyerTookOrder).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentAccepted).await?;
    w.released(&offer).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: E3 C20 P5
#[tokio::test]
async fn an_escrow_paid_while_the_daemon_was_down_is_seen() -> Result<()> {
    let mut w = World::open(Transport::V2).await?;
    let (offer, hold) = w.sale_invoiced().await?;

    w.net.daemon.kill9().await?;
    w.seller.wallet.pay(&hold).await?;
    w.net.daemon.start().await?;

    w.seller.trader.wait_for(Action::BuyerTookOrder).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentAccepted).await?;
    w.released(&offer).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P9 FL-F8
#[tokio::test]
async fn a_payout_that_failed_because_lnd_died_costs_the_buyer_no_try() -> Result<()> {
    let (mut w, offer, hash) = left_dangling().await?;
    w.net.lnd.end_dangling(MOSTRO, hash)?;

    w.seller.trader.wait_for(Action::Rate).await?;
    w.buyer.trader.wait_for(Action::Rate).await?;
    let mut actions =
        w.buyer.trader.received().iter().map(|it| &it.message.get_inner_message_kind().action);
    ensure!(!actions.any(|it| *it == Action::PaymentFailed), "the buyer was told of a failure");
    w.book.until(offer.id, "success").await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P12 D13
#[tokio::test]
async fn a_payout_that_never_left_lnd_is_frozen_and_paid_after_the_remedy() -> Result<()> {
    let (mut w, offer, hash) = left_dangling().await?;

    w.buyer.trader.wait_for(Action::PaymentFailed).await?;
    w.net.lnd.end_dangling(MOSTRO, hash)?;

    w.seller.trader.wait_for(Action::Rate).await?;
    w.buyer.trader.wait_for(Action::Rate).await?;
    w.book.until(offer.id, "success").await?;
    let alarm = "ALARM: LND calls a payment in flight that no channel carries";
    ensure!(w.net.daemon.log().contains(alarm), "the operator was not called");
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

/// LND was killed after it had written a payout down, and before its HTLC was on its way.
async fn left_dangling() -> Result<(Box<World>, Offer, PaymentHash)> {
    let settings = settings()?.set("lightning", "payment_retries_interval", 1);
    let settings = settings.set("lightning", "payout_quiet_seconds", 1);
    let mut w = World::with(settings, Transport::V2).await?;
    let offer = w.sale_fiat_sent().await?;
    w.net.lnd.dangle_next(MOSTRO)?;
    w.seller.trader.release(offer.id).await?;
    let hash = PaymentHash(*w.destination.parse::<Bolt11Invoice>()?.payment_hash().as_ref());
    let mut changes = w.net.lnd.changes();
    changes.wait_for(|_| w.net.lnd.calls_about(Rpc::TrackPaymentV2, hash) > 0).await?;

    w.net.lnd.kill(MOSTRO).await;
    w.net.daemon.until_log("LND did not answer").await?;
    w.net.lnd.start_node(MOSTRO).await?;
    Ok((w, offer, hash))
}
