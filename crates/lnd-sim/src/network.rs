//! The simulated network: one chain, the nodes on it, the channels between them.
//!
//! Every step is atomic, under one lock. What takes time in LND happens between two steps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bitcoin::secp256k1::SecretKey;

use crate::channel::Channel;
use crate::faults::{Calls, Faults};
use crate::hash::PaymentHash;
use crate::invoice::{Invoice, InvoiceState};
use crate::node::{LndState, MAX_CLTV_EXPIRY, Node, NodeRecord};
use crate::payment::{Attempt, Payment};

/// What the nodes have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// LND's `invoices.holdexpirydelta`.
    pub(crate) hold_expiry_delta: u32,
}

/// A record that has changed and must be on disk before any caller sees the change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Chain,
    Node(String),
    Channel(u64),
    Attempt(u64),
    Invoice(String, PaymentHash),
    Payment(String, PaymentHash),
}

pub(crate) struct Network {
    pub(crate) now: Duration,
    pub(crate) rules: Rules,
    pub(crate) height: u32,
    /// When the tip was mined, in seconds.
    pub(crate) tip_at: u64,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) channels: BTreeMap<u64, Channel>,
    pub(crate) attempts: BTreeMap<u64, Attempt>,
    /// Attempts whose HTLC is not resolved yet.
    pub(crate) in_flight: BTreeSet<u64>,
    /// Attempts that have an outcome which the payer does not know: its channel is inactive.
    pub(crate) undelivered: BTreeSet<u64>,
    /// OPEN invoices by the second at which they expire.
    pub(crate) expiries: BTreeSet<(u64, String, PaymentHash)>,
    pub(crate) faults: Faults,
    pub(crate) calls: Calls,
    pub(crate) violations: Vec<String>,
    pub(crate) touched: BTreeSet<Key>,
}

/// The height of the chain when a simulation begins.
const FIRST_HEIGHT: u32 = 450;

