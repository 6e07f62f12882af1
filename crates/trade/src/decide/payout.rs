//! Paying the buyer: T32, and every way a payment can fail to (FL-F8, P1 to P9).

mod calls;
mod routing;

pub(super) use calls::{refused, unanswered};

use std::time::Duration;

use super::{Undecided, payable};
use crate::policy::HTLC_PATIENCE;
use crate::{
    Alarm, Attempt, Cause, Decision, Destination, Env, FailureReason, FrozenBecause, Invoice,
    LedgerAccount, Msats, Notice, Order, OrderState, OrderView, Outcome, PaymentHash,
    PaymentStatus, PayoutState, Posting, Refusal, Sats, Status, Timestamp,
};

/// Sends the payout to the present destination, or asks for another one. The attempt is saved with
/// this decision, before the first byte leaves (P1).
pub(super) fn send(decision: Decision, env: &Env<'_>) -> Decision {
    let Some(payout) = decision.order.payout.clone() else { return decision };
    // An expired invoice is not worth a try (K-63).
    let Some(invoice) =
        decision.order.destination.clone().filter(|invoice| invoice.expires_at > env.now)
    else {
        return ask_for_invoice(decision);
    };
    let attempt = match payout.attempt {
        Some(before) if before.hash == invoice.hash => again(before, env.now),
        _ => first(&invoice, payout.amount, env.now),
    };
    routing::call(decision, attempt, env)
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

/// LND was asked about a payment, or told us by itself.
pub(super) fn seen(
    order: &Order,
    hash: PaymentHash,
    status: PaymentStatus,
    env: &Env<'_>,
) -> Decision {
    let unchanged = Decision::on(order, Cause::LateNews);
    let mut decision = Decision::on(order, Cause::PayoutSeen);
    if is_success(status) && was_given_up(order, hash) {
        return paid_though_given_up(order);
    }
    let Some(attempt) = newest_attempt(&mut decision.order, hash) else { return unchanged };
    let was_acked = attempt.acked;
    let decision = match of_this_try(attempt, status) {
        PaymentStatus::Succeeded { receipt, fee, index } => {
            attempt.acked = true;
            attempt.payment_index = index;
            attempt.receipt = Some(receipt);
            paid(routing::correct(decision, hash, fee, env), fee)
        }
        PaymentStatus::InFlight { index }
            if may_begin_anew(order) && index > attempt.base_index.max(attempt.payment_index) =>
        {
            acknowledge(attempt, index);
            begun_anew(decision, env)
        }
        _ if !is_open(order) => unchanged,
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
            failed(decision, reason, env)
        }
        PaymentStatus::Unknown => return calls::missing(decision, hash, env),
    };
    if was_acked || !is_acked(&decision.order) { decision } else { decision.taken(env) }
}

fn is_acked(order: &Order) -> bool {
    let attempt = order.payout.as_ref().and_then(|payout| payout.attempt.as_ref());
    attempt.is_some_and(|attempt| attempt.acked)
}

/// The attempt with this hash, if the debt is still open.
fn newest_attempt(order: &mut Order, hash: PaymentHash) -> Option<&mut Attempt> {
    let payout = order.payout.as_mut()?;
    let is_paid = matches!(payout.state, PayoutState::Paid { .. });
    payout.attempt.as_mut().filter(|attempt| !is_paid && attempt.hash == hash)
}

/// Whether the newest attempt may still pay, as far as LND told us, and its end is news to us.
fn is_open(order: &Order) -> bool {
    let state = order.payout.as_ref().map(|payout| payout.state);
    matches!(state, Some(PayoutState::Sending | PayoutState::Frozen)) && !is_paid_elsewhere(order)
}

/// Whether the newest attempt failed, and no other is on its way.
fn may_begin_anew(order: &Order) -> bool {
    let state = order.payout.as_ref().map(|payout| payout.state);
    matches!(state, Some(PayoutState::Due { .. } | PayoutState::NeedsInvoice))
}

