//! Which calls fail and how, and how often each call was made.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::hash::PaymentHash;

/// A call of LND's API that the simulation answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Rpc {
    GetState,
    GetInfo,
    AddInvoice,
    LookupInvoice,
    ListInvoices,
    ListPayments,
    ListChannels,
    ChannelBalance,
    DecodePayReq,
    AddHoldInvoice,
    SettleInvoice,
    CancelInvoice,
    LookupInvoiceV2,
    SubscribeSingleInvoice,
    SendPaymentV2,
    TrackPaymentV2,
}

/// How a call fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Lost before it arrives: never takes effect, never answered.
    Hang,
    /// LND is frozen: when it is thawed the call takes effect, whether or not the caller still waits.
    Freeze,
    /// Refused before any effect. `code` is gRPC's number.
    Refuse { code: i32, text: String },
    /// Takes effect; then the connection fails (Unavailable).
    LoseAnswer,
    /// Takes effect; the answer never comes.
    WithholdAnswer,
    /// Streams: breaks (Unavailable) after so many messages.
    Cut { after: usize },
    /// Streams: ends OK after so many messages, final or not.
    End { after: usize },
    /// Streams: sends nothing after so many messages, as over a half-open connection.
    Silence { after: usize },
}

/// A fault and the calls that it applies to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Armed {
    /// The node whose calls fail.
    #[serde(default = "crate::node::hub")]
    pub node: String,
    pub rpc: Rpc,
    /// Only calls about this hash.
    #[serde(default)]
    pub hash: Option<PaymentHash>,
    pub fault: Fault,
    /// How many calls fail; if absent, all until faults are cleared.
    #[serde(default)]
    pub times: Option<u32>,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    armed: VecDeque<Armed>,
}

impl Faults {
    pub(crate) fn arm(&mut self, armed: Armed) {
        self.armed.push_back(armed);
    }

    pub(crate) fn clear(&mut self) {
        self.armed.clear();
    }

    /// The fault for this call. If it is limited to a number of calls, this is one of them.
    pub(crate) fn take(
        &mut self,
        node: &str,
        rpc: Rpc,
        hash: Option<PaymentHash>,
    ) -> Option<Fault> {
        let place = self.armed.iter().position(|armed| {
            armed.node == node
                && armed.rpc == rpc
                && armed.times != Some(0)
                && (armed.hash.is_none() || armed.hash == hash)
        })?;
        let armed = self.armed.get_mut(place)?;
        let fault = armed.fault.clone();
        if let Some(left) = &mut armed.times {
            *left -= 1;
            if *left == 0 {
                self.armed.remove(place);
            }
        }
        Some(fault)
    }
}

/// How often each call was made, including those that failed.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    all: BTreeMap<(String, Rpc), u64>,
    by_hash: BTreeMap<(String, Rpc, PaymentHash), u64>,
}

impl Calls {
    pub(crate) fn count(&mut self, node: &str, rpc: Rpc, hash: Option<PaymentHash>) {
        *self.all.entry((node.to_owned(), rpc)).or_default() += 1;
        if let Some(hash) = hash {
            *self.by_hash.entry((node.to_owned(), rpc, hash)).or_default() += 1;
        }
    }

    pub(crate) fn of(&self, node: &str, rpc: Rpc) -> u64 {
        self.all.get(&(node.to_owned(), rpc)).copied().unwrap_or_default()
    }

    pub(crate) fn about(&self, node: &str, rpc: Rpc, hash: PaymentHash) -> u64 {
        self.by_hash.get(&(node.to_owned(), rpc, hash)).copied().unwrap_or_default()
    }

    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}
