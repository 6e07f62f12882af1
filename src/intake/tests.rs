mod driven;
mod fixture;

use std::time::Duration;

use nostr_sdk::EventId as NostrId;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tempfile::TempDir;
use trade::{IdentityKey, Timestamp, TradeKey};

use super::age::{Age, judge};
use super::handler::delivery;
use super::*;
use crate::nostr::Opened;
use crate::store::Writer;
use crate::store::tests::open as open_store;
use crate::wire::Message as WireMessage;

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
    judge(opened, Timestamp(at), catch_up, None) == Age::Honoured
}

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

#[track_caller]
fn check(action: &str, age: i64, expected: Age) {
    assert_eq!(
        judge(&written(1, START - age, action), Timestamp(START), hours(24), None),
        expected
    );
}

/// `took` is how long ago the sender's running trade began.
#[track_caller]
fn check_in_trade(took: i64, action: &str, age: i64, expected: Age) {
    let message = written(1, START - age, action);
    let taken_at = Some(Timestamp(START - took));
    assert_eq!(judge(&message, Timestamp(START), hours(24), taken_at), expected);
}

// spec: D5
#[test]
fn any_message_within_five_minutes_of_the_clock_is_accepted() {
    for action in ["take-sell", "release"] {
        for age in [300, 0, -300] {
            check(action, age, Age::Honoured);
        }
    }
}

// spec: D41
#[test]
fn a_message_that_advances_a_trade_is_accepted_as_far_ahead_as_it_may_be_late() {
    check("release", -301, Age::Honoured);
    check("release", -24 * HOUR, Age::Honoured);
    check("release", -24 * HOUR - 1, Age::Stale("dated too far ahead"));
}

// spec: D41
#[test]
fn the_id_of_any_other_message_ahead_is_kept_up_to_one_day_ahead() {
    check("take-sell", -301, Age::Ahead);
    check("take-sell", -24 * HOUR, Age::Ahead);
    check("take-sell", -24 * HOUR - 1, Age::Stale("dated too far ahead"));
}

// spec: D41
#[test]
fn a_partys_message_dated_far_ahead_waits_until_the_clock_is_corrected() {
    check_in_trade(HOUR, "fiat-sent", -72 * HOUR, Age::Early);
    check_in_trade(HOUR, "take-sell", -72 * HOUR, Age::Stale("dated too far ahead"));
}

// spec: D40
#[test]
fn a_message_that_advances_a_trade_is_accepted_at_any_age_since_its_take() {
    let old = Age::Stale("older than inbox_catch_up_hours and than the trade");
    check_in_trade(500 * HOUR, "fiat-sent", 500 * HOUR, Age::Honoured);
    check_in_trade(500 * HOUR, "fiat-sent", 500 * HOUR + 300, Age::Honoured); // by a slow clock
    check_in_trade(500 * HOUR, "fiat-sent", 500 * HOUR + 301, old);
    check_in_trade(HOUR, "fiat-sent", 24 * HOUR, Age::Honoured);
    check_in_trade(500 * HOUR, "take-sell", 301, Age::Stale("too old for its action"));
}

// spec: D5
#[test]
fn a_message_that_advances_a_trade_is_accepted_up_to_the_catch_up_time() {
    check("release", 301, Age::Honoured);
    check("release", 24 * HOUR, Age::Honoured);
    check(
        "release",
        24 * HOUR + 1,
        Age::Stale("older than inbox_catch_up_hours and than the trade"),
    );
}

// spec: D5
#[test]
fn an_old_order_take_or_query_is_stale() {
    for action in ["new-order", "take-sell", "take-buy", "orders", "user-info"] {
        check(action, 301, Age::Stale("too old for its action"));
    }
}

proptest! {
    // spec: D5 I7
    #[test]
    fn a_message_whose_id_may_be_deleted_is_stale_when_repeated(
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

/// What may happen to the ids of messages.
#[derive(Debug, Clone)]
enum Step {
    /// A relay sends one of the messages, in another wrap.
    Arrive(usize),
    Pass(i64),
    /// By how many seconds the clock is wrong from now on.
    Clock(i64),
    Forget,
    Restart,
    CatchUp(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..MESSAGES).prop_map(Step::Arrive),
        3 => (0..100 * HOUR).prop_map(Step::Pass),
        3 => prop_oneof![-300 * HOUR..300 * HOUR, -3 * HOUR..=3 * HOUR].prop_map(Step::Clock),
        3 => Just(Step::Forget),
        1 => Just(Step::Restart),
        1 => (1_u64..=720).prop_map(Step::CatchUp),
    ]
}

const MESSAGES: usize = 4;

// spec: I7 C25 D5 D24
#[test]
fn no_message_is_acted_on_twice_after_any_deletion_and_at_any_clock() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(32));
    let times = vec(0..48 * HOUR, MESSAGES);

    let checked = runner.run(&(times, vec(any_step(), 0..80)), |(times, steps)| {
        let acted_on = runtime.block_on(run(&times, &steps));
        prop_assert!(acted_on.iter().all(|count| *count <= 1), "{acted_on:?}");
        Ok(())
    });

    checked.unwrap();
}

/// How often each message was acted on.
async fn run(times: &[i64], steps: &[Step]) -> [u32; MESSAGES] {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("trades.db");
    let (mut writer, _) = open_store(&file).await.unwrap();
    let (mut right, mut wrong_by, mut catch_up) = (START, 0_i64, hours(24));
    let mut acted_on = [0; MESSAGES];
    for (wrap, step) in (100_u8..).zip(steps) {
        match *step {
            Step::Arrive(n) => {
                let rumor = NostrId::from_byte_array([u8::try_from(n).unwrap(); 32]);
                let message = written(wrap, START + times[n], "release");
                let message = Opened { rumor_id: Some(rumor), ..message };
                if is_honoured(&message, right + wrong_by, catch_up)
                    && remember(&mut writer, &message).await
                {
                    acted_on[n] += 1;
                }
            }
            Step::Pass(secs) => right += secs,
            Step::Clock(secs) => wrong_by = secs,
            // Not by a clock that LND's chain does not confirm.
            Step::Forget if wrong_by.abs() > 3 * HOUR => {}
            Step::Forget => forget(&mut writer, right + wrong_by, catch_up).await,
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
