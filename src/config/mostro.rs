//! `[mostro]`: the node's rules for trades, and its profile.

use std::time::Duration;

use trade::{IdentityKey, Ppm, Sats};

use super::layers::Absent::{Default, Required};
use super::layers::{Invalid, Section};
use super::secret;

const HOURS_PER_DAY: u64 = 24;
/// 100 %: a fee must be less, a share of the fee may be as much.
const WHOLE: Ppm = Ppm(1_000_000);
/// The smallest development fee, as a share of the fee, if there is one.
const MIN_DEV_SHARE: Ppm = Ppm(100_000);
/// Upstream's default.
const DEV_FEE_ADDRESS: &str = "dev@pay.mostro.foundation";

/// Settings under `[mostro]`.
#[derive(Debug, Clone)]
pub struct Mostro {
    /// Share of the trade's amount, from both sides together; below one.
    pub fee: Ppm,
    /// The most that a payout's route may cost, as a share of the payout; below one.
    pub max_routing_fee: Ppm,
    /// What routes may cost beyond the fees of their trades, per day and over all trades.
    pub max_routing_subsidy: Sats,
    pub max_order_amount: Sats,
    pub min_payment_amount: Sats,
    /// How long an order stays in the book by default (`expiration_hours`).
    pub order_expiration: Duration,
    /// The longest time that a maker may ask for (`max_expiration_days`).
    pub max_order_expiration: Duration,
    /// How long a party has to pay the hold or to give an invoice (`expiration_seconds`).
    pub duty_window: Duration,
    pub publish_relays_interval: Duration,
    pub publish_info_interval: Duration,
    /// Leading zero bits required of every event id.
    pub pow: u8,
    /// ISO codes; all are accepted if empty.
    pub fiat_currencies_accepted: Vec<String>,
    pub max_orders_per_response: u8,
    pub transport: Transports,
    /// A dispute assistant's key; only advertised.
    pub serbero: Option<IdentityKey>,
    pub name: Option<String>,
    pub about: Option<String>,
    pub picture: Option<String>,
    pub website: Option<String>,
}

/// Which of the two transports are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transports {
    Both,
    /// v2: signed kind 14.
    Nip44,
    /// v1: kind 1059.
    GiftWrap,
}

pub(super) fn read(s: &mut Section<'_>) -> Result<Mostro, Invalid> {
    let fee = read_rate(s, "fee");
    let max_routing_fee = read_rate(s, "max_routing_fee");
    let max_routing_subsidy = s.number("max_routing_subsidy", Default(10_000), ..);
    let amounts = read_amounts(s);
    let expiration_hours = s.number("expiration_hours", Required, 1..);
    let max_expiration_days = s.number("max_expiration_days", Required, 1..);
    let duty_window = s.seconds("expiration_seconds", Required, 1..);
    let publish_relays_interval = s.seconds("publish_relays_interval", Required, 1..);
    let publish_info_interval = s.seconds("publish_mostro_info_interval", Required, 1..);
    let pow = s.value("pow", Required);
    let fiat_currencies_accepted = s.value("fiat_currencies_accepted", Required);
    let max_orders_per_response = s.value("max_orders_per_response", Required);
    let unbuilt = check_unbuilt(s, pow);
    let transport = read_transport(s);
    let horizon = check_horizon_policy(s);
    let serbero = read_serbero(s);
    let (name, about) = (s.optional("name"), s.optional("about"));
    let (picture, website) = (s.optional("picture"), s.optional("website"));

    unbuilt?;
    horizon?;
    let (min_payment_amount, max_order_amount) = amounts?;
    Ok(Mostro {
        fee: fee?,
        max_routing_fee: max_routing_fee?,
        max_routing_subsidy: Sats(max_routing_subsidy?.into()),
        max_order_amount,
        min_payment_amount,
        order_expiration: Duration::from_hours(expiration_hours?.into()),
        max_order_expiration: Duration::from_hours(u64::from(max_expiration_days?) * HOURS_PER_DAY),
        duty_window: duty_window?,
        publish_relays_interval: publish_relays_interval?,
        publish_info_interval: publish_info_interval?,
        pow: pow?,
        fiat_currencies_accepted: fiat_currencies_accepted?,
        max_orders_per_response: max_orders_per_response?,
        transport: transport?,
        serbero: serbero?,
        name: name?,
        about: about?,
        picture: picture?,
        website: website?,
    })
}

