//! What must never be, in any world, and when nothing is left to do.
#![expect(
    clippy::indexing_slicing,
    reason = "two holds, two invoices: a slip ends the test, and should"
)]

use super::super::orders::{Orders, Step, hold_number};
use super::{LndHold, LndPayment, Move, Refuses, World, newest_invoice};
use crate::{FrozenBecause, Order, OrderState, Outcome as End, PayoutPurpose, invariants};

impl World {
    /// Whether this world is safe.
    pub(in crate::model) fn check(&self, orders: &Orders) -> Result<(), &'static str> {
        let order = orders.get(self.order);
        self.check_money(order)?;
        invariants::check(order)
    }

    /// Whether `step` may lead from `before` to here.
    pub(in crate::model) fn check_step(
        &self,
        before: &Self,
        step: Move,
        orders: &Orders,
    ) -> Result<(), &'static str> {
        let is_told = |hold: usize| self.told[hold] && !before.told[hold];
        if (0..2).any(|hold| is_told(hold) && self.holds[hold] == LndHold::Canceled) {
            return Err("told to pay an invoice that is over");
        }
        let Move::Does(Step::AddInvoice { .. }) = step else { return Ok(()) };
        let OrderState::Active { held } = orders.get(self.order).state else { return Ok(()) };
        let escrow = hold_number(held.hash).map(|hold| before.holds[hold]);
        match escrow {
            Some(LndHold::Accepted(_)) => Ok(()),
            _ => Err("told to pay fiat for an escrow that is gone"),
        }
    }

    fn check_money(&self, order: &Order) -> Result<(), &'static str> {
        let is_paid = |payment: &&LndPayment| matches!(payment, LndPayment::Paid(_));
        let paid = self.payments.iter().filter(is_paid).count();
        let moves = self.payments.iter().any(|payment| matches!(payment, LndPayment::InFlight(_)));
        let is_settled = self.holds.contains(&LndHold::Settled);
        let is_over = matches!(
            order.state,
            OrderState::Pending | OrderState::Ended(End::Canceled | End::Expired)
        );
        let is_owed = order.payout(PayoutPurpose::Buyer).is_some();
        let mut laws = Vec::new();
        let stands_on = order.state.hold().and_then(hold_number);
        for hold in 0..2 {
            let is_held = matches!(self.holds[hold], LndHold::Accepted(_));
            let is_pursued = self.cancels[hold] || self.settles[hold] || stands_on == Some(hold);
            laws.push((!(self.settles[hold] && self.cancels[hold]), "took and returned"));
            laws.push((!is_held || is_pursued, "nobody returns the sats"));
        }
        laws.extend([
            (paid <= 1, "paid twice"),
            (is_settled || !moves && paid == 0, "paid with our own sats"),
            (is_settled || !is_owed, "owed before LND settled"),
            (order.state != OrderState::Ended(End::Success) || paid == 1, "success, and not paid"),
            (!is_over || !is_settled, "canceled, and the sats were taken"),
            (!is_over || !self.fiat_sent, "fiat was sent, and the trade just ended"),
            (self.is_frozen_for_a_reason(order), "frozen for nothing"),
        ]);
        laws.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, law)| Err(law))
    }

    /// LND forgets nothing here, and settles nothing by itself.
    fn is_frozen_for_a_reason(&self, order: &Order) -> bool {
        let OrderState::Frozen { because, .. } = order.state else { return true };
        let newest = newest_invoice(order);
        let was_paid = |invoice| matches!(self.payments[invoice], LndPayment::Paid(_));
        match because {
            FrozenBecause::EscrowLost => self.holds.contains(&LndHold::Canceled),
            FrozenBecause::PaidThoughGivenUp => {
                (0..2).any(|invoice| newest != Some(invoice) && was_paid(invoice))
            }
            FrozenBecause::PayoutRefused => self.refuses == Refuses::Always,
            _ => false,
        }
    }

    /// Nothing is left to do: the trade has ended, or a person has it.
    pub(in crate::model) fn is_over(&self, orders: &Orders) -> bool {
        let state = &orders.get(self.order).state;
        let is_held = |hold: &LndHold| matches!(hold, LndHold::Accepted(_));
        let is_moving = |payment: &LndPayment| matches!(payment, LndPayment::InFlight(_));
        (state.is_final() || matches!(state, OrderState::Frozen { .. }))
            && [self.adds, self.settles, self.cancels] == [[false; 2]; 3]
            && [self.sends, self.begun, self.copies] == [[0; 2]; 3]
            && !self.holds.iter().any(is_held)
            && !self.payments.iter().any(is_moving)
    }
}
