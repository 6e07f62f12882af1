//! The Lightning network under an exchange, wherever it runs.

use anyhow::Result;
use lnd_sim::{Balance, InvoiceState, LndSim, NodeAccess, PaymentHash};

/// What every exchange asks of its Lightning network; steering it is each one's own.
pub trait Lightning {
    /// How a client reaches a node.
    ///
    /// # Errors
    /// No such node.
    fn access(&self, node: &str) -> Result<NodeAccess>;

    /// What a node has, and what of it is under way.
    fn balance(&self, node: &str) -> impl Future<Output = Result<Balance>>;

    /// The invoices a node has in this state, oldest first.
    fn list_invoices(
        &self,
        node: &str,
        state: InvoiceState,
    ) -> impl Future<Output = Result<Vec<PaymentHash>>>;

    /// Every law of Lightning that is broken, in words.
    fn broken_laws(&self) -> impl Future<Output = Result<Vec<String>>>;

    /// Waits until more has happened than `seen`, 0 for nothing yet, and moves it on.
    fn news(&self, seen: &mut u64) -> impl Future<Output = Result<()>>;
}

impl Lightning for LndSim {
    fn access(&self, node: &str) -> Result<NodeAccess> {
        Ok(self.node(node)?)
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
}
