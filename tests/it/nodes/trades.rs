//! Trades that go well in the end.

use anyhow::Result;
use devnet::{BUYER, Lightning as _, Transport};
use mostro_core::message::Action;

use super::{is_paid, purchase, world};
use crate::harness::{BUYER_GETS, SELLER_PAYS};

// spec: T1 T8 T9 T10 T11 T12 T24 T29 T32 T34
#[tokio::test]
async fn people_sell_and_buy_over_both_transports() -> Result<()> {
    let mut w = world().await?;
    for transport in [Transport::V1, Transport::V2] {
        w.seller.trader.set_transport(transport);
        w.buyer.trader.set_transport(transport);
        let sale = w.sale_active().await?;
        w.released(&sale).await?;
        purchase(&mut w).await?;
    }
    let last = purchase(&mut w).await?;
    w.close(last.id, -5 * SELLER_PAYS, 5 * BUYER_GETS).await
}

// spec: T15 E7 INV-3
#[tokio::test]
async fn an_escrow_is_given_back_and_the_next_taker_trades() -> Result<()> {
    let mut w = world().await?;
    let (offer, hold) = w.purchase_taken().await?;
    w.seller.wallet.pay(&hold).await?;
    w.seller.trader.wait_for(Action::WaitingBuyerInvoice).await?;
    w.seller.trader.cancel(offer.id).await?;
    w.seller.trader.wait_for(Action::Canceled).await?;

    let sale = w.sale_active().await?;
    w.released(&sale).await?;
    w.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P9 FL-F8 T32
#[tokio::test]
async fn a_buyer_whose_node_is_off_is_paid_when_it_is_back() -> Result<()> {
    let mut w = world().await?;
    let offer = w.sale_fiat_sent().await?;
    w.net.lnd.stop_node(BUYER).await?;
    w.seller.trader.release(offer.id).await?;
    w.buyer.trader.wait_for(Action::PaymentFailed).await?;
    w.buyer.trader.wait_for(Action::AddInvoice).await?;

    w.net.lnd.start_node(BUYER).await?;
    let invoice = w.payout_invoice().await?;
    w.buyer.trader.add_invoice(offer.id, &invoice).await?;
    w.buyer.trader.wait_for(Action::InvoiceUpdated).await?;
    is_paid(&mut w, &offer).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}
