//! The seller's sats: what LND says of them, and what that means for the trade.

use super::table::Event;
use super::{Asked, Undecided, expiry, hold, payout};
use crate::policy::OVERPAYMENT;
use crate::{
    Alarm, Cause, Decision, Env, FrozenBecause, Held, HoldStatus, Invoice, Kind, LedgerAccount,
    Msats, Notice, Order, OrderState, OrderView, PaymentHash, Payout, PayoutPurpose, Posting,
    Preparing, Question, Quote, Refusal, Seen, Side, Status,
};

/// What LND did to an escrow that no state expects.
#[derive(Debug, Clone, Copy)]
pub(super) enum Broken {
    /// Settled it, without our decision.
    Settled { hash: PaymentHash },
    /// Does not know the hold, which it had acknowledged.
    Forgotten,
}

/// What LND's answer about an escrow means that nothing is decided on; `None` if it is only open.
pub(super) fn event(hash: PaymentHash, status: HoldStatus) -> Option<Event> {
    match status {
        HoldStatus::Open => None,
        HoldStatus::Accepted { paid, expires_at } => {
            Some(Event::EscrowAccepted(Held { hash, paid, expires_at }))
        }
        HoldStatus::Canceled => Some(Event::EscrowGone { hash }),
        HoldStatus::Settled => Some(Event::EscrowBroken(Broken::Settled { hash })),
        HoldStatus::Unknown => Some(Event::EscrowBroken(Broken::Forgotten)),
    }
}

/// LND has the hold invoice: the seller is asked to pay it.
pub(super) fn opened(
    order: &Order,
    preparing: &Preparing,
    bolt11: String,
    env: &Env<'_>,
) -> Decision {
    let hash = preparing.hash;
    let mut decision = hold::record_opened(order, hash, bolt11.clone());
    let (Some(buyer), Some(seller), Some(quote)) =
        (order.buyer(), order.seller(), order.terms.quote)
    else {
        return decision;
    };
    let until = env.now.after(env.policy.duty_window);
    decision = decision.to(OrderState::AwaitingHold { hash, until });
    // The reputation of the taker goes to a maker that is asked to act (behaviour §8.4).
    if order.terms.kind == Kind::Sell {
        decision = decision.tell(seller, Notice::PayInvoiceReputation(env.taker));
    }
    // Whoever took the order, or gave its invoice, is the one who asked.
    let (to_seller, to_buyer) = match order.terms.kind {
        Kind::Sell => (None, preparing.request_id),
        Kind::Buy => (preparing.request_id, None),
    };
    let view = OrderView::bare(order, Status::WaitingPayment, quote.to_hold());
    decision
        .answer_indexed(seller, to_seller, Notice::PayInvoice { order: view, bolt11 })
        .answer_indexed(buyer, to_buyer, Notice::WaitingSellerToPay)
}

/// LND canceled the invoice before anybody was shown it.
pub(super) fn refused(order: &Order, preparing: &Preparing, hash: PaymentHash) -> Decision {
    expiry::undo(gone(order, Cause::HoldRefused, hash), preparing)
}

/// LND canceled the invoice that nobody has paid.
pub(super) fn unpaid(order: &Order, hash: PaymentHash) -> Decision {
    gone(order, Cause::HoldCanceled, hash).abandoned_by(Side::Seller)
}

pub(super) fn lost_before_fiat(order: &Order, hash: PaymentHash) -> Decision {
    gone(order, Cause::EscrowLostBeforeFiat, hash)
        .tell_both(&Notice::HoldInvoicePaymentCanceled)
        .canceled(None)
}

/// As before any fiat was sent. But a `fiat-sent` may still have to be read: until then LND's answer is
/// not recorded, so that it is asked again (D40).
pub(super) fn lost_while_active(
    order: &Order,
    held: Held,
    hash: PaymentHash,
    env: &Env<'_>,
) -> Decision {
    if env.has_heard_all_about(held) {
        lost_before_fiat(order, hash)
    } else {
        Decision::on(order, Cause::MessagesUnread)
    }
}

pub(super) fn lost_after_fiat(order: &Order, hash: PaymentHash) -> Decision {
    lost(gone(order, Cause::EscrowLostAfterFiat, hash))
}

