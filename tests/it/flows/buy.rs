//! A buy order from its creation to `active`.

use anyhow::Result;
use mostro_core::message::Action;
use mostro_core::order::Kind;
use serde_json::json;

use crate::fixture::{
    BUYER_GETS, Fixture, SELLER_PAYS, both_receive_active, on_both_transports, order, receives,
    receives_pay_invoice, reputation_of_new_trader, settings, shows,
};

// spec: FL-F4 T8 T11 T12 K-25
#[tokio::test]
async fn a_buy_order_is_taken_funded_and_then_invoiced() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let offer = fixture.offered(Kind::Buy).await?;

        let take = fixture.seller.trader.take_buy(offer.id).await?;
        let to_pay = offer.message(Action::PayInvoice).answering(&take).index(1);
        let hold = receives_pay_invoice(fixture, to_pay, &offer).await?;
        receives(&mut fixture.buyer, offer.message(Action::WaitingSellerToPay).index(1)).await?;
        shows(fixture, &offer, "in-progress").await?;

        fixture.seller.wallet.pay(&hold).await?;
        let asked = json!({ "order": offer.bare("waiting-buyer-invoice", BUYER_GETS) });
        receives(&mut fixture.buyer, offer.message(Action::AddInvoice).with(asked)).await?;
        receives(&mut fixture.seller, offer.message(Action::WaitingBuyerInvoice)).await?;
        let reputation = offer.message(Action::AddInvoice).with(reputation_of_new_trader(&offer));
        receives(&mut fixture.buyer, reputation).await?;

        let invoice = fixture.payout_invoice().await?;
        let sent = fixture.buyer.trader.add_invoice(offer.id, &invoice).await?;
        both_receive_active(fixture, &offer, Some(&sent)).await?;
        fixture.released(&offer).await?;
        fixture.audit(offer.id, -SELLER_PAYS, BUYER_GETS).await
    })
    .await
}

// spec: FL-F5 T8 T10 K-26
#[tokio::test]
async fn a_buy_order_with_an_invoice_is_active_once_it_is_funded() -> Result<()> {
    on_both_transports(settings()?, async |fixture: &mut Fixture| {
        let invoice = fixture.payout_invoice().await?;
        let mut wanted = order(Kind::Buy);
        wanted.buyer_invoice = Some(invoice);
        let offer = fixture.offered_as(wanted).await?;

        let take = fixture.seller.trader.take_buy(offer.id).await?;
        let to_pay = offer.message(Action::PayInvoice).answering(&take).index(1);
        let hold = receives_pay_invoice(fixture, to_pay, &offer).await?;
        receives(&mut fixture.buyer, offer.message(Action::WaitingSellerToPay).index(1)).await?;

        fixture.seller.wallet.pay(&hold).await?;
        both_receive_active(fixture, &offer, None).await?;
        fixture.released(&offer).await?;
        fixture.audit(offer.id, -SELLER_PAYS, BUYER_GETS).await
    })
    .await
}
