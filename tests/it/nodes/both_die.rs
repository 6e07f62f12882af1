//! LND and the daemon are killed together, and whoever it is right after a settle.

use anyhow::Result;
use devnet::{HUB, Transport};

use super::dangling::is_paid;
use super::{VICTIMS, Victim, strike};
use crate::harness::{BUYER_GETS, SELLER_PAYS, World, impatient};

// spec: E3 P5 C20 INV-2
#[tokio::test]
async fn both_are_killed_with_the_escrow_open_then_held_then_with_the_payout_in_flight()
-> Result<()> {
    let mut w = World::with(impatient()?, Transport::Nip44).await?;
    let (first, hold) = w.sale_invoiced().await?;
    strike(&mut w, Victim::Both).await?;
    w.funded(&hold).await?;
    w.released(&first).await?;

    let second = w.sale_active().await?;
    strike(&mut w, Victim::Both).await?;
    w.released(&second).await?;

    let (third, preimage) = w.payout_held().await?;
    strike(&mut w, Victim::Both).await?;
    w.buyer.wallet.settle(preimage.0).await?;
    w.is_success(&third).await?;
    w.close(third.id, -3 * SELLER_PAYS, 3 * BUYER_GETS).await
}

// spec: E2 P0 P5 T29
#[tokio::test]
async fn whoever_is_killed_when_lnd_has_just_settled_the_buyer_is_paid() -> Result<()> {
    let mut w = World::with(impatient()?, Transport::Nip44).await?;
    let mut last = None;
    for victim in VICTIMS {
        let (sale, hold) = w.sale_invoiced().await?;
        w.funded(&hold).await?;
        w.fiat_sent(&sale).await?;
        let hub = w.net.lnd.wallet(HUB)?;
        let settled = hub.received(&hold);
        tokio::try_join!(settled, async { w.seller.trader.release(sale.id).await })?;
        strike(&mut w, victim).await?;
        is_paid(&mut w, &sale).await?;
        last = Some(sale);
    }
    let last = last.map(|sale| sale.id).unwrap_or_default();
    w.close(last, -3 * SELLER_PAYS, 3 * BUYER_GETS).await
}
