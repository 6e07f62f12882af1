//! One debt to be paid over Lightning, and when another try may begin.
//!
//! The hash is on disk before the send; only LND's own SUCCEEDED or FAILED *of this try* ends it;
//! a new invoice is refused while a hash is unresolved (reliability §3).

use crate::{LedgerAccount, Msats, PaymentHash, Preimage, Sats, Subsidy, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payout {
    /// An order has one debt a purpose (D20).
    pub purpose: PayoutPurpose,
    pub amount: Sats,
    /// When it became a debt.
    pub owed_since: Timestamp,
    /// Failed tries of the present destination.
    pub failures: u32,
    pub state: PayoutState,
    /// Sends in a row that LND refused or left unanswered; none since it last took one.
    pub failed_sends: Option<FailedSends>,
    /// The newest attempt.
    pub attempt: Option<Attempt>,
    /// The hashes of older attempts, which failed.
    pub given_up: Vec<PaymentHash>,
}

/// Why something is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PayoutPurpose {
    /// What the buyer bought.
    Buyer,
}

impl PayoutPurpose {
    /// The account that the debt stands on.
    #[must_use]
    pub fn account(self) -> LedgerAccount {
        match self {
            Self::Buyer => LedgerAccount::Buyer,
        }
    }
}

/// A row of sends that LND did not take, whatever invoice they were of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedSends {
    /// When the first of them came to nothing.
    pub since: Timestamp,
    pub count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayoutState {
    /// To be sent at this moment.
    Due {
        at: Timestamp,
    },
    /// The attempt is on its way, or may be.
    Sending,
    /// The buyer must name another destination.
    NeedsInvoice,
    Paid {
        fee: Msats,
    },
    /// LND knew the payment and has forgotten it, has lost its HTLC, or takes no send of it: a person
    /// decides (P6, P12, D39).
    Frozen,
}

/// All that is known of one payment hash, however often it was sent (D20).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub hash: PaymentHash,
    pub bolt11: String,
    /// Only for an invoice without an amount of its own.
    pub amount: Option<Sats>,
    pub max_fee: Sats,
    /// The part of the route's cost that the trade's own fees do not cover (D43).
    pub subsidy: Option<Subsidy>,
    pub cltv_limit: u32,
    pub expires_at: Timestamp,
    pub tries: u32,
    /// When this try was decided on.
    pub begun_at: Timestamp,
    /// LND was seen to know this try.
    pub acked: bool,
    /// The last payment index before this try; news with an index up to it is old.
    pub base_index: u64,
    /// LND's index of this try, once acknowledged.
    pub payment_index: u64,
    /// When the last call came to nothing that LND's word could end the try by: its answer was lost,
    /// or it was refused while another call is in doubt. `None`: no call was begun, or it was answered.
    pub unanswered_since: Option<Timestamp>,
    /// When LND itself answered the last call with an error (D39).
    pub refused_since: Option<Timestamp>,
    /// What LND said when it last refused; for the operator only.
    pub refusal: Option<String>,
    /// When a call of this hash last went unanswered. `None`: LND has known the payment since, or every
    /// call was answered.
    pub in_doubt_since: Option<Timestamp>,
    /// When LND first said that it knows nothing: of what it had acknowledged, of what it had refused,
    /// or of what has expired.
    pub missing_since: Option<Timestamp>,
    /// Since when LND calls it in flight though no channel carries its HTLC (P12).
    pub htlc_missing_since: Option<Timestamp>,
    pub receipt: Option<Preimage>,
}

impl Payout {
    /// A new debt, to be paid at once.
    #[must_use]
    pub fn owed(purpose: PayoutPurpose, amount: Sats, now: Timestamp) -> Self {
        Self {
            purpose,
            amount,
            owed_since: now,
            failures: 0,
            state: PayoutState::Due { at: now },
            failed_sends: None,
            attempt: None,
            given_up: Vec::new(),
        }
    }

    /// When to send it, if that is decided.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.state {
            PayoutState::Due { at } => Some(at),
            PayoutState::Sending
            | PayoutState::NeedsInvoice
            | PayoutState::Paid { .. }
            | PayoutState::Frozen => None,
        }
    }

    /// Whether one of its attempts, however old, has this hash.
    #[must_use]
    pub fn has_attempt(&self, hash: PaymentHash) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.hash == hash)
            || self.given_up.contains(&hash)
    }

    /// Begins a try. An attempt with another hash than the one before gives that one up.
    pub(crate) fn begin(&mut self, attempt: Attempt) {
        let before = self.attempt.as_ref().map(|before| before.hash);
        self.given_up.extend(before.filter(|hash| *hash != attempt.hash));
        self.attempt = Some(attempt);
        self.state = PayoutState::Sending;
    }

    /// Whether LND is still to be called for `hash`. A call that was made is asked about until the
    /// quiet time is over, and one that LND acknowledged needs no other (P1, P5, P6).
    #[must_use]
    pub fn wants_to_send(&self, hash: PaymentHash) -> bool {
        let is_uncalled = |attempt: &Attempt| !attempt.acked && !attempt.was_called();
        self.state == PayoutState::Sending
            && self
                .attempt
                .as_ref()
                .is_some_and(|attempt| attempt.hash == hash && is_uncalled(attempt))
    }
}

impl Attempt {
    /// Whether the last call came to nothing and was not decided to be made again.
    #[must_use]
    pub fn was_called(&self) -> bool {
        self.unanswered_since.is_some() || self.refused_since.is_some()
    }

    /// Whether an unanswered call of this hash may still reach LND. A restart of LND ends it: what was
    /// on its way to the process before does not arrive at the next (D39).
    #[must_use]
    pub fn is_in_doubt(&self, restarted_at: Option<Timestamp>) -> bool {
        self.in_doubt_since.is_some_and(|since| restarted_at.is_none_or(|at| at <= since))
    }

    /// Whether LND's word is about this try, or ends all of them: then there is nothing to send.
    #[must_use]
    pub fn is_answered_by(&self, status: PaymentStatus) -> bool {
        match status {
            PaymentStatus::Unknown => false,
            PaymentStatus::Succeeded { .. } => true,
            PaymentStatus::InFlight { index } | PaymentStatus::Failed { index, .. } => {
                index > self.base_index
            }
        }
    }
}

/// What LND says of a payment hash when asked. `index` is LND's payment index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentStatus {
    /// LND has no such payment.
    Unknown,
    InFlight {
        index: u64,
    },
    /// `receipt` was checked against the hash (P4).
    Succeeded {
        index: u64,
        receipt: Preimage,
        fee: Msats,
    },
    Failed {
        index: u64,
        reason: FailureReason,
    },
}

/// LND's reason for a failed payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureReason {
    Timeout,
    NoRoute,
    Error,
    IncorrectPaymentDetails,
    InsufficientBalance,
    Canceled,
}
