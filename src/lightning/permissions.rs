//! Whether our macaroon allows what we need.
//!
//! LND does not tell what a macaroon allows, but it checks the macaroon before it reads the request. So
//! each call is made once with a request that is impossible.

use fedimint_tonic_lnd::invoicesrpc::{
    AddHoldInvoiceRequest, CancelInvoiceMsg, SettleInvoiceMsg, SubscribeSingleInvoiceRequest,
};
use fedimint_tonic_lnd::lnrpc::PaymentHash;
use fedimint_tonic_lnd::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use sha2::{Digest, Sha256};

use super::calls::{LOOK_UP, Lnd, SEND, TRACK};
use super::error::LightningError;

/// No hash and no preimage is so short: LND refuses the request, if the macaroon allows the call.
const NO_HASH: [u8; 31] = [0; 31];

impl Lnd {
    /// The calls that the macaroon, as it is on disk now, does not allow. LND logs what it refuses, so it
    /// is asked once for each macaroon. It must be fully started.
    pub(super) async fn lacking_rights(&self) -> Result<Vec<&'static str>, LightningError> {
        let macaroon = self.macaroon().await?;
        let digest: [u8; 32] = Sha256::digest(macaroon.as_encoded_bytes()).into();
        if let Some(lacks) = self.rights.lacking(digest) {
            return Ok(lacks);
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
            self.rights.learn(digest, lacks.clone());
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
            self.open(SEND, router, send, |mut lnd, request| async move {
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
