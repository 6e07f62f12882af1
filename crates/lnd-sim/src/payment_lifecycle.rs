//! What a node does with its outgoing payments: checks, registers by hash, sends and resolves them.

use std::time::Duration;

use fedimint_tonic_lnd::routerrpc::SendPaymentRequest;
use tonic::Code;

use crate::bolt11;
use crate::hash::PaymentHash;
use crate::invoice_registry::amount;
use crate::lnd_error::LndError;
use crate::messages;
use crate::network::Network;
use crate::node::MAX_CLTV_EXPIRY;
use crate::pathfinding::{BLOCK_PADDING, RouteRequest};
use crate::payment::{Attempt, FailureReason, Outcome, Payment, PaymentStatus};

/// What a request to pay comes down to once it passed LND's checks.
struct Intent {
    payee: String,
    hash: PaymentHash,
    payment_addr: Option<PaymentHash>,
    amount_msat: u64,
    final_cltv: u32,
    fee_limit_msat: u64,
    cltv_limit: u32,
    bolt11: String,
    /// The payee asks for what LND does not know, or this simulation does not.
    is_unpayable: bool,
}

/// The final CLTV delta of a payment without an invoice that names none.
const DEFAULT_FINAL_CLTV: u32 = 80;

impl Network {
    /// `SendPaymentV2`. Returns the hash, and where in the payment's log this attempt starts.
    pub(crate) fn send_payment(
        &mut self,
        node: &str,
        request: &SendPaymentRequest,
    ) -> Result<(PaymentHash, usize), LndError> {
        let intent = self.read_intent(node, request)?;
        let begins = self.register(node, &intent)?;
        self.log_payment(node, intent.hash);
        if let Err(reason) = self.try_to_reach(node, &intent) {
            self.end_payment(node, intent.hash, Outcome::Failed(reason));
        }
        Ok((intent.hash, begins))
    }

    /// Records the outcome of an HTLC. The payer learns it once its channel is active.
    pub(crate) fn resolve(&mut self, attempt: u64, outcome: Outcome) {
        let Some(decided) = self.attempt_mut(attempt) else { return };
        if decided.outcome.is_some_and(|before| before != outcome) {
            let hash = decided.hash;
            self.violations.push(format!("attempt {attempt} on {hash} was decided both ways"));
            return;
        }
        decided.outcome = Some(outcome);
        self.undelivered.insert(attempt);
        self.deliver_outcomes();
    }

    /// Tells payers what became of their HTLCs, where the link is up.
    pub(crate) fn deliver_outcomes(&mut self) {
        let ready: Vec<u64> = self
            .undelivered
            .iter()
            .copied()
            .filter(|id| {
                let first = self.attempts.get(id).and_then(|attempt| attempt.hops.first());
                first
                    .and_then(|hop| self.channels.get(&hop.channel))
                    .is_none_or(|channel| self.is_active(channel))
            })
            .collect();
        for id in ready {
            self.undelivered.remove(&id);
            let now = self.now;
            let Some(attempt) = self.attempt_mut(id) else { continue };
            attempt.resolved_at = Some(now);
            let Some(outcome) = attempt.outcome else { continue };
            let attempt = attempt.clone();
            self.in_flight.remove(&id);
            match outcome {
                Outcome::Settled(_) => self.claim(&attempt.hops),
                Outcome::Failed(_) => self.fail_back(&attempt.hops),
            }
            let ours = self.find_payment(&attempt.payer, attempt.hash);
            if ours.is_some_and(|payment| payment.attempt == Some(id)) {
                self.end_payment(&attempt.payer, attempt.hash, outcome);
            }
        }
    }

    /// The channel of a dangling attempt was closed and LND restarted: the payment is over.
    pub(crate) fn end_dangling(&mut self, node: &str, hash: PaymentHash) -> bool {
        let id = self.find_payment(node, hash).and_then(|payment| payment.attempt);
        let Some(id) = id.filter(|id| self.attempts.get(id).is_some_and(|a| !a.left)) else {
            return false;
        };
        let now = self.now;
        let ended = Outcome::Failed(FailureReason::NoRoute);
        if let Some(attempt) = self.attempt_mut(id) {
            attempt.outcome = Some(ended);
            attempt.resolved_at = Some(now);
        }
        self.in_flight.remove(&id);
        self.end_payment(node, hash, ended);
        true
    }

