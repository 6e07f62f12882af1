//! LND accepts a hold invoice and reports less than its amount. A real LND accepts less only with an
//! HTLC modifier, which then reports the full amount.

use anyhow::{Result, ensure};
use devnet::Transport;
use lnd_sim::HUB;
use mostro_core::message::Action;

use crate::fixture::{Fixture, SELLER_PAYS};

// spec: D33 T10 T16 I2
#[tokio::test]
async fn an_underpaid_escrow_starts_no_trade_and_is_refunded() -> Result<()> {
    let asked = u64::try_from(SELLER_PAYS)?.saturating_mul(1_000);
    for called in [0, asked.saturating_sub(1_000)] {
        let mut fixture = Fixture::open(Transport::Nip44).await?;
        let before = fixture.exchange.lnd.balances();
        fixture.exchange.lnd.modify_htlcs(HUB, Some(called))?;
        let (sale, hold) = fixture.sale_invoiced().await?;

        fixture.seller.wallet.pay(&hold).await?;

        fixture.seller.trader.wait_for(Action::Canceled).await?;
        fixture.buyer.trader.wait_for(Action::Canceled).await?;
        fixture.book.until(sale.id, "canceled").await?;
        fixture
            .exchange
            .daemon
            .wait_for_log("ALARM: LND called an escrow accepted that holds fewer sats")
            .await?;
        fixture.audit(sale.id, 0, 0).await?;
        ensure!(fixture.exchange.lnd.balances() == before, "a balance has changed");
        fixture.exchange.end()?;
    }
    Ok(())
}