impl Network {
    pub(crate) fn new(now: Duration, rules: Rules) -> Self {
        Self {
            now,
            rules,
            height: FIRST_HEIGHT,
            tip_at: now.as_secs(),
            nodes: BTreeMap::new(),
            channels: BTreeMap::new(),
            attempts: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            undelivered: BTreeSet::new(),
            expiries: BTreeSet::new(),
            faults: Faults::default(),
            calls: Calls::default(),
            violations: Vec::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Adds a node with this record and key to the network, not running.
    pub(crate) fn add_node(&mut self, record: NodeRecord, key: SecretKey, pubkey: String) {
        let name = record.name.clone();
        let node = Node {
            record,
            key,
            pubkey,
            invoices: BTreeMap::new(),
            payments: BTreeMap::new(),
            version: "0.21.2-beta commit=v0.21.2-beta".to_owned(),
            network: "regtest".to_owned(),
            up: false,
            state: LndState::ServerActive,
            synced: true,
            links_up: true,
            catches_up_at: None,
            reported_htlc_msat: None,
            dangles: 0,
            forced_failure: None,
            max_cltv_expiry: MAX_CLTV_EXPIRY,
        };
        self.nodes.insert(name.clone(), node);
        self.touched.insert(Key::Node(name));
    }

    /// Does everything that is due by `now`: expiries, refunds, outcomes.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.now = now;
        self.expire_invoices();
        let late: Vec<String> = self
            .nodes
            .values()
            .filter(|node| node.up && node.catches_up_at.is_some_and(|at| at <= now))
            .map(|node| node.record.name.clone())
            .collect();
        for name in late {
            if let Some(node) = self.nodes.get_mut(&name) {
                node.catches_up_at = None;
            }
            self.cancel_near_expiry(&name);
        }
        self.deliver_outcomes();
    }

    /// Adds blocks, one after the other.
    pub(crate) fn mine(&mut self, blocks: u32) {
        for _ in 0..blocks {
            self.height = self.height.saturating_add(1);
            self.tip_at = self.now.as_secs();
            let watching: Vec<String> = self
                .nodes
                .values()
                .filter(|node| node.up && node.catches_up_at.is_none())
                .map(|node| node.record.name.clone())
                .collect();
            for name in watching {
                self.cancel_near_expiry(&name);
            }
        }
        self.touched.insert(Key::Chain);
    }

    /// LND starts. Holds that came near their expiry while it was down are refunded a second later.
    pub(crate) fn node_starts(&mut self, name: &str, state: LndState) {
        let is_behind = !self.list_near_expiry(name).is_empty();
        let soon = self.now + Duration::from_secs(1);
        if let Some(node) = self.nodes.get_mut(name) {
            node.up = true;
            node.state = state;
            node.catches_up_at = is_behind.then_some(soon);
        }
    }

    pub(crate) fn node_stops(&mut self, name: &str) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.up = false;
        }
    }

    pub(crate) fn find_by_pubkey(&self, pubkey: &str) -> Option<&Node> {
        self.nodes.values().find(|node| node.pubkey == pubkey)
    }

    pub(crate) fn find_invoice(&self, node: &str, hash: PaymentHash) -> Option<&Invoice> {
        self.nodes.get(node)?.invoices.get(&hash)
    }

    /// The invoice, to be changed: it will be on disk before any caller sees it.
    pub(crate) fn invoice_mut(&mut self, node: &str, hash: PaymentHash) -> Option<&mut Invoice> {
        self.touched.insert(Key::Invoice(node.to_owned(), hash));
        self.nodes.get_mut(node)?.invoices.get_mut(&hash)
    }

    pub(crate) fn find_payment(&self, node: &str, hash: PaymentHash) -> Option<&Payment> {
        self.nodes.get(node)?.payments.get(&hash)
    }

    pub(crate) fn payment_mut(&mut self, node: &str, hash: PaymentHash) -> Option<&mut Payment> {
        self.touched.insert(Key::Payment(node.to_owned(), hash));
        self.nodes.get_mut(node)?.payments.get_mut(&hash)
    }

    pub(crate) fn record_mut(&mut self, node: &str) -> Option<&mut NodeRecord> {
        self.touched.insert(Key::Node(node.to_owned()));
        self.nodes.get_mut(node).map(|node| &mut node.record)
    }

    pub(crate) fn attempt_mut(&mut self, id: u64) -> Option<&mut Attempt> {
        self.touched.insert(Key::Attempt(id));
        self.attempts.get_mut(&id)
    }

    pub(crate) fn channel_mut(&mut self, id: u64) -> Option<&mut Channel> {
        self.touched.insert(Key::Channel(id));
        self.channels.get_mut(&id)
    }

    /// Deletes LND's record of a payment, as `DeletePayment` or an old database does.
    pub(crate) fn delete_payment(&mut self, node: &str, hash: PaymentHash) -> bool {
        self.touched.insert(Key::Payment(node.to_owned(), hash));
        self.nodes.get_mut(node).is_some_and(|node| node.payments.remove(&hash).is_some())
    }

    /// Deletes a canceled invoice, as LND's garbage collection does. `false` for any other.
    pub(crate) fn delete_invoice(&mut self, node: &str, hash: PaymentHash) -> bool {
        if self.find_invoice(node, hash).is_none_or(|found| found.state != InvoiceState::Canceled) {
            return false;
        }
        self.touched.insert(Key::Invoice(node.to_owned(), hash));
        self.nodes.get_mut(node).is_some_and(|node| node.invoices.remove(&hash).is_some())
    }

    /// Rebuilds the indexes after loading.
    pub(crate) fn index(&mut self) {
        self.in_flight = self
            .attempts
            .values()
            .filter(|attempt| attempt.is_in_flight())
            .map(|attempt| attempt.id)
            .collect();
        self.undelivered = self
            .attempts
            .values()
            .filter(|attempt| attempt.is_in_flight() && attempt.outcome.is_some())
            .map(|attempt| attempt.id)
            .collect();
        self.expiries.clear();
        for (name, node) in &self.nodes {
            for invoice in node.invoices.values().filter(|i| i.state == InvoiceState::Open) {
                self.expiries.insert((invoice.expires_at_secs(), name.clone(), invoice.hash));
            }
        }
        self.start_logs();
    }

    fn start_logs(&mut self) {
        let invoices: Vec<(String, PaymentHash)> = self
            .nodes
            .iter()
            .flat_map(|(name, node)| node.invoices.keys().map(|hash| (name.clone(), *hash)))
            .collect();
        for (name, hash) in invoices {
            self.log_invoice(&name, hash);
        }
        let payments: Vec<(String, PaymentHash)> = self
            .nodes
            .iter()
            .flat_map(|(name, node)| node.payments.keys().map(|hash| (name.clone(), *hash)))
            .collect();
        for (name, hash) in payments {
            self.log_payment(&name, hash);
        }
        self.touched.clear();
    }
}
