//! Secrets of the daemon.

use std::fs::{self, File};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use devnet::ledger::list_invoices;
use devnet::{BUYER, HUB, Lightning as _, Person, Wallet};
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState as State;
use mostro_core::message::Action;
use nostr_sdk::{Keys, ToBech32 as _};

use crate::fixture::Fixture;
use crate::fixture::binary::command;

// spec: I10 K-10 K-58
#[tokio::test]
async fn no_secret_is_logged() -> Result<()> {
    let mut fixture = Fixture::stopped().await?;
    let path = fixture.exchange.daemon.dir().join("everything.log");
    let mut everything = command(fixture.exchange.daemon.dir())?;
    everything.env("RUST_LOG", "debug").stdin(Stdio::null()).stderr(File::create(&path)?);
    let mut process = everything.spawn()?;

    let (given_up, hold) = fixture.sale_invoiced().await?;
    fixture.seller.trader.cancel(given_up.id).await?;
    fixture.seller.trader.wait_for(Action::Canceled).await?;
    fixture.buyer.trader.wait_for(Action::Canceled).await?;
    let mut secrets = vec![hold, fixture.destination.clone()];
    let sale = fixture.sale_active().await?;
    secrets.push(fixture.destination.clone());
    fixture.released(&sale).await?;
    process.kill().await?;

    secrets.extend(secrets_of(&fixture).await?);
    let log = fs::read_to_string(path)?;
    ensure!(log.contains("DEBUG"), "the log has no debug lines");
    ensure!(secrets.len() > 12, "some secrets are missing: {}", secrets.len());
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        ensure!(line.is_none(), "{secret} is in the log: {}", line.unwrap_or_default());
    }
    fixture.exchange.end()
}

/// Keys, macaroon and preimages in every notation, the traders' identities, and their messages.
async fn secrets_of(fixture: &Fixture) -> Result<Vec<String>> {
    let home = fixture.exchange.daemon.dir();
    let settings: toml::Table = fs::read_to_string(home.join("settings.toml"))?.parse()?;
    let nsec = settings["nostr"]["nsec_privkey"].as_str().context("the node has a key")?;
    let keys = Keys::parse(nsec)?;
    let mut bytes = vec![keys.secret_key().to_secret_bytes().to_vec()];
    bytes.push(fs::read(fixture.exchange.macaroon())?);
    for payee in [HUB, BUYER] {
        let wallet = Wallet::open(&fixture.exchange.lnd.access(payee)?).await?;
        let invoices = list_invoices(&wallet).await?;
        let settled = invoices.into_iter().filter(|invoice| invoice.state() == State::Settled);
        bytes.extend(settled.map(|invoice| invoice.r_preimage));
    }
    let mut secrets = vec![nsec.to_owned(), "request_id".to_owned()];
    secrets.extend(bytes.iter().flat_map(|bytes| [hex::encode(bytes), format!("{bytes:?}")]));
    for Person { trader, .. } in [&fixture.seller, &fixture.buyer] {
        secrets.extend([trader.identity().to_hex(), trader.identity().to_bech32()?]);
    }
    Ok(secrets)
}
