//! `lnd-sim`: a small simulated Lightning network.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use lnd_sim::control::{self, Command};
use lnd_sim::{Config, LndSim, SimulatedNode};
use tokio::signal::unix::{SignalKind, signal};

/// A simulated LND network: a hub and wallets around it, each an LND endpoint.
///
/// Without a subcommand it runs until it is interrupted. The subcommands control one that runs in
/// the same folder.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    run: Option<Run>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Args)]
struct Run {
    /// Where each node keeps its tls.cert, admin.macaroon and address; reused at the next start
    #[arg(long)]
    dir: PathBuf,
    /// Keeps invoices, payments and balances in this file; without it they are lost at the end
    #[arg(long)]
    state: Option<PathBuf>,
    /// A wallet with a channel to the hub; repeat it for more
    #[arg(long = "wallet", value_name = "NAME", default_values = ["seller", "buyer"])]
    wallets: Vec<String>,
    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// Port of the hub, the others follow; 0: as the last time, else any that is free
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Sats on either side of a wallet's channel
    #[arg(long, default_value_t = 1_000_000_000)]
    channel_sats: u64,
    /// How many blocks before its expiry a held payment is refunded (LND up to 0.20: 12)
    #[arg(long, default_value_t = 18)]
    hold_expiry_delta: u32,
    /// Seconds between two blocks; 0: blocks are mined only by `lnd-sim mine`
    #[arg(long, value_name = "SECS", default_value_t = 0)]
    block_time: u64,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Pays an invoice from a wallet; for a hold invoice it prints `IN_FLIGHT`
    Pay {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        wallet: String,
        bolt11: String,
    },
    /// Prints a new invoice of a wallet; 0 sats: the payer chooses the amount
    Invoice {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        wallet: String,
        sats: u64,
    },
    /// Adds blocks to the chain
    Mine {
        #[arg(long)]
        dir: PathBuf,
        #[arg(default_value_t = 1)]
        blocks: u32,
    },
    /// Prints the balance of each node
    Balances {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Prints each node's address, certificate and macaroon
    Nodes {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Sends any command of the control port, such as `{"do":"set_state","state":"locked"}`
    Tell {
        #[arg(long)]
        dir: PathBuf,
        json: String,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let cli = Cli::parse();
    match (cli.verb, cli.run) {
        (Some(verb), _) => steer(verb).await,
        (None, Some(run)) => simulate(run).await,
        (None, None) => anyhow::bail!("no folder is given: lnd-sim --dir DIR (see lnd-sim --help)"),
    }
}

async fn simulate(run: Run) -> anyhow::Result<()> {
    let config = Config {
        state: run.state,
        wallets: run.wallets,
        listen: run.listen,
        port: run.port,
        channel_sats: run.channel_sats,
        hold_expiry_delta: run.hold_expiry_delta,
        ..Config::new(run.dir)
    };
    let sim = LndSim::start(config).await?;
    let _control = control::serve(sim.clone()).await?;
    for name in sim.nodes() {
        let SimulatedNode { address, tls_cert, macaroon, .. } = sim.node(&name)?;
        let (cert, macaroon) = (tls_cert.display(), macaroon.display());
        say(&format!("{name:<12} https://{address}  {cert}  {macaroon}"))?;
    }
    say("ready")?;
    let mut terminated = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
        () = mine_every(&sim, run.block_time) => {}
    }
    sim.shut_down().await;
    Ok(())
}

async fn mine_every(sim: &LndSim, secs: u64) {
    if secs == 0 {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(Duration::from_secs(secs)).await;
        sim.mine(1);
    }
}

async fn steer(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Pay { dir, wallet, bolt11 } => {
            let paid = control::call(&dir, &Command::Pay { wallet, bolt11 }).await?;
            let text = |key: &str| paid[key].as_str().unwrap_or_default().to_owned();
            match text("status").as_str() {
                "FAILED" => anyhow::bail!("FAILED: {}", text("failure_reason")),
                status => say(&format!("{status} {}", text("hash"))),
            }
        }
        Verb::Invoice { dir, wallet, sats } => {
            let bolt11 = control::call(&dir, &Command::Invoice { wallet, sats }).await?;
            say(bolt11.as_str().unwrap_or_default())
        }
        Verb::Mine { dir, blocks } => {
            control::call(&dir, &Command::Mine { blocks }).await?;
            let height = control::call(&dir, &Command::Height).await?;
            say(&format!("height {height}"))
        }
        Verb::Balances { dir } => {
            let answer = control::call(&dir, &Command::Balances).await?;
            say("node               available       held out        held in  (msat)")?;
            for balance in control::read_balances(answer)? {
                say(&format!(
                    "{:<12} {:>15} {:>14} {:>14}",
                    balance.node,
                    balance.available_msat,
                    balance.outgoing_held_msat,
                    balance.incoming_held_msat
                ))?;
            }
            Ok(())
        }
        Verb::Nodes { dir } => {
            let nodes = control::call(&dir, &Command::Nodes).await?;
            say(&serde_json::to_string_pretty(&nodes)?)
        }
        Verb::Tell { dir, json } => {
            let command: Command = serde_json::from_str(&json).context("not a valid command")?;
            let answer = control::call(&dir, &command).await?;
            say(&serde_json::to_string_pretty(&answer)?)
        }
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}
