//! Real Lightning nodes on this machine: a regtest chain made by btcd, and LND nodes with channels
//! between them, up in seconds, without docker and without the internet.
//!
//! ```text
//! seller ──10M sat── hub ──10M sat── buyer        and, when asked for:
//!                    hub ──10M sat── router ──10M sat── far-buyer
//! ```
//!
//! [`Regtest`] is the handle. The programs are those that `make nodes` builds. Everything that was
//! started ends with the handle, and with this process, however it ends.

mod binaries;
mod btcd;
mod certificate;
mod channels;
mod folders;
mod funds;
mod lnd;
mod network;
mod ports;
mod processes;
mod start_up;
mod wait;
mod wallet;

pub use binaries::Binaries;
pub use channels::Opening;
pub use network::{BUYER, Config, FAR_BUYER, HUB, ROUTER, Regtest, SELLER, SIGN_AT_ONCE};
pub use wallet::{Lnd, Macaroon, NodeAccess, Wallet};
