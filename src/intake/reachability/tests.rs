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
        let useful = Useful { catch_up: CATCH_UP, oldest_take: None };
        Reachability::new(
            self.engine.clone(),
            self.clock.clone(),
            subscriptions,
            remembered,
            useful,
        )
    }
}

/// A relay that nobody reaches.
async fn nobody() -> (Relays, crate::nostr::Listener) {
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
fn relays_are_asked_from_where_the_first_was_lost_unless_that_is_of_no_use() {
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
        let useful = Useful { catch_up: CATCH_UP, oldest_take };
        assert_eq!(asked_from(&remembered, useful, Timestamp(NOW)), from, "{remembered:?}");
    }
}

// spec: D5
#[tokio::test]
async fn since_when_a_relay_was_not_heard_is_written_down() {
    let mut fixture = Fixture::new().await;
    let (relays, listener) = nobody().await;
    let (mut reachability, cursor) =
        fixture.reachability(&DaemonState::default(), relays.subscriptions());
    fixture.tasks.spawn(listener.run(cursor));
    let mut subscriptions = relays.subscriptions();
    subscriptions.wait_for(|subscriptions| subscriptions.missed_since().is_some()).await.unwrap();
    fixture.clock.advance(Duration::from_hours(1));

    reachability.resume().await;
    reachability.has_all_before(1);
    reachability.move_on(|mark| mark == 0).await;
    assert_eq!(fixture.reader.daemon_state().await.unwrap().cursor, None, "not all has ended");
    reachability.move_on(|mark| mark == 1).await;

    let written = fixture.reader.daemon_state().await.unwrap();
    assert_eq!(written.missed_since, Some(Timestamp(NOW)));
    assert_eq!(written.cursor, Some(Timestamp(NOW + HOUR)));
    assert_eq!(written.heard_at, Some(Timestamp(NOW + HOUR)));
}

// spec: D41
#[tokio::test]
async fn a_clock_that_is_set_back_takes_the_cursor_back_with_it() {
    let fixture = Fixture::new().await;
    let (_hearing, heard) = watch::channel(Subscriptions::new(1));
    let (mut reachability, cursor) = fixture.reachability(&DaemonState::default(), heard);
    reachability.resume().await;
    fixture.clock.set(Timestamp(NOW + 30 * HOUR));
    reachability.beat().await;
    reachability.has_all_before(1);
    reachability.move_on(|_| true).await;
    assert_eq!(*cursor.borrow(), Timestamp(NOW + 30 * HOUR));
    reachability.lose();
    fixture.clock.advance(Duration::from_hours(1));

    fixture.clock.set(Timestamp(NOW + HOUR));
    reachability.beat().await;

    assert_eq!(*cursor.borrow(), Timestamp(NOW), "what was written since is asked for");
}