/// We decided to settle, and the seller has the sats again.
pub(super) fn lost_on_settle(order: &Order, hash: PaymentHash) -> Decision {
    lost(gone(order, Cause::EscrowLostOnSettle, hash))
}

fn lost(decision: Decision) -> Decision {
    decision.tell_both(&Notice::HoldInvoicePaymentCanceled).freeze(FrozenBecause::EscrowLost)
}

fn gone(order: &Order, cause: Cause, hash: PaymentHash) -> Decision {
    Decision::on(order, cause).record(hash, Seen::Canceled)
}

/// A person looks at it, wherever the order stands. That LND does not know the hold is not recorded as
/// canceled: LND did not say so.
pub(super) fn broken(order: &Order, broken: Broken) -> Decision {
    match broken {
        Broken::Settled { hash } => {
            let because = FrozenBecause::SettledWithoutDecision;
            if order.state.is_frozen() {
                let recorded = Decision::on(order, Cause::HoldSeen).record(hash, Seen::Settled);
                return recorded.alarm(Alarm::Frozen(because));
            }
            let cause = Cause::SettledWithoutDecision;
            Decision::on(order, cause).record(hash, Seen::Settled).freeze(because)
        }
        Broken::Forgotten if order.state.is_frozen() => Decision::on(order, Cause::LateNews),
        Broken::Forgotten => {
            Decision::on(order, Cause::HoldForgotten).freeze(FrozenBecause::HoldForgotten)
        }
    }
}

/// The seller has paid, unless too little (D33), far too much (D10) or too late (D21). Whether it is too
/// late shows at the tip of the chain: until that is known, what LND said is recorded, and LND is asked
/// again.
pub(super) fn accepted(order: &Order, held: Held, env: &Env<'_>) -> Decision {
    let decision = Decision::on(order, Cause::HoldSeen).record(held.hash, held.seen());
    if is_below_asked(order, held.paid) {
        return Decision { cause: Cause::EscrowBelowAsked, ..decision }.below_asked();
    }
    if is_overpaid(order, held.paid) {
        return Decision { cause: Cause::EscrowOverpaid, ..decision }.abandoned_by(Side::Seller);
    }
    if held.warning_height(env.policy.escrow_margin) <= env.height {
        return Decision { cause: Cause::EscrowTooLate, ..decision }.abandoned_by(Side::Seller);
    }
    if !env.is_at_tip {
        return Decision { cause: Cause::TipUnknown, ..decision };
    }
    if order.destination.is_some() {
        return active(Decision { cause: Cause::EscrowPaid, ..decision }, held, None, None);
    }

    let (Some(buyer), Some(seller), Some(quote)) =
        (order.buyer(), order.seller(), order.terms.quote)
    else {
        return decision;
    };
    let until = env.now.after(env.policy.duty_window);
    let view = OrderView::bare(order, Status::WaitingBuyerInvoice, quote.to_pay_out());
    Decision { cause: Cause::EscrowPaidFirst, ..decision }
        .to(OrderState::AwaitingInvoice { escrow: Some(held), until })
        .tell(buyer, Notice::AddInvoice(view))
        .tell(seller, Notice::WaitingBuyerInvoice)
        .tell(buyer, Notice::AddInvoiceReputation(env.taker))
}

/// Less than what was asked, even by a millisat (D33).
fn is_below_asked(order: &Order, paid: Msats) -> bool {
    asked(order).is_none_or(|asked| paid < asked)
}

/// More than one percent over what was asked (D10).
fn is_overpaid(order: &Order, paid: Msats) -> bool {
    let asked = asked(order).unwrap_or_default();
    let most = asked.share(OVERPAYMENT).and_then(|tip| asked.checked_add(tip));
    most.is_none_or(|most| paid > most)
}

fn asked(order: &Order) -> Option<Msats> {
    order.terms.quote?.to_hold().to_msats()
}

