//! Starts a network for people and keeps it until it is interrupted.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use regtest::{Config, Regtest};
use tokio::signal::unix::{SignalKind, signal};

/// A chain and real LND nodes with channels between them, until Ctrl-C.
#[derive(Debug, Parser)]
struct Arguments {
    /// Adds a router and a buyer behind it.
    #[arg(long)]
    router: bool,
    /// The first of twelve ports to listen on, instead of any free ports.
    #[arg(long)]
    port: Option<u16>,
    /// A further argument for the hub's LND; may be repeated.
    #[arg(long = "lnd", value_name = "ARGUMENT", allow_hyphen_values = true)]
    lnd: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let mut config = Config::new()?;
    config.has_router = arguments.router;
    config.first_port = arguments.port;
    config.hub_arguments = arguments.lnd;
    let network = tokio::select! {
        started = Regtest::start(config) => started?,
        () = stop_requested() => bail!("stopped before the network was up"),
    };
    std::io::stdout().write_all(instructions(&network)?.as_bytes())?;
    stop_requested().await;
    network.end();
    Ok(())
}

fn instructions(network: &Regtest) -> Result<String> {
    let mut text = String::from("The nodes are up until Ctrl-C.\n");
    for name in network.names() {
        let node = network.node(&name)?;
        writeln!(text, "\n{name}")?;
        writeln!(text, "  pubkey    {}", node.pubkey)?;
        writeln!(text, "  gRPC      {}", node.url())?;
        writeln!(text, "  cert      {}", node.tls_cert.display())?;
        writeln!(text, "  macaroon  {}", node.macaroon.display())?;
        writeln!(text, "  {}", network.lncli(&name)?)?;
    }
    writeln!(text, "\nblocks, for example 6:\n  {} generate 6", network.btcctl())?;
    Ok(text)
}

async fn stop_requested() {
    let Ok(mut term) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = term.recv() => {}
        Ok(()) = tokio::signal::ctrl_c() => {}
        else => std::future::pending().await,
    }
}
