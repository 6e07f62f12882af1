//! What only real nodes can show.

mod access;
mod both_killed;
mod dangling;
mod horizon;
mod modifier;
mod peers;
mod random;
mod routes;

use std::time::Duration;

use anyhow::{Context as _, Result};
use devnet::ledger::{list_invoices, list_payments};
use devnet::{Exchange, HUB, Lightning as _, Settings, Transport, Wallet};
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState;
use fedimint_tonic_lnd::lnrpc::{Invoice, Payment};
use regtest::{Config, SIGN_AT_ONCE};
use tokio::time::timeout;

use crate::fixture::{Fixture, Offer};

/// How long to wait for nodes to restart.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A fixture on nodes with this configuration.
async fn fixture(settings: Settings, nodes: Config) -> Result<Box<Fixture>> {
    let exchange = Box::pin(Exchange::start_on_nodes(nodes, settings)).await?;
    Box::pin(Fixture::around(exchange, Transport::Nip44)).await
}

/// Nodes with a router, and a buyer behind it.
fn far_nodes() -> Result<Config> {
    let hub_arguments = SIGN_AT_ONCE.map(Into::into).into();
    Ok(Config { has_router: true, hub_arguments, ..Config::new()? })
}

/// Who is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Lnd,
    Daemon,
    Both,
}

const VICTIMS: [Victim; 3] = [Victim::Lnd, Victim::Daemon, Victim::Both];

/// SIGKILL and restart. If both are killed, LND is started first.
async fn kill_and_restart(fixture: &mut Fixture, victim: Victim) -> Result<()> {
    match victim {
        Victim::Lnd => fixture.kill_and_restart_lnd().await,
        Victim::Daemon => {
            fixture.exchange.daemon.kill().await?;
            fixture.exchange.daemon.start().await
        }
        Victim::Both => {
            fixture.exchange.daemon.kill().await?;
            fixture.kill_and_restart_lnd().await?;
            fixture.exchange.daemon.start().await
        }
    }
}

/// Polls until the condition holds.
async fn until(
    fixture: &Fixture,
    what: &str,
    is_true: impl AsyncFn() -> Result<bool>,
) -> Result<()> {
    let mut seen = 0;
    let waiting = async {
        while !is_true().await? {
            fixture.exchange.lnd.news(&mut seen).await?;
        }
        anyhow::Ok(())
    };
    let waited = timeout(TIMEOUT, waiting).await;
    waited.with_context(|| format!("not reached: {what}\n{}", fixture.exchange.daemon.log()))?
}

/// The state of one of the hub's invoices at LND.
async fn invoice_state(fixture: &Fixture, bolt11: &str) -> Result<InvoiceState> {
    let all = list_invoices(&fixture.exchange.lnd.wallet(HUB)?).await?;
    let found = all.iter().find(|invoice| invoice.payment_request == bolt11);
    found.map(Invoice::state).context("LND has no such invoice")
}

/// A wallet's payment of an invoice, failed or not.
async fn payment_of(wallet: &Wallet, bolt11: &str) -> Result<Option<Payment>> {
    let all = list_payments(wallet).await?;
    Ok(all.into_iter().find(|payment| payment.payment_request == bolt11))
}

/// All payments of the hub, failed ones too.
async fn payouts(fixture: &Fixture) -> Result<Vec<Payment>> {
    list_payments(&fixture.exchange.lnd.wallet(HUB)?).await
}

/// The daemon's payment to the buyer's newest invoice.
async fn payout(fixture: &Fixture) -> Result<Option<Payment>> {
    payment_of(&fixture.exchange.lnd.wallet(HUB)?, &fixture.destination).await
}

/// The last line of the daemon's log about an order that contains these words.
fn log_line(fixture: &Fixture, offer: &Offer, words: &str) -> Option<String> {
    let (log, order) = (fixture.exchange.daemon.log(), offer.id.to_string());
    let found = log.lines().rfind(|line| line.contains(words) && line.contains(&order));
    found.map(ToOwned::to_owned)
}
