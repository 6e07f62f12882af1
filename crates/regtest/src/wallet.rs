//! A node's wallet, used over TLS and with its macaroon like by any LND wallet app. It makes no
//! difference whether the LND is real or simulated.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fedimint_tonic_lnd::invoicesrpc::invoices_client::InvoicesClient;
use fedimint_tonic_lnd::invoicesrpc::{
    AddHoldInvoiceRequest, CancelInvoiceMsg, SettleInvoiceMsg, SubscribeSingleInvoiceRequest,
};
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState;
use fedimint_tonic_lnd::lnrpc::lightning_client::LightningClient;
use fedimint_tonic_lnd::lnrpc::{Invoice, Payment, payment::PaymentStatus};
use fedimint_tonic_lnd::routerrpc::SendPaymentRequest;
use fedimint_tonic_lnd::routerrpc::router_client::RouterClient;
use lightning_invoice::Bolt11Invoice;
use tokio::time::timeout;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status};

/// The transport of LND's generated clients.
pub type Lnd = InterceptedService<Channel, Macaroon>;

/// How a client reaches a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAccess {
    pub name: String,
    /// The node's public key, as hex.
    pub pubkey: String,
    pub address: SocketAddr,
    pub tls_cert: PathBuf,
    pub macaroon: PathBuf,
}

