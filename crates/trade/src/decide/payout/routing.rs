//! What the route of a payout may cost, and what it did cost (D43).

use crate::policy::OVERDUE;
use crate::routing::Subsidy;
use crate::{
    Alarm, Attempt, Decision, Env, LnCommand, Msats, Note, Order, Payout, PayoutPurpose, Sats,
};

/// A call is to be made, with the limits in force now.
pub(super) fn call(
    mut decision: Decision,
    purpose: PayoutPurpose,
    attempt: Attempt,
    env: &Env<'_>,
) -> Decision {
    let Some(limit) = Limit::now(&decision.order, purpose, env) else { return decision };
    let hash = attempt.hash;
    let attempt = Attempt {
        max_fee: limit.max_fee,
        subsidy: limit.subsidy,
        cltv_limit: env.policy.payout_cltv_limit,
        tries: attempt.tries.saturating_add(1),
        unanswered_since: None,
        refused_since: None,
        missing_since: None,
        ..attempt
    };
    if let Some(payout) = decision.order.payout_mut(purpose) {
        payout.begin(attempt);
    }
    limit.tell(decision, env).then(LnCommand::SendPayout { hash })
}

/// What a payment's route may cost.
struct Limit {
    max_fee: Sats,
    subsidy: Option<Subsidy>,
    /// The budget gives less than the route may need.
    is_short: bool,
    /// The debt has waited so long that it is paid all the same.
    is_overdue: bool,
}

impl Limit {
    /// What the trade brings and what is left of today's budget, and never more than the specified
    /// limit. A debt that has waited too long gets that one whatever is left.
    fn now(order: &Order, purpose: PayoutPurpose, env: &Env<'_>) -> Option<Self> {
        let payout = order.payout(purpose)?;
        let (day, payee) = (env.now.day(), order.destination_of(purpose)?.payee);
        let specified = env.policy.routing_fee_limit(payout.amount);
        let income = order.routing_income().min(specified);
        let wanted = specified.checked_sub(income).unwrap_or_default();
        let held = payout.attempt.as_ref().and_then(|attempt| attempt.subsidy);
        let own = held.filter(|own| own.day == day && own.payee == payee);
        let own = own.map_or(Msats::ZERO, |own| own.amount);
        let left = env.routing.left(env.policy.max_routing_subsidy, own);
        let left = Sats(left.0 / 1_000);
        let is_overdue = payout.owed_since.after(OVERDUE) <= env.now;
        let granted = if is_overdue { wanted } else { wanted.min(left) };
        let amount = granted.to_msats().filter(|amount| *amount > Msats::ZERO);
        Some(Self {
            max_fee: income.checked_add(granted)?,
            subsidy: amount.map(|amount| Subsidy { day, payee, amount }),
            is_short: wanted > left,
            is_overdue,
        })
    }

    /// The operator hears once a day that payments get less than they may need, and of each debt that
    /// is paid beyond the budget.
    fn tell(&self, mut decision: Decision, env: &Env<'_>) -> Decision {
        let today = env.now.day();
        if !self.is_short {
            return decision;
        }
        if self.is_overdue {
            return decision.alarm(Alarm::RoutingBeyondBudget);
        }
        if env.routing.short_told == Some(today) {
            return decision;
        }
        decision.notes.push(Note::RoutingShortTold(today));
        decision.alarm(Alarm::RoutingBudgetUsedUp)
    }
}

impl Order {
    /// What this order brings for the routes of its payments: both sides' fees. It has one payment so
    /// far; what others cost comes off here.
    fn routing_income(&self) -> Sats {
        let Some(quote) = self.terms.quote else { return Sats::ZERO };
        quote.to_hold().checked_sub(quote.to_pay_out()).unwrap_or_default()
    }
}

/// Whether the last try had to do with less than the specified limit.
pub(super) fn was_cut(payout: &Payout, env: &Env<'_>) -> bool {
    let specified = env.policy.routing_fee_limit(payout.amount);
    payout.attempt.as_ref().is_some_and(|attempt| attempt.max_fee < specified)
}

/// The try is over and has cost nothing.
pub(super) fn give_back(payout: &mut Payout) {
    if let Some(attempt) = &mut payout.attempt {
        attempt.subsidy = None;
    }
}

/// A try that was given up goes on: LND may spend what it was allowed to.
pub(super) fn set_aside_again(order: &mut Order, purpose: PayoutPurpose, env: &Env<'_>) {
    let most = newest(order, purpose).and_then(|attempt| attempt.max_fee.to_msats());
    charge(order, purpose, most.unwrap_or_default(), env);
}

/// What the route really cost takes the place of what was set aside for it.
pub(super) fn correct(
    mut decision: Decision,
    purpose: PayoutPurpose,
    fee: Msats,
    env: &Env<'_>,
) -> Decision {
    let today = env.now.day();
    charge(&mut decision.order, purpose, fee, env);
    let cost = newest(&decision.order, purpose).and_then(|attempt| attempt.subsidy);
    let Some(cost) = cost.filter(|cost| cost.day == today) else { return decision };
    let half = Msats(env.policy.max_routing_subsidy.to_msats().unwrap_or_default().0 / 2);
    let spent = env.routing.spent.checked_add(cost.amount).unwrap_or(Msats(u64::MAX));
    if spent <= half || env.routing.half_told == Some(today) {
        return decision;
    }
    decision.notes.push(Note::RoutingHalfTold(today));
    decision.alarm(Alarm::RoutingBudgetHalfSpent)
}

/// Charges the newest attempt with what `fee` is beyond the order's income: to the day on which it was
/// set aside, today otherwise.
fn charge(order: &mut Order, purpose: PayoutPurpose, fee: Msats, env: &Env<'_>) {
    let income = order.routing_income().to_msats().unwrap_or_default();
    let amount = fee.checked_sub(income).filter(|cost| *cost > Msats::ZERO);
    let payee = order.destination_of(purpose).map(|invoice| invoice.payee);
    let Some(payout) = order.payout_mut(purpose) else { return };
    let Some(attempt) = &mut payout.attempt else { return };
    let day = attempt.subsidy.map_or(env.now.day(), |held| held.day);
    let payee = attempt.subsidy.map(|held| held.payee).or(payee);
    attempt.subsidy = amount.zip(payee).map(|(amount, payee)| Subsidy { day, payee, amount });
}

fn newest(order: &Order, purpose: PayoutPurpose) -> Option<&Attempt> {
    order.payout(purpose)?.attempt.as_ref()
}
