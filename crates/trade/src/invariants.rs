//! What holds for every order, whatever happened to it.

use crate::{
    Hold, HoldDecision, HoldPurpose, Order, OrderState, Outcome, PayoutPurpose, PayoutState, Price,
    Seen,
};

/// Checks one order by itself.
///
/// # Errors
/// The law that is broken.
pub fn check(order: &Order) -> Result<(), &'static str> {
    let laws = [
        (has_the_parties_it_needs(order), "a taken order has a taker, one in the book has none"),
        (
            is_quoted_where_it_must_be(order),
            "an order that is taken, or has a fixed price, has its sats and fee",
        ),
        (
            stands_on_its_hold(order),
            "the hold of a state is there, with the decision of that state",
        ),
        (nothing_is_left_behind(order), "a hold nobody stands on was decided (INV-3)"),
        (
            knows_where_to_pay(order),
            "whoever may send fiat knows that the buyer can be paid (INV-1)",
        ),
        (owes_once(order), "an order has one debt of each purpose (D20)"),
        (owes_what_it_should(order), "the buyer is owed after SETTLED and until paid (P0, INV-2)"),
        (
            is_one_or_the_other(order),
            "a settled escrow is no canceled order, and vice versa (INV-4)",
        ),
    ];
    laws.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, law)| Err(law))
}

fn has_the_parties_it_needs(order: &Order) -> bool {
    if order.taker.is_some() != order.taken_at.is_some() {
        return false;
    }
    match order.state {
        OrderState::Pending => order.taker.is_none(),
        OrderState::PreparingHold(_)
        | OrderState::AwaitingHold { .. }
        | OrderState::AwaitingInvoice { .. }
        | OrderState::Active { .. }
        | OrderState::FiatSent { .. }
        | OrderState::Settling { .. }
        | OrderState::PayingBuyer
        | OrderState::Frozen { .. }
        | OrderState::Ended(Outcome::Success) => order.taker.is_some(),
        OrderState::Ended(Outcome::Canceled | Outcome::Expired) => true,
    }
}

fn is_quoted_where_it_must_be(order: &Order) -> bool {
    let is_agreed = order.taker.is_some() || order.terms.price == Price::Fixed;
    order.terms.quote.is_some() || !is_agreed
}

fn stands_on_its_hold(order: &Order) -> bool {
    let Some(hash) = order.state.hold() else { return true };
    let Some(hold) = order.hold(hash) else { return false };
    match order.state {
        OrderState::PreparingHold(_)
        | OrderState::AwaitingHold { .. }
        | OrderState::AwaitingInvoice { .. }
        | OrderState::Active { .. }
        | OrderState::FiatSent { .. } => hold.decision.is_none(),
        OrderState::Settling { .. } => hold.decision == Some(HoldDecision::Settle),
        OrderState::Frozen { .. } => hold.decision != Some(HoldDecision::Cancel),
        OrderState::Pending | OrderState::PayingBuyer | OrderState::Ended(_) => true,
    }
}

fn nothing_is_left_behind(order: &Order) -> bool {
    let is_frozen = order.state.is_frozen();
    let stands_on = order.state.hold();
    order.holds.iter().all(|hold| match hold.purpose {
        HoldPurpose::Escrow => hold.decision.is_some() || is_frozen || stands_on == Some(hold.hash),
    })
}

fn knows_where_to_pay(order: &Order) -> bool {
    match order.state {
        OrderState::Active { .. } | OrderState::FiatSent { .. } | OrderState::Settling { .. } => {
            order.destination.is_some()
        }
        OrderState::Pending
        | OrderState::PreparingHold(_)
        | OrderState::AwaitingHold { .. }
        | OrderState::AwaitingInvoice { .. }
        | OrderState::PayingBuyer
        | OrderState::Frozen { .. }
        | OrderState::Ended(_) => true,
    }
}

fn owes_once(order: &Order) -> bool {
    let firsts = order.payouts.iter().map(|payout| order.payout(payout.purpose));
    firsts.zip(&order.payouts).all(|(first, payout)| first == Some(payout))
}

/// The buyer. Other debts are none of the order's state.
fn owes_what_it_should(order: &Order) -> bool {
    let payout = order.payout(PayoutPurpose::Buyer);
    let has_attempt = payout.is_some_and(|payout| payout.attempt.is_some());
    let payout = payout.map(|payout| payout.state);
    match order.state {
        OrderState::Pending
        | OrderState::PreparingHold(_)
        | OrderState::AwaitingHold { .. }
        | OrderState::AwaitingInvoice { .. }
        | OrderState::Active { .. }
        | OrderState::FiatSent { .. }
        | OrderState::Settling { .. }
        | OrderState::Ended(Outcome::Canceled | Outcome::Expired) => payout.is_none(),
        OrderState::PayingBuyer => match payout {
            Some(PayoutState::Sending) => has_attempt,
            Some(PayoutState::Due { .. } | PayoutState::NeedsInvoice) => true,
            Some(PayoutState::Paid { .. } | PayoutState::Frozen) | None => false,
        },
        OrderState::Frozen { .. } => matches!(payout, None | Some(PayoutState::Frozen)),
        OrderState::Ended(Outcome::Success) => {
            matches!(payout, Some(PayoutState::Paid { .. })) && has_attempt
        }
    }
}

