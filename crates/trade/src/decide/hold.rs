//! LND's word about a hold: to which purpose it belongs comes first. What all holds have in common
//! is here, what an escrow is good for in [`escrow`].

use super::table::{self, Event};
use super::{Undecided, escrow};
use crate::{
    Alarm, Cause, Decision, Env, Hold, HoldDecision, HoldPurpose, HoldStatus, LnCommand, Order,
    PaymentHash, Seen,
};

/// LND has the invoice.
pub(super) fn opened(
    order: &Order,
    hash: PaymentHash,
    bolt11: String,
    env: &Env<'_>,
) -> Result<Decision, Undecided> {
    let Some(hold) = order.hold(hash) else { return Ok(Decision::on(order, Cause::LateNews)) };
    match hold.purpose {
        HoldPurpose::Escrow => table::apply(order, Event::HoldOpened { hash, bolt11 }, env),
    }
}

/// LND was asked about a hold, or told us by itself.
pub(super) fn seen(
    order: &Order,
    hash: PaymentHash,
    status: HoldStatus,
    env: &Env<'_>,
) -> Result<Decision, Undecided> {
    let unchanged = Decision::on(order, Cause::LateNews);
    let Some(hold) = order.hold(hash) else { return Ok(unchanged) };
    let Some(news) = furthest(hold, status) else { return Ok(unchanged) };
    match (hold.purpose, hold.decision) {
        (HoldPurpose::Escrow, Some(HoldDecision::Cancel)) => Ok(given_back(order, hold, news)),
        (HoldPurpose::Escrow, Some(HoldDecision::Settle)) => match news {
            Seen::Settled => table::apply(order, Event::EscrowSettled { hash }, env),
            Seen::Canceled => table::apply(order, Event::EscrowLost { hash }, env),
            Seen::Wanted | Seen::Open | Seen::Accepted { .. } => Ok(unchanged.record(hash, news)),
        },
        (HoldPurpose::Escrow, None) => match escrow::event(hash, status) {
            Some(event) => table::apply(order, event, env),
            None => Ok(Decision::on(order, Cause::HoldSeen).record(hash, news)),
        },
    }
}

/// How far `status` shows the hold to be; `None` if that is behind what was seen before.
fn furthest(hold: &Hold, status: HoldStatus) -> Option<Seen> {
    let news = match status {
        // What LND forgets after its last word is forgotten for good.
        HoldStatus::Unknown if hold.is_closed() => return None,
        // A hold that LND never acknowledged may still be on its way there.
        HoldStatus::Unknown if hold.bolt11.is_none() && hold.decision.is_none() => return None,
        HoldStatus::Unknown | HoldStatus::Canceled => Seen::Canceled,
        HoldStatus::Open => Seen::Open,
        HoldStatus::Accepted { paid, expires_at } => Seen::Accepted { paid, expires_at },
        HoldStatus::Settled => Seen::Settled,
    };
    let is_old = hold.is_closed() || rank(news) < rank(hold.seen);
    (!is_old).then_some(news)
}

fn rank(seen: Seen) -> u8 {
    match seen {
        Seen::Wanted => 0,
        Seen::Open => 1,
        Seen::Accepted { .. } => 2,
        Seen::Canceled | Seen::Settled => 3,
    }
}

/// A debt to the payer. The order has moved on and does not change (C10, C11).
fn given_back(order: &Order, hold: &Hold, news: Seen) -> Decision {
    let hash = hold.hash;
    let decision = Decision::on(order, Cause::Refund).record(hash, news);
    match (hold.seen, news) {
        (_, Seen::Settled) => decision.alarm(Alarm::SettledThoughCanceled),
        // Paid after the decision: the payer's sats are locked from now on.
        (Seen::Wanted | Seen::Open, Seen::Accepted { .. }) => {
            decision.then(LnCommand::EndHold { hash })
        }
        _ => decision,
    }
}

/// That LND has the invoice is recorded, wherever the order stands.
pub(super) fn record_opened(order: &Order, hash: PaymentHash, bolt11: String) -> Decision {
    let mut decision = Decision::on(order, Cause::HoldOpened);
    if let Some(hold) = decision.hold_mut(hash)
        && hold.bolt11.is_none()
    {
        hold.bolt11 = Some(bolt11);
        hold.seen = hold.seen.max(Seen::Open);
    }
    decision
}

impl Decision {
    pub(super) fn record(mut self, hash: PaymentHash, news: Seen) -> Self {
        if let Some(hold) = self.hold_mut(hash) {
            hold.seen = news;
        }
        self
    }
}
