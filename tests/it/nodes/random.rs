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
use super::{VICTIMS, Victim, fixture, invoice_state, payment_of, payout, said, strike, until};
use crate::fixture::{BUYER_GETS, Fixture, Offer, SELLER_PAYS, impatient};

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
    let mut fixture = fixture(impatient()?, nodes).await?;
    let (mut ends, mut last) = (Vec::new(), None);
    for (number, blow) in blows.iter().enumerate() {
        let trade = Box::pin(struck(&mut fixture, *blow)).await;
        let (sale, end) = trade.with_context(|| format!("trade {number}, {blow:?}"))?;
        if end == End::GivenBack {
            fixture.frozen.push(sale.id);
        }
        ends.push(end);
        last = Some(sale.id);
    }
    if !fixture.invoices(HUB, lnd_sim::InvoiceState::Accepted).await?.is_empty() {
        fixture.exchange.lnd.mine(ALL_HELD).await?;
    }
    let is_paid = |end: &&End| matches!(end, End::Success | End::Remedied);
    let paid = i64::try_from(ends.iter().filter(is_paid).count())?;
    fixture
        .close(last.context("there was a trade")?, -paid * SELLER_PAYS, paid * BUYER_GETS)
        .await?;
    Ok(ends)
}

async fn struck(fixture: &mut Fixture, blow: Blow) -> Result<(Offer, End)> {
    let (sale, hold) = fixture.sale_invoiced().await?;
    blow.falls(fixture, Moment::Invoiced).await?;
    let end = match Box::pin(goes_on(fixture, &sale, &hold, blow)).await {
        Ok(end) => end,
        Err(error) => refunded(fixture, &sale, &hold).await?.ok_or(error)?,
    };
    if matches!(end, End::Refunded | End::GivenBack) {
        // These two may have been told more than they asked for.
        fixture.meets_newcomers(Transport::Nip44).await?;
    }
    Ok((sale, end))
}

/// A trade as it should be.
async fn goes_on(fixture: &mut Fixture, sale: &Offer, hold: &str, blow: Blow) -> Result<End> {
    is_held(fixture, hold, blow).await?;
    fixture.is_active().await?;
    blow.falls(fixture, Moment::Active).await?;
    fixture.buyer.trader.fiat_sent(sale.id).await?;
    blow.falls(fixture, Moment::FiatSent).await?;
    fixture.seller.trader.wait_for(Action::FiatSentOk).await?;
    fixture.seller.trader.release(sale.id).await?;
    blow.falls(fixture, Moment::Released).await?;
    if blow.moment == Moment::Settled {
        let is_settled = async || Ok(invoice_state(fixture, hold).await? == InvoiceState::Settled);
        until(fixture, "LND settles the escrow", is_settled).await?;
        blow.falls(fixture, Moment::Settled).await?;
    }
    if blow.moment == Moment::PayoutBegun {
        until(fixture, "LND pays", async || Ok(payout(fixture).await?.is_some())).await?;
        blow.falls(fixture, Moment::PayoutBegun).await?;
    }
    ended(fixture, sale).await
}

/// How a trade ended whose escrow an LND that died has given back.
async fn refunded(fixture: &mut Fixture, sale: &Offer, hold: &str) -> Result<Option<End>> {
    let payment = payment_of(&fixture.seller.wallet, hold).await?;
    if payment.is_none_or(|payment| payment.status() != PaymentStatus::Failed) {
        return Ok(None);
    }
    if said(fixture, sale, GIVEN_BACK).is_none() {
        fixture.book.until(sale.id, "canceled").await?;
        return Ok(Some(End::Refunded));
    }
    Ok(Some(End::GivenBack))
}

/// The seller pays, and again whenever an LND that died gave it back.
async fn is_held(fixture: &mut Fixture, hold: &str, blow: Blow) -> Result<()> {
    fixture.seller.wallet.pay(hold).await?;
    blow.falls(fixture, Moment::Paid).await?;
    let is_held = async || Ok(invoice_state(fixture, hold).await? != InvoiceState::Open);
    until(fixture, "the escrow is held", async || {
        let payment = payment_of(&fixture.seller.wallet, hold).await?;
        let has_failed = payment.is_some_and(|it| it.status() == PaymentStatus::Failed);
        if has_failed && !is_held().await? {
            fixture.seller.wallet.pay(hold).await?;
        }
        is_held().await
    })
    .await?;
    blow.falls(fixture, Moment::Held).await
}

impl Blow {
    async fn falls(self, fixture: &mut Fixture, now: Moment) -> Result<()> {
        if self.moment == now { strike(fixture, self.victim).await } else { Ok(()) }
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
