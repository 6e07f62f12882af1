//! Every state × every input, rendered to `docs/transitions.md`: a change of behaviour shows there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use trade::{
    Account, AccountChange, Alarm, Backlog, BlockHeight, Command, Decision, Destination, Effect,
    Env, Fact, FailureReason, HoldSecret, HoldStatus, HorizonWarning, IdentityKey, Input, Invoice,
    Kind, LightningIdentity, LnCommand, Msats, Network, NewOrder, NodeKey, Note, Notice,
    Observation, Order, OrderId, OrderState, OrderView, PaymentHash, PaymentStatus, PayoutPurpose,
    PayoutState, Policy, Ppm, Preimage, Question, Refusal, Reputation, Request, RoutingBudget,
    Sats, Sender, Timestamp, TradeKey, Undecided, create, decide, invariants,
};

// It names the core's types as `crate::…`, which are the imports above.
#[expect(dead_code, reason = "the sentences use more of it")]
#[path = "../src/fixture.rs"]
mod fixture;

use fixture::{
    ACCEPTED, EXPIRES_AT, GUARD, MAKER, STRANGER, SUCCEEDED, Story, TAKER, WARNING, add_invoice,
    bolt11, failed, hold, invoice_hash, kebab, lines, opened, payment, place, refused, request,
    secret, snake, unanswered,
};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/transitions.md");

const PREFACE: &str = "\
# Transitions

What every input does to an order in every state: `decide`, asked about all of them.
Made by `crates/trade/tests/table.rs`; `UPDATE_DOCS=1 cargo test -p trade --test table` writes it anew.

How to read it:

- The rule is the cause in the journal: a transition (T) or conflict (C) of the protocol, or a decision (D).
- `maker: action {payload} #index (answers request)` is a message; the index is its reader's trade index.
- `LND: …` is asked of LND until it agrees; `h1` is the hold, `i1` the buyer's invoice.
- `books: a to b` credits a and debits b.
- The maker's trade index is 4, the taker's 9; 100000 sats are traded and each side pays 300.
- \"LND says …\" is the answer to the question that such an input asks first.
- A look-up that shows OPEN after the decision to settle is reported as canceled: the HTLC is gone.
";

// spec: I6 INV-5
#[test]
fn the_document_shows_what_is_decided() {
    let is = render();
    #[expect(clippy::disallowed_methods, reason = "no setting of the daemon: how to run this test")]
    let update = std::env::var("UPDATE_DOCS").is_ok();
    if update {
        std::fs::write(DOCUMENT, &is).expect("docs can be written");
    }

    let was = std::fs::read_to_string(DOCUMENT).unwrap_or_default();
    let drift = was.lines().zip(is.lines()).find(|(was, is)| was != is);
    assert!(
        was == is,
        "docs/transitions.md is not what the core does, first here: {drift:#?}\n\
         If the change is wanted: UPDATE_DOCS=1 cargo test -p trade --test table"
    );
}

// spec: I9
#[test]
fn every_order_that_is_not_over_waits_for_something_that_will_come() {
    for (title, story) in states() {
        let order = &story.order;
        if order.state.is_final() {
            continue;
        }
        let deadline = order.deadline(story.scene.policy.escrow_margin);
        let has_deadline = deadline.at.is_some() || deadline.height.is_some();
        let lnd_is_watched = order
            .state
            .hold()
            .and_then(|hash| order.hold(hash))
            .is_some_and(|hold| !hold.is_closed());
        let payout = order.payout(PayoutPurpose::Buyer).map(|payout| payout.state);
        let is_being_paid = payout == Some(PayoutState::Sending);
        let a_person_is_asked =
            payout == Some(PayoutState::NeedsInvoice) || title.starts_with("Frozen");

        assert!(
            has_deadline || lnd_is_watched || is_being_paid || a_person_is_asked,
            "{title} waits for nothing: {:?}",
            order.state
        );
    }
}

// spec: I9 D39
#[test]
fn a_payout_is_not_being_sent_for_ever_to_an_lnd_that_does_not_take_it() {
    let unknown = payment(1, PaymentStatus::Unknown);
    for (title, story) in states() {
        for answer in [refused(1), unanswered(1)] {
            let mut story = story.clone();
            let mut hours = 0;
            while is_sent_by_itself(&story.order) {
                assert!(hours < 48, "{title}: {answer:?} is all that comes");
                for news in [&answer, &unknown, &unknown] {
                    story.hears(news.clone());
                    story.after(Duration::from_mins(20)).wakes();
                }
                hours += 1;
            }
        }
    }
}

