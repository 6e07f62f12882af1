//! The table: what every input does to an order.
//!
//! News from LND may be late or repeated. That is never an error: it changes nothing, or it ends a
//! wait. A refusal changes nothing and carries one reason; guards that concern *who* stand before
//! guards that concern *when*, but where the protocol says otherwise.

mod cancel;
mod clock;
mod create;
mod escrow;
mod expiry;
mod hold;
mod payout;
mod take;
#[cfg(test)]
mod tests;

pub use create::create;

use crate::{
    Alarm, Cause, Command, Decision, Destination, Effect, Env, Fact, FrozenBecause, Hold,
    HoldDecision, HoldPurpose, HoldSecret, HoldStatus, HorizonWarning, Input, Invoice, LnCommand,
    Notice, Observation, Order, OrderState, OrderView, Outcome, Party, PaymentHash, PayoutPurpose,
    Preparing, PreparingFrom, Question, Refusal, Request, Sats, Side, Status, TradeKey,
};

/// Why there is no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// Ask outside any transaction, then decide again with the fact in `env`. Without an answer a
    /// user is refused and a timer waits for its next tick.
    #[error("{0:?} has to be asked first")]
    Ask(Question),
}

/// Decides what `input` does to `order`.
///
/// # Errors
/// [`Undecided::Refused`] if the rules say no, [`Undecided::Ask`] if the decision needs LND's word.
pub fn decide(order: &Order, input: Input, env: &Env<'_>) -> Result<Decision, Undecided> {
    let decision = match input {
        Input::User(request) => command(order, request, env)?,
        Input::Lightning(observation) => observe(order, observation, env),
        Input::Deadline => expiry::deadline(order, env)?,
        Input::ExtendDeadlines { offline_for } => expiry::extend_deadlines(order, offline_for),
        Input::ClockCorrected => clock::corrected(order, env),
    };
    debug_assert_eq!(crate::invariants::check(&decision.order), Ok(()), "after {}", decision.cause);
    Ok(decision)
}

fn command(order: &Order, request: Request, env: &Env<'_>) -> Result<Decision, Undecided> {
    let Request { sender, request_id, command } = request;
    match command {
        Command::TakeSell { destination, secret } => {
            Ok(take::take_sell(order, sender, request_id, destination, secret, env)?)
        }
        Command::TakeBuy { secret } => Ok(take::take_buy(order, sender, request_id, secret, env)?),
        Command::AddInvoice { destination, secret } => {
            add_invoice(order, sender.trade, request_id, destination, secret, env)
        }
        Command::FiatSent => Ok(fiat_sent(order, sender.trade, request_id)?),
        Command::Release => Ok(release(order, sender.trade, request_id)?),
        Command::Cancel => cancel::cancel(order, sender.trade, request_id, env),
    }
}

fn observe(order: &Order, observation: Observation, env: &Env<'_>) -> Decision {
    match observation {
        Observation::HoldOpened { hash, bolt11 } => hold::opened(order, hash, bolt11, env),
        Observation::Hold { hash, status } => hold::seen(order, hash, status, env),
        Observation::PayoutUnanswered { hash } => payout::unanswered(order, hash, env),
        Observation::PayoutRefused { hash, because } => payout::refused(order, hash, because, env),
        Observation::Payment { hash, status } => payout::seen(order, hash, status, env),
        Observation::Htlc { hash, index, is_missing } => {
            payout::htlc_searched(order, hash, index, is_missing, env)
        }
    }
}

