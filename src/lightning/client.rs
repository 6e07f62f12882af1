//! The port, spoken by LND: each call has a deadline, and what a call did is looked up, not guessed.

use std::error::Error;
use std::future::{Future, ready};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use fedimint_tonic_lnd::invoicesrpc::invoices_client::InvoicesClient;
use fedimint_tonic_lnd::invoicesrpc::{
    AddHoldInvoiceRequest, CancelInvoiceMsg, SettleInvoiceMsg, SubscribeSingleInvoiceRequest,
};
use fedimint_tonic_lnd::lnrpc;
use fedimint_tonic_lnd::lnrpc::lightning_client::LightningClient;
use fedimint_tonic_lnd::lnrpc::{
    Channel as LndChannel, GetInfoRequest, Invoice, ListChannelsRequest, Payment,
};
use fedimint_tonic_lnd::routerrpc::router_client::RouterClient;
use fedimint_tonic_lnd::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use trade::{
    BlockHeight, EscrowEvidence, HoldStatus, PaymentHash, PaymentStatus, Preimage, Timestamp,
};

use super::channel::{self, DialError};
use super::rights::{self, Rights};
use super::{
    AddedHold, HoldWord, Htlc, LightningError, LightningNode, NewHold, NewPayment, Readiness,
    answers, invoice,
};

/// How long LND may take to answer a call, or to open a stream and say its first word.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Room for long lists: tonic's own limit is 4 MB, LND's 200 MB.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// How long LND may start new attempts for one payment. It says nothing about the payment's end.
const PAYMENT_ATTEMPT_SECS: i32 = 60;

/// Where LND is and what it takes to be let in.
#[derive(Debug, Clone)]
pub struct LndAccess {
    /// Like `https://127.0.0.1:10009`.
    pub host: String,
    pub cert_file: PathBuf,
    pub macaroon_file: PathBuf,
}

/// Our client of LND. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Lnd {
    channel: Channel,
    pub(super) lightning: LightningClient<Channel>,
    pub(super) invoices: InvoicesClient<Channel>,
    pub(super) router: RouterClient<Channel>,
    macaroon_file: PathBuf,
    deadline: Duration,
    pub(super) rights: Rights,
}

