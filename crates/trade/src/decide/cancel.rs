//! `cancel` of an order that no fiat was sent for.

use super::{Asked, Undecided, hold};
use crate::{
    Cause, Decision, Env, HoldStatus, Order, OrderState, Outcome, PaymentHash, Question, Refusal,
    Status,
};

/// Canceled by the taker, by the maker, while the seller was to pay.
const CANCELED_BEFORE_PAYMENT: [Cause; 2] =
    [Cause::TakerCanceledBeforePayment, Cause::MakerCanceledBeforePayment];
/// The same while the buyer was to give an invoice.
const CANCELED_BEFORE_INVOICE: [Cause; 2] =
    [Cause::TakerCanceledBeforeInvoice, Cause::MakerCanceledBeforeInvoice];

/// Why this order cannot be canceled by whoever asked.
pub(super) fn refusal(order: &Order, asked: Asked) -> Refusal {
    if order.state == OrderState::Ended(Outcome::Canceled) {
        return Refusal::OrderAlreadyCanceled;
    }
    // Too late for everybody, whoever they are.
    let is_over = order.state.is_final() || order.status() == Status::SettledHoldInvoice;
    if is_over || order.is_party(asked.sender.trade) {
        Refusal::NotAllowedByStatus
    } else {
        Refusal::InvalidPubkey
    }
}

/// Nobody has taken it.
pub(super) fn untaken(order: &Order, asked: Asked) -> Result<Decision, Refusal> {
    if order.maker.trade != asked.sender.trade {
        return Err(Refusal::IsNotYourOrder);
    }
    Ok(Decision::on(order, Cause::MakerCanceledUntaken).canceled(asked.request_id))
}

/// Nobody has the hold invoice yet, so nobody can have paid it.
pub(super) fn before_hold(order: &Order, asked: Asked) -> Result<Decision, Refusal> {
    by_party(order, asked, CANCELED_BEFORE_PAYMENT)
}

pub(super) fn before_invoice(order: &Order, asked: Asked) -> Result<Decision, Refusal> {
    by_party(order, asked, CANCELED_BEFORE_INVOICE)
}

/// LND is asked before anything is canceled. If the seller has paid after all, the trade goes on, and
/// whoever canceled is refused (C6).
pub(super) fn unless_paid(
    order: &Order,
    hash: PaymentHash,
    asked: Asked,
    env: &Env<'_>,
) -> Result<Decision, Undecided> {
    let canceled = by_party(order, asked, CANCELED_BEFORE_PAYMENT)?;
    match env.hold_status(hash) {
        None => Err(Undecided::Ask(Question::HoldStatus { hash })),
        Some(HoldStatus::Open | HoldStatus::Canceled) => Ok(canceled),
        Some(status) => {
            let decision = hold::seen(order, hash, status, env)?;
            // An escrow that is given back at once does not prevent the cancel.
            match decision.order.state {
                OrderState::Pending | OrderState::Ended(_) => {
                    Ok(canceled.with_alarms_of(&decision))
                }
                _ => Ok(decision.came_too_late(asked)),
            }
        }
    }
}

/// The taker's cancel returns the order to the book, the maker's ends it.
fn by_party(order: &Order, asked: Asked, [taker, maker]: [Cause; 2]) -> Result<Decision, Refusal> {
    let Asked { sender, request_id } = asked;
    if !order.is_party(sender.trade) {
        return Err(Refusal::InvalidPubkey);
    }
    if order.maker.trade == sender.trade {
        Ok(Decision::on(order, maker).canceled(request_id))
    } else {
        Ok(Decision::on(order, taker).back_to_book(request_id))
    }
}
