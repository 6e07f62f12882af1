//! Paying what is owed, and every way in which a payment can fail. What a debt is
//! owed for says whom its news concerns.

mod calls;
mod routing;

use std::time::Duration;

use super::table::{self, Event};
use super::{Asked, Undecided, invoice};
use crate::policy::HTLC_PATIENCE;
use crate::{
    Alarm, Attempt, Cause, Decision, Destination, Env, FailureReason, FrozenBecause, Invoice,
    LedgerAccount, Msats, Notice, Order, OrderState, OrderView, Outcome, PaymentHash,
    PaymentStatus, Payout, PayoutPurpose, PayoutState, Posting, Refusal, Sats, Status, Timestamp,
};

/// Sends a payout to its present destination, or asks for another one. The attempt is saved with
/// this decision, before the first byte leaves (P1).
pub(super) fn send(decision: Decision, purpose: PayoutPurpose, env: &Env<'_>) -> Decision {
    let Some(payout) = decision.order.payout(purpose).cloned() else { return decision };
    // An expired invoice cannot be paid any more (K-63).
    let named = decision.order.destination_of(purpose).cloned();
    let Some(invoice) = named.filter(|invoice| invoice.expires_at > env.now) else {
        return ask_for_invoice(decision, purpose);
    };
    let attempt = match payout.attempt {
        Some(before) if before.hash == invoice.hash => again(before, env.now),
        _ => first(&invoice, payout.amount, env.now),
    };
    routing::call(decision, purpose, attempt, env)
}

fn first(invoice: &Invoice, amount: Sats, now: Timestamp) -> Attempt {
    Attempt {
        hash: invoice.hash,
        bolt11: invoice.text.clone(),
        amount: invoice.amount.is_none().then_some(amount),
        max_fee: Sats::ZERO,
        subsidy: None,
        cltv_limit: 0,
        expires_at: invoice.expires_at,
        tries: 0,
        begun_at: now,
        acked: false,
        base_index: 0,
        payment_index: 0,
        unanswered_since: None,
        refused_since: None,
        refusal: None,
        in_doubt_since: None,
        missing_since: None,
        htlc_missing_since: None,
        receipt: None,
    }
}

/// Another try of the same hash: what LND said of the try before is old news from here on (D20).
fn again(before: Attempt, now: Timestamp) -> Attempt {
    Attempt {
        begun_at: now,
        acked: false,
        base_index: before.base_index.max(before.payment_index),
        htlc_missing_since: None,
        ..before
    }
}

/// News of a payment, as LND tells it. Each is described at [`Observation`](crate::Observation).
#[derive(Debug)]
pub(super) enum News {
    Unanswered,
    Refused { because: String },
    Status(PaymentStatus),
    HtlcSearched { index: u64, is_missing: bool },
}

/// What is owed for which purpose comes first, then the order's state.
pub(super) fn observed(
    order: &Order,
    hash: PaymentHash,
    news: News,
    env: &Env<'_>,
) -> Result<Decision, Undecided> {
    let Some(payout) = order.payout_with(hash) else {
        return Ok(Decision::on(order, Cause::LateNews));
    };
    match payout.purpose {
        PayoutPurpose::Buyer => table::apply(order, Event::BuyerPayout { hash, news }, env),
    }
}

/// Moves a debt of this order, and the order with it.
pub(super) fn news(order: &Order, hash: PaymentHash, news: News, env: &Env<'_>) -> Decision {
    match news {
        News::Unanswered => calls::unanswered(order, hash, env),
        News::Refused { because } => calls::refused(order, hash, because, env),
        News::Status(status) => seen(order, hash, status, env),
        News::HtlcSearched { index, is_missing } => {
            htlc_searched(order, hash, index, is_missing, env)
        }
    }
}

