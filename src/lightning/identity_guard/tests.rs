use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;
use trade::{BlockHeight, Network, NodeKey, Timestamp};

use super::*;
use crate::lightning::NodeDescription;

const HASH: PaymentHash = PaymentHash([1; 32]);

/// A node that counts the requests for its identity.
#[derive(Debug, Default)]
struct FakeLnd {
    asked: AtomicUsize,
    is_away: AtomicBool,
    updates: Vec<InvoiceState>,
}

impl FakeLnd {
    fn answer<T>(&self, answer: T) -> Result<T, LightningError> {
        if self.is_away.load(Ordering::SeqCst) { Err(LightningError::Starting) } else { Ok(answer) }
    }
}

#[async_trait]
impl LightningNode for FakeLnd {
    async fn readiness(&self) -> Result<Readiness, LightningError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.answer(Readiness {
            active: true,
            synced: true,
            channels_active: Some(1),
            lacks: vec![],
            height: BlockHeight(1),
            best_header_at: Timestamp(1),
            identity: LightningIdentity { key: NodeKey([2; 33]), network: Network::Regtest },
            node: NodeDescription::default(),
        })
    }

    async fn hold_status(&self, _: PaymentHash) -> Result<HoldStatus, LightningError> {
        self.answer(HoldStatus::Open)
    }

    fn watch(&self, _: PaymentHash) -> BoxStream<'_, InvoiceState> {
        stream::iter(self.updates.clone()).boxed()
    }

    async fn add_hold(&self, _: NewHold) -> Result<AddedHold, LightningError> {
        unimplemented!("nobody adds a hold")
    }

    async fn settle_hold(
        &self,
        _: Preimage,
        _: EscrowEvidence,
    ) -> Result<InvoiceState, LightningError> {
        unimplemented!("nobody settles")
    }

    async fn cancel_hold(&self, _: PaymentHash) -> Result<InvoiceState, LightningError> {
        unimplemented!("nobody cancels")
    }

    async fn send(&self, _: NewPayment) -> Result<PaymentStatus, LightningError> {
        unimplemented!("nobody pays")
    }

    async fn payment_status(&self, _: PaymentHash) -> Result<PaymentStatus, LightningError> {
        unimplemented!("nobody asks about a payment")
    }

    async fn find_htlc(&self, _: PaymentHash) -> Result<Option<Htlc>, LightningError> {
        unimplemented!("nobody asks about a payment")
    }

    fn follow(&self, _: PaymentHash) -> BoxStream<'_, PaymentStatus> {
        unimplemented!("nobody follows a payment")
    }
}

fn ours(node: FakeLnd) -> (IdentityGuard, Arc<FakeLnd>) {
    let node = Arc::new(node);
    (IdentityGuard::new(Arc::clone(&node) as _, None), node)
}

#[tokio::test]
async fn a_thousand_callers_cause_one_identity_check() {
    for is_away in [false, true] {
        let (ours, node) = ours(FakeLnd { is_away: is_away.into(), ..FakeLnd::default() });

        let answers = join_all((0..1_000).map(|_| ours.hold_status(HASH))).await;

        assert!(answers.iter().all(|answer| answer.is_err() == is_away));
        assert_eq!(node.asked.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_failed_call_signals_a_failure() {
    let (ours, node) = ours(FakeLnd::default());
    let mut failures = ours.failures();
    ours.hold_status(HASH).await.unwrap();
    assert!(!failures.has_changed().unwrap());

    node.is_away.store(true, Ordering::SeqCst);
    assert!(ours.readiness().await.is_err());
    assert!(!failures.has_changed().unwrap(), "the caller itself gets the error");
    assert!(ours.hold_status(HASH).await.is_err());

    timeout(Duration::from_secs(5), failures.changed()).await.unwrap().unwrap();
}

// spec: E3
#[tokio::test]
async fn a_stream_that_breaks_off_signals_a_failure_and_one_that_ended_does_not() {
    let stories: [(&[InvoiceState], bool); 4] = [
        (&[InvoiceState::Open], true),
        (&[InvoiceState::Open, InvoiceState::Settled], false),
        (&[InvoiceState::Canceled], false),
        (&[], false),
    ];
    for (updates, rings) in stories {
        let (ours, _) = ours(FakeLnd { updates: updates.to_vec(), ..FakeLnd::default() });
        let failures = ours.failures();

        assert_eq!(ours.watch(HASH).collect::<Vec<_>>().await, updates);

        assert_eq!(failures.has_changed().unwrap(), rings, "{updates:?}");
        assert_eq!(ours.is_known.load(Ordering::SeqCst), !rings, "{updates:?}");
    }
}
