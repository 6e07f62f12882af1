//! What the node says of itself: profile (kind 0), relays (10002) and terms (38385).

use std::sync::Arc;
use std::time::Duration;

use super::OutboxError;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::lightning::{Health, Readiness};
use crate::nostr::{Hearing, JsonUtil as _, Keys, Relays};
use crate::store::{Published, Reader};
use crate::tasks::Shutdown;
use crate::wire::tags::{self, Draft, Imprint, LndNode, NodeTerms, Profile};

/// How soon something is tried again that no relay took.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct NodeEvents {
    pub reader: Reader,
    pub engine: Engine,
    pub relays: Relays,
    pub node: Keys,
    pub health: Health,
    pub clock: Arc<dyn Clock>,
    pub imprint: Imprint,
    /// Without what LND says of itself.
    pub terms: NodeTerms,
    pub profile: Profile,
    pub terms_interval: Duration,
    pub relays_interval: Duration,
}

impl NodeEvents {
    pub async fn run(self, mut shutdown: Shutdown) {
        let all = async {
            // What nobody takes need not be made; and whoever reads the terms may write at once.
            drop(self.relays.hearing().wait_for(Hearing::is_hearing).await);
            tokio::join!(self.keep_profile(), self.keep_relay_list(), self.keep_terms());
        };
        tokio::select! {
            () = shutdown.requested() => {}
            () = all => {}
        }
    }

    /// Once a start, if there is anything to say.
    async fn keep_profile(&self) {
        let Some(draft) = tags::profile(&self.profile) else { return };
        while !self.publish(draft.clone()).await {
            tokio::time::sleep(RETRY).await;
        }
        std::future::pending::<()>().await;
    }

    async fn keep_relay_list(&self) {
        loop {
            let draft = tags::relay_list(&self.relays.connected().await);
            let is_out = self.publish(draft).await;
            tokio::time::sleep(if is_out { self.relays_interval } else { RETRY }).await;
        }
    }

    /// At every interval, and as soon as LND says something new of itself.
    async fn keep_terms(&self) {
        let mut health = self.health.clone();
        let mut lnd = None;
        loop {
            if let Some(said) = health.borrow_and_update().as_ref().map(describe) {
                lnd = Some(said);
            }
            let terms = NodeTerms { lnd: lnd.clone(), ..self.terms.clone() };
            let is_out = self.publish(tags::node_terms(&terms, &self.imprint)).await;
            let is_news = |said: &Option<Readiness>| {
                said.as_ref().is_some_and(|said| lnd.as_ref() != Some(&describe(said)))
            };
            tokio::select! {
                () = tokio::time::sleep(if is_out { self.terms_interval } else { RETRY }) => {}
                Ok(_) = health.wait_for(is_news) => {}
            }
        }
    }

    async fn publish(&self, draft: Draft) -> bool {
        let kind = draft.kind;
        match self.try_publish(draft).await {
            Ok(()) => true,
            Err(error) => {
                let error = crate::chain(&error);
                tracing::warn!(%kind, %error, "the node's own event was not taken; again in {RETRY:?}");
                false
            }
        }
    }

    /// A later revision never has an earlier time, whatever the clock did (wire-protocol §6.1).
    async fn try_publish(&self, draft: Draft) -> Result<(), OutboxError> {
        let (kind, d) = (draft.kind.as_u16(), draft.identifier().to_owned());
        let last = self.reader.find_addressable(kind, &d).await?;
        let next = last.map(|last| last.created_at.after(Duration::from_secs(1)));
        let created_at = next.map_or(self.clock.now(), |next| next.max(self.clock.now()));
        let event = draft.sign(&self.node, created_at)?;
        let published = Published { created_at, event: event.as_json() };
        self.engine.seal_addressable(kind, d, published).await?;
        Ok(self.relays.publish(&event).await?)
    }
}

fn describe(readiness: &Readiness) -> LndNode {
    let node = readiness.node.clone();
    LndNode {
        version: node.version,
        pubkey: readiness.identity.key.to_string(),
        commit_hash: node.commit_hash,
        alias: node.alias,
        chains: node.chains,
        networks: node.networks,
        uris: node.uris,
    }
}
