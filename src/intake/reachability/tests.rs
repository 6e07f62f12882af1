use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::clock::ManualClock;
use crate::engine::tests::policy;
use crate::nostr::{Keys, Options, Relays};
use crate::store::Reader;
use crate::store::tests::open;

const NOW: i64 = 1_800_000_000;
const HOUR: i64 = 3_600;
const CATCH_UP: Duration = Duration::from_hours(24);

struct Fixture {
    engine: Engine,
    reader: Reader,
    clock: Arc<ManualClock>,
    _folder: TempDir,
    tasks: JoinSet<()>,
}

impl Fixture {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let (writer, reader) = open(&folder.path().join("trades.db")).await.unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp(NOW)));
        let (engine, task) = Engine::new(writer, policy(), clock.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { task.run().await.unwrap() });
        Self { engine, reader, clock, _folder: folder, tasks }
    }

    fn reachability(
        &self,
        remembered: &DaemonState,
        subscriptions: watch::Receiver<Subscriptions>,
    ) -> (Reachability, watch::Receiver<Timestamp>) {
        let period = HonouredPeriod { catch_up: CATCH_UP, oldest_take: None };
        Reachability::new(
            self.engine.clone(),
            self.clock.clone(),
            subscriptions,
            remembered,
            period,
        )
    }
}

async fn unreachable_relay() -> (Relays, crate::nostr::Listener) {
    let options = Options {
        urls: vec!["ws://127.0.0.1:9".to_owned()],
        transports: Vec::new(),
        max_event_bytes: 1,
        queue: 1,
        retry: Duration::from_secs(1),
    };
    let keys = Keys::parse(&"11".repeat(32)).unwrap();
    let (relays, listener, _) = Relays::new(&options, &keys).await.unwrap();
    (relays, listener)
}

// spec: D5 D40 D41
#[test]
fn the_cursor_starts_at_the_loss_of_the_first_relay_within_the_accepted_age() {
    let hours = |ago: i64| Timestamp(NOW - ago * HOUR);
    for (cursor, missed_since, oldest_take, from) in [
        (None, None, None, hours(0)),
        (Some(hours(1)), None, None, hours(1)),
        (Some(hours(1)), Some(hours(5)), None, hours(5)),
        (Some(hours(1)), Some(hours(99)), None, hours(24)),
        (Some(hours(1)), Some(hours(99)), Some(hours(70)), hours(70)),
        (Some(hours(1)), Some(hours(99)), Some(hours(200)), hours(99)),
        (Some(hours(48)), Some(hours(99)), None, hours(48)),
        (Some(hours(-1)), None, None, hours(24)),
        (Some(hours(-1)), Some(hours(-2)), Some(hours(70)), hours(70)),
        (Some(hours(1)), Some(hours(-2)), None, hours(24)),
    ] {
        let remembered = DaemonState { cursor, missed_since, ..DaemonState::default() };
        let period = HonouredPeriod { catch_up: CATCH_UP, oldest_take };
        assert_eq!(first_cursor(&remembered, period, Timestamp(NOW)), from, "{remembered:?}");
    }
}

// spec: D5
#[tokio::test]
async fn the_time_since_which_events_may_be_missing_is_saved() {
    let mut fixture = Fixture::new().await;
    let (relays, listener) = unreachable_relay().await;
    let (mut reachability, cursor) =
        fixture.reachability(&DaemonState::default(), relays.subscriptions());
    fixture.tasks.spawn(listener.run(cursor));
    let mut subscriptions = relays.subscriptions();
    subscriptions.wait_for(|subscriptions| subscriptions.missed_since().is_some()).await.unwrap();
    fixture.clock.advance(Duration::from_hours(1));

    reachability.resume().await;
    reachability.mark_received(1);
    reachability.advance_cursor(|mark| mark == 0).await;
    assert_eq!(fixture.reader.daemon_state().await.unwrap().cursor, None, "not all is finished");
    reachability.advance_cursor(|mark| mark == 1).await;

    let written = fixture.reader.daemon_state().await.unwrap();
    assert_eq!(written.missed_since, Some(Timestamp(NOW)));
    assert_eq!(written.cursor, Some(Timestamp(NOW + HOUR)));
    assert_eq!(written.relays_reachable_at, Some(Timestamp(NOW + HOUR)));
}

// spec: D41
#[tokio::test]
async fn the_cursor_moves_back_when_the_clock_is_set_back() {
    let fixture = Fixture::new().await;
    let (_sender, subscriptions) = watch::channel(Subscriptions::new(1));
    let (mut reachability, cursor) = fixture.reachability(&DaemonState::default(), subscriptions);
    reachability.resume().await;
    fixture.clock.set(Timestamp(NOW + 30 * HOUR));
    reachability.heartbeat().await;
    reachability.mark_received(1);
    reachability.advance_cursor(|_| true).await;
    assert_eq!(*cursor.borrow(), Timestamp(NOW + 30 * HOUR));
    reachability.set_unreachable();
    fixture.clock.advance(Duration::from_hours(1));

    fixture.clock.set(Timestamp(NOW + HOUR));
    reachability.heartbeat().await;

    assert_eq!(*cursor.borrow(), Timestamp(NOW), "what was written since is requested");
}
