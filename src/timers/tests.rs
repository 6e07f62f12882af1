use std::sync::Mutex;

use super::*;
use crate::engine::tests::EngineFixture;
use crate::lightning::{Lnd, LndAccess};

/// Timers whose LND does not answer.
fn timers(fixture: &EngineFixture) -> Timers {
    let nowhere = LndAccess {
        host: "https://127.0.0.1:1".to_owned(),
        cert_file: "none".into(),
        macaroon_file: "none".into(),
    };
    Timers {
        reader: fixture.reader.clone(),
        engine: fixture.engine.clone(),
        facts: Facts::new(Arc::new(Lnd::new(nowhere).unwrap())),
        clock: fixture.clock.clone(),
        health: tokio::sync::watch::channel(None).1,
        inbox_memory: Duration::from_hours(1),
    }
}

/// Two orders whose sellers did not pay in time while relays were reachable, and the questions of their
/// deadlines.
async fn two_overdue(fixture: &EngineFixture) -> [(OrderId, Question); 2] {
    let mut overdue = Vec::new();
    for n in [1, 2] {
        let order = fixture.awaiting_hold(n).await;
        let hash = fixture.order(order).await.state.hold().unwrap();
        overdue.push((order, Question::HoldStatus { hash }));
    }
    for _ in 0..31 {
        fixture.clock.advance(Duration::from_secs(30));
        fixture.engine.relays_reachable().await.unwrap();
    }
    overdue.try_into().unwrap()
}

// spec: INV-9 C7
#[tokio::test]
async fn a_timer_round_lists_orders_that_must_ask_lnd_except_those_already_asking() {
    let fixture = EngineFixture::new().await;
    let timers = timers(&fixture);
    let overdue = two_overdue(&fixture).await;

    assert_eq!(timers.look(false, &HashSet::new()).await.unwrap(), overdue);
    let asking = HashSet::from([overdue[0].0]);
    assert_eq!(timers.look(false, &asking).await.unwrap(), [overdue[1]]);
}

// spec: INV-9 C7
#[tokio::test]
async fn an_order_whose_question_had_no_answer_waits_and_then_asks_again() {
    let fixture = EngineFixture::new().await;
    let timers = Arc::new(timers(&fixture));
    let [ask, _] = two_overdue(&fixture).await;
    let (order, _) = ask;
    let mut asking = Asking::default();
    tokio::time::pause();

    asking.start(&timers, ask);
    tokio::time::sleep(UNANSWERED_PAUSE / 2).await;
    assert_eq!(asking.orders(), HashSet::from([order]));

    while asking.orders().contains(&order) {
        tokio::time::sleep(UNANSWERED_PAUSE).await;
    }
}

/// Sets wall and monotonic time separately.
#[derive(Debug)]
struct TwoClocks(Mutex<(i64, u64)>);

impl Clock for TwoClocks {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.lock().unwrap().0)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.lock().unwrap().1)
    }
}

fn pauses_after(steps: &[(i64, u64)]) -> bool {
    let clock = TwoClocks(Mutex::new((1_000_000, 100)));
    let mut guard = JumpGuard::new(&clock);
    let mut is_paused = false;
    for (wall, monotonic) in steps {
        *clock.0.lock().unwrap() = (*wall, *monotonic);
        is_paused = guard.is_paused(&clock);
    }
    is_paused
}

#[test]
fn time_that_passes_on_both_clocks_stops_nothing() {
    assert!(!pauses_after(&[(1_000_001, 101), (1_100_000, 100_100)]));
}

#[test]
fn a_clock_that_was_set_stops_deadlines_for_ten_minutes() {
    assert!(pauses_after(&[(1_000_302, 101)]), "forward");
    assert!(pauses_after(&[(999_000, 101)]), "backward");
    assert!(pauses_after(&[(1_086_400, 101), (1_086_999, 700)]));
    assert!(!pauses_after(&[(1_086_400, 101), (1_087_000, 701)]));
}
