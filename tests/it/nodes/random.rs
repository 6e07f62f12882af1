//! A kill at a random moment of each of many trades.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use devnet::{HUB, Transport};
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState;
use fedimint_tonic_lnd::lnrpc::payment::PaymentStatus;
use mostro_core::message::Action;
use regtest::{Config, SIGN_AT_ONCE};

use super::dangling::{End, GIVEN_BACK, ended};
use super::{VICTIMS, Victim, invoice_state, payment_of, payout, said, strike, until, world};
use crate::harness::{BUYER_GETS, Offer, SELLER_PAYS, World, impatient};

/// After so many blocks LND has given back whatever is held.
const ALL_HELD: u32 = 130;

/// When somebody is struck: right after this happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Invoiced,
    Paid,
    Held,
    Active,
    FiatSent,
    Released,
    Settled,
    PayoutBegun,
}

const MOMENTS: [Moment; 8] = [
    Moment::Invoiced,
    Moment::Paid,
    Moment::Held,
    Moment::Active,
    Moment::FiatSent,
    Moment::Released,
    Moment::Settled,
    Moment::PayoutBegun,
];

/// Who dies when.
#[derive(Debug, Clone, Copy)]
struct Blow {
    moment: Moment,
    victim: Victim,
}

// spec: INV-2 INV-3 E2 E3 P5 P12 C20
#[tokio::test]
async fn a_kill_at_a_random_moment_of_each_trade_loses_nothing() -> Result<()> {
    let seed = seed()?;
    tell(&format!("REGTEST_SEED={seed}"))?;
    let mut dice = Dice(seed);
    let mut ends = BTreeMap::<End, usize>::new();
    for (trades, arguments) in [(13, SIGN_AT_ONCE.as_slice()), (12, &[])] {
        let blows = (0..trades).map(|_| dice.blow()).collect::<Vec<_>>();
        let spree = Box::pin(spree(&blows, arguments)).await;
        for end in spree.with_context(|| format!("REGTEST_SEED={seed}, LND with {arguments:?}"))? {
            *ends.entry(end).or_default() += 1;
        }
    }
    tell(&format!("REGTEST_SEED={seed}: {ends:?}"))
}

/// A trade for each blow, on an LND with these arguments.
async fn spree(blows: &[Blow], arguments: &[&str]) -> Result<Vec<End>> {
    let hub_arguments = arguments.iter().map(ToString::to_string).collect();
    let nodes = Config { hub_arguments, ..Config::new()? };
    let mut w = world(impatient()?, nodes).await?;
    let (mut ends, mut last) = (Vec::new(), None);
    for (number, blow) in blows.iter().enumerate() {
        let trade = Box::pin(struck(&mut w, *blow)).await;
        let (sale, end) = trade.with_context(|| format!("trade {number}, {blow:?}"))?;
        if end == End::GivenBack {
            w.frozen.push(sale.id);
        }
        ends.push(end);
        last = Some(sale.id);
    }
    if !w.invoices(HUB, lnd_sim::InvoiceState::Accepted).await?.is_empty() {
        w.net.lnd.mine(ALL_HELD).await?;
    }
    let is_paid = |end: &&End| matches!(end, End::Success | End::Remedied);
    let paid = i64::try_from(ends.iter().filter(is_paid).count())?;
    w.close(last.context("there was a trade")?, -paid * SELLER_PAYS, paid * BUYER_GETS).await?;
    Ok(ends)
}

async fn struck(w: &mut World, blow: Blow) -> Result<(Offer, End)> {
    let (sale, hold) = w.sale_invoiced().await?;
    blow.falls(w, Moment::Invoiced).await?;
    let end = match Box::pin(goes_on(w, &sale, &hold, blow)).await {
        Ok(end) => end,
        Err(error) => refunded(w, &sale, &hold).await?.ok_or(error)?,
    };
    if matches!(end, End::Refunded | End::GivenBack) {
        // These two may have been told more than they asked for.
        w.meets_newcomers(Transport::Nip44).await?;
    }
    Ok((sale, end))
}

/// A trade as it should be.
async fn goes_on(w: &mut World, sale: &Offer, hold: &str, blow: Blow) -> Result<End> {
    is_held(w, hold, blow).await?;
    w.is_active().await?;
    blow.falls(w, Moment::Active).await?;
    w.buyer.trader.fiat_sent(sale.id).await?;
    blow.falls(w, Moment::FiatSent).await?;
    w.seller.trader.wait_for(Action::FiatSentOk).await?;
    w.seller.trader.release(sale.id).await?;
    blow.falls(w, Moment::Released).await?;
    if blow.moment == Moment::Settled {
        let is_settled = async || Ok(invoice_state(w, hold).await? == InvoiceState::Settled);
        until(w, "LND settles the escrow", is_settled).await?;
        blow.falls(w, Moment::Settled).await?;
    }
    if blow.moment == Moment::PayoutBegun {
        until(w, "LND pays", async || Ok(payout(w).await?.is_some())).await?;
        blow.falls(w, Moment::PayoutBegun).await?;
    }
    ended(w, sale).await
}

/// How a trade ended whose escrow an LND that died has given back.
async fn refunded(w: &mut World, sale: &Offer, hold: &str) -> Result<Option<End>> {
    let payment = payment_of(&w.seller.wallet, hold).await?;
    if payment.is_none_or(|payment| payment.status() != PaymentStatus::Failed) {
        return Ok(None);
    }
    if said(w, sale, GIVEN_BACK).is_none() {
        w.book.until(sale.id, "canceled").await?;
        return Ok(Some(End::Refunded));
    }
    Ok(Some(End::GivenBack))
}

/// The seller pays, and again whenever an LND that died gave it back.
async fn is_held(w: &mut World, hold: &str, blow: Blow) -> Result<()> {
    w.seller.wallet.pay(hold).await?;
    blow.falls(w, Moment::Paid).await?;
    let is_held = async || Ok(invoice_state(w, hold).await? != InvoiceState::Open);
    until(w, "the escrow is held", async || {
        let payment = payment_of(&w.seller.wallet, hold).await?;
        let has_failed = payment.is_some_and(|it| it.status() == PaymentStatus::Failed);
        if has_failed && !is_held().await? {
            w.seller.wallet.pay(hold).await?;
        }
        is_held().await
    })
    .await?;
    blow.falls(w, Moment::Held).await
}

impl Blow {
    async fn falls(self, w: &mut World, now: Moment) -> Result<()> {
        if self.moment == now { strike(w, self.victim).await } else { Ok(()) }
    }
}

/// To people, also when the test goes well.
fn tell(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{text}")?)
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
    fn blow(&mut self) -> Blow {
        let moment = MOMENTS[self.throw(MOMENTS.len())];
        Blow { moment, victim: VICTIMS[self.throw(VICTIMS.len())] }
    }

    fn throw(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % sides
    }
}
