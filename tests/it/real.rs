//! Whole trades on real nodes, and what only those can do to them: `make regtest`. Each story has a
//! chain, nodes, relay and daemon of its own.

#[expect(dead_code, reason = "the stories on simulated nodes need more of it")]
mod harness;

use anyhow::{Context as _, Result, ensure};
use devnet::{BUYER, Lightning as _, MOSTRO, Net, Transport};
use lnd_sim::{InvoiceState, Preimage};
use mostro_core::message::Action;
use mostro_core::order::Kind;
use regtest::{Config, Regtest};

use harness::{BUYER_GETS, Offer, SELLER_PAYS, World, settings};

/// With little patience: what LND does takes as long as it takes.
async fn world() -> Result<Box<World<Regtest>>> {
    let settings = settings()?.set("lightning", "payment_retries_interval", 1).set(
        "lightning",
        "payout_quiet_seconds",
        1,
    );
    let mut nodes = Config::new()?;
    // As operators are told to: LND dangles less.
    nodes.mostro_arguments =
        ["--channel-commit-interval=1ms", "--channel-commit-batch-size=1"].map(Into::into).into();
    let net = Box::pin(Net::start_on_nodes(nodes, settings)).await?;
    Box::pin(World::around(net, Transport::V2)).await
}

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

// spec: E3 P5 T10 T29 T32
#[tokio::test]
async fn lnd_is_killed_with_the_escrow_open_then_held_then_with_the_payout_in_flight() -> Result<()>
{
    let mut w = world().await?;
    let (first, hold) = w.sale_invoiced().await?;
    lnd_dies_and_returns(&w).await?;
    w.seller.wallet.pay(&hold).await?;
    w.seller.trader.wait_for(Action::BuyerTookOrder).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentAccepted).await?;
    w.released(&first).await?;

    let second = w.sale_active().await?;
    lnd_dies_and_returns(&w).await?;
    w.released(&second).await?;

    let (third, preimage) = payout_in_flight(&mut w).await?;
    lnd_dies_and_returns(&w).await?;
    w.buyer.wallet.settle(preimage.0).await?;
    is_paid(&mut w, &third).await?;
    w.close(third.id, -3 * SELLER_PAYS, 3 * BUYER_GETS).await
}

// spec: E3 P5 C20 INV-2
#[tokio::test]
async fn the_daemon_is_killed_alone_and_together_with_lnd() -> Result<()> {
    let mut w = world().await?;
    let (first, hold) = w.sale_invoiced().await?;
    w.net.daemon.kill9().await?;
    w.seller.wallet.pay(&hold).await?;
    w.net.daemon.start().await?;
    w.seller.trader.wait_for(Action::BuyerTookOrder).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentAccepted).await?;
    w.released(&first).await?;

    let (second, preimage) = payout_in_flight(&mut w).await?;
    w.net.daemon.kill9().await?;
    lnd_dies_and_returns(&w).await?;
    w.buyer.wallet.settle(preimage.0).await?;
    w.net.daemon.start().await?;
    is_paid(&mut w, &second).await?;
    w.close(second.id, -2 * SELLER_PAYS, 2 * BUYER_GETS).await
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

const STRUCK: i64 = 25;

/// When somebody is struck: right after this was done.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Invoiced,
    Paid,
    Active,
    FiatSent,
    Released,
}

// spec: INV-2 INV-3 E2 E3 P5 C20
#[tokio::test]
async fn a_kill_at_a_random_moment_of_each_trade_loses_nothing() -> Result<()> {
    const MOMENTS: [Moment; 5] =
        [Moment::Invoiced, Moment::Paid, Moment::Active, Moment::FiatSent, Moment::Released];
    let seed = seed()?;
    let mut dice = Dice(seed);
    let mut w = world().await?;
    let mut last = None;
    for number in 1..=STRUCK {
        let moment = MOMENTS[dice.throw(MOMENTS.len())];
        let is_lnd = dice.throw(2) == 0;
        let trade = Box::pin(struck(&mut w, moment, is_lnd)).await.with_context(|| {
            let victim = if is_lnd { "LND" } else { "the daemon" };
            format!("REGTEST_SEED={seed}: trade {number}, {victim} killed when {moment:?}")
        });
        last = Some(trade?.id);
    }
    w.close(last.context("there was a trade")?, -STRUCK * SELLER_PAYS, STRUCK * BUYER_GETS).await
}

