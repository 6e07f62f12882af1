//! Messages to traders: sealed once, saved, then sent unchanged until a relay accepts them.

use std::sync::Arc;
use std::time::Duration;

use trade::TradeKey;

use super::{Delivered, OutboxError, engine_for};
use crate::clock::Clock;
use crate::crash;
use crate::engine::{Engine, Write};
use crate::nostr::{
    Event, FROM_A_FAST_CLOCK, JsonUtil as _, Keys, Relays, Transport, reseal, seal, time_of,
};
use crate::store::{self, OutboxRow, Sealed};
use crate::wire::Message;

/// By how many seconds the time of an event that relays refuse must differ from now to reseal it.
const RESEAL_AFTER_SECS: u64 = 60;

#[derive(Debug)]
pub struct Messenger {
    pub relays: Relays,
    pub node: Keys,
    pub engine: Engine,
    pub clock: Arc<dyn Clock>,
    /// How long relays are asked to keep a message, and how long sending is retried.
    pub retention: Duration,
    /// The transports in use. A key that last used another one, or none, is answered on the first.
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
                tracing::warn!(outbox.id = id, "no relay accepted this message before it expired");
            }
            return Ok(Delivered::done());
        }
        let message =
            Message::parse(text).map_err(|_| OutboxError::Unreadable("the text of a message"))?;
        let event = match &row.event {
            Some(event) => Event::from_json(event)
                .map_err(|_| OutboxError::Unreadable("the saved event of a message"))?,
            None => self.seal(row, to, &message).await?,
        };
        let now = self.clock.now();
        if time_of(&event) > now.after(FROM_A_FAST_CLOCK) {
            let event = self.reseal(row, to, &message, &event).await?;
            return self.send(&event).await;
        }
        match self.send(&event).await {
            // With the present time relays may accept it.
            Err(OutboxError::Relay(error))
                if error.is_about_time()
                    && time_of(&event).0.abs_diff(now.0) > RESEAL_AFTER_SECS =>
            {
                let event = self.reseal(row, to, &message, &event).await?;
                self.send(&event).await
            }
            sent => sent,
        }
    }

    async fn send(&self, event: &Event) -> Result<Delivered, OutboxError> {
        crash::around("publish.message", self.relays.publish(event)).await?;
        Ok(Delivered::done())
    }

    async fn seal(
        &self,
        row: &OutboxRow,
        to: TradeKey,
        message: &Message,
    ) -> Result<Event, OutboxError> {
        let transport = self.transport_of(row);
        let now = self.clock.now();
        let expires_at = now.after(self.retention);
        let event = seal(message, to, transport, &self.node, now, expires_at)?;
        let sealed = Sealed { event: event.as_json(), written_at: now, expires_at };
        engine_for(row, &self.engine).write(Write::SealMessage { id: row.id, sealed }).await?;
        Ok(event)
    }

    /// The same message in other bytes: relays refuse the time of the saved ones.
    async fn reseal(
        &self,
        row: &OutboxRow,
        to: TradeKey,
        message: &Message,
        old: &Event,
    ) -> Result<Event, OutboxError> {
        let transport = Transport::of(old.kind).unwrap_or(Transport::Nip44);
        let now = self.clock.now();
        let written_at = row.written_at.unwrap_or(now);
        let expires_at = now.after(self.retention);
        let times = [written_at, now];
        let event = reseal(message, to, transport, &self.node, times, expires_at)?;
        let sealed = Sealed { event: event.as_json(), written_at, expires_at };
        let write = Write::SealMessageAnew { id: row.id, sealed };
        engine_for(row, &self.engine).write(write).await?;
        Ok(event)
    }

    /// The transport that the reader of the message last used.
    fn transport_of(&self, row: &OutboxRow) -> Transport {
        let last = row.transport.map(|last| match last {
            store::Transport::GiftWrap => Transport::GiftWrap,
            store::Transport::Nip44 => Transport::Nip44,
        });
        let default = self.transports.first().copied().unwrap_or(Transport::Nip44);
        last.filter(|last| self.transports.contains(last)).unwrap_or(default)
    }
}