fn is_one_or_the_other(order: &Order) -> bool {
    let settled: Vec<_> = order.holds.iter().filter(|hold| is_settled_escrow(hold)).collect();
    let is_canceled = match order.state {
        OrderState::Pending | OrderState::Ended(Outcome::Canceled | Outcome::Expired) => true,
        OrderState::PreparingHold(_)
        | OrderState::AwaitingHold { .. }
        | OrderState::AwaitingInvoice { .. }
        | OrderState::Active { .. }
        | OrderState::FiatSent { .. }
        | OrderState::Settling { .. }
        | OrderState::PayingBuyer
        | OrderState::Frozen { .. }
        | OrderState::Ended(Outcome::Success) => false,
    };
    let is_owed_early = order.payout(PayoutPurpose::Buyer).is_some()
        && settled.iter().any(|hold| hold.seen != Seen::Settled);
    settled.len() <= 1 && (settled.is_empty() || !is_canceled) && !is_owed_early
}

/// Whether it was decided to settle an escrow.
fn is_settled_escrow(hold: &Hold) -> bool {
    match hold.purpose {
        HoldPurpose::Escrow => hold.decision == Some(HoldDecision::Settle),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Story, TAKER, hold_hash, secret};
    use crate::{Kind, Payout, Sats};

    #[track_caller]
    fn breaks(story: Story, law: &str, change: impl FnOnce(&mut Order)) {
        let mut order = story.order;
        assert_eq!(check(&order), Ok(()));
        change(&mut order);
        assert!(check(&order).is_err_and(|broken| broken.contains(law)), "{:?}", check(&order));
    }

    fn decide_first(order: &mut Order, decision: Option<HoldDecision>) {
        let hold = order.holds.iter_mut().find(|hold| hold.hash == hold_hash(1));
        hold.expect("a hold").decision = decision;
    }

    // spec: INV-1 INV-3 INV-4
    #[test]
    fn a_broken_law_is_named() {
        breaks(Story::sell(), "one in the book has none", |order| {
            order.taker = Some(TAKER.party());
        });
        breaks(Story::active(Kind::Sell), "a taken order has a taker", |order| {
            order.taker = None;
        });
        breaks(Story::active(Kind::Sell), "with the decision of that state", |order| {
            decide_first(order, Some(HoldDecision::Cancel));
        });
        breaks(Story::settling(Kind::Sell), "with the decision of that state", |order| {
            decide_first(order, None);
        });
        breaks(Story::active(Kind::Sell), "the hold of a state is there", |order| {
            order.holds.clear();
        });
        breaks(Story::active(Kind::Sell), "INV-3", |order| {
            order.holds.push(Hold::wanted(secret(2), HoldPurpose::Escrow, Sats(1)));
        });
        breaks(Story::fiat_sent(Kind::Sell), "INV-1", |order| order.destination = None);
        breaks(Story::sell(), "has its sats", |order| order.terms.quote = None);
        breaks(Story::active(Kind::Sell), "has its sats", |order| {
            order.terms.price = Price::Market { premium: 0 };
            order.terms.quote = None;
        });
    }

    // spec: D20 INV-2 INV-4 P0
    #[test]
    fn a_broken_law_of_money_is_named() {
        let settle = |order: &mut Order| {
            let mut hold = Hold::wanted(secret(2), HoldPurpose::Escrow, Sats(1));
            hold.decision = Some(HoldDecision::Settle);
            order.holds.push(hold);
        };
        breaks(Story::sell(), "INV-4", settle);
        breaks(Story::settling(Kind::Sell), "INV-4", settle);
        breaks(Story::paying(Kind::Sell), "INV-4", settle);
        breaks(Story::paying(Kind::Sell), "INV-2", |order| order.payouts.clear());
        breaks(Story::success(Kind::Sell), "INV-2", |order| order.payouts.clear());
        breaks(Story::settling(Kind::Sell), "P0", |order| {
            order.payouts = Story::paying(Kind::Sell).order.payouts;
        });
        breaks(Story::paying(Kind::Sell), "D20", |order| {
            let again = Payout::owed(PayoutPurpose::Buyer, Sats(1), crate::fixture::NOW);
            order.payouts.push(again);
        });
    }
}
