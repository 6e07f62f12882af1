//! Runs the handling of messages: in order within a lane, concurrently across lanes.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_util::task::JoinMap;
use trade::{OrderId, TradeKey};

use super::Ticket;

/// How long shutdown waits for messages that are being handled.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages of one lane are handled one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// The messages of both parties of a running order.
    Order(OrderId),
    /// All other messages of one sender.
    Sender(TradeKey),
}

impl Lane {
    /// Whether its sender is not a party of a running order.
    pub(super) fn is_of_stranger(self) -> bool {
        matches!(self, Self::Sender(_))
    }
}

/// The lanes that have work.
#[derive(Default)]
pub(super) struct Lanes {
    waiting: HashMap<Lane, VecDeque<(Ticket, BoxFuture<'static, ()>)>>,
    running: JoinMap<(Lane, Ticket), ()>,
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lanes({} running)", self.running.len())
    }
}

impl Lanes {
    /// Whether no work runs or waits.
    pub(super) fn are_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The caller limits what a lane holds.
    pub(super) fn push(
        &mut self,
        lane: Lane,
        ticket: Ticket,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        match self.waiting.entry(lane) {
            Entry::Occupied(mut queue) => queue.get_mut().push_back((ticket, work.boxed())),
            Entry::Vacant(queue) => {
                queue.insert(VecDeque::new());
                self.start(lane, ticket, work.boxed());
            }
        }
    }

    /// Waits for the next work to end, starts the next one of its lane, and returns the ticket of the
    /// ended one. `None` if there is no work. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Ticket> {
        let ((lane, ticket), ended) = self.running.join_next().await?;
        if let Err(error) = ended {
            tracing::error!(%error, "handling a message panicked; please report this");
        }
        match self.waiting.get_mut(&lane).and_then(VecDeque::pop_front) {
            Some((next, work)) => self.start(lane, next, work),
            None => drop(self.waiting.remove(&lane)),
        }
        Some(ticket)
    }

    /// Waits for the running work to end, up to a timeout. What is waiting is received again after the
    /// next start.
    pub(super) async fn finish(mut self) {
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, all).await.is_err() {
            tracing::warn!(
                "some messages were still being handled; they are handled again at the next start"
            );
        }
    }

    fn start(&mut self, lane: Lane, ticket: Ticket, work: BoxFuture<'static, ()>) {
        self.running.spawn((lane, ticket), work);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const ANNA: Lane = Lane::Sender(TradeKey([1; 32]));
    const BEN: Lane = Lane::Sender(TradeKey([2; 32]));

    // spec: INV-9 K-05
    #[tokio::test]
    async fn a_slow_lane_does_not_delay_another() {
        let mut lanes = Lanes::default();
        let (gate, opened) = oneshot::channel::<()>();
        let (done, result) = oneshot::channel();

        lanes.push(ANNA, 1, async move { drop(opened.await) });
        lanes.push(BEN, 2, async move { done.send("ben").expect("received") });

        assert_eq!(result.await, Ok("ben"));
        drop(gate);
    }

    // spec: INV-7
    #[tokio::test]
    async fn a_lane_goes_on_in_order_after_a_panic() {
        let mut lanes = Lanes::default();
        let (done, result) = oneshot::channel();

        lanes.push(ANNA, 1, async { panic!("broken") });
        lanes.push(ANNA, 2, async move { done.send("second").expect("received") });

        assert_eq!((lanes.next().await, lanes.next().await), (Some(1), Some(2)));
        assert_eq!((result.await, lanes.are_empty()), (Ok("second"), true));
    }
}
