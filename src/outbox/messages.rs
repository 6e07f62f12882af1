//! Messages to traders: sealed once, saved, then sent as they are until a relay has them (INV-6).

use std::sync::Arc;
use std::time::Duration;

use trade::TradeKey;

use super::{Delivered, OutboxError};
use crate::clock::Clock;
use crate::crash;
use crate::engine::{Engine, Write};
use crate::nostr::{
    Event, FROM_A_FAST_CLOCK, JsonUtil as _, Keys, Relays, Transport, reseal, seal, time_of,
};
use crate::store::{self, OutboxId, OutboxRow, Reader, Sealed};
use crate::wire::Message;

/// Seconds between the time that relays refused and the present, from which on sealing anew helps.
const WORTHWHILE: u64 = 60;

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
        to: TradeKey,
        text: &str,
    ) -> Result<Delivered, OutboxError> {
        if row.expires_at.is_some_and(|at| at <= self.clock.now()) {
            if !row.to_stranger {
                let id = row.id.0;
                tracing::warn!(outbox.id = id, "no relay took this message while it was of use");
            }
            return Ok(Delivered::quietly());
        }
        let message =
            Message::parse(text).map_err(|_| OutboxError::Unreadable("the text of a message"))?;
        let letter = (to, &message);
        let event = match &row.event {
            Some(event) => Event::from_json(event)
                .map_err(|_| OutboxError::Unreadable("the saved event of a message"))?,
            None => self.seal(row.id, letter).await?,
        };
        let now = self.clock.now();
        if time_of(&event) > now.after(FROM_A_FAST_CLOCK) {
            let event = self.reseal(row, letter, &event).await?;
            return self.send(&event).await;
        }
        match self.send(&event).await {
            // With the present time it may be welcome, if that is another one.
            Err(OutboxError::Relay(error))
                if error.is_about_time() && time_of(&event).0.abs_diff(now.0) > WORTHWHILE =>
            {
                let event = self.reseal(row, letter, &event).await?;
                self.send(&event).await
            }
            sent => sent,
        }
    }

    async fn send(&self, event: &Event) -> Result<Delivered, OutboxError> {
        crash::around("publish.message", self.relays.publish(event)).await?;
        Ok(Delivered::quietly())
    }

    async fn seal(
        &self,
        row: OutboxId,
        (to, message): (TradeKey, &Message),
    ) -> Result<Event, OutboxError> {
        let transport = self.transport_of(to).await?;
        let now = self.clock.now();
        let expires_at = now.after(self.retention);
        let event = seal(message, to, transport, &self.node, now, expires_at)?;
        let sealed = Sealed { event: event.as_json(), written_at: now, expires_at };
        self.engine.write(Write::SealMessage { id: row, sealed }).await?;
        Ok(event)
    }

    /// The same message in other bytes: the saved ones have a time that no relay takes (D31).
    async fn reseal(
        &self,
        row: &OutboxRow,
        (to, message): (TradeKey, &Message),
        old: &Event,
    ) -> Result<Event, OutboxError> {
        let transport = Transport::of(old.kind).unwrap_or(Transport::Nip44);
        let now = self.clock.now();
        let written_at = row.written_at.unwrap_or(now);
        let expires_at = now.after(self.retention);
        let times = [written_at, now];
        let event = reseal(message, to, transport, &self.node, times, expires_at)?;
        let sealed = Sealed { event: event.as_json(), written_at, expires_at };
        self.engine.write(Write::SealMessageAnew { id: row.id, sealed }).await?;
        Ok(event)
    }

    /// The one that the key last wrote on (D4).
    async fn transport_of(&self, key: TradeKey) -> Result<Transport, OutboxError> {
        let last = self.reader.find_transport(key).await?.map(|last| match last {
            store::Transport::GiftWrap => Transport::GiftWrap,
            store::Transport::Nip44 => Transport::Nip44,
        });
        let usual = self.transports.first().copied().unwrap_or(Transport::Nip44);
        Ok(last.filter(|last| self.transports.contains(last)).unwrap_or(usual))
    }
}
