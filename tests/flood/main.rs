//! Strangers flood the node with messages, and the relay refuses every answer to them: the trades of
//! ten pairs must be nearly as fast as without. `make flood` runs it, in a release build.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use devnet::{Counterparties, Exchange, Settings, Terms, Timeline, Transport};
use mostro_core::message::{Action, Message, MessageKind, Payload};
use mostro_core::order::{Kind, SmallOrder};
use mostrod::store::{self, Reader};
use nostr_sdk::{Event, Keys, PublicKey};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use uuid::Uuid;

const PAIRS: u32 = 10;
const TRADES_OF_A_PAIR: u32 = 11;
/// Time between two trades of a pair.
const PACE: Duration = Duration::from_secs(10);

const STRANGERS: usize = 50_000;
const MESSAGES_A_SECOND: u32 = 500;

/// The most acts of the outbox that may wait, independent of the number of strangers.
const MOST_WAITING: i64 = 3_000;

/// How much longer the slowest percent may take during the flood.
const MOST_TIMES: u32 = 2;

// spec: D42
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_does_not_slow_down_trades() -> Result<()> {
    let quiet = Run::measure(false).await.context("the quiet run")?;
    println!("quiet run:\n{quiet}");
    let flooded = Run::measure(true).await.context("the run with the flood")?;
    println!("with {STRANGERS} messages, {MESSAGES_A_SECOND} a second:\n{flooded}");

    for (what, quiet, flooded) in [
        ("answers", &quiet.replies, &flooded.replies),
        ("escrows asked for", &quiet.escrows, &flooded.escrows),
        ("payouts", &quiet.payouts, &flooded.payouts),
    ] {
        let (allowed, took) = (quiet.percentile(99) * MOST_TIMES, flooded.percentile(99));
        ensure!(took < allowed, "{what}: {took:?} during the flood, {allowed:?} are allowed");
    }
    ensure!(flooded.most_waiting < MOST_WAITING, "{} acts waited", flooded.most_waiting);
    Ok(())
}

/// Measurements while ten pairs trade.
struct Run {
    /// From each request to its answer.
    replies: Durations,
    /// From the message that starts the escrow until the seller has the hold invoice.
    escrows: Durations,
    /// From the release until the buyer's node has the sats.
    payouts: Durations,
    most_waiting: i64,
}

impl Run {
    async fn measure(is_flooded: bool) -> Result<Self> {
        let exchange =
            Box::pin(Exchange::start(Settings::template()?.set("mostro", "fee", 0.006))).await?;
        let before = exchange.settled_totals().await?;
        let reader = store::open_reader(&exchange.daemon.dir().join("mostro.db")).await?;
        let flood = if is_flooded { Some(Flood::prepare(exchange.node()).await?) } else { None };
        let mut most_waiting = 0;
        let (replies, escrows, payouts) = tokio::select! {
            traded = Box::pin(trade_all(&exchange, flood)) => traded?,
            never = watch_outbox(&reader, &mut most_waiting) => match never? {},
        };
        exchange.audit(&before, &[]).await?;
        exchange.end()?;
        Ok(Self { replies, escrows, payouts, most_waiting })
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replies, escrows, payouts, most_waiting } = self;
        writeln!(f, "  request → answer:                      {replies}")?;
        writeln!(f, "  escrow started → hold invoice:         {escrows}")?;
        writeln!(f, "  release → the buyer's node has sats:   {payouts}")?;
        write!(f, "  most acts of the outbox that waited:   {most_waiting}")
    }
}

/// Measured durations, the shortest first.
struct Durations(Vec<Duration>);

impl Durations {
    fn new(mut all: Vec<Duration>) -> Self {
        all.sort();
        Self(all)
    }

    fn percentile(&self, percent: usize) -> Duration {
        let at = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(at).copied().unwrap_or_default()
    }
}

impl fmt::Display for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, all] = [50, 90, 99].map(|percent| self.percentile(percent).as_millis());
        write!(f, "p50 {half} ms, p90 {most} ms, p99 {all} ms ({} times)", self.0.len())
    }
}

