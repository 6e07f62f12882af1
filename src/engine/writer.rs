//! The task that owns the writing connection.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use trade::{Backlog, OrderId, Policy, Timestamp};

use super::decide::Deciding;
use super::unanswered::Unanswered;
use super::{Applied, EngineError, Job, Task};
use crate::clock::{Clock, Epoch};
use crate::store::{OutboxId, WriteTx, Writer};
use crate::{crash, error_chain};

/// Jobs in one transaction. Those beyond come in the next one.
const BATCH: usize = 64;

/// Jobs of strangers in one transaction, when no other waits and beside others.
const STRANGERS_ALONE: usize = 8;
const STRANGERS_BESIDE: usize = 1;

/// What waits for the writer.
#[derive(Debug)]
pub(super) struct Queues {
    pub(super) waiting: mpsc::Receiver<Job>,
    pub(super) strangers: mpsc::Receiver<Job>,
}

impl Queues {
    /// The next batch; empty once the last [`super::Engine`] is gone and all is done.
    async fn next(&mut self) -> Vec<Job> {
        let Self { waiting, strangers } = self;
        let mut batch = Vec::new();
        let strangers_left = tokio::select! {
            biased;
            Some(job) = waiting.recv() => {
                batch.push(job);
                batch.extend(std::iter::from_fn(|| waiting.try_recv().ok()).take(BATCH - 1));
                STRANGERS_BESIDE
            }
            Some(job) = strangers.recv() => {
                batch.push(job);
                STRANGERS_ALONE - 1
            }
            else => return batch,
        };
        batch.extend(std::iter::from_fn(|| strangers.try_recv().ok()).take(strangers_left));
        batch
    }
}

/// Applies jobs in order of arrival, those of strangers after all others, until the last
/// [`super::Engine`] is gone.
#[derive(Debug)]
pub struct WriterTask {
    writer: Writer,
    queues: Queues,
    committed: watch::Sender<u64>,
    backlog: watch::Receiver<Backlog>,
    policy: Policy,
    epoch: Epoch,
    /// When the clock was last set, since the start.
    clock_set_at: Option<Timestamp>,
    clock: Arc<dyn Clock>,
    /// When a relay was last reachable, in monotonic time; `None` before the first time.
    reachable_at: Option<Duration>,
    /// What failed and was reported; each is reported once.
    set_aside: BTreeSet<Subject>,
    unanswered: Arc<Unanswered>,
}

impl WriterTask {
    pub(super) fn new(
        writer: Writer,
        policy: Policy,
        clock: Arc<dyn Clock>,
        queues: Queues,
        unanswered: Arc<Unanswered>,
        committed: watch::Sender<u64>,
        backlog: watch::Receiver<Backlog>,
    ) -> Self {
        Self {
            writer,
            queues,
            committed,
            backlog,
            policy,
            epoch: Epoch::of(&*clock),
            clock_set_at: None,
            clock,
            reachable_at: None,
            set_aside: BTreeSet::new(),
            unanswered,
        }
    }