/// LND was asked about a payment, or told us by itself.
fn seen(order: &Order, hash: PaymentHash, status: PaymentStatus, env: &Env<'_>) -> Decision {
    let unchanged = Decision::on(order, Cause::LateNews);
    let Some(payout) = order.payout_with(hash) else { return unchanged };
    let purpose = payout.purpose;
    if is_success(status) && payout.given_up.contains(&hash) {
        return paid_though_given_up(order, payout);
    }
    let mut decision = Decision::on(order, Cause::PayoutSeen);
    let Some(attempt) = newest_attempt(&mut decision.order, hash) else { return unchanged };
    let was_acked = attempt.acked;
    let decision = match of_this_try(attempt, status) {
        PaymentStatus::Succeeded { receipt, fee, index } => {
            attempt.acked = true;
            attempt.payment_index = index;
            attempt.receipt = Some(receipt);
            paid(routing::correct(decision, purpose, fee, env), purpose, fee)
        }
        PaymentStatus::InFlight { index }
            if may_begin_anew(payout) && index > attempt.base_index.max(attempt.payment_index) =>
        {
            acknowledge(attempt, index);
            begun_anew(decision, purpose, env)
        }
        _ if !is_open(order, payout) => unchanged,
        PaymentStatus::InFlight { index }
            if index <= attempt.base_index || index < attempt.payment_index =>
        {
            unchanged
        }
        PaymentStatus::InFlight { index } => {
            acknowledge(attempt, index);
            decision
        }
        PaymentStatus::Failed { index, reason } => {
            acknowledge(attempt, index);
            failed(decision, purpose, reason, env)
        }
        PaymentStatus::Unknown => return calls::missing(decision, hash, env),
    };
    if was_acked || !is_acked(&decision.order, purpose) {
        decision
    } else {
        decision.taken(purpose, env)
    }
}

fn is_acked(order: &Order, purpose: PayoutPurpose) -> bool {
    let attempt = order.payout(purpose).and_then(|payout| payout.attempt.as_ref());
    attempt.is_some_and(|attempt| attempt.acked)
}

/// The newest attempt of its debt, if it has this hash and the debt is still open.
fn newest_attempt(order: &mut Order, hash: PaymentHash) -> Option<&mut Attempt> {
    let purpose = order.payout_with(hash)?.purpose;
    let payout = order.payout_mut(purpose)?;
    let is_paid = matches!(payout.state, PayoutState::Paid { .. });
    payout.attempt.as_mut().filter(|attempt| !is_paid && attempt.hash == hash)
}

/// Whether the newest attempt may still pay, as far as LND told us, and its end is news to us.
fn is_open(order: &Order, payout: &Payout) -> bool {
    match payout.state {
        PayoutState::Sending | PayoutState::Frozen => !is_paid_elsewhere(order),
        PayoutState::Due { .. } | PayoutState::NeedsInvoice | PayoutState::Paid { .. } => false,
    }
}

/// Whether the newest attempt failed, and no other is on its way.
fn may_begin_anew(payout: &Payout) -> bool {
    match payout.state {
        PayoutState::Due { .. } | PayoutState::NeedsInvoice => true,
        PayoutState::Sending | PayoutState::Paid { .. } | PayoutState::Frozen => false,
    }
}

/// A late copy of a send was taken up after the failure: no other invoice is welcome now (P7).
fn begun_anew(mut decision: Decision, purpose: PayoutPurpose, env: &Env<'_>) -> Decision {
    routing::set_aside_again(&mut decision.order, purpose, env);
    if let Some(payout) = decision.order.payout_mut(purpose) {
        payout.state = PayoutState::Sending;
    }
    decision.cause = Cause::PayoutBegunAnew;
    decision
}

fn is_success(status: PaymentStatus) -> bool {
    matches!(status, PaymentStatus::Succeeded { .. })
}

fn is_paid_elsewhere(order: &Order) -> bool {
    matches!(order.state, OrderState::Frozen { because: FrozenBecause::PaidThoughGivenUp, .. })
}

/// What should be impossible: the debt is paid, and not by its newest attempt. That one is not sent
/// again, whatever LND says of it; a person decides (D13).
fn paid_though_given_up(order: &Order, payout: &Payout) -> Decision {
    let decision = Decision::on(order, Cause::PaidThoughGivenUp);
    if is_paid_elsewhere(order) {
        return decision;
    }
    match payout.state {
        PayoutState::Paid { .. } => decision.alarm(Alarm::Frozen(FrozenBecause::PaidThoughGivenUp)),
        PayoutState::Due { .. }
        | PayoutState::Sending
        | PayoutState::NeedsInvoice
        | PayoutState::Frozen => freeze(decision, payout.purpose, FrozenBecause::PaidThoughGivenUp),
    }
}

