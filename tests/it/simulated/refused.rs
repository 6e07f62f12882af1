//! An LND whose own limit on time locks is below ours. A real one would have to be started so.

use anyhow::{Result, ensure};
use devnet::Transport;
use lnd_sim::HUB;
use mostro_core::message::Action;

use crate::harness::{BUYER_GETS, SELLER_PAYS, World, impatient};

// spec: D39 FL-F8
#[tokio::test]
async fn a_payout_that_lnd_refuses_goes_to_another_invoice_of_its_buyer() -> Result<()> {
    let mut w = World::with(impatient()?, Transport::Nip44).await?;
    let offer = w.sale_fiat_sent().await?;
    w.net.lnd.set_max_cltv_expiry(HUB, 800)?;
    w.seller.trader.release(offer.id).await?;

    w.buyer.trader.wait_for(Action::PaymentFailed).await?;
    w.buyer.trader.wait_for(Action::AddInvoice).await?;
    let log = w.net.daemon.log();
    ensure!(log.contains("total time lock of 1008 exceeds max allowed 800"), "not said why");
    ensure!(!log.contains("did not answer"), "LND did answer");
    w.net.lnd.set_max_cltv_expiry(HUB, 2016)?;
    let invoice = w.payout_invoice().await?;
    w.buyer.trader.add_invoice(offer.id, &invoice).await?;
    w.buyer.trader.wait_for(Action::InvoiceUpdated).await?;
    w.is_success(&offer).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}
