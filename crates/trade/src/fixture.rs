//! Stories for tests: two traders, a stranger, and an order that lives by [`decide`] alone.
//!
//! What a decision does is read as lines of text, complete and in order, so that a test can be
//! judged by anyone who knows the protocol.

#[path = "fixture/words.rs"]
mod words;

use std::time::Duration;

pub(crate) use words::{kebab, snake};

use words::first_word;

use crate::{
    Account, AccountChange, Alarm, Backlog, BlockHeight, Command, Decision, Destination, Effect,
    Env, Fact, FailureReason, HoldSecret, HoldStatus, IdentityKey, Input, Invoice, Kind,
    LightningIdentity, LnCommand, Msats, Network, NewOrder, NodeKey, Note, Notice, Observation,
    Order, OrderId, OrderState, OrderView, PaymentHash, PaymentStatus, Policy, Ppm, Preimage,
    Question, Refusal, Reputation, Request, RoutingBudget, Sats, Sender, Timestamp, TradeKey,
    Undecided, create, decide,
};

pub(crate) const MAKER: Sender = sender(1, 4);
pub(crate) const TAKER: Sender = sender(2, 9);
pub(crate) const STRANGER: Sender = sender(3, 5);

const fn sender(seed: u8, index: i64) -> Sender {
    Sender {
        trade: TradeKey([seed; 32]),
        identity: IdentityKey([seed | 0x40; 32]),
        trade_index: Some(index),
    }
}

pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000);
pub(crate) const TIP: BlockHeight = BlockHeight(900_000);
/// Of every escrow: an LND payer adds three blocks to the 144 asked for.
pub(crate) const EXPIRES_AT: BlockHeight = BlockHeight(900_147);
/// `EXPIRES_AT` less the margin of 24.
pub(crate) const GUARD: BlockHeight = BlockHeight(900_123);
/// 12 blocks before the guard.
pub(crate) const WARNING: BlockHeight = BlockHeight(900_111);

pub(crate) const ASKED: Msats = Msats(100_300_000);
pub(crate) const OWED: Sats = Sats(99_700);

pub(crate) fn policy() -> Policy {
    Policy {
        fee: Ppm(6_000),
        max_order_amount: Sats(1_000_000),
        min_order_amount: Sats(100),
        fiat_codes: vec!["EUR".to_owned(), "USD".to_owned()],
        book_window: Duration::from_hours(24),
        max_book_window: Duration::from_hours(360),
        duty_window: Duration::from_mins(15),
        reply_window: Duration::from_secs(8),
        invoice_window: Duration::from_hours(1),
        max_final_cltv: 144,
        hold_cltv_delta: 144,
        escrow_margin: 24,
        payout_attempts: 3,
        payout_interval: Duration::from_mins(1),
        payout_quiet: Duration::from_mins(1),
        payout_slow_interval: Duration::from_hours(1),
        payout_patience: Duration::from_hours(24),
        max_routing_fee: Ppm(2_000),
        max_routing_subsidy: Sats(10_000),
        payout_cltv_limit: 432,
    }
}

/// What is true outside the order.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) now: Timestamp,
    pub(crate) clock_set_at: Option<Timestamp>,
    pub(crate) height: BlockHeight,
    pub(crate) is_at_tip: bool,
    pub(crate) policy: Policy,
    pub(crate) node: Option<LightningIdentity>,
    pub(crate) lnd_unwell_at: Option<Timestamp>,
    pub(crate) lnd_restarted_at: Option<Timestamp>,
    pub(crate) refused_orders: Vec<OrderId>,
    pub(crate) backlog: Backlog,
    pub(crate) routing: RoutingBudget,
    pub(crate) account: Account,
    pub(crate) taker: Reputation,
    pub(crate) payout_hash_is_known: bool,
    /// Used up by the next input.
    pub(crate) facts: Vec<Fact>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self {
            now: NOW,
            clock_set_at: None,
            height: TIP,
            is_at_tip: true,
            policy: policy(),
            node: Some(LightningIdentity { key: NodeKey([2; 33]), network: Network::Regtest }),
            lnd_unwell_at: None,
            lnd_restarted_at: None,
            refused_orders: Vec::new(),
            backlog: Backlog::Decided,
            routing: RoutingBudget::default(),
            account: Account::default(),
            taker: Reputation { rating_milli: 4_200, reviews: 7, operating_days: 30, since: None },
            payout_hash_is_known: false,
            facts: Vec::new(),
        }
    }

    pub(crate) fn env(&self) -> Env<'_> {
        Env {
            now: self.now,
            clock_set_at: self.clock_set_at,
            height: self.height,
            is_at_tip: self.is_at_tip,
            policy: &self.policy,
            node: self.node.as_ref(),
            lnd_unwell_at: self.lnd_unwell_at,
            lnd_restarted_at: self.lnd_restarted_at,
            refused_orders: &self.refused_orders,
            backlog: self.backlog,
            routing: self.routing,
            account: self.account,
            taker: self.taker,
            payout_hash_is_known: self.payout_hash_is_known,
            facts: &self.facts,
        }
    }
}

