//! Once the trade is on: the buyer has sent the fiat, the seller releases.

use super::Asked;
use crate::{
    Cause, Decision, Held, HoldDecision, HorizonWarning, LnCommand, Notice, Order, OrderState,
    Refusal,
};

/// The buyer has sent the fiat.
pub(super) fn sent(order: &Order, held: Held, asked: Asked) -> Result<Decision, Refusal> {
    let (Some(buyer), Some(seller)) = (order.buyer(), order.seller()) else {
        return Err(Refusal::InvalidPubkey);
    };
    if buyer.trade != asked.sender.trade {
        return Err(Refusal::InvalidPubkey);
    }
    let state = OrderState::FiatSent { held, warned: HorizonWarning::NotYet };
    Ok(Decision::on(order, Cause::FiatSent)
        .to(state)
        .tell(seller, Notice::FiatSentOk { peer: buyer.trade })
        .answer(buyer, asked.request_id, Notice::FiatSentOk { peer: seller.trade }))
}

/// The seller has released, or a person decides.
pub(super) fn sent_too_late(order: &Order, asked: Asked) -> Refusal {
    let is_buyer = order.buyer().is_some_and(|buyer| buyer.trade == asked.sender.trade);
    if is_buyer { Refusal::NotAllowedByStatus } else { Refusal::InvalidPubkey }
}

/// Only the seller releases, whatever the order's state.
pub(super) fn may_release(order: &Order, asked: Asked) -> Result<(), Refusal> {
    match order.seller() {
        None => Err(Refusal::NotAllowedByStatus),
        Some(seller) if seller.trade != asked.sender.trade => Err(Refusal::InvalidPeer),
        Some(_) => Ok(()),
    }
}

/// The decision to settle. Nobody is told before LND has settled (D16).
pub(super) fn release(order: &Order, held: Held, warned: HorizonWarning, asked: Asked) -> Decision {
    // At the margin the operator was told to get a release. Should LND not settle, the operator is
    // told that as well.
    let warned = warned.min(HorizonWarning::Near);
    let request_id = asked.request_id;
    Decision::on(order, Cause::Released)
        .decide_hold(held.hash, HoldDecision::Settle)
        .to(OrderState::Settling { held, request_id, warned })
        .then(LnCommand::EndHold { hash: held.hash })
}
