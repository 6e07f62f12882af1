//! A payout that LND wrote down, never sent and never ends by itself, and its remedy.

use anyhow::{Context as _, Result, bail, ensure};
use devnet::{HUB, Lightning as _, Transport};
use fedimint_tonic_lnd::lnrpc::payment::PaymentStatus;

use super::{PATIENCE, payout, payouts, said, until};
use crate::harness::{BUYER_GETS, Offer, SELLER_PAYS, World, impatient};

const DANGLES: &str = "ALARM: LND calls a payment in flight that no channel carries";
pub(super) const GIVEN_BACK: &str = "ALARM: LND gave the escrow back";

/// With these LND signs nothing that it sends, for as long as a test lasts.
const SIGNS_NOTHING: [&str; 2] =
    ["--channel-commit-interval=1h", "--channel-commit-batch-size=1000"];

/// How a trade ended that was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Success,
    /// The same, after the payout dangled.
    Remedied,
    /// LND had given the seller's sats back: the order was canceled,
    Refunded,
    /// or fiat had been sent, and a person decides.
    GivenBack,
}

// spec: P12 INV-2
#[tokio::test]
async fn a_payout_that_lnd_never_sends_is_paid_after_the_remedy() -> Result<()> {
    let mut w = World::with(impatient()?, Transport::Nip44).await?;
    let sale = payout_unsigned(&mut w).await?;

    w.lnd_dies_and_returns().await?;

    ensure!(ended(&mut w, &sale).await? == End::Remedied, "it was paid without the remedy");
    w.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P12 C20 INV-2
#[tokio::test]
async fn an_lnd_restart_during_daemon_downtime_is_detected() -> Result<()> {
    let mut w = World::with(impatient()?, Transport::Nip44).await?;
    let sale = payout_unsigned(&mut w).await?;

    w.net.daemon.kill9().await?;
    w.lnd_dies_and_returns().await?;
    w.net.daemon.start().await?;

    ensure!(ended(&mut w, &sale).await? == End::Remedied, "it was paid without the remedy");
    w.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

/// A sale whose payout is in LND's books and in no channel.
async fn payout_unsigned(w: &mut World) -> Result<Offer> {
    let sale = w.sale_fiat_sent().await?;
    w.net.lnd.stop_node(HUB).await?;
    w.net.lnd.start_node_with(HUB, &SIGNS_NOTHING).await?;
    w.seller.trader.release(sale.id).await?;
    until(w, "LND has written an attempt down", async || {
        Ok(payout(w).await?.is_some_and(|payment| !payment.htlcs.is_empty()))
    })
    .await?;
    Ok(sale)
}

/// Waits for the success of a sale that was released.
pub(super) async fn is_paid(w: &mut World, sale: &Offer) -> Result<()> {
    let end = ended(w, sale).await?;
    ensure!(matches!(end, End::Success | End::Remedied), "it ended as {end:?}");
    Ok(())
}

/// Waits for the end of a sale that was released, and does what it asks a person to do.
pub(super) async fn ended(w: &mut World, sale: &Offer) -> Result<End> {
    w.seller.trader.set_patience(PATIENCE);
    w.buyer.trader.set_patience(PATIENCE);
    until(w, "paid, or an alarm", async || {
        let payment = payout(w).await?;
        let is_paid = payment.is_some_and(|payment| payment.status() == PaymentStatus::Succeeded);
        Ok(is_paid || said(w, sale, DANGLES).is_some() || said(w, sale, GIVEN_BACK).is_some())
    })
    .await?;
    let end = match (said(w, sale, DANGLES), said(w, sale, GIVEN_BACK)) {
        (None, None) => End::Success,
        (Some(_), None) => {
            remedy(w, sale).await?;
            End::Remedied
        }
        (None, Some(_)) => return Ok(End::GivenBack),
        (Some(_), Some(_)) => bail!("both alarms were raised"),
    };
    w.is_success(sale).await?;
    Ok(end)
}

/// What the manual tells operators to do, step by step.
async fn remedy(w: &World, sale: &Offer) -> Result<()> {
    let evidence = said(w, sale, "no channel carries it").context("no evidence is logged")?;
    let (_, channel) = evidence.split_once("ln.channel=").context("no channel is named")?;
    let channel = channel.split_whitespace().next().context("no channel is named")?.parse()?;
    let payments = payouts(w).await?.len();

    let like_it = w.net.lnd.close_channel(HUB, channel).await?;
    w.net.lnd.open_channel(like_it).await?;
    w.net.lnd.stop_node(HUB).await?;
    w.net.lnd.start_node(HUB).await?;

    ensure!(payouts(w).await?.len() == payments, "another payment was begun");
    Ok(())
}
