//! A simulation in its own folder, a manual clock, and clients that read the node's files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fedimint_tonic_lnd::invoicesrpc::lookup_invoice_msg::InvoiceRef;
use fedimint_tonic_lnd::invoicesrpc::{
    AddHoldInvoiceRequest, CancelInvoiceMsg, LookupInvoiceMsg, SettleInvoiceMsg,
    SubscribeSingleInvoiceRequest,
};
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState;
use fedimint_tonic_lnd::lnrpc::payment::PaymentStatus;
use fedimint_tonic_lnd::lnrpc::{Invoice, Payment, PaymentFailureReason};
use fedimint_tonic_lnd::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use fedimint_tonic_lnd::{Client, connect, lnrpc};
use lnd_sim::{Config, HUB, LndSim, PaymentHash, Preimage};
use tempfile::TempDir;
use tonic::{Status, Streaming};

pub(crate) const SELLER: &str = "seller";
pub(crate) const BUYER: &str = "buyer";
/// 2026-11-21 15:00:00 UTC.
pub(crate) const BEGIN_SECS: u64 = 1_795_273_200;
pub(crate) const PREIMAGE: Preimage = Preimage([7; 32]);

pub(crate) struct Fixture {
    pub(crate) sim: LndSim,
    pub(crate) client: Client,
    pub(crate) dir: TempDir,
    millis: Arc<AtomicU64>,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(adjust: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let millis = Arc::new(AtomicU64::new(BEGIN_SECS * 1000));
        let hands = millis.clone();
        let mut config = Config::new(dir.path());
        config.clock = Arc::new(move || Duration::from_millis(hands.load(Ordering::SeqCst)));
        adjust(&mut config);
        let sim = LndSim::start(config).await.unwrap();
        let client = client(&sim, HUB).await;
        Self { sim, client, dir, millis }
    }

    pub(crate) fn advance(&self, secs: u64) {
        self.millis.fetch_add(secs * 1000, Ordering::SeqCst);
    }

    /// Adds a hold invoice of 10,000 sat for `PREIMAGE` with these changes; returns its text.
    pub(crate) async fn add_hold(
        &mut self,
        change: impl FnOnce(&mut AddHoldInvoiceRequest),
    ) -> Result<String, Status> {
        let mut request = AddHoldInvoiceRequest {
            hash: PREIMAGE.hash().0.to_vec(),
            value: 10_000,
            cltv_expiry: 144,
            ..Default::default()
        };
        change(&mut request);
        let added = self.client.invoices().add_hold_invoice(request).await?;
        Ok(added.into_inner().payment_request)
    }

    /// Adds it and has the seller pay it.
    pub(crate) async fn add_held(&mut self) -> String {
        let bolt11 = self.add_hold(|_| ()).await.unwrap();
        let payment = self.sim.pay(SELLER, &bolt11).unwrap();
        assert_eq!(payment.status(), PaymentStatus::InFlight);
        bolt11
    }

    pub(crate) async fn settle(&mut self) -> Result<(), Status> {
        let preimage = PREIMAGE.0.to_vec();
        self.client.invoices().settle_invoice(SettleInvoiceMsg { preimage }).await.map(drop)
    }

    pub(crate) async fn cancel(&mut self) -> Result<(), Status> {
        let payment_hash = PREIMAGE.hash().0.to_vec();
        self.client.invoices().cancel_invoice(CancelInvoiceMsg { payment_hash }).await.map(drop)
    }

