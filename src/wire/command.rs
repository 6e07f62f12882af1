//! From a message to the command in it.

use trade::{Command, Destination, HoldSecret, NewOrder, OrderId, Refusal};

use super::action::{Action, Direction};
use super::message::{Body, Message};
use super::payload::{Payload, SmallOrder};

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedRequest {
    NewOrder(NewOrder),
    Order { id: OrderId, command: Command },
}

/// Why a message has no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Declined {
    /// Not a request, or one that the protocol's own library would not have sent: no reply.
    #[error("not a request")]
    Ignored,
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
}

/// Reads a request of an authenticated sender, whatever its wrapper. `decode` reads the destination
/// that a buyer gives for the payout; `draw` draws the secret of a hold where one may be needed.
///
/// # Errors
/// [`Declined::Ignored`] for malformed requests and for messages that only daemons send; a refusal
/// for all other requests that cannot be carried out, `invalid_action` for those that are not built
/// yet.
pub fn read(
    message: &Message,
    decode: impl Fn(&str) -> Destination,
    draw: impl FnOnce() -> HoldSecret,
) -> Result<ParsedRequest, Declined> {
    let Body { action, payload, id, .. } = &message.body;
    // Upstream answers these two even if they are malformed.
    let always_answered = matches!(action, Action::ExportReputation | Action::ImportReputation);
    if action.direction() == Direction::Out || !(message.is_well_formed() || always_answered) {
        return Err(Declined::Ignored);
    }
    let command = match (action, payload) {
        (Action::NewOrder, Some(Payload::Order(order))) => {
            return Ok(ParsedRequest::NewOrder(new_order(order, decode)));
        }
        (Action::TakeSell, None | Some(Payload::Amount(_))) => {
            Command::TakeSell { destination: None, secret: draw() }
        }
        (Action::TakeSell, Some(Payload::PaymentRequest(_, to, _))) => {
            Command::TakeSell { destination: Some(decode(&to.0)), secret: draw() }
        }
        (Action::TakeBuy, None | Some(Payload::Amount(_) | Payload::PaymentRequest(..))) => {
            Command::TakeBuy { secret: draw() }
        }
        (Action::AddInvoice, Some(Payload::PaymentRequest(_, to, _))) => {
            Command::AddInvoice { destination: decode(&to.0), secret: draw() }
        }
        (Action::FiatSent, None | Some(Payload::NextTrade(..))) => Command::FiatSent,
        (Action::Release, None | Some(Payload::NextTrade(..))) => Command::Release,
        (Action::Cancel, _) => Command::Cancel,
        (
            Action::NewOrder
            | Action::TakeSell
            | Action::TakeBuy
            | Action::AddInvoice
            | Action::FiatSent
            | Action::Release,
            _,
        ) => return Err(Refusal::InvalidPayload.into()),
        _ => return Err(Refusal::InvalidAction.into()),
    };
    // A well-formed request of these actions has an order id.
    let id = id.ok_or(Declined::Ignored)?;
    Ok(ParsedRequest::Order { id: OrderId(id.into_bytes()), command })
}

/// A maker's values for id, status, creation time and keys are ignored.
pub fn new_order(order: &SmallOrder, decode: impl Fn(&str) -> Destination) -> NewOrder {
    NewOrder {
        kind: order.kind.map(Into::into),
        fiat_code: order.fiat_code.clone(),
        fiat_amount: order.fiat_amount,
        min_amount: order.min_amount,
        max_amount: order.max_amount,
        amount: order.amount,
        payment_method: order.payment_method.clone(),
        premium: order.premium,
        destination: order.buyer_invoice.as_ref().map(|to| decode(&to.0)),
        expires_at: order.expires_at,
        names_a_mint: order.cashu_mint_url.is_some(),
    }
}

#[cfg(test)]
mod tests;
