//! `[nostr]`: the node's key, and its relays.

use std::time::Duration;

use super::Problem;
use super::layers::Absent::{Default, Required};
use super::layers::{Invalid, Layers, Section, shown_text};
use super::secret::NodeSecret;
use super::url;

/// The variable, in the process environment or in `.env`, that overrides `nostr.nsec_privkey`.
const KEY_VARIABLE: &str = "MOSTRO_NSEC_PRIVKEY";

/// Thirty days: relays are asked to keep messages that long, and the id of every message is kept for as
/// long as the message could be honoured.
const MAX_CATCH_UP_HOURS: u32 = 720;

/// Settings under `[nostr]`.
#[derive(Debug, Clone)]
pub struct Nostr {
    pub node_secret: NodeSecret,
    /// At least one; `ws` or `wss`.
    pub relays: Vec<String>,
    /// How late a message that helps a running trade is still honoured.
    pub inbox_catch_up: Duration,
}

pub(super) fn read(layers: &mut Layers) -> Result<Nostr, Invalid> {
    let node_secret = read_node_secret(layers);
    let s = &mut layers.section("nostr");
    let relays = read_relays(s);
    let hours = s.number("inbox_catch_up_hours", Default(24), 1..=MAX_CATCH_UP_HOURS);
    Ok(Nostr {
        node_secret: node_secret?,
        relays: relays?,
        inbox_catch_up: Duration::from_hours(hours?.into()),
    })
}

fn read_node_secret(layers: &mut Layers) -> Result<NodeSecret, Invalid> {
    let in_file = layers.take_secret("nostr", "nsec_privkey");
    let (key, text) = match (layers.variable(KEY_VARIABLE), &in_file) {
        (Some(text), _) => (KEY_VARIABLE, text),
        (None, Some(text)) => ("nostr.nsec_privkey", text.trim()),
        (None, None) => ("nostr.nsec_privkey", ""),
    };
    let fault = match NodeSecret::parse(text) {
        Some(secret) => return Ok(secret),
        None if text.is_empty() => "is missing: without it the node has no identity",
        None => "is neither an nsec nor 64 hex digits of a secret key",
    };
    Err(layers.report(Problem {
        key: key.into(),
        value: None,
        fault: fault.into(),
        remedy: format!("put {KEY_VARIABLE}=nsec1… into .env beside settings.toml (mode 0600)"),
    }))
}

fn read_relays(s: &mut Section<'_>) -> Result<Vec<String>, Invalid> {
    let key = "relays";
    let relays = s.value::<Vec<String>>(key, Required)?;
    let mut faults = relays
        .iter()
        .filter_map(|relay| {
            let fault = url::check(relay, &["wss", "ws"]).err()?;
            Some(format!("{} {fault}", shown_text(relay)))
        })
        .collect::<Vec<_>>();
    if relays.is_empty() {
        faults.push("names no relay".into());
    }
    if faults.is_empty() {
        return Ok(relays);
    }
    Err(s.refuse(key, faults.join(", "), "give at least one relay, as wss://host"))
}
