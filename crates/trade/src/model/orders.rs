//! Orders by number, and what each input does to each: `decide` is pure, so once is enough.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::mutant::{self, Mutant};
use super::world::{LndHold, LndPayment, Refuses, Row, World};
use crate::fixture::{
    GUARD, MAKER, NOW, Scene, Story, TAKER, TIP, WARNING, hold_hash, invoice, invoice_hash,
    request, secret,
};
use crate::policy::FAILED_SENDS;
use crate::{
    BlockHeight, Command, Destination, Effect, Fact, Held, HoldDecision, Input, Invoice, Kind,
    LnCommand, Notice, Observation, Order, OrderState, PaymentHash, Payout, PayoutPurpose,
    PayoutState, Policy, Preparing, PreparingFrom, Question, Seen, Sender, Timestamp, Undecided,
};

/// All waits of the model are this long: they end together, with one tick.
const WAIT: Duration = Duration::from_mins(1);
/// A payout has so many tries per destination.
const TRIES: u32 = 2;

/// Where the story begins. Escrow and payout are machines of their own: the first three have two
/// takes and a payout that LND never fails, the others have one escrow and all that payouts can do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Beginning {
    Sell,
    Buy,
    BuyWithInvoice,
    FiatSent,
    /// As [`Beginning::FiatSent`], and LND refuses every payment: until somebody mends it.
    RefusingAtFirst,
    /// The same, for ever.
    Refusing,
}

/// What happens to an order, in few words. The numbers count holds and invoices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    TakeBare,
    Take {
        hold: usize,
    },
    AddInvoice {
        invoice: usize,
        hold: usize,
        is_known: bool,
    },
    FiatSent,
    Release,
    CancelByMaker,
    CancelByTaker,
    Opened {
        hold: usize,
    },
    Hold {
        hold: usize,
        is: LndHold,
    },
    Unanswered {
        invoice: usize,
    },
    Refused {
        invoice: usize,
    },
    Payment {
        invoice: usize,
        is: LndPayment,
    },
    Deadline,
    /// A wait passes.
    Tick,
    /// LND is started anew: no call from before arrives any more.
    Restart,
    /// So much time passes that a person is called.
    Day,
    /// Blocks pass: every escrow comes one level nearer to its end.
    Blocks,
    /// The first invoice expires.
    InvoiceExpires,
    BookWindowEnds,
}

/// What a step did.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) order: u32,
    pub(super) rows: Vec<Row>,
    /// The seller was given the hold invoice.
    pub(super) is_told: bool,
}

#[derive(Debug, Clone)]
enum Known {
    Nothing,
    Asks(usize),
    Done(Rc<Outcome>),
}

pub(super) struct Orders {
    scene: Scene,
    mutant: Option<Mutant>,
    /// Whether it matters how often and how long LND took no send.
    counts_sends: bool,
    all: Vec<Order>,
    ids: HashMap<String, u32>,
    known: HashMap<(u32, Step, Option<LndHold>), Known>,
}

impl Orders {
    pub(super) fn new(mutant: Option<Mutant>) -> Self {
        let policy = Policy {
            duty_window: WAIT,
            reply_window: WAIT,
            payout_interval: WAIT,
            payout_quiet: WAIT,
            payout_slow_interval: WAIT,
            payout_attempts: TRIES,
            ..crate::fixture::policy()
        };
        let lnd_restarted_at = Some(Timestamp(NOW.0.saturating_sub(30)));
        Self {
            scene: Scene { policy, lnd_restarted_at, ..Scene::new() },
            mutant,
            counts_sends: false,
            all: Vec::new(),
            ids: HashMap::new(),
            known: HashMap::new(),
        }
    }

    pub(super) fn begin(&mut self, beginning: Beginning) -> World {
        self.counts_sends = matches!(beginning, Beginning::Refusing);
        let story = match beginning {
            Beginning::Sell => Story::sell(),
            Beginning::Buy => Story::buy(),
            Beginning::BuyWithInvoice => Story::buy_with_invoice(),
            Beginning::FiatSent | Beginning::RefusingAtFirst | Beginning::Refusing => {
                Story::fiat_sent(Kind::Sell)
            }
        };
        let order = self.number(story.order);
        match beginning {
            Beginning::FiatSent => World::before_release(order),
            Beginning::RefusingAtFirst => World::before_a_refusal(order, Refuses::AtFirst),
            Beginning::Refusing => World::before_a_refusal(order, Refuses::Always),
            Beginning::Sell | Beginning::Buy | Beginning::BuyWithInvoice => {
                World::in_the_book(order)
            }
        }
    }

    pub(super) fn get(&self, id: u32) -> &Order {
        self.all.get(usize::try_from(id).expect("small")).expect("an id of ours")
    }

    pub(super) fn mutant(&self) -> Option<Mutant> {
        self.mutant
    }

    /// What `step` does. A question is answered with LND's view at this moment.
    pub(super) fn apply(
        &mut self,
        order: u32,
        step: Step,
        lnd: [LndHold; 2],
    ) -> Option<Rc<Outcome>> {
        let asked = match self.look_up(order, step, None) {
            Known::Nothing => return None,
            Known::Done(outcome) => return Some(outcome),
            Known::Asks(hold) => lnd.get(hold).copied(),
        };
        match self.look_up(order, step, asked) {
            Known::Done(outcome) => Some(outcome),
            Known::Nothing | Known::Asks(_) => None,
        }
    }

