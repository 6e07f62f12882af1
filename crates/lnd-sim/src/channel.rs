//! Payment channels, and the HTLCs by which a payment crosses them.

use serde::{Deserialize, Serialize};

/// A payment channel between two nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Channel {
    pub(crate) id: u64,
    pub(crate) capacity_msat: u64,
    pub(crate) sides: [Side; 2],
}

/// One end of a channel, and what it can send.
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

    pub(crate) fn side_mut(&mut self, node: &str) -> Option<&mut Side> {
        self.sides.iter_mut().find(|side| side.node == node)
    }
}

/// One channel on a payment's route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hop {
    pub(crate) channel: u64,
    pub(crate) from: String,
    pub(crate) to: String,
    /// What the HTLC in this channel carries.
    pub(crate) amount_msat: u64,
    /// The height at which the HTLC in this channel expires.
    pub(crate) expiry_height: u32,
}
