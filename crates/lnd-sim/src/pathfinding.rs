//! The route that a payment takes through the channels.

use crate::channel::Hop;
use crate::network::Network;
use crate::payment::FailureReason;

/// The limits that a payment sets for its route.
pub(crate) struct RouteRequest<'a> {
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) amount_msat: u64,
    pub(crate) final_cltv: u32,
    pub(crate) fee_limit_msat: u64,
    pub(crate) cltv_limit: u32,
}

/// Blocks an LND payer adds to the payee's final CLTV delta.
pub(crate) const BLOCK_PADDING: u32 = 3;
/// Blocks that a forwarding node wants between its two HTLCs.
const FORWARD_DELTA: u32 = 80;
/// The most channels that a payment crosses.
const MAX_HOPS: usize = 4;

impl Network {
    /// Finds the cheapest route, the shortest of equals; or the failure that LND would report.
    pub(crate) fn find_route(&self, request: &RouteRequest<'_>) -> Result<Vec<Hop>, FailureReason> {
        let mut best: Option<Vec<Hop>> = None;
        let mut open: Vec<Vec<(u64, &str, &str)>> = vec![Vec::new()];
        while let Some(path) = open.pop() {
            let here = path.last().map_or(request.from, |step| step.2);
            if here == request.to {
                let route = self.price(&path, request);
                let cost =
                    |route: &Vec<Hop>| (route.first().map(|hop| hop.amount_msat), route.len());
                if let Some(route) = route
                    && best.as_ref().is_none_or(|known| cost(&route) < cost(known))
                {
                    best = Some(route);
                }
                continue;
            }
            if path.len() == MAX_HOPS {
                continue;
            }
            for channel in self.channels.values() {
                let Some(there) = channel.remote(here) else { continue };
                let seen = there.node == request.from || path.iter().any(|s| s.2 == there.node);
                if !seen && self.is_active(channel) {
                    let mut longer = path.clone();
                    longer.push((channel.id, here, &there.node));
                    open.push(longer);
                }
            }
        }
        best.ok_or_else(|| {
            let spendable: u64 = self
                .channels
                .values()
                .filter(|channel| self.is_active(channel))
                .filter_map(|channel| channel.local(request.from))
                .map(|side| side.msat)
                .sum();
            if spendable < request.amount_msat {
                FailureReason::InsufficientBalance
            } else {
                FailureReason::NoRoute
            }
        })
    }

    /// Computes amounts and expiries from the payee backwards; none if the route breaks a limit.
    fn price(&self, path: &[(u64, &str, &str)], request: &RouteRequest<'_>) -> Option<Vec<Hop>> {
        let mut amount_msat = request.amount_msat;
        let mut delta = request.final_cltv.checked_add(BLOCK_PADDING)?;
        let mut route = Vec::with_capacity(path.len());
        for (place, (channel, from, to)) in path.iter().enumerate().rev() {
            if place + 1 < path.len() {
                let forwards = &self.nodes.get(*to)?.record;
                let share = u128::from(amount_msat) * u128::from(forwards.fee_ppm) / 1_000_000;
                let fee = forwards.fee_base_msat.checked_add(u64::try_from(share).ok()?)?;
                amount_msat = amount_msat.checked_add(fee)?;
                delta = delta.checked_add(FORWARD_DELTA)?;
            }
            if self.channels.get(channel)?.local(from)?.msat < amount_msat {
                return None;
            }
            route.push(Hop {
                channel: *channel,
                from: (*from).to_owned(),
                to: (*to).to_owned(),
                amount_msat,
                expiry_height: self.height.checked_add(delta)?,
            });
        }
        route.reverse();
        let fee = amount_msat - request.amount_msat;
        (fee <= request.fee_limit_msat && delta <= request.cltv_limit).then_some(route)
    }
}