    /// Runs until the last engine is dropped, then closes the file.
    ///
    /// # Errors
    /// If the database does not answer at the start or at the end, or if only a person can mend it.
    /// Other failures are the answers of jobs.
    pub async fn run(mut self) -> Result<(), EngineError> {
        self.refresh_deadlines().await?;
        loop {
            let batch = self.queues.next().await;
            if batch.is_empty() {
                break;
            }
            let (tasks, answers): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|job| (job.task, job.answer)).unzip();
            let results = self.transact(tasks).await;
            if let Err(error) = &results
                && error.is_fatal()
            {
                let error = error.clone();
                self.answer(answers, results);
                return Err(error);
            }
            if results.is_err()
                && let Err(error) = self.writer.renew().await
            {
                tracing::error!(error = error_chain(&error), "the database cannot be opened again");
            }
            self.answer(answers, results);
        }
        Ok(self.writer.close().await?)
    }

    /// The settings may have changed since the deadlines were written.
    async fn refresh_deadlines(&mut self) -> Result<(), EngineError> {
        let mut tx = self.writer.begin().await?;
        let failures = tx.refresh_deadlines(self.policy.escrow_margin).await?;
        tx.commit().await?;
        for error in failures {
            tracing::error!(error = error_chain(&error), "an order cannot be used");
        }
        Ok(())
    }

    /// One transaction for all of them; either every result is on disk, or nothing is.
    async fn transact(
        &mut self,
        tasks: Vec<Task>,
    ) -> Result<Vec<Result<Applied, EngineError>>, EngineError> {
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        if self.epoch.update(&*self.clock) != 0 {
            self.clock_set_at = Some(now);
        }
        let mut deciding = Deciding {
            policy: &self.policy,
            now,
            clock_set_at: self.clock_set_at,
            backlog: *self.backlog.borrow(),
            reachable_before: self.reachable_at.map(|at| monotonic.saturating_sub(at)),
            failures: Vec::new(),
        };
        let subjects: Vec<_> = tasks.iter().map(subject).collect();
        let mut tx = self.writer.begin().await?;
        let mut results = Vec::with_capacity(tasks.len());
        for task in tasks {
            results.push(stage(&mut deciding, &mut tx, task).await?);
        }
        let failures = std::mem::take(&mut deciding.failures);
        commit(tx).await?;
        for (order, error) in &failures {
            self.set_aside(&Subject::Order(*order), error);
        }
        for (subject, result) in subjects.iter().zip(&results) {
            if matches!((subject, result), (Subject::Reachability, Ok(_))) {
                self.reachable_at = Some(monotonic);
            }
            match result {
                Ok(Applied::Unanswered) => self.unanswered.count(monotonic),
                Ok(_) => _ = self.set_aside.remove(subject),
                Err(error) => self.set_aside(subject, error),
            }
        }
        Ok(results)
    }

    /// Announces the commit before it answers, so that whoever was answered finds it announced. Not if
    /// nothing was written: a flood of messages that are not answered wakes nobody.
    fn answer(
        &self,
        answers: Vec<oneshot::Sender<Result<Applied, EngineError>>>,
        results: Result<Vec<Result<Applied, EngineError>>, EngineError>,
    ) {
        let results = results.unwrap_or_else(|error| {
            tracing::warn!(error = error_chain(&error), jobs = answers.len(), "nothing was saved");
            answers.iter().map(|_| Err(error.clone())).collect()
        });
        if results.iter().any(may_have_written) {
            self.committed.send_modify(|commits| *commits = commits.wrapping_add(1));
        }
        for (answer, result) in answers.into_iter().zip(results) {
            if answer.send(result).is_err() {
                tracing::debug!("the caller is gone; the decision was saved");
            }
        }
    }

    /// Reports a failure once, not at every attempt.
    fn set_aside(&mut self, subject: &Subject, error: &EngineError) {
        if self.set_aside.insert(*subject) {
            tracing::error!(
                ?subject,
                error = error_chain(error),
                "an input could not be applied; nothing was changed"
            );
        }
    }
}

fn may_have_written(result: &Result<Applied, EngineError>) -> bool {
    match result {
        Ok(Applied::Saved | Applied::Unchanged | Applied::Refused(_)) => true,
        Ok(Applied::Unanswered | Applied::Repeat | Applied::Asks(_)) | Err(_) => false,
    }
}

/// Performs one job under its own savepoint. An error that is not the job's own ends the batch.
async fn stage(
    deciding: &mut Deciding<'_>,
    tx: &mut WriteTx<'_>,
    task: Task,
) -> Result<Result<Applied, EngineError>, EngineError> {
    let mut part = tx.savepoint().await?;
    let result = deciding.perform(&mut part, task).await;
    match &result {
        Ok(Applied::Saved | Applied::Unchanged | Applied::Refused(_)) => part.commit().await?,
        Err(error) if error.is_unavailable() => return Err(error.clone()),
        Ok(Applied::Repeat | Applied::Unanswered | Applied::Asks(_)) | Err(_) => {
            part.rollback().await?;
        }
    }
    Ok(result)
}

/// Everything before this is undone by a crash, everything after it finds it done.
async fn commit(tx: WriteTx<'_>) -> Result<(), EngineError> {
    tx.commit().await?;
    crash::point("engine.committed");
    Ok(())
}

/// What a job is about, for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Order(OrderId),
    Act(OutboxId),
    Messages,
    Reachability,
    Times,
    Notes,
}

fn subject(task: &Task) -> Subject {
    match task {
        Task::Apply { order, .. } => Subject::Order(*order),
        Task::Create { id, .. } => Subject::Order(*id),
        Task::Answer { .. } => Subject::Messages,
        Task::Finish { id, .. } | Task::BeginPayout { id, .. } => Subject::Act(*id),
        Task::RelaysReachable => Subject::Reachability,
        Task::ClockCorrected => Subject::Times,
        Task::Write(_) => Subject::Notes,
    }
}
