//! Another program makes the daemon's LND accept hold invoices for less than their amount.

use std::pin::pin;

use anyhow::{Context as _, Result, bail, ensure};
use devnet::{HUB, Lightning as _, SELLER, Transport, Wallet};
use fedimint_tonic_lnd::invoicesrpc::{HtlcModifyRequest, HtlcModifyResponse};
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState;
use fedimint_tonic_lnd::routerrpc::{BuildRouteRequest, SendToRouteRequest};
use futures::future::{Either, select};
use lightning_invoice::Bolt11Invoice;
use mostro_core::message::Action;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use super::{invoice_state, until};
use crate::fixture::{Fixture, fast_retries};

/// The amount that the seller really pays.
const A_SAT_MSAT: u64 = 1_000;

// spec: D33 T10 T16 INV-1
#[tokio::test]
async fn a_one_sat_htlc_reported_as_paid_in_full_starts_no_trade() -> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let mut others = JoinSet::new();
    others.spawn(modify(fixture.exchange.lnd.wallet(HUB)?, fixture.exchange.lnd.wallet(HUB)?));
    let (sale, hold) = fixture.sale_invoiced().await?;
    others.spawn(pay_a_sat(fixture.exchange.lnd.wallet(SELLER)?, hold.parse()?));

    fixture
        .exchange
        .daemon
        .wait_for_log("ALARM: LND called an escrow accepted that holds fewer sats")
        .await?;
    fixture.seller.trader.wait_for(Action::Canceled).await?;
    fixture.buyer.trader.wait_for(Action::Canceled).await?;
    fixture.book.until(sale.id, "canceled").await?;
    let is_canceled = async || Ok(invoice_state(&fixture, &hold).await? == InvoiceState::Canceled);
    until(&fixture, "the daemon gives the sat back", is_canceled).await?;
    let is_back = async || Ok(fixture.exchange.lnd.balance(SELLER).await?.outgoing_held_msat == 0);
    until(&fixture, "the seller has it", is_back).await?;
    let actions = fixture.buyer.trader.received().iter();
    let mut actions = actions.map(|it| &it.message.get_inner_message_kind().action);
    let is_active = actions.any(|it| *it == Action::HoldInvoicePaymentAccepted);
    ensure!(!is_active, "the buyer was asked to send fiat");
    fixture.close(sale.id, 0, 0).await
}

/// An HTLC modifier that reports each HTLC with the amount of its invoice.
async fn modify(first: Wallet, second: Wallet) -> Result<()> {
    let (first, second) = (pin!(open(&first)), pin!(open(&second)));
    // LND sends a modifier nothing before the first HTLC, and accepts only one modifier: once it refuses
    // a second one, the first is registered.
    let opened = match select(first, second).await {
        Either::Left((Err(_), other)) | Either::Right((Err(_), other)) => other.await,
        Either::Left((Ok(_), _)) | Either::Right((Ok(_), _)) => bail!("LND took two modifiers"),
    };
    let (answers, asked) = opened?;
    let mut asked = asked.into_inner();
    while let Some(HtlcModifyRequest { invoice, exit_htlc_circuit_key, .. }) =
        asked.message().await?
    {
        let value = invoice.context("LND names the invoice")?.value_msat;
        let answer = HtlcModifyResponse {
            circuit_key: exit_htlc_circuit_key,
            amt_paid: Some(u64::try_from(value)?),
            cancel_set: false,
        };
        answers.send(answer).await?;
    }
    Ok(())
}

type Modifier = (mpsc::Sender<HtlcModifyResponse>, Response<Streaming<HtlcModifyRequest>>);

async fn open(wallet: &Wallet) -> Result<Modifier, Status> {
    let (answers, stream) = mpsc::channel(1);
    let asked = wallet.invoices().htlc_modifier(ReceiverStream::new(stream)).await?;
    Ok((answers, asked))
}

/// One HTLC of one sat, declared as a part of the whole amount. Returns when it is failed back.
async fn pay_a_sat(wallet: Wallet, invoice: Bolt11Invoice) -> Result<()> {
    let asked = invoice.amount_milli_satoshis().context("it asks for an amount")?;
    let payment_hash: &[u8; 32] = invoice.payment_hash().as_ref();
    let mut router = wallet.router();
    let built = router.build_route(BuildRouteRequest {
        amt_msat: i64::try_from(A_SAT_MSAT)?,
        final_cltv_delta: i32::try_from(invoice.min_final_cltv_expiry_delta())?.saturating_add(3),
        hop_pubkeys: vec![invoice.get_payee_pub_key().serialize().to_vec()],
        payment_addr: invoice.payment_secret().0.to_vec(),
        ..Default::default()
    });
    let mut route = built.await?.into_inner().route.context("there is a route")?;
    let last = route.hops.last_mut().context("it has a hop")?;
    let part = last.mpp_record.as_mut().context("the hop carries a part")?;
    part.total_amt_msat = i64::try_from(asked)?;
    let request = SendToRouteRequest {
        payment_hash: payment_hash.to_vec(),
        route: Some(route),
        ..Default::default()
    };
    router.send_to_route_v2(request).await?;
    Ok(())
}
