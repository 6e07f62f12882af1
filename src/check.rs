//! `mostrod check`: could the daemon run, and what do its books say? Changes nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use trade::LightningIdentity;

use crate::config::{Loaded, Settings};
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
pub async fn run(loaded: Loaded, out: &mut impl Write) -> Result<()> {
    let Loaded { settings, warnings } = loaded;
    for warning in warnings {
        writeln!(out, "setting: {warning}")?;
    }
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
    let books = read_books(&settings.database.file).await;
    let ours = books.as_ref().ok().and_then(|books| books.node);
    say("lnd", lnd(&settings, ours).await)?;
    say("relays", relays(&settings).await)?;
    let (database, balances) = match books {
        Ok(books) => (Ok(books.summary), books.balances),
        Err(error) => (Err(error), BTreeMap::new()),
    };
    say("database", database)?;
    for (account, msats) in balances {
        writeln!(out, "ledger.{account} = {msats}")?;
    }
    if troubles > 0 {
        bail!("{troubles} of these would keep the daemon from working");
    }
    Ok(())
}

/// What is in the database.
#[derive(Default)]
struct Books {
    summary: String,
    /// The node that open holds and payments belong to.
    node: Option<LightningIdentity>,
    balances: BTreeMap<String, i64>,
}

async fn read_books(file: &Path) -> Result<Books> {
    if !file.exists() {
        let summary = format!("{} will be made by the first run", file.display());
        return Ok(Books { summary, ..Books::default() });
    }
    let reader = store::open_reader(file).await?;
    let (depth, _) = reader.outbox_depth().await?;
    Ok(Books {
        summary: format!("{}, {depth} acts outstanding", file.display()),
        node: reader.daemon_state().await?.node,
        balances: reader.balances().await?,
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
