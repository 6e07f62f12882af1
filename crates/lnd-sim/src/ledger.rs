//! Who owns which sats: what each side of a channel has and what is locked in HTLCs.
//!
//! Nothing else moves sats. Both sides and all HTLCs of a channel always add up to its capacity.

use serde::{Deserialize, Serialize};

use crate::channel::{Channel, Hop, Side};
use crate::network::{Key, Network};
use crate::node::Node;
use crate::payment::Attempt;

/// A node's balance, in msat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    pub node: String,
    /// Its own side of its channels.
    pub available_msat: u64,
    /// In outgoing HTLCs: lost if settled, returned if failed.
    pub outgoing_held_msat: u64,
    /// In incoming HTLCs: gained if settled.
    pub incoming_held_msat: u64,
}

impl Network {
    /// Opens a channel with these balances; returns its id.
    pub(crate) fn open_channel(&mut self, a: (&str, u64), b: (&str, u64)) -> u64 {
        let block = u64::from(self.height);
        let place = self.channels.len() as u64 + 1;
        let id = (block << 40) | (place << 16);
        let side = |(node, msat): (&str, u64)| Side { node: node.to_owned(), msat };
        let channel =
            Channel { id, capacity_msat: a.1.saturating_add(b.1), sides: [side(a), side(b)] };
        self.channels.insert(id, channel);
        self.touched.insert(Key::Channel(id));
        id
    }

    pub(crate) fn is_active(&self, channel: &Channel) -> bool {
        let up = |side: &Side| self.nodes.get(&side.node).is_some_and(Node::is_reachable);
        channel.sides.iter().all(up)
    }

    /// Puts the HTLCs of an attempt into their channels.
    pub(crate) fn lock(&mut self, hops: &[Hop]) {
        for hop in hops {
            self.move_side(hop.channel, &hop.from, |msat| msat.checked_sub(hop.amount_msat));
        }
    }

    /// The HTLCs are settled: each hop's receiver gets its amount.
    pub(crate) fn claim(&mut self, hops: &[Hop]) {
        for hop in hops {
            self.move_side(hop.channel, &hop.to, |msat| msat.checked_add(hop.amount_msat));
        }
    }

    /// The HTLCs are failed: each hop's sender gets its amount back.
    pub(crate) fn fail_back(&mut self, hops: &[Hop]) {
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
                .push(format!("the balance of {node} in channel {channel} would overflow")),
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
