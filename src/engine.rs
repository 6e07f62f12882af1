//! One writer: load, decide, save, commit, and only then answer.
//!
//! Everything that changes the database goes through here. All jobs that wait become one durable
//! transaction, each under its own savepoint: one sync serves many decisions, and a job that fails
//! undoes no other. Nothing here waits for a network.

mod decide;
mod surroundings;
mod unanswered;
mod write;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use trade::{
    Backlog, Fact, Input, NewOrder, Notice, OrderId, PaymentHash, Policy, Question, Refusal,
    Request, Sender,
};

use crate::clock::Clock;
use crate::store::{Delivery, Notification, OutboxId, StoreError, Writer};

pub use surroundings::is_reachable;
use unanswered::Unanswered;
pub use write::Write;
use writer::Queues;
pub use writer::WriterTask;

/// Jobs that may wait for the writer; further callers wait for room.
const QUEUE: usize = 256;

/// Facts that one input may ask for.
const MAX_FACTS: usize = 3;

/// The handle to the writer. Cheap to clone; when the last one is dropped, the writer ends.
#[derive(Debug, Clone)]
pub struct Engine {
    jobs: mpsc::Sender<Job>,
    jobs_of_strangers: mpsc::Sender<Job>,
    /// Whether its jobs are those of strangers.
    is_for_strangers: bool,
    unanswered: Arc<Unanswered>,
    commits: watch::Receiver<u64>,
    backlog: watch::Sender<Backlog>,
}

/// The result of a job. Whatever it says is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The order moved, or what was asked for was written.
    Saved,
    /// There was nothing to change: late news, or nothing due.
    Unchanged,
    /// The rules say no; the sender's refusal is in the outbox.
    Refused(Refusal),
    /// Nothing was written, and the sender gets no answer: it is party to no open order, and too many
    /// such answers wait already.
    Unanswered,
    /// The message was acted on before.
    Repeat,
    /// Nothing was written: this must be asked first, outside of any transaction.
    Asks(Question),
}

/// Why a job failed. It has changed nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    #[error("the writer has stopped: the daemon is shutting down")]
    Stopped,
    #[error("there is no order {0}")]
    NoSuchOrder(OrderId),
    /// A bug. The order is as it was before.
    #[error("deciding on order {order} went wrong: {what}")]
    Broken { order: OrderId, what: String },
    #[error(transparent)]
    Store(Arc<StoreError>),
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl EngineError {
    /// Whether it says nothing about the job itself: the same may be tried again.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Stopped => true,
            Self::Store(error) => error.is_unavailable(),
            Self::NoSuchOrder(_) | Self::Broken { .. } => false,
        }
    }

    /// Whether only a person can mend the database: the daemon ends.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Store(error) => error.is_fatal(),
            Self::Stopped | Self::NoSuchOrder(_) | Self::Broken { .. } => false,
        }
    }
}

impl Engine {
    /// The handle and the task behind it; nothing happens until the task runs.
    #[must_use]
    pub fn new(writer: Writer, policy: Policy, clock: Arc<dyn Clock>) -> (Self, WriterTask) {
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let (jobs_of_strangers, strangers) = mpsc::channel(QUEUE);
        let queues = Queues { waiting, strangers };
        let unanswered = Arc::new(Unanswered::default());
        let (committed, commits) = watch::channel(0);
        let (backlog, judged_by) = watch::channel(Backlog::default());
        let task = WriterTask::new(
            writer,
            policy,
            clock,
            queues,
            Arc::clone(&unanswered),
            committed,
            judged_by,
        );
        let engine =
            Self { jobs, jobs_of_strangers, is_for_strangers: false, unanswered, commits, backlog };
        (engine, task)
    }

    /// The same for messages of who is party to no running order: a few of them are applied at once,
    /// and everything else goes first (D42).
    #[must_use]
    pub fn for_strangers(&self) -> Self {
        Self { is_for_strangers: true, ..self.clone() }
    }

    /// A stranger's message that could only be refused, and not be answered, was dropped: it counts in
    /// the log as one that came to the writer.
    pub fn count_unanswered(&self, monotonic: Duration) {
        self.unanswered.count(monotonic);
    }

