//! What the core asks before it can decide, asked outside any transaction.
//!
//! Without an answer there is no fact: a user is then refused, and a timer waits for its next tick.

use std::sync::Arc;
use std::time::Duration;

use trade::{Fact, Question};

use crate::lightning::LightningNode;

/// Shorter than the 8 s that a reply may wait for LND, so that a refusal is still in time.
const ANSWER_DEADLINE: Duration = Duration::from_secs(3);

/// Answers the core's questions.
#[derive(Debug, Clone)]
pub struct Facts {
    lightning: Arc<dyn LightningNode>,
}

impl Facts {
    #[must_use]
    pub fn new(lightning: Arc<dyn LightningNode>) -> Self {
        Self { lightning }
    }

    /// The fact, if LND answers in time.
    pub async fn ask(&self, question: Question) -> Option<Fact> {
        match question {
            Question::HoldStatus { hash } => {
                let answer = self.lightning.hold_status(hash);
                match tokio::time::timeout(ANSWER_DEADLINE, answer).await {
                    Ok(Ok(status)) => Some(Fact::HoldSeen { hash, status }),
                    Ok(Err(error)) => {
                        tracing::warn!(ln.hash = %hash, %error, "LND did not tell the status of a hold");
                        None
                    }
                    Err(_) => {
                        tracing::warn!(ln.hash = %hash, "LND did not tell the status of a hold in time");
                        None
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
