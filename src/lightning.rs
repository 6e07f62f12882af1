//! Lightning: what a trade needs from a node, and our client for LND.
//!
//! Nothing here knows an order. [`verdict`] says what an answer means; the outbox and the watcher act on
//! it.

mod answers;
mod calls;
mod channel;
mod client;
mod error;
mod identity_guard;
pub mod invoice;
mod permissions;
mod rights;
pub mod verdict;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::watch;
use trade::{
    BlockHeight, EscrowEvidence, HoldStatus, LightningIdentity, PaymentHash, PaymentStatus,
    Preimage, Sats, Timestamp,
};

pub use calls::{Lnd, LndAccess, SEND};
pub use error::LightningError;
pub use identity_guard::IdentityGuard;
pub use rights::RIGHTS;

/// What a trade needs from a Lightning node.
///
/// Laws, which `tests/lightning` checks on every implementation:
/// * every call may be repeated; the second call reports what the first one did;
/// * an error says nothing about whether the call took effect, nor does any deadline; only one that
///   [`LightningError::refusal_of`] a send knows is the node's own answer, given before it registered
///   anything in this call;
/// * an answer about a hash comes from the node, it is never derived from a timer;
/// * `Unknown` comes from a node that is fully started, and means no more than that it has no such
///   record: not "never", not "failed";
/// * a stream tells the state of the hash, then every change; it ends after a final state, when the
///   node stops, when the connection breaks, and when the node does not know the hash. So its end means
///   nothing: look up, and open another stream.
#[async_trait]
pub trait LightningNode: Send + Sync + fmt::Debug {
    /// Makes the hold invoice, or adopts the one that LND has for this hash and amount (E1), which
    /// may have ended by now.
    async fn add_hold(&self, hold: NewHold) -> Result<AddedHold, LightningError>;

    /// Asks LND to take the sats, if they are seen in its channels or `evidence` waives that, then
    /// looks the hold up. An escrow that is seen to be gone is `Canceled`, and LND is not asked (D23).
    ///
    /// Anything but `Settled` means that it is not done, whatever the call itself said.
    async fn settle_hold(
        &self,
        preimage: Preimage,
        evidence: EscrowEvidence,
    ) -> Result<InvoiceState, LightningError>;

    /// Asks LND to give the sats back, then looks the hold up. It needs no list of channels.
    async fn cancel_hold(&self, hash: PaymentHash) -> Result<InvoiceState, LightningError>;

    /// Looks a hold up, in LND's invoices and in its channels. Sats that the node no longer has are
    /// `Canceled`, whatever its invoice says: LND can lose a payment, still call it accepted, and settle
    /// it (P0). What an accepted one is worth is seen in the channels (D33).
    async fn hold_status(&self, hash: PaymentHash) -> Result<HoldStatus, LightningError>;

    /// Answers with LND's first update; what follows comes from `follow`.
    ///
    /// A hash that is in flight or paid is never sent again: the answer is its state. The payment goes
    /// on when this call, its caller or the daemon dies. On an error ask `payment_status` until it
    /// answers (P5).
    async fn send(&self, payment: NewPayment) -> Result<PaymentStatus, LightningError>;

    /// Looks a payment up.
    async fn payment_status(&self, hash: PaymentHash) -> Result<PaymentStatus, LightningError>;

    /// Looks for the HTLC of a payment; `None` if it is not in flight.
    async fn find_htlc(&self, hash: PaymentHash) -> Result<Option<Htlc>, LightningError>;

    /// The state of a hold's invoice, and every change of it. Parts of a payment are not announced.
    fn watch(&self, hash: PaymentHash) -> BoxStream<'_, InvoiceState>;

    /// The state of a payment, and every change of it.
    fn follow(&self, hash: PaymentHash) -> BoxStream<'_, PaymentStatus>;

    /// Whether the node is active, synced and has channels, so what may be started now; and the chain
    /// height.
    ///
    /// A node whose wallet is locked, or that is still starting, is an error that says so.
    async fn readiness(&self) -> Result<Readiness, LightningError>;
}

/// What the node last said of itself; `None` while it does not answer.
pub type Health = watch::Receiver<Option<Readiness>>;

/// A hold invoice to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHold {
    pub hash: PaymentHash,
    pub amount: Sats,
    /// How long it can be paid; whole seconds, at least one.
    pub expiry: Duration,
    pub cltv_delta: u32,
    pub memo: String,
}

/// A payment to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct NewPayment {
    /// The invoice's; what will be asked about later.
    pub hash: PaymentHash,
    pub bolt11: String,
    /// Only for an invoice without an amount of its own.
    pub amount: Option<Sats>,
    pub max_fee: Sats,
    pub cltv_limit: u32,
}

