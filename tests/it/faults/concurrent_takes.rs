//! Two takers of the same order.

use anyhow::{Context as _, Result, ensure};
use devnet::{HUB, SELLER, Transport};
use lnd_sim::InvoiceState;
use mostro_core::message::{Action, Payload};
use mostro_core::order::Kind;
use mostro_core::prelude::CantDoReason;

use crate::fixture::Fixture;

// spec: C1 INV-5 K-02
#[tokio::test]
async fn of_two_concurrent_takers_one_succeeds_and_the_other_is_refused() -> Result<()> {
    let mut fixture = Fixture::open(Transport::Nip44).await?;
    let offer = fixture.offered(Kind::Buy).await?;
    let mut rival = fixture.exchange.person(SELLER, Transport::Nip44).await?;

    let (first, second) =
        tokio::join!(fixture.seller.trader.take_buy(offer.id), rival.trader.take_buy(offer.id));
    first.and(second)?;

    let (one, other) = tokio::join!(
        fixture.seller.trader.wait_for(Action::PayInvoice),
        rival.trader.wait_for(Action::PayInvoice)
    );
    ensure!(one.is_ok() != other.is_ok(), "not exactly one succeeded: {one:?}, {other:?}");
    let loser = if one.is_ok() { &rival } else { &fixture.seller };
    let answer = loser.trader.received().last().context("the refused taker got no message")?;
    let is_refused =
        matches!(answer.payload(), Some(Payload::CantDo(Some(CantDoReason::InvalidOrderStatus))));
    ensure!(is_refused, "the refused taker got {answer}");
    let open = fixture.invoices(HUB, InvoiceState::Open).await?;
    let canceled = fixture.invoices(HUB, InvoiceState::Canceled).await?;
    ensure!(open.len() == 1 && canceled.is_empty(), "holds: {open:?}, canceled: {canceled:?}");
    fixture.buyer.trader.wait_for(Action::WaitingSellerToPay).await?;
    fixture.exchange.end()
}
