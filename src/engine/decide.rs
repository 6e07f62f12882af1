//! One job inside its savepoint: what the transaction reads, what the core decides, what is saved.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use trade::{
    Account, Backlog, Decision, Destination, Env, Fact, IdentityKey, Input, Invoice, Needs,
    NewOrder, Notice, Order, OrderId, OrderState, PaymentHash, Policy, Refusal, Reputation,
    Request, RoutingBudget, Sender, Timestamp, Undecided,
};

use super::{Applied, EngineError, Task, surroundings};
use crate::store::{DaemonState, Delivery, JournalLine, Notification, Place, TimesAhead, WriteTx};

/// What every job of one batch shares.
#[derive(Debug)]
pub(super) struct Deciding<'a> {
    pub(super) policy: &'a Policy,
    pub(super) now: Timestamp,
    /// When the clock was last set, since the start.
    pub(super) clock_set_at: Option<Timestamp>,
    pub(super) backlog: Backlog,
    /// How long ago this process last wrote down that a relay was reachable, whatever the wall clock
    /// says.
    pub(super) reachable_before: Option<Duration>,
    /// Orders that a job over many orders could not use; the job went on without them.
    pub(super) failures: Vec<(OrderId, EngineError)>,
}

impl Deciding<'_> {
    pub(super) async fn perform(
        &mut self,
        tx: &mut WriteTx<'_>,
        task: Task,
    ) -> Result<Applied, EngineError> {
        match task {
            Task::Apply { delivery, order, input, facts } => {
                self.apply(tx, delivery, order, *input, &facts).await
            }
            Task::Create { delivery, id, sender, request_id, new } => {
                self.create(tx, delivery, id, sender, request_id, *new).await
            }
            Task::Answer { delivery, message } => {
                let place = tx.place_for_answer(message.to).await?;
                self.answer(tx, Some(&delivery), &message, place, Applied::Saved).await
            }
            Task::Finish { id, news } => {
                tx.finish_act(id, self.now).await?;
                let Some(input) = news else { return Ok(Applied::Saved) };
                let Some(order) = tx.order_of_act(id).await? else { return Ok(Applied::Saved) };
                match self.apply(tx, None, order, *input, &[]).await? {
                    Applied::Asks(question) => {
                        Err(broken(order, format!("news that needs {question:?} answered first")))
                    }
                    applied => Ok(applied),
                }
            }
            Task::BeginPayout { id, order, hash } => {
                let order = tx.find_order(order).await?;
                let mut payouts = order.iter().flat_map(|order| &order.payouts);
                if !payouts.any(|payout| payout.wants_to_send(hash)) {
                    return Ok(Applied::Unchanged);
                }
                tx.begin_act(id, self.now).await?;
                Ok(Applied::Saved)
            }
            Task::RelaysReachable => self.relays_reachable(tx).await,
            Task::ClockCorrected => self.clock_corrected(tx).await,
            Task::Write(write) => {
                write.carry_out(tx, self.now).await?;
                Ok(Applied::Saved)
            }
        }
    }

    async fn apply(
        &self,
        tx: &mut WriteTx<'_>,
        delivery: Option<Delivery>,
        id: OrderId,
        input: Input,
        facts: &[Fact],
    ) -> Result<Applied, EngineError> {
        let asked = match &input {
            Input::User(Request { sender, request_id, .. }) => {
                Some(Asked { delivery, sender: *sender, request_id: *request_id, order: Some(id) })
            }
            _ => None,
        };
        let Some(order) = tx.find_order(id).await? else {
            let Some(asked) = asked else { return Err(EngineError::NoSuchOrder(id)) };
            return self.refuse(tx, asked, None, Refusal::NotFound).await;
        };
        let line = self.line(input.name(), delivery);
        let found = self.read_for_input(tx, &order, &input).await?;
        let routing = self.routing_of(tx, &order, &input, &found.daemon).await?;
        let env = Env { routing, ..self.env(&found, facts) };
        match guarded(id, || trade::decide(&order, input, &env))? {
            Ok(decision) => {
                if !self.remember(tx, delivery.as_ref()).await? {
                    return Ok(Applied::Repeat);
                }
                if decision.is_nothing(&order) {
                    return Ok(Applied::Unchanged);
                }
                check(&decision)?;
                tx.save(&order, &decision, &line, self.policy.escrow_margin).await?;
                Ok(Applied::Saved)
            }
            Err(Undecided::Ask(question)) => Ok(Applied::Asks(question)),
            Err(Undecided::Refused(refusal)) => match asked {
                Some(asked) => self.refuse(tx, asked, Some(&order), refusal).await,
                None => Err(broken(id, format!("{} was refused: {refusal}", line.input))),
            },
        }
    }

    async fn create(
        &self,
        tx: &mut WriteTx<'_>,
        delivery: Delivery,
        id: OrderId,
        sender: Sender,
        request_id: Option<u64>,
        new: NewOrder,
    ) -> Result<Applied, EngineError> {
        let user = tx.user(sender.identity, self.now).await?;
        let found = Found {
            daemon: tx.daemon_state().await?,
            account: Account {
                last_index: user.last_index,
                is_banned: user.is_banned,
                has_duty: false,
            },
            taker: Reputation::default(),
            payout_hash_is_known: match hash_in(new.destination.as_ref()) {
                Some(hash) => tx.is_payment_hash_known(hash, None).await?,
                None => false,
            },
        };
        let env = self.env(&found, &[]);
        match guarded(id, || trade::create(id, sender, request_id, new, &env))? {
            Ok(decision) => {
                check(&decision)?;
                if !self.remember(tx, Some(&delivery)).await? {
                    return Ok(Applied::Repeat);
                }
                let line = self.line("new-order", Some(delivery));
                tx.create(&decision, &line, self.policy.escrow_margin).await?;
                Ok(Applied::Saved)
            }
            Err(refusal) => {
                let asked = Asked { delivery: Some(delivery), sender, request_id, order: None };
                self.refuse(tx, asked, None, refusal).await
            }
        }
    }

    /// The refusal is stored with the memory of the message: it is answered once, and certainly.
    async fn refuse(
        &self,
        tx: &mut WriteTx<'_>,
        asked: Asked,
        of: Option<&Order>,
        refusal: Refusal,
    ) -> Result<Applied, EngineError> {
        let Asked { delivery, sender, request_id, order } = asked;
        let to = sender.trade;
        let is_party = of.is_some_and(|order| !order.state.is_final() && order.is_party(to));
        let place = if is_party { Place::Trader } else { tx.place_for_answer(to).await? };
        let notice = Notice::CantDo(refusal);
        let message = Notification { to, order, request_id, trade_index: None, notice };
        self.answer(tx, delivery.as_ref(), &message, place, Applied::Refused(refusal)).await
    }

    /// Strangers are answered while there is room. Otherwise nothing is written, not even that
    /// the message came: nothing was done about it, and if it comes again it is judged again.
    async fn answer(
        &self,
        tx: &mut WriteTx<'_>,
        delivery: Option<&Delivery>,
        message: &Notification,
        place: Place,
        answered: Applied,
    ) -> Result<Applied, EngineError> {
        if place == Place::Full {
            return Ok(Applied::Unanswered);
        }
        if !self.remember(tx, delivery).await? {
            return Ok(Applied::Repeat);
        }
        if place == Place::Trader {
            tx.send(message, self.now).await?;
        } else {
            tx.answer_stranger(message, self.now).await?;
        }
        Ok(answered)
    }

    /// False: the message was acted on before.
    async fn remember(
        &self,
        tx: &mut WriteTx<'_>,
        delivery: Option<&Delivery>,
    ) -> Result<bool, EngineError> {
        Ok(match delivery {
            Some(delivery) => tx.remember(delivery, self.now).await?,
            None => true,
        })
    }

    /// Moves the waiting deadlines by the time without a relay that ends here, each order by itself.
    async fn relays_reachable(&mut self, tx: &mut WriteTx<'_>) -> Result<Applied, EngineError> {
        let gap = surroundings::offline_for(&tx.daemon_state().await?, self.now);
        let gap = gap.map(|gap| self.reachable_before.map_or(gap, |lived| gap.min(lived)));
        if let Some(offline_for) = gap.filter(|gap| !gap.is_zero()) {
            let waiting = tx.list_waiting().await?;
            self.apply_to_each(tx, waiting, &Input::ExtendDeadlines { offline_for }).await?;
        }
        tx.set_relays_reachable_at(self.now).await?;
        Ok(Applied::Saved)
    }

    async fn clock_corrected(&mut self, tx: &mut WriteTx<'_>) -> Result<Applied, EngineError> {
        let (now, policy) = (self.now, self.policy);
        let can_be = TimesAhead {
            now,
            book: now.after(policy.max_book_window),
            waiting: now.after(policy.reply_window.min(policy.duty_window)),
            payout: now.after(policy.longest_payout_wait()),
        };
        let ahead = tx.list_times_ahead(&can_be).await?;
        self.apply_to_each(tx, ahead, &Input::ClockCorrected).await?;
        Ok(Applied::Saved)
    }

    /// An order that cannot be used stops no other.
    async fn apply_to_each(
        &mut self,
        tx: &mut WriteTx<'_>,
        orders: Vec<OrderId>,
        input: &Input,
    ) -> Result<(), EngineError> {
        for id in orders {
            let mut part = tx.savepoint().await?;
            match self.apply(&mut part, None, id, input.clone(), &[]).await {
                Ok(_) => part.commit().await?,
                Err(error) if error.is_unavailable() => return Err(error),
                Err(error) => {
                    part.rollback().await?;
                    self.failures.push((id, error));
                }
            }
        }
        Ok(())
    }

    fn line(&self, input: &'static str, delivery: Option<Delivery>) -> JournalLine {
        let event_id = delivery.map(|delivery| delivery.event_id);
        JournalLine { at: self.now, input, event_id }
    }

    fn env<'e>(&'e self, found: &'e Found, facts: &'e [Fact]) -> Env<'e> {
        Env {
            now: self.now,
            clock_set_at: self.clock_set_at,
            height: found.daemon.height.unwrap_or_default(),
            is_at_tip: surroundings::is_at_tip(&found.daemon, self.now),
            policy: self.policy,
            node: found.daemon.node.as_ref(),
            lnd_unwell_at: surroundings::lnd_unhealthy_by(&found.daemon, self.now),
            lnd_restarted_at: found.daemon.lnd_restarted_at,
            refused_orders: &found.daemon.refused_orders,
            backlog: self.backlog,
            routing: RoutingBudget::default(),
            account: found.account,
            taker: found.taker,
            payout_hash_is_known: found.payout_hash_is_known,
            facts,
        }
    }

    async fn read_for_input(
        &self,
        tx: &mut WriteTx<'_>,
        order: &Order,
        input: &Input,
    ) -> Result<Found, EngineError> {
        let daemon = tx.daemon_state().await?;
        let Input::User(Request { sender, command, .. }) = input else {
            let taker = self.taker_of(tx, order.taker.map(|taker| taker.identity)).await?;
            return Ok(Found {
                daemon,
                account: Account::default(),
                taker,
                payout_hash_is_known: false,
            });
        };
        let Needs { takes, destination, .. } = command.needs();
        let user = tx.user(sender.identity, self.now).await?;
        let has_duty = match takes {
            Some(side) => tx.has_duty(sender.identity, side).await?,
            None => false,
        };
        Ok(Found {
            daemon,
            account: Account { last_index: user.last_index, is_banned: user.is_banned, has_duty },
            taker: match takes {
                Some(_) => user.reputation,
                None => self.taker_of(tx, order.taker.map(|taker| taker.identity)).await?,
            },
            payout_hash_is_known: match hash_in(destination) {
                Some(hash) => tx.is_payment_hash_known(hash, Some(order.id)).await?,
                None => false,
            },
        })
    }

    /// What routes cost today, if this order may have a payment to make.
    async fn routing_of(
        &self,
        tx: &mut WriteTx<'_>,
        order: &Order,
        input: &Input,
        daemon: &DaemonState,
    ) -> Result<RoutingBudget, EngineError> {
        let named = match input {
            Input::User(request) => invoice_in(request.command.needs().destination),
            _ => None,
        };
        let may_pay =
            !order.payouts.is_empty() || matches!(order.state, OrderState::Settling { .. });
        let Some(invoice) = named.or(order.destination.as_ref()).filter(|_| may_pay) else {
            return Ok(RoutingBudget::default());
        };
        let (used, spent, used_for_payee) = tx.subsidies(self.now.day(), invoice.payee).await?;
        let (half_told, short_told) = (daemon.routing_half_told, daemon.routing_short_told);
        Ok(RoutingBudget { used, spent, used_for_payee, half_told, short_told })
    }

    async fn taker_of(
        &self,
        tx: &mut WriteTx<'_>,
        identity: Option<IdentityKey>,
    ) -> Result<Reputation, EngineError> {
        let Some(identity) = identity else { return Ok(Reputation::default()) };
        Ok(tx.user(identity, self.now).await?.reputation)
    }
}

