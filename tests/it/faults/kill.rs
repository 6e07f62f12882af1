//! The real process is killed at every step of a trade, and the trade ends well.
//!
//! The daemon dies by SIGKILL at a named point, is started again, and the traders, who wait and
//! repeat nothing, get every message at least once. The buyer is paid once: LND's books say so.

use anyhow::{Context as _, Result};
use devnet::Transport;
use futures::future::try_join_all;
use mostro_core::message::Action;
use uuid::Uuid;

use crate::harness::{BUYER_GETS, SELLER_PAYS, World, impatient};

/// How a trade goes.
#[derive(Debug, Clone, Copy)]
enum Story {
    /// Sell order, invoice later; a first taker's hold is canceled before the trade.
    Sale,
    /// Buy order, invoice after the escrow.
    Purchase,
}

/// A trade, and the points at which the daemon dies in it, one life after the other.
type Fate = (Story, Vec<String>);

async fn sale(w: &mut World) -> Result<Uuid> {
    let (offer, _) = w.sale_invoiced().await?;
    w.buyer.trader.cancel(offer.id).await?;
    w.buyer.trader.wait_for(Action::Canceled).await?;
    w.seller.trader.wait_for(Action::NewOrder).await?;

    w.buyer.trader.take_sell(offer.id, None).await?;
    w.buyer.trader.wait_for(Action::AddInvoice).await?;
    w.seller.trader.wait_for(Action::WaitingBuyerInvoice).await?;
    let bolt11 = w.payout_invoice().await?;
    let hold = w.invoiced(&offer, &bolt11).await?;
    w.funded(&hold).await?;
    w.released(&offer).await?;
    Ok(offer.id)
}

async fn purchase(w: &mut World) -> Result<Uuid> {
    let offer = w.purchase_active().await?;
    w.released(&offer).await?;
    Ok(offer.id)
}

/// One trade of a world.
async fn survives(w: &mut World, (story, points): &Fate) -> Result<()> {
    w.net.daemon.sigterm().await?;
    let before = w.net.daemon.log().len();
    let lives = w.net.daemon.start_to_die_at(points.clone())?;

    let told = match story {
        Story::Sale => sale(w).await,
        Story::Purchase => purchase(w).await,
    };
    let order = told.with_context(|| w.net.daemon.log().split_off(before))?;

    w.net.daemon.settle(lives).await?;
    w.audit(order, -SELLER_PAYS, BUYER_GETS).await
}

/// All of it happens in one world.
async fn survives_all(fates: impl Iterator<Item = &Fate>) -> Result<()> {
    let mut w = World::with(impatient()?, Transport::Nip44).await?;
    for fate in fates {
        let (story, points) = fate;
        let survived = survives(&mut w, fate).await;
        survived.with_context(|| format!("{story:?}, killed at {}", points.join(", then ")))?;
    }
    w.net.end()
}

/// Dealt out to a few worlds, side by side.
async fn all_survive(fates: impl IntoIterator<Item = Fate>) -> Result<()> {
    let fates: Vec<_> = fates.into_iter().collect();
    let worlds = crate::WORLDS.min(fates.len());
    let dealt = (0..worlds).map(|nth| fates.iter().skip(nth).step_by(worlds));
    try_join_all(dealt.map(survives_all)).await?;
    Ok(())
}

fn once(story: Story, points: &[&str]) -> Vec<Fate> {
    points.iter().map(|point| (story, vec![(*point).to_owned()])).collect()
}

/// `point:1` to `point:last`.
fn each(story: Story, point: &str, last: u32) -> Vec<Fate> {
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
            stories.extend(each(story, &format!("publish.order.{moment}"), 3));
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
    all_survive([(Story::Purchase, points.map(str::to_owned).to_vec())]).await
}