    fn look_up(&mut self, order: u32, step: Step, fact: Option<LndHold>) -> Known {
        let key = (order, step, fact);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let known = self.work_out(order, step, fact);
        self.known.insert(key, known.clone());
        known
    }

    fn work_out(&mut self, id: u32, step: Step, fact: Option<LndHold>) -> Known {
        let before = self.get(id).clone();
        let Some(input) = input(&before, step) else {
            let mut order = before.clone();
            pass(&mut order, step);
            if order == before {
                return Known::Nothing;
            }
            return Known::Done(self.outcome(order, &[]));
        };
        let mut scene = self.scene.clone();
        scene.payout_hash_is_known = matches!(step, Step::AddInvoice { is_known: true, .. });
        if let (Some(status), Some(hash)) = (fact, before.state.hold()) {
            scene.facts = vec![Fact::HoldSeen { hash, status: status.told() }];
        }
        match mutant::decide(self.mutant, &before, input, &scene.env()) {
            Ok(decision) if decision.is_nothing(&before) => Known::Nothing,
            Ok(decision) => Known::Done(self.outcome(decision.order, &decision.effects)),
            Err(Undecided::Refused(_)) => Known::Nothing,
            Err(Undecided::Ask(Question::HoldStatus { hash })) => {
                Known::Asks(hold_number(hash).expect("a hold of ours"))
            }
        }
    }

    /// Commits: what is over is loaded no more, and what no decision reads is forgotten.
    fn outcome(&mut self, mut order: Order, effects: &[Effect]) -> Rc<Outcome> {
        let rows = effects.iter().filter_map(|effect| row(effect, &order)).collect();
        let named = order.state.hold();
        order.holds.retain(|hold| !hold.is_closed() || named == Some(hold.hash));
        if let Some(payout) = order.payout_mut(PayoutPurpose::Buyer) {
            forget_counts(payout, self.counts_sends);
        }
        Rc::new(Outcome {
            order: self.number(order),
            rows,
            is_told: effects.iter().any(|effect| {
                matches!(effect, Effect::Notify { notice: Notice::PayInvoice { .. }, .. })
            }),
        })
    }

    fn number(&mut self, order: Order) -> u32 {
        // An invoice shows itself without its end.
        let destination = order.destination.as_ref().map(|invoice| invoice.expires_at);
        let key = format!("{order:?} {destination:?}");
        let next = u32::try_from(self.all.len()).expect("few orders");
        let id = *self.ids.entry(key).or_insert(next);
        if id == next {
            self.all.push(order);
        }
        id
    }
}

fn forget_counts(payout: &mut Payout, counts_sends: bool) {
    if let Some(attempt) = &mut payout.attempt {
        attempt.tries = 1;
    }
    match &mut payout.failed_sends {
        Some(sends) if counts_sends => sends.count = sends.count.min(FAILED_SENDS),
        failed_sends => *failed_sends = None,
    }
}

fn row(effect: &Effect, order: &Order) -> Option<Row> {
    let Effect::Lightning(command) = effect else { return None };
    Some(match command {
        LnCommand::AddHold { hash, .. } => Row::Add(hold_number(*hash)?),
        LnCommand::EndHold { hash } => match order.hold(*hash)?.decision? {
            HoldDecision::Settle => Row::Settle(hold_number(*hash)?),
            HoldDecision::Cancel => Row::Cancel(hold_number(*hash)?),
        },
        LnCommand::SendPayout { hash } => Row::Send(invoice_number(*hash)?),
    })
}

pub(super) fn hold_number(hash: PaymentHash) -> Option<usize> {
    [1, 2].iter().position(|seed| hold_hash(*seed) == hash)
}

pub(super) fn invoice_number(hash: PaymentHash) -> Option<usize> {
    [1, 2].iter().position(|seed| invoice_hash(*seed) == hash)
}

pub(super) fn seed(number: usize) -> u8 {
    u8::try_from(number).expect("small").saturating_add(1)
}

