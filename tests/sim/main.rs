//! The daemon minus its sockets, under seeds: what is said, paid, lost, late or repeated, in any
//! order, with crashes between any two steps. After each step the books must be in order; when the
//! faults stop, every trade must come to its end.

mod check;
mod lnd;
mod ops;
mod regressions;
mod world;

use std::collections::BTreeMap;

use ops::Op;
use world::{Ended, Plant};

/// Seeds of one run. `SIM_SEEDS` asks for more.
const SEEDS: u64 = 80;

/// The most seeds a planted fault may need to be noticed.
const PLANT_SEEDS: u64 = 200;

fn run(ops: &[Op], seed: u64, plant: Option<Plant>) -> Result<Ended, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(world::run(ops, seed, plant))
}

/// The shortest list that still goes wrong, found by leaving parts out.
fn shrink(mut ops: Vec<Op>, seed: u64) -> Vec<Op> {
    let mut part = ops.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(at..(at + part).min(ops.len()));
            if run(&fewer, seed, None).is_err() {
                ops = fewer;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    ops
}

#[expect(clippy::disallowed_methods, reason = "how long to search is for the caller to say")]
fn seeds() -> u64 {
    let more = std::env::var("SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    more.unwrap_or(0).max(SEEDS)
}

// spec: I1 I2 I3 I4 I5 I6 I9 I12 INV-2
#[test]
fn trades_are_safe_and_come_to_their_end_whatever_fails() {
    let mut ends = BTreeMap::<String, u64>::new();
    for seed in 0..seeds() {
        let ops = ops::draw(seed);
        let Ok(ended) = run(&ops, seed, None) else {
            let ops = shrink(ops, seed);
            let wrong = run(&ops, seed, None);
            panic!("seed {seed}: {wrong:?}\n[\n{}]", ops::text(&ops));
        };
        for (end, times) in ended.as_what {
            *ends.entry(end).or_default() += u64::from(times);
        }
    }
    // Lists in which nothing much happens would prove little.
    let all: Vec<_> = ends.keys().map(String::as_str).collect();
    assert_eq!(all, ["canceled", "expired", "frozen", "success"], "{ends:?}");
    assert!(ends["success"] > seeds(), "{ends:?}");
}

// spec: I13
#[test]
fn the_same_seed_twice_leaves_the_same_trace() {
    for seed in 0..4 {
        let ops = ops::draw(seed);
        assert_eq!(run(&ops, seed, None), run(&ops, seed, None), "seed {seed}");
    }
}

/// A simulator that does not notice a planted fault proves nothing.
#[track_caller]
fn notices(plant: Plant, law: &str) {
    let wrong = (0..PLANT_SEEDS).find_map(|seed| run(&ops::draw(seed), seed, Some(plant)).err());
    let wrong = wrong.expect("nobody noticed");
    assert!(wrong.contains(law), "{plant:?}: {wrong}");
}

#[test]
fn a_payment_taken_for_failed_is_noticed() {
    notices(Plant::NotFoundMeansFailed, "I3");
}

#[test]
fn an_answer_taken_for_a_refund_is_noticed() {
    notices(Plant::LostMeansCanceled, "I3");
}

#[test]
fn a_message_that_is_dropped_is_noticed() {
    notices(Plant::DropsRefusedMessages, "I8");
}

#[test]
fn a_release_by_the_wrong_party_is_noticed() {
    notices(Plant::AnybodyReleases, "I5");
}

#[test]
fn an_act_that_a_crash_cut_off_and_nobody_takes_up_is_noticed() {
    notices(Plant::BegunMeansDone, "I12");
}