fn is_sent_by_itself(order: &Order) -> bool {
    let state = order.payout(PayoutPurpose::Buyer).map(|payout| payout.state);
    matches!(state, Some(PayoutState::Due { .. } | PayoutState::Sending))
}

#[test]
fn no_state_is_forgotten() {
    let shown: BTreeSet<&str> = states().iter().map(|(_, story)| name(&story.order)).collect();

    assert_eq!(shown.len(), STATES, "{shown:?}");
}

const STATES: usize = 10;

/// The invoice of an older attempt that every payout has.
const GIVEN_UP: u8 = 7;

/// A new state changes this match, [`STATES`] and [`states`].
fn name(order: &Order) -> &'static str {
    match order.state {
        OrderState::Pending => "Pending",
        OrderState::PreparingHold(_) => "PreparingHold",
        OrderState::AwaitingHold { .. } => "AwaitingHold",
        OrderState::AwaitingInvoice { .. } => "AwaitingInvoice",
        OrderState::Active { .. } => "Active",
        OrderState::FiatSent { .. } => "FiatSent",
        OrderState::Settling { .. } => "Settling",
        OrderState::PayingBuyer => "PayingBuyer",
        OrderState::Frozen { .. } => "Frozen",
        OrderState::Ended(_) => "Ended",
    }
}

fn states() -> Vec<(String, Story)> {
    let mut states: Vec<(&str, Story)> = vec![
        ("sell order", Story::sell()),
        ("buy order without an invoice", Story::buy()),
        ("buy order with an invoice", Story::buy_with_invoice()),
        ("sell order, a former taker's hold is to be given back", left_by_its_taker()),
        ("sell order, from the book", Story::sell().taken()),
        ("sell order, from add-invoice", preparing_after_invoice()),
        ("buy order", Story::buy_with_invoice().taken()),
        ("sell order", Story::awaiting_hold(Kind::Sell)),
        ("buy order without an invoice", Story::buy().taken().opened()),
        ("buy order with an invoice", Story::awaiting_hold(Kind::Buy)),
        ("sell order, no escrow yet", Story::sell_awaiting_invoice()),
        ("buy order, escrow held", Story::buy_awaiting_invoice()),
        ("sell order", Story::active(Kind::Sell)),
        ("buy order", Story::active(Kind::Buy)),
        ("sell order", Story::fiat_sent(Kind::Sell)),
        ("buy order", Story::fiat_sent(Kind::Buy)),
        ("sell order", fiat_sent_at(WARNING)),
        ("sell order", fiat_sent_at(GUARD)),
        ("sell order", Story::settling(Kind::Sell)),
        ("buy order", Story::settling(Kind::Buy)),
        ("sell order", settling_at(WARNING)),
        ("sell order", settling_at(GUARD)),
    ];
    states.extend(payouts());
    states.extend(vec![
        ("fiat was sent", told(Story::fiat_sent(Kind::Sell), &[hold(1, HoldStatus::Canceled)])),
        ("in an active trade", told(Story::active(Kind::Sell), &[hold(1, HoldStatus::Unknown)])),
        ("in an active trade", told(Story::active(Kind::Sell), &[hold(1, HoldStatus::Settled)])),
        ("", forgotten()),
        ("", told(dangling(), &[htlc_missing()])),
        ("", Story::success(Kind::Sell)),
        ("the hold is to be given back", canceled()),
        ("", expired()),
    ]);
    let title = |(what, mut story): (&str, Story)| {
        for payout in &mut story.order.payouts {
            payout.given_up.push(invoice_hash(GIVEN_UP));
        }
        let place = place(&story.order);
        (if what.is_empty() { place } else { format!("{place}: {what}") }, story)
    };
    states.into_iter().map(title).collect()
}

