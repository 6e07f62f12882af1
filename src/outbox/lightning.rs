//! Carrying out what was decided about holds and payouts, until LND's own word ends it.

use std::sync::Arc;

use trade::{
    Alarm, Hold, HoldDecision, HoldStatus, LnCommand, Observation, OrderId, PaymentHash,
    PaymentStatus,
};

use super::{Delivered, OutboxError};
use crate::crash;
use crate::engine::{Applied, Engine, Write};
use crate::lightning::verdict;
use crate::lightning::{
    AddedHold, HoldWord, LightningError, LightningNode, NewHold, NewPayment, SEND,
};
use crate::retry::{Reported, Trouble};
use crate::store::{OutboxId, Reader};

/// Speaks to LND. Every call may be made twice, but for a payout's: that its call was begun is on
/// disk before the first byte (P1), and one that was begun is asked about, not made again (P5).
#[derive(Debug)]
pub(super) struct ToLightning {
    pub(super) node: Arc<dyn LightningNode>,
    pub(super) reader: Reader,
    pub(super) engine: Engine,
    pub(super) escrow_margin: u32,
    /// Escrows that wait to be seen, and of which that was said.
    pub(super) unseen: Reported<PaymentHash>,
}

/// So many tries LND may fail to list its channels before a person is called.
const UNSEEN_TRIES: u32 = 2;

impl ToLightning {
    pub(super) async fn carry_out(
        &self,
        row: OutboxId,
        was_begun: bool,
        attempts: u32,
        command: LnCommand,
    ) -> Result<Delivered, OutboxError> {
        match command {
            LnCommand::AddHold { hash, amount, expiry, cltv_delta, memo } => {
                self.add_hold(NewHold { hash, amount, expiry, cltv_delta, memo }).await
            }
            LnCommand::EndHold { hash } => self.end_hold(hash, attempts).await,
            LnCommand::SendPayout { hash } if was_begun => {
                Ok(Delivered::with(Observation::PayoutUnanswered { hash }))
            }
            LnCommand::SendPayout { hash } => self.send_payout(row, hash).await,
        }
    }

    async fn add_hold(&self, wanted: NewHold) -> Result<Delivered, OutboxError> {
        let hash = wanted.hash;
        // Nobody waits for it any more (D17).
        if self.hold(hash).await?.decision.is_some() {
            return Ok(Delivered::quietly());
        }
        if !self.node.readiness().await?.may_escrow() {
            return Ok(Delivered::NotYet("LND is not synced to its chain"));
        }
        let AddedHold { bolt11, word } =
            crash::around("ln.add", self.node.add_hold(wanted)).await?;
        Ok(Delivered::with(match word {
            // It ran out before anybody was told of it: nobody's fault but ours (D17).
            HoldWord::Canceled => Observation::Hold { hash, status: HoldStatus::Canceled },
            HoldWord::Unknown | HoldWord::Open | HoldWord::Accepted | HoldWord::Settled => {
                Observation::HoldOpened { hash, bolt11 }
            }
        }))
    }

    /// Makes the call of the hold's decision until LND agrees, or did the other thing.
    async fn end_hold(&self, hash: PaymentHash, attempts: u32) -> Result<Delivered, OutboxError> {
        let hold = self.hold(hash).await?;
        let Some(decision) = hold.decision else { return Ok(Delivered::quietly()) };
        let word = match decision {
            HoldDecision::Settle => self.settle(&hold, attempts).await?,
            HoldDecision::Cancel => crash::around("ln.cancel", self.node.cancel_hold(hash)).await?,
        };
        Ok(match verdict::of_hold(decision, word) {
            Some(status) => Delivered::with(Observation::Hold { hash, status }),
            None => Delivered::NotYet("LND has not done it"),
        })
    }

    /// Says once of an escrow that its settling waits for LND to show it (D23).
    async fn settle(&self, hold: &Hold, attempts: u32) -> Result<HoldWord, OutboxError> {
        let height = self.reader.daemon_state().await?.height.unwrap_or_default();
        let evidence = hold.evidence(height, self.escrow_margin);
        let answer =
            crash::around("ln.settle", self.node.settle_hold(hold.preimage, evidence)).await;
        let is_unseen = matches!(answer, Err(LightningError::EscrowUnseen { .. }));
        if !is_unseen {
            self.unseen.is_over(&hold.hash);
        } else if attempts >= UNSEEN_TRIES && self.unseen.is_news(hold.hash, Trouble::Away) {
            tracing::error!(ln.hash = %hold.hash, "ALARM: {}", Alarm::EscrowUnseen);
        }
        Ok(answer?)
    }

    async fn hold(&self, hash: PaymentHash) -> Result<Hold, OutboxError> {
        let found = self.reader.find_hold(hash).await?;
        found.ok_or(OutboxError::Unreadable("the hold of a command"))
    }

    /// However long the row has waited, the call is made only if the attempt still wants it, and
    /// LND has nothing of it: a send of what was given up would be a second payment (P1, P7).
    async fn send_payout(
        &self,
        row: OutboxId,
        hash: PaymentHash,
    ) -> Result<Delivered, OutboxError> {
        let (order, attempt) = self
            .reader
            .find_attempt(hash)
            .await?
            .ok_or(OutboxError::Unreadable("the attempt of a payout"))?;
        if !self.node.readiness().await?.may_pay() {
            return Ok(Delivered::NotYet("LND is not ready to pay"));
        }
        if attempt.tries > 1 {
            let status = self.node.payment_status(hash).await?;
            if attempt.is_answered_by(status) {
                return Ok(Delivered::with(Observation::Payment { hash, status }));
            }
        }
        if self.engine.begin_payout(row, order, hash).await? == Applied::Unchanged {
            return Ok(Delivered::quietly());
        }
        let payment = NewPayment {
            hash,
            bolt11: attempt.bolt11,
            amount: attempt.amount,
            max_fee: attempt.max_fee,
            cltv_limit: attempt.cltv_limit,
        };
        let answer = crash::around("ln.send", self.node.send(payment)).await;
        Ok(Delivered::with(match answer {
            Ok(PaymentStatus::Unknown) => Observation::PayoutUnanswered { hash },
            Ok(status) => Observation::Payment { hash, status },
            Err(error) => self.read_failure(order, hash, &error).await?,
        }))
    }

    /// What a send that failed says of it: LND, fully started before and after, refused it (D39), or
    /// nothing.
    async fn read_failure(
        &self,
        order: OrderId,
        hash: PaymentHash,
        error: &LightningError,
    ) -> Result<Observation, OutboxError> {
        if error.is_node_away() {
            tracing::warn!(order.id = %order, ln.hash = %hash, %error, "LND did not answer a payout's call: asking it about the payment from now on");
            self.engine.write(Write::LndIsUnwell).await?;
            return Ok(Observation::PayoutUnanswered { hash });
        }
        if let Some(because) = error.refusal_of(SEND)
            && self.node.readiness().await.is_ok_and(|readiness| readiness.active)
        {
            tracing::warn!(order.id = %order, ln.hash = %hash, lnd.said = because, "LND refuses a payout");
            return Ok(Observation::PayoutRefused { hash, because });
        }
        tracing::warn!(order.id = %order, ln.hash = %hash, %error, "a payout's call failed: asking LND about the payment from now on");
        Ok(Observation::PayoutUnanswered { hash })
    }
}
