use async_trait::async_trait;
use futures::stream::BoxStream;
use trade::{BlockHeight, EscrowEvidence, HoldStatus, Msats, PaymentHash, PaymentStatus, Preimage};

use super::*;
use crate::lightning::{
    AddedHold, Htlc, InvoiceState, LightningError, NewHold, NewPayment, Readiness,
};

const HASH: PaymentHash = PaymentHash([1; 32]);
const QUESTION: Question = Question::HoldStatus { hash: HASH };

// spec: C6 C7
#[tokio::test]
async fn the_fact_is_lnds_answer_about_the_hash() {
    let status = HoldStatus::Accepted { paid: Msats(1_000), expires_at: BlockHeight(900) };
    let facts = Facts::new(Arc::new(FakeLnd::Says(status)));

    assert_eq!(facts.ask(QUESTION).await, Some(Fact::HoldSeen { hash: HASH, status }));
}

#[tokio::test]
async fn an_error_gives_no_fact() {
    assert_eq!(Facts::new(Arc::new(FakeLnd::Fails)).ask(QUESTION).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_missing_answer_gives_no_fact_after_a_timeout() {
    assert_eq!(Facts::new(Arc::new(FakeLnd::IsSilent)).ask(QUESTION).await, None);
}

#[derive(Debug)]
enum FakeLnd {
    Says(HoldStatus),
    Fails,
    IsSilent,
}

#[async_trait]
impl LightningNode for FakeLnd {
    async fn hold_status(&self, _: PaymentHash) -> Result<HoldStatus, LightningError> {
        match self {
            Self::Says(status) => Ok(*status),
            Self::Fails => Err(LightningError::Locked),
            Self::IsSilent => std::future::pending().await,
        }
    }

    async fn add_hold(&self, _: NewHold) -> Result<AddedHold, LightningError> {
        unimplemented!("no question adds a hold")
    }

    async fn settle_hold(
        &self,
        _: Preimage,
        _: EscrowEvidence,
    ) -> Result<InvoiceState, LightningError> {
        unimplemented!("no question settles")
    }

    async fn cancel_hold(&self, _: PaymentHash) -> Result<InvoiceState, LightningError> {
        unimplemented!("no question cancels")
    }

    async fn send(&self, _: NewPayment) -> Result<PaymentStatus, LightningError> {
        unimplemented!("no question pays")
    }

    async fn payment_status(&self, _: PaymentHash) -> Result<PaymentStatus, LightningError> {
        unimplemented!("no question is about a payment")
    }

    async fn find_htlc(&self, _: PaymentHash) -> Result<Option<Htlc>, LightningError> {
        unimplemented!("no question is about a payment")
    }

    fn watch(&self, _: PaymentHash) -> BoxStream<'_, InvoiceState> {
        unimplemented!("no question watches")
    }

    fn follow(&self, _: PaymentHash) -> BoxStream<'_, PaymentStatus> {
        unimplemented!("no question follows")
    }

    async fn readiness(&self) -> Result<Readiness, LightningError> {
        unimplemented!("no question is about readiness")
    }
}
