//! The chain: btcd, which mines on demand.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificate::Certificate;
use crate::funds;
use crate::ports::Ports;
use crate::processes::Processes;
use crate::wait::until;

/// The process's name.
pub(crate) const BTCD: &str = "btcd";
/// Not secret: it listens on the loopback, and its chain is deleted at the end.
const USER: &str = "regtest";
const PASSWORD: &str = "regtest";
/// The user and the password as an HTTP header.
const AUTHORIZATION: &str = "Basic cmVndGVzdDpyZWd0ZXN0";

/// The running btcd. It starts with an empty chain each time, so it is started only once.
#[derive(Debug)]
pub(crate) struct Btcd {
    port: u16,
    certificate: Certificate,
}

impl Btcd {
    /// Starts it in its own folder and waits until it answers.
    pub(crate) async fn start(
        binary: &Path,
        dir: &Path,
        ports: &mut Ports,
        processes: &Processes,
    ) -> Result<Self> {
        std::fs::create_dir(dir)?;
        let btcd = Self { port: ports.next()?, certificate: Certificate::make(dir)? };
        let mut command = btcd.command(binary, dir, ports.next()?);
        processes.start(BTCD, &mut command)?;
        tokio::select! {
            height = until("answer of btcd", || btcd.height()) => { height?; }
            error = processes.ended(BTCD) => return Err(error),
        }
        Ok(btcd)
    }

    /// LND's arguments for it.
    pub(crate) fn options_for_lnd(&self) -> [String; 5] {
        [
            "--bitcoin.node=btcd".to_owned(),
            format!("--btcd.rpchost=127.0.0.1:{}", self.port),
            format!("--btcd.rpcuser={USER}"),
            format!("--btcd.rpcpass={PASSWORD}"),
            format!("--btcd.rpccert={}", self.certificate.file.display()),
        ]
    }

    /// btcctl's arguments for it.
    pub(crate) fn options_for_btcctl(&self) -> String {
        let cert = self.certificate.file.display();
        format!(
            "-C /dev/null --regtest -s 127.0.0.1:{} -u {USER} -P {PASSWORD} -c {cert}",
            self.port
        )
    }

    pub(crate) async fn height(&self) -> Result<u32> {
        let height = self.call("getblockcount", json!([])).await?;
        Ok(serde_json::from_value(height)?)
    }

    /// Adds blocks, mined to the key of [`funds`].
    pub(crate) async fn mine(&self, blocks: u32) -> Result<()> {
        if blocks > 0 {
            self.call("generate", json!([blocks])).await?;
        }
        Ok(())
    }

    /// The id of a block's coinbase.
    pub(crate) async fn coinbase(&self, height: u32) -> Result<bitcoin::Txid> {
        let hash = self.call("getblockhash", json!([height])).await?;
        let block = self.call("getblock", json!([hash, 1])).await?;
        let id = block["tx"][0].as_str().context("a block has a coinbase")?;
        Ok(id.parse()?)
    }

    pub(crate) async fn send(&self, transaction: &bitcoin::Transaction) -> Result<()> {
        let hex = bitcoin::consensus::encode::serialize_hex(transaction);
        self.call("sendrawtransaction", json!([hex])).await?;
        Ok(())
    }

    fn command(&self, binary: &Path, dir: &Path, p2p_port: u16) -> Command {
        let mut command = Command::new(binary);
        command.env("HOME", dir); // it creates a folder of settings there
        command.args(["--regtest", "--txindex", "--nowinservice", "--nobanning"]);
        command.args(["--nostalldetect", "--trickleinterval=100ms", "--utxocachemaxsize=20"]);
        // Each LND opens several, and again after each restart.
        command.args(["--rpcmaxwebsockets=50", "--rpcmaxclients=50"]);
        command.arg(format!("--datadir={}", dir.join("data").display()));
        command.arg(format!("--logdir={}", dir.join("logs").display()));
        command.arg(format!("--listen=127.0.0.1:{p2p_port}"));
        command.arg(format!("--rpclisten=127.0.0.1:{}", self.port));
        command.arg(format!("--rpcuser={USER}")).arg(format!("--rpcpass={PASSWORD}"));
        command.arg(format!("--rpccert={}", self.certificate.file.display()));
        command.arg(format!("--rpckey={}", self.certificate.key_file.display()));
        command.arg(format!("--miningaddr={}", funds::address()));
        command
    }

    /// One call over its own connection, which btcd closes after the answer.
    async fn call(&self, method: &str, params: Value) -> Result<Value> {
        let body = json!({"jsonrpc": "1.0", "id": 1, "method": method, "params": params});
        let answer = self.post(&body.to_string()).await;
        let answer = answer.with_context(|| format!("btcd does not answer {method}"))?;
        let (head, body) = answer.split_once("\r\n\r\n").context("btcd did not answer in HTTP")?;
        let status = head.lines().next().unwrap_or_default();
        ensure!(status.contains(" 200 "), "btcd answered {method} with {status}");
        let mut answer: Value = serde_json::from_str(body)?;
        match answer["error"].take() {
            Value::Null => Ok(answer["result"].take()),
            error => bail!("btcd refused {method}: {error}"),
        }
    }

    async fn post(&self, body: &str) -> Result<String> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let name = ServerName::try_from("localhost")?;
        let mut tls = TlsConnector::from(Arc::new(self.tls()?)).connect(name, tcp).await?;
        let head = format!(
            "POST / HTTP/1.0\r\nHost: localhost\r\nAuthorization: {AUTHORIZATION}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        tls.write_all(head.as_bytes()).await?;
        tls.write_all(body.as_bytes()).await?;
        let mut answer = Vec::new();
        tls.read_to_end(&mut answer).await?;
        Ok(String::from_utf8(answer)?)
    }

    fn tls(&self) -> Result<rustls::ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.certificate.file)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }
}
