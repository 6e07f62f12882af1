//! One writer: load, decide, save, commit, and only then answer.
//!
//! Everything that changes the database goes through here. All jobs that wait become one durable
//! transaction, each under its own savepoint, so that one sync serves many decisions and one bad
//! order spoils nothing but its own job. Nothing here waits for a network.

mod decide;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use trade::{
    Backlog, BlockHeight, Fact, Input, LightningIdentity, NewOrder, Notice, OrderId, PaymentHash,
    Policy, Question, Refusal, Request, Sender, Timestamp,
};

use crate::clock::Clock;
use crate::store::{
    Delivery, Message, OutboxId, PublicationId, Published, Sealed, StoreError, WriteTx, Writer,
};

pub use writer::WriterTask;

/// Jobs that may wait for the writer; whoever brings more waits for room.
const QUEUE: usize = 256;

/// How often an input is decided anew with another fact.
const ROUNDS: usize = 3;

/// The door to the writer. Cheap to clone; when the last one is dropped, the writer ends.
#[derive(Debug, Clone)]
pub struct Engine {
    jobs: mpsc::Sender<Job>,
    bell: watch::Receiver<u64>,
    backlog: watch::Sender<Backlog>,
}

/// What came of a job. Whatever it says is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The order moved, or what was asked for was written.
    Saved,
    /// There was nothing to change: late news, or nothing due.
    Unchanged,
    /// The rules say no; the sender's refusal is in the outbox.
    Refused(Refusal),
    /// Nothing was written, and the sender hears nothing: it is party to no open order, and too many
    /// such answers wait already (D42).
    Unanswered,
    /// The message was acted on before.
    Repeat,
    /// Nothing was written: this must be asked first, outside of any transaction.
    Asks(Question),
}

