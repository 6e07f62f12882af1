//! `cancel` of an order that no fiat was sent for: T13, T14, T17, T18, T21.

use super::{Undecided, hold};
use crate::{
    Cause, Decision, Env, HoldStatus, Order, OrderState, Outcome, PaymentHash, Question, Refusal,
    Status, TradeKey,
};

/// Canceled by the taker, by the maker, while the seller was to pay.
const CANCELED_BEFORE_PAYMENT: [Cause; 2] =
    [Cause::TakerCanceledBeforePayment, Cause::MakerCanceledBeforePayment];
/// The same while the buyer was to give an invoice.
const CANCELED_BEFORE_INVOICE: [Cause; 2] =
    [Cause::TakerCanceledBeforeInvoice, Cause::MakerCanceledBeforeInvoice];

pub(super) fn cancel(
    order: &Order,
    sender: TradeKey,
    request_id: Option<u64>,
    env: &Env<'_>,
) -> Result<Decision, Undecided> {
    if order.state == OrderState::Ended(Outcome::Canceled) {
        return Err(Refusal::OrderAlreadyCanceled.into());
    }
    // Too late for everybody, whoever they are.
    if order.state.is_final() || order.status() == Status::SettledHoldInvoice {
        return Err(Refusal::NotAllowedByStatus.into());
    }
    if order.state == OrderState::Pending {
        if order.maker.trade != sender {
            return Err(Refusal::IsNotYourOrder.into());
        }
        return Ok(Decision::on(order, Cause::MakerCanceledUntaken).canceled(request_id));
    }
    if !order.is_party(sender) {
        return Err(Refusal::InvalidPubkey.into());
    }
    match &order.state {
        // Nobody has the invoice yet, so nobody can have paid it (D17).
        OrderState::PreparingHold(_) => {
            Ok(by_party(order, sender, request_id, CANCELED_BEFORE_PAYMENT))
        }
        OrderState::AwaitingHold { hash, .. } => {
            cancel_unless_paid(order, *hash, sender, request_id, env)
        }
        OrderState::AwaitingInvoice { .. } => {
            Ok(by_party(order, sender, request_id, CANCELED_BEFORE_INVOICE))
        }
        _ => Err(Refusal::NotAllowedByStatus.into()),
    }
}

/// C6: LND is asked before anything is voided. If the seller has paid after all, the decision on the
/// cancel *is* the acceptance, and whoever canceled is refused.
fn cancel_unless_paid(
    order: &Order,
    hash: PaymentHash,
    sender: TradeKey,
    request_id: Option<u64>,
    env: &Env<'_>,
) -> Result<Decision, Undecided> {
    match env.hold_status(hash) {
        None => Err(Undecided::Ask(Question::HoldStatus { hash })),
        Some(HoldStatus::Open | HoldStatus::Canceled) => {
            Ok(by_party(order, sender, request_id, CANCELED_BEFORE_PAYMENT))
        }
        Some(status) => {
            let decision = hold::seen(order, hash, status, env);
            // An escrow that is given back at once (D10, D21) does not stand in the way.
            match decision.order.state {
                OrderState::Pending | OrderState::Ended(_) => {
                    let canceled = by_party(order, sender, request_id, CANCELED_BEFORE_PAYMENT);
                    Ok(canceled.with_alarms_of(&decision))
                }
                _ => Ok(decision.came_too_late(sender, request_id)),
            }
        }
    }
}

/// The taker's cancel returns the order to the book, the maker's ends it.
fn by_party(
    order: &Order,
    sender: TradeKey,
    request_id: Option<u64>,
    [taker, maker]: [Cause; 2],
) -> Decision {
    if order.maker.trade == sender {
        Decision::on(order, maker).canceled(request_id)
    } else {
        Decision::on(order, taker).back_to_book(request_id)
    }
}
