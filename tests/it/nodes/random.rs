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
use super::{
    VICTIMS, Victim, fixture, invoice_state, kill_and_restart, log_line, payment_of, payout, until,
};
use crate::fixture::{BUYER_GETS, Fixture, Offer, SELLER_PAYS, fast_retries};

/// After these blocks LND has refunded every held invoice.
const ALL_HELD: u32 = 130;

/// The event right after which a kill happens.
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

/// What is killed, and when.
#[derive(Debug, Clone, Copy)]
struct Kill {
    moment: Moment,
    victim: Victim,
}

// spec: INV-2 INV-3 E2 E3 P5 P12 C20
#[tokio::test]
async fn a_kill_at_a_random_moment_of_each_trade_loses_nothing() -> Result<()> {
    let seed = seed()?;
    print_line(&format!("REGTEST_SEED={seed}"))?;
    let mut random = Random(seed);
    let mut ends = BTreeMap::<End, usize>::new();
    for (trades, arguments) in [(13, SIGN_AT_ONCE.as_slice()), (12, &[])] {
        let kills = (0..trades).map(|_| random.kill()).collect::<Vec<_>>();
        let trades_with_kills = Box::pin(trades_with_kills(&kills, arguments)).await;
        for end in trades_with_kills
            .with_context(|| format!("REGTEST_SEED={seed}, LND with {arguments:?}"))?
        {
            *ends.entry(end).or_default() += 1;
        }
    }
    print_line(&format!("REGTEST_SEED={seed}: {ends:?}"))
}

/// A trade for each kill, on an LND with these arguments.
async fn trades_with_kills(kills: &[Kill], arguments: &[&str]) -> Result<Vec<End>> {
    let hub_arguments = arguments.iter().map(ToString::to_string).collect();
    let nodes = Config { hub_arguments, ..Config::new()? };
    let mut fixture = fixture(fast_retries()?, nodes).await?;
    let (mut ends, mut last) = (Vec::new(), None);
    for (number, kill) in kills.iter().enumerate() {
        let trade = Box::pin(trade_with_kill(&mut fixture, *kill)).await;
        let (sale, end) = trade.with_context(|| format!("trade {number}, {kill:?}"))?;
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

async fn trade_with_kill(fixture: &mut Fixture, kill: Kill) -> Result<(Offer, End)> {
    let (sale, hold) = fixture.sale_invoiced().await?;
    kill.apply(fixture, Moment::Invoiced).await?;
    let end = match Box::pin(finishes(fixture, &sale, &hold, kill)).await {
        Ok(end) => end,
        Err(error) => refunded(fixture, &sale, &hold).await?.ok_or(error)?,
    };
    if matches!(end, End::Refunded | End::GivenBack) {
        // The traders may have got more messages than were awaited.
        fixture.replace_traders(Transport::Nip44).await?;
    }
    Ok((sale, end))
}

/// A whole trade.
async fn finishes(fixture: &mut Fixture, sale: &Offer, hold: &str, kill: Kill) -> Result<End> {
    is_held(fixture, hold, kill).await?;
    fixture.is_active().await?;
    kill.apply(fixture, Moment::Active).await?;
    fixture.buyer.trader.fiat_sent(sale.id).await?;
    kill.apply(fixture, Moment::FiatSent).await?;
    fixture.seller.trader.wait_for(Action::FiatSentOk).await?;
    fixture.seller.trader.release(sale.id).await?;
    kill.apply(fixture, Moment::Released).await?;
    if kill.moment == Moment::Settled {
        let is_settled = async || Ok(invoice_state(fixture, hold).await? == InvoiceState::Settled);
        until(fixture, "LND settles the escrow", is_settled).await?;
        kill.apply(fixture, Moment::Settled).await?;
    }
    if kill.moment == Moment::PayoutBegun {
        until(fixture, "LND pays", async || Ok(payout(fixture).await?.is_some())).await?;
        kill.apply(fixture, Moment::PayoutBegun).await?;
    }
    ended(fixture, sale).await
}

/// The end of a trade whose escrow was refunded after a kill of LND.
async fn refunded(fixture: &mut Fixture, sale: &Offer, hold: &str) -> Result<Option<End>> {
    let payment = payment_of(&fixture.seller.wallet, hold).await?;
    if payment.is_none_or(|payment| payment.status() != PaymentStatus::Failed) {
        return Ok(None);
    }
    if log_line(fixture, sale, GIVEN_BACK).is_none() {
        fixture.book.until(sale.id, "canceled").await?;
        return Ok(Some(End::Refunded));
    }
    Ok(Some(End::GivenBack))
}

/// The seller pays, and again whenever the payment failed after a kill of LND.
async fn is_held(fixture: &mut Fixture, hold: &str, kill: Kill) -> Result<()> {
    fixture.seller.wallet.pay(hold).await?;
    kill.apply(fixture, Moment::Paid).await?;
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
    kill.apply(fixture, Moment::Held).await
}

impl Kill {
    async fn apply(self, fixture: &mut Fixture, now: Moment) -> Result<()> {
        if self.moment == now { kill_and_restart(fixture, self.victim).await } else { Ok(()) }
    }
}

/// Prints a line, also when the test succeeds.
fn print_line(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{text}")?)
}

/// `REGTEST_SEED`, or a random one.
#[expect(clippy::disallowed_methods, reason = "the seed is an argument of the run")]
fn seed() -> Result<u64> {
    match std::env::var("REGTEST_SEED") {
        Ok(seed) => Ok(seed.parse()?),
        Err(_) => Ok(uuid::Uuid::new_v4().as_u64_pair().0),
    }
}

/// A linear congruential generator: the same seed gives the same numbers.
struct Random(u64);

impl Random {
    fn kill(&mut self) -> Kill {
        let moment = MOMENTS[self.below(MOMENTS.len())];
        Kill { moment, victim: VICTIMS[self.below(VICTIMS.len())] }
    }

    fn below(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % sides
    }
}
