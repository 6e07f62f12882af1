//! The seller's sats: LND's word about them, and what they are good for: T8 to T12, T27, T29, T34.

use super::{Undecided, expiry, hold, payout};
use crate::policy::OVERPAYMENT;
use crate::{
    Alarm, Cause, Decision, Env, FrozenBecause, Held, HoldStatus, Invoice, Kind, LedgerAccount,
    Msats, Notice, Order, OrderState, OrderView, PaymentHash, Payout, PayoutPurpose, Posting,
    Question, Quote, Refusal, Seen, Side, Status, TradeKey,
};

/// T8 and T9 are complete, and both sides may know.
pub(super) fn opened(
    mut decision: Decision,
    hash: PaymentHash,
    bolt11: String,
    env: &Env<'_>,
) -> Decision {
    let order = decision.order.clone();
    let preparing = match &order.state {
        OrderState::PreparingHold(preparing) if preparing.hash == hash => preparing,
        OrderState::PreparingHold(_)
        | OrderState::Pending
        | OrderState::AwaitingHold { .. }
        | OrderState::AwaitingInvoice { .. }
        | OrderState::Active { .. }
        | OrderState::FiatSent { .. }
        | OrderState::Settling { .. }
        | OrderState::PayingBuyer
        | OrderState::Frozen { .. }
        | OrderState::Ended(_) => return decision,
    };
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
    let view = OrderView::bare(&order, Status::WaitingPayment, quote.to_hold());
    decision
        .answer_indexed(seller, to_seller, Notice::PayInvoice { order: view, bolt11 })
        .answer_indexed(buyer, to_buyer, Notice::WaitingSellerToPay)
}

/// We decided to settle: now the sats are ours and the buyer is owed (P0), or they are lost.
pub(super) fn settling(order: &Order, hash: PaymentHash, news: Seen, env: &Env<'_>) -> Decision {
    let recorded = Decision::on(order, Cause::LateNews).record(hash, news);
    let (held, request_id) = match &order.state {
        OrderState::Settling { held, request_id, .. } if held.hash == hash => (*held, *request_id),
        OrderState::Settling { .. }
        | OrderState::Pending
        | OrderState::PreparingHold(_)
        | OrderState::AwaitingHold { .. }
        | OrderState::AwaitingInvoice { .. }
        | OrderState::Active { .. }
        | OrderState::FiatSent { .. }
        | OrderState::PayingBuyer
        | OrderState::Frozen { .. }
        | OrderState::Ended(_) => return recorded,
    };
    match news {
        Seen::Settled => settled(order, held, request_id, env),
        Seen::Canceled => Decision { cause: Cause::EscrowLostOnSettle, ..recorded }
            .tell_both(&Notice::HoldInvoicePaymentCanceled)
            .freeze(FrozenBecause::EscrowLost),
        Seen::Wanted | Seen::Open | Seen::Accepted { .. } => recorded,
    }
}

/// Nothing was decided: the order stands on it, or a person looks at it.
pub(super) fn undecided(
    order: &Order,
    hash: PaymentHash,
    status: HoldStatus,
    news: Seen,
    env: &Env<'_>,
) -> Decision {
    let recorded = Decision::on(order, Cause::HoldSeen).record(hash, news);
    match status {
        HoldStatus::Open => recorded,
        HoldStatus::Accepted { paid, expires_at } => match &order.state {
            OrderState::AwaitingHold { hash: of, .. } if *of == hash => {
                accepted(order, Held { hash, paid, expires_at }, env)
            }
            OrderState::AwaitingHold { .. }
            | OrderState::Pending
            | OrderState::PreparingHold(_)
            | OrderState::AwaitingInvoice { .. }
            | OrderState::Active { .. }
            | OrderState::FiatSent { .. }
            | OrderState::Settling { .. }
            | OrderState::PayingBuyer
            | OrderState::Frozen { .. }
            | OrderState::Ended(_) => recorded,
        },
        HoldStatus::Canceled => gone(order, recorded, env),
        HoldStatus::Settled if order.state.is_frozen() => {
            recorded.alarm(Alarm::Frozen(FrozenBecause::SettledWithoutDecision))
        }
        HoldStatus::Settled => Decision { cause: Cause::SettledWithoutDecision, ..recorded }
            .freeze(FrozenBecause::SettledWithoutDecision),
        // Not recorded as canceled: LND did not say so.
        HoldStatus::Unknown if order.state.is_frozen() => Decision::on(order, Cause::LateNews),
        HoldStatus::Unknown => {
            Decision::on(order, Cause::HoldForgotten).freeze(FrozenBecause::HoldForgotten)
        }
    }
}