/// The buyer names where to be paid: T9, T12, or another destination for a payout.
fn add_invoice(
    order: &Order,
    sender: TradeKey,
    request_id: Option<u64>,
    destination: Destination,
    secret: HoldSecret,
    env: &Env<'_>,
) -> Result<Decision, Undecided> {
    let Some(buyer) = order.buyer() else { return Err(Refusal::NotAllowedByStatus.into()) };
    if buyer.trade != sender {
        return Err(Refusal::InvalidPeer.into());
    }
    match &order.state {
        OrderState::AwaitingInvoice { escrow: None, until } => {
            let mut decision = Decision::on(order, Cause::InvoicePrepared);
            decision.order.destination = Some(payable(order, destination, env)?);
            let from = PreparingFrom::AwaitingInvoice { until: *until };
            Ok(decision.prepare_hold(secret, request_id, from, env)?)
        }
        OrderState::AwaitingInvoice { escrow: Some(held), .. } => {
            let invoice = payable(order, destination, env)?;
            escrow::rely_on(order, held.hash, invoice, sender, request_id, env)
        }
        OrderState::PayingBuyer => {
            let purpose = PayoutPurpose::Buyer;
            payout::another_destination(order, purpose, request_id, destination, env)
        }
        _ => Err(Refusal::NotAllowedByStatus.into()),
    }
}

/// T24.
fn fiat_sent(
    order: &Order,
    sender: TradeKey,
    request_id: Option<u64>,
) -> Result<Decision, Refusal> {
    let is_buyer = order.buyer().is_some_and(|buyer| buyer.trade == sender);
    let held = match &order.state {
        OrderState::Active { held } => *held,
        OrderState::Settling { .. } | OrderState::Frozen { .. } if is_buyer => {
            return Err(Refusal::NotAllowedByStatus);
        }
        OrderState::Settling { .. } | OrderState::Frozen { .. } => {
            return Err(Refusal::InvalidPubkey);
        }
        _ => return Err(Refusal::InvalidOrderStatus),
    };
    let (Some(buyer), Some(seller), true) = (order.buyer(), order.seller(), is_buyer) else {
        return Err(Refusal::InvalidPubkey);
    };
    let state = OrderState::FiatSent { held, warned: HorizonWarning::NotYet };
    Ok(Decision::on(order, Cause::FiatSent)
        .to(state)
        .tell(seller, Notice::FiatSentOk { peer: buyer.trade })
        .answer(buyer, request_id, Notice::FiatSentOk { peer: seller.trade }))
}

/// The intent of T29. Nobody is told before LND says SETTLED (D16).
fn release(order: &Order, sender: TradeKey, request_id: Option<u64>) -> Result<Decision, Refusal> {
    let Some(seller) = order.seller() else { return Err(Refusal::NotAllowedByStatus) };
    if seller.trade != sender {
        return Err(Refusal::InvalidPeer);
    }
    let OrderState::FiatSent { held, warned } = order.state else {
        return Err(Refusal::NotAllowedByStatus);
    };
    // At the margin the operator was told to get a release. Should LND not carry it out, he must hear
    // that as well.
    let warned = warned.min(HorizonWarning::Near);
    Ok(Decision::on(order, Cause::Released)
        .decide_hold(held.hash, HoldDecision::Settle)
        .to(OrderState::Settling { held, request_id, warned })
        .then(LnCommand::EndHold { hash: held.hash }))
}

/// The invoice in `destination`, if what the buyer is to get may be promised to it (behaviour §4.5).
fn payable(order: &Order, destination: Destination, env: &Env<'_>) -> Result<Invoice, Refusal> {
    let expected = order.terms.quote.ok_or(Refusal::OutOfRangeSatsAmount)?.to_pay_out();
    payable_with(order, expected, destination, env)
}

/// The invoice in `destination`, if so many sats may be promised to it.
fn payable_with(
    order: &Order,
    expected: Sats,
    destination: Destination,
    env: &Env<'_>,
) -> Result<Invoice, Refusal> {
    let Destination::Bolt11(invoice) = destination else { return Err(Refusal::InvalidInvoice) };
    let is_payable = invoice.is_payable(expected, env.node, env.policy, env.now);
    let is_known = env.payout_hash_is_known
        || order.hold(invoice.hash).is_some()
        || is_known_as_another_text(order, &invoice);
    if !is_payable || is_known {
        return Err(Refusal::InvalidInvoice);
    }
    Ok(invoice)
}

