//! Passes a message to the engine, and retries while the database does not answer.

use std::sync::Arc;
use std::time::Duration;

use trade::{Destination, Notice, OrderId, Refusal, Request, Sender};

use crate::crash;
use crate::engine::{Applied, Engine, EngineError, Write};
use crate::entropy::{Entropy, draw_hold_secret, draw_order_id};
use crate::facts::Facts;
use crate::nostr::{Opened, Transport};
use crate::retry::backoff;
use crate::store::{self, Delivery, EventId, Notification};
use crate::wire::command::{self, Declined, ParsedRequest};
use crate::wire::message::Body;

/// The longest wait of a message for a database that does not answer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(super) struct Handler {
    pub(super) engine: Engine,
    pub(super) facts: Facts,
    pub(super) read_destination: fn(&str) -> Destination,
    pub(super) entropy: Arc<dyn Entropy>,
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Todo {
    Act,
    /// Keep its id, so that it is ignored when it comes again.
    Remember,
}

impl Handler {
    /// Retries while the database does not answer: a failed transaction has saved nothing.
    pub(super) async fn handle(self, opened: Opened, todo: Todo) {
        crash::point("intake.received");
        for failures in 0.. {
            let Err(error) = self.try_to_handle(&opened, todo).await else { return };
            if !error.is_unavailable() {
                tracing::error!(event.id = %opened.event_id, %error, "a message could not be applied to its order");
                return;
            }
            let wait = backoff(failures).min(LONGEST_WAIT);
            tracing::warn!(%error, "the database does not answer; a message is retried in {wait:?}");
            tokio::time::sleep(wait).await;
        }
    }

    async fn try_to_handle(&self, opened: &Opened, todo: Todo) -> Result<(), EngineError> {
        match todo {
            Todo::Act => self.act_on(opened).await.map(drop),
            Todo::Remember => self.engine.write(Write::Disregard(delivery(opened))).await,
        }
    }

    async fn act_on(&self, opened: &Opened) -> Result<Applied, EngineError> {
        let delivery = delivery(opened);
        let Body { request_id, trade_index, id, .. } = opened.message.body;
        let trade = opened.sender;
        let refuse = |refusal| {
            let (order, notice) = (id.map(order_id), Notice::CantDo(refusal));
            let message = Notification { to: trade, order, request_id, trade_index: None, notice };
            self.engine.answer(delivery, message)
        };
        let Some(identity) = opened.identity else {
            return refuse(Refusal::InvalidSignature).await;
        };
        let sender = Sender { trade, identity, trade_index };
        let draw = || draw_hold_secret(&*self.entropy);
        match command::read(&opened.message, self.read_destination, draw) {
            Ok(ParsedRequest::NewOrder(new)) => {
                let id = draw_order_id(&*self.entropy);
                self.engine.create(delivery, id, sender, request_id, new).await
            }
            Ok(ParsedRequest::Order { id, command }) => {
                let request = Request { sender, request_id, command };
                let ask = |question| self.facts.ask(question);
                self.engine.deliver(delivery, id, request, ask).await
            }
            Err(Declined::Refused(refusal)) => refuse(refusal).await,
            Err(Declined::Ignored) => Ok(Applied::Unchanged),
        }
    }
}

pub(super) fn delivery(opened: &Opened) -> Delivery {
    Delivery {
        event_id: EventId(opened.event_id.to_bytes()),
        rumor_id: opened.rumor_id.map(|id| EventId(id.to_bytes())),
        created_at: opened.created_at,
        from: opened.sender,
        transport: match opened.transport {
            Transport::GiftWrap => store::Transport::GiftWrap,
            Transport::Nip44 => store::Transport::Nip44,
        },
    }
}

pub(super) fn order_id(id: uuid::Uuid) -> OrderId {
    OrderId(id.into_bytes())
}
