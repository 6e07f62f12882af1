//! A simulated LND: one chain, a hub, and wallets that have a channel with the hub. Each of them is
//! an LND endpoint of its own (TLS, macaroon, gRPC), so whatever pays a real node pays this.
//!
//! [`LndSim`] is the handle: it starts the simulation, acts for the people who use the wallets, and
//! injects faults. What LND really does was measured; each answer here has LND's code and text. Not
//! simulated: payments in parts, blinded paths, on-chain money, fees of the chain.
//!
//! [`LndSim::check`] checks the laws: money is conserved to the msat, a canceled invoice is never
//! settled, payer and payee agree on every HTLC, nobody is paid twice for one hash.

mod bolt11;
mod channel;
pub mod control;
mod error;
mod faults;
mod hash;
mod identity;
mod invoice;
mod invoice_registry;
mod laws;
mod ledger;
mod lnd_error;
mod macaroon;
mod messages;
mod network;
mod node;
mod pathfinding;
mod payment;
mod payment_lifecycle;
mod server;
mod shared;
mod sim;
mod state_file;
mod steer;

pub use error::SimError;
pub use faults::{Armed, Fault, Rpc};
pub use hash::{NotHex, PaymentHash, Preimage};
pub use invoice::InvoiceState;
pub use ledger::Balance;
pub use lnd_error::LndError;
pub use node::{HUB, LndState, Payee};
pub use payment::{FailureReason, PaymentStatus};
pub use shared::{Clock, system_clock};
pub use sim::{Config, LndSim, SimulatedNode};
