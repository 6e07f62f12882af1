//! A kill at a random moment of each of many trades.

use anyhow::{Context as _, Result};
use devnet::Transport;
use mostro_core::message::Action;

use crate::harness::{BUYER_GETS, Offer, SELLER_PAYS, World, impatient};

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
    let mut w = World::with(impatient()?, Transport::V2).await?;
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

async fn struck(w: &mut World, moment: Moment, is_lnd: bool) -> Result<Offer> {
    let (offer, hold) = w.sale_invoiced().await?;
    if let Moment::Invoiced = moment {
        strike(w, is_lnd).await?;
    }
    w.seller.wallet.pay(&hold).await?;
    if let Moment::Paid = moment {
        strike(w, is_lnd).await?;
    }
    w.is_active().await?;
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
    w.is_success(&offer).await?;
    Ok(offer)
}

async fn strike(w: &mut World, is_lnd: bool) -> Result<()> {
    if is_lnd {
        return w.lnd_dies_and_returns().await;
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
