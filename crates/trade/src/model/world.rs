//! One world, and everything that can happen next in it.
//!
//! What the shell promises, and the model therefore assumes:
//! * a row of the outbox is done until LND's word ends it, so it may be done twice; a payout's call
//!   is noted before it is made, and one that was noted is asked about, not made again (P1, P5);
//! * rows of one hash are done one after the other, and an add is dropped when its hold was decided on;
//! * LND is asked about a hold that it acknowledged, never before;
//! * a send begins only if its attempt still wants one and LND, asked just before, has nothing of this
//!   try (P1);
//! * no call and no answer lives longer than the quiet time; a copy of a call that does arrives before
//!   the next call begins, or never.
//!
//! All else goes wrong: requests and answers are lost, copies and news come late and again.
#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "two holds, two invoices, small counts: a slip ends the test, and should"
)]

mod laws;

use super::mutant::Mutant;
use super::orders::{Orders, Step, expiry, hold_number, invoice_number, seed};
use crate::fixture::{ASKED, invoice_hash, place};
use crate::{
    FailureReason, HoldStatus, Msats, Order, OrderState, PaymentStatus, PayoutPurpose, PayoutState,
    Preimage,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LndHold {
    Unknown,
    Open,
    /// How near the end is; at 3 LND gives the sats back.
    Accepted(u8),
    Settled,
    Canceled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LndPayment {
    Unknown,
    InFlight(u8),
    Failed(u8),
    /// The payee does not want it.
    Refused(u8),
    Paid(u8),
}

/// What the outbox has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    Add(usize),
    Settle(usize),
    Cancel(usize),
    Send(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Refuses {
    Nothing,
    AtFirst,
    Always,
}

/// Everything there is. Arrays count holds and invoices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct World {
    order: u32,
    holds: [LndHold; 2],
    /// Whose invoice somebody has.
    told: [bool; 2],
    /// How many preimages were drawn.
    drawn: usize,
    payments: [LndPayment; 2],
    /// Invoices that some attempt was made for.
    attempted: [bool; 2],
    expired: bool,
    adds: [bool; 2],
    settles: [bool; 2],
    cancels: [bool; 2],
    sends: [u8; 2],
    /// Sends whose call was begun and not answered yet.
    begun: [u8; 2],
    /// Sends on their way to LND.
    copies: [u8; 2],
    /// Those that are older than the quiet time.
    late: [u8; 2],
    /// Something that LND said once and that was not told yet, or may be told again.
    news: Option<Step>,
    /// The buyer's word, once accepted.
    fiat_sent: bool,
    /// LND registers one hash at most so often; the last time it pays.
    registrations: u8,
    /// Whether LND answers every send with an error.
    refuses: Refuses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// Of somebody, or of time.
    Does(Step),
    /// The outbox or the watcher, telling the order.
    Tells(Step),
    Keeps(Step),
    Drops,
    Runs(&'static str, usize),
    Lnd(&'static str, usize),
    /// A buyer who was not asked.
    Volunteers(Step),
}

impl Move {
    /// Whether a way out may depend on it.
    pub(super) fn needs_no_volunteer(self) -> bool {
        !matches!(self, Self::Volunteers(_))
    }
}

impl LndHold {
    pub(super) fn told(self) -> HoldStatus {
        match self {
            Self::Unknown => HoldStatus::Unknown,
            Self::Open => HoldStatus::Open,
            Self::Accepted(level) => {
                HoldStatus::Accepted { paid: ASKED, expires_at: expiry(level) }
            }
            Self::Settled => HoldStatus::Settled,
            Self::Canceled => HoldStatus::Canceled,
        }
    }
}

impl LndPayment {
    pub(super) fn told(self) -> PaymentStatus {
        let failed = |index: u8, reason| PaymentStatus::Failed { index: index.into(), reason };
        match self {
            Self::Unknown => PaymentStatus::Unknown,
            Self::InFlight(index) => PaymentStatus::InFlight { index: index.into() },
            Self::Failed(index) => failed(index, FailureReason::NoRoute),
            Self::Refused(index) => failed(index, FailureReason::IncorrectPaymentDetails),
            Self::Paid(index) => PaymentStatus::Succeeded {
                index: index.into(),
                receipt: Preimage([7; 32]),
                fee: Msats::ZERO,
            },
        }
    }

    /// A send arrives.
    fn registered(self) -> Self {
        match self {
            Self::Unknown => Self::InFlight(1),
            Self::Failed(index) | Self::Refused(index) => Self::InFlight(index.saturating_add(1)),
            Self::InFlight(_) | Self::Paid(_) => self,
        }
    }
}

/// What happens next.
impl World {
    /// An order in the book, and LND's first try of a payout succeeds.
    pub(super) fn in_the_book(order: u32) -> Self {
        Self {
            order,
            registrations: 1,
            refuses: Refuses::Nothing,
            holds: [LndHold::Unknown; 2],
            told: [false; 2],
            drawn: 0,
            payments: [LndPayment::Unknown; 2],
            attempted: [false; 2],
            expired: false,
            adds: [false; 2],
            settles: [false; 2],
            cancels: [false; 2],
            sends: [0; 2],
            begun: [0; 2],
            copies: [0; 2],
            late: [0; 2],
            news: None,
            fiat_sent: false,
        }
    }

    /// A trade in which fiat was sent, and payouts fail.
    pub(super) fn before_release(order: u32) -> Self {
        let mut world =
            Self { drawn: 2, fiat_sent: true, registrations: 3, ..Self::in_the_book(order) };
        world.holds[0] = LndHold::Accepted(0);
        world.told[0] = true;
        world
    }

    /// The same; the first payment that LND takes succeeds.
    pub(super) fn before_a_refusal(order: u32, refuses: Refuses) -> Self {
        Self { refuses, registrations: 1, ..Self::before_release(order) }
    }

    pub(super) fn successors(&self, orders: &mut Orders) -> Vec<(Move, Self)> {
        let mut next = Vec::new();
        self.people_speak(orders, &mut next);
        self.time_passes(orders, &mut next);
        self.lnd_moves(&mut next);
        self.lnd_restarts(orders, &mut next);
        self.lnd_is_heard(orders, &mut next);
        self.outbox_runs(orders, &mut next);
        next
    }

    fn people_speak(&self, orders: &mut Orders, next: &mut Vec<(Move, Self)>) {
        let state = &orders.get(self.order).state;
        let needs_secret = matches!(state, OrderState::AwaitingInvoice { escrow: None, .. });
        let is_paying = matches!(state, OrderState::PayingBuyer);
        let is_asked = payout_state(orders.get(self.order)) == Some(PayoutState::NeedsInvoice);
        let may_draw = self.drawn < 2;
        if may_draw {
            self.does(orders, Step::Take { hold: self.drawn }, next);
        }
        for step in [
            Step::TakeBare,
            Step::FiatSent,
            Step::Release,
            Step::CancelByMaker,
            Step::CancelByTaker,
        ] {
            self.does(orders, step, next);
        }
        let newest = newest_invoice(orders.get(self.order));
        for invoice in 0..if is_paying { 2 } else { 1 } {
            if (needs_secret && !may_draw) || (invoice == 0 && self.expired) {
                continue;
            }
            let is_known = self.attempted[invoice] && newest != Some(invoice);
            let step = Step::AddInvoice { invoice, hold: self.drawn.min(1), is_known };
            if let Some(then) = self.told(orders, step) {
                let as_asked = is_asked || !is_paying;
                let how = if as_asked { Move::Does(step) } else { Move::Volunteers(step) };
                next.push((how, then));
            }
        }
    }

    fn time_passes(&self, orders: &mut Orders, next: &mut Vec<(Move, Self)>) {
        self.does(orders, Step::Deadline, next);
        let state = &orders.get(self.order).state;
        let book = matches!(state, OrderState::Pending);
        let late = !self.expired
            && matches!(
                state,
                OrderState::FiatSent { .. } | OrderState::Settling { .. } | OrderState::PayingBuyer
            );
        if book {
            self.does(orders, Step::BookWindowEnds, next);
        }
        if late {
            let mut then = self.told(orders, Step::InvoiceExpires).unwrap_or(*self);
            then.expired = true;
            next.push((Move::Does(Step::InvoiceExpires), then));
        }
        if !self.is_quiet() {
            return;
        }
        let mut ticked = self.told(orders, Step::Tick).unwrap_or(*self);
        ticked.late = self.copies;
        if ticked != *self {
            next.push((Move::Does(Step::Tick), ticked));
        }
        self.does(orders, Step::Day, next);
        let mut then = self.told(orders, Step::Blocks).unwrap_or(*self);
        for hold in &mut then.holds {
            if let LndHold::Accepted(level) = hold {
                *level = 3.min(*level + 1);
            }
        }
        if then != *self {
            next.push((Move::Does(Step::Blocks), then));
        }
    }

    /// Nothing is on its way that was on its way before.
    fn is_quiet(&self) -> bool {
        self.begun == [0; 2] && self.news.is_none()
    }

    fn lnd_moves(&self, next: &mut Vec<(Move, Self)>) {
        for hold in 0..2 {
            let mut become_ = |how, is| {
                let mut then = *self;
                then.holds[hold] = is;
                next.push((Move::Lnd(how, hold), then));
            };
            match self.holds[hold] {
                LndHold::Open => {
                    if self.told[hold] {
                        become_("is paid the hold", LndHold::Accepted(0));
                    }
                    become_("lets the hold run out", LndHold::Canceled);
                }
                LndHold::Accepted(3) => become_("gives the sats back", LndHold::Canceled),
                _ => {}
            }
        }
        if self.refuses == Refuses::AtFirst {
            let then = Self { refuses: Refuses::Nothing, ..*self };
            next.push((Move::Lnd("refuses no more", 0), then));
        }
        for invoice in 0..2 {
            let mut become_ = |how, is, copies| {
                let mut then = *self;
                then.payments[invoice] = is;
                then.copies[invoice] = copies;
                then.late[invoice] = copies.min(then.late[invoice]);
                next.push((Move::Lnd(how, invoice), then));
            };
            let (is, copies) = (self.payments[invoice], self.copies[invoice]);
            if copies > 0 {
                become_("gets a send", self.arrives(invoice), copies - 1);
                become_("never gets a send", is, copies - 1);
            }
            if let LndPayment::InFlight(index) = is {
                become_("pays", LndPayment::Paid(index), copies);
                if index < self.registrations {
                    become_("finds no route", LndPayment::Failed(index), copies);
                    become_("is refused", LndPayment::Refused(index), copies);
                }
            }
        }
    }

    /// LND is started anew, and with it the connection: what was on its way is lost.
    fn lnd_restarts(&self, orders: &mut Orders, next: &mut Vec<(Move, Self)>) {
        let mut then = self.told(orders, Step::Restart).unwrap_or(*self);
        (then.copies, then.late) = ([0; 2], [0; 2]);
        if then != *self {
            next.push((Move::Does(Step::Restart), then));
        }
    }

    /// LND refuses an expired invoice before it looks at anything else.
    fn arrives(&self, invoice: usize) -> LndPayment {
        if self.is_refused(invoice) {
            self.payments[invoice]
        } else {
            self.payments[invoice].registered()
        }
    }

    fn is_refused(&self, invoice: usize) -> bool {
        self.refuses != Refuses::Nothing || invoice == 0 && self.expired
    }

    /// A stream or a look-up: told at once, or kept and told later, also more than once.
    fn lnd_is_heard(&self, orders: &mut Orders, next: &mut Vec<(Move, Self)>) {
        let mut words = Vec::new();
        let order = orders.get(self.order);
        for hold in order.holds.iter().filter(|hold| hold.bolt11.is_some()) {
            if let Some(hold) = hold_number(hold.hash) {
                words.push(Step::Hold { hold, is: self.holds[hold] });
            }
        }
        if let Some(invoice) = newest_invoice(order) {
            words.push(Step::Payment { invoice, is: self.payments[invoice] });
        }
        for word in words {
            self.tells(orders, word, next);
            if self.news.is_none() {
                next.push((Move::Keeps(word), Self { news: Some(word), ..*self }));
            }
        }
        if let Some(word) = self.news {
            self.tells(orders, word, next);
            next.push((Move::Drops, Self { news: None, ..*self }));
        }
    }

    fn outbox_runs(&self, orders: &mut Orders, next: &mut Vec<(Move, Self)>) {
        for hold in 0..2 {
            if self.adds[hold] {
                self.add_runs(orders, hold, next);
            } else if self.settles[hold] {
                let mut called = *self;
                if matches!(self.holds[hold], LndHold::Accepted(_)) {
                    called.holds[hold] = LndHold::Settled;
                }
                let is = match called.holds[hold] {
                    LndHold::Open => LndHold::Canceled,
                    is => is,
                };
                next.push((Move::Runs("settle, no answer", hold), called));
                called.settles[hold] = false;
                called.reports(orders, Step::Hold { hold, is }, "settle", hold, next);
            } else if self.cancels[hold] {
                let mut called = *self;
                if matches!(self.holds[hold], LndHold::Open | LndHold::Accepted(_)) {
                    called.holds[hold] = LndHold::Canceled;
                }
                let is = match called.holds[hold] {
                    LndHold::Unknown => LndHold::Canceled,
                    is => is,
                };
                next.push((Move::Runs("cancel, no answer", hold), called));
                called.cancels[hold] = false;
                called.reports(orders, Step::Hold { hold, is }, "cancel", hold, next);
            }
        }
        for invoice in 0..2 {
            self.send_runs(orders, invoice, next);
        }
    }

    fn add_runs(&self, orders: &mut Orders, hold: usize, next: &mut Vec<(Move, Self)>) {
        let order = orders.get(self.order);
        let mut wanted = order.holds.iter().filter(|of| hold_number(of.hash) == Some(hold));
        let is_wanted = wanted.any(|hold| hold.decision.is_none());
        let mut done = *self;
        done.adds[hold] = false;
        if !is_wanted {
            next.push((Move::Runs("add is not wanted", hold), done));
            return;
        }
        if self.holds[hold] == LndHold::Unknown {
            let mut called = *self;
            called.holds[hold] = LndHold::Open;
            done.holds[hold] = LndHold::Open;
            next.push((Move::Runs("add, no answer", hold), called));
        }
        // An invoice that ran out while its answer was lost is told as over.
        let is_over =
            done.holds[hold] == LndHold::Canceled && orders.mutant() != Some(Mutant::AdoptsTheDead);
        let step = if is_over {
            Step::Hold { hold, is: LndHold::Canceled }
        } else {
            Step::Opened { hold }
        };
        done.reports(orders, step, "add", hold, next);
    }

    fn send_runs(&self, orders: &mut Orders, invoice: usize, next: &mut Vec<(Move, Self)>) {
        if self.begun[invoice] > 0 {
            let mut gone = *self;
            gone.begun[invoice] -= 1;
            let step = Step::Unanswered { invoice };
            gone.reports(orders, step, "send, no answer", invoice, next);
            if self.copies[invoice] > 0 {
                gone.copies[invoice] -= 1;
                gone.late[invoice] = gone.copies[invoice].min(gone.late[invoice]);
                let is = self.arrives(invoice);
                gone.payments[invoice] = is;
                let step = if self.is_refused(invoice) {
                    Step::Refused { invoice }
                } else {
                    Step::Payment { invoice, is }
                };
                gone.reports(orders, step, "send", invoice, next);
            }
        } else if self.sends[invoice] > 0 {
            self.send_begins(orders, invoice, next);
        }
    }

    fn send_begins(&self, orders: &mut Orders, invoice: usize, next: &mut Vec<(Move, Self)>) {
        let mut taken = *self;
        taken.sends[invoice] -= 1;
        let payout = orders.get(self.order).payout(PayoutPurpose::Buyer).cloned();
        let hash = invoice_hash(seed(invoice));
        let is_wanted = payout.as_ref().is_some_and(|payout| payout.wants_to_send(hash));
        if !is_wanted && orders.mutant() != Some(Mutant::SendsWhatIsNotWanted) {
            next.push((Move::Runs("send is not wanted", invoice), taken));
            return;
        }
        let is = self.payments[invoice];
        let attempt = payout.and_then(|payout| payout.attempt);
        let is_answered = attempt.is_some_and(|attempt| attempt.is_answered_by(is.told()));
        if is_answered && orders.mutant() != Some(Mutant::SendsWithoutAsking) {
            let step = Step::Payment { invoice, is };
            taken.reports(orders, step, "send is answered", invoice, next);
            return;
        }
        taken.begun[invoice] += 1;
        taken.copies[invoice] = taken.copies[invoice] - taken.late[invoice] + 1;
        taken.late[invoice] = 0;
        next.push((Move::Runs("send begins", invoice), taken));
    }

    /// The row is done in the transaction that hears what came of it.
    fn reports(
        &self,
        orders: &mut Orders,
        step: Step,
        row: &'static str,
        of: usize,
        next: &mut Vec<(Move, Self)>,
    ) {
        let then = self.told(orders, step).unwrap_or(*self);
        next.push((Move::Runs(row, of), then));
    }

    fn does(&self, orders: &mut Orders, step: Step, next: &mut Vec<(Move, Self)>) {
        if let Some(then) = self.told(orders, step) {
            next.push((Move::Does(step), then));
        }
    }

    fn tells(&self, orders: &mut Orders, word: Step, next: &mut Vec<(Move, Self)>) {
        if let Some(then) = self.told(orders, word) {
            next.push((Move::Tells(word), then));
        }
    }

    /// The world after the order was told, `None` if that changes nothing.
    fn told(&self, orders: &mut Orders, step: Step) -> Option<Self> {
        let outcome = orders.apply(self.order, step, self.holds)?;
        let mut then = Self { order: outcome.order, ..*self };
        for row in &outcome.rows {
            match *row {
                Row::Add(hold) => {
                    then.adds[hold] = true;
                    then.drawn += 1;
                }
                Row::Settle(hold) => then.settles[hold] = true,
                Row::Cancel(hold) => then.cancels[hold] = true,
                Row::Send(invoice) => {
                    then.sends[invoice] = 2.min(then.sends[invoice] + 1);
                    then.attempted[invoice] = true;
                }
            }
        }
        let state = &orders.get(then.order).state;
        if let (true, Some(hold)) = (outcome.is_told, state.hold().and_then(hold_number)) {
            then.told[hold] = true;
        }
        then.fiat_sent |= step == Step::FiatSent;
        Some(then)
    }

    pub(super) fn describe(&self, orders: &Orders) -> String {
        format!("{} {self:?}", place(orders.get(self.order)))
    }
}

fn payout_state(order: &Order) -> Option<PayoutState> {
    order.payout(PayoutPurpose::Buyer).map(|payout| payout.state)
}

fn newest_invoice(order: &Order) -> Option<usize> {
    let attempt = order.payout(PayoutPurpose::Buyer)?.attempt.as_ref()?;
    invoice_number(attempt.hash)
}
