//! Work in order for the parties of each order, and for every other sender; side by side for all.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::task::{Id, JoinSet};
use trade::{OrderId, TradeKey};

/// How long shutdown waits for commands that are being handled (behaviour §12.5).
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How much may wait in one lane. Nobody has so much to say at once.
const LONGEST: usize = 32;

/// What is handled one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// What both parties say about an order stays in the order it was said in.
    Order(OrderId),
    /// Who is no party of an order waits for nobody else, and nobody waits for them.
    Sender(TradeKey),
}

/// Lanes are there as long as they have work.
#[derive(Default)]
pub(super) struct Lanes {
    waiting: HashMap<Lane, VecDeque<BoxFuture<'static, ()>>>,
    len: usize,
    running: JoinSet<()>,
    tasks: HashMap<Id, Lane>,
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lanes({} running)", self.running.len())
    }
}

impl Lanes {
    /// How much work runs or waits.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// False: the lane is full, and the work is gone.
    #[must_use]
    pub(super) fn push(
        &mut self,
        lane: Lane,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> bool {
        match self.waiting.entry(lane) {
            Entry::Occupied(queue) if queue.get().len() >= LONGEST => return false,
            Entry::Occupied(mut queue) => queue.get_mut().push_back(work.boxed()),
            Entry::Vacant(queue) => {
                queue.insert(VecDeque::new());
                self.start(lane, work.boxed());
            }
        }
        self.len = self.len.saturating_add(1);
        true
    }

    /// Waits for the end of some work, and starts what stood behind it. `None` if there is none.
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Option<()> {
        let id = match self.running.join_next_with_id().await? {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a message broke what handles it; please report this");
                error.id()
            }
        };
        self.len = self.len.saturating_sub(1);
        let lane = self.tasks.remove(&id)?;
        match self.waiting.get_mut(&lane).and_then(VecDeque::pop_front) {
            Some(work) => self.start(lane, work),
            None => drop(self.waiting.remove(&lane)),
        }
        Some(())
    }

    /// Lets what runs come to its end, within a bound. What waits is asked for again by the next
    /// start.
    pub(super) async fn finish(mut self) {
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, all).await.is_err() {
            tracing::warn!("some messages were still being handled; the next start takes them up");
        }
    }

    fn start(&mut self, lane: Lane, work: BoxFuture<'static, ()>) {
        let handle = self.running.spawn(work);
        self.tasks.insert(handle.id(), lane);
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

        assert!(lanes.push(ANNA, async move { drop(opened.await) }));
        assert!(lanes.push(BEN, async move { said.send("ben").expect("heard") }));

        assert_eq!(heard.await, Ok("ben"));
        drop(gate);
    }

    // spec: INV-7
    #[tokio::test]
    async fn a_sender_is_handled_in_order_even_if_the_first_message_breaks() {
        let mut lanes = Lanes::default();
        let (said, heard) = oneshot::channel();

        assert!(lanes.push(ANNA, async { panic!("broken") }));
        assert!(lanes.push(ANNA, async move { said.send("second").expect("heard") }));
        assert_eq!(lanes.len(), 2);

        while lanes.next().await.is_some() {}
        assert_eq!((heard.await, lanes.len()), (Ok("second"), 0));
    }

    // spec: INV-9
    #[tokio::test]
    async fn a_lane_takes_so_much_and_no_more() {
        let mut lanes = Lanes::default();

        assert!((0..=LONGEST).all(|_| lanes.push(ANNA, std::future::pending())));
        assert!(!lanes.push(ANNA, std::future::pending()));
        assert!(lanes.push(BEN, std::future::pending()));
        assert_eq!(lanes.len(), LONGEST + 2);
    }
}
