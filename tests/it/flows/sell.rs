//! FL-F1, FL-F2, FL-F3, FL-F7, FL-F8: a sell order from the offer to the payout.

use anyhow::Result;
use devnet::{BUYER, Lightning as _};
use mostro_core::message::Action;
use mostro_core::order::Kind;
use serde_json::json;

use crate::fixture::{
    BUYER_GETS, Fixture, SATS, SELLER_PAYS, hears, newcomers_reputation, offer, on_both_transports,
    order, settings, shows, told_active, told_to_pay,
};

// spec: FL-F1 T1 K-25
#[tokio::test]
async fn an_order_is_acknowledged_and_then_published() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let sent = fixture.seller.trader.new_order(order(Kind::Sell)).await?;
        let answer = fixture.seller.trader.expect(Action::NewOrder).await?;

        let offer = offer(&answer)?;
        let shown = offer.bare("pending", SATS);
        let acknowledged = offer.told(Action::NewOrder).answering(&sent).index(1);
        acknowledged.with(json!({ "order": shown })).is(&answer)?;
        assert_eq!(offer.expires_at - offer.created_at, 86_400);
        shows(fixture, &offer, "pending").await?;
        fixture.audit(offer.id, 0, 0).await
    })
    .await
}

// spec: FL-F2 T7 T9 T10 K-25
#[tokio::test]
async fn a_sell_order_is_taken_invoiced_and_funded() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.offered(Kind::Sell).await?;

        let take = fixture.buyer.trader.take_sell(offer.id, None).await?;
        let mut asked = offer.bare("waiting-buyer-invoice", BUYER_GETS);
        asked["expires_at"] = json!(null);
        let add_invoice = offer.told(Action::AddInvoice).answering(&take).index(1);
        hears(&mut fixture.buyer, add_invoice.with(json!({ "order": asked }))).await?;
        hears(&mut fixture.seller, offer.told(Action::WaitingBuyerInvoice).index(1)).await?;
        shows(fixture, &offer, "in-progress").await?;

        let invoice = fixture.payout_invoice().await?;
        let sent = fixture.buyer.trader.add_invoice(offer.id, &invoice).await?;
        let waiting = offer.told(Action::WaitingSellerToPay).answering(&sent).index(1);
        hears(&mut fixture.buyer, waiting).await?;
        let reputation = offer.told(Action::PayInvoice).with(newcomers_reputation(&offer));
        hears(&mut fixture.seller, reputation).await?;
        let to_pay = offer.told(Action::PayInvoice).index(1);
        let hold = told_to_pay(fixture, to_pay, &offer).await?;

        fixture.seller.wallet.pay(&hold).await?;
        told_active(fixture, &offer, None).await?;
        fixture.released(&offer).await?;
        fixture.audit(offer.id, -SELLER_PAYS, BUYER_GETS).await
    })
    .await
}

// spec: FL-F3 T8 T10 K-11 K-52
#[tokio::test]
async fn a_sell_order_is_taken_with_the_invoice_at_once() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.offered(Kind::Sell).await?;

        let invoice = fixture.payout_invoice().await?;
        let take = fixture.buyer.trader.take_sell(offer.id, Some(invoice)).await?;
        let waiting = offer.told(Action::WaitingSellerToPay).answering(&take).index(1);
        hears(&mut fixture.buyer, waiting).await?;
        let reputation = offer.told(Action::PayInvoice).with(newcomers_reputation(&offer));
        hears(&mut fixture.seller, reputation).await?;
        let to_pay = offer.told(Action::PayInvoice).index(1);
        let hold = told_to_pay(fixture, to_pay, &offer).await?;
        shows(fixture, &offer, "in-progress").await?;

        fixture.seller.wallet.pay(&hold).await?;
        told_active(fixture, &offer, None).await?;
        fixture.released(&offer).await?;
        fixture.audit(offer.id, -SELLER_PAYS, BUYER_GETS).await
    })
    .await
}

// spec: FL-F7 T24 T29 T32
#[tokio::test]
async fn fiat_is_sent_the_escrow_released_and_the_buyer_paid() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.sale_active().await?;

        let sent = fixture.buyer.trader.fiat_sent(offer.id).await?;
        let peers = offer.parties("active", 0, fixture)?;
        let peer = |key: &str| json!({ "peer": { "pubkey": peers[key], "reputation": null } });
        let to_buyer = offer.told(Action::FiatSentOk).answering(&sent);
        hears(&mut fixture.buyer, to_buyer.with(peer("seller_trade_pubkey"))).await?;
        let to_seller = offer.told(Action::FiatSentOk).with(peer("buyer_trade_pubkey"));
        hears(&mut fixture.seller, to_seller).await?;

        let sent = fixture.seller.trader.release(offer.id).await?;
        let settled = offer.told(Action::HoldInvoicePaymentSettled).answering(&sent);
        hears(&mut fixture.seller, settled).await?;
        hears(&mut fixture.seller, offer.told(Action::Rate)).await?;
        hears(&mut fixture.buyer, offer.told(Action::Released)).await?;
        hears(&mut fixture.buyer, offer.told(Action::PurchaseCompleted)).await?;
        hears(&mut fixture.buyer, offer.told(Action::Rate)).await?;
        shows(fixture, &offer, "success").await?;
        fixture.audit(offer.id, -SELLER_PAYS, BUYER_GETS).await
    })
    .await
}

// spec: FL-F8 T32
#[tokio::test]
async fn a_payout_that_fails_is_tried_again_and_then_asks_for_another_invoice() -> Result<()> {
    let settings = settings()?.set("lightning", "payment_attempts", 2).set(
        "lightning",
        "payment_retries_interval",
        1,
    );
    on_both_transports(settings, async |fixture: &mut Fixture| {
        let offer = fixture.sale_fiat_sent().await?;
        let first = fixture.destination.clone();

        fixture.exchange.lnd.stop_node(BUYER).await?;
        fixture.seller.trader.release(offer.id).await?;
        fixture.seller.trader.wait_for(Action::Rate).await?;
        hears(&mut fixture.buyer, offer.told(Action::Released)).await?;
        let failed = json!({ "payment_attempts": 1, "payment_retries_interval": 1 });
        let failed = offer.told(Action::PaymentFailed).with(json!({ "payment_failed": failed }));
        hears(&mut fixture.buyer, failed).await?;
        let mut asked = offer.parties("settled-hold-invoice", BUYER_GETS, fixture)?;
        asked["buyer_invoice"] = json!(first);
        hears(&mut fixture.buyer, offer.told(Action::AddInvoice).with(json!({ "order": asked })))
            .await?;

        fixture.exchange.lnd.start_node(BUYER).await?;
        let another = fixture.payout_invoice().await?;
        let sent = fixture.buyer.trader.add_invoice(offer.id, &another).await?;
        hears(&mut fixture.buyer, offer.told(Action::InvoiceUpdated).answering(&sent)).await?;
        hears(&mut fixture.buyer, offer.told(Action::PurchaseCompleted)).await?;
        hears(&mut fixture.buyer, offer.told(Action::Rate)).await?;
        shows(fixture, &offer, "success").await?;
        fixture.audit(offer.id, -SELLER_PAYS, BUYER_GETS).await
    })
    .await
}
