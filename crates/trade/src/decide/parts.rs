//! What decisions are built from: the steps that several of them share.

use super::Asked;
use crate::{
    Alarm, Cause, Decision, Effect, Env, FrozenBecause, Hold, HoldDecision, HoldPurpose,
    HoldSecret, Kind, LnCommand, Notice, Order, OrderState, OrderView, Outcome, Party, PaymentHash,
    Preparing, PreparingFrom, Refusal, Side, Status, TradeKey,
};

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

    pub(super) fn to(mut self, state: OrderState) -> Self {
        self.order.state = state;
        self
    }

    pub(super) fn then(mut self, command: LnCommand) -> Self {
        self.effects.push(Effect::Lightning(command));
        self
    }

    pub(super) fn alarm(mut self, alarm: Alarm) -> Self {
        self.effects.push(Effect::Alarm(alarm));
        self
    }

    /// What a person should know, whatever is decided instead.
    pub(super) fn with_alarms_of(mut self, other: &Self) -> Self {
        let alarms = other.effects.iter().filter(|effect| matches!(effect, Effect::Alarm(_)));
        self.effects.extend(alarms.cloned());
        self
    }

    pub(super) fn notify(
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
    pub(super) fn tell(self, to: &Party, notice: Notice) -> Self {
        self.notify(to.trade, None, None, notice)
    }

    /// The answer to a request.
    pub(super) fn answer(self, to: &Party, request_id: Option<u64>, notice: Notice) -> Self {
        self.notify(to.trade, request_id, None, notice)
    }

    /// An answer that names the trade index of its reader.
    pub(super) fn answer_indexed(
        self,
        to: &Party,
        request_id: Option<u64>,
        notice: Notice,
    ) -> Self {
        self.notify(to.trade, request_id, to.index, notice)
    }

    /// The answer to a request that something else came before, ahead of what that something says.
    pub(super) fn came_too_late(mut self, asked: Asked) -> Self {
        let Asked { sender, request_id } = asked;
        let notice = Notice::CantDo(Refusal::NotAllowedByStatus);
        self.effects
            .insert(0, Effect::Notify { to: sender.trade, request_id, trade_index: None, notice });
        self
    }

    /// Both parties, without an answer to anybody.
    pub(super) fn tell_both(mut self, notice: &Notice) -> Self {
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

    pub(super) fn decide_hold(mut self, hash: PaymentHash, decision: HoldDecision) -> Self {
        if let Some(hold) = self.hold_mut(hash) {
            hold.decision.get_or_insert(decision);
        }
        self
    }

    /// Decides to give back every hold of this purpose that nothing is decided on (INV-3).
    pub(super) fn give_back(mut self, purpose: HoldPurpose) -> Self {
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

    /// Saves the preimage of the escrow, and asks LND for its invoice (E1).
    pub(super) fn prepare_hold(
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

    /// A person decides from now on; the operator is told.
    pub(super) fn freeze(self, because: FrozenBecause) -> Self {
        let state = self.order.state.clone().frozen(because);
        self.to(state).alarm(Alarm::Frozen(because))
    }

    /// Undoes the take: the order is in the book again. The taker is answered if it asked.
    pub(super) fn back_to_book(mut self, request_id: Option<u64>) -> Self {
        self = self.give_back(HoldPurpose::Escrow);
        let maker = self.order.maker;
        self.order.taken_at = None;
        if let Some(taker) = self.order.taker.take() {
            self = self.answer(&taker, request_id, Notice::Canceled);
        }
        if self.order.terms.kind == Kind::Sell {
            self.order.destination = None;
        }
        self = self.to(OrderState::Pending);
        let mut view = OrderView::bare(&self.order, Status::Pending, self.order.terms.amount())
            .with_invoice(self.order.destination.as_ref());
        view.buyer = self.order.buyer().map(|buyer| buyer.trade);
        view.seller = self.order.seller().map(|seller| seller.trade);
        self.tell(&maker, Notice::NewOrder(view))
    }

    /// Ends the trade, and gives the escrow back. The maker is answered if it asked.
    pub(super) fn canceled(mut self, request_id: Option<u64>) -> Self {
        self = self.give_back(HoldPurpose::Escrow).to(OrderState::Ended(Outcome::Canceled));
        let maker = self.order.maker;
        self = self.answer(&maker, request_id, Notice::Canceled);
        if let Some(taker) = self.order.taker {
            self = self.tell(&taker, Notice::Canceled);
        }
        self
    }

    /// The party with the duty did not do it: a taker's fault returns the order to the book, a
    /// maker's ends it (behaviour §2.2).
    pub(super) fn abandoned_by(self, side: Side) -> Self {
        let is_maker = match side {
            Side::Buyer => self.order.terms.kind == Kind::Buy,
            Side::Seller => self.order.terms.kind == Kind::Sell,
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
