//! A whole exchange on one machine: a relay, a Lightning network with wallets, the real daemon as a
//! separate process, and traders that know only the protocol.
//!
//! The traders use `mostro-core` and never the daemon's `wire`, so that an error in one is not hidden
//! by the same error in the other. Nothing here sleeps: every wait has a condition and a deadline.
//! The binary is the demo; the integration tests use the parts.

mod binary; // programs of this workspace
pub mod book; // the public events of a node, as any client sees them
pub mod daemon; // the daemon as a process: started, killed, restarted
pub mod exchange; // all parts together
pub mod ledger; // the daemon's ledger compared with its LND
pub mod lightning; // the Lightning network of an exchange, simulated or real
pub mod lnd_process; // the simulated LND as a process: started, killed
pub mod proxy; // a TCP connection that can fail
pub mod relay; // a relay on a websocket
pub mod settings; // the daemon's settings file
pub mod timeline; // the output of a trade for people
pub mod trade; // one whole trade between two people
pub mod trader; // a client that knows only the protocol

pub use book::Book;
pub use daemon::Daemon;
pub use exchange::{Exchange, Person};
pub use ledger::{Ledger, NodeTotals};
pub use lightning::Lightning;
pub use lnd_process::LndProcess;
pub use proxy::Proxy;
pub use regtest::{BUYER, HUB, NodeAccess, SELLER, Wallet};
pub use relay::Relay;
pub use settings::Settings;
pub use timeline::Timeline;
pub use trade::{Counterparties, Terms, Times};
pub use trader::{Trader, Transport};
