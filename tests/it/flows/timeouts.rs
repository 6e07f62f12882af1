//! FL-T1, FL-T2, FL-T3: nobody waits for ever.

use anyhow::Result;
use devnet::Settings;
use mostro_core::message::Action;
use mostro_core::order::Kind;
use nostr_sdk::Timestamp;

use crate::fixture::{Fixture, Offer, hears, on_both_transports, order, settings, shows};

// spec: FL-T1 T19
#[tokio::test]
async fn a_taking_buyer_who_sends_no_invoice_loses_the_order() -> Result<()> {
    on_both_transports(hurried()?, async |fixture: &mut Fixture| {
        let offer = fixture.sale_taken().await?;

        let back = offer.back_in_the_book(fixture)?;
        hears(&mut fixture.seller, offer.told(Action::NewOrder).with(back)).await?;
        hears(&mut fixture.buyer, offer.told(Action::Canceled)).await?;
        shows(fixture, &offer, "pending").await?;
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-T1 T15
#[tokio::test]
async fn a_taking_seller_who_does_not_pay_loses_the_order() -> Result<()> {
    on_both_transports(hurried()?, async |fixture: &mut Fixture| {
        let (offer, _) = fixture.purchase_taken().await?;

        let back = offer.back_in_the_book(fixture)?;
        hears(&mut fixture.buyer, offer.told(Action::NewOrder).with(back)).await?;
        hears(&mut fixture.seller, offer.told(Action::Canceled)).await?;
        shows(fixture, &offer, "pending").await?;
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-T2 T16
#[tokio::test]
async fn a_sale_ends_when_its_maker_does_not_pay() -> Result<()> {
    on_both_transports(hurried()?, async |fixture: &mut Fixture| {
        let (offer, _) = fixture.sale_invoiced().await?;
        ends_for_both(fixture, &offer).await
    })
    .await
}

// spec: FL-T2 T20
#[tokio::test]
async fn a_purchase_ends_when_its_maker_gives_no_invoice_and_the_seller_is_refunded() -> Result<()>
{
    on_both_transports(hurried()?, async |fixture: &mut Fixture| {
        let offer = fixture.purchase_funded().await?;
        ends_for_both(fixture, &offer).await
    })
    .await
}

// spec: FL-T3 T23 K-12
#[tokio::test]
async fn an_order_that_nobody_takes_expires_and_its_maker_is_told() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let mut brief = order(Kind::Sell);
        brief.expires_at = Some(i64::try_from(Timestamp::now().as_secs())? + BRIEF);
        let offer = fixture.offered_as(brief).await?;

        hears(&mut fixture.seller, offer.told(Action::Canceled)).await?;
        shows(fixture, &offer, "canceled").await?;
        let take = fixture.buyer.trader.take_sell(offer.id, None).await?;
        hears(&mut fixture.buyer, offer.refused(&take, "invalid_order_status")).await?;
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

/// Seconds that an order of which nobody wants to hear stands in the book.
const BRIEF: i64 = 3;

/// Everybody has 3 s for their duty.
fn hurried() -> Result<Settings> {
    Ok(settings()?.set("mostro", "expiration_seconds", 3))
}

async fn ends_for_both(fixture: &mut Fixture, offer: &Offer) -> Result<()> {
    hears(&mut fixture.seller, offer.told(Action::Canceled)).await?;
    hears(&mut fixture.buyer, offer.told(Action::Canceled)).await?;
    shows(fixture, offer, "canceled").await?;
    fixture.audit(offer.id, 0, 0).await
}
