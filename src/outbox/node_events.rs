//! What the node says of itself: profile (kind 0), relays (10002) and terms (38385).

use std::sync::Arc;
use std::time::Duration;

use trade::Timestamp;

use super::{OutboxError, Reported, Times};
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
        let reported = Reported::default();
        let all = async {
            // What nobody takes need not be made; and whoever reads the terms may write at once.
            drop(self.relays.hearing().wait_for(Hearing::is_hearing).await);
            let profile = self.keep_profile(&reported);
            let relay_list = self.keep_relay_list(&reported);
            tokio::join!(profile, relay_list, self.keep_terms(&reported));
        };
        tokio::select! {
            () = shutdown.requested() => {}
            () = all => {}
        }
    }

    /// Once a start, if there is anything to say.
    async fn keep_profile(&self, reported: &Reported<u16>) {
        let Some(draft) = tags::profile(&self.profile) else { return };
        while !self.publish(draft.clone(), reported).await {
            tokio::time::sleep(RETRY).await;
        }
        std::future::pending::<()>().await;
    }

    async fn keep_relay_list(&self, reported: &Reported<u16>) {
        loop {
            let draft = tags::relay_list(&self.relays.connected().await);
            let is_out = self.publish(draft, reported).await;
            tokio::time::sleep(if is_out { self.relays_interval } else { RETRY }).await;
        }
    }

    /// At every interval, and as soon as LND says something new of itself.
    async fn keep_terms(&self, reported: &Reported<u16>) {
        let mut health = self.health.clone();
        let mut lnd = None;
        loop {
            if let Some(said) = health.borrow_and_update().as_ref().map(describe) {
                lnd = Some(said);
            }
            let terms = NodeTerms { lnd: lnd.clone(), ..self.terms.clone() };
            let is_out = self.publish(tags::node_terms(&terms, &self.imprint), reported).await;
            let is_news = |said: &Option<Readiness>| {
                said.as_ref().is_some_and(|said| lnd.as_ref() != Some(&describe(said)))
            };
            tokio::select! {
                () = tokio::time::sleep(if is_out { self.terms_interval } else { RETRY }) => {}
                Ok(_) = health.wait_for(is_news) => {}
            }
        }
    }

    async fn publish(&self, draft: Draft, reported: &Reported<u16>) -> bool {
        let kind = draft.kind;
        match self.try_publish(draft).await {
            Ok(()) => {
                if reported.is_over(&kind.as_u16()) {
                    tracing::info!(%kind, "the node's own event was taken");
                }
                true
            }
            Err(error) => {
                let (news, error) = (error.trouble(), crate::chain(&error));
                if reported.is_news(kind.as_u16(), news) {
                    tracing::warn!(%kind, %error, "the node's own event was not taken; it is tried again");
                }
                false
            }
        }
    }

    /// A later revision never has an earlier time than one that a relay took, whatever the clock did
    /// (wire-protocol §6.1).
    pub(super) async fn try_publish(&self, draft: Draft) -> Result<(), OutboxError> {
        let (kind, d) = (draft.kind.as_u16(), draft.identifier().to_owned());
        let found = self.reader.find_addressable(kind, &d).await?;
        let times = found.map(|(last, taken)| Times { last, taken });
        let now = self.clock.now();
        let next = times.map_or(now, |times| times.next(now));
        match self.publish_at(&draft, next).await {
            // With the present time it may be welcome, if no relay has a later one (D30).
            Err(OutboxError::Relay(error)) if error.is_about_time() => {
                let earliest = times.map_or(now, |times| times.earliest(now));
                if earliest >= next {
                    return Err(error.into());
                }
                self.publish_at(&draft, earliest).await
            }
            published => published,
        }
    }

    async fn publish_at(&self, draft: &Draft, at: Timestamp) -> Result<(), OutboxError> {
        let (kind, d) = (draft.kind.as_u16(), draft.identifier().to_owned());
        let event = draft.clone().sign(&self.node, at)?;
        let published = Published { created_at: at, event: event.as_json() };
        self.engine.seal_addressable(kind, d.clone(), published).await?;
        self.relays.publish(&event).await?;
        self.engine.publish_addressable(kind, d, at).await?;
        Ok(())
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
