//! The link to LND fails: it goes dead without being closed, so that nobody is told and nothing
//! arrives; or it breaks under an answer.

use anyhow::{Context as _, Result, ensure};
use devnet::{HUB, Lightning as _, Proxy, Settings, Transport};
use mostro_core::message::Action;
use std::time::Duration;

use crate::harness::{BUYER_GETS, SELLER_PAYS, World, impatient};

/// A release takes LND to be looked at, asked to settle, and asked to pay.
const LEAST_ANSWERS: u32 = 6;
/// Keep-alive takes 30 s to notice.
const PATIENCE: Duration = Duration::from_mins(1);

// spec: E3 E2 P5 T10 T29
#[tokio::test]
async fn a_dead_link_to_lnd_is_noticed_and_the_trade_goes_on_over_another() -> Result<()> {
    // Each waits for the same timers: side by side.
    futures::try_join!(
        async { dead_when_the_escrow_is_paid().await.context("when the escrow is paid") },
        async { dead_when_it_is_released().await.context("when it is released") },
    )?;
    Ok(())
}

// spec: E1 E2 P1 P5 INV-2
#[tokio::test]
async fn whichever_answer_of_lnd_is_lost_the_trade_ends_well() -> Result<()> {
    let (mut w, proxy) = behind_proxy().await?;
    let mut passing = 0;
    while loses_answers(&mut w, &proxy, passing)
        .await
        .with_context(|| format!("after {passing} answers\n{}", w.net.daemon.log()))?
    {
        passing += 1;
    }
    ensure!(passing > LEAST_ANSWERS, "only {passing} answers could be lost");
    w.net.end()
}

/// A sale in which an answer is lost around the hold invoice, and another around the release, each
/// after so many that arrive. Whether there were so many.
async fn loses_answers(w: &mut World, proxy: &Proxy, passing: u32) -> Result<bool> {
    let offer = w.sale_taken().await?;
    let bolt11 = w.payout_invoice().await?;
    let dials = proxy.dials();
    proxy.lose_answer(passing);
    let hold = w.invoiced(&offer, &bolt11).await?;
    w.funded(&hold).await?;
    w.fiat_sent(&offer).await?;
    proxy.lose_answer(passing);
    w.seller.trader.release(offer.id).await?;
    w.is_success(&offer).await?;
    proxy.heal();
    let is_lost = proxy.dials() > dials;
    w.audit(offer.id, -SELLER_PAYS, BUYER_GETS).await?;
    Ok(is_lost)
}

async fn dead_when_the_escrow_is_paid() -> Result<()> {
    let (mut w, proxy) = behind_proxy().await?;
    let (offer, hold) = w.sale_invoiced().await?;

    proxy.swallow();
    w.seller.wallet.pay(&hold).await?;
    let dials = heals_once_noticed(&w, &proxy).await?;

    w.is_active().await?;
    ensure!(proxy.dials() > dials, "the old connection came to life again");
    w.released(&offer).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

async fn dead_when_it_is_released() -> Result<()> {
    let (mut w, proxy) = behind_proxy().await?;
    let offer = w.sale_fiat_sent().await?;

    proxy.swallow();
    w.seller.trader.release(offer.id).await?;
    let dials = heals_once_noticed(&w, &proxy).await?;

    w.seller.trader.wait_for(Action::HoldInvoicePaymentSettled).await?;
    ensure!(proxy.dials() > dials, "the old connection came to life again");
    w.is_success(&offer).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

/// A world whose daemon reaches LND through a proxy only.
async fn behind_proxy() -> Result<(Box<World>, Proxy)> {
    let mut w = World::with(impatient()?, Transport::Nip44).await?;
    let proxy = Proxy::start(w.net.lnd.access(HUB)?.address).await?;
    w.net.daemon.sigterm().await?;
    let home = w.net.daemon.dir();
    let url = format!("https://{}", proxy.address());
    Settings::read(home)?.set("lightning", "lnd_grpc_host", url).write(home)?;
    w.net.daemon.start().await?;
    w.net.daemon.wait_ready().await?;
    w.seller.trader.set_patience(PATIENCE);
    w.buyer.trader.set_patience(PATIENCE);
    Ok((w, proxy))
}

/// A call's deadline passes; then the way is free for who dials anew. How often that was before.
async fn heals_once_noticed(w: &World, proxy: &Proxy) -> Result<u64> {
    w.net.daemon.says("LND did not answer").await?;
    let dials = proxy.dials();
    proxy.heal();
    Ok(dials)
}
