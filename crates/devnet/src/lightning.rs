//! The Lightning network of an exchange, simulated or real.

mod real;

use anyhow::{Result, ensure};
use lnd_sim::{Balance, InvoiceState, LndSim, LndState, PaymentHash};

use crate::NodeAccess;

/// What exchanges and tests need of a Lightning network, simulated or real: the nodes
/// `hub`, which the daemon uses, `seller` and `buyer`, the latter two with a channel to the hub. The
/// seller can send 8,000,000 sat to the hub, and the hub as much to the buyer.
///
/// Payments are made by a [`Wallet`](crate::Wallet) of any node. What only a simulation can do is not
/// part of this trait.
pub trait Lightning {
    /// How a client reaches a node.
    ///
    /// # Errors
    /// No such node.
    fn access(&self, node: &str) -> Result<NodeAccess>;

    /// A node's balance, and what of it is in HTLCs.
    fn balance(&self, node: &str) -> impl Future<Output = Result<Balance>>;

    /// The invoices a node has in this state, oldest first.
    fn list_invoices(
        &self,
        node: &str,
        state: InvoiceState,
    ) -> impl Future<Output = Result<Vec<PaymentHash>>>;

    /// A description of every law of Lightning that is broken.
    fn broken_laws(&self) -> impl Future<Output = Result<Vec<String>>>;

    /// Waits until there are more events than `seen`, which starts at 0, and updates it.
    fn news(&self, seen: &mut u64) -> impl Future<Output = Result<()>>;

    /// Adds blocks. When this returns every running node has seen them.
    fn mine(&self, blocks: u32) -> impl Future<Output = Result<()>>;

    /// SIGTERM to one node, which has ended when this returns.
    fn stop_node(&self, node: &str) -> impl Future<Output = Result<()>>;

    /// SIGKILL to one node, which has ended when this returns.
    fn kill_node(&self, node: &str) -> impl Future<Output = Result<()>>;

    /// Starts a node again; it is ready to pay when this returns.
    fn start_node(&self, node: &str) -> impl Future<Output = Result<()>>;

    /// Starts a node again; it waits for its wallet to be unlocked when this returns.
    fn start_locked(&self, node: &str) -> impl Future<Output = Result<()>>;

    /// Unlocks the wallet of a node; it is ready to pay when this returns.
    fn unlock(&self, node: &str) -> impl Future<Output = Result<()>>;

    /// Replaces the certificate of a running node, which presents the new one when this returns.
    fn renew_certificate(&self, node: &str) -> impl Future<Output = Result<()>>;

    /// Makes a macaroon that allows these calls of a node (`/lnrpc.Lightning/GetInfo`) and no
    /// others, with a root key of this number.
    fn bake_macaroon(
        &self,
        node: &str,
        root_key: u64,
        calls: &[&str],
    ) -> impl Future<Output = Result<Vec<u8>>>;

    /// Ends a network after a success. After a failure its logs are kept, if there are any.
    ///
    /// # Errors
    /// A law is broken.
    fn end(self) -> Result<()>;
}

impl Lightning for LndSim {
    fn access(&self, node: &str) -> Result<NodeAccess> {
        Ok(access_of(self.node(node)?))
    }

    async fn balance(&self, node: &str) -> Result<Balance> {
        Ok(LndSim::balance(self, node)?)
    }

    async fn list_invoices(&self, node: &str, state: InvoiceState) -> Result<Vec<PaymentHash>> {
        Ok(LndSim::list_invoices(self, node, state))
    }

    async fn broken_laws(&self) -> Result<Vec<String>> {
        Ok(self.check())
    }

    async fn news(&self, seen: &mut u64) -> Result<()> {
        *seen = *self.changes().wait_for(|happened| *happened > *seen).await?;
        Ok(())
    }

    async fn mine(&self, blocks: u32) -> Result<()> {
        LndSim::mine(self, blocks);
        Ok(())
    }

    async fn stop_node(&self, node: &str) -> Result<()> {
        self.stop(node).await;
        Ok(())
    }

    async fn kill_node(&self, node: &str) -> Result<()> {
        self.kill(node).await;
        Ok(())
    }

    async fn start_node(&self, node: &str) -> Result<()> {
        Ok(LndSim::start_node(self, node).await?)
    }

    async fn start_locked(&self, node: &str) -> Result<()> {
        Ok(self.start_node_at(node, LndState::Locked).await?)
    }

    async fn unlock(&self, node: &str) -> Result<()> {
        Ok(self.set_state(node, LndState::ServerActive)?)
    }

    async fn renew_certificate(&self, node: &str) -> Result<()> {
        Ok(LndSim::renew_certificate(self, node)?)
    }

    async fn bake_macaroon(&self, node: &str, root_key: u64, calls: &[&str]) -> Result<Vec<u8>> {
        let calls: Vec<_> = calls.iter().map(ToString::to_string).collect();
        Ok(LndSim::bake_macaroon(self, node, root_key, &calls)?)
    }

    fn end(self) -> Result<()> {
        let broken = self.check();
        ensure!(broken.is_empty(), "the simulator's laws are broken: {broken:#?}");
        Ok(())
    }
}

/// Simulator and real nodes have types of their own.
pub(crate) fn access_of(simulated: lnd_sim::SimulatedNode) -> NodeAccess {
    let lnd_sim::SimulatedNode { name, pubkey, address, tls_cert, macaroon } = simulated;
    NodeAccess { name, pubkey, address, tls_cert, macaroon }
}