/// One order, and the world around it.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) order: Order,
    pub(crate) scene: Scene,
    pub(crate) last: Decision,
}

/// Where an order stands after an input, and all that the decision asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) place: String,
    pub(crate) lines: Vec<String>,
}

/// The harness of the sentences: `told` is complete.
#[track_caller]
pub(crate) fn check(told: &Told, place: &str, lines: &[&str]) {
    assert_eq!(told.place, place, "with {:#?}", told.lines);
    assert_eq!(told.lines, lines);
}

/// How orders come to stand somewhere, by the shortest way.
impl Story {
    pub(crate) fn born(new: NewOrder) -> Self {
        Self::born_in(Scene::new(), new)
    }

    pub(crate) fn born_in(scene: Scene, new: NewOrder) -> Self {
        let last = create(ID, MAKER, Some(NEW_ORDER), new, &scene.env()).expect("a valid order");
        Self { order: last.order.clone(), scene, last }
    }

    pub(crate) fn sell() -> Self {
        Self::born(new_order(Kind::Sell))
    }

    pub(crate) fn buy() -> Self {
        Self::born(new_order(Kind::Buy))
    }

    /// A buy order whose maker named a destination at once.
    pub(crate) fn buy_with_invoice() -> Self {
        Self::born(NewOrder { destination: Some(bolt11(1)), ..new_order(Kind::Buy) })
    }

    pub(crate) fn every_book_order() -> [Self; 3] {
        [Self::sell(), Self::buy(), Self::buy_with_invoice()]
    }

    pub(crate) fn taken(mut self) -> Self {
        let command = match self.order.terms.kind {
            Kind::Sell => Command::TakeSell { destination: Some(bolt11(1)), secret: secret(1) },
            Kind::Buy => Command::TakeBuy { secret: secret(1) },
        };
        self.says(TAKER, command);
        self
    }

    /// A sell order whose taker gave no destination yet.
    pub(crate) fn taken_bare(mut self) -> Self {
        self.says(TAKER, Command::TakeSell { destination: None, secret: secret(9) });
        self
    }

    pub(crate) fn opened(mut self) -> Self {
        self.hears(opened(1));
        self
    }

    /// The seller has paid.
    pub(crate) fn paid(mut self) -> Self {
        self.hears(hold(1, ACCEPTED));
        self
    }

    /// A sell order that waits for the taker's invoice.
    pub(crate) fn sell_awaiting_invoice() -> Self {
        Self::sell().taken_bare()
    }

    /// A buy order that waits for the maker's invoice, with the escrow held.
    pub(crate) fn buy_awaiting_invoice() -> Self {
        Self::buy().taken().opened().paid()
    }

    pub(crate) fn awaiting_hold(kind: Kind) -> Self {
        match kind {
            Kind::Sell => Self::sell().taken().opened(),
            Kind::Buy => Self::buy_with_invoice().taken().opened(),
        }
    }

    pub(crate) fn active(kind: Kind) -> Self {
        Self::awaiting_hold(kind).paid()
    }

    pub(crate) fn fiat_sent(kind: Kind) -> Self {
        let mut story = Self::active(kind);
        story.says(story.buyer(), Command::FiatSent);
        story
    }

    pub(crate) fn settling(kind: Kind) -> Self {
        let mut story = Self::fiat_sent(kind);
        story.says(story.seller(), Command::Release);
        story
    }

