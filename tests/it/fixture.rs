//! What a test needs: an exchange with two traders, expected messages, and steps of a trade.

pub(crate) mod binary;

use anyhow::{Context as _, Result, bail, ensure};
use devnet::trader::{Received, Sent, on_the_wire};
use devnet::{
    BUYER, Book, Exchange, HUB, Lightning, NodeTotals, Person, SELLER, Settings, Transport,
};
use lnd_sim::{InvoiceState, PaymentHash, Preimage};
use mostro_core::message::{Action, Payload};
use mostro_core::order::{Kind, SmallOrder};
use nostr_sdk::Event;
use serde_json::{Value, json};
use uuid::Uuid;

/// The amount of every order in these tests.
pub(crate) const SATS: i64 = 10_000;
/// The fee of each side: half of 0.6 % of the amount.
pub(crate) const FEE: i64 = 30;
pub(crate) const SELLER_PAYS: i64 = SATS + FEE;
pub(crate) const BUYER_GETS: i64 = SATS - FEE;
pub(crate) const EUROS: i64 = 10;

const DAY: i64 = 86_400;

/// Runs a scenario on each transport, with new traders in one exchange.
pub(crate) async fn on_both_transports(
    settings: Settings,
    scenario: impl AsyncFn(&mut Fixture) -> Result<()>,
) -> Result<()> {
    let mut fixture = Fixture::with(settings, Transport::GiftWrap).await?;
    scenario(&mut fixture).await.context("on v1")?;
    fixture.replace_traders(Transport::Nip44).await?;
    scenario(&mut fixture).await.context("on v2")?;
    fixture.exchange.end()
}

/// An exchange with a seller and a buyer.
pub(crate) struct Fixture<L = crate::Network> {
    pub(crate) exchange: Exchange<L>,
    pub(crate) transport: Transport,
    pub(crate) seller: Person,
    pub(crate) buyer: Person,
    pub(crate) book: Book,
    /// The buyer's newest invoice for a payout.
    pub(crate) destination: String,
    /// The orders that are frozen.
    pub(crate) frozen: Vec<Uuid>,
    /// The node's totals at the start.
    totals: NodeTotals,
    /// The traders' balances at the end of the last scenario.
    trader_balances: TraderBalances,
}

/// The traders' balances, in msat.
struct TraderBalances {
    seller: u64,
    buyer: u64,
}

/// The settings of the tests: the template with a fee.
pub(crate) fn settings() -> Result<Settings> {
    Ok(Settings::template()?.set("mostro", "fee", 0.006))
}

/// The same, with payouts that are retried soon.
pub(crate) fn fast_retries() -> Result<Settings> {
    let section = "lightning";
    let settings = settings()?.set(section, "payment_retries_interval", 1);
    Ok(settings.set(section, "payout_quiet_seconds", 1))
}

impl Fixture {
    pub(crate) async fn open(transport: Transport) -> Result<Box<Self>> {
        Self::with(settings()?, transport).await
    }

    pub(crate) async fn with(settings: Settings, transport: Transport) -> Result<Box<Self>> {
        let exchange = Box::pin(crate::network(settings)).await?;
        Box::pin(Self::around(exchange, transport)).await
    }
}

impl<L: Lightning> Fixture<L> {
    pub(crate) async fn around(exchange: Exchange<L>, transport: Transport) -> Result<Box<Self>> {
        let seller = exchange.person(SELLER, transport).await?;
        let buyer = exchange.person(BUYER, transport).await?;
        let book = exchange.book().await?;
        let totals = exchange.settled_totals().await?;
        let trader_balances = TraderBalances::of(&exchange).await?;
        let (destination, frozen) = (String::new(), Vec::new());
        Ok(Box::new(Self {
            exchange,
            transport,
            seller,
            buyer,
            book,
            destination,
            frozen,
            totals,
            trader_balances,
        }))
    }

    /// Replaces the traders by new ones.
    pub(crate) async fn replace_traders(&mut self, transport: Transport) -> Result<()> {
        self.transport = transport;
        self.seller = self.exchange.person(SELLER, transport).await?;
        self.buyer = self.exchange.person(BUYER, transport).await?;
        Ok(())
    }

