//! Payouts that find no way, or a way that costs.

use anyhow::{Result, ensure};
use devnet::{BUYER, HUB, Lightning as _, Net, Transport, Wallet};
use fedimint_tonic_lnd::lnrpc::policy_update_request::Scope;
use fedimint_tonic_lnd::lnrpc::{ChannelGraphRequest, PolicyUpdateRequest, RoutingPolicy};
use mostro_core::message::Action;
use regtest::{FAR_BUYER, ROUTER};

use super::{far_nodes, payout, until, world};
use crate::harness::{BUYER_GETS, Offer, SELLER_PAYS, World, impatient};

// spec: P5 T32
#[tokio::test]
async fn a_payout_over_a_router_costs_the_node_its_fee() -> Result<()> {
    let mut w = world(impatient()?, far_nodes()?).await?;
    let sale = sale_to_the_far_buyer(&mut w).await?;

    w.seller.trader.release(sale.id).await?;

    w.is_success(&sale).await?;
    let paid = payout(&w).await?;
    ensure!(paid.is_some_and(|payment| payment.fee_msat > 0), "the router asks for nothing");
    w.close(sale.id, -SELLER_PAYS, 0).await
}

// spec: P9 FL-F8 T32
#[tokio::test]
async fn a_payout_whose_way_costs_more_than_it_may_needs_another_invoice() -> Result<()> {
    let mut w = world(impatient()?, far_nodes()?).await?;
    let sale = sale_to_the_far_buyer(&mut w).await?;
    the_router_asks_for(&w, 100_000).await?;

    w.seller.trader.release(sale.id).await?;

    needs_another_invoice(&mut w, &sale, BUYER).await?;
    w.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P9 FL-F8 T32
#[tokio::test]
async fn a_payout_whose_way_is_gone_needs_another_invoice() -> Result<()> {
    let mut w = world(impatient()?, far_nodes()?).await?;
    let sale = sale_to_the_far_buyer(&mut w).await?;
    w.net.lnd.stop_node(ROUTER).await?;

    w.seller.trader.release(sale.id).await?;

    needs_another_invoice(&mut w, &sale, BUYER).await?;
    w.net.lnd.start_node(ROUTER).await?;
    w.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: P9 FL-F8 T32
#[tokio::test]
async fn a_payout_beyond_our_means_needs_another_invoice() -> Result<()> {
    let net = Box::pin(Net::start_on_nodes(far_nodes()?, impatient()?)).await?;
    spend_nearly_all(&net.lnd.wallet(HUB)?, &net.lnd.wallet(BUYER)?).await?;
    let mut w = World::around(net, Transport::Nip44).await?;
    let sale = w.sale_fiat_sent().await?;

    w.seller.trader.release(sale.id).await?;

    needs_another_invoice(&mut w, &sale, FAR_BUYER).await?;
    w.close(sale.id, -SELLER_PAYS, 0).await
}

/// Until not even this is left that can be sent.
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

/// The daemon's node has heard of it when this returns.
async fn the_router_asks_for(w: &World, fee_base_msat: i64) -> Result<()> {
    let asked = PolicyUpdateRequest {
        scope: Some(Scope::Global(true)),
        base_fee_msat: fee_base_msat,
        time_lock_delta: 80,
        ..Default::default()
    };
    w.net.lnd.wallet(ROUTER)?.lightning().update_channel_policy(asked).await?;
    let hub = w.net.lnd.wallet(HUB)?.lightning();
    until(w, "the daemon's node hears of the fee", async || {
        let graph = hub.clone().describe_graph(ChannelGraphRequest::default()).await?;
        let edges = graph.into_inner().edges;
        let policies = edges.iter().flat_map(|edge| [&edge.node1_policy, &edge.node2_policy]);
        let of_router = |policy: &&RoutingPolicy| policy.fee_base_msat == fee_base_msat;
        Ok(policies.flatten().filter(of_router).count() == 2)
    })
    .await
}

async fn sale_to_the_far_buyer(w: &mut World) -> Result<Offer> {
    w.buyer.wallet = w.net.lnd.wallet(FAR_BUYER)?;
    w.sale_fiat_sent().await
}

/// The payout fails and the buyer is asked for an invoice, that of this wallet, which is paid.
async fn needs_another_invoice(w: &mut World, sale: &Offer, wallet: &str) -> Result<()> {
    w.buyer.trader.wait_for(Action::PaymentFailed).await?;
    w.buyer.trader.wait_for(Action::AddInvoice).await?;
    w.buyer.wallet = w.net.lnd.wallet(wallet)?;
    let invoice = w.payout_invoice().await?;
    w.buyer.trader.add_invoice(sale.id, &invoice).await?;
    w.buyer.trader.wait_for(Action::InvoiceUpdated).await?;
    w.is_success(sale).await
}
