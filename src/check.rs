//! `mostrod check`: whether the daemon could run, and what its ledger holds. Changes nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use trade::{LightningIdentity, Policy, Sats};

use crate::clock::{Clock as _, SystemClock};
use crate::config::{Loaded, Settings};
use crate::daemon;
use crate::lightning::{LightningNode as _, Lnd};
use crate::nostr::{Options, Relays, ToBech32 as _, Url};
use crate::store::{self, WaitingOrder};
use crate::wire::message::MAX_EVENT_BYTES;

/// How long the relays may take to connect.
const RELAY_TIMEOUT: Duration = Duration::from_secs(10);

/// Prints one line for each finding; the ledger in millisatoshis, `ledger.<account> = <balance>`.
///
/// # Errors
/// If anything would keep the daemon from working, or an order needs a person.
pub async fn run(loaded: Loaded, out: &mut impl Write) -> Result<()> {
    let Loaded { settings, warnings } = loaded;
    for warning in warnings {
        writeln!(out, "setting: {warning}")?;
    }
    let mut troubles = 0;
    let mut print = |what: &str, found: Result<String>| -> Result<()> {
        match found {
            Ok(found) => writeln!(out, "{what}: {found}")?,
            Err(error) => {
                troubles += 1;
                writeln!(out, "{what}: TROUBLE: {error:#}")?;
            }
        }
        Ok(())
    };
    let node = daemon::node_keys(&settings)?.public_key();
    print("node", Ok(format!("{} ({node})", node.to_bech32()?)))?;
    let margin = settings.policy().escrow_margin;
    let books = read_books(&settings.database.file, margin).await;
    let ours = books.as_ref().ok().and_then(|books| books.node);
    print("routing", Ok(routing(&settings.policy())))?;
    print("lnd", lnd(&settings, ours).await)?;
    print("relays", relays(&settings).await)?;
    let (database, books) = match books {
        Ok(books) => (Ok(books.summary.clone()), books),
        Err(error) => (Err(error), Books::default()),
    };
    print("database", database)?;
    for order in books.waiting {
        let found =
            if order.needs_a_person() { Err(anyhow!("{order}")) } else { Ok(order.to_string()) };
        print(&format!("order {}", order.order), found)?;
    }
    for (account, msats) in books.balances {
        writeln!(out, "ledger.{account} = {msats}")?;
    }
    if troubles > 0 {
        bail!("trouble in {troubles} of these");
    }
    Ok(())
}

/// What a trade, and a day, can cost the node in routing fees.
fn routing(policy: &Policy) -> String {
    // The difference between what a route may cost and what its trade brings is largest at one of these.
    let amounts = [policy.min_order_amount, Sats(1_000), policy.max_order_amount];
    let gap = |amount: Sats| {
        let fee = amount.side_fee(policy.fee)?;
        let owed = amount.checked_sub(fee)?;
        let limit = policy.routing_fee_limit(owed);
        Some(Sats(limit.0.saturating_sub(fee.0.saturating_mul(2))))
    };
    let most = amounts.into_iter().filter_map(gap).max().unwrap_or_default();
    let budget = policy.max_routing_subsidy;
    if most == Sats::ZERO {
        return "no trade costs more in routing than it brings in fees".to_owned();
    }
    format!(
        "beyond its fees a trade may cost up to {most}, and all trades of a day up to {budget} \
         (max_routing_subsidy), {} to one destination; a debt that has waited two days is paid beyond \
         that, with an alarm",
        Sats(budget.0 / 10)
    )
}

/// What is in the database.
#[derive(Default)]
struct Books {
    summary: String,
    /// The node that open holds and payments belong to.
    node: Option<LightningIdentity>,
    balances: BTreeMap<String, i64>,
    waiting: Vec<WaitingOrder>,
}

async fn read_books(file: &Path, margin: u32) -> Result<Books> {
    if !file.exists() {
        let summary = format!("{} will be created by the first run", file.display());
        return Ok(Books { summary, ..Books::default() });
    }
    let reader = store::open_reader(file).await?;
    let (depth, _) = reader.outbox_depth().await?;
    Ok(Books {
        summary: format!("{}, {depth} rows in the outbox", file.display()),
        node: reader.daemon_state().await?.node,
        balances: reader.balances().await?,
        waiting: reader.list_waiting(SystemClock::new().now(), margin).await?,
    })
}

async fn lnd(settings: &Settings, ours: Option<LightningIdentity>) -> Result<String> {
    let readiness = Lnd::new(daemon::access(&settings.lightning))?.readiness().await?;
    if let Some(ours) = ours.filter(|_| !settings.lightning.allow_node_change) {
        readiness.is_of(ours)?;
    }
    let state = readiness.shortcoming().unwrap_or_else(|| "ready".to_owned());
    if !readiness.lacks.is_empty() {
        bail!(state);
    }
    let node = &readiness.node;
    Ok(format!("{} {}, block {}, {state}", node.alias, node.version, readiness.height.0))
}

async fn relays(settings: &Settings) -> Result<String> {
    let options = Options {
        urls: settings.nostr.relays.clone(),
        transports: Vec::new(),
        max_event_bytes: MAX_EVENT_BYTES,
        queue: 1,
        retry: RELAY_TIMEOUT,
    };
    let (relays, listener, _events) = Relays::new(&options, &daemon::node_keys(settings)?).await?;
    let (_cursor, cursor) = tokio::sync::watch::channel(trade::Timestamp(0));
    let mut subscriptions = relays.subscriptions();
    let all = async {
        while !missing(&options.urls, &relays.connected().await).is_empty() {
            if subscriptions.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = listener.run(cursor) => {}
        () = all => {}
        () = tokio::time::sleep(RELAY_TIMEOUT) => {}
    }
    let connected = relays.connected().await;
    let missing = missing(&options.urls, &connected);
    if connected.is_empty() {
        bail!("none of {} answers: check the addresses and the network", missing.join(", "));
    }
    let found = format!("{} of {} connected", connected.len(), connected.len() + missing.len());
    Ok(if missing.is_empty() { found } else { format!("{found}, not {}", missing.join(", ")) })
}

/// The configured relays that are not connected.
fn missing<'a>(urls: &'a [String], connected: &[String]) -> Vec<&'a str> {
    let normal =
        |url: &str| Url::parse(url).map(|url| url.as_str().trim_end_matches('/').to_owned());
    let is_connected = |url: &str| normal(url).is_ok_and(|url| connected.contains(&url));
    urls.iter().map(String::as_str).filter(|url| !is_connected(url)).collect()
}

#[cfg(test)]
mod tests {
    use trade::Ppm;

    use super::*;
    use crate::engine::tests::policy;

    // spec: D43
    #[test]
    fn the_routing_costs_of_a_trade_and_of_a_day_are_reported() {
        let with = |fee| Policy { fee: Ppm(fee), max_order_amount: Sats(1_000_000), ..policy() };

        assert!(routing(&with(0)).contains("a trade may cost up to 2000 sats"));
        assert!(routing(&with(0)).contains("all trades of a day up to 10000 sats"));
        assert!(routing(&with(6_000)).contains("a trade may cost up to 10 sats"), "a small one");
    }
}
