//! Where an order stands, and what each state carries.

use crate::{Alarm, BlockHeight, Held, Order, PaymentHash, Payout, Side, Timestamp};

/// Three of these are not in the protocol: `PreparingHold` (the preimage is on disk before LND hears
/// of the hash), `Settling` (decided, and LND has not said so yet) and `Frozen` (a person decides).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderState {
    Pending,
    PreparingHold(Preparing),
    AwaitingHold {
        hash: PaymentHash,
        until: Timestamp,
    },
    /// `escrow` is there on a buy order, whose seller paid first.
    AwaitingInvoice {
        escrow: Option<Held>,
        until: Timestamp,
    },
    Active {
        held: Held,
    },
    FiatSent {
        held: Held,
        warned: HorizonWarning,
    },
    Settling {
        held: Held,
        /// Of the release, for the answer that comes with SETTLED.
        request_id: Option<u64>,
        warned: HorizonWarning,
    },
    PayingBuyer,
    Frozen {
        was: FrozenState,
        because: FrozenBecause,
    },
    Ended(Outcome),
}

/// A hold that LND has not acknowledged yet, and the way back (D17).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preparing {
    pub hash: PaymentHash,
    pub until: Timestamp,
    pub request_id: Option<u64>,
    pub from: PreparingFrom,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreparingFrom {
    /// A take. `index_before` is the taker's last trade index before it.
    Book { index_before: Option<i64> },
    /// An `add-invoice`. `until` is the deadline of the duty it fulfilled.
    AwaitingInvoice { until: Timestamp },
}

/// How far the operator was told that an escrow runs out whose buyer has sent fiat (D21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HorizonWarning {
    NotYet,
    Near,
    Reached,
}

/// Where a frozen order stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrozenState {
    /// All of it: a person can put the order back.
    Whole(Box<OrderState>),
    /// As older versions wrote it down: a person settles the trade by hand.
    StatusOnly(Status),
}

/// Its text is that of the alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FrozenBecause {
    /// LND gave the escrow back although fiat was sent, or although we decided to settle.
    #[error(
        "LND gave the escrow back although fiat was sent or a settle was decided; the order is frozen. \
         The seller has the sats again: settle it between the parties"
    )]
    EscrowLost,
    /// LND does not know a hold that it acknowledged.
    #[error(
        "LND does not know a hold it had acknowledged; the order is frozen. Is this the right LND, with \
         all of its data?"
    )]
    HoldForgotten,
    /// LND settled a hold without our decision.
    #[error(
        "LND settled a hold that we did not decide to settle; the order is frozen. Somebody else holds \
         the preimage or this database: stop, and find out"
    )]
    SettledWithoutDecision,
    /// LND does not know a payment that it acknowledged.
    #[error(
        "LND does not know a payment it had acknowledged; the payout is frozen. Is this the right LND, \
         with all of its data?"
    )]
    PayoutForgotten,
    /// LND holds on to a payment that never left it (P12).
    #[error(
        "LND calls a payment in flight that no channel carries (lnd#9340); the payout is frozen. Close \
         the channel that the log names, open another in its place, then restart LND: the same \
         invoice is then sent again"
    )]
    PayoutDangling,
    /// LND paid an invoice that had been given up for another one.
    #[error(
        "LND paid an invoice that had been given up: the buyer of this order is paid twice if the \
         invoice that took its place is paid as well"
    )]
    PaidThoughGivenUp,
    /// LND takes no send of a payout (D39).
    #[error(
        "LND takes no payment for a payout: for 24 hours it has refused every send of it, or not \
         answered; the payout is frozen. Find out why, from what LND said"
    )]
    PayoutRefused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Success,
    Canceled,
    Expired,
}

/// The status in messages to the parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    Pending,
    WaitingPayment,
    WaitingBuyerInvoice,
    Active,
    FiatSent,
    SettledHoldInvoice,
    Success,
    Canceled,
    Expired,
}