    /// The checks at the end of every scenario: nobody gets another message, no hold is open and no
    /// payment in flight, ledger and LND agree, and the traders have gained these sats.
    pub(crate) async fn audit(&mut self, order: Uuid, seller: i64, buyer: i64) -> Result<()> {
        self.seller.trader.receives_nothing_more(order).await?;
        self.buyer.trader.receives_nothing_more(order).await?;
        self.exchange.audit(&self.totals, &self.frozen).await?;
        let before =
            std::mem::replace(&mut self.trader_balances, TraderBalances::of(&self.exchange).await?);
        let now = &self.trader_balances;
        ensure!(gain(before.seller, now.seller)? == seller * 1000, "the seller's balance is wrong");
        ensure!(gain(before.buyer, now.buyer)? == buyer * 1000, "the buyer's balance is wrong");
        self.check_book(order)
    }

    /// The same, and ends the exchange.
    pub(crate) async fn close(
        mut self: Box<Self>,
        order: Uuid,
        seller: i64,
        buyer: i64,
    ) -> Result<()> {
        self.audit(order, seller, buyer).await?;
        self.exchange.end()
    }

    /// A node's invoices in this state.
    pub(crate) async fn invoices(
        &self,
        node: &str,
        state: InvoiceState,
    ) -> Result<Vec<PaymentHash>> {
        self.exchange.lnd.list_invoices(node, state).await
    }

    /// Kills LND by SIGKILL and starts it again.
    pub(crate) async fn kill_and_restart_lnd(&self) -> Result<()> {
        self.exchange.lnd.kill_node(HUB).await?;
        self.exchange.lnd.start_node(HUB).await
    }

    /// Two revisions of one order never have the same second.
    fn check_book(&self, order: Uuid) -> Result<()> {
        let times: Vec<_> = self.book.revisions(order).map(|event| event.created_at).collect();
        ensure!(times.is_sorted_by(|a, b| a < b), "revisions share a second: {times:?}");
        Ok(())
    }
}

impl TraderBalances {
    async fn of<L: Lightning>(exchange: &Exchange<L>) -> Result<Self> {
        let seller = exchange.lnd.balance(SELLER).await?.available_msat;
        let buyer = exchange.lnd.balance(BUYER).await?.available_msat;
        Ok(Self { seller, buyer })
    }
}

fn gain(before: u64, after: u64) -> Result<i64> {
    Ok(i64::try_from(after)? - i64::try_from(before)?)
}

/// An order as in the answer to its maker.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) id: Uuid,
    pub(crate) kind: Kind,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
}

/// The order that a maker sends.
pub(crate) fn order(kind: Kind) -> SmallOrder {
    SmallOrder {
        kind: Some(kind),
        amount: SATS,
        fiat_code: "EUR".to_owned(),
        fiat_amount: EUROS,
        payment_method: "face to face,bank transfer".to_owned(),
        ..SmallOrder::default()
    }
}

impl Offer {
    /// The order as it is in messages, without keys and invoice.
    pub(crate) fn bare(&self, status: &str, amount: i64) -> Value {
        json!({
            "id": self.id, "kind": self.kind.to_string(), "status": status, "amount": amount,
            "fiat_code": "EUR", "min_amount": null, "max_amount": null, "fiat_amount": EUROS,
            "payment_method": "face to face,bank transfer", "premium": 0,
            "created_at": self.created_at, "expires_at": self.expires_at,
        })
    }

    /// The same with both trade keys.
    pub(crate) fn parties(&self, status: &str, amount: i64, fixture: &Fixture) -> Result<Value> {
        let key = |person: &Person| person.trader.trade_key(self.id).map(|key| key.to_hex());
        let mut order = self.bare(status, amount);
        order["buyer_trade_pubkey"] = json!(key(&fixture.buyer).context("the buyer's key")?);
        order["seller_trade_pubkey"] = json!(key(&fixture.seller).context("the seller's key")?);
        Ok(order)
    }

    /// The order in the maker's message after its taker is gone: with the maker's key only.
    pub(crate) fn back_in_the_book(&self, fixture: &Fixture) -> Result<Value> {
        let parties = self.parties("pending", SATS, fixture)?;
        let key = match self.kind {
            Kind::Sell => "seller_trade_pubkey",
            Kind::Buy => "buyer_trade_pubkey",
        };
        let mut order = self.bare("pending", SATS);
        order[key] = parties[key].clone();
        Ok(json!({ "order": order }))
    }

    /// A message about this order, without payload, that is not an answer.
    pub(crate) fn message(&self, action: Action) -> ExpectedMessage {
        ExpectedMessage {
            order: self.id,
            action,
            request_id: None,
            trade_index: None,
            payload: Value::Null,
        }
    }

    /// A refusal to do something with this order.
    pub(crate) fn refused(&self, sent: &Sent, reason: &str) -> ExpectedMessage {
        self.message(Action::CantDo).answering(sent).with(json!({ "cant_do": reason }))
    }
}

