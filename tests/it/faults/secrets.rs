//! What only the daemon may know.

use std::fs::{self, File};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use devnet::ledger::list_invoices;
use devnet::{BUYER, HUB, Lightning as _, Person, Wallet};
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState as State;
use mostro_core::message::Action;
use nostr_sdk::{Keys, ToBech32 as _};

use crate::harness::World;
use crate::harness::binary::command;

// spec: I10 K-10 K-58
#[tokio::test]
async fn no_secret_is_ever_logged() -> Result<()> {
    let mut w = World::stopped().await?;
    let path = w.net.daemon.dir().join("everything.log");
    let mut everything = command(w.net.daemon.dir())?;
    everything.env("RUST_LOG", "debug").stdin(Stdio::null()).stderr(File::create(&path)?);
    let mut process = everything.spawn()?;

    let (given_up, hold) = w.sale_invoiced().await?;
    w.seller.trader.cancel(given_up.id).await?;
    w.seller.trader.wait_for(Action::Canceled).await?;
    w.buyer.trader.wait_for(Action::Canceled).await?;
    let mut secrets = vec![hold, w.destination.clone()];
    let sale = w.sale_active().await?;
    secrets.push(w.destination.clone());
    w.released(&sale).await?;
    process.kill().await?;

    secrets.extend(secrets_of(&w).await?);
    let log = fs::read_to_string(path)?;
    ensure!(log.contains("DEBUG"), "the log is not at its wordiest");
    ensure!(secrets.len() > 12, "there are more secrets than that: {}", secrets.len());
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        ensure!(line.is_none(), "{secret} is in the log: {}", line.unwrap_or_default());
    }
    w.net.end()
}

/// Keys, macaroon and preimages, as a log might show them; who the traders are; what they say.
async fn secrets_of(w: &World) -> Result<Vec<String>> {
    let home = w.net.daemon.dir();
    let settings: toml::Table = fs::read_to_string(home.join("settings.toml"))?.parse()?;
    let nsec = settings["nostr"]["nsec_privkey"].as_str().context("the node has a key")?;
    let keys = Keys::parse(nsec)?;
    let mut bytes = vec![keys.secret_key().to_secret_bytes().to_vec()];
    bytes.push(fs::read(w.net.macaroon())?);
    for payee in [HUB, BUYER] {
        let wallet = Wallet::open(&w.net.lnd.access(payee)?).await?;
        let invoices = list_invoices(&wallet).await?;
        let settled = invoices.into_iter().filter(|invoice| invoice.state() == State::Settled);
        bytes.extend(settled.map(|invoice| invoice.r_preimage));
    }
    let mut secrets = vec![nsec.to_owned(), "request_id".to_owned()];
    secrets.extend(bytes.iter().flat_map(|bytes| [hex::encode(bytes), format!("{bytes:?}")]));
    for Person { trader, .. } in [&w.seller, &w.buyer] {
        secrets.extend([trader.identity().to_hex(), trader.identity().to_bech32()?]);
    }
    Ok(secrets)
}
