//! What every service of one node knows.

use std::sync::Arc;

use tokio::sync::watch;

use crate::shared::Shared;

/// Whether the node's process is running or stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    /// SIGTERM: streams end as LND ends them, then the connections close.
    Stopping,
}

/// The node, as its services see it.
#[derive(Clone)]
pub(crate) struct Lnd {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: String,
    pub(crate) life: watch::Receiver<Life>,
}

/// Waits for SIGTERM, or until nobody can send it any more.
pub(crate) async fn stopping(life: &mut watch::Receiver<Life>) {
    drop(life.wait_for(|life| *life == Life::Stopping).await);
}