/// An expected message of the node, with all its fields.
#[derive(Debug)]
pub(crate) struct ExpectedMessage {
    order: Uuid,
    action: Action,
    request_id: Option<u64>,
    trade_index: Option<i64>,
    payload: Value,
}

impl ExpectedMessage {
    pub(crate) fn answering(mut self, sent: &Sent) -> Self {
        self.request_id = Some(sent.request_id);
        self
    }

    pub(crate) fn index(mut self, index: i64) -> Self {
        self.trade_index = Some(index);
        self
    }

    pub(crate) fn with(mut self, payload: Value) -> Self {
        self.payload = payload;
        self
    }

    /// Compares all fields.
    pub(crate) fn is(&self, got: &Received) -> Result<()> {
        let version = if got.transport == Transport::GiftWrap { 1 } else { 2 };
        let wrapper = if self.action == Action::CantDo { "cant-do" } else { "order" };
        let wanted = json!({ wrapper: {
            "version": version, "request_id": self.request_id, "trade_index": self.trade_index,
            "id": self.order, "action": on_the_wire(&self.action), "payload": self.payload,
        } });
        let got = &got.json;
        ensure!(*got == wanted, "the node sent\n{got:#}\ninstead of\n{wanted:#}");
        Ok(())
    }
}

/// The next message to this person is this one.
pub(crate) async fn receives(person: &mut Person, expected: ExpectedMessage) -> Result<()> {
    let got = person.trader.expect(expected.action.clone()).await?;
    expected.is(&got).with_context(|| format!("to the {}", person.trader.name()))
}

/// The next message to the seller is `pay-invoice`. Returns the hold invoice.
pub(crate) async fn receives_pay_invoice(
    fixture: &mut Fixture,
    expected: ExpectedMessage,
    offer: &Offer,
) -> Result<String> {
    let got = fixture.seller.trader.expect(Action::PayInvoice).await?;
    let Some(Payload::PaymentRequest(_, bolt11, _)) = got.payload() else {
        bail!("pay-invoice without an invoice: {got}");
    };
    let order = offer.bare("waiting-payment", SELLER_PAYS);
    expected.with(json!({ "payment_request": [order, bolt11, null] })).is(&got)?;
    Ok(bolt11.clone())
}

/// Both are notified that the trade is active; the buyer in answer to `asked`, if it is given.
pub(crate) async fn both_receive_active(
    fixture: &mut Fixture,
    offer: &Offer,
    asked: Option<&Sent>,
) -> Result<()> {
    let to_seller = json!({ "order": offer.parties("active", SELLER_PAYS, fixture)? });
    receives(&mut fixture.seller, offer.message(Action::BuyerTookOrder).with(to_seller)).await?;
    let mut order = offer.parties("active", BUYER_GETS, fixture)?;
    let mut to_buyer = offer.message(Action::HoldInvoicePaymentAccepted);
    if let Some(asked) = asked {
        order["buyer_invoice"] = json!(fixture.destination);
        to_buyer = to_buyer.answering(asked);
    }
    receives(&mut fixture.buyer, to_buyer.with(json!({ "order": order }))).await
}

/// The reputation of a new taker, which is sent with an action that asks the maker to act.
pub(crate) fn reputation_of_new_trader(offer: &Offer) -> Value {
    let today = offer.created_at - offer.created_at % DAY;
    json!({ "peer": { "pubkey": "", "reputation": {
        "rating": 0.0, "reviews": 0, "operating_days": 0, "since": today,
    } } })
}

/// Steps to the start of a scenario. Messages on the way are not compared.
impl<L: Lightning> Fixture<L> {
    pub(crate) fn maker(&mut self, kind: Kind) -> &mut Person {
        if kind == Kind::Sell { &mut self.seller } else { &mut self.buyer }
    }

    /// `pending`.
    pub(crate) async fn offered(&mut self, kind: Kind) -> Result<Offer> {
        self.offered_as(order(kind)).await
    }

    pub(crate) async fn offered_as(&mut self, order: SmallOrder) -> Result<Offer> {
        let kind = order.kind.context("an order has a kind")?;
        let maker = self.maker(kind);
        maker.trader.new_order(order).await?;
        let offer = offer(&maker.trader.wait_for(Action::NewOrder).await?)?;
        self.book.until(offer.id, "pending").await?;
        Ok(offer)
    }

