//! What an order waits for that an operator should know of: a person, a buyer, or LND for long.

use std::fmt;
use std::time::Duration;

use crate::{
    BlockHeight, FrozenBecause, HoldDecision, HoldPurpose, Order, OrderState, PaymentHash, Payout,
    PayoutPurpose, PayoutState, Sats,
};

/// How long LND may take over a settle, a refund or a payment before it is worth a word.
const LONG: Duration = Duration::from_hours(1);

/// One thing that an order waits for. Its `Display` says what, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The order is frozen.
    Person(FrozenBecause),
    /// Fiat was sent, and LND gives the escrow back in so many blocks.
    Escrow { blocks_left: u32 },
    /// A settle was decided, and LND has not confirmed it for long, or not near the horizon.
    Settle { hash: PaymentHash },
    /// A refund was decided, and LND has not confirmed it for long.
    Refund { of: HoldPurpose, hash: PaymentHash, amount: Sats },
    /// A payout has been on its way for long.
    Payout { of: PayoutPurpose, hash: PaymentHash, amount: Sats },
    /// A payout failed and is tried again.
    Retry { of: PayoutPurpose, amount: Sats, failures: u32 },
    /// Whoever is owed was asked for another invoice.
    Invoice { of: PayoutPurpose, amount: Sats },
}

impl Waiting {
    /// Whether somebody must act who is neither of the parties.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::Person(_) | Self::Escrow { .. } | Self::Settle { .. } | Self::Refund { .. } => {
                true
            }
            Self::Payout { .. } | Self::Retry { .. } | Self::Invoice { .. } => false,
        }
    }
}

impl Order {
    /// Everything that this order waits for, if it was last changed so long ago.
    #[must_use]
    pub fn waiting(
        &self,
        unchanged_for: Duration,
        height: BlockHeight,
        margin: u32,
    ) -> Vec<Waiting> {
        let is_long = unchanged_for >= LONG;
        let mut found = Vec::new();
        match &self.state {
            OrderState::Frozen { because, .. } => found.push(Waiting::Person(*because)),
            OrderState::FiatSent { held, .. } if held.warning_height(margin) <= height => {
                let blocks_left = held.expires_at.0.saturating_sub(height.0);
                found.push(Waiting::Escrow { blocks_left });
            }
            OrderState::Settling { held, .. }
                if is_long || held.warning_height(margin) <= height =>
            {
                found.push(Waiting::Settle { hash: held.hash });
            }
            OrderState::Pending
            | OrderState::AwaitingInvoice { .. }
            | OrderState::PreparingHold(_)
            | OrderState::AwaitingHold { .. }
            | OrderState::Active { .. }
            | OrderState::FiatSent { .. }
            | OrderState::Settling { .. }
            | OrderState::PayingBuyer
            | OrderState::Ended(_) => {}
        }
        found.extend(self.payouts.iter().filter_map(|payout| payout.waiting(is_long)));
        let refunds = self.holds.iter().filter(|hold| {
            is_long && hold.decision == Some(HoldDecision::Cancel) && !hold.is_closed()
        });
        found.extend(refunds.map(|hold| Waiting::Refund {
            of: hold.purpose,
            hash: hold.hash,
            amount: hold.amount,
        }));
        found
    }
}

impl Payout {
    fn waiting(&self, is_long: bool) -> Option<Waiting> {
        let (of, amount) = (self.purpose, self.amount);
        match self.state {
            PayoutState::NeedsInvoice => Some(Waiting::Invoice { of, amount }),
            PayoutState::Due { .. } => Some(Waiting::Retry { of, amount, failures: self.failures }),
            PayoutState::Sending if self.failed_sends.is_some() => {
                let refused = self.failed_sends.map_or(0, |sends| sends.count);
                Some(Waiting::Retry { of, amount, failures: self.failures.max(refused) })
            }
            PayoutState::Sending if is_long => {
                let hash = self.attempt.as_ref().map(|attempt| attempt.hash)?;
                Some(Waiting::Payout { of, hash, amount })
            }
            PayoutState::Sending | PayoutState::Paid { .. } | PayoutState::Frozen => None,
        }
    }
}

/// Who gets the sats back.
fn payer(of: HoldPurpose) -> &'static str {
    match of {
        HoldPurpose::Escrow => "the seller",
    }
}

