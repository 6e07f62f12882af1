//! Waiting for what has a name, and not for ever.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep};

/// LND's own tests are as generous: a machine may be busy.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks.
pub(crate) const AGAIN: Duration = Duration::from_millis(20);

/// Asks again and again until there is an answer; the last error says what was missing.
pub(crate) async fn until<T, F>(what: impl Display, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("no {what} within {PATIENCE:?}"));
            }
            Err(_) => sleep(AGAIN).await,
        }
    }
}
