//! What somebody needs to trade here with a client of their own.

use std::fmt::Write as _;

use anyhow::Result;
use devnet::Net;
use nostr_sdk::ToBech32 as _;

/// Addresses and commands, ready to be copied. `scripts/clients.sh` copies them too.
pub(crate) fn how_to(net: &Net) -> Result<String> {
    let relay = net.relay.url();
    let npub = net.node().to_bech32()?;
    let hex = net.node();
    let lnd = net.lnd_dir();
    let lnd = lnd.display();
    let sim = std::env::current_exe()?.with_file_name("lnd-sim");
    let sim = sim.display();
    let log = net.daemon.log_path();
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

  {sim} pay --dir {lnd} --wallet seller <bolt11>
  {sim} invoice --dir {lnd} --wallet buyer <sats>

Each wallet is an LND of its own, for clients that bring no wallet:
"
    );
    for wallet in ["seller", "buyer"] {
        let access = net.lnd.node(wallet)?;
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