impl Lnd {
    /// A client that dials when it is first asked. Certificate and macaroon are read when they are
    /// needed, so renewed files need no restart.
    ///
    /// # Errors
    /// If `access.host` is not an https URL of host and port.
    pub fn new(access: LndAccess) -> Result<Self, LightningError> {
        let LndAccess { host, cert_file, macaroon_file } = access;
        let channel = channel::channel(&host, cert_file)
            .map_err(|problem| LightningError::Host { host, problem })?;
        Ok(Self {
            lightning: LightningClient::new(channel.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            invoices: InvoicesClient::new(channel.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            router: RouterClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES),
            channel,
            macaroon_file,
            deadline: CALL_DEADLINE,
            rights: Rights::default(),
        })
    }

    /// The same client with another deadline for every call.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }
}

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
            Ok(added) => Ok(AddedHold { bolt11: added.payment_request, word: HoldWord::Open }),
            Err(error) => self.adopt(&hold, error).await,
        }
    }

    async fn settle_hold(
        &self,
        preimage: Preimage,
        evidence: EscrowEvidence,
    ) -> Result<HoldWord, LightningError> {
        let hash = answers::hash_of(&preimage);
        let invoice = self.find_invoice(hash).await?;
        // LND would settle what it has given back, and say so.
        match (self.seen_in_channels(hash, invoice).await, evidence) {
            (Ok(HoldStatus::Canceled), _) => return Ok(HoldWord::Canceled),
            (Ok(_), _) => {}
            (Err(source), EscrowEvidence::Required) => {
                return Err(LightningError::EscrowUnseen { source: Box::new(source) });
            }
            (Err(error), EscrowEvidence::Waived) => {
                let error = crate::error_chain(&error);
                tracing::warn!(ln.hash = %hash, error, "an escrow is settled unseen: it runs out");
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

    async fn cancel_hold(&self, hash: PaymentHash) -> Result<HoldWord, LightningError> {
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

    fn watch(&self, hash: PaymentHash) -> BoxStream<'_, HoldWord> {
        const CALL: &str = "SubscribeSingleInvoice";
        let request = SubscribeSingleInvoiceRequest { r_hash: hash.0.to_vec() };
        let opened = self.open(CALL, &self.invoices, request, |mut client, request| async move {
            client.subscribe_single_invoice(request).await
        });
        words(opened, move |invoice| answers::hold_word(CALL, hash, &invoice)).boxed()
    }

    fn follow(&self, hash: PaymentHash) -> BoxStream<'_, PaymentStatus> {
        let opened = self.track(hash);
        words(opened, move |payment| answers::payment_status(TRACK, hash, &payment)).boxed()
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

pub(super) const LOOK_UP: &str = "LookupInvoice";
pub(super) const TRACK: &str = "TrackPaymentV2";
/// What an error must be of to be LND's answer to [`LightningNode::send`].
pub const SEND: &str = "SendPaymentV2";

impl Lnd {
    /// LND refuses a second invoice for a hash, whatever became of the first, so a failed call may
    /// have been answered by the hash itself.
    async fn adopt(
        &self,
        hold: &NewHold,
        error: LightningError,
    ) -> Result<AddedHold, LightningError> {
        match self.find_invoice(hold.hash).await {
            Ok(Some(found)) if Some(found.value_msat) == msats(hold) => {
                let word = answers::hold_word(LOOK_UP, hold.hash, &found)?;
                Ok(AddedHold { bolt11: found.payment_request, word })
            }
            Ok(Some(found)) => Err(LightningError::OtherHold {
                hash: hold.hash,
                wanted: hold.amount,
                found: found.value_msat,
            }),
            Ok(None) | Err(_) => Err(error),
        }
    }

    /// Where the hold of this invoice stands. Only of an accepted one the channels are asked for.
    async fn seen_in_channels(
        &self,
        hash: PaymentHash,
        invoice: Option<Invoice>,
    ) -> Result<HoldStatus, LightningError> {
        let Some(invoice) = invoice else { return Ok(HoldStatus::Unknown) };
        match answers::hold_word(LOOK_UP, hash, &invoice)? {
            HoldWord::Unknown => Ok(HoldStatus::Unknown),
            HoldWord::Open => Ok(HoldStatus::Open),
            HoldWord::Settled => Ok(HoldStatus::Settled),
            HoldWord::Canceled => Ok(HoldStatus::Canceled),
            HoldWord::Accepted => {
                let channels = self.list_channels(false).await?;
                match answers::escrow(LOOK_UP, hash, &invoice, &channels)? {
                    Some(escrow) => Ok(escrow),
                    None => self.given_back(hash).await,
                }
            }
        }
    }

    /// Where a hold stands that was accepted a moment ago and is in no channel now.
    async fn given_back(&self, hash: PaymentHash) -> Result<HoldStatus, LightningError> {
        // What ends a hold becomes LND's word before it leaves the channel.
        match self.look_up(hash).await? {
            HoldWord::Unknown => Ok(HoldStatus::Unknown),
            HoldWord::Open => Ok(HoldStatus::Open),
            HoldWord::Settled => Ok(HoldStatus::Settled),
            HoldWord::Canceled => Ok(HoldStatus::Canceled),
            HoldWord::Accepted => {
                tracing::error!(ln.hash = %hash, "LND has given a hold back and calls it accepted: it is taken as canceled");
                Ok(HoldStatus::Canceled)
            }
        }
    }

    /// What a call did to a hold, whatever it answered.
    async fn look_after(
        &self,
        hash: PaymentHash,
        answer: Result<(), LightningError>,
    ) -> Result<HoldWord, LightningError> {
        let word = self.look_up(hash).await;
        match (answer, &word) {
            // Nothing changes before a person has acted: not to be tried every second.
            (
                Err(error @ LightningError::Forbidden { .. }),
                Ok(HoldWord::Open | HoldWord::Accepted),
            ) => return Err(error),
            (Err(error), Ok(word)) => {
                tracing::warn!(ln.hash = %hash, %error, ?word, "a call about a hold failed");
            }
            (Ok(()), _) | (_, Err(_)) => {}
        }
        word
    }

    /// LND's word about a hold, without its channels.
    async fn look_up(&self, hash: PaymentHash) -> Result<HoldWord, LightningError> {
        match self.find_invoice(hash).await? {
            Some(invoice) => answers::hold_word(LOOK_UP, hash, &invoice),
            None => Ok(HoldWord::Unknown),
        }
    }

    async fn find_invoice(&self, hash: PaymentHash) -> Result<Option<Invoice>, LightningError> {
        // Not its V2: of a hash that it does not know, a node that never had an invoice says NotFound
        // only here.
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

    /// "Not found" counts only from a node that is fully started.
    async fn confirm_unknown(&self) -> Result<(), LightningError> {
        if self.is_active().await? { Ok(()) } else { Err(LightningError::Starting) }
    }

    async fn is_active(&self) -> Result<bool, LightningError> {
        let answer = self.within("GetState", || channel::state(self.channel.clone())).await?;
        answers::is_active(answer.into_inner().state)
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

    /// Makes a call that has one answer.
    pub(super) async fn call<C: Clone, Q: Clone, A, F>(
        &self,
        call: &'static str,
        client: &C,
        message: Q,
        send: impl Fn(C, Request<Q>) -> F,
    ) -> Result<A, LightningError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let macaroon = self.macaroon().await?;
        let answer = self.within(call, || send(client.clone(), with(&macaroon, message.clone())));
        answer.await.map(Response::into_inner)
    }

    /// Opens a stream and waits for its first message. LND sends not even headers before it has
    /// something to say, so both are under one deadline.
    pub(super) async fn open<C: Clone, Q: Clone, A, F>(
        &self,
        call: &'static str,
        client: &C,
        message: Q,
        send: impl Fn(C, Request<Q>) -> F,
    ) -> Result<(A, Streaming<A>), LightningError>
    where
        F: Future<Output = Result<Response<Streaming<A>>, Status>>,
    {
        let macaroon = self.macaroon().await?;
        let first = || async {
            let request = with(&macaroon, message.clone());
            let mut stream = send(client.clone(), request).await?.into_inner();
            match stream.message().await? {
                Some(first) => Ok((first, stream)),
                None => Err(Status::unavailable("the stream ended before its first message")),
            }
        };
        self.within(call, first).await
    }

    /// The macaroon as it is on disk now.
    pub(super) async fn macaroon(&self) -> Result<MetadataValue<Ascii>, LightningError> {
        let unreadable =
            |source| LightningError::MacaroonFile { path: self.macaroon_file.clone(), source };
        let bytes = tokio::fs::read(&self.macaroon_file).await.map_err(unreadable)?;
        let mut macaroon = MetadataValue::<Ascii>::try_from(hex::encode(bytes))
            .map_err(|_| unreadable(std::io::ErrorKind::InvalidData.into()))?;
        macaroon.set_sensitive(true);
        Ok(macaroon)
    }

    /// Waits for an answer, but not for ever.
    ///
    /// That LND closed the connection shows at the first request made on it, which fails unsent;
    /// the same request is then made once more, on a connection of its own.
    async fn within<T, F>(
        &self,
        call: &'static str,
        ask: impl Fn() -> F,
    ) -> Result<T, LightningError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let answer = async {
            match ask().await {
                Err(status) if was_unsent(&status) => ask().await,
                answer => answer,
            }
        };
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(answer) => answer.map_err(|status| failure(call, status)),
            Err(elapsed) => Err(LightningError::Unreachable { call, source: elapsed.into() }),
        }
    }
}

fn with<Q>(macaroon: &MetadataValue<Ascii>, message: Q) -> Request<Q> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("macaroon", macaroon.clone());
    request
}

fn was_unsent(status: &Status) -> bool {
    status.code() == Code::Cancelled && status.source().is_some()
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
        // LND goes on when this stream ends, tells at once that it has the payment, and does not
        // pay itself (P2).
        cancelable: false,
        no_inflight_updates: false,
        allow_self_payment: false,
        ..Default::default()
    })
}

