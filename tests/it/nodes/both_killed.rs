//! LND and the daemon are killed together, and each of them right after a settle.

use anyhow::Result;
use devnet::{HUB, Transport};

use super::dangling::is_paid;
use super::{VICTIMS, Victim, kill_and_restart};
use crate::fixture::{BUYER_GETS, Fixture, SELLER_PAYS, fast_retries};

// spec: E3 P5 C20 INV-2
#[tokio::test]
async fn a_trade_survives_kills_of_both_with_the_escrow_open_held_and_the_payout_in_flight()
-> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let (first, hold) = fixture.sale_invoiced().await?;
    kill_and_restart(&mut fixture, Victim::Both).await?;
    fixture.funded(&hold).await?;
    fixture.released(&first).await?;

    let second = fixture.sale_active().await?;
    kill_and_restart(&mut fixture, Victim::Both).await?;
    fixture.released(&second).await?;

    let (third, preimage) = fixture.payout_held().await?;
    kill_and_restart(&mut fixture, Victim::Both).await?;
    fixture.buyer.wallet.settle(preimage.0).await?;
    fixture.is_success(&third).await?;
    fixture.close(third.id, -3 * SELLER_PAYS, 3 * BUYER_GETS).await
}

// spec: E2 P0 P5 T29
#[tokio::test]
async fn a_kill_right_after_the_settle_still_pays_the_buyer() -> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let mut last = None;
    for victim in VICTIMS {
        let (sale, hold) = fixture.sale_invoiced().await?;
        fixture.funded(&hold).await?;
        fixture.fiat_sent(&sale).await?;
        let hub = fixture.exchange.lnd.wallet(HUB)?;
        let settled = hub.received(&hold);
        tokio::try_join!(settled, async { fixture.seller.trader.release(sale.id).await })?;
        kill_and_restart(&mut fixture, victim).await?;
        is_paid(&mut fixture, &sale).await?;
        last = Some(sale);
    }
    let last = last.map(|sale| sale.id).unwrap_or_default();
    fixture.close(last, -3 * SELLER_PAYS, 3 * BUYER_GETS).await
}
