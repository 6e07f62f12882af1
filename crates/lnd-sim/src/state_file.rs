//! The state file: one line of JSON per step, written before any caller sees the step.
//!
//! Each line holds whole records; the newest of each counts. A last line that a crash cut off was
//! never answered and is dropped. At every start, and when it has grown much, the file is rewritten
//! by rename.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::error::SimError;
use crate::hash::PaymentHash;
use crate::invoice::Invoice;
use crate::network::{Key, Network};
use crate::node::NodeRecord;
use crate::payment::{Attempt, Payment};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Chain { height: u32, tip_at: u64 },
    Node(NodeRecord),
    Channel(Channel),
    Attempt(Box<Attempt>),
    Invoice { node: String, hash: PaymentHash, is: Option<Box<Invoice>> },
    Payment { node: String, hash: PaymentHash, is: Option<Box<Payment>> },
}

/// The open state file.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    file: File,
    /// Bytes written since the file was rewritten.
    grown_bytes: usize,
    /// Bytes that may be added before it is rewritten.
    may_grow_bytes: usize,
}

/// The file is not rewritten for less.
const LEAST_GROWTH_BYTES: usize = 32 * 1024 * 1024;

/// Saved records that are not in a network yet: nodes first need their keys.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    records: Vec<Record>,
}

impl Saved {
    /// Reads a state file; empty if there is none.
    pub(crate) fn read(path: &Path) -> Result<Self, SimError> {
        let mut records = Vec::new();
        if !path.exists() {
            return Ok(Self { records });
        }
        let failed = |source| SimError::File { action: "read", path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mut lines = BufReader::new(file).split(b'\n').peekable();
        while let Some(line) = lines.next() {
            let line = line.map_err(failed)?;
            match serde_json::from_slice::<Vec<Record>>(&line) {
                Ok(step) => records.extend(step),
                Err(_) if lines.peek().is_none() => break,
                Err(error) => {
                    return Err(SimError::Damaged {
                        path: path.to_owned(),
                        problem: error.to_string(),
                    });
                }
            }
        }
        Ok(Self { records })
    }

    /// The saved nodes, each in its newest state.
    pub(crate) fn nodes(&self) -> Vec<NodeRecord> {
        let mut nodes: Vec<NodeRecord> = Vec::new();
        for record in &self.records {
            if let Record::Node(node) = record {
                nodes.retain(|known| known.name != node.name);
                nodes.push(node.clone());
            }
        }
        nodes
    }

    /// Adds all other records to a network that has the nodes.
    pub(crate) fn restore(self, network: &mut Network) {
        for record in self.records {
            match record {
                Record::Chain { height, tip_at } => {
                    network.height = height;
                    network.tip_at = tip_at;
                }
                Record::Node(_) => {}
                Record::Channel(channel) => {
                    network.channels.insert(channel.id, channel);
                }
                Record::Attempt(attempt) => {
                    network.attempts.insert(attempt.id, *attempt);
                }
                Record::Invoice { node, hash, is } => {
                    let Some(node) = network.nodes.get_mut(&node) else { continue };
                    match is {
                        Some(invoice) => node.invoices.insert(hash, *invoice),
                        None => node.invoices.remove(&hash),
                    };
                }
                Record::Payment { node, hash, is } => {
                    let Some(node) = network.nodes.get_mut(&node) else { continue };
                    match is {
                        Some(payment) => node.payments.insert(hash, *payment),
                        None => node.payments.remove(&hash),
                    };
                }
            }
        }
        network.index();
    }
}

impl StateFile {
    /// Writes the whole network and keeps the file open for later steps.
    pub(crate) fn create(path: &Path, network: &Network) -> Result<Self, SimError> {
        let failed = |source| SimError::File { action: "write", path: path.to_owned(), source };
        let fresh = path.with_extension("new");
        let mut file = File::create(&fresh).map_err(failed)?;
        let written = write_step(&mut file, &everything(network)).map_err(failed)?;
        std::fs::rename(&fresh, path).map_err(failed)?;
        let file = OpenOptions::new().append(true).open(path).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            grown_bytes: 0,
            may_grow_bytes: written.max(LEAST_GROWTH_BYTES),
        })
    }

    /// Writes what has changed. On return it survives a kill of this process.
    pub(crate) fn append(&mut self, network: &Network) -> Result<(), SimError> {
        let step: Vec<Record> =
            network.touched.iter().filter_map(|key| record(key, network)).collect();
        if step.is_empty() {
            return Ok(());
        }
        let failed = |source| SimError::File { action: "write", path: self.path.clone(), source };
        self.grown_bytes += write_step(&mut self.file, &step).map_err(failed)?;
        if self.grown_bytes > self.may_grow_bytes {
            *self = Self::create(&self.path, network)?;
        }
        Ok(())
    }
}

fn write_step(file: &mut File, step: &[Record]) -> std::io::Result<usize> {
    let mut line = serde_json::to_vec(step)?;
    line.push(b'\n');
    file.write_all(&line)?;
    Ok(line.len())
}

fn everything(network: &Network) -> Vec<Record> {
    let nodes = network.nodes.keys().cloned().map(Key::Node);
    let channels = network.channels.keys().copied().map(Key::Channel);
    let attempts = network.attempts.keys().copied().map(Key::Attempt);
    let invoices = network.nodes.iter().flat_map(|(name, node)| {
        node.invoices.keys().map(|hash| Key::Invoice(name.clone(), *hash))
    });
    let payments = network.nodes.iter().flat_map(|(name, node)| {
        node.payments.keys().map(|hash| Key::Payment(name.clone(), *hash))
    });
    let keys = std::iter::once(Key::Chain).chain(nodes).chain(channels);
    let keys = keys.chain(attempts).chain(invoices).chain(payments);
    keys.filter_map(|key| record(&key, network)).collect()
}

fn record(key: &Key, network: &Network) -> Option<Record> {
    Some(match key {
        Key::Chain => Record::Chain { height: network.height, tip_at: network.tip_at },
        Key::Node(name) => Record::Node(network.nodes.get(name)?.record.clone()),
        Key::Channel(id) => Record::Channel(network.channels.get(id)?.clone()),
        Key::Attempt(id) => Record::Attempt(Box::new(network.attempts.get(id)?.clone())),
        Key::Invoice(node, hash) => Record::Invoice {
            node: node.clone(),
            hash: *hash,
            is: network.find_invoice(node, *hash).cloned().map(Box::new),
        },
        Key::Payment(node, hash) => Record::Payment {
            node: node.clone(),
            hash: *hash,
            is: network.find_payment(node, *hash).cloned().map(Box::new),
        },
    })
}
