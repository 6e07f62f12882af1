//! What can go wrong: in LND's words to its callers, and in ours to whoever runs the simulation.

use std::net::SocketAddr;
use std::path::PathBuf;

use tonic::{Code, Status};

/// An answer of LND that is an error: a gRPC code and LND's text, word for word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {text}")]
pub struct LndError {
    pub code: Code,
    pub text: String,
}

impl LndError {
    /// A plain Go error: LND gives it no code of its own.
    pub(crate) fn unknown(text: impl Into<String>) -> Self {
        Self { code: Code::Unknown, text: text.into() }
    }

    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl From<LndError> for Status {
    fn from(error: LndError) -> Self {
        Self::new(error.code, error.text)
    }
}

/// Why the simulation itself could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    #[error("cannot {action} {path}; check that the folder exists and is writable")]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("another simulation runs in {0}; stop it, or take another folder")]
    Occupied(PathBuf),
    #[error("cannot listen on {address}; free the port, or delete the node's `address` file")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is not what this program wrote there: {problem}; delete it to start afresh")]
    Damaged { path: PathBuf, problem: String },
    #[error("cannot make a TLS certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    #[error("no node is called {0:?}")]
    NoSuchNode(String),
    #[error("{0:?} cannot name a node: use 1 to 32 small letters, digits or dashes")]
    BadName(String),
    #[error("a node called {0:?} is there already")]
    NameTaken(String),
    #[error("{node} knows nothing of {hash}")]
    NoSuchHash { node: String, hash: crate::PaymentHash },
    #[error("LND refused: {0}")]
    Lnd(#[from] LndError),
    #[error("the operating system gives no random bytes")]
    Entropy(#[from] getrandom::Error),
}