/// Whether this order already has this payment hash, from another invoice. An attempt keeps its first
/// text, so the new one would never be paid (D44).
fn is_known_as_another_text(order: &Order, invoice: &Invoice) -> bool {
    let attempts = order.payouts.iter().filter_map(|payout| payout.attempt.as_ref());
    let destination = order.destination.as_ref();
    attempts
        .map(|attempt| (attempt.hash, attempt.bolt11.as_str()))
        .chain(destination.map(|known| (known.hash, known.text.as_str())))
        .any(|(hash, text)| hash == invoice.hash && !text.eq_ignore_ascii_case(&invoice.text))
}

/// Straight-line parts of decisions.
impl Decision {
    /// Starts from `order` as it is; `cause` goes into the journal.
    pub(crate) fn on(order: &Order, cause: Cause) -> Self {
        Self {
            order: order.clone(),
            effects: Vec::new(),
            postings: Vec::new(),
            account: None,
            notes: Vec::new(),
            child: None,
            cause,
        }
    }

    fn to(mut self, state: OrderState) -> Self {
        self.order.state = state;
        self
    }

    fn then(mut self, command: LnCommand) -> Self {
        self.effects.push(Effect::Lightning(command));
        self
    }

    fn alarm(mut self, alarm: Alarm) -> Self {
        self.effects.push(Effect::Alarm(alarm));
        self
    }

    /// What a person should know, whatever is decided instead.
    fn with_alarms_of(mut self, other: &Self) -> Self {
        let alarms = other.effects.iter().filter(|effect| matches!(effect, Effect::Alarm(_)));
        self.effects.extend(alarms.cloned());
        self
    }

    fn notify(
        mut self,
        to: TradeKey,
        request_id: Option<u64>,
        trade_index: Option<i64>,
        notice: Notice,
    ) -> Self {
        self.effects.push(Effect::Notify { to, request_id, trade_index, notice });
        self
    }

    /// A message nobody asked for.
    fn tell(self, to: &Party, notice: Notice) -> Self {
        self.notify(to.trade, None, None, notice)
    }

    /// The answer to a request.
    fn answer(self, to: &Party, request_id: Option<u64>, notice: Notice) -> Self {
        self.notify(to.trade, request_id, None, notice)
    }

    /// An answer that names the trade index of its reader.
    fn answer_indexed(self, to: &Party, request_id: Option<u64>, notice: Notice) -> Self {
        self.notify(to.trade, request_id, to.index, notice)
    }

    /// The answer to a request that something else came before, ahead of what that something says.
    fn came_too_late(mut self, to: TradeKey, request_id: Option<u64>) -> Self {
        let notice = Notice::CantDo(Refusal::NotAllowedByStatus);
        self.effects.insert(0, Effect::Notify { to, request_id, trade_index: None, notice });
        self
    }

    /// Both parties, without an answer to anybody.
    fn tell_both(mut self, notice: &Notice) -> Self {
        let maker = self.order.maker;
        self = self.tell(&maker, notice.clone());
        if let Some(taker) = self.order.taker {
            self = self.tell(&taker, notice.clone());
        }
        self
    }

    pub(crate) fn hold_mut(&mut self, hash: PaymentHash) -> Option<&mut Hold> {
        self.order.holds.iter_mut().find(|hold| hold.hash == hash)
    }

    fn decide_hold(mut self, hash: PaymentHash, decision: HoldDecision) -> Self {
        if let Some(hold) = self.hold_mut(hash) {
            hold.decision.get_or_insert(decision);
        }
        self
    }

    /// Turns every hold of this purpose that nobody decided on into a refund to be made (E7, INV-3).
    fn give_back(mut self, purpose: HoldPurpose) -> Self {
        for hold in &mut self.order.holds {
            if hold.purpose != purpose || hold.decision.is_some() {
                continue;
            }
            hold.decision = Some(HoldDecision::Cancel);
            if !hold.is_closed() {
                let command = LnCommand::EndHold { hash: hold.hash };
                self.effects.push(Effect::Lightning(command));
            }
        }
        self
    }