    /// SETTLED was seen and the first send is decided on.
    pub(crate) fn paying(kind: Kind) -> Self {
        let mut story = Self::settling(kind);
        story.hears(hold(1, HoldStatus::Settled));
        story
    }

    pub(crate) fn success(kind: Kind) -> Self {
        let mut story = Self::paying(kind);
        story.hears(payment(1, SUCCEEDED));
        story
    }
}

/// What happens.
impl Story {
    pub(crate) fn says(&mut self, who: Sender, command: Command) -> Told {
        self.does(request(who, command))
    }

    pub(crate) fn hears(&mut self, observation: Observation) -> Told {
        self.does(Input::Lightning(observation))
    }

    /// A look at the clock and at the chain.
    pub(crate) fn wakes(&mut self) -> Told {
        self.does(Input::Deadline)
    }

    #[track_caller]
    pub(crate) fn does(&mut self, input: Input) -> Told {
        let decision = decide(&self.order, input, &self.scene.env()).expect("a decision");
        self.commit(&decision)
    }

    /// As the store: of the holds that LND has ended only the one in the state is loaded.
    pub(crate) fn commit(&mut self, decision: &Decision) -> Told {
        self.scene.facts.clear();
        for note in &decision.notes {
            match note {
                Note::RefusedOrders(orders) => self.scene.refused_orders.clone_from(orders),
                Note::RoutingHalfTold(day) => self.scene.routing.half_told = Some(*day),
                Note::RoutingShortTold(day) => self.scene.routing.short_told = Some(*day),
            }
        }
        self.order = decision.order.clone();
        let Order { holds, state, .. } = &mut self.order;
        holds.retain(|hold| !hold.is_closed() || state.hold() == Some(hold.hash));
        self.last = decision.clone();
        Told { place: place(&self.order), lines: lines(decision) }
    }

