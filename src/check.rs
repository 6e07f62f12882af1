//! `mostrod check`: could the daemon run, and what do its books say? Changes nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::config::Settings;
use crate::daemon;
use crate::lightning::{LightningNode as _, Lnd};
use crate::nostr::{Hearing, Options, Relays, ToBech32 as _};
use crate::store;

/// How long a relay may take to be reached.
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints what it finds, a line each; the ledger in millisatoshis, `ledger.<account> = <balance>`.
///
/// # Errors
/// If anything would keep the daemon from working.
pub async fn run(settings: Settings, out: &mut impl Write) -> Result<()> {
    let mut troubles = 0;
    let mut say = |what: &str, found: Result<String>| -> Result<()> {
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
    say("node", Ok(format!("{} ({node})", node.to_bech32()?)))?;
    say("lnd", lnd(&settings).await)?;
    say("relays", relays(&settings).await)?;
    let file = &settings.database.file;
    let mut balances = BTreeMap::new();
    if file.exists() {
        match store::open_reader(file).await {
            Ok(reader) => {
                let (depth, _) = reader.outbox_depth().await?;
                say("database", Ok(format!("{}, {depth} acts outstanding", file.display())))?;
                balances = reader.balances().await?;
            }
            Err(error) => say("database", Err(error.into()))?,
        }
    } else {
        say("database", Ok(format!("{} will be made by the first run", file.display())))?;
    }
    for (account, msats) in balances {
        writeln!(out, "ledger.{account} = {msats}")?;
    }
    if troubles > 0 {
        bail!("{troubles} of these would keep the daemon from working");
    }
    Ok(())
}

async fn lnd(settings: &Settings) -> Result<String> {
    let readiness = Lnd::new(daemon::access(&settings.lightning))?.readiness().await?;
    let state = match (readiness.may_pay(), readiness.may_escrow()) {
        (true, _) => "ready",
        (false, true) => "synced, but no channel is active: it cannot pay",
        (false, false) => "not synced to its chain",
    };
    let node = &readiness.node;
    Ok(format!("{} {}, block {}, {state}", node.alias, node.version, readiness.height.0))
}

async fn relays(settings: &Settings) -> Result<String> {
    let options = Options {
        urls: settings.nostr.relays.clone(),
        transports: Vec::new(),
        max_event_bytes: crate::intake::MAX_EVENT_BYTES,
        queue: 1,
        retry: PATIENCE,
    };
    let (relays, listener, _events) = Relays::new(&options, &daemon::node_keys(settings)?).await?;
    let (_cursor, cursor) = tokio::sync::watch::channel(trade::Timestamp(0));
    let mut hearing = relays.hearing();
    let heard = async { drop(hearing.wait_for(Hearing::is_hearing).await) };
    tokio::select! {
        () = listener.run(cursor) => {}
        () = heard => {}
        () = tokio::time::sleep(PATIENCE) => {}
    }
    let connected = relays.connected().await;
    if connected.is_empty() {
        bail!("none of {} answers: check the addresses and the network", options.urls.join(", "));
    }
    Ok(format!("{} of {} connected", connected.len(), options.urls.len()))
}
