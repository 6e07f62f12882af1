//! FL-C1, FL-C3, FL-C4: the ways out before fiat can be sent.

use anyhow::Result;
use mostro_core::message::Action;
use mostro_core::order::Kind;

use crate::harness::{World, hears, on_both_transports, settings, shows};

// spec: FL-C1 T21
#[tokio::test]
async fn a_maker_takes_an_offer_back() -> Result<()> {
    on_both_transports(settings()?, async |w: &mut World| {
        let offer = w.offered(Kind::Sell).await?;

        let sent = w.seller.trader.cancel(offer.id).await?;

        hears(&mut w.seller, offer.told(Action::Canceled).answering(&sent)).await?;
        shows(w, &offer, "canceled").await?;
        let take = w.buyer.trader.take_sell(offer.id, None).await?;
        hears(&mut w.buyer, offer.refused(&take, "invalid_order_status")).await?;
        w.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-C1
#[tokio::test]
async fn only_its_maker_takes_an_offer_back() -> Result<()> {
    on_both_transports(settings()?, async |w: &mut World| {
        let offer = w.offered(Kind::Sell).await?;

        let sent = w.buyer.trader.cancel(offer.id).await?;

        hears(&mut w.buyer, offer.refused(&sent, "is_not_your_order")).await?;
        w.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-C3 T18
#[tokio::test]
async fn the_maker_cancels_a_sale_that_waits_for_an_invoice() -> Result<()> {
    on_both_transports(settings()?, async |w: &mut World| {
        let offer = w.sale_taken().await?;

        let sent = w.seller.trader.cancel(offer.id).await?;

        hears(&mut w.seller, offer.told(Action::Canceled).answering(&sent)).await?;
        hears(&mut w.buyer, offer.told(Action::Canceled)).await?;
        shows(w, &offer, "canceled").await?;
        w.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-C3 T14
#[tokio::test]
async fn the_maker_cancels_a_sale_whose_hold_invoice_nobody_paid() -> Result<()> {
    on_both_transports(settings()?, async |w: &mut World| {
        let (offer, _) = w.sale_invoiced().await?;

        let sent = w.seller.trader.cancel(offer.id).await?;

        hears(&mut w.seller, offer.told(Action::Canceled).answering(&sent)).await?;
        hears(&mut w.buyer, offer.told(Action::Canceled)).await?;
        shows(w, &offer, "canceled").await?;
        w.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-C3 T18
#[tokio::test]
async fn the_maker_cancels_a_purchase_and_the_seller_is_refunded() -> Result<()> {
    on_both_transports(settings()?, async |w: &mut World| {
        let offer = w.purchase_funded().await?;

        let sent = w.buyer.trader.cancel(offer.id).await?;

        hears(&mut w.buyer, offer.told(Action::Canceled).answering(&sent)).await?;
        hears(&mut w.seller, offer.told(Action::Canceled)).await?;
        shows(w, &offer, "canceled").await?;
        w.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-C4 T17
#[tokio::test]
async fn the_taker_leaves_a_sale_and_it_is_back_in_the_book() -> Result<()> {
    on_both_transports(settings()?, async |w: &mut World| {
        let offer = w.sale_taken().await?;

        let sent = w.buyer.trader.cancel(offer.id).await?;

        hears(&mut w.buyer, offer.told(Action::Canceled).answering(&sent)).await?;
        let back = offer.back_in_the_book(w)?;
        hears(&mut w.seller, offer.told(Action::NewOrder).with(back)).await?;
        shows(w, &offer, "pending").await?;
        w.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-C4 T13
#[tokio::test]
async fn the_taker_leaves_a_purchase_whose_hold_invoice_nobody_paid() -> Result<()> {
    on_both_transports(settings()?, async |w: &mut World| {
        let (offer, _) = w.purchase_taken().await?;

        let sent = w.seller.trader.cancel(offer.id).await?;

        hears(&mut w.seller, offer.told(Action::Canceled).answering(&sent)).await?;
        let back = offer.back_in_the_book(w)?;
        hears(&mut w.buyer, offer.told(Action::NewOrder).with(back)).await?;
        shows(w, &offer, "pending").await?;
        w.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-C4 T17
#[tokio::test]
async fn the_taker_leaves_a_purchase_and_is_refunded() -> Result<()> {
    on_both_transports(settings()?, async |w: &mut World| {
        let offer = w.purchase_funded().await?;

        let sent = w.seller.trader.cancel(offer.id).await?;

        hears(&mut w.seller, offer.told(Action::Canceled).answering(&sent)).await?;
        let back = offer.back_in_the_book(w)?;
        hears(&mut w.buyer, offer.told(Action::NewOrder).with(back)).await?;
        shows(w, &offer, "pending").await?;
        w.audit(offer.id, 0, 0).await
    })
    .await
}
