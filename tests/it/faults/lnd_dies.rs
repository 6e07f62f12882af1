//! The process of LND is killed, as by a power cut, and started again; the trade goes on by itself.

use anyhow::Result;
use devnet::{Lightning as _, LndProcess};
use lnd_sim::control::Command as Verb;
use lnd_sim::{InvoiceState, Payee, PaymentHash};
use mostro_core::message::Action;

use crate::harness::{BUYER_GETS, SELLER_PAYS, World, settings};

const BUYER: &str = "buyer";

// spec: E3 K-44 T10
#[tokio::test]
async fn killed_between_the_hold_invoice_and_its_payment() -> Result<()> {
    let mut w = World::on_process(settings()?).await?;
    let (offer, hold) = w.sale_invoiced().await?;

    w.lnd_dies_and_returns().await?;
    w.seller.wallet.pay(&hold).await?;

    w.seller.trader.wait_for(Action::BuyerTookOrder).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentAccepted).await?;
    w.released(&offer).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: E3 T29
#[tokio::test]
async fn killed_with_the_escrow_held() -> Result<()> {
    let mut w = World::on_process(settings()?).await?;
    let offer = w.sale_active().await?;

    w.lnd_dies_and_returns().await?;

    w.released(&offer).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P3 P5 T32
#[tokio::test]
async fn killed_with_the_payout_in_flight() -> Result<()> {
    let mut w = World::on_process(settings()?).await?;
    let manner = Payee::Holds;
    w.net.lnd.tell(&Verb::SetPayee { node: BUYER.to_owned(), manner }).await?;
    let offer = w.sale_fiat_sent().await?;
    w.seller.trader.release(offer.id).await?;
    let hash = payout_arrives(&w).await?;

    w.lnd_dies_and_returns().await?;
    w.net.lnd.tell(&Verb::PayeeSettles { node: BUYER.to_owned(), hash }).await?;

    w.buyer.trader.wait_for(Action::PurchaseCompleted).await?;
    w.book.until(offer.id, "success").await?;
    w.seller.trader.wait_for(Action::Rate).await?;
    w.buyer.trader.wait_for(Action::Rate).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

/// Waits until the buyer holds the payout, and says under which hash.
async fn payout_arrives(w: &World<LndProcess>) -> Result<PaymentHash> {
    let mut seen = 0;
    loop {
        let held = w.net.lnd.list_invoices(BUYER, InvoiceState::Accepted).await?;
        if let Some(hash) = held.first() {
            return Ok(*hash);
        }
        w.net.lnd.news(&mut seen).await?;
    }
}
