//! A payout that LND registered, never sent and never ends by itself, and its remedy.

use anyhow::{Context as _, Result, bail, ensure};
use devnet::{HUB, Lightning as _, Transport};
use fedimint_tonic_lnd::lnrpc::payment::PaymentStatus;

use super::{TIMEOUT, log_line, payout, payouts, until};
use crate::fixture::{BUYER_GETS, Fixture, Offer, SELLER_PAYS, fast_retries};

const DANGLES: &str = "ALARM: LND calls a payment in flight that no channel carries";
pub(super) const GIVEN_BACK: &str = "ALARM: LND gave the escrow back";

/// With these arguments LND signs no channel update for longer than a test lasts, so it sends no HTLC.
const SIGNS_NOTHING: [&str; 2] =
    ["--channel-commit-interval=1h", "--channel-commit-batch-size=1000"];

/// The end of a released trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Success,
    /// The same, after the payout dangled.
    Remedied,
    /// LND had refunded the seller, and the order was canceled.
    Refunded,
    /// LND had refunded the seller after fiat was sent, and the order is frozen.
    GivenBack,
}

// spec: P12 INV-2
#[tokio::test]
async fn a_payout_that_lnd_never_sends_is_paid_after_the_remedy() -> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let sale = payout_unsigned(&mut fixture).await?;

    fixture.kill_and_restart_lnd().await?;

    ensure!(ended(&mut fixture, &sale).await? == End::Remedied, "it was paid without the remedy");
    fixture.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P12 C20 INV-2
#[tokio::test]
async fn an_lnd_restart_during_daemon_downtime_is_detected() -> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let sale = payout_unsigned(&mut fixture).await?;

    fixture.exchange.daemon.kill().await?;
    fixture.kill_and_restart_lnd().await?;
    fixture.exchange.daemon.start().await?;

    ensure!(ended(&mut fixture, &sale).await? == End::Remedied, "it was paid without the remedy");
    fixture.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

/// A sale whose payout is registered at LND and in no channel.
async fn payout_unsigned(fixture: &mut Fixture) -> Result<Offer> {
    let sale = fixture.sale_fiat_sent().await?;
    fixture.exchange.lnd.stop_node(HUB).await?;
    fixture.exchange.lnd.start_node_with(HUB, &SIGNS_NOTHING).await?;
    fixture.seller.trader.release(sale.id).await?;
    until(fixture, "LND has registered an attempt", async || {
        Ok(payout(fixture).await?.is_some_and(|payment| !payment.htlcs.is_empty()))
    })
    .await?;
    Ok(sale)
}

/// Waits for the success of a released sale.
pub(super) async fn is_paid(fixture: &mut Fixture, sale: &Offer) -> Result<()> {
    let end = ended(fixture, sale).await?;
    ensure!(matches!(end, End::Success | End::Remedied), "it ended as {end:?}");
    Ok(())
}

/// Waits for the end of a released sale, and applies the remedy if the payout dangles.
pub(super) async fn ended(fixture: &mut Fixture, sale: &Offer) -> Result<End> {
    fixture.seller.trader.set_patience(TIMEOUT);
    fixture.buyer.trader.set_patience(TIMEOUT);
    until(fixture, "paid, or an alarm", async || {
        let payment = payout(fixture).await?;
        let is_paid = payment.is_some_and(|payment| payment.status() == PaymentStatus::Succeeded);
        Ok(is_paid
            || log_line(fixture, sale, DANGLES).is_some()
            || log_line(fixture, sale, GIVEN_BACK).is_some())
    })
    .await?;
    let end = match (log_line(fixture, sale, DANGLES), log_line(fixture, sale, GIVEN_BACK)) {
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

/// The remedy in the manual, step by step.
async fn remedy(fixture: &Fixture, sale: &Offer) -> Result<()> {
    let evidence =
        log_line(fixture, sale, "no channel carries it").context("no evidence is logged")?;
    let (_, channel) = evidence.split_once("ln.channel=").context("no channel is named")?;
    let channel = channel.split_whitespace().next().context("no channel is named")?.parse()?;
    let payments = payouts(fixture).await?.len();

    let same_balances = fixture.exchange.lnd.close_channel(HUB, channel).await?;
    fixture.exchange.lnd.open_channel(same_balances).await?;
    fixture.exchange.lnd.stop_node(HUB).await?;
    fixture.exchange.lnd.start_node(HUB).await?;

    ensure!(payouts(fixture).await?.len() == payments, "another payment was started");
    Ok(())
}