    /// Saves the preimage of the escrow and asks LND for its invoice (E1).
    fn prepare_hold(
        mut self,
        secret: HoldSecret,
        request_id: Option<u64>,
        from: PreparingFrom,
        env: &Env<'_>,
    ) -> Result<Self, Refusal> {
        let amount = self.order.terms.quote.ok_or(Refusal::OutOfRangeSatsAmount)?.to_hold();
        let hash = secret.hash;
        self.order.holds.push(Hold::wanted(secret, HoldPurpose::Escrow, amount));
        let until = env.now.after(env.policy.reply_window);
        let add = LnCommand::AddHold {
            hash,
            amount,
            expiry: env.policy.duty_window.saturating_add(HOLD_EXPIRY_SLACK),
            cltv_delta: env.policy.hold_cltv_delta,
            memo: memo(&self.order),
        };
        let preparing = Preparing { hash, until, request_id, from };
        Ok(self.to(OrderState::PreparingHold(preparing)).then(add))
    }

    /// Stops and calls a person (D13).
    fn freeze(self, because: FrozenBecause) -> Self {
        let state = self.order.state.clone().frozen(because);
        self.to(state).alarm(Alarm::Frozen(because))
    }

    /// T13, T15, T17, T19: clears the take (behaviour §2.4). The taker is answered if it asked.
    fn back_to_book(mut self, request_id: Option<u64>) -> Self {
        self = self.give_back(HoldPurpose::Escrow);
        let maker = self.order.maker;
        self.order.taken_at = None;
        if let Some(taker) = self.order.taker.take() {
            self = self.answer(&taker, request_id, Notice::Canceled);
        }
        if self.order.terms.kind == crate::Kind::Sell {
            self.order.destination = None;
        }
        self = self.to(OrderState::Pending);
        let mut view = OrderView::bare(&self.order, Status::Pending, self.order.terms.amount())
            .with_invoice(self.order.destination.as_ref());
        view.buyer = self.order.buyer().map(|buyer| buyer.trade);
        view.seller = self.order.seller().map(|seller| seller.trade);
        self.tell(&maker, Notice::NewOrder(view))
    }

    /// T14, T16, T18, T20, T27: ends the trade. The maker is answered if it asked.
    fn canceled(mut self, request_id: Option<u64>) -> Self {
        self = self.give_back(HoldPurpose::Escrow).to(OrderState::Ended(Outcome::Canceled));
        let maker = self.order.maker;
        self = self.answer(&maker, request_id, Notice::Canceled);
        if let Some(taker) = self.order.taker {
            self = self.tell(&taker, Notice::Canceled);
        }
        self
    }

    /// The party with the duty did not do it: a taker's fault returns the order to the book, a
    /// maker's ends it (behaviour §2.2, T15, T16, T19, T20).
    fn abandoned_by(self, side: Side) -> Self {
        let is_maker = match side {
            Side::Buyer => self.order.terms.kind == crate::Kind::Buy,
            Side::Seller => self.order.terms.kind == crate::Kind::Sell,
        };
        if is_maker { self.canceled(None) } else { self.back_to_book(None) }
    }

    /// Whether committing it would change anything.
    #[must_use]
    pub fn is_nothing(&self, before: &Order) -> bool {
        self.effects.is_empty()
            && self.postings.is_empty()
            && self.account.is_none()
            && self.notes.is_empty()
            && self.child.is_none()
            && self.order == *before
    }
}

impl Env<'_> {
    fn hold_status(&self, hash: PaymentHash) -> Option<HoldStatus> {
        self.facts
            .iter()
            .find_map(|Fact::HoldSeen { hash: of, status }| (*of == hash).then_some(*status))
    }
}

/// How much longer than the seller's duty an unpaid hold invoice lives at LND.
const HOLD_EXPIRY_SLACK: std::time::Duration = std::time::Duration::from_mins(1);

/// What a seller's wallet shows (behaviour §5.2).
fn memo(order: &Order) -> String {
    let (fiat_amount, fiat_code) = (order.terms.fiat_amount(), &order.terms.fiat_code);
    format!(
        "Order {}: sale of bitcoin for {} {fiat_code}. These sats stay frozen until you release \
         them, and return to you if the trade is not completed.",
        order.id, fiat_amount.0
    )
}