    /// A sell order in `waiting-buyer-invoice`.
    pub(crate) async fn sale_taken(&mut self) -> Result<Offer> {
        let offer = self.offered(Kind::Sell).await?;
        self.buyer.trader.take_sell(offer.id, None).await?;
        self.buyer.trader.wait_for(Action::AddInvoice).await?;
        self.seller.trader.wait_for(Action::WaitingBuyerInvoice).await?;
        self.book.until(offer.id, "in-progress").await?;
        Ok(offer)
    }

    /// A sell order in `waiting-payment`, and its hold invoice.
    pub(crate) async fn sale_invoiced(&mut self) -> Result<(Offer, String)> {
        let offer = self.sale_taken().await?;
        let bolt11 = self.payout_invoice().await?;
        let hold = self.invoiced(&offer, &bolt11).await?;
        Ok((offer, hold))
    }

    /// A sell order in `active`.
    pub(crate) async fn sale_active(&mut self) -> Result<Offer> {
        let (offer, hold) = self.sale_invoiced().await?;
        self.funded(&hold).await?;
        Ok(offer)
    }

    /// A sell order in `fiat-sent`.
    pub(crate) async fn sale_fiat_sent(&mut self) -> Result<Offer> {
        let offer = self.sale_active().await?;
        self.fiat_sent(&offer).await?;
        Ok(offer)
    }

    /// A sell order whose buyer holds the payout, and the preimage that settles it.
    pub(crate) async fn payout_held(&mut self) -> Result<(Offer, Preimage)> {
        let preimage = Preimage([7; 32]);
        let hash = preimage.hash();
        let offer = self.sale_taken().await?;
        let bolt11 = self.buyer.wallet.hold(hash.0, u64::try_from(BUYER_GETS)?).await?;
        let hold = self.invoiced(&offer, &bolt11).await?;
        self.funded(&hold).await?;
        self.fiat_sent(&offer).await?;
        self.seller.trader.release(offer.id).await?;
        let mut seen = 0;
        while self.invoices(BUYER, InvoiceState::Accepted).await? != [hash] {
            self.exchange.lnd.news(&mut seen).await?;
        }
        Ok((offer, preimage))
    }

    /// A buy order in `waiting-payment`, and its hold invoice.
    pub(crate) async fn purchase_taken(&mut self) -> Result<(Offer, String)> {
        let offer = self.offered(Kind::Buy).await?;
        self.seller.trader.take_buy(offer.id).await?;
        self.buyer.trader.wait_for(Action::WaitingSellerToPay).await?;
        let hold = self.hold_invoice().await?;
        self.book.until(offer.id, "in-progress").await?;
        Ok((offer, hold))
    }

    /// A buy order in `waiting-buyer-invoice`, its escrow held.
    pub(crate) async fn purchase_funded(&mut self) -> Result<Offer> {
        let (offer, hold) = self.purchase_taken().await?;
        self.seller.wallet.pay(&hold).await?;
        self.seller.trader.wait_for(Action::WaitingBuyerInvoice).await?;
        self.buyer.trader.wait_for(Action::AddInvoice).await?;
        // The second is the taker's reputation.
        self.buyer.trader.wait_for(Action::AddInvoice).await?;
        Ok(offer)
    }

    /// A buy order in `active`.
    pub(crate) async fn purchase_active(&mut self) -> Result<Offer> {
        let offer = self.purchase_funded().await?;
        let bolt11 = self.payout_invoice().await?;
        self.buyer.trader.add_invoice(offer.id, &bolt11).await?;
        self.is_active().await?;
        Ok(offer)
    }

    /// From `waiting-buyer-invoice` of a sale to `waiting-payment`, and its hold invoice.
    pub(crate) async fn invoiced(&mut self, offer: &Offer, bolt11: &str) -> Result<String> {
        self.buyer.trader.add_invoice(offer.id, bolt11).await?;
        self.buyer.trader.wait_for(Action::WaitingSellerToPay).await?;
        self.hold_invoice().await
    }

    /// From `waiting-payment` of an order with an invoice to `active`.
    pub(crate) async fn funded(&mut self, hold: &str) -> Result<()> {
        self.seller.wallet.pay(hold).await?;
        self.is_active().await
    }

    /// Both are notified that the trade is active.
    pub(crate) async fn is_active(&mut self) -> Result<()> {
        self.seller.trader.wait_for(Action::BuyerTookOrder).await?;
        self.buyer.trader.wait_for(Action::HoldInvoicePaymentAccepted).await?;
        Ok(())
    }