/// A person decides about a debt, and so about its order.
fn freeze(mut decision: Decision, purpose: PayoutPurpose, because: FrozenBecause) -> Decision {
    if let Some(payout) = decision.order.payout_mut(purpose) {
        payout.state = PayoutState::Frozen;
    }
    decision.freeze(because)
}

/// Reads LND's word as a word about this try: what it says of an earlier one is as good as nothing
/// (D20, P3). A success is a success whenever it happened.
fn of_this_try(attempt: &Attempt, status: PaymentStatus) -> PaymentStatus {
    match status {
        PaymentStatus::Failed { index, .. } if index <= attempt.base_index => {
            PaymentStatus::Unknown
        }
        PaymentStatus::Failed { index, .. } if attempt.acked && index != attempt.payment_index => {
            PaymentStatus::Unknown
        }
        status => status,
    }
}

fn acknowledge(attempt: &mut Attempt, index: u64) {
    attempt.acked = true;
    attempt.payment_index = index;
    attempt.unanswered_since = None;
    attempt.refused_since = None;
    attempt.in_doubt_since = None;
    attempt.missing_since = None;
}

/// LND has paid. The receipt, the end of the debt and the messages are one commit (P4).
fn paid(mut decision: Decision, purpose: PayoutPurpose, fee: Msats) -> Decision {
    if let Some(payout) = decision.order.payout_mut(purpose) {
        payout.state = PayoutState::Paid { fee };
        decision.postings = expense(payout, fee);
    }
    match purpose {
        PayoutPurpose::Buyer => Decision { cause: Cause::BuyerPaid, ..decision }
            .to(OrderState::Ended(Outcome::Success))
            .tell_payee(purpose, Notice::PurchaseCompleted)
            .tell_payee(purpose, Notice::Rate),
    }
}

fn expense(payout: &Payout, fee: Msats) -> Vec<Posting> {
    let credit = LedgerAccount::Lightning;
    let paid = payout.amount.to_msats().unwrap_or_default();
    [(payout.purpose.account(), paid), (LedgerAccount::RoutingFees, fee)]
        .into_iter()
        .filter(|(_, amount)| *amount > Msats::ZERO)
        .map(|(debit, amount)| Posting { debit, credit, amount })
        .collect()
}

/// LND's own FAILED of this try: the only proof that it cannot pay.
fn failed(
    mut decision: Decision,
    purpose: PayoutPurpose,
    reason: FailureReason,
    env: &Env<'_>,
) -> Decision {
    decision.cause = Cause::PayoutFailed;
    match purpose {
        PayoutPurpose::Buyer => decision.order.state = OrderState::PayingBuyer,
    }
    let Some(payout) = decision.order.payout_mut(purpose) else { return decision };
    let is_ours = is_our_fault(payout, env);
    routing::give_back(payout);
    let retry_at = env.now.after(env.policy.payout_interval);
    payout.state = PayoutState::Due { at: retry_at };
    // While our node is unwell a failure says nothing about the buyer.
    if is_ours {
        return decision;
    }
    // There may be one for what the budget of another day allows (D43).
    if reason == FailureReason::NoRoute && routing::was_cut(payout, env) {
        return retry_slowly(decision, purpose, env);
    }
    payout.failures = payout.failures.saturating_add(1);
    let failures = payout.failures;
    if failures == 1 {
        decision = decision.tell_payee(purpose, payment_failed(failures, env));
    }
    let is_refused = reason == FailureReason::IncorrectPaymentDetails;
    if failures >= env.policy.payout_attempts || is_refused {
        return ask_for_invoice(decision, purpose);
    }
    decision
}

/// No automatic try from here on; whoever is owed names another destination.
fn ask_for_invoice(mut decision: Decision, purpose: PayoutPurpose) -> Decision {
    let Some(payout) = decision.order.payout_mut(purpose) else { return decision };
    payout.state = PayoutState::NeedsInvoice;
    let amount = payout.amount;
    let status = match purpose {
        PayoutPurpose::Buyer => Status::SettledHoldInvoice,
    };
    let order = &decision.order;
    let view =
        OrderView::parties(order, status, amount).with_invoice(order.destination_of(purpose));
    decision.tell_payee(purpose, Notice::AddInvoice(view))
}

