//! A simulated LND: one chain, a node for the daemon, wallets that trade through it, and every one
//! of them an LND endpoint of its own (TLS, macaroon, gRPC), so whatever pays a real node pays this.
//!
//! [`LndSim`] is the handle: it starts the simulation, plays the people who use the wallets, and
//! makes things go wrong. What LND really does was measured; each answer here is LND's, word for
//! word. Not simulated: payments in parts, blinded paths, on-chain money, fees of the chain.
//!
//! Laws, which [`LndSim::check`] looks after: money is conserved to the msat, nobody settles what
//! was canceled, payer and payee agree on every HTLC, nobody is paid twice for one hash.

mod bolt11;
pub mod control;
mod error;
mod faults;
mod hash;
mod identity;
mod invoice;
mod laws;
mod ledger;
mod macaroon;
mod messages;
mod payment;
mod server;
mod shared;
mod sim;
mod state_file;
mod steer;
mod world;

pub use error::{LndError, SimError};
pub use faults::{Armed, Fault, Rpc};
pub use hash::{NotHex, PaymentHash, Preimage};
pub use invoice::InvoiceState;
pub use ledger::Balance;
pub use payment::{FailureReason, PaymentStatus};
pub use shared::{Clock, system_clock};
pub use sim::{Config, LndSim, MOSTRO, NodeAccess};
pub use world::{LndState, Payee};