impl OrderState {
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Pending => Status::Pending,
            Self::PreparingHold(_) | Self::AwaitingHold { .. } => Status::WaitingPayment,
            Self::AwaitingInvoice { .. } => Status::WaitingBuyerInvoice,
            Self::Active { .. } => Status::Active,
            Self::FiatSent { .. } | Self::Settling { .. } => Status::FiatSent,
            Self::PayingBuyer => Status::SettledHoldInvoice,
            Self::Frozen { was: FrozenState::Whole(state), .. } => state.status(),
            Self::Frozen { was: FrozenState::StatusOnly(status), .. } => *status,
            Self::Ended(Outcome::Success) => Status::Success,
            Self::Ended(Outcome::Canceled) => Status::Canceled,
            Self::Ended(Outcome::Expired) => Status::Expired,
        }
    }

    /// The hold that this state stands on.
    #[must_use]
    pub fn hold(&self) -> Option<PaymentHash> {
        match self {
            Self::PreparingHold(Preparing { hash, .. }) | Self::AwaitingHold { hash, .. } => {
                Some(*hash)
            }
            Self::AwaitingInvoice { escrow, .. } => escrow.map(|held| held.hash),
            Self::Active { held } | Self::FiatSent { held, .. } | Self::Settling { held, .. } => {
                Some(held.hash)
            }
            Self::Frozen { .. } => self.before_freeze().and_then(Self::hold),
            Self::Pending | Self::PayingBuyer | Self::Ended(_) => None,
        }
    }

    /// A person decides from now on. What is frozen already stays where it stood first.
    #[must_use]
    pub(crate) fn frozen(self, because: FrozenBecause) -> Self {
        let was = match self {
            Self::Frozen { was, .. } => was,
            state => FrozenState::Whole(Box::new(state)),
        };
        Self::Frozen { was, because }
    }

    /// What a person can put a frozen order back into.
    #[must_use]
    pub fn before_freeze(&self) -> Option<&Self> {
        match self {
            Self::Frozen { was: FrozenState::Whole(state), .. } => Some(state),
            Self::Frozen { was: FrozenState::StatusOnly(_), .. }
            | Self::Pending
            | Self::PreparingHold(_)
            | Self::AwaitingHold { .. }
            | Self::AwaitingInvoice { .. }
            | Self::Active { .. }
            | Self::FiatSent { .. }
            | Self::Settling { .. }
            | Self::PayingBuyer
            | Self::Ended(_) => None,
        }
    }

    /// What the operator was told last about the end of the escrow, and is told again at every start
    /// until the order has moved on.
    #[must_use]
    pub fn horizon_alarm(&self) -> Option<Alarm> {
        match self {
            Self::FiatSent { warned, .. } => match warned {
                HorizonWarning::NotYet => None,
                HorizonWarning::Near => Some(Alarm::HorizonNear),
                HorizonWarning::Reached => Some(Alarm::HorizonReached),
            },
            Self::Settling { warned, .. } => match warned {
                HorizonWarning::NotYet => None,
                HorizonWarning::Near => Some(Alarm::SettleNearHorizon),
                HorizonWarning::Reached => Some(Alarm::SettleAtHorizon),
            },
            Self::Pending
            | Self::PreparingHold(_)
            | Self::AwaitingHold { .. }
            | Self::AwaitingInvoice { .. }
            | Self::Active { .. }
            | Self::PayingBuyer
            | Self::Frozen { .. }
            | Self::Ended(_) => None,
        }
    }

    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Ended(_))
    }

    /// Whether a person decides.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        matches!(self, Self::Frozen { .. })
    }

    /// Whether it can be taken.
    #[must_use]
    pub fn is_in_book(&self) -> bool {
        matches!(self, Self::Pending)
    }

    /// Whose duty the order waits for: a buyer's invoice, or a seller's payment, also while LND has
    /// not acknowledged the hold yet. A frozen order waits for neither.
    #[must_use]
    pub fn waits_for(&self) -> Option<Side> {
        match self {
            Self::PreparingHold(_) | Self::AwaitingHold { .. } => Some(Side::Seller),
            Self::AwaitingInvoice { .. } => Some(Side::Buyer),
            Self::Pending
            | Self::Active { .. }
            | Self::FiatSent { .. }
            | Self::Settling { .. }
            | Self::PayingBuyer
            | Self::Frozen { .. }
            | Self::Ended(_) => None,
        }
    }
}