/// Another try of the same invoice, which the buyer can do nothing about: rarely, not counted, and the
/// buyer is not asked for another invoice before this one expires (D39, D43).
fn retry_slowly(mut decision: Decision, purpose: PayoutPurpose, env: &Env<'_>) -> Decision {
    let wait = env.policy.payout_slow_interval;
    let Some(payout) = decision.order.payout_mut(purpose) else { return decision };
    let Some(attempt) = &payout.attempt else { return decision };
    let (failures, is_first) = (payout.failures, attempt.tries == 1);
    payout.state =
        PayoutState::Due { at: env.now.after(wait).min(attempt.expires_at.max(env.now)) };
    if failures == 0 && is_first {
        decision.tell_payee(purpose, payment_failed_for(failures, wait, env))
    } else {
        decision
    }
}

/// LND calls a payment in flight, and its channels were searched for the HTLC (P12).
///
/// LND writes an attempt down before it signs the HTLC, and signs when the peer lets it: missing is
/// lost only if LND was restarted since, and its channel has long been active again. The buyer hears
/// of the delay; nothing but LND's word ends the payment.
fn htlc_searched(
    order: &Order,
    hash: PaymentHash,
    index: u64,
    is_missing: bool,
    env: &Env<'_>,
) -> Decision {
    let mut decision = Decision::on(order, Cause::HtlcSearched);
    let Some(payout) = order.payout_with(hash) else { return decision };
    let (purpose, failures) = (payout.purpose, payout.failures);
    let (PayoutState::Sending, Some(attempt)) =
        (payout.state, newest_attempt(&mut decision.order, hash))
    else {
        return decision;
    };
    if !attempt.acked || attempt.payment_index != index {
        return decision;
    }
    let restarted_at = env.lnd_unwell_at.filter(|at| is_missing && *at >= attempt.begun_at);
    let Some(restarted_at) = restarted_at else {
        attempt.htlc_missing_since = None;
        return decision;
    };
    let missing_since = *attempt.htlc_missing_since.get_or_insert(env.now);
    let patience = env.policy.payout_quiet.saturating_mul(HTLC_PATIENCE);
    if !env.has_passed_since(restarted_at.max(missing_since), patience) {
        return decision;
    }
    decision.cause = Cause::PayoutDangling;
    let decision = decision.tell_payee(purpose, payment_failed(failures, env));
    freeze(decision, purpose, FrozenBecause::PayoutDangling)
}

fn payment_failed(failures: u32, env: &Env<'_>) -> Notice {
    payment_failed_for(failures, env.policy.payout_interval, env)
}

fn payment_failed_for(failures: u32, interval: Duration, env: &Env<'_>) -> Notice {
    Notice::PaymentFailed {
        attempts_left: env.policy.payout_attempts.saturating_sub(failures),
        interval_secs: u32::try_from(interval.as_secs()).unwrap_or(u32::MAX),
    }
}

/// Whoever is owed names another destination while no attempt is open (P7, C18).
pub(super) fn another_destination(
    order: &Order,
    purpose: PayoutPurpose,
    asked: Asked,
    destination: Destination,
    env: &Env<'_>,
) -> Result<Decision, Undecided> {
    let payout = order.payout(purpose).filter(|payout| may_begin_anew(payout));
    let Some(payout) = payout else { return Err(Refusal::NotAllowedByStatus.into()) };
    let invoice = invoice::payable_with(order, payout.amount, destination, env)?;
    let mut decision = Decision::on(order, Cause::InvoiceUpdated);
    match purpose {
        PayoutPurpose::Buyer => decision.order.destination = Some(invoice),
    }
    if let Some(payout) = decision.order.payout_mut(purpose) {
        payout.failures = 0;
    }
    if let Some(payee) = order.payee(purpose) {
        decision = decision.answer(payee, asked.request_id, Notice::InvoiceUpdated);
    }
    Ok(send(decision, purpose, env))
}

impl Decision {
    /// Whoever is owed, if that is a party.
    fn tell_payee(self, purpose: PayoutPurpose, notice: Notice) -> Self {
        match self.order.payee(purpose).copied() {
            Some(payee) => self.tell(&payee, notice),
            None => self,
        }
    }
}

/// Whether our own node was unwell at any time since the newest try began (behaviour §4.7).
fn is_our_fault(payout: &Payout, env: &Env<'_>) -> bool {
    payout
        .attempt
        .as_ref()
        .is_some_and(|attempt| env.lnd_unwell_at.is_some_and(|at| at >= attempt.begun_at))
}
