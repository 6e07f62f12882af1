//! The connection to LND fails: it is half-open, so that nothing arrives and nothing is closed; or it
//! is cut during an answer.

use anyhow::{Context as _, Result, ensure};
use devnet::{HUB, Lightning as _, Proxy, Settings, Transport};
use mostro_core::message::Action;
use std::time::Duration;

use crate::fixture::{BUYER_GETS, Fixture, SELLER_PAYS, fast_retries};

/// The fewest answers of LND in a trade: a release alone needs a lookup, a settle and a payment.
const LEAST_ANSWERS: u32 = 6;
/// Longer than keep-alive needs to detect a broken connection (30 s).
const TIMEOUT: Duration = Duration::from_mins(1);

// spec: E3 E2 P5 T10 T29
#[tokio::test]
async fn a_dead_connection_to_lnd_is_noticed_and_replaced() -> Result<()> {
    // Concurrently, as both wait for the same timers.
    futures::try_join!(
        async {
            disconnected_at_the_payment_of_the_escrow().await.context("when the escrow is paid")
        },
        async { disconnected_at_the_release().await.context("when it is released") },
    )?;
    Ok(())
}

// spec: E1 E2 P1 P5 INV-2
#[tokio::test]
async fn a_trade_succeeds_whichever_answer_of_lnd_is_lost() -> Result<()> {
    let (mut fixture, proxy) = behind_proxy().await?;
    let mut passing = 0;
    while loses_answers(&mut fixture, &proxy, passing)
        .await
        .with_context(|| format!("after {passing} answers\n{}", fixture.exchange.daemon.log()))?
    {
        passing += 1;
    }
    ensure!(passing > LEAST_ANSWERS, "only {passing} answers could be lost");
    fixture.exchange.end()
}

/// A sale in which an answer is lost after the take, and another one after the release, each after
/// `passing` others. Returns whether there were as many.
async fn loses_answers(fixture: &mut Fixture, proxy: &Proxy, passing: u32) -> Result<bool> {
    let offer = fixture.sale_taken().await?;
    let bolt11 = fixture.payout_invoice().await?;
    let dials = proxy.dials();
    proxy.lose_answer(passing);
    let hold = fixture.invoiced(&offer, &bolt11).await?;
    fixture.funded(&hold).await?;
    fixture.fiat_sent(&offer).await?;
    proxy.lose_answer(passing);
    fixture.seller.trader.release(offer.id).await?;
    fixture.is_success(&offer).await?;
    proxy.heal();
    let is_lost = proxy.dials() > dials;
    fixture.audit(offer.id, -SELLER_PAYS, BUYER_GETS).await?;
    Ok(is_lost)
}

async fn disconnected_at_the_payment_of_the_escrow() -> Result<()> {
    let (mut fixture, proxy) = behind_proxy().await?;
    let (offer, hold) = fixture.sale_invoiced().await?;

    proxy.swallow();
    fixture.seller.wallet.pay(&hold).await?;
    let dials = repair_after_deadline(&fixture, &proxy).await?;

    fixture.is_active().await?;
    ensure!(proxy.dials() > dials, "no new connection was opened");
    fixture.released(&offer).await?;
    fixture.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

async fn disconnected_at_the_release() -> Result<()> {
    let (mut fixture, proxy) = behind_proxy().await?;
    let offer = fixture.sale_fiat_sent().await?;

    proxy.swallow();
    fixture.seller.trader.release(offer.id).await?;
    let dials = repair_after_deadline(&fixture, &proxy).await?;

    fixture.seller.trader.wait_for(Action::HoldInvoicePaymentSettled).await?;
    ensure!(proxy.dials() > dials, "no new connection was opened");
    fixture.is_success(&offer).await?;
    fixture.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

/// A fixture whose daemon reaches LND through a proxy.
async fn behind_proxy() -> Result<(Box<Fixture>, Proxy)> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let proxy = Proxy::start(fixture.exchange.lnd.access(HUB)?.address).await?;
    fixture.exchange.daemon.sigterm().await?;
    let home = fixture.exchange.daemon.dir();
    let url = format!("https://{}", proxy.address());
    Settings::read(home)?.set("lightning", "lnd_grpc_host", url).write(home)?;
    fixture.exchange.daemon.start().await?;
    fixture.exchange.daemon.wait_ready().await?;
    fixture.seller.trader.set_patience(TIMEOUT);
    fixture.buyer.trader.set_patience(TIMEOUT);
    Ok((fixture, proxy))
}

/// Waits for the deadline of a call, then lets new connections through. Returns how many were opened
/// before.
async fn repair_after_deadline(fixture: &Fixture, proxy: &Proxy) -> Result<u64> {
    fixture.exchange.daemon.wait_for_log("LND did not answer").await?;
    let dials = proxy.dials();
    proxy.heal();
    Ok(dials)
}
