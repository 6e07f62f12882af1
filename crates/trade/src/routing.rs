//! Sats of the node's own that go into routes: how many a day, and for whom (D43).
//!
//! A payment may cost what its trade brings in fees; beyond that it draws on a budget. What it may
//! draw is set aside when it is decided on, and replaced by what it really cost at its end.

use crate::{Msats, NodeKey, Sats};

/// A day of UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Day(pub i64);

/// Of the budget of a day: set aside for one payment, or spent on it once it has succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subsidy {
    pub day: Day,
    /// The node that the payment goes to.
    pub payee: NodeKey,
    pub amount: Msats,
}

/// What a transaction read of today's budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoutingBudget {
    /// Set aside and spent, over all trades.
    pub used: Msats,
    /// Of that, what was spent.
    pub spent: Msats,
    /// Of what is used, the part for the destination at hand.
    pub used_for_payee: Msats,
    /// The day on which the operator was last told that half is spent.
    pub half_told: Option<Day>,
    /// The day on which the operator was last told that a payment got less than it may need.
    pub short_told: Option<Day>,
}

/// The part of a day's budget that may go to one destination.
const PAYEES_PER_DAY: u64 = 10;

impl RoutingBudget {
    /// What another payment to the destination may draw, if `own` is given back first.
    #[must_use]
    pub fn left(&self, budget: Sats, own: Msats) -> Msats {
        let most = budget.to_msats().unwrap_or(Msats(u64::MAX));
        let most_for_payee = Msats(most.0 / PAYEES_PER_DAY);
        let left = |most: Msats, used: Msats| {
            let used = used.checked_sub(own).unwrap_or_default();
            most.checked_sub(used).unwrap_or_default()
        };
        left(most, self.used).min(left(most_for_payee, self.used_for_payee))
    }
}
