//! The node's own events: its profile (kind 0), its relay list (10002), and its terms (38385).

use std::time::Duration;

use crate::config::{Mostro, Settings};
use crate::lightning::Readiness;
use crate::nostr::{Keys, Transport, Url};
use crate::store::PublicationId;
use crate::wire::tags::{LndNode, NodeIdentity, NodeTerms, Profile};

/// What the node's own events contain: from the settings, and from LND's last answer about itself.
#[derive(Debug)]
pub struct AboutNode {
    pub identity: NodeIdentity,
    pub terms: NodeTerms,
    pub profile: Profile,
    /// How long relays are asked to keep an order that has left the book.
    pub order_retention: Duration,
    pub info_interval: Duration,
    pub relays_interval: Duration,
}

impl AboutNode {
    /// `networks` are those of the LND that answered last, until one answers again.
    #[must_use]
    pub fn new(
        settings: &Settings,
        node: &Keys,
        transports: &[Transport],
        networks: Vec<String>,
    ) -> Self {
        let mostro = &settings.mostro;
        Self {
            identity: NodeIdentity {
                pubkey: node.public_key(),
                instance: mostro.name.clone(),
                relays: settings.nostr.relays.clone(),
                networks,
            },
            terms: terms(settings, transports),
            profile: profile(mostro),
            order_retention: settings.expiration.order,
            info_interval: mostro.publish_info_interval,
            relays_interval: mostro.publish_relays_interval,
        }
    }

    /// Takes LND's description of itself. Returns whether it changes the terms.
    pub(super) fn update(&mut self, readiness: &Readiness) -> bool {
        self.identity.networks.clone_from(&readiness.node.networks);
        let lnd = Some(describe(readiness));
        let has_changed = self.terms.lnd != lnd;
        self.terms.lnd = lnd;
        has_changed
    }

    /// How often each of the node's own events is published again; the profile only once after each
    /// start, if there is one.
    pub(super) fn intervals(&self) -> Vec<(PublicationId, Duration)> {
        let mut intervals = vec![
            (PublicationId::RelayList, self.relays_interval),
            (PublicationId::Info, self.info_interval),
        ];
        if !self.profile.is_empty() {
            intervals.push((PublicationId::Profile, Duration::MAX));
        }
        intervals
    }
}

fn terms(settings: &Settings, transports: &[Transport]) -> NodeTerms {
    let (mostro, lightning) = (&settings.mostro, &settings.lightning);
    NodeTerms {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit_hash: option_env!("MOSTROD_COMMIT").unwrap_or("unknown").to_owned(),
        max_order_amount: mostro.max_order_amount,
        min_order_amount: mostro.min_payment_amount,
        expiration_hours: whole_hours(mostro.order_expiration),
        expiration_seconds: whole_secs(mostro.duty_window),
        fiat_currencies: mostro.fiat_currencies_accepted.clone(),
        max_orders_per_response: mostro.max_orders_per_response.into(),
        fee: mostro.fee,
        pow: mostro.pow,
        protocol_version: transports.iter().map(|transport| transport.version()).max().unwrap_or(2),
        hold_invoice_cltv_delta: lightning.hold_invoice_cltv_delta,
        escrow_deadline_margin_blocks: lightning.escrow_deadline_margin_blocks,
        lnd: None,
        invoice_expiration_window: whole_secs(lightning.invoice_expiration_window),
        hold_invoice_expiration_window: whole_secs(lightning.hold_invoice_expiration_window),
        serbero: mostro.serbero,
    }
}

/// An invalid URL is left out.
fn profile(mostro: &Mostro) -> Profile {
    let url = |name: &str, text: &Option<String>| {
        let url = Url::parse(text.as_deref()?);
        if url.is_err() {
            tracing::warn!("mostro.{name} is not a URL and is left out of the profile");
        }
        url.ok()
    };
    Profile {
        name: mostro.name.clone(),
        about: mostro.about.clone(),
        picture: url("picture", &mostro.picture),
        website: url("website", &mostro.website),
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

fn whole_secs(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn whole_hours(duration: Duration) -> u32 {
    whole_secs(duration) / 3_600
}
