//! What our macaroon must allow, and whether it does.
//!
//! LND does not tell what a macaroon allows, but it looks at the macaroon before it looks at the
//! request. So each call is made once with a request that nobody can grant.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fedimint_tonic_lnd::invoicesrpc::{
    AddHoldInvoiceRequest, CancelInvoiceMsg, SettleInvoiceMsg, SubscribeSingleInvoiceRequest,
};
use fedimint_tonic_lnd::lnrpc::PaymentHash;
use fedimint_tonic_lnd::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use sha2::{Digest, Sha256};

use super::client::{LOOK_UP, Lnd, TRACK};
use super::error::LightningError;

/// What `docs/OPERATIONS.md` asks operators to bake.
pub const RIGHTS: [&str; 9] = [
    "/lnrpc.Lightning/GetInfo",
    "/lnrpc.Lightning/ListChannels",
    "/lnrpc.Lightning/LookupInvoice",
    "/invoicesrpc.Invoices/AddHoldInvoice",
    "/invoicesrpc.Invoices/SubscribeSingleInvoice",
    "/invoicesrpc.Invoices/SettleInvoice",
    "/invoicesrpc.Invoices/CancelInvoice",
    "/routerrpc.Router/SendPaymentV2",
    "/routerrpc.Router/TrackPaymentV2",
];

/// No hash and no preimage is so short: LND refuses the request, if it lets us in.
const NO_HASH: [u8; 31] = [0; 31];

/// What was found out about the macaroon that was last looked at. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Rights(Arc<Mutex<Option<Found>>>);

#[derive(Debug)]
struct Found {
    /// Of the macaroon.
    digest: [u8; 32],
    lacks: Vec<&'static str>,
}

impl Rights {
    fn found(&self) -> MutexGuard<'_, Option<Found>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a person can do about a call that is not allowed.
pub(super) fn remedy() -> String {
    let uris = RIGHTS.map(|right| format!(" uri:{right}")).concat();
    format!(
        "Bake a macaroon of this node with the rights this daemon needs, and name it in \
         `lnd_macaroon_file`: lncli bakemacaroon --root_key_id 77 --save_to mostro.macaroon{uris}"
    )
}

/// Whether LND looked at the macaroon and not at the request. It has no code for that; the text
/// decides only what a person is told, never what happened to money.
pub(super) fn is_denial(reason: &str) -> bool {
    reason == "permission denied"
}

impl Lnd {
    /// The calls that the macaroon, as it is on disk now, does not allow. LND is asked once for each
    /// macaroon, for it logs what it refuses. It must be fully started.
    pub(super) async fn lacking_rights(&self) -> Result<Vec<&'static str>, LightningError> {
        let macaroon = self.macaroon().await?;
        let digest: [u8; 32] = Sha256::digest(macaroon.as_encoded_bytes()).into();
        if let Some(found) = &*self.rights.found()
            && found.digest == digest
        {
            return Ok(found.lacks.clone());
        }
        let (mut lacks, mut is_certain) = (Vec::new(), true);
        for answer in self.probe_permissions().await {
            match answer {
                Err(LightningError::Forbidden { call, .. }) => lacks.push(call),
                Ok(()) | Err(LightningError::Refused { .. }) => {}
                Err(_) => is_certain = false,
            }
        }
        if is_certain {
            *self.rights.found() = Some(Found { digest, lacks: lacks.clone() });
        }
        Ok(lacks)
    }

    async fn probe_permissions(&self) -> [Result<(), LightningError>; 7] {
        let hash = || NO_HASH.to_vec();
        let (lightning, invoices, router) = (&self.lightning, &self.invoices, &self.router);
        let add = AddHoldInvoiceRequest { hash: hash(), value: 1, ..Default::default() };
        let watch = SubscribeSingleInvoiceRequest { r_hash: hash() };
        let settle = SettleInvoiceMsg { preimage: hash() };
        let cancel = CancelInvoiceMsg { payment_hash: hash() };
        let look_up = PaymentHash { r_hash: hash(), ..Default::default() };
        let payment_request = "no invoice".to_owned();
        let send = SendPaymentRequest { payment_request, ..Default::default() };
        let track = TrackPaymentRequest { payment_hash: hash(), ..Default::default() };
        [
            self.call("AddHoldInvoice", invoices, add, |mut lnd, request| async move {
                lnd.add_hold_invoice(request).await
            })
            .await
            .map(drop),
            self.open("SubscribeSingleInvoice", invoices, watch, |mut lnd, request| async move {
                lnd.subscribe_single_invoice(request).await
            })
            .await
            .map(drop),
            self.call("SettleInvoice", invoices, settle, |mut lnd, request| async move {
                lnd.settle_invoice(request).await
            })
            .await
            .map(drop),
            self.call("CancelInvoice", invoices, cancel, |mut lnd, request| async move {
                lnd.cancel_invoice(request).await
            })
            .await
            .map(drop),
            self.call(LOOK_UP, lightning, look_up, |mut lnd, request| async move {
                lnd.lookup_invoice(request).await
            })
            .await
            .map(drop),
            self.open("SendPaymentV2", router, send, |mut lnd, request| async move {
                lnd.send_payment_v2(request).await
            })
            .await
            .map(drop),
            self.open(TRACK, router, track, |mut lnd, request| async move {
                lnd.track_payment_v2(request).await
            })
            .await
            .map(drop),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_asks_for_what_the_log_asks_for() {
        let manual = include_str!("../../docs/OPERATIONS.md");
        let asked = manual.split_whitespace().filter(|word| word.starts_with("uri:"));
        let asked: Vec<&str> = asked.map(|word| word.trim_start_matches("uri:")).collect();

        assert_eq!(asked, RIGHTS);
    }
}