/// A late copy of a send was taken up after the failure: no other invoice is welcome now (P7).
fn begun_anew(mut decision: Decision, env: &Env<'_>) -> Decision {
    routing::set_aside_again(&mut decision.order, env);
    if let Some(payout) = &mut decision.order.payout {
        payout.state = PayoutState::Sending;
    }
    decision.cause = Cause::PayoutBegunAnew;
    decision
}

fn is_success(status: PaymentStatus) -> bool {
    matches!(status, PaymentStatus::Succeeded { .. })
}

/// Whether the hash is one of an older attempt, which failed before there was the newest.
fn was_given_up(order: &Order, hash: PaymentHash) -> bool {
    let newest = order.payout.as_ref().and_then(|payout| payout.attempt.as_ref());
    newest.is_some_and(|attempt| attempt.hash != hash)
}

fn is_paid_elsewhere(order: &Order) -> bool {
    matches!(order.state, OrderState::Frozen { because: FrozenBecause::PaidThoughGivenUp, .. })
}

/// What should be impossible: the debt is paid, and not by its newest attempt. That one is not sent
/// again, whatever LND says of it; a person decides (D13).
fn paid_though_given_up(order: &Order) -> Decision {
    let mut decision = Decision::on(order, Cause::PaidThoughGivenUp);
    if is_paid_elsewhere(order) {
        return decision;
    }
    match &mut decision.order.payout {
        Some(payout) if !matches!(payout.state, PayoutState::Paid { .. }) => {
            payout.state = PayoutState::Frozen;
            decision.freeze(FrozenBecause::PaidThoughGivenUp)
        }
        _ => decision.alarm(Alarm::Frozen(FrozenBecause::PaidThoughGivenUp)),
    }
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

/// T32. The receipt, the end of the debt and the messages are one commit (P4).
fn paid(mut decision: Decision, fee: Msats) -> Decision {
    let Some(buyer) = decision.order.buyer().copied() else { return decision };
    if let Some(payout) = &mut decision.order.payout {
        payout.state = PayoutState::Paid { fee };
        decision.postings = expense(payout.amount, fee);
    }
    decision.cause = Cause::BuyerPaid;
    decision
        .to(OrderState::Ended(Outcome::Success))
        .tell(&buyer, Notice::PurchaseCompleted)
        .tell(&buyer, Notice::Rate)
}

fn expense(amount: Sats, fee: Msats) -> Vec<Posting> {
    let credit = LedgerAccount::Lightning;
    let paid = amount.to_msats().unwrap_or_default();
    [(LedgerAccount::Buyer, paid), (LedgerAccount::RoutingFees, fee)]
        .into_iter()
        .filter(|(_, amount)| *amount > Msats::ZERO)
        .map(|(debit, amount)| Posting { debit, credit, amount })
        .collect()
}

/// LND's own FAILED of this try: the only proof that it cannot pay.
fn failed(mut decision: Decision, reason: FailureReason, env: &Env<'_>) -> Decision {
    decision.cause = Cause::PayoutFailed;
    decision.order.state = OrderState::PayingBuyer;
    let Some(buyer) = decision.order.buyer().copied() else { return decision };
    let is_ours = is_our_fault(&decision.order, env);
    routing::give_back(&mut decision.order);
    let Some(payout) = &mut decision.order.payout else { return decision };
    let retry_at = env.now.after(env.policy.payout_interval);
    payout.state = PayoutState::Due { at: retry_at };
    // While our node is unwell a failure says nothing about the buyer.
    if is_ours {
        return decision;
    }
    // There may be one for what the budget of another day allows (D43).
    if reason == FailureReason::NoRoute && routing::was_cut(payout, env) {
        return retry_slowly(decision, env);
    }
    payout.failures = payout.failures.saturating_add(1);
    let failures = payout.failures;
    if failures == 1 {
        decision = decision.tell(&buyer, payment_failed(failures, env));
    }
    let is_refused = reason == FailureReason::IncorrectPaymentDetails;
    if failures >= env.policy.payout_attempts || is_refused {
        return ask_for_invoice(decision);
    }
    decision
}

/// No automatic try from here on; the buyer names another destination.
fn ask_for_invoice(mut decision: Decision) -> Decision {
    let Some(payout) = &mut decision.order.payout else { return decision };
    payout.state = PayoutState::NeedsInvoice;
    let amount = payout.amount;
    let order = &decision.order;
    let Some(buyer) = order.buyer().copied() else { return decision };
    let view = OrderView::parties(order, Status::SettledHoldInvoice, amount)
        .with_invoice(order.destination.as_ref());
    decision.tell(&buyer, Notice::AddInvoice(view))
}

/// Another try of the same invoice, which the buyer can do nothing about: rarely, not counted, and the
/// buyer is not asked for another invoice before this one expires (D39, D43).
fn retry_slowly(mut decision: Decision, env: &Env<'_>) -> Decision {
    let wait = env.policy.payout_slow_interval;
    let Some(payout) = &mut decision.order.payout else { return decision };
    let Some(attempt) = &payout.attempt else { return decision };
    let (failures, is_first) = (payout.failures, attempt.tries == 1);
    payout.state =
        PayoutState::Due { at: env.now.after(wait).min(attempt.expires_at.max(env.now)) };
    match decision.order.buyer().copied() {
        Some(buyer) if failures == 0 && is_first => {
            decision.tell(&buyer, payment_failed_for(failures, wait, env))
        }
        _ => decision,
    }
}

/// P12: LND calls a payment in flight, and its channels were searched for the HTLC.
///
/// LND writes an attempt down before it signs the HTLC, and signs when the peer lets it: missing is
/// lost only if LND was restarted since, and its channel has long been active again. The buyer hears
/// of the delay; nothing but LND's word ends the payment.
pub(super) fn htlc_searched(
    order: &Order,
    hash: PaymentHash,
    index: u64,
    is_missing: bool,
    env: &Env<'_>,
) -> Decision {
    let mut decision = Decision::on(order, Cause::HtlcSearched);
    let payout = order.payout.as_ref().map(|payout| (payout.state, payout.failures));
    let (Some((PayoutState::Sending, failures)), Some(attempt)) =
        (payout, newest_attempt(&mut decision.order, hash))
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
    if restarted_at.max(missing_since).after(patience) > env.now {
        return decision;
    }
    if let Some(payout) = &mut decision.order.payout {
        payout.state = PayoutState::Frozen;
    }
    if let Some(buyer) = order.buyer() {
        decision = decision.tell(buyer, payment_failed(failures, env));
    }
    decision.cause = Cause::PayoutDangling;
    decision.freeze(FrozenBecause::PayoutDangling)
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

/// The buyer names another destination while no attempt is open (P7, C18).
pub(super) fn another_destination(
    order: &Order,
    request_id: Option<u64>,
    destination: Destination,
    env: &Env<'_>,
) -> Result<Decision, Undecided> {
    let is_open = !order.payout.as_ref().is_some_and(|payout| {
        matches!(payout.state, PayoutState::Due { .. } | PayoutState::NeedsInvoice)
    });
    if is_open {
        return Err(Refusal::NotAllowedByStatus.into());
    }
    let invoice = payable(order, destination, env)?;
    let mut decision = Decision::on(order, Cause::InvoiceUpdated);
    decision.order.destination = Some(invoice);
    if let Some(payout) = &mut decision.order.payout {
        payout.failures = 0;
    }
    if let Some(buyer) = order.buyer() {
        decision = decision.answer(buyer, request_id, Notice::InvoiceUpdated);
    }
    Ok(send(decision, env))
}

/// Whether our own node was unwell at any time since the newest try began (behaviour §4.7).
fn is_our_fault(order: &Order, env: &Env<'_>) -> bool {
    let attempt = order.payout.as_ref().and_then(|payout| payout.attempt.as_ref());
    attempt.is_some_and(|attempt| env.lnd_unwell_at.is_some_and(|at| at >= attempt.begun_at))
}
