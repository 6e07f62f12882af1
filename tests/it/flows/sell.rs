//! A sell order from its creation to the payout.

use anyhow::Result;
use devnet::{BUYER, Lightning as _};
use mostro_core::message::Action;
use mostro_core::order::Kind;
use serde_json::json;

use crate::fixture::{
    BUYER_GETS, Fixture, SATS, SELLER_PAYS, both_receive_active, offer, on_both_transports, order,
    receives, receives_pay_invoice, reputation_of_new_trader, settings, shows,
};

// spec: FL-F1 T1 K-25
#[tokio::test]
async fn an_order_is_acknowledged_and_then_published() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let sent = fixture.seller.trader.new_order(order(Kind::Sell)).await?;
        let answer = fixture.seller.trader.expect(Action::NewOrder).await?;

        let offer = offer(&answer)?;
        let shown = offer.bare("pending", SATS);
        let acknowledged = offer.message(Action::NewOrder).answering(&sent).index(1);
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
        let add_invoice = offer.message(Action::AddInvoice).answering(&take).index(1);
        receives(&mut fixture.buyer, add_invoice.with(json!({ "order": asked }))).await?;
        receives(&mut fixture.seller, offer.message(Action::WaitingBuyerInvoice).index(1)).await?;
        shows(fixture, &offer, "in-progress").await?;

        let invoice = fixture.payout_invoice().await?;
        let sent = fixture.buyer.trader.add_invoice(offer.id, &invoice).await?;
        let waiting = offer.message(Action::WaitingSellerToPay).answering(&sent).index(1);
        receives(&mut fixture.buyer, waiting).await?;
        let reputation = offer.message(Action::PayInvoice).with(reputation_of_new_trader(&offer));
        receives(&mut fixture.seller, reputation).await?;
        let to_pay = offer.message(Action::PayInvoice).index(1);
        let hold = receives_pay_invoice(fixture, to_pay, &offer).await?;

        fixture.seller.wallet.pay(&hold).await?;
        both_receive_active(fixture, &offer, None).await?;
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
        let waiting = offer.message(Action::WaitingSellerToPay).answering(&take).index(1);
        receives(&mut fixture.buyer, waiting).await?;
        let reputation = offer.message(Action::PayInvoice).with(reputation_of_new_trader(&offer));
        receives(&mut fixture.seller, reputation).await?;
        let to_pay = offer.message(Action::PayInvoice).index(1);
        let hold = receives_pay_invoice(fixture, to_pay, &offer).await?;
        shows(fixture, &offer, "in-progress").await?;

        fixture.seller.wallet.pay(&hold).await?;
        both_receive_active(fixture, &offer, None).await?;
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
        let to_buyer = offer.message(Action::FiatSentOk).answering(&sent);
        receives(&mut fixture.buyer, to_buyer.with(peer("seller_trade_pubkey"))).await?;
        let to_seller = offer.message(Action::FiatSentOk).with(peer("buyer_trade_pubkey"));
        receives(&mut fixture.seller, to_seller).await?;

        let sent = fixture.seller.trader.release(offer.id).await?;
        let settled = offer.message(Action::HoldInvoicePaymentSettled).answering(&sent);
        receives(&mut fixture.seller, settled).await?;
        receives(&mut fixture.seller, offer.message(Action::Rate)).await?;
        receives(&mut fixture.buyer, offer.message(Action::Released)).await?;
        receives(&mut fixture.buyer, offer.message(Action::PurchaseCompleted)).await?;
        receives(&mut fixture.buyer, offer.message(Action::Rate)).await?;
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
        receives(&mut fixture.buyer, offer.message(Action::Released)).await?;
        let failed = json!({ "payment_attempts": 1, "payment_retries_interval": 1 });
        let failed = offer.message(Action::PaymentFailed).with(json!({ "payment_failed": failed }));
        receives(&mut fixture.buyer, failed).await?;
        let mut asked = offer.parties("settled-hold-invoice", BUYER_GETS, fixture)?;
        asked["buyer_invoice"] = json!(first);
        receives(
            &mut fixture.buyer,
            offer.message(Action::AddInvoice).with(json!({ "order": asked })),
        )
        .await?;

        fixture.exchange.lnd.start_node(BUYER).await?;
        let another = fixture.payout_invoice().await?;
        let sent = fixture.buyer.trader.add_invoice(offer.id, &another).await?;
        receives(&mut fixture.buyer, offer.message(Action::InvoiceUpdated).answering(&sent))
            .await?;
        receives(&mut fixture.buyer, offer.message(Action::PurchaseCompleted)).await?;
        receives(&mut fixture.buyer, offer.message(Action::Rate)).await?;
        shows(fixture, &offer, "success").await?;
        fixture.audit(offer.id, -SELLER_PAYS, BUYER_GETS).await
    })
    .await
}
