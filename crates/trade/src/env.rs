//! What a decision may know beside the order and the input.

use std::time::Duration;

use crate::policy::UNREACHABLE_BLOCKS;
use crate::{
    BlockHeight, Fact, Held, LightningIdentity, OrderId, Policy, Reputation, RoutingBudget,
    Timestamp,
};

#[derive(Debug, Clone, Copy)]
pub struct Env<'a> {
    pub now: Timestamp,
    /// When the clock was last set while the daemon ran: how long ago anything before that was is
    /// unknown. A start does not count: LND is called unhealthy when it first answers after one.
    pub clock_set_at: Option<Timestamp>,
    /// How high our node's chain is at least.
    pub height: BlockHeight,
    /// Whether that was its tip a moment ago. Nobody is told to rely on an escrow on an older word:
    /// it may have fewer blocks left than it seems (D21).
    pub is_at_tip: bool,
    pub policy: &'a Policy,
    /// Unknown before the first contact with LND.
    pub node: Option<&'a LightningIdentity>,
    /// When LND was last seen unreachable or out of sync, or seen again after we were away. A payout
    /// that fails after such a moment is not charged to the buyer.
    pub lnd_unwell_at: Option<Timestamp>,
    /// When LND was last seen starting: every call that went unanswered before has its answer (D39).
    pub lnd_restarted_at: Option<Timestamp>,
    /// The orders, at most [`REFUSED_ORDERS`](crate::policy::REFUSED_ORDERS), whose payouts LND refused
    /// since it last took any.
    pub refused_orders: &'a [OrderId],
    pub backlog: Backlog,
    /// What routes cost today beyond the fees of their trades (D43).
    pub routing: RoutingBudget,
    /// The sender of a user's request.
    pub account: Account,
    /// The order's taker; of the sender, when it is about to take.
    pub taker: Reputation,
    /// Whether the payment hash in the request is on record: of an escrow, of another order's
    /// destination, or of any payout attempt but the newest one of this order (C26, K-24, D20).
    pub payout_hash_is_known: bool,
    pub facts: &'a [Fact],
}

/// Whether all is decided that traders may have written while no relay was heard (D40).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backlog {
    /// Messages may still have to be read or decided. It is so from each start, and whenever no relay
    /// is heard.
    #[default]
    Reading,
    Decided,
    /// No relay could be reached for so long that none may come back in time.
    Unreachable,
}

impl Env<'_> {
    /// Whether this moment is certainly so long ago, whatever was done to the clock since.
    pub(crate) fn has_passed_since(&self, at: Timestamp, wait: Duration) -> bool {
        self.clock_set_at.map_or(at, |set_at| set_at.max(at)).after(wait) <= self.now
    }

    /// Whether nobody can still bring up a `fiat-sent` that was written in time.
    pub(crate) fn has_heard_all_about(&self, held: Held) -> bool {
        match self.backlog {
            Backlog::Decided => true,
            Backlog::Reading => false,
            Backlog::Unreachable => {
                let guard = held.guard_height(self.policy.escrow_margin);
                guard.above(UNREACHABLE_BLOCKS) <= self.height
            }
        }
    }
}

/// What the transaction read about the sender's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    pub last_index: Option<i64>,
    pub is_banned: bool,
    /// An order waits for this identity: as a buyer's invoice for `take-sell`, as a seller's payment
    /// for `take-buy`.
    pub has_duty: bool,
}
