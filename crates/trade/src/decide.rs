//! What every input does to an order. `table` shows it for each state; the other files carry it out.
//!
//! News from LND may be late or repeated. That is never an error: it changes nothing, or it ends a
//! wait. A refusal changes nothing and carries one reason; guards that concern *who* stand before
//! guards that concern *when*, but where the protocol says otherwise.

mod cancel;
mod clock;
mod create;
mod escrow;
mod expiry;
mod fiat;
mod hold;
mod invoice;
mod parts;
mod payout;
mod table;
mod take;
#[cfg(test)]
mod tests;

pub use create::create;

use payout::News;
use table::Event;

use crate::{
    Command, Decision, Env, Fact, HoldStatus, Input, Kind, Observation, Order, PaymentHash,
    Question, Refusal, Request, Sender,
};

/// Why there is no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// Ask outside any transaction, then decide again with the fact in `env`. Without an answer a
    /// user is refused and a timer waits for its next tick.
    #[error("{0:?} has to be asked first")]
    Ask(Question),
}

/// Decides what `input` does to `order`.
///
/// # Errors
/// [`Undecided::Refused`] if the rules say no, [`Undecided::Ask`] if the decision needs LND's word.
pub fn decide(order: &Order, input: Input, env: &Env<'_>) -> Result<Decision, Undecided> {
    let decision = match input {
        Input::User(request) => command(order, request, env)?,
        Input::Lightning(observation) => observe(order, observation, env)?,
        Input::Deadline => expiry::deadline(order, env)?,
        Input::ExtendDeadlines { offline_for } => expiry::extend_deadlines(order, offline_for),
        Input::ClockCorrected => clock::corrected(order, env),
    };
    debug_assert_eq!(crate::invariants::check(&decision.order), Ok(()), "after {}", decision.cause);
    Ok(decision)
}

/// Who asks, and for which answer.
#[derive(Debug, Clone, Copy)]
struct Asked {
    sender: Sender,
    request_id: Option<u64>,
}

/// Refuses whoever may never ask this of this order; the rest depends on its state.
fn command(order: &Order, request: Request, env: &Env<'_>) -> Result<Decision, Undecided> {
    let Request { sender, request_id, command } = request;
    let asked = Asked { sender, request_id };
    let event = match command {
        Command::TakeSell { destination, secret } => {
            take::may_take(order, Kind::Sell, env)?;
            Event::TakeSell { asked, destination, secret }
        }
        Command::TakeBuy { secret } => {
            take::may_take(order, Kind::Buy, env)?;
            Event::TakeBuy { asked, secret }
        }
        Command::AddInvoice { destination, secret } => {
            invoice::may_give(order, asked)?;
            Event::AddInvoice { asked, destination, secret }
        }
        Command::FiatSent => Event::FiatSent(asked),
        Command::Release => {
            fiat::may_release(order, asked)?;
            Event::Release(asked)
        }
        Command::Cancel => Event::Cancel(asked),
    };
    table::apply(order, event, env)
}

/// What the hold or the payment is for comes first, then the order's state.
fn observe(order: &Order, observation: Observation, env: &Env<'_>) -> Result<Decision, Undecided> {
    let (hash, news) = match observation {
        Observation::HoldOpened { hash, bolt11 } => return hold::opened(order, hash, bolt11, env),
        Observation::Hold { hash, status } => return hold::seen(order, hash, status, env),
        Observation::PayoutUnanswered { hash } => (hash, News::Unanswered),
        Observation::PayoutRefused { hash, because } => (hash, News::Refused { because }),
        Observation::Payment { hash, status } => (hash, News::Status(status)),
        Observation::Htlc { hash, index, is_missing } => {
            (hash, News::HtlcSearched { index, is_missing })
        }
    };
    payout::observed(order, hash, news, env)
}

impl Env<'_> {
    fn hold_status(&self, hash: PaymentHash) -> Option<HoldStatus> {
        self.facts
            .iter()
            .find_map(|Fact::HoldSeen { hash: of, status }| (*of == hash).then_some(*status))
    }
}
