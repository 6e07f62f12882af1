//! The table: in each state, which inputs move an order, and where to.
//!
//! One function for each state. Above each arm stand the states that it can lead to and their rules; the
//! function it calls has the guards, and carries it out. The last arm of each lists the inputs that do
//! not move the order there, so that a new input does not compile before every state has an answer.
//! `docs/transitions.md` shows the same table with every message, call and posting.

use super::escrow::Broken;
use super::payout::News;
use super::{Asked, Undecided, cancel, escrow, expiry, fiat, hold, invoice, payout, take};
use crate::{
    Cause, Decision, Destination, Env, Held, HoldSecret, HorizonWarning, Order, OrderState,
    PaymentHash, PayoutPurpose, Preparing, Refusal, Seen, Timestamp,
};

/// What can move an order. News from LND has its purpose already: of a hold only what an escrow means
/// for the trade, of a payment what is owed to the buyer.
#[derive(Debug)]
pub(super) enum Event {
    TakeSell {
        asked: Asked,
        destination: Option<Destination>,
        secret: HoldSecret,
    },
    TakeBuy {
        asked: Asked,
        secret: HoldSecret,
    },
    AddInvoice {
        asked: Asked,
        destination: Destination,
        secret: HoldSecret,
    },
    FiatSent(Asked),
    Release(Asked),
    Cancel(Asked),
    /// LND has the hold invoice.
    HoldOpened {
        hash: PaymentHash,
        bolt11: String,
    },
    /// LND has accepted the seller's payment, and nothing is decided on it.
    EscrowAccepted(Held),
    /// LND canceled the hold by itself.
    EscrowGone {
        hash: PaymentHash,
    },
    /// LND settled without our decision, or does not know the hold any more.
    EscrowBroken(Broken),
    /// LND has settled, as decided.
    EscrowSettled {
        hash: PaymentHash,
    },
    /// LND canceled although we decided to settle.
    EscrowLost {
        hash: PaymentHash,
    },
    BuyerPayout {
        hash: PaymentHash,
        news: News,
    },
    /// The state's deadline, in time or in blocks, has passed.
    Due,
}

type Decided = Result<Decision, Undecided>;

pub(super) fn apply(order: &Order, event: Event, env: &Env<'_>) -> Decided {
    match &order.state {
        OrderState::Pending => pending(order, event, env),
        OrderState::PreparingHold(preparing) => preparing_hold(order, preparing, event, env),
        OrderState::AwaitingHold { hash, .. } => awaiting_hold(order, *hash, event, env),
        OrderState::AwaitingInvoice { escrow: None, until } => {
            awaiting_invoice(order, *until, event, env)
        }
        OrderState::AwaitingInvoice { escrow: Some(escrow), .. } => {
            awaiting_invoice_after_hold(order, *escrow, event, env)
        }
        OrderState::Active { held } => active(order, *held, event, env),
        OrderState::FiatSent { held, warned } => fiat_sent(order, *held, *warned, event, env),
        OrderState::Settling { held, request_id, .. } => {
            settling(order, *held, *request_id, event, env)
        }
        OrderState::PayingBuyer => paying_buyer(order, event, env),
        OrderState::Frozen { .. } => frozen(order, event, env),
        OrderState::Ended(_) => ended(order, event, env),
    }
}

/// In the book.
fn pending(order: &Order, event: Event, env: &Env<'_>) -> Decided {
    match event {
        // T7: AwaitingInvoice. T8, if the buyer named an invoice: PreparingHold.
        Event::TakeSell { asked, destination, secret } => {
            Ok(take::take_sell(order, asked, destination, secret, env)?)
        }
        // T8: PreparingHold.
        Event::TakeBuy { asked, secret } => Ok(take::take_buy(order, asked, secret, env)?),
        // T21: Ended.
        Event::Cancel(asked) => Ok(cancel::untaken(order, asked)?),
        // T23: Ended.
        Event::Due => Ok(expiry::expired(order)),
        Event::AddInvoice { .. }
        | Event::FiatSent(_)
        | Event::Release(_)
        | Event::HoldOpened { .. }
        | Event::EscrowAccepted(_)
        | Event::EscrowGone { .. }
        | Event::EscrowBroken(_)
        | Event::EscrowSettled { .. }
        | Event::EscrowLost { .. }
        | Event::BuyerPayout { .. } => event.without_a_move(order),
    }
}