fn payouts() -> Vec<(&'static str, Story)> {
    let paying = || Story::paying(Kind::Sell);
    let in_flight = || payment(1, PaymentStatus::InFlight { index: 1 });
    let fails = |index| payment(1, failed(index, FailureReason::NoRoute));
    let mut silent = told(paying(), &[unanswered(1)]);
    silent.after(Duration::from_mins(1));
    let mut again = told(paying(), &[fails(1)]);
    again.after(Duration::from_mins(1)).wakes();
    let unwanted = payment(1, failed(1, FailureReason::IncorrectPaymentDetails));
    let unknown = payment(1, PaymentStatus::Unknown);
    let mut unknown_once = told(paying(), &[refused(1), unknown.clone()]);
    unknown_once.after(Duration::from_mins(1));
    let mut refused_with_others = paying();
    refused_with_others.scene.refused_orders = vec![OrderId([1; 16]), OrderId([2; 16])];
    let mut refused_with_others = told(refused_with_others, &[refused(1), unknown]);
    refused_with_others.after(Duration::from_mins(1));
    vec![
        ("the first send", paying()),
        ("the answer to the send was lost, the quiet time is over", silent),
        ("LND refused the send", told(paying(), &[refused(1)])),
        ("LND refused the send, and knew nothing of it a quiet time ago", unknown_once),
        ("the first three orders in a row that LND refused", refused_with_others),
        ("LND has payment 1", told(paying(), &[in_flight()])),
        ("LND was away, and payment 1 has long been in no channel", dangling()),
        ("the second send, after payment 1 failed", again),
        ("payment 1 failed", told(paying(), &[fails(1)])),
        ("the buyer's node refused", told(paying(), &[unwanted])),
    ]
}

fn htlc_missing() -> Observation {
    Observation::Htlc { hash: invoice_hash(1), index: 1, is_missing: true }
}

/// LND has payment 1, was away since, and no channel carries it.
fn dangling() -> Story {
    let in_flight = payment(1, PaymentStatus::InFlight { index: 1 });
    let mut story = Story::paying(Kind::Sell);
    story.scene.lnd_unwell_at = Some(story.scene.now);
    let mut story = told(story, &[in_flight, htlc_missing()]);
    story.after(Duration::from_mins(5));
    story
}

fn told(mut story: Story, news: &[Observation]) -> Story {
    for observation in news {
        story.hears(observation.clone());
    }
    story
}

fn preparing_after_invoice() -> Story {
    let mut story = Story::sell_awaiting_invoice();
    story.says(TAKER, add_invoice(1));
    story
}

fn left_by_its_taker() -> Story {
    let mut story = Story::awaiting_hold(Kind::Sell);
    story.asked(HoldStatus::Open).says(TAKER, Command::Cancel);
    story
}

fn fiat_sent_at(height: BlockHeight) -> Story {
    let mut story = Story::fiat_sent(Kind::Sell);
    story.at(height).wakes();
    story
}

fn settling_at(height: BlockHeight) -> Story {
    let mut story = Story::settling(Kind::Sell);
    story.at(height).wakes();
    story
}

fn forgotten() -> Story {
    let in_flight = payment(1, PaymentStatus::InFlight { index: 1 });
    let mut story = told(Story::paying(Kind::Sell), &[in_flight]);
    story.hears(payment(1, PaymentStatus::Unknown));
    story.after(Duration::from_mins(1)).hears(payment(1, PaymentStatus::Unknown));
    story
}

fn canceled() -> Story {
    let mut story = Story::awaiting_hold(Kind::Sell);
    story.asked(HoldStatus::Open).says(MAKER, Command::Cancel);
    story
}

fn expired() -> Story {
    let mut story = Story::sell();
    story.scene.now = story.order.terms.expires_at;
    story.wakes();
    story
}

/// An input, the moment it comes at, and what LND answers if it is asked.
struct Case {
    from: &'static str,
    label: String,
    input: Input,
    height: Option<BlockHeight>,
    is_at_tip: bool,
    backlog: Backlog,
    wait: Duration,
    was_ahead: Duration,
    answer: Option<HoldStatus>,
}

/// Where inputs come from that are not people.
const HOLDS: &str = "hold";
const PAYMENTS: &str = "payout";
const TIME: &str = "time";

impl Case {
    fn new(from: &'static str, label: impl Into<String>, input: Input) -> Self {
        let label = label.into();
        Self {
            from,
            label,
            input,
            height: None,
            is_at_tip: true,
            backlog: Backlog::Decided,
            wait: Duration::ZERO,
            was_ahead: Duration::ZERO,
            answer: None,
        }
    }

    fn at(self, height: BlockHeight) -> Self {
        Self { height: Some(height), ..self }
    }

    fn answered(&self, status: HoldStatus) -> Self {
        Self {
            label: format!("{}; LND says {}", self.label, kebab(&status)),
            input: self.input.clone(),
            answer: Some(status),
            ..*self
        }
    }

