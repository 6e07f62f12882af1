//! Payouts without a route, or with routing fees.

use anyhow::{Result, ensure};
use devnet::{BUYER, Exchange, HUB, Lightning as _, Transport, Wallet};
use fedimint_tonic_lnd::lnrpc::policy_update_request::Scope;
use fedimint_tonic_lnd::lnrpc::{ChannelGraphRequest, PolicyUpdateRequest, RoutingPolicy};
use mostro_core::message::Action;
use regtest::{FAR_BUYER, ROUTER};

use super::{far_nodes, fixture, payout, until};
use crate::fixture::{BUYER_GETS, Fixture, Offer, SELLER_PAYS, fast_retries};

// spec: P5 T32
#[tokio::test]
async fn a_payout_over_a_router_costs_the_node_its_fee() -> Result<()> {
    let mut fixture = fixture(fast_retries()?, far_nodes()?).await?;
    let sale = sale_to_the_far_buyer(&mut fixture).await?;

    fixture.seller.trader.release(sale.id).await?;

    fixture.is_success(&sale).await?;
    let paid = payout(&fixture).await?;
    ensure!(paid.is_some_and(|payment| payment.fee_msat > 0), "the router takes no fee");
    fixture.close(sale.id, -SELLER_PAYS, 0).await
}

// spec: P9 FL-F8 T32
#[tokio::test]
async fn a_payout_over_its_fee_limit_needs_another_invoice() -> Result<()> {
    let mut fixture = fixture(fast_retries()?, far_nodes()?).await?;
    let sale = sale_to_the_far_buyer(&mut fixture).await?;
    set_router_fee(&fixture, 100_000).await?;

    fixture.seller.trader.release(sale.id).await?;

    needs_another_invoice(&mut fixture, &sale, BUYER).await?;
    fixture.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P9 FL-F8 T32
#[tokio::test]
async fn a_payout_without_a_route_needs_another_invoice() -> Result<()> {
    let mut fixture = fixture(fast_retries()?, far_nodes()?).await?;
    let sale = sale_to_the_far_buyer(&mut fixture).await?;
    fixture.exchange.lnd.stop_node(ROUTER).await?;

    fixture.seller.trader.release(sale.id).await?;

    needs_another_invoice(&mut fixture, &sale, BUYER).await?;
    fixture.exchange.lnd.start_node(ROUTER).await?;
    fixture.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P9 FL-F8 T32
#[tokio::test]
async fn a_payout_above_our_balance_needs_another_invoice() -> Result<()> {
    let exchange = Box::pin(Exchange::start_on_nodes(far_nodes()?, fast_retries()?)).await?;
    spend_nearly_all(&exchange.lnd.wallet(HUB)?, &exchange.lnd.wallet(BUYER)?).await?;
    let mut fixture = Fixture::around(exchange, Transport::Nip44).await?;
    let sale = fixture.sale_fiat_sent().await?;

    fixture.seller.trader.release(sale.id).await?;

    needs_another_invoice(&mut fixture, &sale, FAR_BUYER).await?;
    fixture.close(sale.id, -SELLER_PAYS, 0).await
}

/// Pays until less than this can be sent.
const LEFT: u64 = 1_000;

async fn spend_nearly_all(from: &Wallet, to: &Wallet) -> Result<()> {
    let mut sats = 5_000_000;
    while sats > LEFT {
        if from.pay(&to.invoice(sats).await?).await.is_err() {
            sats /= 2;
        }
    }
    Ok(())
}

/// Sets the router's fee; the hub knows it when this returns.
async fn set_router_fee(fixture: &Fixture, fee_base_msat: i64) -> Result<()> {
    let asked = PolicyUpdateRequest {
        scope: Some(Scope::Global(true)),
        base_fee_msat: fee_base_msat,
        time_lock_delta: 80,
        ..Default::default()
    };
    fixture.exchange.lnd.wallet(ROUTER)?.lightning().update_channel_policy(asked).await?;
    let hub = fixture.exchange.lnd.wallet(HUB)?.lightning();
    until(fixture, "the hub knows the fee", async || {
        let graph = hub.clone().describe_graph(ChannelGraphRequest::default()).await?;
        let edges = graph.into_inner().edges;
        let policies = edges.iter().flat_map(|edge| [&edge.node1_policy, &edge.node2_policy]);
        let of_router = |policy: &&RoutingPolicy| policy.fee_base_msat == fee_base_msat;
        Ok(policies.flatten().filter(of_router).count() == 2)
    })
    .await
}

async fn sale_to_the_far_buyer(fixture: &mut Fixture) -> Result<Offer> {
    fixture.buyer.wallet = fixture.exchange.lnd.wallet(FAR_BUYER)?;
    fixture.sale_fiat_sent().await
}

/// The payout fails, the buyer is asked for another invoice, sends one of this wallet, and is paid.
async fn needs_another_invoice(fixture: &mut Fixture, sale: &Offer, wallet: &str) -> Result<()> {
    fixture.buyer.trader.wait_for(Action::PaymentFailed).await?;
    fixture.buyer.trader.wait_for(Action::AddInvoice).await?;
    fixture.buyer.wallet = fixture.exchange.lnd.wallet(wallet)?;
    let invoice = fixture.payout_invoice().await?;
    fixture.buyer.trader.add_invoice(sale.id, &invoice).await?;
    fixture.buyer.trader.wait_for(Action::InvoiceUpdated).await?;
    fixture.is_success(sale).await
}
