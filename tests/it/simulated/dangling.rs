//! LND was killed after it had written a payout down, and before its HTLC was on its way. A real one
//! can be killed, but not at that moment.

use anyhow::{Result, ensure};
use devnet::Transport;
use lightning_invoice::Bolt11Invoice;
use lnd_sim::{HUB, PaymentHash, Rpc};
use mostro_core::message::Action;

use crate::harness::{BUYER_GETS, Offer, SELLER_PAYS, World, impatient};

// spec: P9 FL-F8
#[tokio::test]
async fn a_payout_that_failed_because_lnd_died_costs_the_buyer_no_try() -> Result<()> {
    let (mut w, offer, hash) = left_dangling().await?;
    w.net.lnd.end_dangling(HUB, hash)?;

    w.is_success(&offer).await?;
    let mut actions =
        w.buyer.trader.received().iter().map(|it| &it.message.get_inner_message_kind().action);
    ensure!(!actions.any(|it| *it == Action::PaymentFailed), "the buyer was told of a failure");
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P12 D13
#[tokio::test]
async fn a_payout_that_never_left_lnd_is_frozen_and_paid_after_the_remedy() -> Result<()> {
    let (mut w, offer, hash) = left_dangling().await?;

    w.buyer.trader.wait_for(Action::PaymentFailed).await?;
    w.net.lnd.end_dangling(HUB, hash)?;

    w.is_success(&offer).await?;
    let alarm = "ALARM: LND calls a payment in flight that no channel carries";
    ensure!(w.net.daemon.log().contains(alarm), "the operator was not called");
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

/// The payout dangles, and LND is back.
async fn left_dangling() -> Result<(Box<World>, Offer, PaymentHash)> {
    let mut w = World::with(impatient()?, Transport::Nip44).await?;
    let offer = w.sale_fiat_sent().await?;
    w.net.lnd.dangle_next(HUB)?;
    w.seller.trader.release(offer.id).await?;
    let hash = PaymentHash(*w.destination.parse::<Bolt11Invoice>()?.payment_hash().as_ref());
    let mut changes = w.net.lnd.changes();
    changes.wait_for(|_| w.net.lnd.calls_about(Rpc::TrackPaymentV2, hash) > 0).await?;

    w.net.lnd.kill(HUB).await;
    w.net.daemon.says("LND did not answer").await?;
    w.net.lnd.start_node(HUB).await?;
    Ok((w, offer, hash))
}
