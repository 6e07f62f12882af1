//! Messages to traders: sealed once, saved, then sent as they are until a relay has them (INV-6).

use std::sync::Arc;
use std::time::Duration;

use trade::TradeKey;

use super::{Delivered, OutboxError};
use crate::clock::Clock;
use crate::crash;
use crate::engine::Engine;
use crate::nostr::{Event, JsonUtil as _, Keys, Relays, Transport, seal};
use crate::store::{self, Message, OutboxId, OutboxRow, Reader};
use crate::wire::notice;

#[derive(Debug)]
pub struct Messenger {
    pub relays: Relays,
    pub node: Keys,
    pub reader: Reader,
    pub engine: Engine,
    pub clock: Arc<dyn Clock>,
    /// How long relays are asked to keep a message, and how long we try to send it.
    pub retention: Duration,
    /// Those in use; a key that wrote on another, or never, is answered on the first.
    pub transports: Vec<Transport>,
}

impl Messenger {
    pub(super) async fn deliver(
        &self,
        row: &OutboxRow,
        message: &Message,
    ) -> Result<Delivered, OutboxError> {
        if row.expires_at.is_some_and(|at| at <= self.clock.now()) {
            if !row.to_stranger {
                let id = row.id.0;
                tracing::warn!(outbox.id = id, "no relay took this message while it was of use");
            }
            return Ok(Delivered::quietly());
        }
        let event = match &row.event {
            Some(event) => Event::from_json(event)
                .map_err(|_| OutboxError::Unreadable("the saved event of a message"))?,
            None => self.seal(row.id, message).await?,
        };
        crash::around("publish.message", self.relays.publish(&event)).await?;
        Ok(Delivered::quietly())
    }

    async fn seal(&self, row: OutboxId, message: &Message) -> Result<Event, OutboxError> {
        let transport = self.transport_of(message.to).await?;
        let (now, to) = (self.clock.now(), message.to);
        let expires_at = now.after(self.retention);
        let Message { order, request_id, trade_index, notice, .. } = message;
        let said = notice::message(notice, *order, *request_id, *trade_index);
        let event = seal(&said, to, transport, &self.node, now, expires_at)?;
        self.engine.seal_message(row, event.as_json(), expires_at).await?;
        Ok(event)
    }

    /// The one that the key last wrote on (D4).
    async fn transport_of(&self, key: TradeKey) -> Result<Transport, OutboxError> {
        let last = self.reader.find_transport(key).await?.map(|last| match last {
            store::Transport::GiftWrap => Transport::GiftWrap,
            store::Transport::Nip44 => Transport::Direct,
        });
        let usual = self.transports.first().copied().unwrap_or(Transport::Direct);
        Ok(last.filter(|last| self.transports.contains(last)).unwrap_or(usual))
    }
}
