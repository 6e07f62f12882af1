//! The demo: starts an exchange, makes trades, compares the books, and stays up for your own trades.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use devnet::timeline::Timeline;
use devnet::{Counterparties, Exchange, Lightning, NodeTotals, Settings, Terms, Transport};
use mostro_core::order::Kind as Side;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

mod join;

/// Relay, Lightning nodes, daemon and traders on this machine: one trade to watch, then your own.
#[derive(Debug, Parser)]
struct Arguments {
    /// End after the trades instead of staying up; the exit code tells whether all succeeded.
    #[arg(long)]
    once: bool,
    /// The number of trades.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    trades: u32,
    /// The number of concurrent trades.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    at_once: u32,
    /// The makers' side.
    #[arg(long, value_enum, default_value_t = Kind::Sell)]
    kind: Kind,
    /// The traders' transport: gift wraps (v1) or direct messages (v2).
    #[arg(long, value_enum, default_value_t = Wire::V2)]
    transport: Wire,
    /// Simulated nodes, or the real ones that `make nodes` builds.
    #[arg(long, value_enum, default_value_t = Nodes::Simulated)]
    lightning: Nodes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Sell,
    Buy,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wire {
    V1,
    V2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Nodes {
    Simulated,
    Real,
}

const SATS: i64 = 10_000;
const EUROS: i64 = 10;
const FEE: f64 = 0.006;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let timeline = Timeline::on_stdout();
    let ended = demo(&arguments, &timeline).await;
    timeline.awaits_nothing();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(arguments: &Arguments, timeline: &Timeline) -> Result<()> {
    let settings = Settings::template()?.set("mostro", "fee", FEE);
    match arguments.lightning {
        Nodes::Simulated => {
            timeline.awaits("everybody", "relay, simulated LND and daemon");
            let exchange = unless_stopped(Box::pin(Exchange::start(settings))).await?;
            Box::pin(demonstrate(arguments, exchange, join::with_simulated_wallets, timeline)).await
        }
        Nodes::Real => {
            timeline.awaits("everybody", "relay, chain, LND nodes and daemon");
            let nodes = regtest::Config::new()?;
            let exchange =
                unless_stopped(Box::pin(Exchange::start_on_nodes(nodes, settings))).await?;
            Box::pin(demonstrate(arguments, exchange, join::with_lncli, timeline)).await
        }
    }
}

/// Runs the demo on any kind of nodes. `wallets` describes how people pay and are paid.
async fn demonstrate<L: Lightning>(
    arguments: &Arguments,
    mut exchange: Exchange<L>,
    wallets: fn(&Exchange<L>) -> Result<String>,
    timeline: &Timeline,
) -> Result<()> {
    timeline.published("node", "info event (kind 38385)", "ready")?;
    let before = exchange.settled_totals().await?;
    let traded = unless_stopped(Box::pin(trade(arguments, &exchange, &before, timeline))).await;
    let ended = match traded {
        Ok(()) if !arguments.once => {
            timeline.note(&join::instructions(&exchange, &wallets(&exchange)?)?)?;
            stay_up(&mut exchange, &before, timeline).await
        }
        ended => ended,
    };
    timeline.awaits("everybody", "the daemon's end");
    let stopped = exchange.daemon.sigterm().await;
    ended?;
    let status = stopped?;
    ensure!(status.success(), "the daemon stopped with {status}\n{}", exchange.daemon.log());
    exchange.end()
}

/// Waits for a signal to stop; then compares the books with the trades made meanwhile.
async fn stay_up<L: Lightning>(
    exchange: &mut Exchange<L>,
    before: &NodeTotals,
    timeline: &Timeline,
) -> Result<()> {
    tokio::select! {
        () = stop_requested() => {}
        ended = exchange.daemon.ended() => {
            bail!("the daemon has ended by itself: {}\n{}", ended?, exchange.daemon.log())
        }
    }
    if exchange.totals_if_settled().await?.is_none() {
        return timeline
            .note("stopped while payments are in progress: the books were not compared");
    }
    exchange.audit(before, &[]).await?;
    timeline.good("the daemon's ledger and its node's books still agree")
}

async fn unless_stopped<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        done = work => done,
        () = stop_requested() => bail!("stopped before the trades ended"),
    }
}

/// Trades, then compares the books.
async fn trade<L: Lightning>(
    arguments: &Arguments,
    exchange: &Exchange<L>,
    before: &NodeTotals,
    timeline: &Timeline,
) -> Result<()> {
    trade_all(arguments, exchange, timeline).await?;
    compare_books(exchange, before, arguments.trades, timeline).await
}

/// The first trade is shown, the others run concurrently.
async fn trade_all<L: Lightning>(
    arguments: &Arguments,
    exchange: &Exchange<L>,
    timeline: &Timeline,
) -> Result<()> {
    let transport = match arguments.transport {
        Wire::V1 => Transport::GiftWrap,
        Wire::V2 => Transport::Nip44,
    };
    let mut shown = Counterparties::meet(exchange, transport, timeline.clone()).await?;
    let took = shown.trade(terms(arguments.kind, 0)).await?;
    timeline.good(&format!("traded in {} ms", took.whole.as_millis()))?;

    let others = arguments.trades - 1;
    if others == 0 {
        return Ok(());
    }
    let lanes = arguments.at_once.min(others);
    let mut running = JoinSet::new();
    for lane in 0..lanes {
        let mut traders = Counterparties::meet(exchange, transport, timeline.silenced()).await?;
        let kind = arguments.kind;
        let mine = (1..=others).filter(move |number| number % lanes == lane);
        running.spawn(async move {
            let mut times = Vec::new();
            for number in mine {
                let trade = traders.trade(terms(kind, number)).await;
                times.push(trade.with_context(|| format!("trade {number}"))?.whole);
            }
            anyhow::Ok(times)
        });
    }
    timeline.awaits("everybody", &format!("{others} more trades, {lanes} at a time"));
    let started = tokio::time::Instant::now();
    let mut times: Vec<Duration> = Vec::new();
    while let Some(lane) = running.join_next().await {
        times.extend(lane??);
    }
    timeline.awaits_nothing();
    times.sort();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    let a_second = f64::from(others) / started.elapsed().as_secs_f64();
    timeline.good(&format!(
        "{others} more trades, {lanes} at a time: {a_second:.1} a second; median {} ms, slowest {} ms",
        median.as_millis(),
        slowest.as_millis()
    ))
}

fn terms(kind: Kind, number: u32) -> Terms {
    let is_sale = match kind {
        Kind::Sell => true,
        Kind::Buy => false,
        Kind::Both => number.is_multiple_of(2),
    };
    let side = if is_sale { Side::Sell } else { Side::Buy };
    Terms { side, sats: SATS, euros: EUROS }
}

async fn compare_books<L: Lightning>(
    exchange: &Exchange<L>,
    before: &NodeTotals,
    trades: u32,
    timeline: &Timeline,
) -> Result<()> {
    let ledger = exchange.audit(before, &[]).await?;
    let fees_msat = 60_000 * i64::from(trades);
    let booked = ledger.of("lightning");
    ensure!(
        booked == fees_msat,
        "the node should have earned {fees_msat} msat and has earned {booked}"
    );
    timeline.good(&format!(
        "the daemon's ledger and its node's books agree: {booked} msat of fees for {trades} trade(s)"
    ))
}

/// Ctrl-C, or a supervisor's SIGTERM.
async fn stop_requested() {
    let Ok(mut term) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = term.recv() => {}
        Ok(()) = tokio::signal::ctrl_c() => {}
        else => std::future::pending().await,
    }
}
