//! The real process is killed at every step of a trade, and the trade succeeds.
//!
//! The daemon is killed by SIGKILL at a named point and restarted. The traders repeat no
//! request and get every message at least once. The buyer is paid once by LND's records.

use anyhow::{Context as _, Result};
use devnet::Transport;
use futures::future::try_join_all;
use mostro_core::message::Action;
use uuid::Uuid;

use crate::fixture::{BUYER_GETS, Fixture, SELLER_PAYS, fast_retries};

/// The kind of a trade.
#[derive(Debug, Clone, Copy)]
enum Scenario {
    /// Sell order, invoice later; a first taker's hold is canceled before the trade.
    Sale,
    /// Buy order, invoice after the escrow.
    Purchase,
}

/// A trade, and the points at which the daemon is killed in it, one after the other.
type KilledTrade = (Scenario, Vec<String>);

async fn sale(fixture: &mut Fixture) -> Result<Uuid> {
    let (offer, _) = fixture.sale_invoiced().await?;
    fixture.buyer.trader.cancel(offer.id).await?;
    fixture.buyer.trader.wait_for(Action::Canceled).await?;
    fixture.seller.trader.wait_for(Action::NewOrder).await?;

    fixture.buyer.trader.take_sell(offer.id, None).await?;
    fixture.buyer.trader.wait_for(Action::AddInvoice).await?;
    fixture.seller.trader.wait_for(Action::WaitingBuyerInvoice).await?;
    let bolt11 = fixture.payout_invoice().await?;
    let hold = fixture.invoiced(&offer, &bolt11).await?;
    fixture.funded(&hold).await?;
    fixture.released(&offer).await?;
    Ok(offer.id)
}

async fn purchase(fixture: &mut Fixture) -> Result<Uuid> {
    let offer = fixture.purchase_active().await?;
    fixture.released(&offer).await?;
    Ok(offer.id)
}

/// One trade of a fixture.
async fn survives_kills(fixture: &mut Fixture, (scenario, points): &KilledTrade) -> Result<()> {
    fixture.exchange.daemon.sigterm().await?;
    let before = fixture.exchange.daemon.log().len();
    let runs = fixture.exchange.daemon.start_with_crashes_at(points.clone())?;

    let traded = match scenario {
        Scenario::Sale => sale(fixture).await,
        Scenario::Purchase => purchase(fixture).await,
    };
    let order = traded.with_context(|| fixture.exchange.daemon.log().split_off(before))?;

    fixture.exchange.daemon.take_over(runs).await?;
    fixture.audit(order, -SELLER_PAYS, BUYER_GETS).await
}

/// Runs them one after the other in one fixture.
async fn survive_in_turn(trades: impl Iterator<Item = &KilledTrade>) -> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    for trade in trades {
        let (scenario, points) = trade;
        let survived = survives_kills(&mut fixture, trade).await;
        survived.with_context(|| format!("{scenario:?}, killed at {}", points.join(", then ")))?;
    }
    fixture.exchange.end()
}

/// Distributes them over a few fixtures, which run concurrently.
async fn all_survive(trades: impl IntoIterator<Item = KilledTrade>) -> Result<()> {
    let trades: Vec<_> = trades.into_iter().collect();
    let fixtures = crate::PARALLEL.min(trades.len());
    let shares = (0..fixtures).map(|nth| trades.iter().skip(nth).step_by(fixtures));
    try_join_all(shares.map(survive_in_turn)).await?;
    Ok(())
}

fn once(scenario: Scenario, points: &[&str]) -> Vec<KilledTrade> {
    points.iter().map(|point| (scenario, vec![(*point).to_owned()])).collect()
}

/// `point:1` to `point:last`.
fn each(scenario: Scenario, point: &str, last: u32) -> Vec<KilledTrade> {
    (1..=last).map(|hit| (scenario, vec![format!("{point}:{hit}")])).collect()
}

// spec: INV-6 C16 C25
#[tokio::test]
async fn a_trade_survives_kills_between_receipt_and_decision() -> Result<()> {
    let sale = each(Scenario::Sale, "intake.received", 8);
    let purchase = each(Scenario::Purchase, "intake.received", 5);
    all_survive(sale.into_iter().chain(purchase)).await
}

// spec: INV-6 C20
#[tokio::test]
async fn a_trade_survives_kills_between_decision_and_effects() -> Result<()> {
    let sale = each(Scenario::Sale, "engine.committed", 40);
    let purchase = each(Scenario::Purchase, "engine.committed", 30);
    all_survive(sale.into_iter().chain(purchase).step_by(2)).await
}

// spec: E1 E2 P1 P5 P6 C16 C20 INV-2 INV-3
#[tokio::test]
async fn a_trade_survives_kills_around_each_call_to_lnd() -> Result<()> {
    let mut scenarios = once(
        Scenario::Sale,
        &[
            "ln.add.before",
            "ln.add.during",
            "ln.add.after",
            "ln.cancel.before",
            "ln.cancel.during",
            "ln.cancel.after",
        ],
    );
    for scenario in [Scenario::Sale, Scenario::Purchase] {
        let ends = ["ln.settle", "ln.send"];
        let points = ends.iter().flat_map(|call| {
            ["before", "during", "after"].map(|moment| vec![format!("{call}.{moment}")])
        });
        scenarios.extend(points.map(|points| (scenario, points)));
        // After the restart the daemon finds a payout in progress, asks LND about it, and is killed again.
        let tracked = ["before", "during", "after"]
            .map(|moment| vec!["ln.send.after".to_owned(), format!("ln.track.{moment}")]);
        scenarios.extend(tracked.map(|points| (scenario, points)));
    }
    all_survive(scenarios).await
}

// spec: INV-6 INV-7
#[tokio::test]
async fn a_trade_survives_kills_around_each_publication() -> Result<()> {
    let mut scenarios = Vec::new();
    for scenario in [Scenario::Sale, Scenario::Purchase] {
        for moment in ["before", "during", "after"] {
            scenarios.extend(each(scenario, &format!("publish.message.{moment}"), 12));
            scenarios.extend(each(scenario, &format!("publish.order.{moment}"), 3));
        }
    }
    all_survive(scenarios.into_iter().step_by(2)).await
}

// spec: INV-6 INV-7
#[tokio::test]
async fn a_trade_survives_kills_between_two_deliveries_of_a_batch() -> Result<()> {
    let sale = each(Scenario::Sale, "outbox.finished", 20);
    let purchase = each(Scenario::Purchase, "outbox.finished", 14);
    all_survive(sale.into_iter().chain(purchase).step_by(2)).await
}

// spec: INV-6
#[tokio::test]
async fn a_trade_survives_repeated_kills() -> Result<()> {
    let points = [
        "intake.received:2",
        "engine.committed:4",
        "ln.add.during",
        "publish.message.after:2",
        "ln.settle.after",
        "ln.send.during",
        "ln.track.after",
    ];
    all_survive([(Scenario::Purchase, points.map(str::to_owned).to_vec())]).await
}
