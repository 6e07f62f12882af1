//! What routes may cost beyond the fees of their trades (D43).
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "few trades of small amounts: a slip ends the test, and should"
)]

use std::time::Duration;

use proptest::prelude::*;

use crate::fixture::{
    EXPIRES_AT, MAKER, Scene, Story, TAKER, check, failed, hold, invoice, new_order, payment,
    secret, unanswered,
};
use crate::{
    Attempt, Command, Destination, FailureReason, HoldStatus, Invoice, Kind, Msats, NewOrder,
    NodeKey, PaymentStatus, PayoutPurpose, PayoutState, Policy, Ppm, Preimage, RoutingBudget, Sats,
    Subsidy,
};

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);
const SEND: &str = "LND: send payout i1";
const SHORT: &str = "alarm: RoutingBudgetUsedUp";

/// A released trade of so many sats whose buyer is paid over the node `payee`.
fn released(scene: Scene, amount: u64, payee: u8) -> Story {
    let amount = i64::try_from(amount).expect("small");
    let mut story = Story::born_in(scene, NewOrder { amount, ..new_order(Kind::Sell) });
    story.says(TAKER, Command::TakeSell { destination: None, secret: secret(9) });
    let far = story.scene.now.after(HOUR * 99);
    let payee = NodeKey([payee; 33]);
    let to = Invoice { amount: None, payee, expires_at: far, ..invoice(1) };
    let destination = Destination::Bolt11(to);
    story.says(TAKER, Command::AddInvoice { destination, secret: secret(1) });
    let mut story = story.opened();
    let quote = story.order.terms.quote.expect("a fixed price");
    let paid = quote.to_hold().to_msats().expect("small");
    story.hears(hold(1, HoldStatus::Accepted { paid, expires_at: EXPIRES_AT }));
    story.says(TAKER, Command::FiatSent);
    story.says(MAKER, Command::Release);
    story
}

fn paying(scene: Scene, amount: u64, payee: u8) -> Story {
    let mut story = released(scene, amount, payee);
    story.hears(hold(1, HoldStatus::Settled));
    story
}

fn scene(fee: u32) -> Scene {
    let mut scene = Scene::new();
    scene.policy = Policy { fee: Ppm(fee), max_routing_fee: Ppm(2_000), ..scene.policy };
    scene
}

/// As it is when so many sats of today's budget are used.
fn used(scene: Scene, sats: u64, sats_for_payee: u64) -> Scene {
    let routing = RoutingBudget {
        used: Msats(sats * 1_000),
        used_for_payee: Msats(sats_for_payee * 1_000),
        ..scene.routing
    };
    Scene { routing, ..scene }
}

fn attempt(story: &Story) -> Attempt {
    story
        .order
        .payout(PayoutPurpose::Buyer)
        .cloned()
        .and_then(|payout| payout.attempt)
        .expect("an attempt")
}

fn failures(story: &Story) -> Option<u32> {
    story.order.payout(PayoutPurpose::Buyer).map(|payout| payout.failures)
}

fn succeeds(story: &mut Story, fee: Msats) -> crate::fixture::Told {
    let index = attempt(story).base_index + 1;
    let receipt = Preimage([7; 32]);
    story.hears(payment(1, PaymentStatus::Succeeded { index, receipt, fee }))
}

fn finds_no_route(story: &mut Story) -> crate::fixture::Told {
    let index = attempt(story).base_index + 1;
    story.hears(payment(1, failed(index, FailureReason::NoRoute)))
}

/// A day of many trades with one budget.
struct Day {
    trades: Vec<Story>,
    scene: Scene,
}

impl Day {
    fn new(scene: Scene) -> Self {
        Self { trades: Vec::new(), scene }
    }

    /// What the transaction reads: sums over all attempts of today.
    fn budget(&self, payee: u8) -> RoutingBudget {
        let today = self.scene.now.day();
        let charged = |story: &Story| {
            let payout = story.order.payout(PayoutPurpose::Buyer).cloned()?;
            let Subsidy { day, payee, amount } = payout.attempt?.subsidy?;
            let is_spent = matches!(payout.state, PayoutState::Paid { .. });
            (day == today).then_some((payee, amount.0, is_spent))
        };
        let all: Vec<_> = self.trades.iter().filter_map(charged).collect();
        let sum = |wanted: &dyn Fn(&(NodeKey, u64, bool)) -> bool| {
            Msats(all.iter().filter(|it| wanted(it)).map(|(_, amount, _)| amount).sum())
        };
        RoutingBudget {
            used: sum(&|_| true),
            spent: sum(&|(_, _, is_spent)| *is_spent),
            used_for_payee: sum(&|(of, _, _)| *of == NodeKey([payee; 33])),
            ..self.scene.routing
        }
    }