async fn struck(w: &mut World<Regtest>, moment: Moment, is_lnd: bool) -> Result<Offer> {
    let (offer, hold) = w.sale_invoiced().await?;
    if let Moment::Invoiced = moment {
        strike(w, is_lnd).await?;
    }
    w.seller.wallet.pay(&hold).await?;
    if let Moment::Paid = moment {
        strike(w, is_lnd).await?;
    }
    w.seller.trader.wait_for(Action::BuyerTookOrder).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentAccepted).await?;
    if let Moment::Active = moment {
        strike(w, is_lnd).await?;
    }
    w.buyer.trader.fiat_sent(offer.id).await?;
    if let Moment::FiatSent = moment {
        strike(w, is_lnd).await?;
    }
    w.seller.trader.wait_for(Action::FiatSentOk).await?;
    w.seller.trader.release(offer.id).await?;
    if let Moment::Released = moment {
        strike(w, is_lnd).await?;
    }
    is_paid(w, &offer).await?;
    Ok(offer)
}

async fn strike(w: &mut World<Regtest>, is_lnd: bool) -> Result<()> {
    if is_lnd {
        return lnd_dies_and_returns(w).await;
    }
    w.net.daemon.kill9().await?;
    w.net.daemon.start().await
}

/// `REGTEST_SEED`, or one that is drawn.
#[expect(clippy::disallowed_methods, reason = "the seed is an argument of the run")]
fn seed() -> Result<u64> {
    match std::env::var("REGTEST_SEED") {
        Ok(seed) => Ok(seed.parse()?),
        Err(_) => Ok(uuid::Uuid::new_v4().as_u64_pair().0),
    }
}

/// A linear congruential generator: the same seed, the same throws.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % sides
    }
}

async fn purchase(w: &mut World<Regtest>) -> Result<Offer> {
    let offer = w.purchase_funded().await?;
    ensure!(offer.kind == Kind::Buy, "another order was made");
    let invoice = w.payout_invoice().await?;
    w.buyer.trader.add_invoice(offer.id, &invoice).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentAccepted).await?;
    w.seller.trader.wait_for(Action::BuyerTookOrder).await?;
    w.released(&offer).await?;
    Ok(offer)
}

/// SIGKILL. When this returns its channels are active again.
async fn lnd_dies_and_returns(w: &World<Regtest>) -> Result<()> {
    w.net.lnd.kill_node(MOSTRO).await?;
    w.net.lnd.start_node(MOSTRO).await
}

/// A sale whose buyer holds the payout.
async fn payout_in_flight(w: &mut World<Regtest>) -> Result<(Offer, Preimage)> {
    let preimage = Preimage([7; 32]);
    let hash = preimage.hash();
    let offer = w.sale_taken().await?;
    let invoice = w.buyer.wallet.hold(hash.0, u64::try_from(BUYER_GETS)?).await?;
    w.buyer.trader.add_invoice(offer.id, &invoice).await?;
    w.buyer.trader.wait_for(Action::WaitingSellerToPay).await?;
    let hold = w.hold_invoice().await?;
    w.seller.wallet.pay(&hold).await?;
    w.seller.trader.wait_for(Action::BuyerTookOrder).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentAccepted).await?;
    w.buyer.trader.fiat_sent(offer.id).await?;
    w.seller.trader.wait_for(Action::FiatSentOk).await?;
    w.seller.trader.release(offer.id).await?;
    let mut seen = 0;
    while !w.net.lnd.list_invoices(BUYER, InvoiceState::Accepted).await?.contains(&hash) {
        w.net.lnd.news(&mut seen).await?;
    }
    Ok((offer, preimage))
}

async fn is_paid(w: &mut World<Regtest>, offer: &Offer) -> Result<()> {
    w.buyer.trader.wait_for(Action::PurchaseCompleted).await?;
    w.seller.trader.wait_for(Action::Rate).await?;
    w.buyer.trader.wait_for(Action::Rate).await?;
    w.book.until(offer.id, "success").await?;
    Ok(())
}
