//! Work in order for the parties of each order, and for every other sender; side by side for all.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_util::task::JoinMap;
use trade::{OrderId, TradeKey};

use super::Ticket;

/// How long shutdown waits for commands that are being handled (behaviour §12.5).
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What is handled one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// What both parties say about an order stays in the order it was said in.
    Order(OrderId),
    /// Who is no party of an order waits for nobody else, and nobody waits for them.
    Sender(TradeKey),
}

impl Lane {
    /// Whether it is of somebody who is party to no running order.
    pub(super) fn is_of_stranger(self) -> bool {
        matches!(self, Self::Sender(_))
    }
}

/// Lanes are there as long as they have work.
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

    /// What each lane holds is bounded by who puts it there.
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

    /// Waits for the end of some work, whose ticket it returns, and starts what stood behind it.
    /// `None` if there is none. Cancel safe.
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

    /// Lets what runs come to its end, within a bound. What waits is asked for again by the next
    /// start.
    pub(super) async fn finish(mut self) {
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, all).await.is_err() {
            tracing::warn!(
                "some messages were still being handled; they are resumed at the next start"
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
    async fn a_sender_who_is_slow_delays_nobody_else() {
        let mut lanes = Lanes::default();
        let (gate, opened) = oneshot::channel::<()>();
        let (said, heard) = oneshot::channel();

        lanes.push(ANNA, 1, async move { drop(opened.await) });
        lanes.push(BEN, 2, async move { said.send("ben").expect("heard") });

        assert_eq!(heard.await, Ok("ben"));
        drop(gate);
    }

    // spec: INV-7
    #[tokio::test]
    async fn a_sender_is_handled_in_order_even_if_the_first_message_breaks() {
        let mut lanes = Lanes::default();
        let (said, heard) = oneshot::channel();

        lanes.push(ANNA, 1, async { panic!("broken") });
        lanes.push(ANNA, 2, async move { said.send("second").expect("heard") });

        assert_eq!((lanes.next().await, lanes.next().await), (Some(1), Some(2)));
        assert_eq!((heard.await, lanes.are_empty()), (Ok("second"), true));
    }
}