/// What an opened stream says, up to its end or the first thing that makes no sense.
fn words<'a, A: Send + 'a, T: Send + 'a>(
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

/// `GetState` has answered without a macaroon, so a node that is up refuses the one we brought.
fn forbidden(error: LightningError) -> LightningError {
    match error {
        LightningError::Refused { call, reason, .. } => LightningError::Forbidden { call, reason },
        other => other,
    }
}

/// Tells LND's own answer from a link that broke.
fn failure(call: &'static str, status: Status) -> LightningError {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(dial) = error.downcast_ref::<DialError>() {
            return not_dialed(call, dial);
        }
        source = error.source();
    }
    let is_answer = status.source().is_none();
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
            LightningError::Unreachable { call, source: status.into() }
        }
        Code::Unknown if is_answer && rights::is_denial(status.message()) => {
            LightningError::Forbidden { call, reason: status.message().to_owned() }
        }
        code if is_answer => {
            LightningError::Refused { call, code, reason: status.message().to_owned() }
        }
        _ => LightningError::Unreachable { call, source: status.into() },
    }
}

fn not_dialed(call: &'static str, error: &DialError) -> LightningError {
    match error {
        DialError::CertificateFile { path, source } => LightningError::CertificateFile {
            path: path.clone(),
            source: source.to_string().into(),
        },
        DialError::OtherCertificate { path } => {
            LightningError::OtherCertificate { path: path.clone() }
        }
        DialError::Connect { .. }
        | DialError::Name { .. }
        | DialError::Handshake { .. }
        | DialError::Setup(_) => {
            let why = error.source().map_or_else(String::new, |source| format!(": {source}"));
            LightningError::Unreachable { call, source: format!("{error}{why}").into() }
        }
    }
}

#[cfg(test)]
mod tests;
