//! What time and blocks do to an order.

use std::time::Duration;

use super::table::{self, Event};
use super::{Undecided, hold, payout};
use crate::{
    AccountChange, Cause, Decision, Env, Held, HoldPurpose, HoldStatus, HorizonWarning, Notice,
    Order, OrderState, Outcome, PaymentHash, Preparing, PreparingFrom, Question, Refusal, Side,
    Timestamp,
};

/// Does what `env.now` and `env.height` make due; nothing if nothing is.
pub(super) fn deadline(order: &Order, env: &Env<'_>) -> Result<Decision, Undecided> {
    let is_past = |at: Timestamp| at <= env.now;
    if let Some(payout) = order.payouts.iter().find(|payout| payout.due_at().is_some_and(is_past)) {
        return Ok(payout::send(Decision::on(order, Cause::PayoutDue), payout.purpose, env));
    }
    let due = order.state_deadline(env.policy.escrow_margin);
    let is_due =
        due.at.is_some_and(is_past) || due.height.is_some_and(|height| height <= env.height);
    if !is_due {
        return Ok(Decision::on(order, Cause::NothingDue));
    }
    table::apply(order, Event::Due, env)
}

/// Moves every deadline that a trader could not meet because no relay was reachable (D5).
pub(super) fn extend_deadlines(order: &Order, offline_for: Duration) -> Decision {
    let mut decision = Decision::on(order, Cause::ExtendDeadlines);
    match &mut decision.order.state {
        OrderState::PreparingHold(Preparing { until, from, .. }) => {
            *until = until.after(offline_for);
            if let PreparingFrom::AwaitingInvoice { until } = from {
                *until = until.after(offline_for);
            }
        }
        OrderState::AwaitingHold { until, .. } | OrderState::AwaitingInvoice { until, .. } => {
            *until = until.after(offline_for);
        }
        OrderState::Pending
        | OrderState::Active { .. }
        | OrderState::FiatSent { .. }
        | OrderState::Settling { .. }
        | OrderState::PayingBuyer
        | OrderState::Frozen { .. }
        | OrderState::Ended(_) => {}
    }
    decision
}

/// Its time in the book is over.
pub(super) fn expired(order: &Order) -> Decision {
    Decision::on(order, Cause::Expired)
        .to(OrderState::Ended(Outcome::Expired))
        .tell(&order.maker, Notice::Canceled)
}

/// LND did not say in time whether it has the hold invoice.
pub(super) fn hold_unanswered(order: &Order, preparing: &Preparing) -> Decision {
    undo(Decision::on(order, Cause::HoldUnanswered), preparing)
}

/// The buyer named no invoice in time, or the escrow has reached its margin meanwhile.
pub(super) fn without_invoice(order: &Order) -> Decision {
    Decision::on(order, Cause::BuyerTimeout).abandoned_by(Side::Buyer)
}

/// No fiat was sent before the escrow reached its margin. A `fiat-sent` that was written in time may
/// still have to be read (D40).
pub(super) fn at_margin(order: &Order, held: Held, env: &Env<'_>) -> Decision {
    if env.has_heard_all_about(held) {
        Decision::on(order, Cause::EscrowAtMargin).canceled(None)
    } else {
        Decision::on(order, Cause::NothingDue)
    }
}

/// LND has no invoice for us: the order goes back to where it was, and the requester is told.
pub(super) fn undo(mut decision: Decision, preparing: &Preparing) -> Decision {
    decision = decision.give_back(HoldPurpose::Escrow);
    let requester = match preparing.from {
        PreparingFrom::Book { index_before } => {
            let taker = decision.order.taker.take();
            decision.order.taken_at = None;
            if decision.order.terms.kind == crate::Kind::Sell {
                decision.order.destination = None;
            }
            decision.order.state = OrderState::Pending;
            decision.account = taker.filter(|taker| !taker.is_private()).and_then(|taker| {
                let from = taker.index?;
                Some(AccountChange::GiveBackIndex {
                    identity: taker.identity,
                    from,
                    to: index_before,
                })
            });
            taker
        }
        PreparingFrom::AwaitingInvoice { until } => {
            decision.order.destination = None;
            decision.order.state = OrderState::AwaitingInvoice { escrow: None, until };
            decision.order.buyer().copied()
        }
    };
    match requester {
        Some(requester) => {
            let refusal = Notice::CantDo(Refusal::NotAllowedByStatus);
            decision.answer(&requester, preparing.request_id, refusal)
        }
        None => decision,
    }
}

/// As a cancel: LND is asked whether the seller has paid after all (C7).
pub(super) fn abandoned_unless_paid(
    order: &Order,
    hash: PaymentHash,
    env: &Env<'_>,
) -> Result<Decision, Undecided> {
    match env.hold_status(hash) {
        None => Err(Undecided::Ask(Question::HoldStatus { hash })),
        Some(HoldStatus::Open) => {
            Ok(Decision::on(order, Cause::SellerTimeout).abandoned_by(Side::Seller))
        }
        Some(status) => hold::seen(order, hash, status, env),
    }
}

/// Fiat was sent, so the escrow is not given back: the operator is warned, once near the margin and
/// once at it (D6, D21), also while LND does not settle what was released. `release` still settles.
pub(super) fn horizon(order: &Order, held: Held, env: &Env<'_>) -> Decision {
    let reached = held.guard_height(env.policy.escrow_margin) <= env.height;
    let now = if reached { HorizonWarning::Reached } else { HorizonWarning::Near };
    let mut decision = Decision::on(order, Cause::EscrowHorizon);
    if let OrderState::FiatSent { warned, .. } | OrderState::Settling { warned, .. } =
        &mut decision.order.state
    {
        *warned = now;
    }
    match decision.order.state.horizon_alarm() {
        Some(alarm) => decision.alarm(alarm),
        None => decision,
    }
}