    /// Changes after every commit that wrote something: there may be something to send or to publish.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.clone()
    }

    /// Applies a user's message to the order it names, asking what the decision needs to know.
    ///
    /// Its id is remembered with the decision or the refusal. If a question finds no answer the
    /// sender is refused.
    ///
    /// # Errors
    /// Nothing was remembered or answered then: the message may come again.
    pub async fn deliver<F>(
        &self,
        delivery: Delivery,
        order: OrderId,
        request: Request,
        ask: impl Fn(Question) -> F + Send,
    ) -> Result<Applied, EngineError>
    where
        F: Future<Output = Option<Fact>> + Send,
    {
        let (to, request_id) = (request.sender.trade, request.request_id);
        let input = Input::User(request);
        match self.apply_with_facts(Some(delivery), order, input, None, ask).await? {
            Applied::Asks(_) => {
                let refusal = Refusal::NotAllowedByStatus;
                let notice = Notice::CantDo(refusal);
                let message =
                    Notification { to, order: Some(order), request_id, trade_index: None, notice };
                Ok(match self.answer(delivery, message).await? {
                    Applied::Saved => Applied::Refused(refusal),
                    unanswered => unanswered,
                })
            }
            applied => Ok(applied),
        }
    }

    /// Creates an order. `id` was drawn by the caller.
    ///
    /// # Errors
    /// Nothing was remembered or answered then: the message may come again.
    pub async fn create(
        &self,
        delivery: Delivery,
        id: OrderId,
        sender: Sender,
        request_id: Option<u64>,
        new: NewOrder,
    ) -> Result<Applied, EngineError> {
        self.run(Task::Create { delivery, id, sender, request_id, new: Box::new(new) }).await
    }

    /// Answers a message that moves no order: a refusal, or what was only asked for.
    ///
    /// # Errors
    /// Nothing was remembered or answered then: the message may come again.
    pub async fn answer(
        &self,
        delivery: Delivery,
        message: Notification,
    ) -> Result<Applied, EngineError> {
        self.run(Task::Answer { delivery, message: Box::new(message) }).await
    }

    /// Applies an input that no user sent: news from LND, time, blocks. May answer [`Applied::Asks`].
    ///
    /// # Errors
    /// The order is as it was before.
    pub async fn apply(&self, order: OrderId, input: Input) -> Result<Applied, EngineError> {
        let input = Box::new(input);
        self.run(Task::Apply { delivery: None, order, input, facts: Vec::new() }).await
    }

    /// As [`Engine::apply`], for an input that was answered with this question there. If it has no
    /// answer, or the decision needs still more facts, the result is [`Applied::Asks`] again.
    ///
    /// # Errors
    /// The order is as it was before.
    pub async fn apply_asking<F>(
        &self,
        order: OrderId,
        input: Input,
        asked: Question,
        ask: impl Fn(Question) -> F + Send,
    ) -> Result<Applied, EngineError>
    where
        F: Future<Output = Option<Fact>> + Send,
    {
        self.apply_with_facts(None, order, input, Some(asked), ask).await
    }

    /// A relay is reachable now. To be called every ten seconds while one is.
    ///
    /// If none was for a while, also because the daemon was down, the waiting deadlines move by that
    /// time first (D5).
    pub async fn relays_reachable(&self) -> Result<Applied, EngineError> {
        self.run(Task::RelaysReachable).await
    }

    /// Marks an act as done and applies what was learned by it, in one transaction.
    ///
    /// # Errors
    /// The act is still to be done then.
    pub async fn finish_act(
        &self,
        id: OutboxId,
        news: Option<Input>,
    ) -> Result<Applied, EngineError> {
        self.run(Task::Finish { id, news: news.map(Box::new) }).await
    }

    /// The send of a payout is about to be tried: from now on it may have happened (P1).
    ///
    /// [`Applied::Unchanged`] if its attempt does not want it any more.
    ///
    /// # Errors
    /// The send must not be tried then.
    pub async fn begin_payout(
        &self,
        id: OutboxId,
        order: OrderId,
        hash: PaymentHash,
    ) -> Result<Applied, EngineError> {
        self.run(Task::BeginPayout { id, order, hash }).await
    }

    /// The clock is right: times of orders that lie further ahead than their kind can are brought back,
    /// each order by itself (D41). To be called once the clock is confirmed after the start, and after
    /// it was set.
    pub async fn clock_corrected(&self) -> Result<Applied, EngineError> {
        self.run(Task::ClockCorrected).await
    }

    /// Makes a small write, one that decides nothing about an order.
    ///
    /// # Errors
    /// Nothing was written then.
    pub async fn write(&self, write: Write) -> Result<(), EngineError> {
        self.run(Task::Write(write)).await.map(drop)
    }

    /// Says whether all is decided that traders may have written while no relay was reachable. Every
    /// decision from now on goes by it; at the start messages are still to be read.
    pub fn set_backlog(&self, backlog: Backlog) {
        self.backlog.send_replace(backlog);
    }

    /// Applies an input, and again with each answer to what it asks. `asked` is a question that it is
    /// known to ask first.
    async fn apply_with_facts<F>(
        &self,
        delivery: Option<Delivery>,
        order: OrderId,
        input: Input,
        mut asked: Option<Question>,
        ask: impl Fn(Question) -> F + Send,
    ) -> Result<Applied, EngineError>
    where
        F: Future<Output = Option<Fact>> + Send,
    {
        let mut facts = Vec::new();
        loop {
            if let Some(question) = asked {
                let Some(fact) = ask(question).await else { return Ok(Applied::Asks(question)) };
                facts.push(fact);
            }
            let (input, facts_so_far) = (Box::new(input.clone()), facts.clone());
            match self.run(Task::Apply { delivery, order, input, facts: facts_so_far }).await? {
                Applied::Asks(question) if facts.len() < MAX_FACTS => asked = Some(question),
                applied => return Ok(applied),
            }
        }
    }

    async fn run(&self, task: Task) -> Result<Applied, EngineError> {
        let (answer, answered) = oneshot::channel();
        let queue = if self.is_for_strangers { &self.jobs_of_strangers } else { &self.jobs };
        queue.send(Job { task, answer }).await.map_err(|_| EngineError::Stopped)?;
        answered.await.map_err(|_| EngineError::Stopped)?
    }
}

/// What waits for the writer.
struct Job {
    task: Task,
    answer: oneshot::Sender<Result<Applied, EngineError>>,
}

enum Task {
    Apply {
        delivery: Option<Delivery>,
        order: OrderId,
        input: Box<Input>,
        facts: Vec<Fact>,
    },
    Create {
        delivery: Delivery,
        id: OrderId,
        sender: Sender,
        request_id: Option<u64>,
        new: Box<NewOrder>,
    },
    Answer {
        delivery: Delivery,
        message: Box<Notification>,
    },
    Finish {
        id: OutboxId,
        news: Option<Box<Input>>,
    },
    BeginPayout {
        id: OutboxId,
        order: OrderId,
        hash: PaymentHash,
    },
    RelaysReachable,
    ClockCorrected,
    Write(Write),
}
