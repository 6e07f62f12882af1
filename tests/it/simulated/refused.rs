//! An LND whose limit on time locks is below ours. Of real nodes it would be an argument at the start.

use anyhow::{Result, ensure};
use devnet::Transport;
use lnd_sim::HUB;
use mostro_core::message::Action;

use crate::fixture::{BUYER_GETS, Fixture, SELLER_PAYS, fast_retries};

// spec: D39 FL-F8
#[tokio::test]
async fn a_payout_that_lnd_refuses_goes_to_another_invoice_of_the_buyer() -> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let offer = fixture.sale_fiat_sent().await?;
    fixture.exchange.lnd.set_max_cltv_expiry(HUB, 800)?;
    fixture.seller.trader.release(offer.id).await?;

    fixture.buyer.trader.wait_for(Action::PaymentFailed).await?;
    fixture.buyer.trader.wait_for(Action::AddInvoice).await?;
    let log = fixture.exchange.daemon.log();
    ensure!(
        log.contains("total time lock of 1008 exceeds max allowed 800"),
        "the reason is not logged"
    );
    ensure!(!log.contains("did not answer"), "LND's refusal was taken for a lost answer");
    fixture.exchange.lnd.set_max_cltv_expiry(HUB, 2016)?;
    let invoice = fixture.payout_invoice().await?;
    fixture.buyer.trader.add_invoice(offer.id, &invoice).await?;
    fixture.buyer.trader.wait_for(Action::InvoiceUpdated).await?;
    fixture.is_success(&offer).await?;
    fixture.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}
