//! The composition root: the only place that knows every part, and the order in which they start
//! and stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use trade::{LightningIdentity, Timestamp};

use crate::clock::{Clock, SystemClock};
use crate::config::{self, Loaded, Settings};
use crate::engine::Engine;
use crate::entropy::{Entropy, SystemEntropy};
use crate::facts::Facts;
use crate::intake::{self, Intake};
use crate::lightning::{self, Health, IdentityGuard, LightningNode, Lnd, LndAccess};
use crate::nostr::{Event, Keys, Listener, Options, Relays, SecretKey, ToBech32 as _, Transport};
use crate::outbox::{Messenger, Outbox, RelaySync};
use crate::publisher::{AboutNode, Publisher};
use crate::retry::Reported;
use crate::store::{self, DaemonState, OpenError, Reader};
use crate::tasks::Tasks;
use crate::timers::{Reminder, Timers};
use crate::watcher::{HealthMonitor, Reconciliation, Streams};
use crate::wire::message::MAX_EVENT_BYTES;
use crate::wire::notice;

/// Events that may wait to be read from the relays.
const EVENT_QUEUE: usize = 1_024;

/// The interval at which a lost relay is dialed again.
const RELAY_RETRY: Duration = Duration::from_secs(5);

/// The longest time between two reconciliations with LND.
const RECONCILIATION_INTERVAL: Duration = Duration::from_mins(1);

