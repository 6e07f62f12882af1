//! Work in order for each sender, side by side for all.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::task::{Id, JoinSet};
use trade::TradeKey;

/// How long shutdown waits for commands that are being handled (behaviour §12.5).
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A lane a sender, there as long as the sender has work.
#[derive(Default)]
pub(super) struct Lanes {
    waiting: HashMap<TradeKey, VecDeque<BoxFuture<'static, ()>>>,
    running: JoinSet<()>,
    senders: HashMap<Id, TradeKey>,
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lanes({} running)", self.running.len())
    }
}

impl Lanes {
    /// Senders with work.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn push(
        &mut self,
        sender: TradeKey,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        match self.waiting.entry(sender) {
            Entry::Occupied(mut lane) => lane.get_mut().push_back(work.boxed()),
            Entry::Vacant(lane) => {
                lane.insert(VecDeque::new());
                self.start(sender, work.boxed());
            }
        }
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
        let sender = self.senders.remove(&id)?;
        match self.waiting.get_mut(&sender).and_then(VecDeque::pop_front) {
            Some(work) => self.start(sender, work),
            None => drop(self.waiting.remove(&sender)),
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

    fn start(&mut self, sender: TradeKey, work: BoxFuture<'static, ()>) {
        let handle = self.running.spawn(work);
        self.senders.insert(handle.id(), sender);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const ANNA: TradeKey = TradeKey([1; 32]);
    const BEN: TradeKey = TradeKey([2; 32]);

    // spec: INV-9
    #[tokio::test]
    async fn a_sender_who_is_slow_delays_nobody_else() {
        let mut lanes = Lanes::default();
        let (gate, opened) = oneshot::channel::<()>();
        let (said, heard) = oneshot::channel();

        lanes.push(ANNA, async move { drop(opened.await) });
        lanes.push(BEN, async move { said.send("ben").expect("heard") });

        assert_eq!(heard.await, Ok("ben"));
        drop(gate);
    }

    // spec: INV-7
    #[tokio::test]
    async fn a_sender_is_handled_in_order_even_if_the_first_message_breaks() {
        let mut lanes = Lanes::default();
        let (said, heard) = oneshot::channel();

        lanes.push(ANNA, async { panic!("broken") });
        lanes.push(ANNA, async move { said.send("second").expect("heard") });
        assert_eq!(lanes.len(), 1);

        while lanes.next().await.is_some() {}
        assert_eq!((heard.await, lanes.len()), (Ok("second"), 0));
    }
}