    /// Appends the payment's current state to the log that subscribers read.
    pub(crate) fn log_payment(&mut self, node: &str, hash: PaymentHash) {
        let Some(payment) = self.find_payment(node, hash) else { return };
        let attempt = payment.attempt.and_then(|id| self.attempts.get(&id));
        let message = messages::payment(payment, attempt, self);
        if let Some(payment) = self.payment_mut(node, hash) {
            payment.log.push(message);
        }
    }

    /// Everything LND checks before it looks whether it knows the payment, in LND's order.
    fn read_intent(&self, node: &str, request: &SendPaymentRequest) -> Result<Intent, LndError> {
        let fee_limit_msat = amount(request.fee_limit_sat, request.fee_limit_msat)?;
        let given = amount(request.amt, request.amt_msat)?;
        let mut intent = if request.payment_request.is_empty() {
            read_bare(request, given)?
        } else {
            read_invoice(request, given, self.now)?
        };
        intent.fee_limit_msat = fee_limit_msat;
        let most = self.nodes.get(node).map_or(MAX_CLTV_EXPIRY, |node| node.max_cltv_expiry);
        intent.cltv_limit = match request.cltv_limit {
            0 => most,
            asked => u32::try_from(asked).unwrap_or(u32::MAX),
        };
        if intent.cltv_limit > most {
            return Err(LndError::unknown(format!(
                "total time lock of {} exceeds max allowed {most}",
                intent.cltv_limit
            )));
        }
        let least = intent.final_cltv.saturating_add(BLOCK_PADDING) & u32::from(u16::MAX);
        if intent.cltv_limit <= least {
            return Err(LndError::unknown(format!(
                "cltv limit {} should be greater than {least}",
                intent.cltv_limit
            )));
        }
        let own = self.nodes.get(node).is_some_and(|node| node.pubkey == intent.payee);
        if own && !request.allow_self_payment {
            return Err(LndError::unknown("self-payments not allowed"));
        }
        Ok(intent)
    }

    fn register(&mut self, node: &str, intent: &Intent) -> Result<usize, LndError> {
        let refused = |text| Err(LndError::new(Code::AlreadyExists, text));
        let log = match self.find_payment(node, intent.hash) {
            Some(known) => match known.status {
                PaymentStatus::InFlight => return refused("payment is in transition"),
                PaymentStatus::Succeeded => return refused("invoice is already paid"),
                PaymentStatus::Failed(_) => known.log.clone(),
            },
            None => Vec::new(),
        };
        let begins = log.len();
        let index = self.record_mut(node).map_or(0, |record| {
            record.last_payment_index += 1;
            record.last_payment_index
        });
        let payment = Payment {
            hash: intent.hash,
            index,
            bolt11: intent.bolt11.clone(),
            amount_msat: intent.amount_msat,
            created_at: self.now,
            status: PaymentStatus::InFlight,
            preimage: None,
            attempt: None,
            log,
        };
        if let Some(node) = self.nodes.get_mut(node) {
            node.payments.insert(intent.hash, payment);
        }
        Ok(begins)
    }

    fn try_to_reach(&mut self, node: &str, intent: &Intent) -> Result<(), FailureReason> {
        if let Some(reason) = self.forced_failure(node) {
            return Err(reason);
        }
        if intent.is_unpayable {
            return Err(FailureReason::NoRoute);
        }
        let payee = self.find_by_pubkey(&intent.payee).map(|node| node.record.name.clone());
        let payee = payee.ok_or(FailureReason::NoRoute)?;
        let hops = self.find_route(&RouteRequest {
            from: node,
            to: &payee,
            amount_msat: intent.amount_msat,
            final_cltv: intent.final_cltv,
            fee_limit_msat: intent.fee_limit_msat,
            cltv_limit: intent.cltv_limit,
        })?;
        let dangles = self.nodes.get_mut(node).is_some_and(|node| {
            let dangles = node.dangles > 0;
            node.dangles = node.dangles.saturating_sub(1);
            dangles
        });
        let id = self.attempts.last_key_value().map_or(1, |(last, _)| last + 1);
        let attempt = Attempt {
            id,
            payer: node.to_owned(),
            payee,
            hash: intent.hash,
            payment_addr: intent.payment_addr,
            amount_msat: intent.amount_msat,
            hops,
            sent_at: self.now,
            resolved_at: None,
            left: !dangles,
            outcome: None,
        };
        if !dangles {
            self.lock(&attempt.hops);
        }
        self.attempts.insert(id, attempt);
        self.in_flight.insert(id);
        if let Some(payment) = self.payment_mut(node, intent.hash) {
            payment.attempt = Some(id);
        }
        self.attempt_mut(id);
        self.log_payment(node, intent.hash);
        if !dangles {
            self.htlc_arrives(id);
        }
        Ok(())
    }

