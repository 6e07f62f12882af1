//! Upstream's settings for features that are not built: its file is accepted, with a warning for each
//! feature that it switches on.

use super::layers::Absent::Default;
use super::layers::Layers;

/// Sections with a key `enabled`, what the warning says if it is true, and their other keys.
const SECTIONS: [(&str, &str, &[&str]); 7] = [
    (
        "rpc",
        "the admin interface is not built, nothing listens",
        &["listen_address", "port", "rate_limiter_stale_duration", "auth_token"],
    ),
    (
        "anti_abuse_bond",
        "bonds are not built, none is required",
        &[
            "amount_pct",
            "base_amount_sats",
            "apply_to",
            "slash_on_waiting_timeout",
            "slash_node_share_pct",
            "payout_invoice_window_seconds",
            "payout_max_retries",
            "payout_claim_window_days",
            "maker_bond_payment_timeout_seconds",
            "bond_cltv_delta",
        ],
    ),
    (
        "health",
        "the health event is not built, none is published",
        &[
            "interval",
            "watchdog_pubkey",
            "lnd_unsynced_fail_after",
            "auto_maintenance_on_lnd_unsynced",
            "lnd_resynced_clear_after",
        ],
    ),
    (
        "payer_history",
        "the payer history is not built, nothing is recorded",
        &["require_declaration", "experienced_min_trades", "experienced_min_days"],
    ),
    (
        "cashu",
        "Cashu is not built, every escrow is a Lightning hold invoice",
        &["mint_urls", "escrow_locktime_days", "escrow_settlement_margin_days"],
    ),
    (
        "reputation_import",
        "the import of reputation is not built, none is accepted",
        &["max_lifetime_seconds", "issuers"],
    ),
    (
        "reputation_export",
        "the export of reputation is not built, none is issued",
        &["issuer_key_env", "lifetime_seconds"],
    ),
];

/// Upstream's older price keys, under `[mostro]`.
const OLD_PRICE_KEYS: [&str; 3] = [
    "bitcoin_price_api_url",
    "exchange_rates_update_interval_seconds",
    "publish_exchange_rates_to_nostr",
];

pub(super) fn accept(layers: &mut Layers) {
    for (section, effect, keys) in SECTIONS {
        let mut s = layers.section(section);
        s.accept(keys);
        if let Ok(true) = s.value("enabled", Default(false)) {
            s.warn("enabled", format!("has no effect: {effect}"));
        }
    }
    layers.section("mostro").accept(&OLD_PRICE_KEYS);
    if layers.accept_whole("price") {
        layers.warn("price", "has no effect: prices are not built, market orders are refused");
    }
}