    #[track_caller]
    pub(crate) fn refuses(&self, who: Sender, command: Command) -> Refusal {
        match decide(&self.order, request(who, command), &self.scene.env()) {
            Err(Undecided::Refused(refusal)) => refusal,
            other => unreachable!("no refusal but {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn asks(&self, input: Input) -> Question {
        match decide(&self.order, input, &self.scene.env()) {
            Err(Undecided::Ask(question)) => question,
            other => unreachable!("no question but {other:?}"),
        }
    }

    /// The answer to the question that the next input will ask about the first hold.
    pub(crate) fn asked(&mut self, status: HoldStatus) -> &mut Self {
        self.scene.facts = vec![Fact::HoldSeen { hash: hold_hash(1), status }];
        self
    }

    pub(crate) fn after(&mut self, wait: Duration) -> &mut Self {
        self.scene.now = self.scene.now.after(wait);
        self
    }

    pub(crate) fn at(&mut self, height: BlockHeight) -> &mut Self {
        self.scene.height = height;
        self
    }

    pub(crate) fn buyer(&self) -> Sender {
        if self.order.terms.kind == Kind::Buy { MAKER } else { TAKER }
    }

    pub(crate) fn seller(&self) -> Sender {
        if self.order.terms.kind == Kind::Sell { MAKER } else { TAKER }
    }
}

const ID: OrderId = OrderId([0xab; 16]);

pub(crate) fn new_order(kind: Kind) -> NewOrder {
    NewOrder {
        kind: Some(kind),
        fiat_code: "EUR".to_owned(),
        fiat_amount: 50,
        min_amount: None,
        max_amount: None,
        amount: 100_000,
        payment_method: "SEPA".to_owned(),
        premium: 0,
        destination: None,
        expires_at: None,
        names_a_mint: false,
    }
}

pub(crate) fn invoice(seed: u8) -> Invoice {
    Invoice {
        text: format!("lnbcrt{seed}"),
        hash: invoice_hash(seed),
        payee: NodeKey([3; 33]),
        amount: OWED.to_msats(),
        expires_at: NOW.after(Duration::from_hours(24)),
        min_final_cltv: 18,
        network: Network::Regtest,
    }
}

pub(crate) fn bolt11(seed: u8) -> Destination {
    Destination::Bolt11(invoice(seed))
}

pub(crate) fn invoice_hash(seed: u8) -> PaymentHash {
    PaymentHash([seed | 0x10; 32])
}

pub(crate) fn hold_hash(seed: u8) -> PaymentHash {
    PaymentHash([seed | 0x20; 32])
}

pub(crate) fn secret(seed: u8) -> HoldSecret {
    HoldSecret { hash: hold_hash(seed), preimage: Preimage([seed; 32]) }
}

pub(crate) fn add_invoice(seed: u8) -> Command {
    Command::AddInvoice { destination: bolt11(seed), secret: secret(1) }
}

pub(crate) const ACCEPTED: HoldStatus =
    HoldStatus::Accepted { paid: ASKED, expires_at: EXPIRES_AT };

pub(crate) fn opened(seed: u8) -> Observation {
    Observation::HoldOpened { hash: hold_hash(seed), bolt11: format!("lnbcrthold{seed}") }
}

pub(crate) fn hold(seed: u8, status: HoldStatus) -> Observation {
    Observation::Hold { hash: hold_hash(seed), status }
}

pub(crate) const SUCCEEDED: PaymentStatus =
    PaymentStatus::Succeeded { index: 1, receipt: Preimage([0x77; 32]), fee: Msats(1_500) };

pub(crate) fn failed(index: u64, reason: FailureReason) -> PaymentStatus {
    PaymentStatus::Failed { index, reason }
}

pub(crate) fn payment(seed: u8, status: PaymentStatus) -> Observation {
    Observation::Payment { hash: invoice_hash(seed), status }
}

pub(crate) fn refused(seed: u8) -> Observation {
    let because = "total time lock of 1008 exceeds max allowed 600".to_owned();
    Observation::PayoutRefused { hash: invoice_hash(seed), because }
}

pub(crate) fn unanswered(seed: u8) -> Observation {
    Observation::PayoutUnanswered { hash: invoice_hash(seed) }
}

const NEW_ORDER: u64 = 100;

/// Every command has its own request id, so that an answer shows what it answers.
pub(crate) fn request(who: Sender, command: Command) -> Input {
    let request_id = match command {
        Command::TakeSell { .. } | Command::TakeBuy { .. } => 101,
        Command::AddInvoice { .. } => 102,
        Command::FiatSent => 103,
        Command::Release => 104,
        Command::Cancel => 105,
    };
    Input::User(Request { sender: who, request_id: Some(request_id), command })
}

fn asked_by(request_id: u64) -> &'static str {
    match request_id {
        NEW_ORDER => "new-order",
        101 => "take",
        102 => "add-invoice",
        103 => "fiat-sent",
        104 => "release",
        105 => "cancel",
        _ => "?",
    }
}

/// The name of a state, with what tells it from others of its name.
pub(crate) fn place(order: &Order) -> String {
    let name = first_word(&order.state);
    match (&order.state, order.payouts.first()) {
        (OrderState::PayingBuyer, Some(payout)) => {
            format!("{name}({})", first_word(&payout.state))
        }
        (OrderState::Frozen { because, .. }, _) => format!("{name}({because:?})"),
        (OrderState::Ended(outcome), _) => format!("{name}({outcome:?})"),
        (OrderState::FiatSent { warned, .. } | OrderState::Settling { warned, .. }, _)
            if *warned != crate::HorizonWarning::NotYet =>
        {
            format!("{name}({warned:?})")
        }
        _ => name,
    }
}

/// All that a decision asks for: messages, commands to LND, alarms, postings, the account.
pub(crate) fn lines(decision: &Decision) -> Vec<String> {
    let postings = decision.postings.iter().map(|posting| {
        format!("books: {:?} to {:?} {}", posting.credit, posting.debit, posting.amount)
    });
    let account = decision.account.iter().map(|change| match change {
        AccountChange::RaiseIndex { identity, to } => {
            format!("account: {} used index {to}", owner(*identity))
        }
        AccountChange::GiveBackIndex { identity, from, to } => {
            let to = to.map_or("none".to_owned(), |to| to.to_string());
            format!("account: {} gets index {from} back, last is {to}", owner(*identity))
        }
    });
    let effects = decision.effects.iter().map(|effect| line(effect, &decision.order));
    effects.chain(postings).chain(account).collect()
}

fn line(effect: &Effect, order: &Order) -> String {
    match effect {
        Effect::Notify { to, request_id, trade_index, notice } => {
            let rest = addressing(*trade_index, *request_id);
            format!("{}: {}{}{rest}", reader(*to), action(notice), payload(notice))
        }
        Effect::Lightning(command) => {
            let what = match command {
                LnCommand::AddHold { amount, expiry, cltv_delta, .. } => {
                    let secs = expiry.as_secs();
                    format!("add hold of {amount}, {secs} s to pay, {cltv_delta} blocks")
                }
                LnCommand::EndHold { hash } => {
                    let decision = order.hold(*hash).and_then(|hold| hold.decision);
                    format!("{} hold", kebab(&decision.expect("a decision")))
                }
                LnCommand::SendPayout { .. } => "send payout".to_owned(),
            };
            format!("LND: {what} {}", hash_text(command.hash()))
        }
        Effect::Alarm(Alarm::Frozen(because)) => format!("alarm: {because:?}"),
        Effect::Alarm(alarm) => format!("alarm: {alarm:?}"),
    }
}

pub(crate) fn heading(
    to: TradeKey,
    notice: &Notice,
    trade_index: Option<i64>,
    request_id: Option<u64>,
) -> String {
    format!("{}: {}{}", reader(to), action(notice), addressing(trade_index, request_id))
}

fn addressing(trade_index: Option<i64>, request_id: Option<u64>) -> String {
    let index = trade_index.map(|index| format!(" #{index}"));
    let answers = request_id.map(|id| format!(" (answers {})", asked_by(id)));
    [index, answers].map(Option::unwrap_or_default).concat()
}

fn action(notice: &Notice) -> String {
    kebab(notice).replace("-reputation", "")
}

fn payload(notice: &Notice) -> String {
    match notice {
        Notice::NewOrder(view)
        | Notice::AddInvoice(view)
        | Notice::BuyerTookOrder(view)
        | Notice::HoldInvoicePaymentAccepted(view) => view_text(view),
        Notice::PayInvoice { order, bolt11 } => format!("{} {bolt11}", view_text(order)),
        Notice::FiatSentOk { peer } => format!(" {{peer {}}}", reader(*peer)),
        Notice::PaymentFailed { attempts_left, interval_secs } => {
            format!(" {{{attempts_left} left, every {interval_secs} s}}")
        }
        Notice::PayInvoiceReputation(of) | Notice::AddInvoiceReputation(of) => {
            format!(" {{reputation, {} reviews}}", of.reviews)
        }
        Notice::CantDo(refusal) => format!(" {{{}}}", snake(refusal)),
        Notice::WaitingBuyerInvoice
        | Notice::WaitingSellerToPay
        | Notice::Released
        | Notice::HoldInvoicePaymentSettled
        | Notice::HoldInvoicePaymentCanceled
        | Notice::Rate
        | Notice::PurchaseCompleted
        | Notice::InvoiceUpdated
        | Notice::Canceled => String::new(),
    }
}

fn view_text(view: &OrderView) -> String {
    let keys = [view.buyer.map(|_| ", buyer"), view.seller.map(|_| ", seller")];
    let rest = [
        view.buyer_invoice.as_ref().map(|text| format!(", {text}")),
        view.expires_at.is_none().then(|| ", no expiry".to_owned()),
    ];
    let keys: String = keys.into_iter().flatten().collect();
    let rest: String = rest.into_iter().flatten().collect();
    format!(" {{{}, {}{keys}{rest}}}", kebab(&view.status), view.amount)
}

fn reader(key: TradeKey) -> &'static str {
    [(MAKER, "maker"), (TAKER, "taker"), (STRANGER, "stranger")]
        .into_iter()
        .find_map(|(who, name)| (who.trade == key).then_some(name))
        .unwrap_or("?")
}

fn owner(key: IdentityKey) -> &'static str {
    [(MAKER, "maker"), (TAKER, "taker"), (STRANGER, "stranger")]
        .into_iter()
        .find_map(|(who, name)| (who.identity == key).then_some(name))
        .unwrap_or("?")
}

fn hash_text(hash: PaymentHash) -> String {
    (0..=9)
        .find_map(|seed| {
            let of = |name, its: PaymentHash| (its == hash).then(|| format!("{name}{seed}"));
            of("h", hold_hash(seed)).or_else(|| of("i", invoice_hash(seed)))
        })
        .unwrap_or_default()
}