/// The step as an input; `None` if it is none.
fn input(order: &Order, step: Step) -> Option<Input> {
    let destination = |number| Destination::Bolt11(invoice(seed(number)));
    let (buyer, seller) = match order.terms.kind {
        Kind::Sell => (TAKER, MAKER),
        Kind::Buy => (MAKER, TAKER),
    };
    let says = |who: Sender, command| Some(request(who, command));
    match step {
        Step::TakeBare => says(TAKER, Command::TakeSell { destination: None, secret: secret(9) }),
        Step::Take { hold } => {
            let secret = secret(seed(hold));
            says(
                TAKER,
                match order.terms.kind {
                    Kind::Sell => Command::TakeSell { destination: Some(destination(0)), secret },
                    Kind::Buy => Command::TakeBuy { secret },
                },
            )
        }
        Step::AddInvoice { invoice, hold, .. } => says(
            buyer,
            Command::AddInvoice { destination: destination(invoice), secret: secret(seed(hold)) },
        ),
        Step::FiatSent => says(buyer, Command::FiatSent),
        Step::Release => says(seller, Command::Release),
        Step::CancelByMaker => says(MAKER, Command::Cancel),
        Step::CancelByTaker => says(TAKER, Command::Cancel),
        Step::Opened { hold } => Some(Input::Lightning(crate::fixture::opened(seed(hold)))),
        Step::Hold { hold, is } => {
            let hash = hold_hash(seed(hold));
            Some(Input::Lightning(Observation::Hold { hash, status: is.told() }))
        }
        Step::Unanswered { invoice } => {
            let hash = invoice_hash(seed(invoice));
            Some(Input::Lightning(Observation::PayoutUnanswered { hash }))
        }
        Step::Refused { invoice } => Some(Input::Lightning(crate::fixture::refused(seed(invoice)))),
        Step::Payment { invoice, is } => {
            let hash = invoice_hash(seed(invoice));
            Some(Input::Lightning(Observation::Payment { hash, status: is.told() }))
        }
        Step::Deadline => Some(Input::Deadline),
        Step::Tick
        | Step::Restart
        | Step::Day
        | Step::Blocks
        | Step::InvoiceExpires
        | Step::BookWindowEnds => None,
    }
}

/// Time stands still in the model; what was noted moves into the past instead.
fn pass(order: &mut Order, step: Step) {
    match step {
        Step::Tick => tick(order),
        Step::Restart => {
            let attempt =
                order.payout_mut(PayoutPurpose::Buyer).and_then(|payout| payout.attempt.as_mut());
            if let Some(since) = attempt.and_then(|attempt| attempt.in_doubt_since.as_mut()) {
                *since = long_ago();
            }
        }
        Step::Day => {
            let sends = order
                .payout_mut(PayoutPurpose::Buyer)
                .and_then(|payout| payout.failed_sends.as_mut());
            if let Some(sends) = sends {
                sends.since = Timestamp(NOW.0.saturating_sub(86_400));
            }
        }
        Step::Blocks => blocks(order),
        Step::InvoiceExpires => {
            let first = invoice_hash(seed(0));
            let destination = order.destination.as_mut().filter(|invoice| invoice.hash == first);
            if let Some(Invoice { expires_at, .. }) = destination {
                *expires_at = NOW;
            }
            let attempt =
                order.payout_mut(PayoutPurpose::Buyer).and_then(|payout| payout.attempt.as_mut());
            if let Some(attempt) = attempt.filter(|attempt| attempt.hash == first) {
                attempt.expires_at = NOW;
            }
        }
        Step::BookWindowEnds => order.terms.expires_at = NOW,
        _ => {}
    }
}

fn tick(order: &mut Order) {
    let until = |at: &mut Timestamp| *at = NOW.min(*at);
    let since = |at: &mut Option<Timestamp>| {
        if at.is_some() {
            *at = Some(long_ago());
        }
    };
    match &mut order.state {
        OrderState::PreparingHold(Preparing { until: reply, from, .. }) => {
            until(reply);
            if let PreparingFrom::AwaitingInvoice { until: duty } = from {
                until(duty);
            }
        }
        OrderState::AwaitingHold { until: duty, .. }
        | OrderState::AwaitingInvoice { until: duty, .. } => until(duty),
        _ => {}
    }
    let Some(payout) = order.payout_mut(PayoutPurpose::Buyer) else { return };
    if let PayoutState::Due { at } = &mut payout.state {
        until(at);
    }
    if let Some(attempt) = &mut payout.attempt {
        since(&mut attempt.unanswered_since);
        since(&mut attempt.missing_since);
    }
}

/// Longer ago than any wait.
pub(super) fn long_ago() -> Timestamp {
    Timestamp(NOW.0.saturating_sub(60))
}

fn blocks(order: &mut Order) {
    for hold in &mut order.holds {
        if let Seen::Accepted { expires_at, .. } = &mut hold.seen {
            *expires_at = nearer(*expires_at);
        }
    }
    match &mut order.state {
        OrderState::AwaitingInvoice { escrow: Some(Held { expires_at, .. }), .. }
        | OrderState::Active { held: Held { expires_at, .. } }
        | OrderState::FiatSent { held: Held { expires_at, .. }, .. }
        | OrderState::Settling { held: Held { expires_at, .. }, .. } => {
            *expires_at = nearer(*expires_at);
        }
        _ => {}
    }
}

/// The ends of escrows, at the one height there is: far, near enough to warn, at the margin, and
/// where LND gives the sats back by itself.
pub(super) fn expiry(level: u8) -> BlockHeight {
    let far = crate::fixture::EXPIRES_AT;
    let passed = [TIP, WARNING, GUARD].get(usize::from(level)).copied();
    let gone = passed.map_or(129, |height| height.0.saturating_sub(TIP.0));
    far.before(gone)
}

fn nearer(at: BlockHeight) -> BlockHeight {
    let level = (0..4).find(|level| expiry(*level) == at).unwrap_or(3);
    expiry(level.saturating_add(1).min(3))
}
