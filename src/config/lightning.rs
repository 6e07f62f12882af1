//! `[lightning]`: our LND, and the numbers that holds and payouts live by.

use std::path::PathBuf;
use std::time::Duration;

use super::layers::Absent::{Default, Required};
use super::layers::{Reported, Section};
use super::url;

/// What the guardian needs between LND giving a hold back by itself and its own act (D21).
const GUARD_BLOCKS: u32 = 6;
/// LND's own ceiling on the timelock of a whole route, unless its `max-cltv-expiry` says otherwise.
const MAX_ROUTE_BLOCKS: u32 = 2016;
/// What a route may need on top of its last hop, four days of blocks.
const ROUTE_BLOCKS: u32 = 576;
/// The least quiet time that is safe: twice what a request may be under way (`LATEST_ARRIVAL` of
/// `lightning::channel`). Only tests, which are debug builds, are in a hurry.
const LEAST_QUIET_SECS: u32 = if cfg!(debug_assertions) { 1 } else { 60 };
/// What LND assumes of an invoice that names no final delta.
const DEFAULT_FINAL_DELTA: u32 = 18;

/// Settings under `[lightning]`.
#[derive(Debug, Clone)]
pub struct Lightning {
    pub lnd_cert_file: PathBuf,
    pub lnd_macaroon_file: PathBuf,
    /// Always `https`.
    pub lnd_grpc_host: String,
    /// The life that a buyer's invoice must still have when it is handed in.
    pub invoice_expiration_window: Duration,
    /// Blocks a seller's sats may be held.
    pub hold_invoice_cltv_delta: u32,
    /// The life of a bond invoice; advertised.
    pub hold_invoice_expiration_window: Duration,
    /// Failed payouts before the buyer is asked for a new invoice.
    pub payment_attempts: u32,
    pub payment_retries_interval: Duration,
    /// The largest final CLTV delta that we accept in a buyer's invoice, in blocks.
    pub max_final_cltv_expiry_delta: u32,
    /// Blocks before a hold's HTLC expires at which we act; includes `lnd_hold_expiry_delta`.
    pub escrow_deadline_margin_blocks: u32,
    /// LND's own `invoices.holdexpirydelta`, in blocks.
    pub lnd_hold_expiry_delta: u32,
    /// Blocks of timelock that a payout's route may have.
    pub payment_cltv_limit: u32,
    /// How long LND must not know an unacknowledged payout before the same invoice is sent again.
    pub payout_quiet: Duration,
    /// Whether another LND may take the place of the remembered one.
    pub allow_node_change: bool,
}

pub(super) fn read(s: &mut Section<'_>) -> Result<Lightning, Reported> {
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
        .map(|(key, usual)| {
            let limit = s.number(key, Default(usual), ..);
            s.without_effect(key, limit, &usual, "no payout waits for another")
        });
    let payout_quiet = s.seconds("payout_quiet_seconds", Default(60), LEAST_QUIET_SECS..);
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

fn read_host(s: &mut Section<'_>) -> Result<String, Reported> {
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

/// The three heights around a hold's end, which must leave room for one another.
struct EscrowBlocks {
    held: u32,
    margin: u32,
    lnd_delta: u32,
}

fn read_escrow_blocks(s: &mut Section<'_>) -> Result<EscrowBlocks, Reported> {
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
                "LND gives a hold back {lnd_delta} blocks before its HTLC expires \
                 (lnd_hold_expiry_delta), and we must act {GUARD_BLOCKS} blocks before LND"
            ),
            format!("set it to {least} or more"),
        ));
    }
    if margin >= held {
        return Err(s.refuse(
            key,
            format!("a hold of {held} blocks (hold_invoice_cltv_delta) would be over at once"),
            "set it below hold_invoice_cltv_delta",
        ));
    }
    Ok(EscrowBlocks { held, margin, lnd_delta })
}

/// The limit on a payout's whole route. With one too low for the last hop and a usual route every
/// payout would fail, and one above LND's own is refused by LND (D39).
fn read_cltv_limit(s: &mut Section<'_>, max_final: Result<u32, Reported>) -> Result<u32, Reported> {
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
            "is more than LND grants: it would refuse every payout",
            format!("set it to {MAX_ROUTE_BLOCKS} or less, and never above LND's max-cltv-expiry"),
        ));
    }
    Ok(limit)
}
