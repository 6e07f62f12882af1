//! The whole exchange on one machine: a relay, a simulated LND with wallets, the real daemon as a
//! process of its own, and traders that know only the wire.
//!
//! The traders speak through `mostro-core`, never through the daemon's own `wire`, so that one
//! error cannot cancel the other. Nothing here sleeps: whatever is waited for has a name and a
//! deadline. The binary is the demo; the integration tests use the parts.

mod binary; // programs of this workspace
pub mod book; // the public events of a node, as any client sees them
pub mod daemon; // the daemon as a process: started, killed, restarted
pub mod exchange; // all of it, brought up
pub mod ledger; // whether the daemon's books say what its node says
pub mod lightning; // the Lightning network under an exchange, simulated or real
pub mod lnd_process; // the simulated LND as a process: started, killed
pub mod proxy; // a TCP link that can fail
pub mod relay; // a relay on a websocket
pub mod settings; // the daemon's settings file
pub mod timeline; // a trade as people can follow it
pub mod trade; // one whole trade between two people
pub mod trader; // a client that knows only the wire

pub use book::Book;
pub use daemon::Daemon;
pub use exchange::{Exchange, Person};
pub use ledger::{Books, Ledger};
pub use lightning::Lightning;
pub use lnd_process::LndProcess;
pub use proxy::Proxy;
pub use regtest::{BUYER, HUB, NodeAccess, SELLER, Wallet};
pub use relay::Relay;
pub use settings::Settings;
pub use timeline::Timeline;
pub use trade::{Counterparties, Terms, Times};
pub use trader::{Trader, Transport};
