//! Timeouts of takes and of pending orders.

use anyhow::Result;
use devnet::Settings;
use mostro_core::message::Action;
use mostro_core::order::Kind;
use nostr_sdk::Timestamp;

use crate::fixture::{Fixture, Offer, on_both_transports, order, receives, settings, shows};

// spec: FL-T1 T19
#[tokio::test]
async fn a_taking_buyer_who_sends_no_invoice_loses_the_order() -> Result<()> {
    on_both_transports(short_timeouts()?, async |fixture: &mut Fixture| {
        let offer = fixture.sale_taken().await?;

        let back = offer.back_in_the_book(fixture)?;
        receives(&mut fixture.seller, offer.message(Action::NewOrder).with(back)).await?;
        receives(&mut fixture.buyer, offer.message(Action::Canceled)).await?;
        shows(fixture, &offer, "pending").await?;
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-T1 T15
#[tokio::test]
async fn a_taking_seller_who_does_not_pay_loses_the_order() -> Result<()> {
    on_both_transports(short_timeouts()?, async |fixture: &mut Fixture| {
        let (offer, _) = fixture.purchase_taken().await?;

        let back = offer.back_in_the_book(fixture)?;
        receives(&mut fixture.buyer, offer.message(Action::NewOrder).with(back)).await?;
        receives(&mut fixture.seller, offer.message(Action::Canceled)).await?;
        shows(fixture, &offer, "pending").await?;
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-T2 T16
#[tokio::test]
async fn a_sale_ends_when_its_maker_does_not_pay() -> Result<()> {
    on_both_transports(short_timeouts()?, async |fixture: &mut Fixture| {
        let (offer, _) = fixture.sale_invoiced().await?;
        ends_for_both(fixture, &offer).await
    })
    .await
}

// spec: FL-T2 T20
#[tokio::test]
async fn a_purchase_ends_when_its_maker_gives_no_invoice_and_the_seller_is_refunded() -> Result<()>
{
    on_both_transports(short_timeouts()?, async |fixture: &mut Fixture| {
        let offer = fixture.purchase_funded().await?;
        ends_for_both(fixture, &offer).await
    })
    .await
}

// spec: FL-T3 T23 K-12
#[tokio::test]
async fn an_order_without_a_taker_expires_and_its_maker_is_notified() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let mut brief = order(Kind::Sell);
        brief.expires_at = Some(i64::try_from(Timestamp::now().as_secs())? + BRIEF);
        let offer = fixture.offered_as(brief).await?;

        receives(&mut fixture.seller, offer.message(Action::Canceled)).await?;
        shows(fixture, &offer, "canceled").await?;
        let take = fixture.buyer.trader.take_sell(offer.id, None).await?;
        receives(&mut fixture.buyer, offer.refused(&take, "invalid_order_status")).await?;
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

/// Seconds after which an order that nobody takes expires.
const BRIEF: i64 = 3;

/// Settings with 3 s for each party's duty.
fn short_timeouts() -> Result<Settings> {
    Ok(settings()?.set("mostro", "expiration_seconds", 3))
}

async fn ends_for_both(fixture: &mut Fixture, offer: &Offer) -> Result<()> {
    receives(&mut fixture.seller, offer.message(Action::Canceled)).await?;
    receives(&mut fixture.buyer, offer.message(Action::Canceled)).await?;
    shows(fixture, offer, "canceled").await?;
    fixture.audit(offer.id, 0, 0).await
}
