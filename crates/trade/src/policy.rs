//! The numbers from the settings that decisions need.

use std::time::Duration;

use crate::{Ppm, Sats};

/// Blocks between the moment nobody is told to pay fiat any more and the margin (D21).
pub const HORIZON_WARNING_BLOCKS: u32 = 12;

/// Blocks past the guard height after which an escrow is given back although messages about it may
/// lie on relays that cannot be reached (D40): LND gives it back by itself a few blocks later.
pub const UNREACHABLE_BLOCKS: u32 = 3;

/// How much more than asked a hold may carry before it is given back (D10).
pub const OVERPAYMENT: Ppm = Ppm(10_000);

/// For how many quiet times the HTLC of a payment in flight must be missing, from LND's last restart
/// on, before it is taken for dangling: LND drops a silent peer, and its channel, sooner (P12).
pub const HTLC_PATIENCE: u32 = 5;

/// So many orders whose payouts LND refuses, with none taken in between, are our fault and not their
/// buyers' (D39).
pub const REFUSED_ORDERS: usize = 3;

/// So many sends in a row that LND did not take slow the next ones down, and may freeze the payout (D39).
pub const FAILED_SENDS: u32 = 3;

/// The longest payment method an order may name (K-62).
pub const MAX_PAYMENT_METHOD_CHARS: usize = 500;

/// The longest fiat code an order may name.
pub const MAX_FIAT_CODE_CHARS: usize = 16;

/// A debt that has waited so long is paid whatever is left of the budget for routes (D43).
pub const OVERDUE: Duration = Duration::from_hours(48);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Both sides together; each pays half.
    pub fee: Ppm,
    pub max_order_amount: Sats,
    pub min_order_amount: Sats,
    /// Accepted fiat codes; empty accepts all.
    pub fiat_codes: Vec<String>,
    /// How long an order stays in the book when its maker does not say.
    pub book_window: Duration,
    /// The longest a maker may ask for.
    pub max_book_window: Duration,
    /// How long each waiting duty may take.
    pub duty_window: Duration,
    /// How long a request waits for LND's word before it is undone (D17).
    pub reply_window: Duration,
    /// The life a buyer's invoice must have left when it is given.
    pub invoice_window: Duration,
    pub max_final_cltv: u32,
    /// The final CLTV delta of our hold invoices.
    pub hold_cltv_delta: u32,
    /// Counted back from an HTLC's expiry; includes LND's own delta (D21).
    pub escrow_margin: u32,
    /// Failed tries of one invoice before the buyer is asked for another; at least 1.
    pub payout_attempts: u32,
    pub payout_interval: Duration,
    /// How long an unacknowledged payout must be unknown to LND, which was well all that time, before
    /// it is sent again (P6, P8).
    pub payout_quiet: Duration,
    /// From one try to the next of a payout that waits for the operator, not for its buyer (D39).
    pub payout_slow_interval: Duration,
    /// How long LND may take no send of a payout before a person decides (D39).
    pub payout_patience: Duration,
    pub max_routing_fee: Ppm,
    /// What routes may cost beyond the fees of their trades, in a day and over all of them (D43).
    pub max_routing_subsidy: Sats,
    /// The time lock a payout's route may have; never unlimited (P2).
    pub payout_cltv_limit: u32,
}

impl Policy {
    /// What the route of a payout may cost (behaviour §4.10, K-42).
    #[must_use]
    pub fn routing_fee_limit(&self, amount: Sats) -> Sats {
        let rate = if amount <= Sats(1_000) { Ppm(10_000) } else { self.max_routing_fee };
        amount.share(rate).unwrap_or(Sats::ZERO).max(Sats(10))
    }

    /// The longest that a payout waits for its next try.
    #[must_use]
    pub fn longest_payout_wait(&self) -> Duration {
        self.payout_interval.max(self.payout_slow_interval)
    }

    #[must_use]
    pub fn accepts_fiat(&self, code: &str) -> bool {
        self.fiat_codes.is_empty() || self.fiat_codes.iter().any(|accepted| accepted == code)
    }
}
