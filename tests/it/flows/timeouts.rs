//! FL-T1, FL-T2, FL-T3: nobody waits for ever.

use anyhow::Result;
use devnet::Settings;
use mostro_core::message::Action;
use mostro_core::order::Kind;
use nostr_sdk::Timestamp;

use crate::harness::{Offer, World, hears, on_both_transports, order, settings, shows};

// spec: FL-T1 T19
#[tokio::test]
async fn a_buyer_who_took_and_gives_no_invoice_is_sent_away() -> Result<()> {
    on_both_transports(hurried()?, async |w: &mut World| {
        let offer = w.sale_taken().await?;

        let back = offer.back_in_the_book(w)?;
        hears(&mut w.seller, offer.told(Action::NewOrder).with(back)).await?;
        hears(&mut w.buyer, offer.told(Action::Canceled)).await?;
        shows(w, &offer, "pending").await?;
        w.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-T1 T15
#[tokio::test]
async fn a_seller_who_took_and_does_not_pay_is_sent_away() -> Result<()> {
    on_both_transports(hurried()?, async |w: &mut World| {
        let (offer, _) = w.purchase_taken().await?;

        let back = offer.back_in_the_book(w)?;
        hears(&mut w.buyer, offer.told(Action::NewOrder).with(back)).await?;
        hears(&mut w.seller, offer.told(Action::Canceled)).await?;
        shows(w, &offer, "pending").await?;
        w.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-T2 T16
#[tokio::test]
async fn a_sale_ends_when_its_maker_does_not_pay() -> Result<()> {
    on_both_transports(hurried()?, async |w: &mut World| {
        let (offer, _) = w.sale_invoiced().await?;
        ends_for_both(w, &offer).await
    })
    .await
}

// spec: FL-T2 T20
#[tokio::test]
async fn a_purchase_ends_when_its_maker_gives_no_invoice_and_the_seller_is_refunded() -> Result<()>
{
    on_both_transports(hurried()?, async |w: &mut World| {
        let offer = w.purchase_funded().await?;
        ends_for_both(w, &offer).await
    })
    .await
}

// spec: FL-T3 T23 K-12
#[tokio::test]
async fn an_offer_nobody_takes_leaves_the_book_and_its_maker_is_told() -> Result<()> {
    on_both_transports(settings()?, async |w: &mut World| {
        let mut brief = order(Kind::Sell);
        brief.expires_at = Some(i64::try_from(Timestamp::now().as_secs())? + BRIEF);
        let offer = w.offered_as(brief).await?;

        hears(&mut w.seller, offer.told(Action::Canceled)).await?;
        shows(w, &offer, "canceled").await?;
        let take = w.buyer.trader.take_sell(offer.id, None).await?;
        hears(&mut w.buyer, offer.refused(&take, "invalid_order_status")).await?;
        w.audit(offer.id, 0, 0).await
    })
    .await
}

/// Seconds that an order of which nobody wants to hear stands in the book.
const BRIEF: i64 = 3;

/// Everybody has 3 s for their duty.
fn hurried() -> Result<Settings> {
    Ok(settings()?.set("mostro", "expiration_seconds", 3))
}

async fn ends_for_both(w: &mut World, offer: &Offer) -> Result<()> {
    hears(&mut w.seller, offer.told(Action::Canceled)).await?;
    hears(&mut w.buyer, offer.told(Action::Canceled)).await?;
    shows(w, offer, "canceled").await?;
    w.audit(offer.id, 0, 0).await
}
