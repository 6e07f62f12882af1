//! The daemon without its sockets, driven by random lists of operations: messages, payments, losses,
//! delays and repeats in any order, with crashes between any two steps. After each step all invariants
//! must hold. After the faults every trade must end.

mod check;
mod daemon;
mod lnd;
mod ops;
mod regressions;
mod relay;
mod simulation;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ops::Op;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use simulation::{Ended, Plant};

/// The number of seeds of one run. `SIM_SEEDS` can raise it.
const SEEDS: u64 = 80;

/// The number of seeds in which a planted fault must be detected.
const PLANT_SEEDS: u64 = 200;

fn run(ops: &[Op], seed: u64, plant: Option<Plant>) -> Result<Ended, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(simulation::run(ops, seed, plant))
}

/// Shortens a failing list by leaving parts out.
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

#[expect(clippy::disallowed_methods, reason = "the caller chooses how long to search")]
fn seeds() -> u64 {
    let more = std::env::var("SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    more.unwrap_or(0).max(SEEDS)
}

/// The cores that this process may use.
fn cores() -> Vec<usize> {
    let usable = sched_getaffinity(None).expect("the cores of this process are known");
    (0..CpuSet::MAX_CPU).filter(|core| usable.is_set(*core)).collect()
}

/// Keeps this thread, and all that it starts, on one core. The threads of a seed wait for each other:
/// on several cores they would take twice as long.
fn stay_on(core: usize) {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).expect("a thread may choose among its cores");
}

/// Runs the seeds on all cores. Returns the results before the first failure, and that failure.
fn run_all(seeds: u64, plant: Option<Plant>) -> (Vec<Ended>, Option<(u64, String)>) {
    let next = AtomicU64::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    let work = |core: usize| {
        stay_on(core);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                break;
            }
            let outcome = run(&ops::draw(seed), seed, plant);
            if outcome.is_err() {
                next.store(seeds, Ordering::Relaxed);
            }
            if seed.is_multiple_of(1_000) && seed > 0 {
                eprintln!("{seed} seeds");
            }
            outcomes.lock().expect("no seed panics").insert(seed, outcome);
        }
    };
    std::thread::scope(|scope| {
        for core in cores() {
            scope.spawn(move || work(core));
        }
    });
    let mut ended = Vec::new();
    for (seed, outcome) in outcomes.into_inner().expect("no seed panics") {
        match outcome {
            Ok(end) => ended.push(end),
            Err(wrong) => return (ended, Some((seed, wrong))),
        }
    }
    (ended, None)
}

// spec: I1 I2 I3 I4 I5 I6 I7 I9 I12 INV-2 INV-9 D39 D40 D41 D42
#[test]
fn trades_are_safe_and_end_under_random_faults() {
    let (ended, wrong) = run_all(seeds(), None);
    if let Some((seed, wrong)) = wrong {
        eprintln!("seed {seed}: {wrong}\nshortening its list of operations");
        let ops = shrink(ops::draw(seed), seed);
        let wrong = run(&ops, seed, None);
        panic!("seed {seed}: {wrong:?}\n[\n{}]", ops::text(&ops));
    }
    let mut ends = BTreeMap::<String, u64>::new();
    for (end, times) in ended.into_iter().flat_map(|ended| ended.orders_by_end) {
        *ends.entry(end).or_default() += u64::from(times);
    }
    // Every kind of end must occur, and enough trades must succeed.
    let all: Vec<_> = ends.keys().map(String::as_str).collect();
    assert_eq!(all, ["canceled", "expired", "frozen", "success"], "{ends:?}");
    assert!(ends["success"] > seeds(), "{ends:?}");
}

// spec: I13
#[test]
fn a_seed_always_gives_the_same_trace() {
    for seed in 0..4 {
        let ops = ops::draw(seed);
        assert_eq!(run(&ops, seed, None), run(&ops, seed, None), "seed {seed}");
    }
}

/// A check must detect a planted fault.
#[track_caller]
fn is_detected(plant: Plant, check: &str) {
    let (_, wrong) = run_all(PLANT_SEEDS, Some(plant));
    let (_, wrong) = wrong.expect("the fault is not detected");
    assert!(wrong.contains(check), "{plant:?}: {wrong}");
}

#[test]
fn an_unknown_payment_counted_as_failed_is_detected() {
    is_detected(Plant::NotFoundMeansFailed, "I3");
}

#[test]
fn a_lost_answer_counted_as_canceled_is_detected() {
    is_detected(Plant::LostMeansCanceled, "I3");
}

#[test]
fn a_dropped_message_is_detected() {
    is_detected(Plant::DropsRefusedMessages, "I8");
}

#[test]
fn a_release_by_the_wrong_party_is_detected() {
    is_detected(Plant::AnybodyReleases, "I5");
}

#[test]
fn an_act_not_resumed_after_a_crash_is_detected() {
    is_detected(Plant::StartedMeansDone, "I12");
}