    /// From `active` to `fiat-sent`.
    pub(crate) async fn fiat_sent(&mut self, offer: &Offer) -> Result<()> {
        self.buyer.trader.fiat_sent(offer.id).await?;
        self.buyer.trader.wait_for(Action::FiatSentOk).await?;
        self.seller.trader.wait_for(Action::FiatSentOk).await?;
        Ok(())
    }

    /// A new invoice of the buyer for the payout.
    pub(crate) async fn payout_invoice(&mut self) -> Result<String> {
        self.destination = self.buyer.wallet.invoice(u64::try_from(BUYER_GETS)?).await?;
        Ok(self.destination.clone())
    }

    /// From `active` to the end.
    pub(crate) async fn released(&mut self, offer: &Offer) -> Result<()> {
        self.fiat_sent(offer).await?;
        self.seller.trader.release(offer.id).await?;
        self.is_success(offer).await
    }

    /// Both are notified that the buyer is paid, and the book shows it.
    pub(crate) async fn is_success(&mut self, offer: &Offer) -> Result<()> {
        self.seller.trader.wait_for(Action::Rate).await?;
        self.buyer.trader.wait_for(Action::PurchaseCompleted).await?;
        self.buyer.trader.wait_for(Action::Rate).await?;
        self.book.until(offer.id, "success").await?;
        Ok(())
    }

    /// The hold invoice that the seller gets, after the taker's reputation if that comes first.
    pub(crate) async fn hold_invoice(&mut self) -> Result<String> {
        loop {
            let message = self.seller.trader.wait_for(Action::PayInvoice).await?;
            match message.payload() {
                Some(Payload::PaymentRequest(_, bolt11, _)) => return Ok(bolt11.clone()),
                Some(Payload::Peer(_)) => {}
                _ => bail!("pay-invoice without an invoice: {message}"),
            }
        }
    }
}

/// Reads the answer to `new-order`.
pub(crate) fn offer(answer: &Received) -> Result<Offer> {
    let Some(Payload::Order(order)) = answer.payload() else {
        bail!("the answer to new-order shows no order: {answer}");
    };
    Ok(Offer {
        id: order.id.context("it has no id")?,
        kind: order.kind.context("it has no kind")?,
        created_at: order.created_at.context("it has no creation time")?,
        expires_at: order.expires_at.context("it has no expiry")?,
    })
}

/// All tags of an order event with this status.
fn tags(offer: &Offer, status: &str, event: &Event, fixture: &Fixture) -> Vec<Value> {
    let published = i64::try_from(event.created_at.as_secs()).unwrap_or_default();
    let mut tags = vec![
        json!(["d", offer.id]),
        json!(["k", offer.kind.to_string()]),
        json!(["f", "EUR"]),
        json!(["s", status]),
        json!(["amt", SATS.to_string()]),
        json!(["fa", EUROS.to_string()]),
        json!(["pm", "face to face", "bank transfer"]),
        json!(["premium", "0"]),
    ];
    if status == "pending" {
        let (relay, node) = (fixture.exchange.relay.url(), fixture.exchange.node());
        let today = offer.created_at - offer.created_at % DAY;
        let rating = format!(
            r#"["rating",{{"days":0,"since":{today},"total_rating":0.0,"total_reviews":0}}]"#
        );
        let source = format!("mostro:{}?relays={relay}&mostro={node}", offer.id);
        tags.push(json!(["rating", rating]));
        tags.push(json!(["source", source]));
    }
    let kept_until = if status == "pending" { offer.expires_at } else { published + 30 * DAY };
    tags.extend([
        json!(["network", "regtest"]),
        json!(["layer", "lightning"]),
        json!(["published_at", offer.created_at.to_string()]),
        json!(["expires_at", offer.expires_at.to_string()]),
        json!(["expiration", kept_until.to_string()]),
        json!(["y", "mostro"]),
        json!(["z", "order"]),
    ]);
    tags
}

/// Waits until the order is published with this status, and compares all its tags.
pub(crate) async fn shows(fixture: &mut Fixture, offer: &Offer, status: &str) -> Result<()> {
    let event = fixture.book.until(offer.id, status).await?;
    let got: Vec<_> = event.tags.iter().map(|tag| json!(tag.as_slice())).collect();
    let wanted = tags(offer, status, &event, fixture);
    for (place, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        ensure!(got == wanted, "tag {place} of the {status} order is {got} and not {wanted}");
    }
    ensure!(got.len() == wanted.len(), "the {status} order has {} tags: {got:?}", got.len());
    ensure!(event.content.is_empty(), "an order event has no content");
    Ok(())
}
