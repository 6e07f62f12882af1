//! What calls for a person.

use crate::FrozenBecause;

/// Its text says what happened, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Alarm {
    /// What freezes an order. Raised as well when it happens to one that is frozen already or has ended.
    #[error("{0}")]
    Frozen(FrozenBecause),
    #[error("fiat was sent and the escrow runs out soon: LND refunds the seller if nobody acts")]
    HorizonNear,
    #[error(
        "fiat was sent and the escrow has reached its margin: only a release can still pay the buyer"
    )]
    HorizonReached,
    #[error(
        "LND has not settled the escrow, although the seller has released it, and it runs out soon: \
         LND refunds the seller then. Is LND up, at the tip of its chain, and does it answer?"
    )]
    SettleNearHorizon,
    #[error(
        "LND has not settled the escrow, although the seller has released it, and it has reached its \
         margin: bring LND up now, or the seller gets the sats back and the buyer nothing"
    )]
    SettleAtHorizon,
    #[error(
        "an escrow that was released is not settled: LND does not list its channels, which show whether \
         the escrow is still there. It is settled once they do, or unseen at its margin. Find out why \
         ListChannels fails"
    )]
    EscrowUnseen,
    #[error(
        "LND called an escrow accepted that holds fewer sats than were asked for. It was given back, \
         and no trade was begun. Another program on this LND modifies HTLCs or accepts invoices for \
         less (an HTLC modifier or interceptor): find it and stop it"
    )]
    EscrowBelowAsked,
    #[error(
        "LND settled a hold that we decided to cancel: the node has the payer's sats, and the books do not. \
         Somebody else holds the preimage or this database: stop, and find out"
    )]
    SettledThoughCanceled,
    #[error(
        "LND refuses the payouts of three orders in a row, so the fault is here, not with the buyers: \
         each is tried again once an hour. If LND names a time lock or a cltv limit, set \
         `payment_cltv_limit` below LND's `max-cltv-expiry` and start the daemon anew"
    )]
    PayoutsRefused,
    #[error(
        "half of what routes may cost today beyond the fees of their trades (`max_routing_subsidy`) is \
         spent"
    )]
    RoutingBudgetHalfSpent,
    #[error(
        "what routes may cost today beyond the fees of their trades (`max_routing_subsidy`), or the tenth \
         of it for one destination, does not suffice for every payout: those that find no route for less \
         wait until the day ends (UTC), two days at most. Is somebody trading with himself?"
    )]
    RoutingBudgetUsedUp,
    #[error(
        "a payout has waited two days for a route that `max_routing_subsidy` allows: it may now cost \
         up to `max_routing_fee` all the same"
    )]
    RoutingBeyondBudget,
    #[error(
        "LND has told of no new block for 90 minutes. Escrows are guarded by blocks: check LND and its \
         chain backend"
    )]
    NoBlocks,
    #[error(
        "this machine's clock is hours away from LND's newest block: nothing is forgotten until they \
         agree. Check NTP; if the clock is right, check LND's chain"
    )]
    ClockDoubtful,
    #[error(
        "this machine's clock was ahead when messages were forgotten, and those written until then were \
         refused: from now on they are taken again, but what was sent until now may be lost. Ask the \
         parties of running trades to repeat it; check NTP"
    )]
    ClockWasAhead,
}
