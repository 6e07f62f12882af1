//! `[expiration]`: how long relays are asked to keep what we publish (NIP-40).

use std::time::Duration;

use super::layers::{Invalid, Layers, Section};
use super::mostro::Mostro;

const HOURS_PER_DAY: u64 = 24;

/// Events that are not published yet, with upstream's defaults in days.
const UNBUILT: [(&str, u32); 3] =
    [("rating_days", 90), ("dispute_days", 90), ("fee_audit_days", 365)];

/// Settings under `[expiration]`, one for each kind of event.
#[derive(Debug, Clone)]
pub struct Expiration {
    /// Orders that have left the book.
    pub order: Duration,
    /// Messages to users.
    pub dm: Duration,
}

/// Without the section orders are kept as long as they may stay in the book
/// (`max_expiration_days`).
pub(super) fn read(layers: &mut Layers, mostro: Option<&Mostro>) -> Result<Expiration, Invalid> {
    let s = &mut layers.section("expiration");
    let order = match mostro {
        Some(mostro) if !s.is_present() => mostro.max_order_expiration,
        _ => days(30),
    };
    let order = retention(s, "order_days", order);
    let unbuilt = UNBUILT.map(|(key, default)| {
        let kept = retention(s, key, days(default));
        s.without_effect(key, kept, &days(default), "no such events are published")
    });
    let dm = retention(s, "dm_days", days(30));
    unbuilt.into_iter().collect::<Result<(), _>>()?;
    Ok(Expiration { order: order?, dm: dm? })
}

fn retention(
    s: &mut Section<'_>,
    key: &'static str,
    default: Duration,
) -> Result<Duration, Invalid> {
    match s.optional(key)? {
        Some(0) => Err(s.refuse(key, "would expire at once", "set it to 1 or more")),
        Some(number) => Ok(days(number)),
        None => Ok(default),
    }
}

fn days(number: u32) -> Duration {
    Duration::from_hours(u64::from(number) * HOURS_PER_DAY)
}
