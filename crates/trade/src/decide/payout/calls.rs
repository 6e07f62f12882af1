//! The result of a call to LND, and what it means if LND then does not know the payment.

use std::time::Duration;

use super::{
    ask_for_invoice, freeze, is_open, is_our_fault, newest_attempt, payment_failed, retry_slowly,
    routing,
};
use crate::policy::{FAILED_SENDS, REFUSED_ORDERS};
use crate::{
    Alarm, Attempt, Cause, Decision, Env, FailedSends, FrozenBecause, Note, Order, OrderState,
    PaymentHash, PayoutPurpose, PayoutState, Timestamp,
};

/// A send was begun and nobody knows whether it arrived. LND is asked from now on.
pub(super) fn unanswered(order: &Order, hash: PaymentHash, env: &Env<'_>) -> Decision {
    let mut decision = Decision::on(order, Cause::SendUnanswered);
    let Some(attempt) = called_attempt(&mut decision.order, hash) else { return decision };
    attempt.unanswered_since = Some(env.now);
    // Only a restart after this one ends the doubt, also if the clock has gone back since the last.
    attempt.in_doubt_since = Some(env.lnd_restarted_at.map_or(env.now, |at| at.max(env.now)));
    count(&mut decision.order, hash, env.now);
    decision
}

/// LND itself answered the send with an error. It is the end of this try when LND does not know the
/// payment either, unless another call of the same hash may still arrive (D39).
pub(super) fn refused(
    order: &Order,
    hash: PaymentHash,
    because: String,
    env: &Env<'_>,
) -> Decision {
    let mut decision = Decision::on(order, Cause::SendRefused);
    let Some(attempt) = called_attempt(&mut decision.order, hash) else { return decision };
    attempt.refused_since = Some(env.now);
    attempt.refusal = Some(because);
    if attempt.is_in_doubt(env.lnd_restarted_at) {
        attempt.unanswered_since = Some(env.now);
    }
    let is_expired = attempt.expires_at <= env.now;
    count(&mut decision.order, hash, env.now);
    // That an invoice has expired is the buyer's affair.
    if is_expired { decision } else { decision.add_to_refused(env) }
}

/// The attempt with this hash, if its call was the last of it and LND has not taken it.
fn called_attempt(order: &mut Order, hash: PaymentHash) -> Option<&mut Attempt> {
    if !is_open(order, order.payout_with(hash)?) {
        return None;
    }
    newest_attempt(order, hash).filter(|attempt| !attempt.acked && !attempt.was_called())
}

fn count(order: &mut Order, hash: PaymentHash, now: Timestamp) {
    let purpose = order.payout_with(hash).map(|payout| payout.purpose);
    let Some(payout) = purpose.and_then(|purpose| order.payout_mut(purpose)) else { return };
    let before = payout.failed_sends.unwrap_or(FailedSends { since: now, count: 0 });
    payout.failed_sends = Some(FailedSends { count: before.count.saturating_add(1), ..before });
}

impl Decision {
    /// Three orders in a row that LND refuses have one cause, and it is not their buyers' (D39).
    fn add_to_refused(mut self, env: &Env<'_>) -> Self {
        let known = env.refused_orders;
        if known.len() >= REFUSED_ORDERS || known.contains(&self.order.id) {
            return self;
        }
        let all: Vec<_> = known.iter().copied().chain([self.order.id]).collect();
        let is_row = all.len() == REFUSED_ORDERS;
        self.notes.push(Note::RefusedOrders(all));
        if is_row { self.alarm(Alarm::PayoutsRefused) } else { self }
    }

    /// LND took a payment: whatever it refused before, it does not refuse all of them.
    pub(super) fn taken(mut self, purpose: PayoutPurpose, env: &Env<'_>) -> Self {
        if let Some(payout) = self.order.payout_mut(purpose) {
            payout.failed_sends = None;
        }
        if !env.refused_orders.is_empty() {
            self.notes.push(Note::RefusedOrders(Vec::new()));
        }
        self
    }
}

