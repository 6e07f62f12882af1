//! Waiting for a condition, with a timeout.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep};

/// As long as in LND's own tests, since a machine may be busy.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Time between two polls.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Polls until there is an answer; the last error shows what was missing.
pub(crate) async fn until<T, F>(what: impl Display, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("no {what} within {TIMEOUT:?}"));
            }
            Err(_) => sleep(POLL_INTERVAL).await,
        }
    }
}