/// How long the parts may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// Runs until a signal or until a part fails.
///
/// # Errors
/// With what an operator should do, if it cannot start or cannot go on.
pub async fn run(Loaded { settings, warnings }: Loaded) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let node = node_keys(&settings)?.public_key();
    tracing::info!("node {} ({node})", node.to_bech32()?);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let clock = Arc::new(SystemClock::new());
    // Checking a large database takes time; a signal ends the daemon meanwhile, too.
    let mut tasks = tokio::select! {
        started = start(settings, clock, Arc::new(SystemEntropy)) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    tokio::select! {
        ended = tasks.watch() => bail!("{ended}: stopping, so that a supervisor starts the daemon again"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; a second signal stops at once");
    tokio::select! {
        unwilling = tasks.stop(STOP_WITHIN) => {
            if !unwilling.is_empty() {
                tracing::warn!("did not stop in time: {}", unwilling.join(", "));
            }
        }
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The node's keys, as the nostr library wants them.
///
/// # Errors
/// Never for settings that were loaded.
pub fn node_keys(settings: &Settings) -> Result<Keys> {
    let secret = SecretKey::from_slice(settings.nostr.node_secret.expose())?;
    Ok(Keys::new(secret))
}

/// Starts every part and returns without waiting for LND or a relay.
///
/// # Errors
/// If the database cannot be opened, or a setting cannot be used.
pub async fn start(
    settings: Settings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Tasks> {
    let node = node_keys(&settings)?;
    let (writer, reader) = store::open(&settings.database.file, notice::render).await?;
    let remembered = reader.daemon_state().await?;
    let oldest_take = reader.oldest_take().await?;
    let ours = remembered.node.filter(|_| !settings.lightning.allow_node_change);
    let lnd = Arc::new(Lnd::new(access(&settings.lightning))?);
    let lnd = IdentityGuard::new(lnd, ours);
    let (failures, lnd): (_, Arc<dyn LightningNode>) = (lnd.failures(), Arc::new(lnd));
    let transports = transports(&settings);
    let options = Options {
        urls: settings.nostr.relays.clone(),
        transports: transports.clone(),
        max_event_bytes: MAX_EVENT_BYTES,
        queue: EVENT_QUEUE,
        retry: RELAY_RETRY,
    };
    let (relays, listener, events) = Relays::new(&options, &node).await?;

    let mut tasks = Tasks::new();
    let (engine, engine_task) = Engine::new(writer, settings.policy(), Arc::clone(&clock));
    tasks.spawn("engine", async move {
        if let Err(error) = engine_task.run().await {
            tracing::error!(error = crate::error_chain(&error), "the writer stops");
        }
    });
    let networks = remembered.node.iter().map(|node| node.network.to_string()).collect();
    let resources = Resources {
        settings,
        clock,
        entropy,
        node,
        reader,
        engine,
        lnd,
        relays,
        transports,
        networks,
    };

    let health = resources.start_watcher(&mut tasks, failures, ours);
    resources.start_outbox(&mut tasks, &health);
    resources.start_intake(&mut tasks, events, listener, &remembered, oldest_take);
    resources.start_timers(&mut tasks, health);
    Ok(tasks)
}

/// Whether the next start would fail as this one did, until a person has acted.
#[must_use]
pub fn needs_a_person(error: &anyhow::Error) -> bool {
    error.downcast_ref::<OpenError>().is_some_and(OpenError::needs_a_person)
}

/// How to reach LND.
#[must_use]
pub fn access(settings: &config::Lightning) -> LndAccess {
    LndAccess {
        host: settings.lnd_grpc_host.clone(),
        cert_file: settings.lnd_cert_file.clone(),
        macaroon_file: settings.lnd_macaroon_file.clone(),
    }
}

fn transports(settings: &Settings) -> Vec<Transport> {
    match settings.mostro.transport {
        config::Transports::Both => vec![Transport::Nip44, Transport::GiftWrap],
        config::Transports::Nip44 => vec![Transport::Nip44],
        config::Transports::GiftWrap => vec![Transport::GiftWrap],
    }
}

/// What several parts are made of.
struct Resources {
    settings: Settings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    node: Keys,
    reader: Reader,
    engine: Engine,
    lnd: Arc<dyn LightningNode>,
    relays: Relays,
    transports: Vec<Transport>,
    /// Of the LND that last answered, until it answers again.
    networks: Vec<String>,
}

impl Resources {
    fn start_watcher(
        &self,
        tasks: &mut Tasks,
        failures: watch::Receiver<()>,
        remembered: Option<LightningIdentity>,
    ) -> Health {
        let (monitor, health) = HealthMonitor::new(
            Arc::clone(&self.lnd),
            self.engine.clone(),
            Arc::clone(&self.clock),
            failures,
            remembered,
        );
        tasks.spawn("LND health", monitor.run(tasks.shutdown()));
        let streams = Streams::new(
            Arc::clone(&self.lnd),
            self.reader.clone(),
            self.engine.clone(),
            health.clone(),
        );
        tasks.spawn("LND streams", streams.run(tasks.shutdown()));
        let reconciliation = Reconciliation {
            node: Arc::clone(&self.lnd),
            reader: self.reader.clone(),
            engine: self.engine.clone(),
            health: health.clone(),
            period: RECONCILIATION_INTERVAL.min(self.settings.lightning.payout_quiet),
        };
        tasks.spawn("LND reconciliation", reconciliation.run(tasks.shutdown()));
        health
    }

    fn start_outbox(&self, tasks: &mut Tasks, health: &Health) {
        let messenger = Messenger {
            relays: self.relays.clone(),
            node: self.node.clone(),
            engine: self.engine.clone(),
            clock: Arc::clone(&self.clock),
            retention: self.settings.expiration.dm,
            transports: self.transports.clone(),
        };
        let outbox = Outbox::new(
            Arc::clone(&self.lnd),
            messenger,
            self.reader.clone(),
            self.engine.clone(),
            Arc::clone(&self.clock),
            self.settings.lightning.escrow_deadline_margin_blocks,
        );
        tasks.spawn("outbox", outbox.run(tasks.shutdown()));
        let publisher = Publisher {
            reader: self.reader.clone(),
            engine: self.engine.clone(),
            relays: self.relays.clone(),
            node: self.node.clone(),
            health: health.clone(),
            clock: Arc::clone(&self.clock),
            about: AboutNode::new(
                &self.settings,
                &self.node,
                &self.transports,
                self.networks.clone(),
            ),
            reported: Reported::default(),
            renewals: BTreeMap::new(),
        };
        tasks.spawn("publisher", publisher.run(tasks.shutdown()));
        let relay_sync = RelaySync {
            reader: self.reader.clone(),
            relays: self.relays.clone(),
            clock: Arc::clone(&self.clock),
        };
        tasks.spawn("relay sync", relay_sync.run(tasks.shutdown()));
    }

    fn start_intake(
        &self,
        tasks: &mut Tasks,
        events: mpsc::Receiver<Event>,
        listener: Listener,
        remembered: &DaemonState,
        oldest_take: Option<Timestamp>,
    ) {
        let setup = intake::Setup {
            events,
            subscriptions: self.relays.subscriptions(),
            node: self.node.clone(),
            pow: self.settings.mostro.pow,
            transports: self.transports.clone(),
            catch_up: self.settings.nostr.inbox_catch_up,
            policy: self.settings.policy(),
            reader: self.reader.clone(),
            engine: self.engine.clone(),
            facts: Facts::new(Arc::clone(&self.lnd)),
            read_destination: lightning::invoice::decode,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
        };
        let (intake, cursor) = Intake::new(setup, remembered, oldest_take);
        tasks.spawn("intake", intake.run(tasks.shutdown()));
        let relays = tasks.shutdown().run_until_cancelled_owned(listener.run(cursor));
        tasks.spawn("relays", relays.map(drop));
    }

    fn start_timers(&self, tasks: &mut Tasks, health: Health) {
        let timers = Timers {
            reader: self.reader.clone(),
            engine: self.engine.clone(),
            facts: Facts::new(Arc::clone(&self.lnd)),
            health,
            clock: Arc::clone(&self.clock),
            inbox_memory: intake::memory(self.settings.nostr.inbox_catch_up),
        };
        tasks.spawn("timers", timers.run(tasks.shutdown()));
        let reminder = Reminder {
            reader: self.reader.clone(),
            clock: Arc::clone(&self.clock),
            escrow_margin: self.settings.policy().escrow_margin,
        };
        tasks.spawn("reminder", reminder.run(tasks.shutdown()));
    }
}
