//! Calls of LND over one connection: each has a deadline and the macaroon, and a failure says whether it
//! is LND's own answer.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use fedimint_tonic_lnd::invoicesrpc::invoices_client::InvoicesClient;
use fedimint_tonic_lnd::lnrpc::lightning_client::LightningClient;
use fedimint_tonic_lnd::routerrpc::router_client::RouterClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use super::answers;
use super::channel::{self, DialError};
use super::error::LightningError;
use super::rights::{self, KnownRights};

/// How long LND may take to answer a call, or to open a stream and send its first message.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Room for long lists: tonic's own limit is 4 MB, LND's 200 MB.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Names of calls that several places make.
pub(super) const LOOK_UP: &str = "LookupInvoice";
pub(super) const TRACK: &str = "TrackPaymentV2";
/// The call that [`LightningNode::send`](super::LightningNode::send) makes, for
/// [`LightningError::refusal_of`].
pub const SEND: &str = "SendPaymentV2";

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
    pub(super) rights: KnownRights,
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
            rights: KnownRights::default(),
        })
    }

    /// The same client with another deadline for every call.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Whether LND says that it is fully started. It tells that without a macaroon.
    pub(super) async fn is_active(&self) -> Result<bool, LightningError> {
        let answer = self.within("GetState", || channel::state(self.channel.clone())).await?;
        answers::is_active(answer.into_inner().state)
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

    /// Opens a stream and waits for its first message. LND sends no headers before its first message,
    /// so both are under one deadline.
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

    /// Waits for an answer, at most until the deadline.
    ///
    /// That LND closed the connection shows at the next request on it, which fails before it is sent;
    /// the same request is then made once more, on a new connection.
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

/// Of calls that are made once `GetState` has answered, which needs no macaroon: a node that is up and
/// refuses does not accept ours.
pub(super) fn forbidden(error: LightningError) -> LightningError {
    match error {
        LightningError::Refused { call, reason, .. } => LightningError::Forbidden { call, reason },
        other => other,
    }
}

/// Tells LND's own answer from a connection that broke.
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
