//! The median times of a trade's steps on simulated and on real nodes: `make times`.

use std::io::{Write as _, stdout};
use std::time::Duration;

use anyhow::Result;
use devnet::{Counterparties, Exchange, Lightning, Settings, Terms, Timeline, Times, Transport};
use mostro_core::order::Kind;
use regtest::{Config, SIGN_AT_ONCE};
use tokio::time::Instant;

const NETWORKS: usize = 5;
const TRADES: usize = 20;

/// Measurements on networks of one kind.
#[derive(Default)]
struct Measured {
    up: Vec<Duration>,
    trades: Vec<Times>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut columns = [Measured::default(), Measured::default(), Measured::default()];
    for number in 1..=NETWORKS {
        eprintln!("network {number} of {NETWORKS} of each kind");
        let [simulated, real, recommended] = &mut columns;
        let started = Instant::now();
        let exchange = Box::pin(Exchange::start(settings()?)).await?;
        Box::pin(simulated.measure(exchange, started)).await?;
        for (column, arguments) in [(real, &[][..]), (recommended, &SIGN_AT_ONCE)] {
            let mut nodes = Config::new()?;
            nodes.hub_arguments = arguments.iter().copied().map(Into::into).collect();
            let started = Instant::now();
            let exchange = Box::pin(Exchange::start_on_nodes(nodes, settings()?)).await?;
            Box::pin(column.measure(exchange, started)).await?;
        }
    }
    Ok(stdout().write_all(table(&columns).as_bytes())?)
}

fn settings() -> Result<Settings> {
    Ok(Settings::template()?.set("mostro", "fee", 0.006))
}

impl Measured {
    /// Makes trades on a network that was started at `begun`, and ends it.
    async fn measure<L: Lightning>(
        &mut self,
        exchange: Exchange<L>,
        started: Instant,
    ) -> Result<()> {
        self.up.push(started.elapsed());
        let before = exchange.settled_totals().await?;
        let silent = Timeline::on_stdout().silenced();
        let mut traders = Counterparties::meet(&exchange, Transport::Nip44, silent).await?;
        for number in 0..TRADES {
            let side = if number % 2 == 0 { Kind::Sell } else { Kind::Buy };
            self.trades.push(traders.trade(Terms { side, sats: 10_000, euros: 10 }).await?);
        }
        exchange.audit(&before, &[]).await?;
        exchange.end()
    }

    fn median(&self, step: fn(&Times) -> Duration) -> u128 {
        median(self.trades.iter().map(step).collect())
    }
}

fn median(mut times: Vec<Duration>) -> u128 {
    times.sort();
    times[times.len() / 2].as_millis()
}

fn table(columns: &[Measured]) -> String {
    let row = |name: &str, value: &dyn Fn(&Measured) -> u128| {
        let cells = columns.iter().map(|column| format!(" {} ms |", value(column)));
        format!("| {name} |{}\n", cells.collect::<String>())
    };
    [
        "| Median | Simulated | Real | Real, with OPERATIONS.md's settings |\n".to_owned(),
        "| --- | ---: | ---: | ---: |\n".to_owned(),
        row("relay, nodes and daemon are ready", &|it| median(it.up.clone())),
        row("an escrow is needed → the seller has its invoice", &|it| {
            it.median(|t| t.escrow_added)
        }),
        row("the seller pays → gets the message that it is held", &|it| {
            it.median(|t| t.escrow_held)
        }),
        row("the seller releases → the buyer's node is paid", &|it| it.median(|t| t.paid_out)),
        row("the whole trade", &|it| it.median(|t| t.whole)),
    ]
    .concat()
}
