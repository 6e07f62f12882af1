use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use trade::Sats;

use super::*;
use crate::lightning::LndAccess;

/// Any certificate, because no server presents one in these tests.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

// spec: D3
#[tokio::test]
async fn a_host_without_https_is_refused_before_anything_is_sent() {
    let error = Lnd::new(access("http://127.0.0.1:10009", &Files::new())).expect_err("in clear");
    assert_eq!(
        error.to_string(),
        "`lnd_grpc_host` is \"http://127.0.0.1:10009\": it must begin with https://, or the \
         macaroon would be sent in clear. It looks like https://127.0.0.1:10009"
    );
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let files = Files::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);

    let error = ask(&format!("https://{address}"), &files).await;

    let LightningError::Unreachable { source, .. } = error else { panic!("{error:?}") };
    let expected = format!("cannot connect to 127.0.0.1, port {}: ", address.port());
    assert!(source.to_string().starts_with(&expected), "{source}");
}

// spec: D3
#[tokio::test]
async fn a_server_that_is_silent_is_unreachable_when_the_deadline_passes() {
    let files = Files::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");

    let lnd = Lnd::new(access(&format!("https://{address}"), &files)).expect("a URL");
    let answer = lnd.with_deadline(Duration::from_millis(50)).hold_status(HASH).await;

    assert!(matches!(answer, Err(LightningError::Unreachable { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_unreachable() {
    let files = Files::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = async {
        let (mut link, _) = listener.accept().await.expect("a client");
        link.write_all(b"220 mail.example.com\r\n").await.expect("it reads");
        std::future::pending::<()>().await;
    };

    let host = format!("https://{address}");
    let error = tokio::select! {
        error = ask(&host, &files) => error,
        () = server => unreachable!("the server never ends"),
    };

    let LightningError::Unreachable { source, .. } = error else { panic!("{error:?}") };
    assert!(source.to_string().starts_with("no TLS connection with 127.0.0.1: "), "{source}");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_named() {
    for content in [None, Some("no PEM at all")] {
        let files = Files::new();
        files.certificate(content);

        let error = ask("https://127.0.0.1:1", &files).await;

        let LightningError::CertificateFile { path, .. } = error else { panic!("{error:?}") };
        assert_eq!(path, files.cert_file());
    }
}

#[tokio::test]
async fn a_macaroon_that_cannot_be_read_is_named() {
    let files = Files::new();
    std::fs::remove_file(files.macaroon_file()).expect("it was there");

    let error = ask("https://127.0.0.1:1", &files).await;

    let LightningError::MacaroonFile { path, .. } = error else { panic!("{error:?}") };
    assert_eq!(path, files.macaroon_file());
}

#[tokio::test]
async fn a_hold_with_impossible_terms_is_never_requested() {
    let hold = NewHold {
        hash: HASH,
        amount: Sats(100_300),
        expiry: Duration::from_mins(5),
        cltv_delta: 144,
        memo: String::new(),
    };
    let lnd = Lnd::new(access("https://127.0.0.1:1", &Files::new())).expect("a URL");

    for wrong in [
        NewHold { amount: Sats(0), ..hold.clone() },
        NewHold { amount: Sats(u64::MAX), ..hold.clone() },
        NewHold { expiry: Duration::from_millis(999), ..hold.clone() },
        NewHold { cltv_delta: 0, ..hold.clone() },
    ] {
        let answer = lnd.add_hold(wrong).await;
        assert!(matches!(answer, Err(LightningError::Impossible { .. })), "{answer:?}");
    }
}

// spec: P2
#[test]
fn a_payment_has_its_own_limits_and_continues_without_the_caller() {
    let bolt11 = golden("regtest-9997-sat");
    let request = send_request("SendPaymentV2", payment(&bolt11)).expect("possible");

    let expected = SendPaymentRequest {
        payment_request: bolt11,
        fee_limit_sat: 20,
        cltv_limit: 432,
        timeout_seconds: 60,
        ..Default::default()
    };
    assert_eq!(request, expected);
    assert!(!request.cancelable && !request.no_inflight_updates && !request.allow_self_payment);
}

#[test]
fn a_payment_that_could_not_be_looked_up_is_never_sent() {
    let payment = payment(&golden("regtest-9997-sat"));
    for wrong in [
        NewPayment { hash: HASH, ..payment.clone() },
        NewPayment { bolt11: "buyer@example.com".to_owned(), ..payment.clone() },
        NewPayment { cltv_limit: 0, ..payment.clone() },
        NewPayment { max_fee: Sats(u64::MAX), ..payment.clone() },
    ] {
        let request = send_request("SendPaymentV2", wrong);
        assert!(matches!(request, Err(LightningError::Impossible { .. })), "{request:?}");
    }
}

const HASH: PaymentHash = PaymentHash([1; 32]);

fn payment(bolt11: &str) -> NewPayment {
    NewPayment {
        hash: invoice::payment_hash(bolt11).expect("golden"),
        bolt11: bolt11.to_owned(),
        amount: None,
        max_fee: Sats(20),
        cltv_limit: 432,
    }
}

fn golden(name: &str) -> String {
    let text = include_str!("../../../tests/golden/invoices.json");
    let file: serde_json::Value = serde_json::from_str(text).expect("the golden file is JSON");
    file["invoices"][name]["bolt11"].as_str().expect("a golden invoice").to_owned()
}

async fn ask(host: &str, files: &Files) -> LightningError {
    let lnd = Lnd::new(access(host, files)).expect("a URL");
    lnd.hold_status(HASH).await.expect_err("nobody is there")
}

fn access(host: &str, files: &Files) -> LndAccess {
    LndAccess {
        host: host.to_owned(),
        cert_file: files.cert_file(),
        macaroon_file: files.macaroon_file(),
    }
}

/// A folder with a certificate and a macaroon.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        files.certificate(Some(CERTIFICATE));
        std::fs::write(files.macaroon_file(), b"macaroon").expect("written");
        files
    }

    fn certificate(&self, content: Option<&str>) {
        match content {
            Some(text) => std::fs::write(self.cert_file(), text).expect("written"),
            None => std::fs::remove_file(self.cert_file()).expect("it was there"),
        }
    }

    fn cert_file(&self) -> PathBuf {
        self.0.path().join("tls.cert")
    }

    fn macaroon_file(&self) -> PathBuf {
        self.0.path().join("mostro.macaroon")
    }
}
