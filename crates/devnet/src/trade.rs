//! One whole trade between two people, from the offer to the payout.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mostro_core::message::{Action, Payload};
use mostro_core::order::{Kind as Side, SmallOrder};
use tokio::time::Instant;
use uuid::Uuid;

use crate::net::Person;
use crate::timeline::{Line, Timeline};
use crate::trader::{Received, on_the_wire};
use crate::{Book, Lightning, Net, Transport};

/// Two people who trade with each other, one trade after the other.
#[derive(Debug)]
pub struct Couple {
    pub seller: Person,
    pub buyer: Person,
    pub book: Book,
    timeline: Timeline,
}

/// What is traded.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// What the maker does.
    pub side: Side,
    pub sats: i64,
    pub euros: i64,
}

impl Terms {
    /// As the maker offers it.
    #[must_use]
    pub fn order(&self) -> SmallOrder {
        SmallOrder {
            kind: Some(self.side),
            amount: self.sats,
            fiat_code: "EUR".to_owned(),
            fiat_amount: self.euros,
            payment_method: "SEPA instant,face to face".to_owned(),
            ..SmallOrder::default()
        }
    }
}

impl Couple {
    /// # Errors
    /// If relay or wallets do not answer.
    pub async fn meet<L: Lightning>(
        net: &Net<L>,
        transport: Transport,
        timeline: Timeline,
    ) -> Result<Self> {
        Ok(Self {
            seller: net.person("seller", transport).await?,
            buyer: net.person("buyer", transport).await?,
            book: net.book().await?,
            timeline,
        })
    }

    /// Trades; returns how long it took.
    ///
    /// # Errors
    /// The first thing that did not go as the protocol says.
    pub async fn trade(&mut self, terms: Terms) -> Result<Duration> {
        let started = Instant::now();
        let order = match terms.side {
            Side::Sell => Box::pin(self.sell(terms)).await?,
            Side::Buy => Box::pin(self.buy(terms)).await?,
        };
        Box::pin(self.pay_fiat_and_release(order)).await?;
        self.shown(order, "success").await?;
        self.timeline.awaits_nothing();
        Ok(started.elapsed())
    }

    /// From a sell order to `active`.
    async fn sell(&mut self, terms: Terms) -> Result<Uuid> {
        let offer = terms.order();
        self.timeline.said("seller", "new-order", Some(offer.amount))?;
        self.seller.trader.new_order(offer).await?;
        let order = self.offered(Side::Sell).await?;
        self.timeline.said("buyer", "take-sell", None)?;
        self.buyer.trader.take_sell(order, None).await?;
        let payout = self.asked_for_invoice().await?;
        self.seller_hears(Action::WaitingBuyerInvoice).await?;
        self.hand_in_invoice(order, payout).await?;
        self.buyer_hears(Action::WaitingSellerToPay).await?;
        self.pay_hold_invoice().await?;
        self.both_told_active().await?;
        Ok(order)
    }

    /// From a buy order to `active`.
    async fn buy(&mut self, terms: Terms) -> Result<Uuid> {
        let offer = terms.order();
        self.timeline.said("buyer", "new-order", Some(offer.amount))?;
        self.buyer.trader.new_order(offer).await?;
        let order = self.offered(Side::Buy).await?;
        self.timeline.said("seller", "take-buy", None)?;
        self.seller.trader.take_buy(order).await?;
        self.buyer_hears(Action::WaitingSellerToPay).await?;
        self.pay_hold_invoice().await?;
        self.seller_hears(Action::WaitingBuyerInvoice).await?;
        let payout = self.asked_for_invoice().await?;
        self.hand_in_invoice(order, payout).await?;
        self.both_told_active().await?;
        Ok(order)
    }

    async fn pay_fiat_and_release(&mut self, order: Uuid) -> Result<()> {
        self.timeline.said("buyer", "fiat-sent", None)?;
        self.buyer.trader.fiat_sent(order).await?;
        self.buyer_hears(Action::FiatSentOk).await?;
        self.seller_hears(Action::FiatSentOk).await?;
        self.timeline.said("seller", "release", None)?;
        self.seller.trader.release(order).await?;
        self.seller_hears(Action::HoldInvoicePaymentSettled).await?;
        self.buyer_hears(Action::Released).await?;
        self.buyer_hears(Action::PurchaseCompleted).await?;
        Ok(())
    }

    /// The maker has the order's id, and the book shows it.
    async fn offered(&mut self, side: Side) -> Result<Uuid> {
        let answer = match side {
            Side::Sell => self.seller_hears(Action::NewOrder).await?,
            Side::Buy => self.buyer_hears(Action::NewOrder).await?,
        };
        let order = answer.kind().id.context("the answer to new-order names no order")?;
        self.shown(order, "pending").await?;
        Ok(order)
    }

    /// How many sats the buyer's invoice has to ask for.
    async fn asked_for_invoice(&mut self) -> Result<u64> {
        loop {
            let message = self.buyer_hears(Action::AddInvoice).await?;
            match message.payload() {
                Some(Payload::Order(order)) => return Ok(u64::try_from(order.amount)?),
                // The taker's reputation comes under the same action.
                Some(Payload::Peer(_)) => {}
                _ => bail!("add-invoice without an order: {message}"),
            }
        }
    }

    async fn hand_in_invoice(&mut self, order: Uuid, sats: u64) -> Result<()> {
        let bolt11 = self.buyer.wallet.invoice(sats).await?;
        self.timeline.said("buyer", "add-invoice", Some(i64::try_from(sats)?))?;
        self.buyer.trader.add_invoice(order, &bolt11).await?;
        Ok(())
    }

    async fn pay_hold_invoice(&mut self) -> Result<()> {
        let (bolt11, sats) = loop {
            let message = self.seller_hears(Action::PayInvoice).await?;
            match message.payload() {
                Some(Payload::PaymentRequest(Some(order), bolt11, _)) => {
                    break (bolt11.clone(), order.amount);
                }
                Some(Payload::Peer(_)) => {}
                _ => bail!("pay-invoice without an invoice: {message}"),
            }
        };
        self.seller.wallet.pay(&bolt11).await?;
        let what = "pays the hold invoice";
        let sats = Some(sats);
        self.timeline.line(&Line { who: "seller", sign: "⚡", what, sats, status: None })
    }

    async fn both_told_active(&mut self) -> Result<()> {
        self.seller_hears(Action::BuyerTookOrder).await?;
        self.buyer_hears(Action::HoldInvoicePaymentAccepted).await?;
        Ok(())
    }

    async fn seller_hears(&mut self, action: Action) -> Result<Received> {
        hear(&mut self.seller, action, &self.timeline).await
    }

    async fn buyer_hears(&mut self, action: Action) -> Result<Received> {
        hear(&mut self.buyer, action, &self.timeline).await
    }

    async fn shown(&mut self, order: Uuid, status: &str) -> Result<()> {
        self.timeline.awaits("everybody", &format!("{status} in the book"));
        self.book.until(order, status).await?;
        self.timeline.shown("book", "order event (kind 38383)", status)
    }
}

async fn hear(person: &mut Person, action: Action, timeline: &Timeline) -> Result<Received> {
    timeline.awaits(person.trader.name(), &on_the_wire(&action));
    let message = person.trader.wait_for(action).await?;
    timeline.heard(person.trader.name(), &message)?;
    Ok(message)
}