    fn forced_failure(&mut self, node: &str) -> Option<FailureReason> {
        let node = self.nodes.get_mut(node)?;
        let (reason, left) = node.forced_failure?;
        node.forced_failure = if left > 1 { Some((reason, left - 1)) } else { None };
        Some(reason)
    }

    fn end_payment(&mut self, node: &str, hash: PaymentHash, outcome: Outcome) {
        let Some(payment) = self.payment_mut(node, hash) else { return };
        let before = payment.status;
        match outcome {
            Outcome::Settled(preimage) => {
                payment.status = PaymentStatus::Succeeded;
                payment.preimage = Some(preimage);
            }
            Outcome::Failed(reason) => payment.status = PaymentStatus::Failed(reason),
        }
        let after = payment.status;
        if before != PaymentStatus::InFlight {
            self.violations.push(format!("{node}'s payment {hash}: {before:?}, then {after:?}"));
        }
        self.log_payment(node, hash);
    }
}

fn read_invoice(
    request: &SendPaymentRequest,
    given_msat: u64,
    now: Duration,
) -> Result<Intent, LndError> {
    let invoice = bolt11::decode(&request.payment_request)?;
    let valid_until = invoice.expires_at_secs();
    if now > Duration::from_secs(valid_until) {
        return Err(LndError::unknown(format!(
            "invoice expired. Valid until {}",
            messages::go_time(valid_until)
        )));
    }
    if invoice.payment_addr.is_none() && !invoice.has_blinded_paths {
        return Err(LndError::unknown(
            "payment request must contain either a payment address or blinded paths",
        ));
    }
    let amount_msat = match (invoice.amount_msat, given_msat) {
        (None, 0) => {
            return Err(LndError::unknown(
                "amount must be specified when paying a zero amount invoice",
            ));
        }
        (None, given) => given,
        (Some(asked), 0) => asked,
        (Some(_), _) => {
            return Err(LndError::unknown(
                "amount must not be specified when paying a non-zero amount invoice",
            ));
        }
    };
    if invoice.features.is_amp() && !request.amp {
        return Err(LndError::unknown(
            "the AMP flag (--amp or SendPaymentRequest.Amp) must be set to pay an AMP invoice",
        ));
    }
    Ok(Intent {
        final_cltv: invoice.final_cltv(),
        payee: invoice.payee,
        hash: invoice.hash,
        payment_addr: invoice.payment_addr.map(PaymentHash),
        amount_msat,
        is_unpayable: invoice.features.are_unpayable() || invoice.has_blinded_paths,
        fee_limit_msat: 0,
        cltv_limit: 0,
        bolt11: request.payment_request.clone(),
    })
}

/// A payment without an invoice: the caller names payee, hash and secret.
fn read_bare(request: &SendPaymentRequest, given_msat: u64) -> Result<Intent, LndError> {
    if given_msat == 0 {
        return Err(LndError::unknown("amount must be specified"));
    }
    let payment_addr = match request.payment_addr.as_slice() {
        [] => None,
        bytes => Some(PaymentHash::read(bytes)?),
    };
    Ok(Intent {
        payee: hex::encode(&request.dest),
        hash: PaymentHash::read(&request.payment_hash)?,
        payment_addr,
        amount_msat: given_msat,
        final_cltv: match request.final_cltv_delta {
            0 => DEFAULT_FINAL_CLTV,
            asked => u32::try_from(asked).unwrap_or(u32::MAX),
        },
        fee_limit_msat: 0,
        cltv_limit: 0,
        bolt11: String::new(),
        is_unpayable: false,
    })
}
