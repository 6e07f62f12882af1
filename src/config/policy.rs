//! The numbers that decisions need, in the core's own type.

use std::time::Duration;

use trade::Policy;

use super::Settings;

/// How long a request may wait for LND's answer: clients time out after ten seconds.
const REPLY_WINDOW: Duration = Duration::from_secs(8);

/// From one try to the next of a payout that waits for the operator.
const PAYOUT_SLOW_INTERVAL: Duration = Duration::from_hours(1);

/// How long LND may refuse or leave unanswered every send of a payout before the payout is frozen.
const PAYOUT_PATIENCE: Duration = Duration::from_hours(24);

impl Settings {
    /// The policy by which `trade::decide` decides.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let Self { lightning, mostro, .. } = self;
        Policy {
            fee: mostro.fee,
            max_order_amount: mostro.max_order_amount,
            min_order_amount: mostro.min_payment_amount,
            fiat_codes: mostro.fiat_currencies_accepted.clone(),
            book_window: mostro.order_expiration,
            max_book_window: mostro.max_order_expiration,
            duty_window: mostro.duty_window,
            reply_window: REPLY_WINDOW,
            invoice_window: lightning.invoice_expiration_window,
            max_final_cltv: lightning.max_final_cltv_expiry_delta,
            hold_cltv_delta: lightning.hold_invoice_cltv_delta,
            escrow_margin: lightning.escrow_deadline_margin_blocks,
            payout_attempts: lightning.payment_attempts,
            payout_interval: lightning.payment_retries_interval,
            payout_quiet: lightning.payout_quiet,
            payout_slow_interval: PAYOUT_SLOW_INTERVAL,
            payout_patience: PAYOUT_PATIENCE,
            max_routing_fee: mostro.max_routing_fee,
            max_routing_subsidy: mostro.max_routing_subsidy,
            payout_cltv_limit: lightning.payment_cltv_limit,
        }
    }
}
