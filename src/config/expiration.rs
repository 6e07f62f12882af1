//! `[expiration]`: how long relays are asked to keep what we publish (NIP-40).

use std::time::Duration;

use super::layers::{Layers, Reported, Section};
use super::mostro::Mostro;

const HOURS_PER_DAY: u64 = 24;

/// Settings under `[expiration]`, one for each kind of event.
#[derive(Debug, Clone)]
pub struct Expiration {
    pub order: Duration,
    pub rating: Duration,
    pub dispute: Duration,
    pub fee_audit: Duration,
    /// Messages to users.
    pub dm: Duration,
}

/// Without the section, what describes orders is kept as long as an order may live
/// (`max_expiration_days`).
pub(super) fn read(layers: &mut Layers, mostro: Option<&Mostro>) -> Result<Expiration, Reported> {
    let s = &mut layers.section("expiration");
    let (order, history) = match mostro {
        Some(mostro) if !s.is_present() => {
            (mostro.max_order_expiration, mostro.max_order_expiration)
        }
        _ => (days(30), days(90)),
    };
    let order = retention(s, "order_days", order);
    let rating = retention(s, "rating_days", history);
    let dispute = retention(s, "dispute_days", history);
    let fee_audit = retention(s, "fee_audit_days", days(365));
    let dm = retention(s, "dm_days", days(30));
    Ok(Expiration {
        order: order?,
        rating: rating?,
        dispute: dispute?,
        fee_audit: fee_audit?,
        dm: dm?,
    })
}

fn retention(
    s: &mut Section<'_>,
    key: &'static str,
    absent: Duration,
) -> Result<Duration, Reported> {
    match s.optional(key)? {
        Some(0) => Err(s.refuse(key, "would expire at once", "set it to 1 or more")),
        Some(number) => Ok(days(number)),
        None => Ok(absent),
    }
}

fn days(number: u32) -> Duration {
    Duration::from_hours(u64::from(number) * HOURS_PER_DAY)
}