/// Taken; LND is asked for the hold invoice.
fn preparing_hold(order: &Order, preparing: &Preparing, event: Event, env: &Env<'_>) -> Decided {
    match event {
        // T8, T9: AwaitingHold.
        Event::HoldOpened { hash, bolt11 } if hash == preparing.hash => {
            Ok(escrow::opened(order, preparing, bolt11, env))
        }
        // D17: back to Pending or AwaitingInvoice.
        Event::EscrowGone { hash } => Ok(escrow::refused(order, preparing, hash)),
        // D17: back to Pending or AwaitingInvoice.
        Event::Due => Ok(expiry::hold_unanswered(order, preparing)),
        // T13: Pending. T14: Ended.
        Event::Cancel(asked) => Ok(cancel::before_hold(order, asked)?),
        Event::TakeSell { .. }
        | Event::TakeBuy { .. }
        | Event::AddInvoice { .. }
        | Event::FiatSent(_)
        | Event::Release(_)
        | Event::HoldOpened { .. }
        | Event::EscrowAccepted(_)
        | Event::EscrowBroken(_)
        | Event::EscrowSettled { .. }
        | Event::EscrowLost { .. }
        | Event::BuyerPayout { .. } => event.without_a_move(order),
    }
}

/// The seller is to pay the hold invoice.
fn awaiting_hold(order: &Order, hash: PaymentHash, event: Event, env: &Env<'_>) -> Decided {
    match event {
        // T10: Active. T11: AwaitingInvoice. Too little, too much or too late: Pending or Ended.
        Event::EscrowAccepted(held) if held.hash == hash => Ok(escrow::accepted(order, held, env)),
        // T15: Pending. T16: Ended.
        Event::EscrowGone { hash: gone } => Ok(escrow::unpaid(order, gone)),
        // T15: Pending. T16: Ended. C7, if LND says that it is paid: as EscrowAccepted.
        Event::Due => expiry::abandoned_unless_paid(order, hash, env),
        // T13: Pending. T14: Ended. C6, if LND says that it is paid: as EscrowAccepted.
        Event::Cancel(asked) => cancel::unless_paid(order, hash, asked, env),
        Event::TakeSell { .. }
        | Event::TakeBuy { .. }
        | Event::AddInvoice { .. }
        | Event::FiatSent(_)
        | Event::Release(_)
        | Event::HoldOpened { .. }
        | Event::EscrowAccepted(_)
        | Event::EscrowBroken(_)
        | Event::EscrowSettled { .. }
        | Event::EscrowLost { .. }
        | Event::BuyerPayout { .. } => event.without_a_move(order),
    }
}

/// The buyer is to name an invoice, and the seller pays then.
fn awaiting_invoice(order: &Order, until: Timestamp, event: Event, env: &Env<'_>) -> Decided {
    match event {
        // T9: PreparingHold.
        Event::AddInvoice { asked, destination, secret } => {
            Ok(invoice::before_hold(order, until, asked, destination, secret, env)?)
        }
        // T19: Pending. T20: Ended.
        Event::Due => Ok(expiry::without_invoice(order)),
        // T17: Pending. T18: Ended.
        Event::Cancel(asked) => Ok(cancel::before_invoice(order, asked)?),
        Event::TakeSell { .. }
        | Event::TakeBuy { .. }
        | Event::FiatSent(_)
        | Event::Release(_)
        | Event::HoldOpened { .. }
        | Event::EscrowAccepted(_)
        | Event::EscrowGone { .. }
        | Event::EscrowBroken(_)
        | Event::EscrowSettled { .. }
        | Event::EscrowLost { .. }
        | Event::BuyerPayout { .. } => event.without_a_move(order),
    }
}

