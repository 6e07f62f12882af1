//! Long-lived tasks with names: one that ends too early stops the daemon, and the log names it.
//!
//! A supervisor starts the daemon again. A start is well tested; running without one of the parts is
//! not.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::JoinMap;

/// The daemon's tasks. All are aborted when it is dropped.
#[derive(Debug, Default)]
pub struct Tasks {
    running: JoinMap<&'static str, ()>,
    shutdown: CancellationToken,
}

/// A task that ended, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub name: &'static str,
    pub how: End,
}

/// How a task can end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Returned,
    /// With the panic's message, if it was text.
    Panicked(String),
}

impl Tasks {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Canceled when tasks should end.
    #[must_use]
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Starts a task that runs until shutdown, under a name that no running one has.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        // The map would abort the older one.
        debug_assert!(!self.running.contains_key(name), "two tasks are called {name}");
        self.running.spawn(name, task);
    }

    /// Waits for the first task to end, which none should before shutdown. Without tasks it waits
    /// for ever. Cancel safe.
    pub async fn watch(&mut self) -> Ended {
        match self.running.join_next().await {
            Some((name, Ok(()))) => Ended { name, how: End::Returned },
            Some((name, Err(error))) => Ended { name, how: how_it_broke(error) },
            None => std::future::pending().await,
        }
    }

    /// Asks every task to end and waits for at most `bound`. Returns the names of those that did
    /// not end by themselves: they were aborted, or they panicked.
    pub async fn stop(mut self, bound: Duration) -> Vec<&'static str> {
        self.shutdown.cancel();
        let mut unwilling = Vec::new();
        let all_ended = async {
            while let Some((name, ended)) = self.running.join_next().await {
                if ended.is_err() {
                    unwilling.push(name);
                }
            }
        };
        if tokio::time::timeout(bound, all_ended).await.is_err() {
            unwilling.extend(self.running.keys());
            self.running.shutdown().await;
        }
        unwilling.sort_unstable();
        unwilling
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            End::Returned => write!(f, "task {} ended too early", self.name),
            End::Panicked(message) => write!(f, "task {} panicked: {message}", self.name),
        }
    }
}

fn how_it_broke(error: JoinError) -> End {
    let panic: Option<Box<dyn Any + Send>> = error.try_into_panic().ok();
    let message = panic.and_then(|panic| match panic.downcast::<String>() {
        Ok(text) => Some(*text),
        Err(panic) => panic.downcast::<&'static str>().ok().map(|text| (*text).to_owned()),
    });
    End::Panicked(message.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_too_early_is_named() {
        let mut tasks = Tasks::new();
        tasks.spawn("timers", std::future::pending());
        tasks.spawn("watcher", async {});

        assert_eq!(tasks.watch().await.to_string(), "task watcher ended too early");
    }

    #[tokio::test]
    async fn a_task_that_panics_is_named_with_its_words() {
        let mut tasks = Tasks::new();
        let balance = 3;
        tasks.spawn("outbox", async move { panic!("{balance} too many") });
        assert_eq!(tasks.watch().await.to_string(), "task outbox panicked: 3 too many");

        tasks.spawn("outbox", async { panic!("no words") });
        assert_eq!(tasks.watch().await.how, End::Panicked("no words".into()));
    }

    #[tokio::test]
    async fn a_task_that_hears_of_shutdown_ends_by_itself() {
        let mut tasks = Tasks::new();
        let shutdown = tasks.shutdown();
        tasks.spawn("intake", async move { shutdown.cancelled().await });

        let unwilling = tasks.stop(Duration::from_mins(1)).await;

        assert_eq!(unwilling, [""; 0]);
    }

    #[tokio::test]
    async fn a_task_that_does_not_listen_is_aborted_and_named() {
        let mut tasks = Tasks::new();
        let shutdown = tasks.shutdown();
        tasks.spawn("timers", std::future::pending());

        let unwilling = tasks.stop(Duration::from_millis(1)).await;

        assert_eq!(unwilling, ["timers"]);
        shutdown.cancelled().await;
    }
}
