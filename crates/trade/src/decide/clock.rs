//! What a clock that ran ahead has left behind: times that lie further ahead than their kind can ever
//! ask for (D41).

use std::time::Duration;

use crate::{
    Cause, Decision, Env, FailedSends, Order, OrderState, Payout, PayoutState, Policy, Preparing,
    PreparingFrom, Timestamp,
};

/// What people were promised gets one full new window; what we do by ourselves is due now, and quiet
/// times begin now.
pub(super) fn corrected(order: &Order, env: &Env<'_>) -> Decision {
    let mut decision = Decision::on(order, Cause::ClockCorrected);
    let (now, policy) = (env.now, env.policy);
    let terms = &mut decision.order.terms;
    match &mut decision.order.state {
        OrderState::Pending => {
            if terms.expires_at > now.after(policy.max_book_window) {
                let window = terms.expires_at.since(terms.created_at).min(policy.max_book_window);
                terms.expires_at = now.after(window);
            }
        }
        OrderState::PreparingHold(Preparing { until, from, .. }) => {
            bring_back(until, now, policy.reply_window);
            if let PreparingFrom::AwaitingInvoice { until } = from {
                bring_back(until, now, policy.duty_window);
            }
        }
        OrderState::AwaitingHold { until, .. } | OrderState::AwaitingInvoice { until, .. } => {
            bring_back(until, now, policy.duty_window);
        }
        OrderState::Active { .. }
        | OrderState::FiatSent { .. }
        | OrderState::Settling { .. }
        | OrderState::PayingBuyer
        | OrderState::Frozen { .. }
        | OrderState::Ended(_) => {}
    }
    for payout in &mut decision.order.payouts {
        match payout.state {
            PayoutState::Due { .. } | PayoutState::Sending | PayoutState::NeedsInvoice => {
                bring_payout_back(payout, now, policy);
            }
            PayoutState::Paid { .. } | PayoutState::Frozen => {}
        }
    }
    decision
}

/// A deadline that `window` cannot have set gets one that it can.
fn bring_back(until: &mut Timestamp, now: Timestamp, window: Duration) {
    *until = (*until).min(now.after(window));
}

fn bring_payout_back(payout: &mut Payout, now: Timestamp, policy: &Policy) {
    if let PayoutState::Due { at } = &mut payout.state
        && *at > now.after(policy.longest_payout_wait())
    {
        *at = now;
    }
    if let Some(FailedSends { since, .. }) = &mut payout.failed_sends {
        *since = (*since).min(now);
    }
    let Some(attempt) = &mut payout.attempt else { return };
    attempt.begun_at = attempt.begun_at.min(now);
    let quiet = [
        &mut attempt.unanswered_since,
        &mut attempt.refused_since,
        &mut attempt.in_doubt_since,
        &mut attempt.missing_since,
        &mut attempt.htlc_missing_since,
    ];
    for since in quiet.into_iter().flatten() {
        *since = (*since).min(now);
    }
}
