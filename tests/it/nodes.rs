//! What only real nodes can show.

mod deaths;
mod random;
mod trades;

use anyhow::{Result, ensure};
use devnet::{BUYER, Lightning as _, MOSTRO, Net, Transport};
use lnd_sim::{InvoiceState, Preimage};
use mostro_core::message::Action;
use mostro_core::order::Kind;
use regtest::{Config, RECOMMENDED, Regtest};

use crate::harness::{BUYER_GETS, Offer, World, settings};

/// With little patience: what LND does takes as long as it takes.
pub(crate) async fn world() -> Result<Box<World<Regtest>>> {
    let settings = settings()?.set("lightning", "payment_retries_interval", 1).set(
        "lightning",
        "payout_quiet_seconds",
        1,
    );
    let mut nodes = Config::new()?;
    nodes.mostro_arguments = RECOMMENDED.map(Into::into).into();
    let net = Box::pin(Net::start_on_nodes(nodes, settings)).await?;
    Box::pin(World::around(net, Transport::V2)).await
}

pub(crate) async fn purchase(w: &mut World<Regtest>) -> Result<Offer> {
    let offer = w.purchase_funded().await?;
    ensure!(offer.kind == Kind::Buy, "another order was made");
    let invoice = w.payout_invoice().await?;
    w.buyer.trader.add_invoice(offer.id, &invoice).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentAccepted).await?;
    w.seller.trader.wait_for(Action::BuyerTookOrder).await?;
    w.released(&offer).await?;
    Ok(offer)
}

/// SIGKILL. When this returns its channels are active again.
pub(crate) async fn lnd_dies_and_returns(w: &World<Regtest>) -> Result<()> {
    w.net.lnd.kill_node(MOSTRO).await?;
    w.net.lnd.start_node(MOSTRO).await
}

/// A sale whose buyer holds the payout.
pub(crate) async fn payout_in_flight(w: &mut World<Regtest>) -> Result<(Offer, Preimage)> {
    let preimage = Preimage([7; 32]);
    let hash = preimage.hash();
    let offer = w.sale_taken().await?;
    let invoice = w.buyer.wallet.hold(hash.0, u64::try_from(BUYER_GETS)?).await?;
    w.buyer.trader.add_invoice(offer.id, &invoice).await?;
    w.buyer.trader.wait_for(Action::WaitingSellerToPay).await?;
    let hold = w.hold_invoice().await?;
    w.seller.wallet.pay(&hold).await?;
    w.seller.trader.wait_for(Action::BuyerTookOrder).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentAccepted).await?;
    w.buyer.trader.fiat_sent(offer.id).await?;
    w.seller.trader.wait_for(Action::FiatSentOk).await?;
    w.seller.trader.release(offer.id).await?;
    let mut seen = 0;
    while !w.net.lnd.list_invoices(BUYER, InvoiceState::Accepted).await?.contains(&hash) {
        w.net.lnd.news(&mut seen).await?;
    }
    Ok((offer, preimage))
}

pub(crate) async fn is_paid(w: &mut World<Regtest>, offer: &Offer) -> Result<()> {
    w.buyer.trader.wait_for(Action::PurchaseCompleted).await?;
    w.seller.trader.wait_for(Action::Rate).await?;
    w.buyer.trader.wait_for(Action::Rate).await?;
    w.book.until(offer.id, "success").await?;
    Ok(())
}
