//! The port, spoken by LND: what a call did is looked up, not guessed.

use std::future::{Future, ready};

use async_trait::async_trait;
use fedimint_tonic_lnd::invoicesrpc::{
    AddHoldInvoiceRequest, CancelInvoiceMsg, SettleInvoiceMsg, SubscribeSingleInvoiceRequest,
};
use fedimint_tonic_lnd::lnrpc;
use fedimint_tonic_lnd::lnrpc::{
    Channel as LndChannel, GetInfoRequest, Invoice, ListChannelsRequest, Payment,
};
use fedimint_tonic_lnd::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use tonic::{Code, Streaming};
use trade::{
    BlockHeight, EscrowEvidence, HoldStatus, PaymentHash, PaymentStatus, Preimage, Timestamp,
};

use super::calls::{LOOK_UP, Lnd, SEND, TRACK, forbidden};
use super::{
    AddedHold, Htlc, InvoiceState, LightningError, LightningNode, NewHold, NewPayment, Readiness,
    answers, invoice,
};

/// How long LND may start new attempts for one payment. It says nothing about the payment's end.
const PAYMENT_ATTEMPT_SECS: i32 = 60;

#[async_trait]
impl LightningNode for Lnd {
    async fn add_hold(&self, hold: NewHold) -> Result<AddedHold, LightningError> {
        let request = add_request(&hold)?;
        let answer = self
            .call("AddHoldInvoice", &self.invoices, request, |mut client, request| async move {
                client.add_hold_invoice(request).await
            })
            .await;
        match answer {
            Ok(added) => Ok(AddedHold { bolt11: added.payment_request, state: InvoiceState::Open }),
            Err(error) => self.adopt(&hold, error).await,
        }
    }

    async fn settle_hold(
        &self,
        preimage: Preimage,
        evidence: EscrowEvidence,
    ) -> Result<InvoiceState, LightningError> {
        let hash = answers::hash_of(&preimage);
        let invoice = self.find_invoice(hash).await?;
        // LND would settle what it has given back, and call it settled.
        match (self.seen_in_channels(hash, invoice).await, evidence) {
            (Ok(HoldStatus::Canceled), _) => return Ok(InvoiceState::Canceled),
            (Ok(_), _) => {}
            (Err(source), EscrowEvidence::Required) => {
                return Err(LightningError::EscrowUnseen { source: Box::new(source) });
            }
            (Err(error), EscrowEvidence::Waived) => {
                let error = crate::error_chain(&error);
                tracing::warn!(ln.hash = %hash, error, "LND does not show an escrow; it is settled all the same, for it is near its expiry");
            }
        }
        let request = SettleInvoiceMsg { preimage: preimage.0.to_vec() };
        let answer = self
            .call("SettleInvoice", &self.invoices, request, |mut client, request| async move {
                client.settle_invoice(request).await
            })
            .await;
        self.look_after(hash, answer.map(drop)).await
    }

    async fn cancel_hold(&self, hash: PaymentHash) -> Result<InvoiceState, LightningError> {
        let request = CancelInvoiceMsg { payment_hash: hash.0.to_vec() };
        let answer = self
            .call("CancelInvoice", &self.invoices, request, |mut client, request| async move {
                client.cancel_invoice(request).await
            })
            .await;
        self.look_after(hash, answer.map(drop)).await
    }

    async fn hold_status(&self, hash: PaymentHash) -> Result<HoldStatus, LightningError> {
        let invoice = self.find_invoice(hash).await?;
        self.seen_in_channels(hash, invoice).await
    }

    async fn send(&self, payment: NewPayment) -> Result<PaymentStatus, LightningError> {
        let hash = payment.hash;
        let request = send_request(SEND, payment)?;
        let opened = self
            .open(SEND, &self.router, request, |mut client, request| async move {
                client.send_payment_v2(request).await
            })
            .await;
        match opened {
            Ok((first, _)) => answers::payment_status(SEND, hash, &first),
            Err(LightningError::Refused { code: Code::AlreadyExists, .. }) => {
                self.payment_status(hash).await
            }
            Err(error) => Err(error),
        }
    }

    async fn payment_status(&self, hash: PaymentHash) -> Result<PaymentStatus, LightningError> {
        match self.track(hash).await {
            Ok((first, _)) => answers::payment_status(TRACK, hash, &first),
            Err(LightningError::Refused { code: Code::NotFound, .. }) => {
                self.confirm_unknown().await.map(|()| PaymentStatus::Unknown)
            }
            Err(error) => Err(error),
        }
    }

