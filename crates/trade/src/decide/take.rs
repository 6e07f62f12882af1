//! Taking an order, up to the request for the hold invoice.

use super::Asked;
use super::create::{check_limits, use_index};
use super::invoice::payable;
use crate::{
    Cause, Decision, Destination, Env, HoldSecret, Kind, Notice, Order, OrderState, OrderView,
    PreparingFrom, Quote, Refusal, Sender, Status,
};

/// A buyer takes a sell order, with an invoice or without.
pub(super) fn take_sell(
    order: &Order,
    asked: Asked,
    destination: Option<Destination>,
    secret: HoldSecret,
    env: &Env<'_>,
) -> Result<Decision, Refusal> {
    let Asked { sender, request_id } = asked;
    let quote = check(order, sender, env)?;
    let destination = match destination {
        Some(destination) => Some(payable(order, destination, env)?),
        None => None,
    };
    let mut decision = Decision::on(order, Cause::TakenWithoutInvoice);
    decision.account = use_index(sender, env)?;
    let (seller, buyer) = (order.maker, sender.party());
    decision.order.taker = Some(buyer);
    decision.order.taken_at = Some(env.now);
    if let Some(invoice) = destination {
        decision.order.destination = Some(invoice);
        return towards_hold(decision, secret, request_id, env);
    }

    let view = OrderView {
        expires_at: None,
        ..OrderView::bare(order, Status::WaitingBuyerInvoice, quote.to_pay_out())
    };
    let until = env.now.after(env.policy.duty_window);
    Ok(decision
        .to(OrderState::AwaitingInvoice { escrow: None, until })
        .answer_indexed(&buyer, request_id, Notice::AddInvoice(view))
        .answer_indexed(&seller, None, Notice::WaitingBuyerInvoice))
}

/// A seller takes a buy order.
pub(super) fn take_buy(
    order: &Order,
    asked: Asked,
    secret: HoldSecret,
    env: &Env<'_>,
) -> Result<Decision, Refusal> {
    let Asked { sender, request_id } = asked;
    let quote = check(order, sender, env)?;
    let mut decision = Decision::on(order, Cause::TakePrepared);
    decision.account = use_index(sender, env)?;
    decision.order.taker = Some(sender.party());
    decision.order.taken_at = Some(env.now);
    // What the maker gave at creation may have aged: then it is asked again, after the escrow (K-18).
    let expected = quote.to_pay_out();
    decision.order.destination = order
        .destination
        .clone()
        .filter(|invoice| invoice.is_payable(expected, env.node, env.policy, env.now));
    towards_hold(decision, secret, request_id, env)
}

/// Who may take, and what: checks 2 to 4 of behaviour §3.4, before the order's state.
pub(super) fn may_take(order: &Order, kind: Kind, env: &Env<'_>) -> Result<(), Refusal> {
    if env.account.is_banned {
        return Err(Refusal::NotAuthorized);
    }
    if env.account.has_duty {
        return Err(Refusal::PendingOrderExists);
    }
    if order.terms.kind != kind {
        return Err(Refusal::InvalidOrderKind);
    }
    Ok(())
}

/// The checks after that, up to the 10th. The trade index comes after the destination.
fn check(order: &Order, sender: Sender, env: &Env<'_>) -> Result<Quote, Refusal> {
    if order.terms.expires_at <= env.now {
        return Err(Refusal::InvalidOrderStatus);
    }
    // Whoever made it cannot take it, under any of its keys (K-29).
    if order.maker.trade == sender.trade || order.maker.identity == sender.identity {
        return Err(Refusal::InvalidPubkey);
    }
    let quote = order.terms.quote.ok_or(Refusal::OutOfRangeSatsAmount)?;
    check_limits(quote.amount(), env.policy)?;
    Ok(quote)
}

fn towards_hold(
    decision: Decision,
    secret: HoldSecret,
    request_id: Option<u64>,
    env: &Env<'_>,
) -> Result<Decision, Refusal> {
    let from = PreparingFrom::Book { index_before: env.account.last_index };
    Decision { cause: Cause::TakePrepared, ..decision }.prepare_hold(secret, request_id, from, env)
}
