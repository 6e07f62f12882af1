//! The daemon's permissions at LND, and its behaviour without access.

use anyhow::{Result, ensure};
use devnet::{HUB, Lightning as _, NodeAccess, Transport, Wallet};

use crate::fixture::{BUYER_GETS, Fixture, SELLER_PAYS, fast_retries};

/// Calls that could spend the node's sats or read its secrets.
const BEYOND_OUR_RIGHTS: [&str; 14] = [
    "/lnrpc.Lightning/OpenChannelSync",
    "/lnrpc.Lightning/CloseChannel",
    "/lnrpc.Lightning/SendCoins",
    "/lnrpc.Lightning/NewAddress",
    "/lnrpc.Lightning/WalletBalance",
    "/lnrpc.Lightning/ChannelBalance",
    "/lnrpc.Lightning/ListPayments",
    "/lnrpc.Lightning/DeletePayment",
    "/lnrpc.Lightning/DeleteAllPayments",
    "/lnrpc.Lightning/BakeMacaroon",
    "/lnrpc.Lightning/DeleteMacaroonID",
    "/lnrpc.Lightning/AddInvoice",
    "/lnrpc.Lightning/UpdateChannelPolicy",
    "/routerrpc.Router/SendToRouteV2",
];

// spec: T1 T8 T10 T12 T24 T29 T32
#[tokio::test]
async fn the_documented_macaroon_allows_a_trade_and_nothing_else() -> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let sale = fixture.sale_active().await?;
    fixture.released(&sale).await?;

    let access = fixture.exchange.lnd.access(HUB)?;
    let ours =
        Wallet::open(&NodeAccess { macaroon: fixture.exchange.macaroon(), ..access }).await?;
    for call in BEYOND_OUR_RIGHTS {
        let refusal = ours.call(call).await.err();
        let refusal = refusal.as_ref().map(tonic::Status::message);
        ensure!(refusal == Some("permission denied"), "{call}: {refusal:?}");
    }
    fixture.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: E2 E3 E6 P0 T29
#[tokio::test]
async fn the_daemon_waits_for_an_lnd_that_restarts_locked() -> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let sale = fixture.sale_fiat_sent().await?;
    fixture.exchange.lnd.kill_node(HUB).await?;
    fixture.exchange.lnd.start_locked(HUB).await?;
    fixture.exchange.daemon.wait_for_log("LND's wallet is locked: unlock it").await?;
    fixture.seller.trader.release(sale.id).await?;
    ensure!(fixture.exchange.daemon.is_running(), "the daemon has ended");

    fixture.exchange.lnd.unlock(HUB).await?;
    fixture.is_success(&sale).await?;
    fixture.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: E3 T29 T32
#[tokio::test]
async fn a_certificate_renewed_during_a_trade_is_read_again() -> Result<()> {
    let mut fixture = Fixture::with(fast_retries()?, Transport::Nip44).await?;
    let sale = fixture.sale_active().await?;

    fixture.exchange.lnd.renew_certificate(HUB).await?;

    fixture.released(&sale).await?;
    fixture.close(sale.id, -SELLER_PAYS, BUYER_GETS).await
}
