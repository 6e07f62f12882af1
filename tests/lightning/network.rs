//! What the laws need of a network, simulated or real.

use async_trait::async_trait;
use mostrod::lightning::LndAccess;
use trade::Sats;

/// Three nodes on one chain: a seller and a buyer, each with a channel to ours, and sats enough for
/// every law on the near side of it.
#[async_trait]
pub(crate) trait Network: Send + Sync {
    fn access(&self, node: Node) -> LndAccess;

    /// An ordinary invoice of the buyer; without an amount the payer says how much.
    async fn invoice(&self, amount: Option<Sats>) -> String;

    /// The seller pays an invoice, and more than it asks for.
    async fn overpay(&self, bolt11: &str, amount: Sats);

    /// Adds blocks, and returns when every node that is up has seen them.
    async fn mine(&self, blocks: u32);

    /// SIGKILL.
    async fn kill(&self, node: Node);

    /// SIGTERM.
    async fn stop(&self, node: Node);

    /// Starts a node again, and returns when it is ready to pay.
    async fn start(&self, node: Node);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Ours,
    Seller,
    Buyer,
}