    fn apply(&self, story: &Story) -> Result<Decision, Undecided> {
        let mut scene = story.scene.clone();
        scene.now = scene.now.after(self.wait);
        scene.now.0 = scene.now.0.saturating_sub_unsigned(self.was_ahead.as_secs());
        scene.height = self.height.unwrap_or(scene.height);
        scene.is_at_tip = self.is_at_tip;
        scene.backlog = self.backlog;
        if let (Some(status), Some(hash)) = (self.answer, story.order.state.hold()) {
            scene.facts = vec![Fact::HoldSeen { hash, status }];
        }
        decide(&story.order, self.input.clone(), &scene.env())
    }
}

fn cases(story: &Story) -> Vec<Case> {
    let mut cases = commands(story);
    cases.extend(news());
    let long = Duration::from_hours(24);
    cases.push(Case { wait: long, ..Case::new(TIME, "a day passes", Input::Deadline) });
    cases.push(Case::new(TIME, "12 blocks before the margin", Input::Deadline).at(WARNING));
    cases.push(Case::new(TIME, "the escrow is at the margin", Input::Deadline).at(GUARD));
    let unread = |label, backlog| Case { backlog, ..Case::new(TIME, label, Input::Deadline) };
    cases.push(
        unread(
            "the escrow is 9 blocks past the margin, messages are still to be read",
            Backlog::Reading,
        )
        .at(GUARD.above(9)),
    );
    cases.push(
        unread(
            "the escrow is 2 blocks past the margin, no relay can be reached",
            Backlog::Unreachable,
        )
        .at(GUARD.above(2)),
    );
    cases.push(
        unread(
            "the escrow is 3 blocks past the margin, no relay can be reached",
            Backlog::Unreachable,
        )
        .at(GUARD.above(3)),
    );
    let gap = Input::ExtendDeadlines { offline_for: Duration::from_hours(1) };
    cases.push(Case::new(TIME, "heard again after an hour", gap));
    let corrected = Case::new(TIME, "the clock was a month ahead", Input::ClockCorrected);
    cases.push(Case { was_ahead: Duration::from_hours(30 * 24), ..corrected });
    cases.into_iter().flat_map(|case| with_answers(story, case)).collect()
}

fn commands(story: &Story) -> Vec<Case> {
    let senders = match story.order.taker {
        Some(_) => vec![("maker", MAKER), ("taker", TAKER), ("stranger", STRANGER)],
        None => vec![("maker", MAKER), ("somebody", TAKER)],
    };
    let take_sell = |destination| Command::TakeSell { destination, secret: secret(2) };
    let commands = [
        ("take-sell", take_sell(None)),
        ("take-sell with an invoice", take_sell(Some(bolt11(2)))),
        ("take-buy", Command::TakeBuy { secret: secret(2) }),
        ("add-invoice", Command::AddInvoice { destination: bolt11(2), secret: secret(2) }),
        ("fiat-sent", Command::FiatSent),
        ("release", Command::Release),
        ("cancel", Command::Cancel),
    ];
    let mut cases = Vec::new();
    for (label, command) in commands {
        for (by, who) in &senders {
            cases.push(Case::new(by, label, request(*who, command.clone())));
        }
    }
    cases
}

fn news() -> Vec<Case> {
    let news =
        |from, label: &str, observation| Case::new(from, label, Input::Lightning(observation));
    let seen = |label, status| news(HOLDS, label, hold(1, status));
    let sent = |label, status| news(PAYMENTS, label, payment(1, status));
    let too_much = HoldStatus::Accepted { paid: Msats(200_600_000), expires_at: EXPIRES_AT };
    let no_route = |index| failed(index, FailureReason::NoRoute);
    let unwanted = failed(1, FailureReason::IncorrectPaymentDetails);
    vec![
        news(HOLDS, "LND has the invoice", opened(1)),
        seen("unknown", HoldStatus::Unknown),
        seen("open", HoldStatus::Open),
        seen("accepted", ACCEPTED),
        seen("accepted with twice the amount", too_much),
        seen("accepted too late", ACCEPTED).at(WARNING),
        Case { is_at_tip: false, ..seen("accepted at an unknown height", ACCEPTED) },
        seen("canceled", HoldStatus::Canceled),
        Case {
            backlog: Backlog::Reading,
            ..seen("canceled while messages are still to be read", HoldStatus::Canceled)
        },
        seen("settled", HoldStatus::Settled),
        news(HOLDS, "one it never had is accepted", hold(7, ACCEPTED)),
        news(PAYMENTS, "no answer", unanswered(1)),
        news(PAYMENTS, "LND refuses the send", refused(1)),
        sent("unknown", PaymentStatus::Unknown),
        sent("1 in flight", PaymentStatus::InFlight { index: 1 }),
        sent("2 in flight", PaymentStatus::InFlight { index: 2 }),
        sent("1 failed without a route", no_route(1)),
        sent("1 refused by the payee", unwanted),
        sent("2 failed without a route", no_route(2)),
        sent("succeeded", SUCCEEDED),
        news(PAYMENTS, "no channel carries 1", htlc_missing()),
        news(PAYMENTS, "one that was given up succeeded", payment(GIVEN_UP, SUCCEEDED)),
    ]
}

