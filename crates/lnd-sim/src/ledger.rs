//! Whose sats are where: channels, what is locked in them, and the way a payment takes.
//!
//! Nothing else moves sats. What a channel holds, both sides and all HTLCs, is always its capacity.

use serde::{Deserialize, Serialize};

use crate::payment::{Attempt, FailureReason};
use crate::world::{Node, World};

/// A payment channel between two nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Channel {
    pub(crate) id: u64,
    pub(crate) capacity_msat: u64,
    pub(crate) sides: [Side; 2],
}

/// One end of a channel, and what it could send.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Side {
    pub(crate) node: String,
    pub(crate) msat: u64,
}

impl Channel {
    pub(crate) fn local(&self, node: &str) -> Option<&Side> {
        self.sides.iter().find(|side| side.node == node)
    }

    pub(crate) fn remote(&self, node: &str) -> Option<&Side> {
        self.local(node)?;
        self.sides.iter().find(|side| side.node != node)
    }

    fn side_mut(&mut self, node: &str) -> Option<&mut Side> {
        self.sides.iter_mut().find(|side| side.node == node)
    }
}

/// One channel on a payment's way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hop {
    pub(crate) channel: u64,
    pub(crate) from: String,
    pub(crate) to: String,
    /// What the HTLC in this channel carries.
    pub(crate) amount_msat: u64,
    /// At which height the HTLC in this channel runs out.
    pub(crate) expiry_height: u32,
}

/// What a payment asks of its way.
pub(crate) struct Journey<'a> {
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) amount_msat: u64,
    pub(crate) final_cltv: u32,
    pub(crate) fee_limit_msat: u64,
    pub(crate) cltv_limit: u32,
}

/// What a node has, to the msat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    pub node: String,
    /// Its own side of its channels.
    pub available_msat: u64,
    /// On the way out: gone if settled, back if failed.
    pub outgoing_held_msat: u64,
    /// On the way in: its own if settled.
    pub incoming_held_msat: u64,
}

/// Blocks an LND payer adds to the payee's final CLTV delta.
pub(crate) const BLOCK_PADDING: u32 = 3;
/// Blocks a forwarding node asks between its two HTLCs.
const FORWARD_DELTA: u32 = 80;
/// Channels a payment crosses at most.
const MAX_HOPS: usize = 4;

impl World {
    /// Opens a channel with so much on either side; answers its id.
    pub(crate) fn open_channel(&mut self, a: (&str, u64), b: (&str, u64)) -> u64 {
        let block = u64::from(self.height);
        let place = self.channels.len() as u64 + 1;
        let id = (block << 40) | (place << 16);
        let side = |(node, msat): (&str, u64)| Side { node: node.to_owned(), msat };
        let channel =
            Channel { id, capacity_msat: a.1.saturating_add(b.1), sides: [side(a), side(b)] };
        self.channels.insert(id, channel);
        self.touched.insert(crate::world::Key::Channel(id));
        id
    }

    pub(crate) fn is_active(&self, channel: &Channel) -> bool {
        let up = |side: &Side| self.nodes.get(&side.node).is_some_and(Node::is_reachable);
        channel.sides.iter().all(up)
    }

    /// Finds the cheapest way, then the shortest; or says which failure LND would name.
    pub(crate) fn find_way(&self, journey: &Journey<'_>) -> Result<Vec<Hop>, FailureReason> {
        let mut best: Option<Vec<Hop>> = None;
        let mut open: Vec<Vec<(u64, &str, &str)>> = vec![Vec::new()];
        while let Some(path) = open.pop() {
            let here = path.last().map_or(journey.from, |step| step.2);
            if here == journey.to {
                let way = self.price(&path, journey);
                let cost = |way: &Vec<Hop>| (way.first().map(|hop| hop.amount_msat), way.len());
                if let Some(way) = way
                    && best.as_ref().is_none_or(|known| cost(&way) < cost(known))
                {
                    best = Some(way);
                }
                continue;
            }
            if path.len() == MAX_HOPS {
                continue;
            }
            for channel in self.channels.values() {
                let Some(there) = channel.remote(here) else { continue };
                let seen = there.node == journey.from || path.iter().any(|s| s.2 == there.node);
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
                .filter_map(|channel| channel.local(journey.from))
                .map(|side| side.msat)
                .sum();
            if spendable < journey.amount_msat {
                FailureReason::InsufficientBalance
            } else {
                FailureReason::NoRoute
            }
        })
    }

    /// Works out amounts and expiries from the payee back; none if this way cannot carry it.
    fn price(&self, path: &[(u64, &str, &str)], journey: &Journey<'_>) -> Option<Vec<Hop>> {
        let mut amount_msat = journey.amount_msat;
        let mut delta = journey.final_cltv.checked_add(BLOCK_PADDING)?;
        let mut way = Vec::with_capacity(path.len());
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
            way.push(Hop {
                channel: *channel,
                from: (*from).to_owned(),
                to: (*to).to_owned(),
                amount_msat,
                expiry_height: self.height.checked_add(delta)?,
            });
        }
        way.reverse();
        let fee = amount_msat - journey.amount_msat;
        (fee <= journey.fee_limit_msat && delta <= journey.cltv_limit).then_some(way)
    }

    /// Puts the HTLCs of an attempt into their channels.
    pub(crate) fn lock(&mut self, hops: &[Hop]) {
        for hop in hops {
            self.move_side(hop.channel, &hop.from, |msat| msat.checked_sub(hop.amount_msat));
        }
    }

    /// The HTLCs are claimed: each hop's receiver has what its HTLC carried.
    pub(crate) fn claim(&mut self, hops: &[Hop]) {
        for hop in hops {
            self.move_side(hop.channel, &hop.to, |msat| msat.checked_add(hop.amount_msat));
        }
    }

    /// The HTLCs are failed back: each hop's sender has it again.
    pub(crate) fn give_back(&mut self, hops: &[Hop]) {
        for hop in hops {
            self.move_side(hop.channel, &hop.from, |msat| msat.checked_add(hop.amount_msat));
        }
    }

    fn move_side(&mut self, channel: u64, node: &str, change: impl Fn(u64) -> Option<u64>) {
        let side = self.channel_mut(channel).and_then(|channel| channel.side_mut(node));
        match side.and_then(|side| change(side.msat).map(|msat| (side, msat))) {
            Some((side, msat)) => side.msat = msat,
            None => self
                .violations
                .push(format!("the side of {node} in channel {channel} cannot move so")),
        }
    }

    pub(crate) fn balance(&self, node: &str) -> Balance {
        let available_msat =
            self.channels.values().filter_map(|c| c.local(node)).map(|side| side.msat).sum();
        let held = |mine: fn(&Hop) -> &String| {
            let hops = self.locked().flat_map(|attempt| &attempt.hops);
            hops.filter(|hop| mine(hop) == node).map(|hop| hop.amount_msat).sum()
        };
        Balance {
            node: node.to_owned(),
            available_msat,
            outgoing_held_msat: held(|hop| &hop.from),
            incoming_held_msat: held(|hop| &hop.to),
        }
    }

    /// The attempts whose HTLCs are in channels now.
    pub(crate) fn locked(&self) -> impl Iterator<Item = &Attempt> {
        self.in_flight.iter().filter_map(|id| self.attempts.get(id)).filter(|a| a.left)
    }
}