    fn begins(&mut self, amount: u64, fee: u32, payee: u8) -> usize {
        let mut scene = self.scene.clone();
        scene.policy.fee = Ppm(fee);
        scene.routing = self.budget(payee);
        self.trades.push(paying(scene, amount, payee));
        self.trades.len() - 1
    }

    /// The payee takes so many percent of what it may; a route that may cost nothing is none.
    fn ends(&mut self, trade: usize, percent: u64) -> u64 {
        let routing = self.budget(0);
        let story = &mut self.trades[trade];
        if story
            .order
            .payout(PayoutPurpose::Buyer)
            .is_some_and(|payout| payout.state != PayoutState::Sending)
        {
            return 0;
        }
        story.scene.routing = RoutingBudget { used_for_payee: Msats(0), ..routing };
        let most = attempt(story).max_fee.0 * 1_000;
        let fee = most * percent / 100;
        if most == 0 {
            finds_no_route(story);
            return 0;
        }
        succeeds(story, Msats(fee));
        fee
    }

    /// What routes cost beyond the fees of their trades, in msat.
    fn costs(&self) -> u64 {
        let cost = |story: &Story| {
            let PayoutState::Paid { fee } = story.order.payout(PayoutPurpose::Buyer)?.state else {
                return None;
            };
            Some(fee.0.saturating_sub(story.order.terms.quote?.fee().0 * 2_000))
        };
        self.trades.iter().filter_map(cost).sum()
    }
}

// spec: D43
#[test]
fn who_trades_with_himself_at_no_fee_earns_a_tenth_of_the_budget_a_day_for_a_node() {
    let mut day = Day::new(scene(0));
    let earned: u64 = (0..50)
        .map(|_| {
            let trade = day.begins(1_000_000, 0, 7);
            day.ends(trade, 100)
        })
        .sum();

    assert_eq!(earned, 1_000_000, "msat");
}

// spec: D43
#[test]
fn who_trades_with_himself_over_many_nodes_earns_the_budget_of_a_day() {
    let mut day = Day::new(scene(0));
    let earned: u64 = (0..60)
        .map(|trade: u8| {
            let trade = day.begins(1_000_000, 0, trade + 10);
            day.ends(trade, 100)
        })
        .sum();

    assert_eq!(earned, 10_000_000, "msat");
}

// spec: D43 K-42
#[test]
fn small_trades_whose_fee_rounds_to_nothing_are_no_way_round_the_budget() {
    let mut day = Day::new(scene(6_000));
    let earned: u64 = (0..500)
        .map(|_| {
            let trade = day.begins(100, 6_000, 7);
            day.ends(trade, 100)
        })
        .sum();

    assert_eq!(earned, 1_000_000, "msat");
}

// spec: D43 K-42
#[test]
fn a_limit_is_the_trades_fees_and_what_is_left_and_never_more_than_specified() {
    for (fee, used_sats, used_for_payee, limit, subsidy) in [
        (6_000, 10_000, 1_000, 199, None),
        (0, 0, 0, 200, Some(200)),
        (0, 9_950, 0, 50, Some(50)),
        (0, 0, 950, 50, Some(50)),
        (0, 10_000, 0, 0, None),
        (1_000, 9_990, 0, 110, Some(10)),
    ] {
        let story = paying(used(scene(fee), used_sats, used_for_payee), 100_000, 7);
        let attempt = attempt(&story);
        let set_aside = attempt.subsidy.map(|subsidy| subsidy.amount.0 / 1_000);
        assert_eq!((attempt.max_fee, set_aside), (Sats(limit), subsidy), "at {fee} ppm");
    }
}

// spec: D43
#[test]
fn what_was_set_aside_is_given_back_by_a_failure_and_corrected_by_the_real_cost() {
    let mut failing = paying(scene(0), 100_000, 7);
    finds_no_route(&mut failing);
    assert_eq!(attempt(&failing).subsidy, None);

    let mut dear = paying(scene(1_000), 100_000, 7);
    succeeds(&mut dear, Msats(150_500));
    let day = dear.scene.now.day();
    let (payee, amount) = (NodeKey([7; 33]), Msats(50_500));
    assert_eq!(attempt(&dear).subsidy, Some(Subsidy { day, payee, amount }));

    let mut cheap = paying(scene(1_000), 100_000, 7);
    succeeds(&mut cheap, Msats(100_000));
    assert_eq!(attempt(&cheap).subsidy, None);
}

// spec: D43
#[test]
fn the_cost_is_charged_to_the_day_on_which_it_was_set_aside() {
    let mut story = paying(scene(0), 100_000, 7);
    let day = story.scene.now.day();
    story.after(HOUR * 30);
    succeeds(&mut story, Msats(1));

    assert_eq!(attempt(&story).subsidy.map(|subsidy| subsidy.day), Some(day));
}

