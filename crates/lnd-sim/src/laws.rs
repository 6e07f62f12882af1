//! What must hold after every step of the simulation.

use std::collections::BTreeMap;

use crate::hash::PaymentHash;
use crate::invoice::{HtlcState, Invoice, InvoiceState};
use crate::network::Network;
use crate::node::Node;
use crate::payment::{Attempt, Outcome, PaymentStatus};

impl Network {
    /// A description of every law that is broken.
    pub(crate) fn check(&self) -> Vec<String> {
        let mut broken = self.violations.clone();
        self.check_channels(&mut broken);
        for (name, node) in &self.nodes {
            for invoice in node.invoices.values() {
                self.check_invoice(name, invoice, &mut broken);
            }
            self.check_payments(name, node, &mut broken);
        }
        self.check_paid_once(&mut broken);
        broken
    }

    /// Money is conserved: both sides and all HTLCs of a channel add up to its capacity.
    fn check_channels(&self, broken: &mut Vec<String>) {
        let mut pending: BTreeMap<u64, u64> = BTreeMap::new();
        for hop in self.locked().flat_map(|attempt| &attempt.hops) {
            *pending.entry(hop.channel).or_default() += hop.amount_msat;
        }
        for channel in self.channels.values() {
            let sides: u64 = channel.sides.iter().map(|side| side.msat).sum();
            let held = pending.get(&channel.id).copied().unwrap_or_default();
            if sides + held != channel.capacity_msat {
                broken.push(format!(
                    "channel {}: {sides} on its sides and {held} in HTLCs do not add up to {} msat",
                    channel.id, channel.capacity_msat
                ));
            }
        }
    }

    /// An invoice's state agrees with its HTLCs, and these with their attempts.
    fn check_invoice(&self, node: &str, invoice: &Invoice, broken: &mut Vec<String>) {
        let hash = invoice.hash;
        let has = |state| invoice.htlcs.iter().any(|htlc| htlc.state == state);
        let agrees = match invoice.state {
            InvoiceState::Open => !has(HtlcState::Accepted) && !has(HtlcState::Settled),
            InvoiceState::Accepted => has(HtlcState::Accepted) && !has(HtlcState::Settled),
            InvoiceState::Settled => has(HtlcState::Settled) && !has(HtlcState::Accepted),
            InvoiceState::Canceled => !has(HtlcState::Settled) && !has(HtlcState::Accepted),
        };
        if !agrees {
            broken.push(format!(
                "{node}'s invoice {hash} is {:?}, which its HTLCs contradict",
                invoice.state
            ));
        }
        for htlc in &invoice.htlcs {
            let outcome = self.attempts.get(&htlc.attempt).and_then(|attempt| attempt.outcome);
            let agrees = match htlc.state {
                HtlcState::Accepted => outcome.is_none() || htlc.is_lost,
                HtlcState::Settled => matches!(outcome, Some(Outcome::Settled(_))),
                HtlcState::Canceled => matches!(outcome, Some(Outcome::Failed(_))),
            };
            if !agrees {
                broken.push(format!(
                    "an HTLC of {node}'s invoice {hash} has different outcomes for payee and payer"
                ));
            }
        }
    }

    /// SUCCEEDED has a matching preimage and a settled HTLC; FAILED has no HTLC in flight.
    fn check_payments(&self, node: &str, known: &Node, broken: &mut Vec<String>) {
        for payment in known.payments.values() {
            let attempt = payment.attempt.and_then(|id| self.attempts.get(&id));
            let claimed = attempt.is_some_and(|a| matches!(a.outcome, Some(Outcome::Settled(_))));
            let in_flight = attempt.is_some_and(Attempt::is_in_flight);
            let fits = payment.preimage.is_some_and(|preimage| preimage.hash() == payment.hash);
            let agrees = match payment.status {
                PaymentStatus::Succeeded => claimed && fits,
                PaymentStatus::Failed(_) => !claimed && !in_flight,
                PaymentStatus::InFlight => in_flight,
            };
            if !agrees {
                broken.push(format!(
                    "{node}'s payment {} is {:?}, which its HTLC contradicts",
                    payment.hash, payment.status
                ));
            }
        }
    }

    /// No payee is paid twice for one hash.
    fn check_paid_once(&self, broken: &mut Vec<String>) {
        let mut paid: BTreeMap<(&str, PaymentHash), u32> = BTreeMap::new();
        for attempt in self.attempts.values() {
            if matches!(attempt.outcome, Some(Outcome::Settled(_))) {
                *paid.entry((&attempt.payee, attempt.hash)).or_default() += 1;
            }
        }
        for ((payee, hash), times) in paid {
            if times > 1 {
                broken.push(format!("{payee} was paid {times} times for {hash}"));
            }
        }
    }
}
