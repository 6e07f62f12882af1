//! Planted faults: the core as somebody might have written it, had nobody looked.

use super::orders::{Beginning, long_ago};
use crate::{
    Cause, Command, Decision, Effect, Env, Fact, FailureReason, Held, HoldDecision, HoldStatus,
    Input, LnCommand, Observation, Order, OrderState, Outcome, PaymentStatus, PayoutPurpose,
    PayoutState, Request, Undecided,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// LND does not know it, so it failed.
    NotFoundMeansFailed,
    /// A new invoice is welcome while the old one may still be paid.
    TakesAnInvoiceWhilePaying,
    /// The old FAILED of a hash ends its new try (D20).
    OldFailedCounts,
    /// An unanswered send is sent again at once.
    ResendsWithoutQuiet,
    /// An expired invoice that LND does not know is given up at once (P8).
    GivesUpWithoutQuiet,
    /// A failed payout is never tried again.
    NeverRetries,
    /// An error that LND answers is taken for no answer, and sends are not counted (D39).
    RefusedMeansUnanswered,
    /// The first "not known" of an acknowledged payment freezes it.
    FreezesAtOnce,
    /// The decision to pay is saved, and nobody is told to do it.
    LosesTheSend,
    /// The buyer is owed when the seller says so.
    PaysBeforeSettled,
    /// A timeout ends the order and forgets the hold.
    ForgetsTheHold,
    /// A late payment starts the canceled trade again.
    RevivesTheDead,
    /// LND gave the sats back while we settled: not our decision, so it cannot be.
    IgnoresTheLoss,
    /// At the margin a trade is canceled, fiat or not.
    EndsQuietlyAfterFiat,
    /// A cancel is honoured while LND settles.
    CancelsWhileSettling,
    /// The preimage is there, so the escrow must be (K-20).
    AssumesTheEscrow,
    /// LND has the invoice already, so it can be paid: the shell's fault.
    AdoptsTheDead,
    /// A send that waited is begun, whatever became of its attempt meanwhile: the shell's fault, not
    /// the core's (P1).
    SendsWhatIsNotWanted,
    /// A send that waited is begun, whatever LND has come to know meanwhile: the shell's fault.
    SendsWithoutAsking,
}

/// Each with the complaint it deserves.
pub(super) const ALL: [(Mutant, Beginning, &str); 19] = {
    use Beginning::{Buy, FiatSent, Refusing, Sell};
    [
        (Mutant::NotFoundMeansFailed, FiatSent, "paid twice"),
        (Mutant::TakesAnInvoiceWhilePaying, FiatSent, "paid twice"),
        (Mutant::OldFailedCounts, FiatSent, "paid twice"),
        (Mutant::ResendsWithoutQuiet, FiatSent, "frozen for nothing"),
        (Mutant::GivesUpWithoutQuiet, FiatSent, "paid twice"),
        (Mutant::NeverRetries, FiatSent, "stuck"),
        (Mutant::RefusedMeansUnanswered, Refusing, "stuck"),
        (Mutant::FreezesAtOnce, FiatSent, "frozen for nothing"),
        (Mutant::LosesTheSend, FiatSent, "stuck"),
        (Mutant::PaysBeforeSettled, FiatSent, "owed before LND settled"),
        (Mutant::ForgetsTheHold, Sell, "nobody returns the sats"),
        (Mutant::RevivesTheDead, Sell, "took and returned"),
        (Mutant::IgnoresTheLoss, FiatSent, "stuck"),
        (Mutant::EndsQuietlyAfterFiat, FiatSent, "fiat was sent, and the trade just ended"),
        (Mutant::CancelsWhileSettling, FiatSent, "took and returned"),
        (Mutant::AssumesTheEscrow, Buy, "told to pay fiat for an escrow that is gone"),
        (Mutant::AdoptsTheDead, Sell, "told to pay an invoice that is over"),
        (Mutant::SendsWhatIsNotWanted, FiatSent, "paid twice"),
        (Mutant::SendsWithoutAsking, FiatSent, "paid twice"),
    ]
};

/// The core, with or without a fault.
pub(super) fn decide(
    mutant: Option<Mutant>,
    order: &Order,
    input: Input,
    env: &Env<'_>,
) -> Result<Decision, Undecided> {
    let Some(mutant) = mutant else { return crate::decide(order, input, env) };
    let (order, input) = before(mutant, order.clone(), input);
    if mutant == Mutant::AssumesTheEscrow
        && let (Input::User(Request { command: Command::AddInvoice { .. }, .. }), Some(hash)) =
            (&input, order.state.hold())
    {
        let facts = [Fact::HoldSeen { hash, status: crate::fixture::ACCEPTED }];
        return crate::decide(&order, input, &Env { facts: &facts, ..*env });
    }
    if let Some(decision) = instead(mutant, &order, &input) {
        return Ok(decision);
    }
    let decision = crate::decide(&order, input.clone(), env)?;
    after(mutant, &order, &input, decision, env)
}