/// When an order wants to be looked at again. Either may come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deadline {
    pub at: Option<Timestamp>,
    pub height: Option<BlockHeight>,
}

impl Deadline {
    fn at(at: Timestamp) -> Self {
        Self { at: Some(at), height: None }
    }

    fn height(height: BlockHeight) -> Self {
        Self { at: None, height: Some(height) }
    }
}

impl Held {
    /// The height at which the sats are given back while no fiat was sent (E5, D21).
    #[must_use]
    pub fn guard_height(&self, margin: u32) -> BlockHeight {
        self.expires_at.before(margin)
    }

    /// The height from which nobody is told to pay fiat, and a paid trade is an alarm.
    #[must_use]
    pub fn warning_height(&self, margin: u32) -> BlockHeight {
        self.guard_height(margin).before(crate::policy::HORIZON_WARNING_BLOCKS)
    }
}

impl Order {
    /// When time or blocks alone must move this order on.
    ///
    /// A state without a deadline waits for LND (a watched hold or payment) or for a person.
    #[must_use]
    pub fn deadline(&self, margin: u32) -> Deadline {
        let Deadline { at, height } = self.state_deadline(margin);
        let payouts = self.payouts.iter().filter_map(Payout::due_at);
        Deadline { at: payouts.chain(at).min(), height }
    }

    /// The same, whatever is owed beside it.
    pub(crate) fn state_deadline(&self, margin: u32) -> Deadline {
        match &self.state {
            OrderState::Pending => Deadline::at(self.terms.expires_at),
            OrderState::PreparingHold(preparing) => Deadline::at(preparing.until),
            OrderState::AwaitingHold { until, .. } => Deadline::at(*until),
            OrderState::AwaitingInvoice { escrow, until } => {
                Deadline { at: Some(*until), height: escrow.map(|held| held.guard_height(margin)) }
            }
            OrderState::Active { held } => Deadline::height(held.guard_height(margin)),
            OrderState::FiatSent { held, warned } | OrderState::Settling { held, warned, .. } => {
                match warned {
                    HorizonWarning::NotYet => Deadline::height(held.warning_height(margin)),
                    HorizonWarning::Near => Deadline::height(held.guard_height(margin)),
                    HorizonWarning::Reached => Deadline::default(),
                }
            }
            OrderState::PayingBuyer | OrderState::Frozen { .. } | OrderState::Ended(_) => {
                Deadline::default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::fixture::Story;

    #[test]
    fn each_state_says_whether_it_is_in_the_book_and_whose_duty_it_waits_for() {
        let frozen = |was| OrderState::Frozen { was, because: FrozenBecause::HoldForgotten };
        for (state, in_book, waits_for) in [
            (Story::sell().order.state, true, None),
            (Story::sell().taken().order.state, false, Some(Side::Seller)),
            (Story::awaiting_hold(Kind::Sell).order.state, false, Some(Side::Seller)),
            (Story::sell_awaiting_invoice().order.state, false, Some(Side::Buyer)),
            (Story::buy_awaiting_invoice().order.state, false, Some(Side::Buyer)),
            (Story::active(Kind::Buy).order.state, false, None),
            (Story::fiat_sent(Kind::Buy).order.state, false, None),
            (Story::settling(Kind::Buy).order.state, false, None),
            (Story::paying(Kind::Buy).order.state, false, None),
            (Story::success(Kind::Buy).order.state, false, None),
            (frozen(FrozenState::StatusOnly(Status::Pending)), false, None),
            (frozen(FrozenState::StatusOnly(Status::WaitingPayment)), false, None),
        ] {
            assert_eq!((state.is_in_book(), state.waits_for()), (in_book, waits_for), "{state:?}");
        }
    }
}
