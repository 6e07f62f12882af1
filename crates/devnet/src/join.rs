//! What people need to trade here with their own clients.

use std::fmt::Write as _;

use anyhow::Result;
use devnet::{BUYER, Exchange, Lightning, SELLER};
use nostr_sdk::ToBech32 as _;
use regtest::Regtest;

/// Addresses and commands, ready to be copied. `scripts/clients.sh` reads them too.
pub(crate) fn instructions<L: Lightning>(exchange: &Exchange<L>, wallets: &str) -> Result<String> {
    let relay = exchange.relay.url();
    let npub = exchange.node().to_bech32()?;
    let hex = exchange.node();
    let log = exchange.daemon.log_path();
    let log = log.display();
    let mut text = format!(
        "
The exchange stays up until Ctrl-C. Join it with a client of your own (docs/CLIENTS.md):

  relay        {relay}
  node         {npub}
               {hex}
  its log      {log}

With mostro-cli; every person needs a HOME of their own, for the keys:

  cargo install --locked mostro-cli@0.16.3     # direct messages (v2)
  cargo install --locked mostro-cli@0.16.1     # with --transport gift-wrap: v1
  export MOSTRO_PUBKEY={npub} RELAYS={relay}
  mostro-cli neworder --kind sell --amount 10000 --fiatcode EUR --fiatamount 10 --paymentmethod cash
  mostro-cli listorders
  mostro-cli takesell --orderid <id>

Paying and being paid, from the wallets `seller` and `buyer`:

{wallets}
Each wallet is an LND of its own, for clients that bring no wallet:
"
    );
    for wallet in [SELLER, BUYER] {
        let access = exchange.lnd.access(wallet)?;
        let (cert, macaroon) = (access.tls_cert.display(), access.macaroon.display());
        write!(
            text,
            "\n  {wallet:<12} {}\n  {:<12} {cert}\n  {:<12} {macaroon}",
            access.url(),
            "",
            ""
        )?;
    }
    Ok(text)
}

/// The demo itself answers both commands.
pub(crate) fn with_simulated_wallets(exchange: &Exchange) -> Result<String> {
    let lnd = exchange.lnd_dir();
    let lnd = lnd.display();
    let sim = std::env::current_exe()?.with_file_name("lnd-sim");
    let sim = sim.display();
    Ok(format!(
        "  {sim} pay --dir {lnd} --wallet {SELLER} <bolt11>
  {sim} invoice --dir {lnd} --wallet {BUYER} <sats>
"
    ))
}

/// The payment of a hold invoice waits until the trade has ended. Escrows expire only with new blocks.
pub(crate) fn with_lncli(exchange: &Exchange<Regtest>) -> Result<String> {
    let (seller, buyer) = (exchange.lnd.lncli(SELLER)?, exchange.lnd.lncli(BUYER)?);
    let blocks = exchange.lnd.btcctl();
    Ok(format!(
        "  {seller} payinvoice --force <bolt11>
  {buyer} addinvoice --amt <sats>

Blocks of this chain are mined on demand:

  {blocks} generate 1
"
    ))
}
