mod stage;

use std::time::Duration;

use nostr_sdk::EventId as NostrId;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tempfile::TempDir;
use trade::{IdentityKey, OrderState, Timestamp, TradeKey};

use super::age::{Age, judge};
use super::*;
use crate::store::{Writer, open as open_store};
use crate::wire::Message as WireMessage;
use stage::{Stage, buyer, seller};

const START: i64 = 1_800_000_000;
const HOUR: i64 = 3_600;

fn written(n: u8, at: i64, action: &str) -> Opened {
    let json = format!(
        r#"{{"order":{{"version":1,"id":"00000000-0000-4000-8000-000000000000","action":"{action}"}}}}"#
    );
    Opened {
        event_id: NostrId::from_byte_array([n; 32]),
        rumor_id: None,
        sender: TradeKey([1; 32]),
        identity: Some(IdentityKey([1; 32])),
        transport: Transport::GiftWrap,
        created_at: Timestamp(at),
        message: WireMessage::parse(&json).unwrap(),
    }
}

fn is_honoured(opened: &Opened, at: i64, catch_up: Duration) -> bool {
    judge(opened, Timestamp(at), catch_up) == Age::Honoured
}

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

#[track_caller]
fn check(action: &str, age: i64, expected: Age) {
    assert_eq!(judge(&written(1, START - age, action), Timestamp(START), hours(24)), expected);
}

// spec: D5 INV-9
#[tokio::test]
async fn intake_can_be_driven_step_by_step() {
    let mut stage = Stage::new().await;
    let order = stage.active().await;

    stage.says(&buyer(), order, "fiat-sent").await;
    assert!(matches!(stage.order(order).await.state, OrderState::FiatSent { .. }));

    stage.says(&seller(), order, "release").await;
    assert!(matches!(stage.order(order).await.state, OrderState::Settling { .. }));
}

// spec: D5
#[test]
fn five_minutes_either_way_are_fresh_for_whatever_is_asked() {
    for action in ["take-sell", "release"] {
        for age in [300, 0, -300] {
            check(action, age, Age::Honoured);
        }
        check(action, -301, Age::Ahead);
    }
}

// spec: D5
#[test]
fn what_helps_a_running_trade_is_honoured_until_the_catch_up_ends() {
    check("release", 301, Age::Honoured);
    check("release", 24 * HOUR, Age::Honoured);
    check("release", 24 * HOUR + 1, Age::Stale("older than inbox_catch_up_hours"));
}

// spec: D5
#[test]
fn nobody_is_matched_with_an_order_they_wanted_long_ago_or_told_what_they_once_asked() {
    for action in ["new-order", "take-sell", "take-buy", "orders", "user-info"] {
        check(action, 301, Age::Stale("too old for what it asks"));
    }
}

proptest! {
    // spec: D5 I7
    #[test]
    fn a_message_that_may_be_forgotten_is_stale_whenever_it_comes_again(
        catch_up in 0_u64..=720,
        older_by in 1_i64..1_000_000,
        later_by in -3 * 24 * HOUR..10_000_000,
        is_take: bool,
    ) {
        let catch_up = hours(catch_up);
        let memory = i64::try_from(memory(catch_up).as_secs()).unwrap();
        let action = if is_take { "take-sell" } else { "release" };
        let forgotten = written(1, START - memory - older_by, action);

        prop_assert!(!is_honoured(&forgotten, START + later_by, catch_up));
    }
}

/// What may happen to a daemon that remembers and forgets.
#[derive(Debug, Clone)]
enum Step {
    /// A relay sends one of the messages, in a wrapping of its own.
    Arrive(usize),
    /// The clock shows so many seconds since the start, more or fewer than before.
    Clock(i64),
    Forget,
    Restart,
    CatchUp(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..MESSAGES).prop_map(Step::Arrive),
        3 => (0..240 * HOUR).prop_map(Step::Clock),
        3 => Just(Step::Forget),
        1 => Just(Step::Restart),
        1 => (1_u64..=720).prop_map(Step::CatchUp),
    ]
}

const MESSAGES: usize = 4;

// spec: I7 C25 D5 D24
#[test]
fn no_message_is_acted_on_twice_whatever_was_forgotten_and_whatever_the_clock_did() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(32));
    let times = vec(0..48 * HOUR, MESSAGES);

    let checked = runner.run(&(times, vec(any_step(), 0..80)), |(times, steps)| {
        let acted_on = runtime.block_on(live_through(&times, &steps));
        prop_assert!(acted_on.iter().all(|count| *count <= 1), "{acted_on:?}");
        Ok(())
    });

    checked.unwrap();
}

/// How often each message was acted on.
async fn live_through(times: &[i64], steps: &[Step]) -> [u32; MESSAGES] {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("trades.db");
    let (mut writer, _) = open_store(&file).await.unwrap();
    let (mut now, mut catch_up) = (START, hours(24));
    let mut acted_on = [0; MESSAGES];
    for (wrapping, step) in (100_u8..).zip(steps) {
        match *step {
            Step::Arrive(n) => {
                let rumor = NostrId::from_byte_array([u8::try_from(n).unwrap(); 32]);
                let message = written(wrapping, START + times[n], "release");
                let message = Opened { rumor_id: Some(rumor), ..message };
                if is_honoured(&message, now, catch_up) && remember(&mut writer, &message).await {
                    acted_on[n] += 1;
                }
            }
            Step::Clock(secs) => now = START + secs,
            Step::Forget => forget(&mut writer, now, catch_up).await,
            Step::Restart => {
                writer.close().await.unwrap();
                (writer, _) = open_store(&file).await.unwrap();
            }
            Step::CatchUp(longest) => catch_up = hours(longest),
        }
    }
    acted_on
}

async fn remember(writer: &mut Writer, message: &Opened) -> bool {
    let mut tx = writer.begin().await.unwrap();
    let is_new = tx.remember(&delivery(message), message.created_at).await.unwrap();
    tx.commit().await.unwrap();
    is_new
}

async fn forget(writer: &mut Writer, now: i64, catch_up: Duration) {
    let mut tx = writer.begin().await.unwrap();
    tx.forget(Timestamp(now), memory(catch_up)).await.unwrap();
    tx.commit().await.unwrap();
}
