//! A payout that LND wrote down, never sent and never ends by itself, and its remedy.

use anyhow::{Context as _, Result, bail, ensure};
use devnet::{HUB, Lightning as _, Transport};
use fedimint_tonic_lnd::lnrpc::payment::PaymentStatus;

use super::{TIMEOUT, payout, payouts, said, until};
use crate::fixture::{BUYER_GETS, Fixture, Offer, SELLER_PAYS, impatient};

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
    let mut fixture = Fixture::with(impatient()?, Transport::Nip44).await?;
    let sale = payout_unsigned(&mut fixture).await?;

    fixture.lnd_dies_and_returns().await?;

    ensure!(ended(&mut fixture, &sale).await? == End::Remedied, "it was paid without the remedy");
    fixture.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P12 C20 INV-2
#[tokio::test]
async fn an_lnd_restart_during_daemon_downtime_is_detected() -> Result<()> {
    let mut fixture = Fixture::with(impatient()?, Transport::Nip44).await?;
    let sale = payout_unsigned(&mut fixture).await?;

    fixture.exchange.daemon.kill().await?;
    fixture.lnd_dies_and_returns().await?;
    fixture.exchange.daemon.start().await?;

    ensure!(ended(&mut fixture, &sale).await? == End::Remedied, "it was paid without the remedy");
    fixture.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

/// A sale whose payout is in LND's books and in no channel.
async fn payout_unsigned(fixture: &mut Fixture) -> Result<Offer> {
    let sale = fixture.sale_fiat_sent().await?;
    fixture.exchange.lnd.stop_node(HUB).await?;
    fixture.exchange.lnd.start_node_with(HUB, &SIGNS_NOTHING).await?;
    fixture.seller.trader.release(sale.id).await?;
    until(fixture, "LND has written an attempt down", async || {
        Ok(payout(fixture).await?.is_some_and(|payment| !payment.htlcs.is_empty()))
    })
    .await?;
    Ok(sale)
}

/// Waits for the success of a sale that was released.
pub(super) async fn is_paid(fixture: &mut Fixture, sale: &Offer) -> Result<()> {
    let end = ended(fixture, sale).await?;
    ensure!(matches!(end, End::Success | End::Remedied), "it ended as {end:?}");
    Ok(())
}

/// Waits for the end of a sale that was released, and does what it asks a person to do.
pub(super) async fn ended(fixture: &mut Fixture, sale: &Offer) -> Result<End> {
    fixture.seller.trader.set_patience(TIMEOUT);
    fixture.buyer.trader.set_patience(TIMEOUT);
    until(fixture, "paid, or an alarm", async || {
        let payment = payout(fixture).await?;
        let is_paid = payment.is_some_and(|payment| payment.status() == PaymentStatus::Succeeded);
        Ok(is_paid
            || said(fixture, sale, DANGLES).is_some()
            || said(fixture, sale, GIVEN_BACK).is_some())
    })
    .await?;
    let end = match (said(fixture, sale, DANGLES), said(fixture, sale, GIVEN_BACK)) {
        (None, None) => End::Success,
        (Some(_), None) => {
            remedy(fixture, sale).await?;
            End::Remedied
        }
        (None, Some(_)) => return Ok(End::GivenBack),
        (Some(_), Some(_)) => bail!("both alarms were raised"),
    };
    fixture.is_success(sale).await?;
    Ok(end)
}

/// What the manual tells operators to do, step by step.
async fn remedy(fixture: &Fixture, sale: &Offer) -> Result<()> {
    let evidence = said(fixture, sale, "no channel carries it").context("no evidence is logged")?;
    let (_, channel) = evidence.split_once("ln.channel=").context("no channel is named")?;
    let channel = channel.split_whitespace().next().context("no channel is named")?.parse()?;
    let payments = payouts(fixture).await?.len();

    let same_balances = fixture.exchange.lnd.close_channel(HUB, channel).await?;
    fixture.exchange.lnd.open_channel(same_balances).await?;
    fixture.exchange.lnd.stop_node(HUB).await?;
    fixture.exchange.lnd.start_node(HUB).await?;

    ensure!(payouts(fixture).await?.len() == payments, "another payment was begun");
    Ok(())
}
