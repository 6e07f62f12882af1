//! The lanes with an act under way, and the free places of each class.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::JoinError;
use tokio_util::task::JoinMap;

use crate::store::Class;

/// How long shutdown waits for acts under way.
const LAST_ACTS: Duration = Duration::from_secs(10);

/// One answer to a stranger is begun in this time on average, however many wait and however often they
/// fail: each costs a signature, some writes and a part of what relays accept from us.
const STRANGERS_PACE: Duration = Duration::from_millis(100);

/// How many are begun at once if none was for a while.
const STRANGERS_AT_ONCE: u32 = 20;

/// One act a lane, so that order is kept; each class has places of its own, so that no class waits for
/// another.
#[derive(Debug)]
pub(super) struct BusyLanes {
    /// By lane.
    acts: JoinMap<String, ()>,
    /// Of each lane with an act: a lane can change its class while the act runs.
    classes: HashMap<String, Class>,
    /// Up to when, in monotonic time, the answers to strangers that were begun have used up the pace.
    strangers_until: Duration,
}

impl BusyLanes {
    pub(super) fn new() -> Self {
        Self { acts: JoinMap::new(), classes: HashMap::new(), strangers_until: Duration::ZERO }
    }

    /// How many due lanes to ask for, so that every free place can be filled: busy lanes are among
    /// them. Classes without a free place are left out.
    pub(super) fn limits(&self, monotonic: Duration) -> Vec<(Class, u32)> {
        let busy = count(self.classes.len());
        let with_busy = |class| match self.free(class, monotonic) {
            0 => None,
            free => Some((class, free.saturating_add(busy))),
        };
        Class::ALL.into_iter().filter_map(with_busy).collect()
    }

    fn free(&self, class: Class, monotonic: Duration) -> u32 {
        let taken = self.classes.values().filter(|of| **of == class).count();
        let free = places(class).saturating_sub(count(taken));
        match class {
            Class::Lightning | Class::Alarm | Class::Trade => free,
            Class::Stranger => free.min(self.strangers_left(monotonic)),
        }
    }

    fn strangers_left(&self, monotonic: Duration) -> u32 {
        let ahead = self.strangers_until.saturating_sub(monotonic);
        let left = (STRANGERS_PACE * STRANGERS_AT_ONCE).saturating_sub(ahead);
        u32::try_from(left.as_millis() / STRANGERS_PACE.as_millis()).unwrap_or(u32::MAX)
    }

    pub(super) fn start_if_free(
        &mut self,
        class: Class,
        lane: String,
        monotonic: Duration,
        act: impl Future<Output = ()> + Send + 'static,
    ) {
        if self.free(class, monotonic) == 0 || self.classes.contains_key(&lane) {
            return;
        }
        if class == Class::Stranger {
            self.strangers_until = self.strangers_until.max(monotonic) + STRANGERS_PACE;
        }
        self.classes.insert(lane.clone(), class);
        self.acts.spawn(lane, act);
    }

    /// Waits for an act to end, and frees the places of all that have ended; without acts it waits for
    /// ever. Cancel safe.
    pub(super) async fn some_done(&mut self) {
        match self.acts.join_next().await {
            Some(ended) => self.free_place(ended),
            None => std::future::pending().await,
        }
        while let Some(ended) = self.acts.try_join_next() {
            self.free_place(ended);
        }
    }

    fn free_place(&mut self, (lane, ended): (String, Result<(), JoinError>)) {
        if let Err(error) = ended {
            tracing::error!(%error, "carrying out an outbox row panicked; it is retried");
        }
        self.classes.remove(&lane);
    }

    pub(super) async fn finish(mut self) {
        let all = async { while self.acts.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_ACTS, all).await.is_err() {
            tracing::warn!(
                "some outbox rows were still being carried out; they are resumed at the next start"
            );
        }
    }

    /// Waits until nothing is under way.
    #[cfg(test)]
    pub(super) async fn all_done(&mut self) {
        while !self.acts.is_empty() {
            self.some_done().await;
        }
    }
}

/// Acts of a class that are under way at once.
fn places(class: Class) -> u32 {
    match class {
        Class::Lightning | Class::Trade => 64,
        Class::Alarm => 1,
        Class::Stranger => 8,
    }
}

fn count(things: usize) -> u32 {
    u32::try_from(things).unwrap_or(u32::MAX)
}
