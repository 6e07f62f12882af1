//! Logs at the start and once a day which orders wait for somebody, and checks the database file.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error_chain;
use crate::store::{Reader, StoreError};

const DAY: Duration = Duration::from_hours(24);

#[derive(Debug)]
pub struct Reminder {
    pub reader: Reader,
    pub clock: Arc<dyn Clock>,
    pub escrow_margin: u32,
}

impl Reminder {
    /// Ends before shutdown only if a person must repair the database; that ends the daemon.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            if let Err(error) = self.remind().await {
                tracing::error!(
                    error = error_chain(&error),
                    "what waits for somebody cannot be listed"
                );
                if error.is_fatal() {
                    return;
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(DAY) => {}
            }
            // At the start it was checked when it was opened.
            if let Err(error) = self.reader.check_pages().await {
                tracing::error!(error = error_chain(&error), "the database was checked");
                if error.is_fatal() {
                    return;
                }
            }
        }
    }

    /// Their alarms were raised once, perhaps long ago, and debts raise none.
    async fn remind(&self) -> Result<(), StoreError> {
        for waiting in self.reader.list_waiting(self.clock.now(), self.escrow_margin).await? {
            if waiting.needs_a_person() {
                tracing::error!(order.id = %waiting.order, "ALARM: {waiting}");
            } else {
                tracing::warn!(order.id = %waiting.order, "{waiting}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
