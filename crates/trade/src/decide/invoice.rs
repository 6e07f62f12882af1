//! Where the buyer is to be paid: an invoice, once it may be relied on.

use super::{Asked, Undecided, escrow};
use crate::{
    Cause, Decision, Destination, Env, Held, HoldSecret, Invoice, Order, PreparingFrom, Refusal,
    Sats, Timestamp,
};

/// Only the buyer names an invoice, whatever the order's state.
pub(super) fn may_give(order: &Order, asked: Asked) -> Result<(), Refusal> {
    match order.buyer() {
        None => Err(Refusal::NotAllowedByStatus),
        Some(buyer) if buyer.trade != asked.sender.trade => Err(Refusal::InvalidPeer),
        Some(_) => Ok(()),
    }
}

/// The seller is asked to pay next. Until LND has the hold invoice, the order can still go back.
pub(super) fn before_hold(
    order: &Order,
    until: Timestamp,
    asked: Asked,
    destination: Destination,
    secret: HoldSecret,
    env: &Env<'_>,
) -> Result<Decision, Refusal> {
    let mut decision = Decision::on(order, Cause::InvoicePrepared);
    decision.order.destination = Some(payable(order, destination, env)?);
    let from = PreparingFrom::AwaitingInvoice { until };
    decision.prepare_hold(secret, asked.request_id, from, env)
}

/// The seller has paid first: the trade begins.
pub(super) fn after_hold(
    order: &Order,
    escrow: Held,
    asked: Asked,
    destination: Destination,
    env: &Env<'_>,
) -> Result<Decision, Undecided> {
    let invoice = payable(order, destination, env)?;
    escrow::rely_on(order, escrow.hash, invoice, asked, env)
}

/// The invoice in `destination`, if what the buyer is to get may be promised to it (behaviour §4.5).
pub(super) fn payable(
    order: &Order,
    destination: Destination,
    env: &Env<'_>,
) -> Result<Invoice, Refusal> {
    let expected = order.terms.quote.ok_or(Refusal::OutOfRangeSatsAmount)?.to_pay_out();
    payable_with(order, expected, destination, env)
}

/// The invoice in `destination`, if so many sats may be promised to it.
pub(super) fn payable_with(
    order: &Order,
    expected: Sats,
    destination: Destination,
    env: &Env<'_>,
) -> Result<Invoice, Refusal> {
    let Destination::Bolt11(invoice) = destination else { return Err(Refusal::InvalidInvoice) };
    let is_payable = invoice.is_payable(expected, env.node, env.policy, env.now);
    let is_known = env.payout_hash_is_known
        || order.hold(invoice.hash).is_some()
        || is_known_as_another_text(order, &invoice);
    if !is_payable || is_known {
        return Err(Refusal::InvalidInvoice);
    }
    Ok(invoice)
}

/// Whether this order already has this payment hash, from another invoice. An attempt keeps its first
/// text, so the new one would never be paid (D44).
fn is_known_as_another_text(order: &Order, invoice: &Invoice) -> bool {
    let attempts = order.payouts.iter().filter_map(|payout| payout.attempt.as_ref());
    let destination = order.destination.as_ref();
    attempts
        .map(|attempt| (attempt.hash, attempt.bolt11.as_str()))
        .chain(destination.map(|known| (known.hash, known.text.as_str())))
        .any(|(hash, text)| hash == invoice.hash && !text.eq_ignore_ascii_case(&invoice.text))
}