/// The seller has paid, and the buyer is to name an invoice.
fn awaiting_invoice_after_hold(
    order: &Order,
    escrow: Held,
    event: Event,
    env: &Env<'_>,
) -> Decided {
    match event {
        // T12: Active. If LND says that the escrow is no more: Pending or Ended.
        Event::AddInvoice { asked, destination, .. } => {
            invoice::after_hold(order, escrow, asked, destination, env)
        }
        // T19: Pending. T20: Ended.
        Event::Due => Ok(expiry::without_invoice(order)),
        // T17: Pending. T18: Ended.
        Event::Cancel(asked) => Ok(cancel::before_invoice(order, asked)?),
        // C13: Ended.
        Event::EscrowGone { hash } => Ok(escrow::lost_before_fiat(order, hash)),
        Event::TakeSell { .. }
        | Event::TakeBuy { .. }
        | Event::FiatSent(_)
        | Event::Release(_)
        | Event::HoldOpened { .. }
        | Event::EscrowAccepted(_)
        | Event::EscrowBroken(_)
        | Event::EscrowSettled { .. }
        | Event::EscrowLost { .. }
        | Event::BuyerPayout { .. } => event.without_a_move(order),
    }
}

/// The trade is on: the buyer is to send the fiat.
fn active(order: &Order, held: Held, event: Event, env: &Env<'_>) -> Decided {
    match event {
        // T24: FiatSent.
        Event::FiatSent(asked) => Ok(fiat::sent(order, held, asked)?),
        // T27: Ended, once every message that was sent in time is read (D40).
        Event::Due => Ok(expiry::at_margin(order, held, env)),
        // C13: Ended, likewise.
        Event::EscrowGone { hash } => Ok(escrow::lost_while_active(order, held, hash, env)),
        Event::TakeSell { .. }
        | Event::TakeBuy { .. }
        | Event::AddInvoice { .. }
        | Event::Release(_)
        | Event::Cancel(_)
        | Event::HoldOpened { .. }
        | Event::EscrowAccepted(_)
        | Event::EscrowBroken(_)
        | Event::EscrowSettled { .. }
        | Event::EscrowLost { .. }
        | Event::BuyerPayout { .. } => event.without_a_move(order),
    }
}

/// The seller is to release.
fn fiat_sent(
    order: &Order,
    held: Held,
    warned: HorizonWarning,
    event: Event,
    env: &Env<'_>,
) -> Decided {
    match event {
        // T29: Settling.
        Event::Release(asked) => Ok(fiat::release(order, held, warned, asked)),
        // C13: Frozen.
        Event::EscrowGone { hash } => Ok(escrow::lost_after_fiat(order, hash)),
        // D21: stays, with an alarm.
        Event::Due => Ok(expiry::horizon(order, held, env)),
        Event::TakeSell { .. }
        | Event::TakeBuy { .. }
        | Event::AddInvoice { .. }
        | Event::FiatSent(_)
        | Event::Cancel(_)
        | Event::HoldOpened { .. }
        | Event::EscrowAccepted(_)
        | Event::EscrowBroken(_)
        | Event::EscrowSettled { .. }
        | Event::EscrowLost { .. }
        | Event::BuyerPayout { .. } => event.without_a_move(order),
    }
}

/// Released; LND is asked to settle.
fn settling(
    order: &Order,
    held: Held,
    request_id: Option<u64>,
    event: Event,
    env: &Env<'_>,
) -> Decided {
    match event {
        // T29, T34: PayingBuyer.
        Event::EscrowSettled { hash } if hash == held.hash => {
            Ok(escrow::settled(order, held, request_id, env))
        }
        // E2: Frozen.
        Event::EscrowLost { hash } if hash == held.hash => Ok(escrow::lost_on_settle(order, hash)),
        // D21: stays, with an alarm.
        Event::Due => Ok(expiry::horizon(order, held, env)),
        Event::FiatSent(asked) => Err(fiat::sent_too_late(order, asked).into()),
        Event::TakeSell { .. }
        | Event::TakeBuy { .. }
        | Event::AddInvoice { .. }
        | Event::Release(_)
        | Event::Cancel(_)
        | Event::HoldOpened { .. }
        | Event::EscrowAccepted(_)
        | Event::EscrowGone { .. }
        | Event::EscrowBroken(_)
        | Event::EscrowSettled { .. }
        | Event::EscrowLost { .. }
        | Event::BuyerPayout { .. } => event.without_a_move(order),
    }
}

