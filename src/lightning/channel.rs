//! One channel to LND: https only, the certificate pinned byte for byte, dead peers noticed.
//!
//! The certificate is read at every dial, so a renewed one is found on reconnect. Its name and
//! dates are not judged: LND signs it itself, and the copy on disk is the proof.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fedimint_tonic_lnd::staterpc::{GetStateRequest, GetStateResponse};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Response, Status};

/// How long a dial may take, shorter than any call's deadline so that its own error is seen.
const DIAL_DEADLINE: Duration = Duration::from_secs(5);

/// LND allows a ping every 5 s and closes connections that ping more often.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEP_ALIVE_DEADLINE: Duration = Duration::from_secs(10);

/// A request that LND's host has not confirmed by then is discarded, and its connection with it: it
/// arrives by then or never. The quiet time before a payout is sent again relies on it (P6).
#[cfg(target_os = "linux")]
const LATEST_ARRIVAL: Duration = Duration::from_secs(30);

const DEFAULT_PORT: u16 = 10_009;

/// Why a dial failed before anything was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("cannot read the certificate in {path}")]
    CertificateFile {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("the certificate presented is not the one in {path}")]
    OtherCertificate { path: PathBuf },
    #[error("cannot connect to {host}, port {port}")]
    Connect {
        host: String,
        port: u16,
        #[source]
        source: std::io::Error,
    },
    #[error("{host} has no valid name for TLS")]
    Name {
        host: String,
        #[source]
        source: rustls::pki_types::InvalidDnsNameError,
    },
    #[error("no TLS connection with {host}")]
    Handshake {
        host: String,
        #[source]
        source: std::io::Error,
    },
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

/// A channel to `host`, like `https://127.0.0.1:10009`; it dials when it is first used, and again
/// whenever the connection is gone. Needs a runtime.
///
/// # Errors
/// What is wrong with `host`.
pub(super) fn channel(host: &str, cert_file: PathBuf) -> Result<Channel, &'static str> {
    let uri: Uri = host.parse().map_err(|_| "it is not a URL")?;
    if uri.scheme_str() != Some("https") {
        return Err("it must begin with https://, or the macaroon would be sent in clear");
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err("it must end after host and port");
    }
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
    let authority = authority.ok_or("it must name a host without a user")?;

    // TLS is in our own connector, so tonic must see a URL without it; what LND sees is https.
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))
        .map_err(|_| "it is not a URL")?
        .origin(uri.clone())
        .connect_timeout(DIAL_DEADLINE)
        .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_DEADLINE)
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |uri| {
        let cert_file = cert_file.clone();
        async move { dial(&uri, &cert_file).await.map(TokioIo::new) }
    })))
}

/// Asks LND's own `State` service, which needs no macaroon. The generated client asks
/// `/staterpc.State`, which LND does not have; the messages are the same.
pub(super) async fn state(channel: Channel) -> Result<Response<GetStateResponse>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static("/lnrpc.State/GetState");
    let codec = tonic::codec::ProstCodec::<GetStateRequest, GetStateResponse>::default();
    grpc.unary(Request::new(GetStateRequest {}), path, codec).await
}

async fn dial(uri: &Uri, cert_file: &Path) -> Result<TlsStream<TcpStream>, DialError> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(DEFAULT_PORT);
    let name = ServerName::try_from(host.clone())
        .map_err(|source| DialError::Name { host: host.clone(), source })?;
    let config = tls(cert_file).await?;

    let tcp = async {
        let tcp = TcpStream::connect((host.as_str(), port)).await?;
        tcp.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&tcp).set_tcp_user_timeout(Some(LATEST_ARRIVAL))?;
        Ok(tcp)
    };
    let tcp =
        tcp.await.map_err(|source| DialError::Connect { host: host.clone(), port, source })?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|source| {
        if is_other_certificate(&source) {
            DialError::OtherCertificate { path: cert_file.to_owned() }
        } else {
            DialError::Handshake { host, source }
        }
    })
}

async fn tls(cert_file: &Path) -> Result<ClientConfig, DialError> {
    let unreadable = |source| DialError::CertificateFile { path: cert_file.to_owned(), source };
    let pem = tokio::fs::read(cert_file)
        .await
        .map_err(|source| unreadable(rustls::pki_types::pem::Error::Io(source)))?;
    let certificate = CertificateDer::from_pem_slice(&pem).map_err(unreadable)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { certificate, provider }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn is_other_certificate(error: &std::io::Error) -> bool {
    matches!(
        error.get_ref().and_then(|inner| inner.downcast_ref()),
        Some(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    )
}

/// The certificate presented must be the one on disk, byte for byte.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_an_https_url_of_host_and_port_is_dialed() {
        for host in ["https://127.0.0.1:10009", "https://lnd.local:10009/", "https://[::1]:10009"] {
            assert!(channel(host, PathBuf::new()).is_ok(), "{host}");
        }
        for host in [
            "",
            "127.0.0.1:10009",
            "http://127.0.0.1:10009",
            "https://",
            "https://127.0.0.1:10009/v1",
            "https://127.0.0.1:10009?key=1",
            "https://somebody@127.0.0.1:10009",
        ] {
            assert!(channel(host, PathBuf::new()).is_err(), "{host}");
        }
    }
}
