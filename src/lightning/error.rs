//! Why a call of LND failed, and what the operator can do about it.

use std::error::Error;
use std::path::PathBuf;

use tonic::Code;
use trade::{LightningIdentity, PaymentHash, Sats};

use super::rights;

/// How tonic begins a status that it made from an HTTP answer; no answer of LND is like that.
const WITHOUT_GRPC_STATUS: &str = "grpc-status header missing";

/// A call of the Lightning port that failed has told nothing about the money: ask again. The one
/// exception is LND's own answer to a send ([`LightningError::refusal_of`]).
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

    /// LND answers, and does not show whether an escrow is still there (D23).
    #[error(
        "LND does not list its channels, so it is not known whether the escrow is still there: it is \
         settled once that is seen, or when it reaches its margin"
    )]
    EscrowUnseen {
        #[source]
        source: Box<LightningError>,
    },

    /// LND's own error. Its code says little and its text changes; what it means is looked up.
    #[error("LND refused {call}: {reason}")]
    Refused { call: &'static str, code: Code, reason: String },

    /// Two holds under one hash: a person should look now.
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

/// The longest text of LND that is shown.
const MOST_SHOWN: usize = 200;

impl LightningError {
    /// LND's text, quoted and cut, if this is its own answer to the call `call`: an error of a gRPC
    /// handler, caused neither by a lost connection nor by something between LND and us.
    #[must_use]
    pub fn refusal_of(&self, call: &str) -> Option<String> {
        let Self::Refused { call: of, code, reason } = self else { return None };
        let is_of_a_handler = match code {
            Code::Unknown | Code::InvalidArgument | Code::FailedPrecondition => {
                !reason.starts_with(WITHOUT_GRPC_STATUS)
            }
            Code::Ok
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
            | Code::Unauthenticated => false,
        };
        let shown = || format!("{:?}", reason.chars().take(MOST_SHOWN).collect::<String>());
        (*of == call && is_of_a_handler).then(shown)
    }

    /// Whether LND answers that it was started and cannot work yet.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        matches!(self, Self::Locked | Self::Starting)
    }

    /// Whether the node is out of reach, starting or locked. Anything else is about one call, or about
    /// its request, and says nothing of the node.
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
            | Self::EscrowUnseen { .. }
            | Self::Forbidden { .. }
            | Self::TooOld { .. }
            | Self::Refused { .. }
            | Self::OtherHold { .. }
            | Self::Impossible { .. }
            | Self::Nonsense { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(call: &'static str, code: Code, reason: &str) -> LightningError {
        LightningError::Refused { call, code, reason: reason.to_owned() }
    }

    // spec: D39
    #[test]
    fn only_the_answer_of_lnds_own_handler_to_this_call_is_a_refusal() {
        let time_lock = "total time lock of 2017 exceeds max allowed 2016";
        let of_a_proxy = "grpc-status header missing, mapped from HTTP status code 500";
        for (error, is_refusal) in [
            (refused("SendPaymentV2", Code::Unknown, time_lock), true),
            (refused("SendPaymentV2", Code::InvalidArgument, time_lock), true),
            (refused("SendPaymentV2", Code::Unknown, of_a_proxy), false),
            (refused("SendPaymentV2", Code::Internal, time_lock), false),
            (refused("SendPaymentV2", Code::AlreadyExists, "payment is in transition"), false),
            (refused("TrackPaymentV2", Code::Unknown, time_lock), false),
            (LightningError::Starting, false),
            (LightningError::Locked, false),
        ] {
            assert_eq!(error.refusal_of("SendPaymentV2").is_some(), is_refusal, "{error}");
        }
    }

    #[test]
    fn what_lnd_says_is_shown_on_one_line_and_cut() {
        let long = refused("SendPaymentV2", Code::Unknown, &format!("a\nb{}", "c".repeat(999)));

        let shown = long.refusal_of("SendPaymentV2").expect("a refusal");
        assert!(shown.starts_with("\"a\\nbccc"), "{shown}");
        assert!(shown.len() < 210 && !shown.contains('\n'), "{shown}");
    }
}
