//! Why the simulation itself could not do what it was asked.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::hash::PaymentHash;
use crate::lnd_error::LndError;

/// What went wrong, and what to do.
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
    #[error("{path} is damaged: {problem}; delete it to start without it")]
    Damaged { path: PathBuf, problem: String },
    #[error("cannot make a TLS certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    #[error("no node is named {0:?}")]
    NoSuchNode(String),
    #[error("{0:?} is not a valid node name: use 1 to 32 small letters, digits or dashes")]
    BadName(String),
    #[error("a node named {0:?} exists already")]
    NameTaken(String),
    #[error("{node} has nothing with the hash {hash}")]
    NoSuchHash { node: String, hash: PaymentHash },
    #[error("LND refused: {0}")]
    Lnd(#[from] LndError),
    #[error("the operating system gives no random bytes")]
    Entropy(#[from] getrandom::Error),
}