/// Who asked for something, and where the answer goes.
struct Asked {
    delivery: Option<Delivery>,
    sender: Sender,
    request_id: Option<u64>,
    /// As the message names it.
    order: Option<OrderId>,
}

/// What the transaction read for one decision.
struct Found {
    daemon: DaemonState,
    account: Account,
    taker: Reputation,
    payout_hash_is_known: bool,
}

fn hash_in(destination: Option<&Destination>) -> Option<PaymentHash> {
    invoice_in(destination).map(|invoice| invoice.hash)
}

fn invoice_in(destination: Option<&Destination>) -> Option<&Invoice> {
    match destination {
        Some(Destination::Bolt11(invoice)) => Some(invoice),
        Some(Destination::Unsupported) | None => None,
    }
}

/// A panic of the core is a bug that one order has; the others go on.
fn guarded<T>(order: OrderId, decide: impl FnOnce() -> T) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(decide))
        .map_err(|_| broken(order, "the core panicked".to_owned()))
}

/// No order that breaks an invariant is saved.
fn check(decision: &Decision) -> Result<(), EngineError> {
    for Decision { order, cause, .. } in
        [Some(decision), decision.child.as_deref()].iter().flatten()
    {
        trade::invariants::check(order)
            .map_err(|law| broken(order.id, format!("{cause} would break an invariant: {law}")))?;
    }
    Ok(())
}

fn broken(order: OrderId, what: String) -> EngineError {
    EngineError::Broken { order, what }
}
