//! Control from another process: some methods of the handle as lines of JSON over TCP.
//!
//! The address is in the file `DIR/control`, which is written when everything is ready. Each line is a
//! request and is answered by one line: `{"do":"mine","blocks":6}` → `{"ok":null}` or
//! `{"error":"…"}`. The port is on the loopback interface and has no password.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use fedimint_tonic_lnd::lnrpc;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::error::SimError;
use crate::faults::{Armed, Rpc};
use crate::hash::PaymentHash;
use crate::identity::write;
use crate::invoice::InvoiceState;
use crate::ledger::Balance;
use crate::node::{LndState, hub};
use crate::sim::{LndSim, SimulatedNode};

/// A method of the handle; the default `node` is the hub.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    Pay {
        wallet: String,
        bolt11: String,
    },
    Invoice {
        wallet: String,
        sats: u64,
    },
    Mine {
        blocks: u32,
    },
    Height,
    Nodes,
    Arm(Armed),
    SetState {
        #[serde(default = "hub")]
        node: String,
        state: LndState,
    },
    RenewCertificate {
        #[serde(default = "hub")]
        node: String,
    },
    BakeMacaroon {
        #[serde(default = "hub")]
        node: String,
        root_key: u64,
        calls: Vec<String>,
    },
    Stop {
        #[serde(default = "hub")]
        node: String,
    },
    Kill {
        #[serde(default = "hub")]
        node: String,
    },
    Start {
        #[serde(default = "hub")]
        node: String,
        #[serde(default = "ready")]
        state: LndState,
    },
    Check,
    Balances,
    FindInvoice {
        #[serde(default = "hub")]
        node: String,
        hash: PaymentHash,
    },
    ListInvoices {
        #[serde(default = "hub")]
        node: String,
        state: InvoiceState,
    },
    Calls {
        rpc: Rpc,
        #[serde(default)]
        hash: Option<PaymentHash>,
    },
    /// Answers with the number of events, once it is greater than `since`.
    Await {
        #[serde(default)]
        since: u64,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("no simulation runs in {dir}: start one with `lnd-sim --dir {dir}`")]
    NotRunning {
        dir: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the simulation in {dir} closed the connection")]
    HungUp { dir: PathBuf },
    #[error("{0}")]
    Refused(String),
    #[error("the answer of the simulation is not valid")]
    Garbled(#[from] serde_json::Error),
}

/// Serves commands until dropped, and writes its address into the folder.
///
/// # Errors
/// No port, or a folder that cannot be written.
pub async fn serve(sim: LndSim) -> Result<ControlPort, SimError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let failed = |source| SimError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let dir = sim.dir().to_owned();
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(sim, listener));
    // By rename, so that no reader sees a part of the file.
    let fresh = dir.join("control.new");
    write(&fresh, address.to_string().as_bytes())?;
    let path = file(&dir);
    std::fs::rename(&fresh, &path).map_err(|source| SimError::File {
        action: "write",
        path,
        source,
    })?;
    Ok(ControlPort { address, _tasks: tasks })
}

/// A control port, which closes when this is dropped.
#[derive(Debug)]
pub struct ControlPort {
    pub address: SocketAddr,
    _tasks: JoinSet<()>,
}