    async fn find_htlc(&self, hash: PaymentHash) -> Result<Option<Htlc>, LightningError> {
        let payment = match self.track(hash).await {
            Ok((payment, _)) => payment,
            Err(LightningError::Refused { code: Code::NotFound, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let PaymentStatus::InFlight { index } = answers::payment_status(TRACK, hash, &payment)?
        else {
            return Ok(None);
        };
        let channels = self.list_channels(false).await?;
        Ok(Some(Htlc { index, missing_from: answers::missing_from(hash, &payment, &channels) }))
    }

    fn watch(&self, hash: PaymentHash) -> BoxStream<'_, InvoiceState> {
        const CALL: &str = "SubscribeSingleInvoice";
        let request = SubscribeSingleInvoiceRequest { r_hash: hash.0.to_vec() };
        let opened = self.open(CALL, &self.invoices, request, |mut client, request| async move {
            client.subscribe_single_invoice(request).await
        });
        updates(opened, move |invoice| answers::invoice_state(CALL, hash, &invoice)).boxed()
    }

    fn follow(&self, hash: PaymentHash) -> BoxStream<'_, PaymentStatus> {
        let opened = self.track(hash);
        updates(opened, move |payment| answers::payment_status(TRACK, hash, &payment)).boxed()
    }

    async fn readiness(&self) -> Result<Readiness, LightningError> {
        let active = self.is_active().await?;
        let node = self
            .call("GetInfo", &self.lightning, GetInfoRequest {}, |mut client, request| async move {
                client.get_info(request).await
            })
            .await
            .map_err(forbidden)?;
        let identity = answers::identity("GetInfo", &node)?;
        let mut lacks = if active { self.lacking_rights().await? } else { Vec::new() };
        let channels = match self.list_channels(true).await {
            Ok(channels) => Some(channels),
            Err(LightningError::Forbidden { call, .. }) => {
                lacks.push(call);
                None
            }
            Err(error) => {
                tracing::debug!(
                    error = crate::error_chain(&error),
                    "LND does not list its channels"
                );
                None
            }
        };
        Ok(Readiness {
            active,
            synced: node.synced_to_chain,
            channels_active: channels.map(|channels| channels.len()),
            lacks,
            height: BlockHeight(node.block_height),
            best_header_at: Timestamp(node.best_header_timestamp),
            identity,
            node: answers::description(node),
        })
    }
}

impl Lnd {
    /// LND refuses a second invoice for a hash, whatever became of the first: an earlier call may have
    /// made it.
    async fn adopt(
        &self,
        hold: &NewHold,
        error: LightningError,
    ) -> Result<AddedHold, LightningError> {
        match self.find_invoice(hold.hash).await {
            Ok(Some(found)) if Some(found.value_msat) == msats(hold) => {
                let state = answers::invoice_state(LOOK_UP, hold.hash, &found)?;
                Ok(AddedHold { bolt11: found.payment_request, state })
            }
            Ok(Some(found)) => Err(LightningError::OtherHold {
                hash: hold.hash,
                wanted: hold.amount,
                found: found.value_msat,
            }),
            Ok(None) | Err(_) => Err(error),
        }
    }

    /// The state of this invoice's hold. LND's channels are asked for only if it is accepted.
    async fn seen_in_channels(
        &self,
        hash: PaymentHash,
        invoice: Option<Invoice>,
    ) -> Result<HoldStatus, LightningError> {
        let Some(invoice) = invoice else { return Ok(HoldStatus::Unknown) };
        match answers::invoice_state(LOOK_UP, hash, &invoice)? {
            InvoiceState::Unknown => Ok(HoldStatus::Unknown),
            InvoiceState::Open => Ok(HoldStatus::Open),
            InvoiceState::Settled => Ok(HoldStatus::Settled),
            InvoiceState::Canceled => Ok(HoldStatus::Canceled),
            InvoiceState::Accepted => {
                let channels = self.list_channels(false).await?;
                match answers::escrow(LOOK_UP, hash, &invoice, &channels)? {
                    Some(escrow) => Ok(escrow),
                    None => self.given_back(hash).await,
                }
            }
        }
    }

    /// The state of a hold that was accepted a moment ago and is in no channel now.
    async fn given_back(&self, hash: PaymentHash) -> Result<HoldStatus, LightningError> {
        // A hold that ends is first marked in LND's invoice, and then leaves the channel.
        match self.look_up(hash).await? {
            InvoiceState::Unknown => Ok(HoldStatus::Unknown),
            InvoiceState::Open => Ok(HoldStatus::Open),
            InvoiceState::Settled => Ok(HoldStatus::Settled),
            InvoiceState::Canceled => Ok(HoldStatus::Canceled),
            InvoiceState::Accepted => {
                tracing::error!(ln.hash = %hash, "LND has given a hold back and still calls it accepted: it counts as canceled");
                Ok(HoldStatus::Canceled)
            }
        }
    }

    /// What a call did to a hold, whatever its answer was.
    async fn look_after(
        &self,
        hash: PaymentHash,
        answer: Result<(), LightningError>,
    ) -> Result<InvoiceState, LightningError> {
        let state = self.look_up(hash).await;
        match (answer, &state) {
            // A person must act first: as an error it is retried less and less often.
            (
                Err(error @ LightningError::Forbidden { .. }),
                Ok(InvoiceState::Open | InvoiceState::Accepted),
            ) => return Err(error),
            (Err(error), Ok(state)) => {
                tracing::warn!(ln.hash = %hash, %error, ?state, "a call about a hold failed");
            }
            (Ok(()), _) | (_, Err(_)) => {}
        }
        state
    }

