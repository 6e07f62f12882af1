//! LND's word about a hold: to which purpose it belongs comes first. What all holds have in common
//! is here, what an escrow is good for in [`escrow`].

use super::escrow;
use crate::{
    Alarm, Cause, Decision, Env, Hold, HoldDecision, HoldPurpose, HoldStatus, LnCommand, Order,
    PaymentHash, Seen,
};

/// LND has the invoice.
pub(super) fn opened(order: &Order, hash: PaymentHash, bolt11: String, env: &Env<'_>) -> Decision {
    let mut decision = Decision::on(order, Cause::HoldOpened);
    let Some(hold) = decision.hold_mut(hash) else { return decision };
    if hold.bolt11.is_none() {
        hold.bolt11 = Some(bolt11.clone());
        hold.seen = hold.seen.max(Seen::Open);
    }
    match hold.purpose {
        HoldPurpose::Escrow => escrow::opened(decision, hash, bolt11, env),
    }
}

/// LND was asked about a hold, or told us by itself.
pub(super) fn seen(
    order: &Order,
    hash: PaymentHash,
    status: HoldStatus,
    env: &Env<'_>,
) -> Decision {
    let unchanged = Decision::on(order, Cause::LateNews);
    let Some(hold) = order.hold(hash) else { return unchanged };
    let Some(news) = furthest(hold, status) else { return unchanged };
    match (hold.purpose, hold.decision) {
        (HoldPurpose::Escrow, Some(HoldDecision::Cancel)) => given_back(order, hold, news),
        (HoldPurpose::Escrow, Some(HoldDecision::Settle)) => {
            escrow::settling(order, hash, news, env)
        }
        (HoldPurpose::Escrow, None) => escrow::undecided(order, hash, status, news, env),
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

/// A debt to the payer. The order has moved on and is not touched (C10, C11).
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

impl Decision {
    pub(super) fn record(mut self, hash: PaymentHash, news: Seen) -> Self {
        if let Some(hold) = self.hold_mut(hash) {
            hold.seen = news;
        }
        self
    }
}
