//! The real process is killed at every step of a trade, and the trade ends well.
//!
//! The daemon dies by SIGKILL at a named point, is started again, and the traders, who wait and
//! repeat nothing, get every message at least once. The buyer is paid once: LND's books say so.

use anyhow::{Context as _, Result};
use devnet::Transport;
use futures::{StreamExt as _, TryStreamExt as _};
use mostro_core::message::Action;
use uuid::Uuid;

use crate::harness::{BUYER_GETS, SELLER_PAYS, World, settings};

/// Worlds at a time: most of the time each of them waits.
const AT_ONCE: usize = 4;

/// How a trade goes.
#[derive(Debug, Clone, Copy)]
enum Story {
    /// Sell order, invoice later; a first taker's hold is canceled before the trade.
    Sale,
    /// Buy order, invoice after the escrow.
    Purchase,
}

/// A story in which the daemon dies at each of these points, one life after the other.
async fn survives(story: Story, points: &[String]) -> Result<()> {
    let settings = settings()?.set("lightning", "payout_quiet_seconds", 1).set(
        "lightning",
        "payment_retries_interval",
        1,
    );
    let mut w = World::with(settings, Transport::V2).await?;
    w.net.daemon.sigterm().await?;
    let lives = w.net.daemon.start_to_die_at(points.to_vec())?;

    let told = match story {
        Story::Sale => sale(&mut w).await,
        Story::Purchase => purchase(&mut w).await,
    };
    let order = told.with_context(|| w.net.daemon.log())?;

    w.net.daemon.settle(lives).await?;
    w.close(order, -SELLER_PAYS, BUYER_GETS).await
}

async fn sale(w: &mut World) -> Result<Uuid> {
    let (offer, _) = w.sale_invoiced().await?;
    w.buyer.trader.cancel(offer.id).await?;
    w.buyer.trader.wait_for(Action::Canceled).await?;
    w.seller.trader.wait_for(Action::NewOrder).await?;

    w.buyer.trader.take_sell(offer.id, None).await?;
    w.buyer.trader.wait_for(Action::AddInvoice).await?;
    w.seller.trader.wait_for(Action::WaitingBuyerInvoice).await?;
    let invoice = w.payout_invoice().await?;
    w.buyer.trader.add_invoice(offer.id, &invoice).await?;
    w.buyer.trader.wait_for(Action::WaitingSellerToPay).await?;
    let hold = w.hold_invoice().await?;
    w.seller.wallet.pay(&hold).await?;
    w.seller.trader.wait_for(Action::BuyerTookOrder).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentAccepted).await?;
    w.released(&offer).await?;
    Ok(offer.id)
}

async fn purchase(w: &mut World) -> Result<Uuid> {
    let offer = w.purchase_funded().await?;
    let invoice = w.payout_invoice().await?;
    w.buyer.trader.add_invoice(offer.id, &invoice).await?;
    w.buyer.trader.wait_for(Action::HoldInvoicePaymentAccepted).await?;
    w.seller.trader.wait_for(Action::BuyerTookOrder).await?;
    w.released(&offer).await?;
    Ok(offer.id)
}

/// Every story of the list, a few worlds at a time.
async fn all_survive(stories: impl IntoIterator<Item = (Story, Vec<String>)>) -> Result<()> {
    futures::stream::iter(stories)
        .map(|(story, points)| async move {
            survives(story, &points)
                .await
                .with_context(|| format!("{story:?}, killed at {}", points.join(", then ")))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

fn once(story: Story, points: &[&str]) -> Vec<(Story, Vec<String>)> {
    points.iter().map(|point| (story, vec![(*point).to_owned()])).collect()
}

/// `point:1` to `point:last`.
fn each(story: Story, point: &str, last: u32) -> Vec<(Story, Vec<String>)> {
    (1..=last).map(|hit| (story, vec![format!("{point}:{hit}")])).collect()
}

// spec: INV-6 C16 C25
#[tokio::test]
async fn killed_with_a_message_received_and_not_decided() -> Result<()> {
    let sale = each(Story::Sale, "intake.received", 8);
    let purchase = each(Story::Purchase, "intake.received", 5);
    all_survive(sale.into_iter().chain(purchase)).await
}

// spec: INV-6 C20
#[tokio::test]
async fn killed_with_a_decision_on_disk_and_nothing_done() -> Result<()> {
    let sale = each(Story::Sale, "engine.committed", 40);
    let purchase = each(Story::Purchase, "engine.committed", 30);
    all_survive(sale.into_iter().chain(purchase).step_by(2)).await
}

// spec: E1 E2 P1 P5 P6 C16 C20 INV-2 INV-3
#[tokio::test]
async fn killed_before_during_and_after_each_call_to_lnd() -> Result<()> {
    let mut stories = once(
        Story::Sale,
        &[
            "ln.add.before",
            "ln.add.during",
            "ln.add.after",
            "ln.cancel.before",
            "ln.cancel.during",
            "ln.cancel.after",
        ],
    );
    for story in [Story::Sale, Story::Purchase] {
        let ends = ["ln.settle", "ln.send"];
        let points = ends.iter().flat_map(|call| {
            ["before", "during", "after"].map(|moment| vec![format!("{call}.{moment}")])
        });
        stories.extend(points.map(|points| (story, points)));
        // Who comes back finds a payout that was begun, asks about it, and dies again.
        let tracked = ["before", "during", "after"]
            .map(|moment| vec!["ln.send.after".to_owned(), format!("ln.track.{moment}")]);
        stories.extend(tracked.map(|points| (story, points)));
    }
    all_survive(stories).await
}

// spec: INV-6 INV-7
#[tokio::test]
async fn killed_before_and_after_each_event_is_published() -> Result<()> {
    let mut stories = Vec::new();
    for story in [Story::Sale, Story::Purchase] {
        for moment in ["before", "during", "after"] {
            stories.extend(each(story, &format!("publish.message.{moment}"), 12));
            stories.extend(each(story, &format!("publish.book.{moment}"), 3));
        }
    }
    all_survive(stories.into_iter().step_by(2)).await
}

// spec: INV-6 INV-7
#[tokio::test]
async fn killed_between_two_deliveries_of_one_batch() -> Result<()> {
    let sale = each(Story::Sale, "outbox.finished", 20);
    let purchase = each(Story::Purchase, "outbox.finished", 14);
    all_survive(sale.into_iter().chain(purchase).step_by(2)).await
}

// spec: INV-6
#[tokio::test]
async fn killed_again_and_again() -> Result<()> {
    let points = [
        "intake.received:2",
        "engine.committed:4",
        "ln.add.during",
        "publish.message.after:2",
        "ln.settle.after",
        "ln.send.during",
        "ln.track.after",
    ];
    survives(Story::Purchase, &points.map(str::to_owned)).await
}