/// Faults that read the world wrongly.
fn before(mutant: Mutant, mut order: Order, input: Input) -> (Order, Input) {
    let mut input = input;
    let is_sending = order
        .payout(PayoutPurpose::Buyer)
        .is_some_and(|payout| payout.state == PayoutState::Sending);
    let is_at_margin = matches!(order.state, OrderState::FiatSent { .. });
    if let (Mutant::EndsQuietlyAfterFiat, Input::Deadline, true) = (mutant, &input, is_at_margin)
        && let OrderState::FiatSent { held, .. } = order.state
    {
        order.state = OrderState::Active { held };
    }
    let Some(payout) = order.payout_mut(PayoutPurpose::Buyer) else { return (order, input) };
    let Some(attempt) = &mut payout.attempt else { return (order, input) };
    let is_unknown = matches!(
        input,
        Input::Lightning(Observation::Payment { status: PaymentStatus::Unknown, .. })
    );
    if mutant == Mutant::RefusedMeansUnanswered {
        payout.failed_sends = None;
        if let Input::Lightning(Observation::PayoutRefused { hash, .. }) = input {
            input = Input::Lightning(Observation::PayoutUnanswered { hash });
        }
    }
    let is_late = attempt.expires_at <= crate::fixture::NOW;
    match mutant {
        Mutant::NotFoundMeansFailed if is_unknown && is_sending => {
            let next = attempt.base_index.saturating_add(1);
            let index = if attempt.acked { attempt.payment_index } else { next };
            let reason = FailureReason::IncorrectPaymentDetails;
            let status = PaymentStatus::Failed { index, reason };
            input = Input::Lightning(Observation::Payment { hash: attempt.hash, status });
        }
        Mutant::OldFailedCounts => attempt.base_index = 0,
        Mutant::ResendsWithoutQuiet if attempt.unanswered_since.is_some() => {
            attempt.unanswered_since = Some(long_ago());
        }
        Mutant::GivesUpWithoutQuiet if is_unknown && !attempt.acked && is_late => {
            attempt.unanswered_since = Some(long_ago());
            attempt.missing_since = Some(long_ago());
        }
        Mutant::FreezesAtOnce if is_unknown && attempt.acked => {
            attempt.missing_since = Some(long_ago());
        }
        Mutant::TakesAnInvoiceWhilePaying if is_sending => {
            if let Input::User(Request { command: Command::AddInvoice { .. }, .. }) = input {
                payout.state = PayoutState::NeedsInvoice;
            }
        }
        _ => {}
    }
    (order, input)
}

/// Faults that decide something else altogether.
fn instead(mutant: Mutant, order: &Order, input: &Input) -> Option<Decision> {
    let mut decision = Decision::on(order, Cause::LateNews);
    match (mutant, &order.state, input) {
        (Mutant::NeverRetries, OrderState::PayingBuyer, Input::Deadline)
        | (
            Mutant::IgnoresTheLoss,
            OrderState::Settling { .. },
            Input::Lightning(Observation::Hold { status: HoldStatus::Canceled, .. }),
        ) => Some(decision),
        (
            Mutant::RevivesTheDead,
            OrderState::Ended(Outcome::Canceled),
            Input::Lightning(Observation::Hold {
                hash,
                status: HoldStatus::Accepted { paid, expires_at },
            }),
        ) if order.taker.is_some() && order.destination.is_some() => {
            decision.hold_mut(*hash)?.decision = None;
            let held = Held { hash: *hash, paid: *paid, expires_at: *expires_at };
            decision.order.state = OrderState::Active { held };
            Some(decision)
        }
        (
            Mutant::CancelsWhileSettling,
            OrderState::Settling { held, .. },
            Input::User(Request { command: Command::Cancel, .. }),
        ) => {
            let hash = held.hash;
            decision.hold_mut(hash)?.decision = Some(HoldDecision::Cancel);
            decision.order.state = OrderState::Ended(Outcome::Canceled);
            decision.effects.push(Effect::Lightning(LnCommand::EndHold { hash }));
            Some(decision)
        }
        _ => None,
    }
}

/// Faults that do half of it, or too much.
fn after(
    mutant: Mutant,
    order: &Order,
    input: &Input,
    mut decision: Decision,
    env: &Env<'_>,
) -> Result<Decision, Undecided> {
    let is = |wanted: fn(&LnCommand) -> bool| move |effect: &Effect| matches!(effect, Effect::Lightning(command) if wanted(command));
    match (mutant, input) {
        (Mutant::ForgetsTheHold, Input::Deadline)
            if matches!(order.state, OrderState::AwaitingHold { .. }) =>
        {
            let ends = is(|command| matches!(command, LnCommand::EndHold { .. }));
            decision.effects.retain(|effect| !ends(effect));
        }
        (Mutant::LosesTheSend, _) => {
            let sends = is(|command| matches!(command, LnCommand::SendPayout { .. }));
            decision.effects.retain(|effect| !sends(effect));
        }
        (Mutant::PaysBeforeSettled, Input::User(Request { command: Command::Release, .. })) => {
            let hash = decision.order.state.hold();
            if let Some(hash) = hash {
                let status = HoldStatus::Settled;
                let news = Input::Lightning(Observation::Hold { hash, status });
                let effects = decision.effects.clone();
                decision = crate::decide(&decision.order, news, env)?;
                decision.effects.splice(0..0, effects);
            }
        }
        _ => {}
    }
    Ok(decision)
}