/// A job that left no trace.
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
    /// The door and the task behind it; nothing happens until the task runs.
    #[must_use]
    pub fn new(writer: Writer, policy: Policy, clock: Arc<dyn Clock>) -> (Self, WriterTask) {
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let (ring, bell) = watch::channel(0);
        let (backlog, judged_by) = watch::channel(Backlog::default());
        let task = WriterTask::new(writer, policy, clock, waiting, ring, judged_by);
        (Self { jobs, bell, backlog }, task)
    }

    /// Changes after every commit that wrote something: there may be something to send or to publish.
    #[must_use]
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.clone()
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
        match self.rounds(Some(delivery), order, input, None, ask).await? {
            Applied::Asks(_) => {
                let refusal = Refusal::NotAllowedByStatus;
                let notice = Notice::CantDo(refusal);
                let message =
                    Message { to, order: Some(order), request_id, trade_index: None, notice };
                Ok(match self.answer(delivery, message).await? {
                    Applied::Saved => Applied::Refused(refusal),
                    unanswered => unanswered,
                })
            }
            applied => Ok(applied),
        }
    }

    /// Brings an order into being. `id` was drawn by the caller.
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

    /// Answers a message that moves no order: a refusal, or what was only asked for (D19).
    ///
    /// # Errors
    /// Nothing was remembered or answered then: the message may come again.
    pub async fn answer(
        &self,
        delivery: Delivery,
        message: Message,
    ) -> Result<Applied, EngineError> {
        self.run(Task::Answer { delivery, message: Box::new(message) }).await
    }

    /// Remembers a message that is not to be acted on, also if it comes again, and nothing of its
    /// author.
    ///
    /// # Errors
    /// Nothing was remembered then.
    pub async fn disregard(&self, delivery: Delivery) -> Result<Applied, EngineError> {
        self.write(move |tx, now| {
            Box::pin(async move { tx.remember_id(&delivery, now).await.map(drop) })
        })
        .await
    }

    /// Applies what nobody said: news from LND, time, blocks. May answer [`Applied::Asks`].
    ///
    /// # Errors
    /// The order is as it was before.
    pub async fn apply(&self, order: OrderId, input: Input) -> Result<Applied, EngineError> {
        let input = Box::new(input);
        self.run(Task::Apply { delivery: None, order, input, facts: Vec::new() }).await
    }

    /// As [`Engine::apply`], for an input that asked this there. Without an answer, or if the decision
    /// needs to know still more, it waits for the next tick: [`Applied::Asks`].
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
        self.rounds(None, order, input, Some(asked), ask).await
    }

    /// A relay is heard now. To be called every ten seconds while one is.
    ///
    /// After a silence, also one in which the daemon was down, the waiting deadlines move by the gap
    /// first (D5).
    ///
    /// # Errors
    /// If it could not be written.
    pub async fn heard(&self) -> Result<Applied, EngineError> {
        self.run(Task::Heard).await
    }

    /// Marks an act as done and applies what it brought to light, in one transaction.
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

    /// The send of a payout is about to be tried: from now on it may have happened.
    ///
    /// [`Applied::Unchanged`] if its attempt does not want it any more (P1).
    ///
    /// # Errors
    /// If it could not be written; the send must not be tried then.
    pub async fn begin_payout(
        &self,
        id: OutboxId,
        order: OrderId,
        hash: PaymentHash,
    ) -> Result<Applied, EngineError> {
        self.run(Task::BeginPayout { id, order, hash }).await
    }

    /// Puts an act off, and its lane with it.
    ///
    /// # Errors
    /// If it could not be written.
    pub async fn retry_act(&self, id: OutboxId, at: Timestamp) -> Result<Applied, EngineError> {
        self.write(move |tx, _| Box::pin(tx.retry_act(id, at))).await
    }

    /// Ends some answers to strangers that have expired.
    ///
    /// # Errors
    /// If it could not be written.
    pub async fn expire_answers(&self) -> Result<Applied, EngineError> {
        self.write(|tx, now| Box::pin(tx.expire_answers(now))).await
    }

    /// Saves the signed event of a message; it may be sent afterwards.
    ///
    /// # Errors
    /// If it could not be written; it must not be sent then.
    pub async fn seal_message(&self, id: OutboxId, sealed: Sealed) -> Result<Applied, EngineError> {
        self.write(move |tx, _| Box::pin(async move { tx.seal_message(id, &sealed).await })).await
    }

    /// Saves another signed event of a message, whose saved one has a time that no relay takes.
    ///
    /// # Errors
    /// If it could not be written; it must not be sent then.
    pub async fn seal_message_anew(
        &self,
        id: OutboxId,
        sealed: Sealed,
    ) -> Result<Applied, EngineError> {
        self.write(move |tx, _| Box::pin(async move { tx.seal_message_anew(id, &sealed).await }))
            .await
    }

    /// What a public event shows is to be said again.
    ///
    /// # Errors
    /// If it could not be written.
    pub async fn renew_publication(&self, id: PublicationId) -> Result<Applied, EngineError> {
        self.write(move |tx, _| Box::pin(tx.renew_publication(id))).await
    }

    /// Saves the signed public event of a revision; it may be sent afterwards.
    ///
    /// # Errors
    /// If it could not be written; it must not be sent then.
    pub async fn seal_publication(
        &self,
        id: PublicationId,
        revision: i64,
        published: Published,
    ) -> Result<Applied, EngineError> {
        self.write(move |tx, _| {
            Box::pin(async move { tx.seal_publication(id, revision, &published).await })
        })
        .await
    }

    /// Saves another public event of a revision, whose saved one has a time that no relay takes.
    ///
    /// # Errors
    /// If it could not be written; it must not be sent then.
    pub async fn seal_publication_anew(
        &self,
        id: PublicationId,
        revision: i64,
        published: Published,
    ) -> Result<Applied, EngineError> {
        self.write(move |tx, _| {
            Box::pin(async move { tx.seal_publication_anew(id, revision, &published).await })
        })
        .await
    }

    /// A relay has this revision of a public event, in an event of this time.
    ///
    /// # Errors
    /// If it could not be written.
    pub async fn record_published(
        &self,
        id: PublicationId,
        revision: i64,
        created_at: Timestamp,
    ) -> Result<Applied, EngineError> {
        self.write(move |tx, _| Box::pin(tx.record_published(id, revision, created_at))).await
    }

    /// Puts a publication off.
    ///
    /// # Errors
    /// If it could not be written.
    pub async fn retry_publication(
        &self,
        id: PublicationId,
        at: Timestamp,
    ) -> Result<Applied, EngineError> {
        self.write(move |tx, _| Box::pin(tx.retry_publication(id, at))).await
    }

    /// Our own retries that a clock which ran ahead has put off are due now (D41). To be called at
    /// the start and when the clock was set.
    ///
    /// # Errors
    /// If it could not be written.
    pub async fn retry_what_lies_ahead(&self) -> Result<Applied, EngineError> {
        self.write(|tx, now| Box::pin(tx.retry_what_lies_ahead(now))).await
    }

    /// The clock is right: the times of orders that lie further ahead than their kind can ask for are
    /// brought back, each order by itself (D41). To be called once the clock is confirmed after the
    /// start, and after it was set.
    ///
    /// # Errors
    /// If it could not be written.
    pub async fn clock_corrected(&self) -> Result<Applied, EngineError> {
        self.run(Task::ClockCorrected).await
    }

    /// This is the tip of our node's chain at this moment; decisions see it from now on. To be called
    /// every few seconds while it is known.
    ///
    /// # Errors
    /// If it could not be written.
    pub async fn set_tip(&self, height: BlockHeight) -> Result<Applied, EngineError> {
        self.write(move |tx, now| Box::pin(tx.set_tip(height, now))).await
    }

    /// Our node's chain is at least so high.
    ///
    /// # Errors
    /// If it could not be written.
    pub async fn raise_height(&self, height: BlockHeight) -> Result<Applied, EngineError> {
        self.write(move |tx, _| Box::pin(tx.raise_height(height))).await
    }

    /// Remembers who our Lightning node is; decisions see it from now on.
    ///
    /// # Errors
    /// If it could not be written.
    pub async fn set_node(&self, node: LightningIdentity) -> Result<Applied, EngineError> {
        self.write(move |tx, _| Box::pin(tx.set_node(node))).await
    }

    /// Everything that relays had before `at` is decided or judged, but for what one of them has
    /// kept since `missed_since`: it was not heard in full.
    ///
    /// # Errors
    /// If it could not be written.
    pub async fn set_cursor(
        &self,
        at: Timestamp,
        missed_since: Option<Timestamp>,
    ) -> Result<Applied, EngineError> {
        self.write(move |tx, _| Box::pin(tx.set_cursor(at, missed_since))).await
    }

    /// Says whether all is decided that traders may have written while no relay was heard. Every
    /// decision from now on goes by it; at the start messages are still to be read.
    pub fn set_backlog(&self, backlog: Backlog) {
        self.backlog.send_replace(backlog);
    }

    /// LND is unreachable or out of sync at this moment.
    ///
    /// # Errors
    /// If it could not be written.
    pub async fn lnd_is_unwell(&self) -> Result<Applied, EngineError> {
        self.write(|tx, now| Box::pin(tx.set_lnd_unwell_at(now))).await
    }

    /// LND was seen starting at that moment, or later: no call of ours from before is on its way.
    ///
    /// # Errors
    /// If it could not be written.
    pub async fn lnd_has_restarted(&self, at: Timestamp) -> Result<Applied, EngineError> {
        self.write(move |tx, _| Box::pin(tx.set_lnd_restarted_at(at))).await
    }

    /// Forgets a little of what is of no more use; ids of messages not before `inbox_memory` after
    /// they were written. To be called every few seconds while LND's chain confirms the clock: what a
    /// wrong one forgets is refused for as long as it was wrong.
    ///
    /// # Errors
    /// If it could not be written; nothing was forgotten then.
    pub async fn forget(&self, inbox_memory: Duration) -> Result<Applied, EngineError> {
        self.write(move |tx, now| Box::pin(tx.forget(now, inbox_memory))).await
    }

    /// Applies an input, and again with each answer to what it asks. What it is known to ask, `asked`,
    /// is answered first.
    async fn rounds<F>(
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
                Applied::Asks(question) if facts.len() < ROUNDS => asked = Some(question),
                applied => return Ok(applied),
            }
        }
    }

    async fn write(
        &self,
        write: impl for<'t> FnOnce(&'t mut WriteTx<'_>, Timestamp) -> Written<'t> + Send + 'static,
    ) -> Result<Applied, EngineError> {
        self.run(Task::Write(Box::new(write))).await
    }

    async fn run(&self, task: Task) -> Result<Applied, EngineError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job { task, answer }).await.map_err(|_| EngineError::Stopped)?;
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
        message: Box<Message>,
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
    Heard,
    ClockCorrected,
    Write(Write),
}

/// A small write that decides nothing.
type Write = Box<dyn for<'t> FnOnce(&'t mut WriteTx<'_>, Timestamp) -> Written<'t> + Send>;
type Written<'t> = BoxFuture<'t, Result<(), StoreError>>;