fn read_rate(s: &mut Section<'_>, key: &'static str) -> Result<Ppm, Invalid> {
    let rate = s.value::<Ppm>(key, Required)?;
    if rate < WHOLE {
        return Ok(rate);
    }
    Err(s.refuse(key, "is 1 or more", "give a fraction: 0.006 is 0.6 %"))
}

fn read_amounts(s: &mut Section<'_>) -> Result<(Sats, Sats), Invalid> {
    let min = s.number("min_payment_amount", Required, 1..);
    let max = s.number("max_order_amount", Required, 1..);
    let (min, max) = (min?, max?);
    if min <= max {
        return Ok((Sats(min.into()), Sats(max.into())));
    }
    Err(s.refuse(
        "max_order_amount",
        format!("is below min_payment_amount ({min}): no order would fit"),
        "set it to min_payment_amount or more",
    ))
}

/// Checks the settings of what is not built yet, which have no effect.
fn check_unbuilt(s: &mut Section<'_>, pow: Result<u8, Invalid>) -> Result<(), Invalid> {
    let key = "user_rates_sent_interval_seconds";
    let interval = s.number(key, Default(3_600), 1..);
    let ratings = s.without_effect(key, interval, &3_600, "no ratings are published");

    let key = "pow_first_contact";
    let first = s.optional::<u8>(key);
    if let (Ok(pow), Ok(Some(first))) = (pow, first)
        && first > pow
    {
        s.warn(key, "has no effect yet: known and new keys need the same work, `pow`");
    }
    let key = "active_pubkeys_refresh_interval";
    let interval = s.number(key, Default(60), 1..);
    let known = s.without_effect(key, interval, &60, "known and new keys are not distinguished");

    let share = check_dev_fee(s);
    let key = "dev_fee_address";
    let default = DEV_FEE_ADDRESS.to_owned();
    let address = s.value(key, Default(default.clone()));
    let address = s.without_effect(key, address, &default, "no development fee is paid");
    ratings.and(first.map(drop)).and(known).and(share).and(address)
}

fn check_dev_fee(s: &mut Section<'_>) -> Result<(), Invalid> {
    let key = "dev_fee_percentage";
    let share = s.value(key, Default(Ppm(0)));
    if share.is_ok_and(|share| share != Ppm(0) && !(MIN_DEV_SHARE..=WHOLE).contains(&share)) {
        return Err(s.refuse(
            key,
            "is neither 0 nor between 0.10 and 1.0",
            "set it to 0 to keep the whole fee",
        ));
    }
    s.without_effect(key, share, &Ppm(0), "no development fee is paid")
}

fn read_transport(s: &mut Section<'_>) -> Result<Transports, Invalid> {
    let key = "transport";
    match s.value(key, Default("both".to_owned()))?.as_str() {
        "both" => Ok(Transports::Both),
        "nip44" => Ok(Transports::Nip44),
        "gift-wrap" => Ok(Transports::GiftWrap),
        _ => Err(s.refuse(
            key,
            "is not a known transport",
            "set it to \"both\", \"nip44\" or \"gift-wrap\"",
        )),
    }
}

/// `warn` is the only policy so far, so there is no value to return.
fn check_horizon_policy(s: &mut Section<'_>) -> Result<(), Invalid> {
    let key = "escrow_horizon_policy";
    match s.value(key, Default("warn".to_owned()))?.as_str() {
        "warn" => Ok(()),
        "settle" => Err(s.refuse(
            key,
            "is not built yet: this daemon never takes sats into custody",
            "set it to \"warn\"",
        )),
        _ => Err(s.refuse(key, "is not a known policy", "set it to \"warn\"")),
    }
}

fn read_serbero(s: &mut Section<'_>) -> Result<Option<IdentityKey>, Invalid> {
    let key = "serbero_pubkey";
    let Some(text) = s.optional::<String>(key)? else { return Ok(None) };
    let read = secret::read_bech32("npub", &text).map(|bytes| IdentityKey(*bytes));
    match read.or_else(|| IdentityKey::from_hex(&text)) {
        Some(key) => Ok(Some(key)),
        None => Err(s.refuse(key, "is neither an npub nor 64 hex digits", "correct or remove it")),
    }
}