    /// By LND's older call.
    pub(crate) async fn lookup_v1(&mut self) -> Result<Invoice, Status> {
        let r_hash = PREIMAGE.hash().0.to_vec();
        let request = lnrpc::PaymentHash { r_hash, ..Default::default() };
        self.client.lightning().lookup_invoice(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn lookup(&mut self) -> Result<Invoice, Status> {
        let invoice_ref = Some(InvoiceRef::PaymentHash(PREIMAGE.hash().0.to_vec()));
        let request = LookupInvoiceMsg { invoice_ref, ..Default::default() };
        self.client.invoices().lookup_invoice_v2(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn state(&mut self) -> InvoiceState {
        self.lookup().await.unwrap().state()
    }

    pub(crate) async fn subscribe(&mut self) -> Result<Streaming<Invoice>, Status> {
        let r_hash = PREIMAGE.hash().0.to_vec();
        let request = SubscribeSingleInvoiceRequest { r_hash };
        let opened = self.client.invoices().subscribe_single_invoice(request).await?;
        Ok(opened.into_inner())
    }

    pub(crate) async fn send(
        &mut self,
        request: SendPaymentRequest,
    ) -> Result<Streaming<Payment>, Status> {
        self.client.router().send_payment_v2(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn track(&mut self, hash: PaymentHash) -> Result<Streaming<Payment>, Status> {
        let request = TrackPaymentRequest { payment_hash: hash.0.to_vec(), ..Default::default() };
        self.client.router().track_payment_v2(request).await.map(tonic::Response::into_inner)
    }

    /// How a payment ends, or why it is refused, in the notation of the measured cases.
    pub(crate) async fn outcome(&mut self, request: SendPaymentRequest) -> String {
        match self.send(request).await {
            Ok(stream) => status_text(rest(stream).await.0.last().unwrap()),
            Err(status) => error_text(&status),
        }
    }

    /// Waits until a condition holds, for a few seconds at most.
    pub(crate) async fn until(&self, is_so: impl Fn(&LndSim) -> bool) {
        let mut changes = self.sim.changes();
        let waiting = async {
            while !is_so(&self.sim) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
    }

    pub(crate) fn check_laws(&self) {
        assert_eq!(self.sim.check(), Vec::<String>::new());
    }
}

pub(crate) async fn client(sim: &LndSim, node: &str) -> Client {
    client_in(sim.dir(), node).await
}

/// A client made from the files in a node's folder.
pub(crate) async fn client_in(dir: &Path, node: &str) -> Client {
    let provider = rustls::crypto::ring::default_provider();
    drop(provider.install_default()); // only the first test installs it
    let files = dir.join(node);
    let address = std::fs::read_to_string(files.join("address")).unwrap();
    let (cert, macaroon) = (files.join("tls.cert"), files.join("admin.macaroon"));
    connect(format!("https://{address}"), cert, macaroon).await.unwrap()
}

/// A payment with limits.
pub(crate) fn payment(bolt11: &str) -> SendPaymentRequest {
    SendPaymentRequest {
        payment_request: bolt11.to_owned(),
        timeout_seconds: 60,
        fee_limit_sat: 100,
        cltv_limit: 432,
        ..Default::default()
    }
}

pub(crate) fn hash_of(sim: &LndSim, node: &str) -> PaymentHash {
    *sim.list_invoices(node, lnd_sim::InvoiceState::Open).last().unwrap()
}

/// The remaining messages of a stream, and how it ends.
pub(crate) async fn rest<T>(mut stream: Streaming<T>) -> (Vec<T>, Result<(), Status>) {
    let mut messages = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, Ok(())),
            Err(status) => return (messages, Err(status)),
        }
    }
}

pub(crate) fn error_text(status: &Status) -> String {
    let code = match status.code() {
        tonic::Code::Unknown => "UNKNOWN".to_owned(),
        tonic::Code::NotFound => "NOT_FOUND".to_owned(),
        tonic::Code::AlreadyExists => "ALREADY_EXISTS".to_owned(),
        tonic::Code::InvalidArgument => "INVALID_ARGUMENT".to_owned(),
        tonic::Code::Unimplemented => "UNIMPLEMENTED".to_owned(),
        tonic::Code::Unavailable => "UNAVAILABLE".to_owned(),
        code => format!("{code:?}"),
    };
    format!("{code}: {}", status.message())
}

pub(crate) fn answer<T>(answer: Result<T, Status>) -> String {
    answer.map_or_else(|status| error_text(&status), |_| "OK".to_owned())
}

pub(crate) fn status_text(payment: &Payment) -> String {
    let reason = match payment.failure_reason() {
        PaymentFailureReason::FailureReasonNone => {
            return payment.status().as_str_name().to_owned();
        }
        reason => reason.as_str_name().trim_start_matches("FAILURE_REASON_"),
    };
    format!("{}/{reason}", payment.status().as_str_name())
}