/// The buyer's invoice is here; LND is asked whether the escrow still is (K-20).
pub(super) fn rely_on(
    order: &Order,
    hash: PaymentHash,
    invoice: Invoice,
    asked: Asked,
    env: &Env<'_>,
) -> Result<Decision, Undecided> {
    match env.hold_status(hash) {
        None => Err(Undecided::Ask(Question::HoldStatus { hash })),
        Some(HoldStatus::Accepted { paid, expires_at }) => {
            let held = Held { hash, paid, expires_at };
            if is_below_asked(order, paid) {
                let unpaid = Decision::on(order, Cause::EscrowBelowAsked).below_asked();
                return Ok(unpaid.came_too_late(asked));
            }
            if held.warning_height(env.policy.escrow_margin) <= env.height {
                let unpaid = Decision::on(order, Cause::EscrowTooLate).abandoned_by(Side::Seller);
                return Ok(unpaid.came_too_late(asked));
            }
            if !env.is_at_tip {
                return Err(Refusal::NotAllowedByStatus.into());
            }
            let mut decision = Decision::on(order, Cause::InvoiceGiven);
            let text = invoice.text.clone();
            decision.order.destination = Some(invoice);
            Ok(active(decision, held, asked.request_id, Some(text)))
        }
        Some(status) => Ok(hold::seen(order, hash, status, env)?.came_too_late(asked)),
    }
}

/// The trade is on: the buyer is told to send fiat (INV-1).
fn active(
    decision: Decision,
    held: Held,
    request_id: Option<u64>,
    buyer_invoice: Option<String>,
) -> Decision {
    let decision = decision.to(OrderState::Active { held });
    let order = decision.order.clone();
    let (Some(buyer), Some(seller), Some(quote)) =
        (order.buyer(), order.seller(), order.terms.quote)
    else {
        return decision;
    };
    let for_seller = OrderView::parties(&order, Status::Active, quote.to_hold());
    let for_buyer = OrderView::parties(&order, Status::Active, quote.to_pay_out());
    let for_buyer = OrderView { buyer_invoice, ..for_buyer };
    decision.tell(seller, Notice::BuyerTookOrder(for_seller)).answer(
        buyer,
        request_id,
        Notice::HoldInvoicePaymentAccepted(for_buyer),
    )
}

/// LND has the preimage, the sats are in the node, and the buyer is owed.
pub(super) fn settled(
    order: &Order,
    held: Held,
    request_id: Option<u64>,
    env: &Env<'_>,
) -> Decision {
    let mut decision = Decision::on(order, Cause::Settled).record(held.hash, Seen::Settled);
    let (Some(buyer), Some(seller), Some(quote)) =
        (order.buyer(), order.seller(), order.terms.quote)
    else {
        return decision;
    };
    let owed = quote.to_pay_out();
    decision.postings = income(&quote, held.paid);
    decision.order.payouts.push(Payout::owed(PayoutPurpose::Buyer, owed, env.now));
    let decision = decision
        .to(OrderState::PayingBuyer)
        .tell(buyer, Notice::Released)
        .answer(seller, request_id, Notice::HoldInvoicePaymentSettled)
        .tell(seller, Notice::Rate);
    payout::send(decision, PayoutPurpose::Buyer, env)
}

/// What came in, and whose it is: the buyer's part, both fees, and a tip if there was one. What an
/// escrow lacks that an older version accepted for less than was asked, the node bears.
fn income(quote: &Quote, paid: Msats) -> Vec<Posting> {
    let owed = quote.to_pay_out().to_msats().unwrap_or_default();
    let asked = quote.to_hold().to_msats().unwrap_or_default();
    let fees = asked.checked_sub(owed).unwrap_or_default();
    let tip = paid.checked_sub(asked).unwrap_or_default();
    let mut left = paid;
    let mut postings = Vec::new();
    for (credit, due) in [
        (LedgerAccount::Buyer, owed),
        (LedgerAccount::FeeIncome, fees),
        (LedgerAccount::OverpaymentIncome, tip),
    ] {
        let came = due.min(left);
        left = left.checked_sub(came).unwrap_or_default();
        let lacks = due.checked_sub(came).unwrap_or_default();
        for (debit, amount) in
            [(LedgerAccount::Lightning, came), (LedgerAccount::EscrowShortfall, lacks)]
        {
            if amount > Msats::ZERO {
                postings.push(Posting { debit, credit, amount });
            }
        }
    }
    postings
}

impl Decision {
    /// LND calls an escrow accepted that is not: it is given back as an unpaid one (D33).
    fn below_asked(self) -> Self {
        self.abandoned_by(Side::Seller).alarm(Alarm::EscrowBelowAsked)
    }
}