/// What the channels say of a payment in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Htlc {
    /// LND's index of the payment.
    pub index: u64,
    /// The active channel that should carry it, by LND's `chan_id`, if no channel does.
    pub missing_from: Option<u64>,
}

/// One of our own invoices, and its state.
#[derive(Clone, PartialEq, Eq)]
pub struct AddedHold {
    pub bolt11: String,
    pub state: InvoiceState,
}

/// The state of a hold's invoice at LND. That it is accepted does not yet say what it is worth: other
/// software on the LND can have written the amounts of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvoiceState {
    /// LND has no such invoice.
    Unknown,
    Open,
    Accepted,
    Settled,
    Canceled,
}

/// What may be started now, and who the node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// LND said `SERVER_ACTIVE`.
    pub active: bool,
    /// LND said `synced_to_chain`.
    pub synced: bool,
    /// `None` if LND does not list its channels. Its height is known all the same: deadlines of
    /// escrows go by it.
    pub channels_active: Option<usize>,
    /// The calls that our macaroon does not allow, as LND last said.
    pub lacks: Vec<&'static str>,
    pub height: BlockHeight,
    /// The time that the miner of the newest block wrote into it.
    pub best_header_at: Timestamp,
    pub identity: LightningIdentity,
    pub node: NodeDescription,
}

/// How far our clock may be from the newest block's time, and still be confirmed by it.
const CLOCK_TOLERANCE: Duration = Duration::from_hours(3);

/// What LND's chain says of our clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockIs {
    /// LND does not answer, or is not synced.
    Unknown,
    Confirmed,
    /// Hours from the newest block: the clock is wrong, or no block was found for hours.
    Doubtful,
}

/// What the node says of itself, for the public event about this daemon.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeDescription {
    pub version: String,
    pub commit_hash: String,
    pub alias: String,
    pub chains: Vec<String>,
    pub networks: Vec<String>,
    pub uris: Vec<String>,
}

impl Readiness {
    /// Whether a new escrow may be made (E6): not if a call is forbidden that will be needed to end its
    /// trade.
    #[must_use]
    pub fn may_escrow(&self) -> bool {
        self.active && self.synced && self.channels_active.is_some() && self.lacks.is_empty()
    }

    /// Why no escrow and no payout may be started, or no payout.
    #[must_use]
    pub fn shortcoming(&self) -> Option<String> {
        let text = if !self.lacks.is_empty() {
            let (lacks, remedy) = (self.lacks.join(", "), rights::remedy());
            return Some(format!(
                "the macaroon does not allow {lacks}: no escrow and no payout until one does. \
                 {remedy}"
            ));
        } else if self.channels_active.is_none() {
            "LND does not list its channels: no escrow and no payout until it does, and a release is \
             settled no sooner than that or than its escrow's margin. Find out why ListChannels fails"
        } else if !self.may_escrow() {
            "LND is not synced to its chain: no escrow and no payout until it is"
        } else if !self.may_pay() {
            "LND has no active channel: no payout until it has"
        } else {
            return None;
        };
        Some(text.to_owned())
    }

    /// What LND's chain says of a clock that shows `now`: miners' times are right within two hours,
    /// and blocks are seldom an hour apart.
    #[must_use]
    pub fn judges(&self, now: Timestamp) -> ClockIs {
        let gap = now.0.abs_diff(self.best_header_at.0);
        match self.synced {
            true if gap <= CLOCK_TOLERANCE.as_secs() => ClockIs::Confirmed,
            true => ClockIs::Doubtful,
            false => ClockIs::Unknown,
        }
    }

    /// Checks that it is the node that our holds and payments are known to.
    ///
    /// # Errors
    /// If this is another one.
    pub fn is_of(&self, ours: LightningIdentity) -> Result<(), LightningError> {
        let found = self.identity;
        if found == ours { Ok(()) } else { Err(LightningError::OtherNode { found, ours }) }
    }

    /// Whether a payout may be sent. Before that LND fails it for reasons that are not the buyer's (P9).
    #[must_use]
    pub fn may_pay(&self) -> bool {
        self.may_escrow() && self.channels_active.is_some_and(|channels| channels > 0)
    }
}

impl fmt::Debug for NewPayment {
    /// Without the invoice: users' invoices do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewPayment({}, {:?}, fee ≤ {})", self.hash, self.amount, self.max_fee)
    }
}

impl fmt::Debug for AddedHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AddedHold({} characters, {:?})", self.bolt11.len(), self.state)
    }
}