/// Sends one command to the simulation that runs in `dir`.
///
/// # Errors
/// No simulation runs there, or it refuses the command.
pub async fn call(dir: &Path, command: &Command) -> Result<Value, ControlError> {
    let hung_up = |_| ControlError::HungUp { dir: dir.to_owned() };
    let not_running = |source| ControlError::NotRunning { dir: dir.to_owned(), source };
    let address = tokio::fs::read_to_string(file(dir)).await.map_err(not_running)?;
    let mut stream = TcpStream::connect(address.trim()).await.map_err(not_running)?;
    let mut line = serde_json::to_vec(command)?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(hung_up)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await.map_err(hung_up)?;
    if answer.is_empty() {
        return Err(ControlError::HungUp { dir: dir.to_owned() });
    }
    match serde_json::from_str(&answer)? {
        Answer::Ok(value) => Ok(value),
        Answer::Error(text) => Err(ControlError::Refused(text)),
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(Value),
    Error(String),
}

/// The longest command; BOLT 11 invoices are much shorter.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// The most connections at a time; others wait.
const MAX_CONNECTIONS: usize = 64;

async fn accept(sim: LndSim, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(serve_connection(sim.clone(), stream));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(sim: LndSim, stream: TcpStream) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        match (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let (answer, is_command) = match serde_json::from_slice(&line) {
            Ok(command) => match execute(&sim, command).await {
                Ok(value) => (Answer::Ok(value), true),
                Err(error) => (Answer::Error(error.to_string()), true),
            },
            Err(error) => (Answer::Error(format!("not a valid command: {error}")), false),
        };
        let Ok(mut text) = serde_json::to_vec(&answer) else { return };
        text.push(b'\n');
        // One invalid line ends the connection: the body of a browser's request could contain a command.
        if writer.write_all(&text).await.is_err() || !is_command {
            return;
        }
    }
}

async fn execute(sim: &LndSim, command: Command) -> Result<Value, SimError> {
    use Command as C;
    let mut answer = Value::Null;
    match command {
        C::Pay { wallet, bolt11 } => answer = payment(&sim.pay(&wallet, &bolt11)?),
        C::Invoice { wallet, sats } => answer = json!(sim.invoice(&wallet, sats)?),
        C::Mine { blocks } => sim.mine(blocks),
        C::Height => answer = json!(sim.height()),
        C::Nodes => {
            let nodes: Result<Vec<SimulatedNode>, SimError> =
                sim.nodes().iter().map(|name| sim.node(name)).collect();
            answer = json!(nodes?.iter().map(access).collect::<Vec<Value>>());
        }
        C::Arm(armed) => sim.arm(armed),
        C::SetState { node, state } => sim.set_state(&node, state)?,
        C::RenewCertificate { node } => sim.renew_certificate(&node)?,
        C::BakeMacaroon { node, root_key, calls } => {
            answer = json!(hex::encode(sim.bake_macaroon(&node, root_key, &calls)?));
        }
        C::Stop { node } => sim.stop(&node).await,
        C::Kill { node } => sim.kill(&node).await,
        C::Start { node, state } => sim.start_node_at(&node, state).await?,
        C::Check => answer = json!(sim.check()),
        C::Balances => answer = json!(sim.balances()),
        C::FindInvoice { node, hash } => {
            answer = json!(sim.find_invoice(&node, hash).as_ref().map(invoice));
        }
        C::ListInvoices { node, state } => answer = json!(sim.list_invoices(&node, state)),
        C::Calls { rpc, hash: None } => answer = json!(sim.calls(rpc)),
        C::Calls { rpc, hash: Some(hash) } => answer = json!(sim.calls_about(rpc, hash)),
        C::Await { since } => answer = json!(more_than(sim, since).await),
    }
    Ok(answer)
}

/// The number of events, once it is greater than `since`.
async fn more_than(sim: &LndSim, since: u64) -> u64 {
    let mut changes = sim.changes();
    while *changes.borrow_and_update() <= since && changes.changed().await.is_ok() {}
    *changes.borrow()
}

fn access(node: &SimulatedNode) -> Value {
    json!({
        "name": node.name,
        "pubkey": node.pubkey,
        "url": node.url(),
        "address": node.address,
        "tls_cert": node.tls_cert,
        "macaroon": node.macaroon,
    })
}

fn invoice(invoice: &lnrpc::Invoice) -> Value {
    json!({
        "hash": hex::encode(&invoice.r_hash),
        "state": invoice.state().as_str_name(),
        "value_msat": invoice.value_msat,
        "amt_paid_msat": invoice.amt_paid_msat,
        "expiry_height": invoice.htlcs.iter().map(|htlc| htlc.expiry_height).min(),
        "bolt11": invoice.payment_request,
    })
}

fn payment(payment: &lnrpc::Payment) -> Value {
    json!({
        "hash": payment.payment_hash,
        "status": payment.status().as_str_name(),
        "failure_reason": payment.failure_reason().as_str_name(),
        "value_msat": payment.value_msat,
        "fee_msat": payment.fee_msat,
        "payment_index": payment.payment_index,
        "bolt11": payment.payment_request,
    })
}

fn file(dir: &Path) -> PathBuf {
    dir.join("control")
}

fn ready() -> LndState {
    LndState::ServerActive
}

/// Reads the answer to [`Command::Balances`].
///
/// # Errors
/// It is not such an answer.
pub fn read_balances(answer: Value) -> Result<Vec<Balance>, ControlError> {
    Ok(serde_json::from_value(answer)?)
}

/// Reads the answer to [`Command::Nodes`].
///
/// # Errors
/// As [`read_balances`].
pub fn read_nodes(answer: Value) -> Result<Vec<SimulatedNode>, ControlError> {
    Ok(serde_json::from_value(answer)?)
}
