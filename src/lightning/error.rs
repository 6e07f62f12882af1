//! Why LND was of no help, and what the operator can do about it.

use std::error::Error;
use std::path::PathBuf;

use tonic::Code;
use trade::{LightningIdentity, PaymentHash, Sats};

use super::rights;

/// No call of the Lightning port that fails has told anything about the money: ask again.
///
/// The variants differ in what a person has to do.
#[derive(Debug, thiserror::Error)]
pub enum LightningError {
    #[error("`lnd_grpc_host` is {host:?}: {problem}. It looks like https://127.0.0.1:10009")]
    Host { host: String, problem: &'static str },

    /// Whether the call took effect is not known.
    #[error("LND did not answer {call}. Does it run, and is `lnd_grpc_host` right?")]
    Unreachable {
        call: &'static str,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },

    #[error("cannot read LND's certificate from {path}. Is `lnd_cert_file` right?")]
    CertificateFile {
        path: PathBuf,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },

    #[error(
        "what answers at `lnd_grpc_host` does not present the certificate in {path}. Copy LND's \
         present tls.cert there; nothing was sent to it"
    )]
    OtherCertificate { path: PathBuf },

    #[error("cannot read the macaroon from {path}. Is `lnd_macaroon_file` right?")]
    MacaroonFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },

    #[error("LND is up but refuses {call} ({reason}). {}", rights::remedy())]
    Forbidden { call: &'static str, reason: String },

    #[error("LND's wallet is locked: unlock it")]
    Locked,

    #[error("LND has no wallet yet: create one")]
    NoWallet,

    #[error("LND is still starting: wait for it")]
    Starting,

    #[error("this is LND {version}: holds and payments are safe with 0.20 or newer only, upgrade")]
    TooOld { version: String },

    #[error(
        "this is another Lightning node ({}, {:?}) than the one that this database belongs to ({}, \
         {:?}): nothing is done with it. Correct `lnd_grpc_host`, or, if no trade is open, set \
         `allow_node_change`", found.key, found.network, ours.key, ours.network
    )]
    OtherNode { found: LightningIdentity, ours: LightningIdentity },

    /// LND's own error. Never a verdict: its code says little and its text changes.
    #[error("LND refused {call}: {reason}")]
    Refused { call: &'static str, code: Code, reason: String },

    /// Two holds under one hash. Somebody should look now.
    #[error(
        "LND already has an invoice of {found} msats for the hash {hash}, and it should be of \
         {wanted}. Is this the node and the database that belong together?"
    )]
    OtherHold { hash: PaymentHash, wanted: Sats, found: i64 },

    #[error("LND cannot be asked for {call}: {problem}")]
    Impossible { call: &'static str, problem: &'static str },

    #[error("LND's answer to {call} makes no sense: {problem}")]
    Nonsense { call: &'static str, problem: &'static str },
}

impl LightningError {
    /// Whether the node is out of reach, starting or locked. Anything else is about one call, or about
    /// what it asked for, and says nothing of the node (behaviour §4.7).
    #[must_use]
    pub fn is_node_away(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::CertificateFile { .. }
            | Self::OtherCertificate { .. }
            | Self::MacaroonFile { .. }
            | Self::Locked
            | Self::NoWallet
            | Self::Starting
            | Self::OtherNode { .. } => true,
            Self::Host { .. }
            | Self::Forbidden { .. }
            | Self::TooOld { .. }
            | Self::Refused { .. }
            | Self::OtherHold { .. }
            | Self::Impossible { .. }
            | Self::Nonsense { .. } => false,
        }
    }
}