fn transport(number: u32) -> Transport {
    if number.is_multiple_of(2) { Transport::GiftWrap } else { Transport::Nip44 }
}

/// Answers, escrows and payouts.
async fn trade_all(
    exchange: &Exchange,
    flood: Option<Flood>,
) -> Result<(Durations, Durations, Durations)> {
    let mut pairs = JoinSet::new();
    let started = Instant::now() + PACE;
    for number in 0..PAIRS {
        let traders =
            Counterparties::meet(exchange, transport(number), Timeline::on_stdout().silenced());
        pairs.spawn(trade(Box::pin(traders).await?, number, started));
    }
    if let Some(flood) = flood {
        flood.run(exchange, started).await?;
    }
    let (mut replies, mut escrows, mut payouts) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(pair) = pairs.join_next().await {
        let (traders, times) = pair??;
        replies.extend(&traders.replies);
        escrows.extend(times.iter().map(|times| times.escrow_added));
        payouts.extend(times.iter().map(|times| times.paid_out));
    }
    Ok((Durations::new(replies), Durations::new(escrows), Durations::new(payouts)))
}

/// The trades of one pair at fixed intervals.
async fn trade(
    mut traders: Counterparties,
    number: u32,
    started: Instant,
) -> Result<(Counterparties, Vec<devnet::Times>)> {
    let mut times = Vec::new();
    for round in 0..TRADES_OF_A_PAIR {
        sleep_until(started + PACE * round + PACE / PAIRS * number).await;
        let side = if (number / 2 + round).is_multiple_of(2) { Kind::Sell } else { Kind::Buy };
        let trade = traders.trade(Terms { side, sats: 10_000, euros: 10 }).await;
        times.push(trade.with_context(|| format!("trade {round} of pair {number}"))?);
    }
    Ok((traders, times))
}

/// Counts the waiting acts once a second.
async fn watch_outbox(reader: &Reader, most: &mut i64) -> Result<Infallible> {
    let mut second = interval(Duration::from_secs(1));
    loop {
        second.tick().await;
        let (waiting, _) = reader.outbox_depth().await?;
        *most = waiting.max(*most);
    }
}

/// Messages of strangers without an order, one each.
struct Flood {
    messages: Vec<Event>,
    senders: Vec<PublicKey>,
}

impl Flood {
    /// Sealed before anything is measured: strangers do that on machines of their own.
    async fn prepare(node: PublicKey) -> Result<Self> {
        let (mut messages, mut senders) = (Vec::new(), Vec::new());
        for number in 0..STRANGERS {
            let keys = Keys::generate();
            messages.push(message(number, &keys, node).await?);
            senders.push(keys.public_key());
        }
        Ok(Self { messages, senders })
    }

    /// The relay refuses all answers to them.
    async fn run(self, exchange: &Exchange, started: Instant) -> Result<()> {
        exchange.relay.block(self.senders);
        sleep_until(started).await;
        let mut beat = interval(Duration::from_secs(1) / MESSAGES_A_SECOND);
        beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for message in self.messages {
            beat.tick().await;
            exchange.relay.push(message);
        }
        Ok(())
    }
}

/// A request that is refused for its content, or because its order does not exist.
async fn message(number: usize, keys: &Keys, node: PublicKey) -> Result<Event> {
    let (action, order, payload) = match number % 3 {
        0 => (Action::NewOrder, None, Some(Payload::Order(SmallOrder::default()))),
        1 => (Action::TakeSell, Some(Uuid::new_v4()), None),
        _ => (Action::Release, Some(Uuid::new_v4()), None),
    };
    let index = order.is_none().then_some(1);
    let request = u64::try_from(number)?;
    let message = Message::Order(MessageKind::new(order, Some(request), index, action, payload));
    let transport = if number.is_multiple_of(2) { Transport::GiftWrap } else { Transport::Nip44 };
    transport.seal(&message, keys, keys, node).await
}