/// LND knows nothing of this try.
///
/// Acknowledged: a record was lost, or it is another node, and a person decides (P6); but one such
/// answer may be older than the acknowledgement, so it takes two, a quiet time apart. Refused, and
/// every other call answered: two such answers end the try (D39). Else, after the quiet time, the same
/// invoice is sent again, for LND takes one payment per hash; once it has expired it cannot be
/// registered any more, and two such answers end it (P8).
pub(super) fn missing(mut decision: Decision, hash: PaymentHash, env: &Env<'_>) -> Decision {
    if matches!(decision.order.state, OrderState::Frozen { .. }) {
        return decision;
    }
    let Some(purpose) = decision.order.payout_with(hash).map(|payout| payout.purpose) else {
        return decision;
    };
    let Some(attempt) = newest_attempt(&mut decision.order, hash) else { return decision };
    let is_refused = attempt.refused_since.is_some() && !attempt.is_in_doubt(env.lnd_restarted_at);
    if !attempt.acked && !is_refused {
        return not_taken(decision, purpose, env);
    }
    if !is_quiet_since(*attempt.missing_since.get_or_insert(env.now), env) {
        return decision;
    }
    if is_refused {
        return end_refused(decision, purpose, env);
    }
    decision.cause = Cause::PayoutForgotten;
    freeze(decision, purpose, FrozenBecause::PayoutForgotten)
}

/// A call went unanswered, and LND does not know of it: it is made again, ever more rarely, until
/// LND takes it, the invoice has expired, or a person has to look (P6, P8, D39).
fn not_taken(mut decision: Decision, purpose: PayoutPurpose, env: &Env<'_>) -> Decision {
    let Some(payout) = decision.order.payout_mut(purpose) else { return decision };
    let failed_sends = payout.failed_sends;
    let Some(attempt) = &mut payout.attempt else { return decision };
    let Some(called_at) = attempt.unanswered_since.filter(|at| is_quiet_since(*at, env)) else {
        return decision;
    };
    if attempt.expires_at <= env.now {
        if !is_quiet_since(*attempt.missing_since.get_or_insert(env.now), env) {
            return decision;
        }
        routing::give_back(payout);
        decision.cause = Cause::InvoiceExpired;
        return ask_for_invoice(decision, purpose);
    }
    let is_slow = failed_sends.is_some_and(|sends| sends.count >= FAILED_SENDS);
    let wait = if is_slow { env.policy.payout_slow_interval } else { Duration::ZERO };
    if called_at.after(wait) > env.now {
        return decision;
    }
    if is_hopeless(failed_sends, env) {
        decision.cause = Cause::PayoutNotTaken;
        return freeze(decision, purpose, FrozenBecause::PayoutRefused);
    }
    let attempt = attempt.clone();
    decision.cause = Cause::PayoutSentAgain;
    routing::call(decision, purpose, attempt, env)
}

/// Refused, and not known: this try is over. It is the buyer's affair like every failure, unless LND
/// refuses everybody or was unwell.
fn end_refused(mut decision: Decision, purpose: PayoutPurpose, env: &Env<'_>) -> Decision {
    decision.cause = Cause::PayoutRefused;
    let Some(payout) = decision.order.payout_mut(purpose) else { return decision };
    routing::give_back(payout);
    let is_unwell = is_our_fault(payout, env);
    let is_hopeless = is_hopeless(payout.failed_sends, env);
    payout.state = PayoutState::Due { at: env.now.after(env.policy.payout_interval) };
    if is_unwell && !is_hopeless {
        return decision;
    }
    if is_unwell || env.refused_orders.len() >= REFUSED_ORDERS {
        if is_hopeless {
            return freeze(decision, purpose, FrozenBecause::PayoutRefused);
        }
        return retry_slowly(decision, purpose, env);
    }
    payout.failures = payout.failures.saturating_add(1);
    let failures = payout.failures;
    if failures == 1 {
        decision = decision.tell_payee(purpose, payment_failed(failures, env));
    }
    if failures < env.policy.payout_attempts {
        return decision;
    }
    if is_hopeless {
        freeze(decision, purpose, FrozenBecause::PayoutRefused)
    } else {
        ask_for_invoice(decision, purpose)
    }
}

/// Until the quiet time has passed, a send may still be on its way to LND. An LND that was away may have
/// an old one before it: then the time begins when it was back.
fn is_quiet_since(at: Timestamp, env: &Env<'_>) -> bool {
    let calm_since = env.lnd_unwell_at.map_or(at, |unwell_at| unwell_at.max(at));
    env.has_passed_since(calm_since, env.policy.payout_quiet)
}

/// Whether LND has taken no send for so long that a person has to look.
fn is_hopeless(failed_sends: Option<FailedSends>, env: &Env<'_>) -> bool {
    failed_sends.is_some_and(|FailedSends { since, count }| {
        count >= FAILED_SENDS && since.after(env.policy.payout_patience) <= env.now
    })
}
