//! Two people want the same order.

use anyhow::{Context as _, Result, ensure};
use devnet::Transport;
use lnd_sim::{InvoiceState, MOSTRO, Rpc};
use mostro_core::message::{Action, Payload};
use mostro_core::order::Kind;
use mostro_core::prelude::CantDoReason;

use crate::harness::World;

// spec: C1 INV-5 K-02
#[tokio::test]
async fn of_two_takers_at_once_one_wins_and_the_other_is_told() -> Result<()> {
    let mut w = World::open(Transport::V2).await?;
    let offer = w.offered(Kind::Buy).await?;
    w.net.lnd.forget_calls();
    let mut rival = w.net.person("seller", Transport::V2).await?;

    let (first, second) =
        tokio::join!(w.seller.trader.take_buy(offer.id), rival.trader.take_buy(offer.id));
    first.and(second)?;

    let (one, other) = tokio::join!(
        w.seller.trader.wait_for(Action::PayInvoice),
        rival.trader.wait_for(Action::PayInvoice)
    );
    ensure!(one.is_ok() != other.is_ok(), "both or none: {one:?}, {other:?}");
    let loser = if one.is_ok() { &rival } else { &w.seller };
    let told = loser.trader.received().last().context("the loser was told nothing")?;
    let is_refused =
        matches!(told.payload(), Some(Payload::CantDo(Some(CantDoReason::InvalidOrderStatus))));
    ensure!(is_refused, "the loser was told {told}");
    ensure!(w.net.lnd.calls(Rpc::AddHoldInvoice) == 1, "more than one hold was asked for");
    ensure!(w.net.lnd.list_invoices(MOSTRO, InvoiceState::Open).len() == 1, "one hold is left");
    w.buyer.trader.wait_for(Action::WaitingSellerToPay).await?;
    Ok(())
}
