//! `[lightning]`: the connection to LND, and the limits of holds and payouts.

use std::path::PathBuf;
use std::time::Duration;

use super::layers::Absent::{Default, Required};
use super::layers::{Invalid, Section};
use super::url;

/// The least number of blocks between our deadline for a hold and the block at which LND cancels the
/// hold by itself.
const GUARD_BLOCKS: u32 = 6;
/// LND's default limit on the timelock of a whole route (`max-cltv-expiry`).
const MAX_ROUTE_BLOCKS: u32 = 2016;
/// What a route may need in addition to its last hop: four days of blocks.
const ROUTE_BLOCKS: u32 = 576;
/// The shortest safe quiet time: twice the time that a request may take to arrive (`LATEST_ARRIVAL`
/// in `lightning::channel`). Debug builds allow less, for the tests.
const MIN_QUIET_SECS: u32 = if cfg!(debug_assertions) { 1 } else { 60 };
/// What LND assumes for an invoice without a final delta.
const DEFAULT_FINAL_DELTA: u32 = 18;

/// Settings under `[lightning]`.
#[derive(Debug, Clone)]
pub struct Lightning {
    pub lnd_cert_file: PathBuf,
    pub lnd_macaroon_file: PathBuf,
    /// Always `https`.
    pub lnd_grpc_host: String,
    /// How long a buyer's invoice must still be valid when it is received.
    pub invoice_expiration_window: Duration,
    /// Blocks a seller's sats may be held.
    pub hold_invoice_cltv_delta: u32,
    /// How long a bond invoice is valid; only advertised.
    pub hold_invoice_expiration_window: Duration,
    /// Failed payouts before the buyer is asked for a new invoice.
    pub payment_attempts: u32,
    pub payment_retries_interval: Duration,
    /// The largest final CLTV delta that we accept in a buyer's invoice, in blocks.
    pub max_final_cltv_expiry_delta: u32,
    /// Blocks before a hold's HTLC expires at which we act; includes `lnd_hold_expiry_delta`.
    pub escrow_deadline_margin_blocks: u32,
    /// LND's `invoices.holdexpirydelta`, in blocks.
    pub lnd_hold_expiry_delta: u32,
    /// The largest timelock of a payout's route, in blocks.
    pub payment_cltv_limit: u32,
    /// How long an unacknowledged payout must stay unknown to LND before the same invoice is sent again.
    pub payout_quiet: Duration,
    /// Whether another LND than the remembered one is accepted.
    pub allow_node_change: bool,
}

pub(super) fn read(s: &mut Section<'_>) -> Result<Lightning, Invalid> {
    let lnd_cert_file = s.file("lnd_cert_file", "copy LND's tls.cert there or correct the path");
    let lnd_macaroon_file =
        s.file("lnd_macaroon_file", "bake a macaroon for this daemon and give its path here");
    let lnd_grpc_host = read_host(s);
    let invoice_expiration_window = s.seconds("invoice_expiration_window", Required, ..);
    let hold_invoice_expiration_window = s.seconds("hold_invoice_expiration_window", Required, 1..);
    let escrow = read_escrow_blocks(s);
    let payment_attempts = s.number("payment_attempts", Required, 1..);
    let payment_retries_interval = s.seconds("payment_retries_interval", Required, 1..);
    let max_final_cltv_expiry_delta = s.number(
        "max_final_cltv_expiry_delta",
        Default(144),
        DEFAULT_FINAL_DELTA..=MAX_ROUTE_BLOCKS - ROUTE_BLOCKS,
    );
    let payment_cltv_limit = read_cltv_limit(s, max_final_cltv_expiry_delta);
    let in_flight = [("max_inflight_payouts", 100), ("max_inflight_payouts_per_destination", 10)]
        .map(|(key, default)| {
            let limit = s.number(key, Default(default), ..);
            s.without_effect(key, limit, &default, "payouts in flight are not limited")
        });
    let payout_quiet = s.seconds("payout_quiet_seconds", Default(60), MIN_QUIET_SECS..);
    let allow_node_change = s.value("allow_node_change", Default(false));

    in_flight.into_iter().collect::<Result<(), _>>()?;
    let escrow = escrow?;
    Ok(Lightning {
        lnd_cert_file: lnd_cert_file?,
        lnd_macaroon_file: lnd_macaroon_file?,
        lnd_grpc_host: lnd_grpc_host?,
        invoice_expiration_window: invoice_expiration_window?,
        hold_invoice_cltv_delta: escrow.held,
        hold_invoice_expiration_window: hold_invoice_expiration_window?,
        payment_attempts: payment_attempts?,
        payment_retries_interval: payment_retries_interval?,
        max_final_cltv_expiry_delta: max_final_cltv_expiry_delta?,
        escrow_deadline_margin_blocks: escrow.margin,
        lnd_hold_expiry_delta: escrow.lnd_delta,
        payment_cltv_limit: payment_cltv_limit?,
        payout_quiet: payout_quiet?,
        allow_node_change: allow_node_change?,
    })
}