/// LND canceled it by itself.
fn gone(order: &Order, recorded: Decision, env: &Env<'_>) -> Decision {
    let by = |cause| Decision { cause, ..recorded.clone() };
    match &order.state {
        OrderState::PreparingHold(preparing) => expiry::undo(by(Cause::HoldRefused), preparing),
        OrderState::AwaitingHold { .. } => by(Cause::HoldCanceled).abandoned_by(Side::Seller),
        // Not recorded, so that LND is asked again: a `fiat-sent` may still have to be read (D40).
        OrderState::Active { held } if !env.has_heard_all_about(*held) => {
            Decision::on(order, Cause::MessagesUnread)
        }
        OrderState::AwaitingInvoice { .. } | OrderState::Active { .. } => {
            by(Cause::EscrowLostBeforeFiat)
                .tell_both(&Notice::HoldInvoicePaymentCanceled)
                .canceled(None)
        }
        OrderState::FiatSent { .. } => by(Cause::EscrowLostAfterFiat)
            .tell_both(&Notice::HoldInvoicePaymentCanceled)
            .freeze(FrozenBecause::EscrowLost),
        OrderState::Pending
        | OrderState::Settling { .. }
        | OrderState::PayingBuyer
        | OrderState::Frozen { .. }
        | OrderState::Ended(_) => recorded,
    }
}

/// The seller has paid: T10 or T11, unless it paid too little (D33), far too much (D10) or too late
/// (D21). Whether it is too late shows at the tip of the chain: until that is known, LND's word is kept
/// and asked for again.
fn accepted(order: &Order, held: Held, env: &Env<'_>) -> Decision {
    let seen = Seen::Accepted { paid: held.paid, expires_at: held.expires_at };
    let decision = Decision::on(order, Cause::HoldSeen).record(held.hash, seen);
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

/// T12: the buyer's invoice is here; the escrow must still be (K-20).
pub(super) fn rely_on(
    order: &Order,
    hash: PaymentHash,
    invoice: Invoice,
    sender: TradeKey,
    request_id: Option<u64>,
    env: &Env<'_>,
) -> Result<Decision, Undecided> {
    match env.hold_status(hash) {
        None => Err(Undecided::Ask(Question::HoldStatus { hash })),
        Some(HoldStatus::Accepted { paid, expires_at }) => {
            let held = Held { hash, paid, expires_at };
            if is_below_asked(order, paid) {
                let unpaid = Decision::on(order, Cause::EscrowBelowAsked).below_asked();
                return Ok(unpaid.came_too_late(sender, request_id));
            }
            if held.warning_height(env.policy.escrow_margin) <= env.height {
                let unpaid = Decision::on(order, Cause::EscrowTooLate).abandoned_by(Side::Seller);
                return Ok(unpaid.came_too_late(sender, request_id));
            }
            if !env.is_at_tip {
                return Err(Refusal::NotAllowedByStatus.into());
            }
            let mut decision = Decision::on(order, Cause::InvoiceGiven);
            let text = invoice.text.clone();
            decision.order.destination = Some(invoice);
            Ok(active(decision, held, request_id, Some(text)))
        }
        Some(status) => Ok(hold::seen(order, hash, status, env).came_too_late(sender, request_id)),
    }
}

/// The trade is on: fiat may be sent (INV-1).
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

/// T29, T34: LND has the preimage, the sats are in the node, the buyer is owed.
fn settled(order: &Order, held: Held, request_id: Option<u64>, env: &Env<'_>) -> Decision {
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
/// escrow lacks that was accepted for less than was asked, as before D33, the node bears.
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
