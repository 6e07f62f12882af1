//! LND was killed after it had registered a payout and before it had sent the HTLC. A real LND cannot be
//! killed at exactly that moment.

use anyhow::{Result, ensure};
use devnet::Transport;
use lightning_invoice::Bolt11Invoice;
use lnd_sim::{HUB, PaymentHash, Rpc};
use mostro_core::message::Action;

use crate::fixture::{BUYER_GETS, Fixture, Offer, SELLER_PAYS, fast_retries};

// spec: P9 FL-F8
#[tokio::test]
async fn a_payout_that_failed_because_lnd_died_counts_no_attempt() -> Result<()> {
    let (mut fixture, offer, hash) = dangling_payout().await?;
    fixture.exchange.lnd.end_dangling(HUB, hash)?;

    fixture.is_success(&offer).await?;
    let mut actions = fixture
        .buyer
        .trader
        .received()
        .iter()
        .map(|it| &it.message.get_inner_message_kind().action);
    ensure!(!actions.any(|it| *it == Action::PaymentFailed), "the buyer got a failure");
    fixture.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P12 D13
#[tokio::test]
async fn a_payout_that_never_left_lnd_is_frozen_and_paid_after_the_remedy() -> Result<()> {
    let (mut fixture, offer, hash) = dangling_payout().await?;

    fixture.buyer.trader.wait_for(Action::PaymentFailed).await?;
    fixture.exchange.lnd.end_dangling(HUB, hash)?;

    fixture.is_success(&offer).await?;
    let alarm = "ALARM: LND calls a payment in flight that no channel carries";
    ensure!(fixture.exchange.daemon.log().contains(alarm), "no alarm was logged");
    fixture.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

/// Makes a payout dangle, and restarts LND.
async fn dangling_payout() -> Result<(Box<Fixture>, Offer, PaymentHash)> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let offer = fixture.sale_fiat_sent().await?;
    fixture.exchange.lnd.dangle_next(HUB)?;
    fixture.seller.trader.release(offer.id).await?;
    let hash = PaymentHash(*fixture.destination.parse::<Bolt11Invoice>()?.payment_hash().as_ref());
    let mut changes = fixture.exchange.lnd.changes();
    changes.wait_for(|_| fixture.exchange.lnd.calls_about(Rpc::TrackPaymentV2, hash) > 0).await?;

    fixture.exchange.lnd.kill(HUB).await;
    fixture.exchange.daemon.wait_for_log("LND did not answer").await?;
    fixture.exchange.lnd.start_node(HUB).await?;
    Ok((fixture, offer, hash))
}