fn read_host(s: &mut Section<'_>) -> Result<String, Invalid> {
    let key = "lnd_grpc_host";
    let host = s.value::<String>(key, Required)?;
    match url::check(&host, &["https"]) {
        Ok(()) => Ok(host),
        Err(fault) => Err(s.refuse(
            key,
            fault,
            "give LND's gRPC address as https://host:port; without TLS the macaroon is readable",
        )),
    }
}

/// The block counts around a hold's expiry, checked against each other.
struct EscrowBlocks {
    held: u32,
    margin: u32,
    lnd_delta: u32,
}

fn read_escrow_blocks(s: &mut Section<'_>) -> Result<EscrowBlocks, Invalid> {
    let key = "escrow_deadline_margin_blocks";
    let held = s.number("hold_invoice_cltv_delta", Required, 1..=MAX_ROUTE_BLOCKS);
    let margin = s.number(key, Default(24), ..);
    let lnd_delta = s.number("lnd_hold_expiry_delta", Default(18), ..=MAX_ROUTE_BLOCKS);
    let (held, margin, lnd_delta) = (held?, margin?, lnd_delta?);

    let least = lnd_delta.saturating_add(GUARD_BLOCKS);
    if margin < least {
        return Err(s.refuse(
            key,
            format!(
                "is too small: LND cancels a hold {lnd_delta} blocks before its HTLC expires \
                 (lnd_hold_expiry_delta), and the daemon must act {GUARD_BLOCKS} blocks earlier"
            ),
            format!("set it to {least} or more"),
        ));
    }
    if margin >= held {
        return Err(s.refuse(
            key,
            format!("leaves no time to a hold of {held} blocks (hold_invoice_cltv_delta)"),
            "set it below hold_invoice_cltv_delta",
        ));
    }
    Ok(EscrowBlocks { held, margin, lnd_delta })
}

/// The timelock limit of a payout's whole route. Below the needs of the last hop and a usual route
/// every payout would fail; above LND's own limit LND refuses every payout.
fn read_cltv_limit(s: &mut Section<'_>, max_final: Result<u32, Invalid>) -> Result<u32, Invalid> {
    let key = "payment_cltv_limit";
    let limit = s.number(key, Default(1008), ..);
    let (limit, max_final) = (limit?, max_final?);
    let least = max_final.saturating_add(ROUTE_BLOCKS);
    if limit < least {
        return Err(s.refuse(
            key,
            format!("is below max_final_cltv_expiry_delta + {ROUTE_BLOCKS}: no route would fit"),
            format!("set it to {least} or more"),
        ));
    }
    if limit > MAX_ROUTE_BLOCKS {
        return Err(s.refuse(
            key,
            "is more than LND allows: it would refuse every payout",
            format!("set it to {MAX_ROUTE_BLOCKS} or less, and never above LND's max-cltv-expiry"),
        ));
    }
    Ok(limit)
}