impl NodeAccess {
    /// `https://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

/// A connection to a wallet. Clones share it.
#[derive(Debug, Clone)]
pub struct Wallet {
    name: String,
    lnd: Lnd,
}

/// Adds a node's macaroon to each call.
#[derive(Clone)]
pub struct Macaroon(MetadataValue<Ascii>);

const TIMEOUT: Duration = Duration::from_secs(15);
/// How long LND looks for a route.
const ROUTE_SECONDS: i32 = 60;

impl Wallet {
    /// Connects with the certificate and the macaroon in the node's folder.
    ///
    /// # Errors
    /// A file is missing, or the node does not answer.
    pub async fn open(access: &NodeAccess) -> Result<Self> {
        let name = access.name.clone();
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| format!("the wallet {name}: {}", path.display()))
        };
        let macaroon = hex::encode(read(&access.macaroon)?).parse()?;
        let channel = endpoint(&access.url(), read(&access.tls_cert)?)?
            .connect()
            .await
            .with_context(|| format!("the wallet {} does not answer at {}", name, access.url()))?;
        Ok(Self { name, lnd: InterceptedService::new(channel, Macaroon(macaroon)) })
    }

    /// The client of LND's main API, for calls that have no method here.
    #[must_use]
    pub fn lightning(&self) -> LightningClient<Lnd> {
        LightningClient::new(self.lnd.clone())
    }

    /// The client of LND's router.
    #[must_use]
    pub fn router(&self) -> RouterClient<Lnd> {
        RouterClient::new(self.lnd.clone())
    }

    /// The client of LND's invoices.
    #[must_use]
    pub fn invoices(&self) -> InvoicesClient<Lnd> {
        InvoicesClient::new(self.lnd.clone())
    }

    /// Makes any call (`/lnrpc.Lightning/GetInfo`) with an empty request.
    ///
    /// # Errors
    /// LND refuses; it checks the macaroon first.
    pub async fn call(&self, path: &'static str) -> Result<(), Status> {
        let mut grpc = tonic::client::Grpc::new(self.lnd.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = tonic::codec::ProstCodec::<(), ()>::default();
        let path = PathAndQuery::from_static(path);
        grpc.unary(Request::new(()), path, codec).await.map(Response::into_inner)
    }

    /// Makes an invoice.
    ///
    /// # Errors
    /// LND refuses.
    pub async fn invoice(&self, sats: u64) -> Result<String> {
        let terms = Invoice { value: i64::try_from(sats)?, ..Invoice::default() };
        let made = self.lightning().add_invoice(terms).await;
        let made =
            made.with_context(|| format!("the wallet {} cannot make an invoice", self.name))?;
        Ok(made.into_inner().payment_request)
    }

    /// Makes a hold invoice.
    ///
    /// # Errors
    /// LND refuses.
    pub async fn hold(&self, hash: [u8; 32], sats: u64) -> Result<String> {
        let terms = AddHoldInvoiceRequest {
            hash: hash.to_vec(),
            value: i64::try_from(sats)?,
            ..AddHoldInvoiceRequest::default()
        };
        let made = self.invoices().add_hold_invoice(terms).await;
        let made =
            made.with_context(|| format!("the wallet {} cannot make an invoice", self.name))?;
        Ok(made.into_inner().payment_request)
    }

    /// Settles a held invoice.
    ///
    /// # Errors
    /// LND refuses.
    pub async fn settle(&self, preimage: [u8; 32]) -> Result<()> {
        let asked = SettleInvoiceMsg { preimage: preimage.to_vec() };
        let settled = self.invoices().settle_invoice(asked).await;
        settled.with_context(|| format!("the wallet {} cannot settle", self.name))?;
        Ok(())
    }

    /// Cancels a hold invoice; what it holds is refunded.
    ///
    /// # Errors
    /// LND refuses.
    pub async fn cancel(&self, hash: [u8; 32]) -> Result<()> {
        let asked = CancelInvoiceMsg { payment_hash: hash.to_vec() };
        let canceled = self.invoices().cancel_invoice(asked).await;
        canceled.with_context(|| format!("the wallet {} cannot cancel", self.name))?;
        Ok(())
    }

    /// Waits until an invoice of this wallet is settled.
    ///
    /// # Errors
    /// The invoice is not of this wallet, it expired, or LND ended.
    pub async fn received(&self, bolt11: &str) -> Result<()> {
        let invoice: Bolt11Invoice = bolt11.parse()?;
        let hash: &[u8; 32] = invoice.payment_hash().as_ref();
        let asked = SubscribeSingleInvoiceRequest { r_hash: hash.to_vec() };
        let mut states = self.invoices().subscribe_single_invoice(asked).await?.into_inner();
        while let Some(invoice) = states.message().await? {
            if invoice.state() == InvoiceState::Settled {
                return Ok(());
            }
        }
        bail!("the wallet {} has not been paid", self.name)
    }

    /// Pays an invoice and returns the payment's status once its HTLC is sent; that of a hold invoice
    /// stays in flight.
    ///
    /// # Errors
    /// LND refuses, or the payment fails.
    pub async fn pay(&self, bolt11: &str) -> Result<PaymentStatus> {
        let request = SendPaymentRequest {
            payment_request: bolt11.to_owned(),
            timeout_seconds: ROUTE_SECONDS,
            fee_limit_sat: 1_000,
            max_parts: 1, // of several parts, some could arrive and wait for the others
            ..SendPaymentRequest::default()
        };
        let sent = timeout(TIMEOUT, self.send(request)).await;
        let payment =
            sent.with_context(|| format!("the wallet {} gets no update", self.name))??;
        let (status, reason) = (payment.status(), payment.failure_reason());
        ensure!(
            status != PaymentStatus::Failed,
            "the payment of {} failed: {}",
            self.name,
            reason.as_str_name()
        );
        Ok(status)
    }

    /// Reads LND's updates until the HTLC is sent or the payment has ended.
    async fn send(&self, request: SendPaymentRequest) -> Result<Payment> {
        let mut updates = self.router().send_payment_v2(request).await?.into_inner();
        while let Some(payment) = updates.message().await? {
            let has_left = !payment.htlcs.is_empty();
            if has_left || payment.status() != PaymentStatus::InFlight {
                return Ok(payment);
            }
        }
        bail!("LND ended the stream of {} without an update", self.name)
    }
}

/// The endpoint of an LND that presents this certificate.
pub(crate) fn endpoint(url: &str, certificate: Vec<u8>) -> Result<Endpoint> {
    let certificate = Certificate::from_pem(certificate);
    let tls = ClientTlsConfig::new().ca_certificate(certificate).domain_name("localhost");
    Ok(Endpoint::from_shared(url.to_owned())?.tls_config(tls)?)
}

impl Interceptor for Macaroon {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("macaroon", self.0.clone());
        Ok(request)
    }
}

impl std::fmt::Debug for Macaroon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Macaroon([secret])")
    }
}
