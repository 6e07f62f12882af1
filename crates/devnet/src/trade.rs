//! A whole trade between two people, from the new order to the payout.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mostro_core::message::{Action, Payload};
use mostro_core::order::{Kind as Side, SmallOrder};
use tokio::time::Instant;
use uuid::Uuid;

use crate::exchange::Person;
use crate::timeline::{Line, Timeline};
use crate::trader::{Received, on_the_wire};
use crate::{Book, Exchange, Lightning, Transport};

/// A seller and a buyer who trade with each other repeatedly.
#[derive(Debug)]
pub struct Counterparties {
    pub seller: Person,
    pub buyer: Person,
    pub book: Book,
    /// The time from each request to its answer, oldest first.
    pub replies: Vec<Duration>,
    requested_at: Instant,
    timeline: Timeline,
}

/// The terms of an order.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The maker's side.
    pub side: Side,
    pub sats: i64,
    pub euros: i64,
}

impl Terms {
    /// The order that the maker sends.
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

/// The duration of a trade, and of its steps that use Lightning.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub whole: Duration,
    /// From the message that starts the escrow until the seller has the hold invoice.
    pub escrow_added: Duration,
    /// From the seller's payment until the seller is notified that it is held.
    pub escrow_held: Duration,
    /// From the seller's release until the buyer's node has the sats.
    pub paid_out: Duration,
}

/// An active trade.
struct Active {
    order: Uuid,
    /// The buyer's invoice.
    payout: String,
    escrow_added: Duration,
    escrow_held: Duration,
}

impl Counterparties {
    /// # Errors
    /// If the relay or a wallet does not answer.
    pub async fn meet<L: Lightning>(
        exchange: &Exchange<L>,
        transport: Transport,
        timeline: Timeline,
    ) -> Result<Self> {
        Ok(Self {
            seller: exchange.person("seller", transport).await?,
            buyer: exchange.person("buyer", transport).await?,
            book: exchange.book().await?,
            replies: Vec::new(),
            requested_at: Instant::now(),
            timeline,
        })
    }

    /// Makes one trade; returns its times.
    ///
    /// # Errors
    /// The first deviation from the protocol.
    pub async fn trade(&mut self, terms: Terms) -> Result<Times> {
        let started = Instant::now();
        let trade = match terms.side {
            Side::Sell => Box::pin(self.sell(terms)).await?,
            Side::Buy => Box::pin(self.buy(terms)).await?,
        };
        let paid_out = Box::pin(self.pay_fiat_and_release(&trade)).await?;
        self.shown(trade.order, "success").await?;
        self.timeline.awaits_nothing();
        let Active { escrow_added, escrow_held, .. } = trade;
        Ok(Times { whole: started.elapsed(), escrow_added, escrow_held, paid_out })
    }

    /// From a sell order to `active`.
    async fn sell(&mut self, terms: Terms) -> Result<Active> {
        let offer = terms.order();
        self.show_request("seller", "new-order", Some(offer.amount))?;
        self.seller.trader.new_order(offer).await?;
        let order = self.offered(Side::Sell).await?;
        self.show_request("buyer", "take-sell", None)?;
        self.buyer.trader.take_sell(order, None).await?;
        let sats = self.receive_invoice_request().await?;
        self.record_reply_time();
        self.seller_receives(Action::WaitingBuyerInvoice).await?;
        let payout = self.buyer.wallet.invoice(sats).await?;
        let invoiced = Instant::now();
        self.hand_in_invoice(order, sats, &payout).await?;
        self.buyer_receives(Action::WaitingSellerToPay).await?;
        self.record_reply_time();
        let hold = self.receive_hold_invoice().await?;
        let escrow_added = invoiced.elapsed();
        let escrow_held = self.pay_until(&hold, Action::BuyerTookOrder).await?;
        self.buyer_receives(Action::HoldInvoicePaymentAccepted).await?;
        Ok(Active { order, payout, escrow_added, escrow_held })
    }

    /// From a buy order to `active`.
    async fn buy(&mut self, terms: Terms) -> Result<Active> {
        let offer = terms.order();
        self.show_request("buyer", "new-order", Some(offer.amount))?;
        self.buyer.trader.new_order(offer).await?;
        let order = self.offered(Side::Buy).await?;
        self.show_request("seller", "take-buy", None)?;
        let taken = Instant::now();
        self.seller.trader.take_buy(order).await?;
        self.buyer_receives(Action::WaitingSellerToPay).await?;
        let hold = self.receive_hold_invoice().await?;
        self.record_reply_time();
        let escrow_added = taken.elapsed();
        let escrow_held = self.pay_until(&hold, Action::WaitingBuyerInvoice).await?;
        let sats = self.receive_invoice_request().await?;
        let payout = self.buyer.wallet.invoice(sats).await?;
        self.hand_in_invoice(order, sats, &payout).await?;
        self.buyer_receives(Action::HoldInvoicePaymentAccepted).await?;
        self.record_reply_time();
        self.seller_receives(Action::BuyerTookOrder).await?;
        Ok(Active { order, payout, escrow_added, escrow_held })
    }

