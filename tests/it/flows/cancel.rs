//! Cancels before the trade is active.

use anyhow::Result;
use mostro_core::message::Action;
use mostro_core::order::Kind;

use crate::fixture::{Fixture, on_both_transports, receives, settings, shows};

// spec: FL-C1 T21
#[tokio::test]
async fn a_maker_cancels_a_pending_order() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.offered(Kind::Sell).await?;

        let sent = fixture.seller.trader.cancel(offer.id).await?;

        receives(&mut fixture.seller, offer.message(Action::Canceled).answering(&sent)).await?;
        shows(fixture, &offer, "canceled").await?;
        let take = fixture.buyer.trader.take_sell(offer.id, None).await?;
        receives(&mut fixture.buyer, offer.refused(&take, "invalid_order_status")).await?;
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-C1
#[tokio::test]
async fn only_the_maker_can_cancel_a_pending_order() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.offered(Kind::Sell).await?;

        let sent = fixture.buyer.trader.cancel(offer.id).await?;

        receives(&mut fixture.buyer, offer.refused(&sent, "is_not_your_order")).await?;
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-C3 T18
#[tokio::test]
async fn the_maker_cancels_a_sale_that_waits_for_an_invoice() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.sale_taken().await?;

        let sent = fixture.seller.trader.cancel(offer.id).await?;

        receives(&mut fixture.seller, offer.message(Action::Canceled).answering(&sent)).await?;
        receives(&mut fixture.buyer, offer.message(Action::Canceled)).await?;
        shows(fixture, &offer, "canceled").await?;
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-C3 T14
#[tokio::test]
async fn the_maker_cancels_a_sale_whose_hold_invoice_is_unpaid() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let (offer, _) = fixture.sale_invoiced().await?;

        let sent = fixture.seller.trader.cancel(offer.id).await?;

        receives(&mut fixture.seller, offer.message(Action::Canceled).answering(&sent)).await?;
        receives(&mut fixture.buyer, offer.message(Action::Canceled)).await?;
        shows(fixture, &offer, "canceled").await?;
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-C3 T18
#[tokio::test]
async fn the_maker_cancels_a_purchase_and_the_seller_is_refunded() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.purchase_funded().await?;

        let sent = fixture.buyer.trader.cancel(offer.id).await?;

        receives(&mut fixture.buyer, offer.message(Action::Canceled).answering(&sent)).await?;
        receives(&mut fixture.seller, offer.message(Action::Canceled)).await?;
        shows(fixture, &offer, "canceled").await?;
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-C4 T17
#[tokio::test]
async fn a_taker_cancels_a_sale_and_it_is_pending_again() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.sale_taken().await?;

        let sent = fixture.buyer.trader.cancel(offer.id).await?;

        receives(&mut fixture.buyer, offer.message(Action::Canceled).answering(&sent)).await?;
        let back = offer.back_in_the_book(fixture)?;
        receives(&mut fixture.seller, offer.message(Action::NewOrder).with(back)).await?;
        shows(fixture, &offer, "pending").await?;
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-C4 T13
#[tokio::test]
async fn a_taker_cancels_a_purchase_whose_hold_invoice_is_unpaid() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let (offer, _) = fixture.purchase_taken().await?;

        let sent = fixture.seller.trader.cancel(offer.id).await?;

        receives(&mut fixture.seller, offer.message(Action::Canceled).answering(&sent)).await?;
        let back = offer.back_in_the_book(fixture)?;
        receives(&mut fixture.buyer, offer.message(Action::NewOrder).with(back)).await?;
        shows(fixture, &offer, "pending").await?;
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-C4 T17
#[tokio::test]
async fn a_taker_cancels_a_purchase_and_is_refunded() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.purchase_funded().await?;

        let sent = fixture.seller.trader.cancel(offer.id).await?;

        receives(&mut fixture.seller, offer.message(Action::Canceled).answering(&sent)).await?;
        let back = offer.back_in_the_book(fixture)?;
        receives(&mut fixture.buyer, offer.message(Action::NewOrder).with(back)).await?;
        shows(fixture, &offer, "pending").await?;
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}
