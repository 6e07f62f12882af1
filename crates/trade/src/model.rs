//! Every world that two traders, LND, crashes and late news can lead to: is the money safe in each,
//! and is there always a way out?
//!
//! A world is the order as it was committed, LND's real view, and what is on its way between them.
//! Breadth first over all of them; then backwards from the ended ones. What the shell promises, the
//! model assumes, and no more: see [`world`].

mod mutant;
mod orders;
mod world;

use std::collections::HashMap;

use mutant::Mutant;
use orders::{Beginning, Orders};
use world::{Move, World};

/// A world in which something is wrong, and the shortest way into it.
#[derive(Debug)]
struct Complaint {
    what: &'static str,
    way: Vec<String>,
}

/// All worlds that were found, by number.
struct Explored {
    worlds: Vec<World>,
    numbers: HashMap<World, usize>,
    /// From where each was reached first, and how.
    parents: Vec<Option<(usize, Move)>>,
    /// Where each is reached from by steps that need no volunteer.
    before: Vec<Vec<usize>>,
}

fn explore(beginning: Beginning, mutant: Option<Mutant>) -> Result<Explored, Complaint> {
    let mut orders = Orders::new(mutant);
    let mut explored = Explored::from(orders.begin(beginning));
    let mut at = 0;
    while let Some(world) = explored.worlds.get(at).copied() {
        for (step, next) in world.successors(&mut orders) {
            let is_new = explored.add(at, step, next);
            let safe = next.check_step(&world, step, &orders);
            let safe = safe.and_then(|()| if is_new { next.check(&orders) } else { Ok(()) });
            if let Err(what) = safe {
                let mut way = explored.way_to(at);
                way.extend([format!("{step:?}"), next.describe(&orders)]);
                return Err(Complaint { what, way });
            }
        }
        at = at.saturating_add(1);
    }
    match explored.stuck(&orders) {
        Some((stuck, world)) => {
            let mut way = explored.way_to(stuck);
            way.push(world.describe(&orders));
            Err(Complaint { what: "stuck", way })
        }
        None => Ok(explored),
    }
}

impl Explored {
    fn from(world: World) -> Self {
        Self {
            worlds: vec![world],
            numbers: HashMap::from([(world, 0)]),
            parents: vec![None],
            before: vec![Vec::new()],
        }
    }

    /// Whether the world is a new one.
    fn add(&mut self, from: usize, step: Move, world: World) -> bool {
        let new = self.worlds.len();
        let number = *self.numbers.entry(world).or_insert(new);
        if number == new {
            self.worlds.push(world);
            self.parents.push(Some((from, step)));
            self.before.push(Vec::new());
        }
        if let (Some(before), true) = (self.before.get_mut(number), step.needs_no_volunteer()) {
            before.push(from);
        }
        number == new
    }

    /// A world from which no end can be reached.
    fn stuck(&self, orders: &Orders) -> Option<(usize, &World)> {
        let mut ends = vec![false; self.worlds.len()];
        let numbered = self.worlds.iter().enumerate();
        let mut found: Vec<usize> = numbered
            .filter_map(|(number, world)| world.is_over(orders).then_some(number))
            .collect();
        while let Some(number) = found.pop() {
            if let (Some(ends @ false), Some(before)) =
                (ends.get_mut(number), self.before.get(number))
            {
                *ends = true;
                found.extend(before);
            }
        }
        self.worlds.iter().enumerate().zip(ends).find_map(|(world, ends)| (!ends).then_some(world))
    }

    fn way_to(&self, mut number: usize) -> Vec<String> {
        let mut way = Vec::new();
        while let Some(Some((from, step))) = self.parents.get(number) {
            way.push(format!("{step:?}"));
            number = *from;
        }
        way.reverse();
        way
    }
}

/// The worlds of an honest core.
#[track_caller]
fn check_all(beginning: Beginning) {
    // An LND that refuses payments leaves little that can happen.
    let refuses = matches!(beginning, Beginning::Refusing | Beginning::RefusingAtFirst);
    let least = if refuses { 2_000 } else { 20_000 };
    match explore(beginning, None) {
        Ok(explored) => assert!(explored.worlds.len() > least, "{} worlds", explored.worlds.len()),
        Err(Complaint { what, way }) => unreachable!("{what}: {way:#?}"),
    }
}

// spec: INV-1 INV-3 INV-4 P0 E1 E2 E5 E7 I5 I9 I12 C6 C10 C14
#[test]
fn a_sell_order_is_safe_in_every_world_and_always_comes_to_an_end() {
    check_all(Beginning::Sell);
}

// spec: INV-1 INV-3 INV-4 P0 E1 E2 E5 E7 I5 I9 I12 C6 C10 C14
#[test]
fn a_buy_order_is_safe_in_every_world_and_always_comes_to_an_end() {
    check_all(Beginning::Buy);
}

// spec: INV-1 INV-3 INV-4 P0 E1 E2 E5 E7 I5 I9 I12 C6 C10 C14
#[test]
fn a_buy_order_with_an_invoice_is_safe_in_every_world_and_always_comes_to_an_end() {
    check_all(Beginning::BuyWithInvoice);
}

// spec: INV-2 P0 P1 P3 P5 P6 P7 P8 P9 D20 I4 I12 C17 C18 C19 C20
#[test]
fn a_buyer_is_paid_once_in_every_world_and_always_in_the_end() {
    check_all(Beginning::FiatSent);
}

// spec: D39 INV-2 P5 P6 P7 P8 I4 I12
#[test]
fn a_payout_that_lnd_never_takes_comes_to_an_end_in_every_world() {
    check_all(Beginning::Refusing);
}

// spec: D39 INV-2 P5 P6 P7 P8 I4 I12
#[test]
fn a_buyer_whom_lnd_refuses_to_pay_at_first_is_paid_once_in_every_world() {
    check_all(Beginning::RefusingAtFirst);
}

/// A model that does not notice a planted fault proves nothing.
#[test]
fn every_planted_fault_is_noticed_and_for_the_right_reason() {
    for (mutant, beginning, reason) in mutant::ALL {
        match explore(beginning, Some(mutant)) {
            Ok(explored) => {
                unreachable!("{mutant:?} was not noticed in {} worlds", explored.worlds.len())
            }
            Err(Complaint { what, way }) => assert_eq!(what, reason, "{mutant:?}: {way:#?}"),
        }
    }
}