    /// Returns the time from the release until the buyer's node has the sats.
    async fn pay_fiat_and_release(&mut self, trade: &Active) -> Result<Duration> {
        self.show_request("buyer", "fiat-sent", None)?;
        self.buyer.trader.fiat_sent(trade.order).await?;
        self.buyer_receives(Action::FiatSentOk).await?;
        self.record_reply_time();
        self.seller_receives(Action::FiatSentOk).await?;
        self.show_request("seller", "release", None)?;
        let wallet = self.buyer.wallet.clone();
        let released = Instant::now();
        let arrives = async {
            wallet.received(&trade.payout).await?;
            Ok(released.elapsed())
        };
        let ((), took) = tokio::try_join!(self.release(trade.order), arrives)?;
        Ok(took)
    }

    async fn release(&mut self, order: Uuid) -> Result<()> {
        self.seller.trader.release(order).await?;
        self.seller_receives(Action::HoldInvoicePaymentSettled).await?;
        self.record_reply_time();
        self.buyer_receives(Action::Released).await?;
        self.buyer_receives(Action::PurchaseCompleted).await?;
        Ok(())
    }

    /// Waits until the maker has the order's id and the book shows the order.
    async fn offered(&mut self, side: Side) -> Result<Uuid> {
        let answer = match side {
            Side::Sell => self.seller_receives(Action::NewOrder).await?,
            Side::Buy => self.buyer_receives(Action::NewOrder).await?,
        };
        self.record_reply_time();
        let order = answer.kind().id.context("the answer to new-order has no order id")?;
        self.shown(order, "pending").await?;
        Ok(order)
    }

    /// The amount of the buyer's invoice.
    async fn receive_invoice_request(&mut self) -> Result<u64> {
        loop {
            let message = self.buyer_receives(Action::AddInvoice).await?;
            match message.payload() {
                Some(Payload::Order(order)) => return Ok(u64::try_from(order.amount)?),
                // The taker's reputation has the same action.
                Some(Payload::Peer(_)) => {}
                _ => bail!("add-invoice without an order: {message}"),
            }
        }
    }

    async fn hand_in_invoice(&mut self, order: Uuid, sats: u64, bolt11: &str) -> Result<()> {
        self.show_request("buyer", "add-invoice", Some(i64::try_from(sats)?))?;
        self.buyer.trader.add_invoice(order, bolt11).await?;
        Ok(())
    }

    /// The hold invoice and its amount.
    async fn receive_hold_invoice(&mut self) -> Result<(String, i64)> {
        loop {
            let message = self.seller_receives(Action::PayInvoice).await?;
            match message.payload() {
                Some(Payload::PaymentRequest(Some(order), bolt11, _)) => {
                    return Ok((bolt11.clone(), order.amount));
                }
                Some(Payload::Peer(_)) => {}
                _ => bail!("pay-invoice without an invoice: {message}"),
            }
        }
    }

    /// Returns the time until the seller is notified that the sats are held.
    async fn pay_until(
        &mut self,
        (bolt11, sats): &(String, i64),
        expected: Action,
    ) -> Result<Duration> {
        let started = Instant::now();
        self.seller.wallet.pay(bolt11).await?;
        let (what, sats) = ("pays the hold invoice", Some(*sats));
        self.timeline.line(&Line { who: "seller", sign: "⚡", what, sats, status: None })?;
        self.seller_receives(expected).await?;
        Ok(started.elapsed())
    }

    fn show_request(
        &mut self,
        who: &'static str,
        action: &'static str,
        sats: Option<i64>,
    ) -> Result<()> {
        self.requested_at = Instant::now();
        self.timeline.sent(who, action, sats)
    }

    fn record_reply_time(&mut self) {
        self.replies.push(self.requested_at.elapsed());
    }

    async fn seller_receives(&mut self, action: Action) -> Result<Received> {
        receive(&mut self.seller, action, &self.timeline).await
    }

    async fn buyer_receives(&mut self, action: Action) -> Result<Received> {
        receive(&mut self.buyer, action, &self.timeline).await
    }

    async fn shown(&mut self, order: Uuid, status: &str) -> Result<()> {
        self.timeline.awaits("everybody", &format!("{status} in the book"));
        self.book.until(order, status).await?;
        self.timeline.published("book", "order event (kind 38383)", status)
    }
}

async fn receive(person: &mut Person, action: Action, timeline: &Timeline) -> Result<Received> {
    timeline.awaits(person.trader.name(), &on_the_wire(&action));
    let message = person.trader.wait_for(action).await?;
    timeline.received(person.trader.name(), &message)?;
    Ok(message)
}
