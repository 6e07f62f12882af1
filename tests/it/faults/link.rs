//! The link to LND goes dead without being closed: nobody is told, and nothing arrives.

use anyhow::{Context as _, Result, ensure};
use devnet::{Lightning as _, MOSTRO, Proxy, Settings, Transport};
use mostro_core::message::Action;
use std::time::Duration;

use crate::harness::{BUYER_GETS, SELLER_PAYS, World};

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
    let mut w = World::open(Transport::V2).await?;
    let proxy = Proxy::start(w.net.lnd.access(MOSTRO)?.address).await?;
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