/// An input that asks is shown once for every answer.
fn with_answers(story: &Story, case: Case) -> Vec<Case> {
    let Err(Undecided::Ask(_)) = case.apply(story) else { return vec![case] };
    [HoldStatus::Open, ACCEPTED, HoldStatus::Canceled, HoldStatus::Settled, HoldStatus::Unknown]
        .into_iter()
        .map(|status| case.answered(status))
        .collect()
}

fn render() -> String {
    let mut text = PREFACE.to_owned();
    for (title, story) in states() {
        let status = kebab(&story.order.status());
        let public = kebab(&story.order.public_status());
        let heading = format!("\n## {title}\n\nStatus `{status}`, in the book `{public}`.\n\n");
        text.push_str(&heading);
        text.push_str(&section(&story));
    }
    text
}

fn section(story: &Story) -> String {
    let cases = cases(story);
    let mut rows = String::new();
    let mut refused: BTreeMap<String, Inputs> = BTreeMap::new();
    let mut nothing = Inputs::default();
    for case in &cases {
        match case.apply(story) {
            Ok(decision) if decision.is_nothing(&story.order) => nothing.add(case),
            Ok(decision) => {
                let Case { from, label, .. } = case;
                let Decision { order, cause, .. } = &decision;
                assert_eq!(invariants::check(order), Ok(()), "{from}: {label}");
                let done = consequences(story, &decision);
                writeln!(rows, "| {from}: {label} | {} | {cause} | {done} |", place(order))
                    .expect("text grows");
            }
            Err(Undecided::Refused(refusal)) => {
                refused.entry(snake(&refusal)).or_default().add(case);
            }
            Err(Undecided::Ask(question)) => unreachable!("{question:?} was answered"),
        }
    }
    let mut text = String::new();
    if !rows.is_empty() {
        text.push_str("| input | next | rule | what is done |\n| --- | --- | --- | --- |\n");
        text.push_str(&rows);
        text.push('\n');
    }
    for (reason, inputs) in refused {
        writeln!(text, "- Refused, `{reason}`: {}.", inputs.of_people()).expect("text grows");
    }
    writeln!(text, "- Changes nothing: {}.", nothing.of_things(&cases)).expect("text grows");
    text
}

/// Inputs with the same outcome, told in few words.
#[derive(Default)]
struct Inputs(Vec<(&'static str, String)>);

impl Inputs {
    fn add(&mut self, case: &Case) {
        self.0.push((case.from, case.label.clone()));
    }

    /// By command, since who may do what is the question there.
    fn of_people(&self) -> String {
        let mut by_command: Vec<(&str, Vec<&str>)> = Vec::new();
        for (from, label) in &self.0 {
            match by_command.iter_mut().find(|(command, _)| command == label) {
                Some((_, people)) => people.push(from),
                None => by_command.push((label, vec![from])),
            }
        }
        let told = by_command.iter();
        let told = told.map(|(command, people)| format!("{command} ({})", people.join(", ")));
        told.collect::<Vec<_>>().join("; ")
    }

    /// By where it comes from; where all of that changes nothing, it is not listed.
    fn of_things(&self, cases: &[Case]) -> String {
        let mut told = Vec::new();
        for thing in [HOLDS, PAYMENTS, TIME] {
            let labels: Vec<&str> = self
                .0
                .iter()
                .filter(|(from, _)| *from == thing)
                .map(|(_, label)| label.as_str())
                .collect();
            let all = cases.iter().filter(|case| case.from == thing).count();
            if labels.len() == all {
                told.push(format!("any {thing}"));
            } else if !labels.is_empty() {
                told.push(format!("{thing} ({})", labels.join(", ")));
            }
        }
        told.join("; ")
    }
}

fn consequences(story: &Story, decision: &Decision) -> String {
    let lines = lines(decision);
    if !lines.is_empty() {
        return lines.join("<br>");
    }
    let margin = story.scene.policy.escrow_margin;
    let has_moved = decision.order.deadline(margin).at != story.order.deadline(margin).at;
    if has_moved { "the deadline moves".to_owned() } else { "noted".to_owned() }
}
