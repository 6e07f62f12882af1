//! Carries out what was decided about holds and payouts, until LND confirms the result.

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
    AddedHold, InvoiceState, LightningError, LightningNode, NewHold, NewPayment, SEND,
};
use crate::retry::{Reported, Trouble};
use crate::store::{OutboxId, Reader};

/// Makes the calls to LND. Each may be repeated, except the send of a payout: its begin is saved before
/// the call (P1), and a send that was begun is looked up, not repeated (P5).
#[derive(Debug)]
pub(super) struct LightningCommands {
    pub(super) node: Arc<dyn LightningNode>,
    pub(super) reader: Reader,
    pub(super) engine: Engine,
    pub(super) escrow_margin: u32,
    /// Escrows whose settle waits until LND lists their channels, and which were reported.
    pub(super) unseen: Reported<PaymentHash>,
}

/// How often LND may fail to list its channels before the alarm.
const UNSEEN_ATTEMPTS: u32 = 2;

impl LightningCommands {
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
        // Its take was undone meanwhile.
        if self.hold(hash).await?.decision.is_some() {
            return Ok(Delivered::done());
        }
        if !self.node.readiness().await?.may_escrow() {
            return Ok(Delivered::NotYet("LND is not synced to its chain"));
        }
        let AddedHold { bolt11, state } =
            crash::around("ln.add", self.node.add_hold(wanted)).await?;
        Ok(Delivered::with(match state {
            // It expired before the seller was told of it, which is not the seller's fault.
            InvoiceState::Canceled => Observation::Hold { hash, status: HoldStatus::Canceled },
            InvoiceState::Unknown
            | InvoiceState::Open
            | InvoiceState::Accepted
            | InvoiceState::Settled => Observation::HoldOpened { hash, bolt11 },
        }))
    }

    /// Settles or cancels a hold as decided. It is done when LND shows the hold as settled or canceled.
    async fn end_hold(&self, hash: PaymentHash, attempts: u32) -> Result<Delivered, OutboxError> {
        let hold = self.hold(hash).await?;
        let Some(decision) = hold.decision else { return Ok(Delivered::done()) };
        let state = match decision {
            HoldDecision::Settle => self.settle(&hold, attempts).await?,
            HoldDecision::Cancel => crash::around("ln.cancel", self.node.cancel_hold(hash)).await?,
        };
        Ok(match verdict::of_hold(decision, state) {
            Some(status) => Delivered::with(Observation::Hold { hash, status }),
            None => Delivered::NotYet("LND has not done it yet"),
        })
    }

    /// Settles an escrow. Raises one alarm when that has to wait until LND lists its channels.
    async fn settle(&self, hold: &Hold, attempts: u32) -> Result<InvoiceState, OutboxError> {
        let height = self.reader.daemon_state().await?.height.unwrap_or_default();
        let evidence = hold.evidence(height, self.escrow_margin);
        let answer =
            crash::around("ln.settle", self.node.settle_hold(hold.preimage, evidence)).await;
        let is_unseen = matches!(answer, Err(LightningError::EscrowUnseen { .. }));
        if !is_unseen {
            self.unseen.is_over(&hold.hash);
        } else if attempts >= UNSEEN_ATTEMPTS && self.unseen.is_news(hold.hash, Trouble::Away) {
            tracing::error!(ln.hash = %hold.hash, "ALARM: {}", Alarm::EscrowUnseen);
        }
        Ok(answer?)
    }

    async fn hold(&self, hash: PaymentHash) -> Result<Hold, OutboxError> {
        let found = self.reader.find_hold(hash).await?;
        found.ok_or(OutboxError::Unreadable("the hold of a command"))
    }

    /// However long the row has waited, the payout is sent only if its attempt is still open and LND has
    /// no payment of it: a send of an attempt that was given up could pay the buyer twice (P7).
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
            return Ok(Delivered::done());
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

    /// What a failed send means: LND, fully started before and after, refused it, or the result is
    /// unknown.
    async fn read_failure(
        &self,
        order: OrderId,
        hash: PaymentHash,
        error: &LightningError,
    ) -> Result<Observation, OutboxError> {
        if error.is_node_away() {
            tracing::warn!(order.id = %order, ln.hash = %hash, %error, "LND did not answer the send of a payout: looking up the payment from now on");
            self.engine.write(Write::LndIsUnhealthy).await?;
            return Ok(Observation::PayoutUnanswered { hash });
        }
        if let Some(because) = error.refusal_of(SEND)
            && self.node.readiness().await.is_ok_and(|readiness| readiness.active)
        {
            tracing::warn!(order.id = %order, ln.hash = %hash, lnd.said = because, "LND refuses a payout");
            return Ok(Observation::PayoutRefused { hash, because });
        }
        tracing::warn!(order.id = %order, ln.hash = %hash, %error, "the send of a payout failed: looking up the payment from now on");
        Ok(Observation::PayoutUnanswered { hash })
    }
}