// spec: D43 P9
#[test]
fn a_payout_that_finds_no_route_for_what_is_left_waits_for_the_next_day_uncounted() {
    let mut story = released(used(scene(0), 9_999, 0), 100_000, 7);
    assert!(story.hears(hold(1, HoldStatus::Settled)).lines.contains(&SHORT.to_owned()));

    let told = ["taker: payment-failed {3 left, every 3600 s}"];
    check(&finds_no_route(&mut story), "PayingBuyer(Due)", &told);
    for _ in 0..5 {
        check(&story.after(HOUR).wakes(), "PayingBuyer(Sending)", &[SEND]);
        check(&finds_no_route(&mut story), "PayingBuyer(Due)", &[]);
    }
    assert_eq!(failures(&story), Some(0));

    story.scene.routing =
        RoutingBudget { short_told: story.scene.routing.short_told, ..RoutingBudget::default() };
    check(&story.after(HOUR).wakes(), "PayingBuyer(Sending)", &[SEND]);
    assert_eq!(attempt(&story).max_fee, Sats(200));
    finds_no_route(&mut story);
    assert_eq!(failures(&story), Some(1), "the buyer's now");
}

// spec: D43 P9
#[test]
fn a_failure_for_another_reason_counts_whatever_the_limit() {
    let mut story = paying(used(scene(0), 10_000, 0), 100_000, 7);
    story.hears(payment(1, failed(1, FailureReason::Timeout)));

    assert_eq!(failures(&story), Some(1));
}

// spec: D43
#[test]
fn a_debt_of_two_days_gets_the_specified_limit_with_an_alarm() {
    let mut story = paying(used(scene(0), 10_000, 0), 100_000, 7);
    finds_no_route(&mut story);
    story.after(HOUR * 48);

    check(&story.wakes(), "PayingBuyer(Sending)", &["alarm: RoutingBeyondBudget", SEND]);
    assert_eq!(attempt(&story).max_fee, Sats(200));
    finds_no_route(&mut story);
    assert_eq!(failures(&story), Some(1));
}

// spec: D43
#[test]
fn the_operator_hears_once_a_day_that_half_is_spent_and_that_it_does_not_suffice() {
    let mut half = paying(scene(0), 1_000_000, 7);
    half.scene.routing.spent = Msats(4_500_000);
    let told = succeeds(&mut half, Msats(1_000_000)).lines;
    assert!(told.contains(&"alarm: RoutingBudgetHalfSpent".to_owned()), "{told:?}");
    let mut again = paying(scene(0), 1_000_000, 7);
    again.scene.routing = half.scene.routing;
    let told = succeeds(&mut again, Msats(1_000_000)).lines;
    assert!(!told.contains(&"alarm: RoutingBudgetHalfSpent".to_owned()), "{told:?}");

    let mut short = paying(used(scene(0), 10_000, 0), 100_000, 7);
    finds_no_route(&mut short);
    check(&short.after(HOUR).wakes(), "PayingBuyer(Sending)", &[SEND]);
    short.hears(unanswered(1));
    short.after(HOUR * 24);
    let told = short.hears(payment(1, PaymentStatus::Unknown));
    check(&told, "PayingBuyer(Sending)", &[SHORT, SEND]);
}

// spec: D43 P6
#[test]
fn a_send_made_again_gives_back_what_it_had_before_it_asks_for_more() {
    let mut story = paying(used(scene(0), 9_800, 0), 100_000, 7);
    story.scene.routing.used = Msats(10_000_000);
    story.scene.routing.used_for_payee = Msats(200_000);
    story.hears(unanswered(1));
    story.after(MINUTE).hears(payment(1, PaymentStatus::Unknown));

    assert_eq!((attempt(&story).tries, attempt(&story).max_fee), (2, Sats(200)));
}

// spec: D43 P7
#[test]
fn a_payment_taken_up_after_its_failure_is_charged_again() {
    let mut story = paying(scene(0), 100_000, 7);
    finds_no_route(&mut story);
    story.hears(payment(1, PaymentStatus::InFlight { index: 2 }));

    assert_eq!(attempt(&story).subsidy.map(|subsidy| subsidy.amount), Some(Msats(200_000)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // spec: D43
    #[test]
    fn routes_never_cost_more_beyond_the_fees_than_the_budget_of_the_day(
        trades in prop::collection::vec((100..=1_000_000_u64, 0..3_u8, 10..40_u8, 0..=100_u64), 1..40)
    ) {
        let mut day = Day::new(scene(0));
        for (n, (amount, fee, payee, percent)) in trades.into_iter().enumerate() {
            day.begins(amount, [0, 1_000, 6_000][usize::from(fee)], payee);
            // Every other payment stays in flight while the next ones begin.
            if n % 2 == 1 {
                day.ends(n, percent);
                day.ends(n - 1, percent);
            }
            prop_assert!(day.costs() <= 10_000_000, "{}", day.costs());
            prop_assert!(day.budget(payee).used <= Msats(10_000_000));
            prop_assert!(day.budget(payee).used_for_payee <= Msats(1_000_000));
        }
    }
}