/// Who is owed.
fn payee(of: PayoutPurpose) -> &'static str {
    match of {
        PayoutPurpose::Buyer => "the buyer",
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(because) => write!(f, "{because}"),
            Self::Escrow { blocks_left } => write!(
                f,
                "fiat was sent, and the escrow expires in {blocks_left} blocks: LND gives it back \
                 before that. Speak with both parties: a release still pays the buyer"
            ),
            Self::Settle { hash } => write!(
                f,
                "a release was decided, and LND has not settled the hold {hash}. Does LND run, and \
                 is its channel to the seller active?"
            ),
            Self::Refund { of, hash, amount } => write!(
                f,
                "{} is to get {} sats back, and LND has not canceled the hold {hash}. Does LND run?",
                payer(*of),
                amount.0
            ),
            Self::Payout { of, hash, amount } => write!(
                f,
                "{} is owed {} sats; their payment {hash} has been on its way for more than \
                 an hour. Nothing to do while LND calls it in flight",
                payee(*of),
                amount.0
            ),
            Self::Retry { of, amount, failures } => write!(
                f,
                "{} is owed {} sats; the payment failed {failures} times and is tried again. \
                 Has LND enough to send, and a route?",
                payee(*of),
                amount.0
            ),
            Self::Invoice { of, amount } => write!(
                f,
                "{0} is owed {1} sats and was asked for another invoice. It is paid when {0} names \
                 one",
                payee(*of),
                amount.0
            ),
        }
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a story without the one is a failed test")]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::fixture::*;

    const AGO: Duration = Duration::from_hours(2);
    const MARGIN: u32 = 24;

    fn waiting(story: &Story, ago: Duration, blocks_left: u32) -> Vec<Waiting> {
        story.order.waiting(ago, EXPIRES_AT.before(blocks_left), MARGIN)
    }

    // spec: D13
    #[test]
    fn a_settle_that_lnd_does_not_confirm_waits_for_a_person_after_an_hour() {
        let story = Story::settling(Kind::Sell);

        assert_eq!(waiting(&story, Duration::from_mins(59), 100), []);
        let found = waiting(&story, AGO, 100);
        assert_eq!(found, [Waiting::Settle { hash: hold_hash(1) }]);
        assert!(found[0].needs_a_person());
    }

    // spec: P7
    #[test]
    fn a_buyer_who_was_asked_for_an_invoice_is_named_with_the_debt_until_it_is_paid() {
        let mut story = Story::paying(Kind::Sell);
        assert_eq!(waiting(&story, Duration::ZERO, 100), []);
        let of = PayoutPurpose::Buyer;
        let on_its_way = Waiting::Payout { of, hash: invoice_hash(1), amount: OWED };
        assert_eq!(waiting(&story, AGO, 100), [on_its_way]);

        let reason = crate::FailureReason::IncorrectPaymentDetails;
        story.hears(payment(1, failed(1, reason)));

        let found = waiting(&story, Duration::from_hours(9_000), 100);
        assert_eq!(found, [Waiting::Invoice { of, amount: OWED }]);
        assert!(!found[0].needs_a_person());
        story.says(TAKER, add_invoice(2));
        story.hears(payment(2, SUCCEEDED));
        assert_eq!(waiting(&story, AGO, 100), []);
    }

    // spec: D21
    #[test]
    fn a_paid_trade_is_named_from_its_warning_height_on() {
        let mut story = Story::active(Kind::Sell);
        story.says(TAKER, crate::Command::FiatSent);

        assert_eq!(waiting(&story, AGO, 37), []);
        let found = waiting(&story, Duration::ZERO, 36);
        assert_eq!(found, [Waiting::Escrow { blocks_left: 36 }]);
        assert!(found[0].needs_a_person());
    }

    // spec: INV-3
    #[test]
    fn a_refund_is_named_until_lnd_has_made_it() {
        let mut story = Story::active(Kind::Sell);
        story.order.state = OrderState::Ended(crate::Outcome::Canceled);
        story.order.holds[0].decision = Some(HoldDecision::Cancel);

        assert_eq!(waiting(&story, Duration::from_mins(59), 100), []);
        let amount = story.order.holds[0].amount;
        let found = waiting(&story, AGO, 100);
        assert_eq!(
            found,
            [Waiting::Refund { of: HoldPurpose::Escrow, hash: hold_hash(1), amount }]
        );
        assert!(found[0].needs_a_person());

        story.order.holds[0].seen = crate::Seen::Canceled;
        assert_eq!(waiting(&story, AGO, 100), []);
    }
}