/// The escrow is settled and the buyer is owed.
fn paying_buyer(order: &Order, event: Event, env: &Env<'_>) -> Decided {
    match event {
        // T32, paid: Ended. Nothing that we may do pays it: Frozen.
        Event::BuyerPayout { hash, news } => Ok(payout::news(order, hash, news, env)),
        // P7: stays, and pays the new invoice.
        Event::AddInvoice { asked, destination, .. } => {
            payout::another_destination(order, PayoutPurpose::Buyer, asked, destination, env)
        }
        Event::TakeSell { .. }
        | Event::TakeBuy { .. }
        | Event::FiatSent(_)
        | Event::Release(_)
        | Event::Cancel(_)
        | Event::HoldOpened { .. }
        | Event::EscrowAccepted(_)
        | Event::EscrowGone { .. }
        | Event::EscrowBroken(_)
        | Event::EscrowSettled { .. }
        | Event::EscrowLost { .. }
        | Event::Due => event.without_a_move(order),
    }
}

/// A person decides.
fn frozen(order: &Order, event: Event, env: &Env<'_>) -> Decided {
    match event {
        // T32, paid after all: Ended. Failed after all: PayingBuyer.
        Event::BuyerPayout { hash, news } => Ok(payout::news(order, hash, news, env)),
        Event::FiatSent(asked) => Err(fiat::sent_too_late(order, asked).into()),
        Event::TakeSell { .. }
        | Event::TakeBuy { .. }
        | Event::AddInvoice { .. }
        | Event::Release(_)
        | Event::Cancel(_)
        | Event::HoldOpened { .. }
        | Event::EscrowAccepted(_)
        | Event::EscrowGone { .. }
        | Event::EscrowBroken(_)
        | Event::EscrowSettled { .. }
        | Event::EscrowLost { .. }
        | Event::Due => event.without_a_move(order),
    }
}

/// Paid out, canceled or expired.
fn ended(order: &Order, event: Event, env: &Env<'_>) -> Decided {
    match event {
        // P7: stays, with an alarm if an invoice is paid that had been given up.
        Event::BuyerPayout { hash, news } => Ok(payout::news(order, hash, news, env)),
        Event::TakeSell { .. }
        | Event::TakeBuy { .. }
        | Event::AddInvoice { .. }
        | Event::FiatSent(_)
        | Event::Release(_)
        | Event::Cancel(_)
        | Event::HoldOpened { .. }
        | Event::EscrowAccepted(_)
        | Event::EscrowGone { .. }
        | Event::EscrowBroken(_)
        | Event::EscrowSettled { .. }
        | Event::EscrowLost { .. }
        | Event::Due => event.without_a_move(order),
    }
}

impl Event {
    /// A request is refused and news is recorded. Only a broken escrow moves the order, in every state:
    /// to Frozen.
    fn without_a_move(self, order: &Order) -> Decided {
        match self {
            Self::TakeSell { .. } | Self::TakeBuy { .. } | Self::FiatSent(_) => {
                Err(Refusal::InvalidOrderStatus.into())
            }
            Self::AddInvoice { .. } | Self::Release(_) => Err(Refusal::NotAllowedByStatus.into()),
            Self::Cancel(asked) => Err(cancel::refusal(order, asked).into()),
            Self::HoldOpened { hash, bolt11 } => Ok(hold::record_opened(order, hash, bolt11)),
            Self::EscrowAccepted(held) => {
                Ok(Decision::on(order, Cause::HoldSeen).record(held.hash, held.seen()))
            }
            Self::EscrowGone { hash } => {
                Ok(Decision::on(order, Cause::HoldSeen).record(hash, Seen::Canceled))
            }
            Self::EscrowBroken(broken) => Ok(escrow::broken(order, broken)),
            Self::EscrowSettled { hash } => {
                Ok(Decision::on(order, Cause::LateNews).record(hash, Seen::Settled))
            }
            Self::EscrowLost { hash } => {
                Ok(Decision::on(order, Cause::LateNews).record(hash, Seen::Canceled))
            }
            Self::BuyerPayout { .. } => Ok(Decision::on(order, Cause::LateNews)),
            Self::Due => Ok(Decision::on(order, Cause::NothingDue)),
        }
    }
}