    /// The state of a hold's invoice, without a look at the channels.
    async fn look_up(&self, hash: PaymentHash) -> Result<InvoiceState, LightningError> {
        match self.find_invoice(hash).await? {
            Some(invoice) => answers::invoice_state(LOOK_UP, hash, &invoice),
            None => Ok(InvoiceState::Unknown),
        }
    }

    async fn find_invoice(&self, hash: PaymentHash) -> Result<Option<Invoice>, LightningError> {
        // Not `LookupInvoiceV2`: there a node that never had an invoice does not answer NotFound.
        let request = lnrpc::PaymentHash { r_hash: hash.0.to_vec(), ..Default::default() };
        let answer = self
            .call(LOOK_UP, &self.lightning, request, |mut client, request| async move {
                client.lookup_invoice(request).await
            })
            .await;
        match answer {
            Ok(invoice) => Ok(Some(invoice)),
            Err(LightningError::Refused { code: Code::NotFound, .. }) => {
                self.confirm_unknown().await.map(|()| None)
            }
            Err(error) => Err(error),
        }
    }

    /// "Not found" counts only if the node is fully started.
    async fn confirm_unknown(&self) -> Result<(), LightningError> {
        if self.is_active().await? { Ok(()) } else { Err(LightningError::Starting) }
    }

    async fn list_channels(&self, active_only: bool) -> Result<Vec<LndChannel>, LightningError> {
        let request = ListChannelsRequest { active_only, ..Default::default() };
        let answer = self
            .call("ListChannels", &self.lightning, request, |mut client, request| async move {
                client.list_channels(request).await
            })
            .await;
        answer.map(|listed| listed.channels).map_err(forbidden)
    }

    async fn track(
        &self,
        hash: PaymentHash,
    ) -> Result<(Payment, Streaming<Payment>), LightningError> {
        let request =
            TrackPaymentRequest { payment_hash: hash.0.to_vec(), no_inflight_updates: false };
        self.open(TRACK, &self.router, request, |mut client, request| async move {
            client.track_payment_v2(request).await
        })
        .await
    }
}

fn add_request(hold: &NewHold) -> Result<AddHoldInvoiceRequest, LightningError> {
    let impossible = |problem| LightningError::Impossible { call: "AddHoldInvoice", problem };
    Ok(AddHoldInvoiceRequest {
        memo: hold.memo.clone(),
        hash: hold.hash.0.to_vec(),
        // Zero would be an invoice of any amount, and an expiry or a delta of LND's own choice.
        value_msat: msats(hold).filter(|value| *value > 0).ok_or(impossible("its amount"))?,
        expiry: i64::try_from(hold.expiry.as_secs())
            .ok()
            .filter(|secs| *secs > 0)
            .ok_or(impossible("its expiry"))?,
        cltv_expiry: Some(hold.cltv_delta)
            .filter(|blocks| *blocks > 0)
            .ok_or(impossible("its CLTV delta"))?
            .into(),
        ..Default::default()
    })
}

fn msats(hold: &NewHold) -> Option<i64> {
    hold.amount.to_msats().and_then(|amount| i64::try_from(amount.0).ok())
}

fn send_request(
    call: &'static str,
    payment: NewPayment,
) -> Result<SendPaymentRequest, LightningError> {
    let impossible = |problem| LightningError::Impossible { call, problem };
    let hash = invoice::payment_hash(&payment.bolt11);
    let hash = hash.ok_or(impossible("the invoice is unreadable"))?;
    if hash != payment.hash {
        return Err(impossible("the invoice has another hash than the one on record"));
    }
    let amount = payment.amount.unwrap_or_default().0;
    Ok(SendPaymentRequest {
        payment_request: payment.bolt11,
        amt: i64::try_from(amount).map_err(|_| impossible("its amount"))?,
        fee_limit_sat: i64::try_from(payment.max_fee.0).map_err(|_| impossible("its fee limit"))?,
        // Zero would be two weeks.
        cltv_limit: i32::try_from(payment.cltv_limit)
            .ok()
            .filter(|blocks| *blocks > 0)
            .ok_or(impossible("its time lock"))?,
        timeout_seconds: PAYMENT_ATTEMPT_SECS,
        // The payment goes on when this stream ends, LND tells at once that it has it, and LND does not
        // pay itself (P2).
        cancelable: false,
        no_inflight_updates: false,
        allow_self_payment: false,
        ..Default::default()
    })
}

/// The messages of an opened stream, up to its end or the first that makes no sense.
fn updates<'a, A: Send + 'a, T: Send + 'a>(
    opened: impl Future<Output = Result<(A, Streaming<A>), LightningError>> + Send + 'a,
    read: impl Fn(A) -> Result<T, LightningError> + Send + 'a,
) -> impl Stream<Item = T> + Send + 'a {
    stream::once(opened)
        .filter_map(|opened| {
            if let Err(error) = &opened {
                tracing::debug!(%error, "a stream did not open");
            }
            ready(opened.ok())
        })
        .flat_map(|(first, rest)| stream::once(ready(Ok(first))).chain(rest))
        .scan((), move |(), update| ready(update.ok().and_then(|update| read(update).ok())))
}

#[cfg(test)]
mod tests;
