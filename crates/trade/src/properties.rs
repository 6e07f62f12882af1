//! Laws of all decisions, asked of random lives of an order.
//!
//! Inputs come from everywhere and in any order: a property that holds here holds on replay.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use crate::fixture::{
    ACCEPTED, EXPIRES_AT, GUARD, MAKER, OWED, STRANGER, Scene, Story, TAKER, TIP, WARNING, bolt11,
    failed, hold, opened, payment, refused, request, secret, unanswered,
};
use crate::{
    Account, Alarm, Backlog, BlockHeight, Command, Decision, Destination, Effect, Fact,
    FailureReason, FrozenBecause, Hold, HoldDecision, HoldStatus, Input, Kind, LedgerAccount,
    LnCommand, Msats, Notice, Observation, Order, OrderState, Outcome, Party, PaymentHash,
    PaymentStatus, PayoutPurpose, Posting, Preimage, Request, Sender, Status, TradeKey, decide,
    invariants,
};

/// One event in the life of an order.
#[derive(Debug, Clone)]
struct Event {
    input: Input,
    wait: Duration,
    height: BlockHeight,
    /// What LND says of every hold, if it is asked.
    fact: Option<HoldStatus>,
    account: Account,
    hash_is_known: bool,
    is_at_tip: bool,
    backlog: Backlog,
}

/// An order's life: what was decided, and on what.
struct Life {
    story: Story,
    decisions: Vec<(Order, Decision)>,
    /// Drawn anew for every command, as the shell does.
    secret: u8,
    attempted: BTreeSet<PaymentHash>,
}

impl Life {
    fn begin(story: Story) -> Self {
        Self { story, decisions: Vec::new(), secret: 1, attempted: BTreeSet::new() }
    }

    fn whole(story: Story, events: &[Event]) -> Self {
        let mut life = Self::begin(story);
        for event in events {
            life.goes_on(event);
        }
        life
    }

    /// Whether there was a decision. A refusal or a question cannot change an order: `decide` only
    /// reads it.
    fn goes_on(&mut self, event: &Event) -> bool {
        let input = self.drawn(event.input.clone());
        self.story.scene = self.scene(event);
        let decided = decide(&self.story.order, input, &self.story.scene.env());
        let Ok(decision) = decided else { return false };
        self.decisions.push((self.story.order.clone(), decision.clone()));
        self.attempted.extend(newest(&decision.order));
        self.story.commit(&decision);
        true
    }

    fn drawn(&mut self, mut input: Input) -> Input {
        if let Input::User(Request { command, .. }) = &mut input
            && let Command::TakeSell { secret, .. }
            | Command::TakeBuy { secret }
            | Command::AddInvoice { secret, .. } = command
        {
            self.secret = self.secret.saturating_add(1);
            *secret = crate::fixture::secret(self.secret);
        }
        input
    }

    fn scene(&self, event: &Event) -> Scene {
        let Story { order, scene, .. } = &self.story;
        let seen = |hold: &Hold, status| Fact::HoldSeen { hash: hold.hash, status };
        let facts = event.fact.map(|is| order.holds.iter().map(|hold| seen(hold, is)).collect());
        let is_older = destination(&event.input)
            .is_some_and(|hash| self.attempted.contains(&hash) && newest(order) != Some(hash));
        Scene {
            now: scene.now.after(event.wait),
            height: scene.height.max(event.height),
            facts: facts.unwrap_or_default(),
            is_at_tip: event.is_at_tip,
            backlog: event.backlog,
            account: event.account,
            payout_hash_is_known: event.hash_is_known || is_older,
            ..scene.clone()
        }
    }
}

fn newest(order: &Order) -> Option<PaymentHash> {
    let attempt = order.payout(PayoutPurpose::Buyer)?.attempt.as_ref()?;
    Some(attempt.hash)
}

fn destination(input: &Input) -> Option<PaymentHash> {
    let Input::User(Request { command: Command::AddInvoice { destination, .. }, .. }) = input
    else {
        return None;
    };
    match destination {
        Destination::Bolt11(invoice) => Some(invoice.hash),
        Destination::Unsupported => None,
    }
}

fn senders() -> impl Strategy<Value = Sender> {
    prop_oneof![4 => Just(MAKER), 4 => Just(TAKER), 1 => Just(STRANGER)]
}

fn seeds() -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(1_u8), 1 => 2..5_u8]
}

fn commands() -> impl Strategy<Value = Command> {
    let secret = secret(1);
    (1..3_u8, any::<bool>(), 0..6).prop_map(move |(to, has_invoice, which)| match which {
        0 => Command::TakeSell { destination: has_invoice.then(|| bolt11(to)), secret },
        1 => Command::TakeBuy { secret },
        2 => Command::AddInvoice { destination: bolt11(to), secret },
        3 => Command::FiatSent,
        4 => Command::Release,
        _ => Command::Cancel,
    })
}

fn hold_statuses() -> impl Strategy<Value = HoldStatus> {
    let too_much = HoldStatus::Accepted { paid: Msats(200_000_000), expires_at: EXPIRES_AT };
    let too_late = HoldStatus::Accepted { paid: crate::fixture::ASKED, expires_at: TIP };
    prop_oneof![
        2 => Just(HoldStatus::Open),
        6 => Just(ACCEPTED),
        3 => Just(HoldStatus::Settled),
        2 => Just(HoldStatus::Canceled),
        1 => Just(HoldStatus::Unknown),
        1 => Just(too_much),
        1 => Just(too_late),
    ]
}

fn payment_statuses() -> impl Strategy<Value = PaymentStatus> {
    let receipt = Preimage([7; 32]);
    (0..4_u64, any::<bool>(), 0..5).prop_map(move |(index, is_refused, which)| match which {
        0 => PaymentStatus::Unknown,
        1 => PaymentStatus::InFlight { index },
        2 => PaymentStatus::Succeeded { index, receipt, fee: Msats(index) },
        _ if is_refused => failed(index, FailureReason::IncorrectPaymentDetails),
        _ => failed(index, FailureReason::NoRoute),
    })
}

fn observations() -> impl Strategy<Value = Observation> {
    prop_oneof![
        2 => seeds().prop_map(opened),
        4 => (seeds(), hold_statuses()).prop_map(|(of, status)| hold(of, status)),
        1 => (1..3_u8).prop_map(unanswered),
        1 => (1..3_u8).prop_map(refused),
        4 => (1..3_u8, payment_statuses()).prop_map(|(of, status)| payment(of, status)),
    ]
}

fn inputs() -> impl Strategy<Value = Input> {
    let gap = (0..2_000_u64).prop_map(Duration::from_secs);
    prop_oneof![
        6 => (senders(), commands()).prop_map(|(who, command)| request(who, command)),
        6 => observations().prop_map(Input::Lightning),
        2 => Just(Input::Deadline),
        1 => gap.prop_map(|offline_for| Input::ExtendDeadlines { offline_for }),
        1 => Just(Input::ClockCorrected),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    let heights = prop_oneof![30 => Just(TIP), 1 => Just(WARNING), 1 => Just(GUARD)];
    let waits = prop_oneof![8 => Just(0), 3 => 1..70_u64, 1 => 1..90_000_u64];
    let facts = prop_oneof![1 => Just(None), 3 => hold_statuses().prop_map(Some)];
    let last_index = prop_oneof![3 => Just(None), 1 => (0..12_i64).prop_map(Some)];
    (inputs(), waits, heights, facts, last_index, 0..12).prop_map(
        |(input, wait, height, fact, last_index, rare)| Event {
            input,
            wait: Duration::from_secs(wait),
            height,
            fact,
            account: Account { last_index, is_banned: rare == 0, has_duty: rare == 1 },
            hash_is_known: rare == 2,
            is_at_tip: rare != 3,
            backlog: match rare {
                4 => Backlog::Reading,
                5 => Backlog::Unreachable,
                _ => Backlog::Decided,
            },
        },
    )
}

/// Orders that are somewhere already: random words alone rarely come far.
fn stories() -> impl Strategy<Value = Story> {
    (0..11).prop_map(|which| match which {
        0 => Story::sell(),
        1 => Story::buy(),
        2 => Story::buy_with_invoice(),
        3 => Story::sell().taken(),
        4 => Story::sell_awaiting_invoice(),
        5 => Story::buy_awaiting_invoice(),
        6 => Story::awaiting_hold(Kind::Sell),
        7 => Story::active(Kind::Buy),
        8 => Story::fiat_sent(Kind::Sell),
        9 => Story::settling(Kind::Buy),
        _ => Story::paying(Kind::Sell),
    })
}

fn lives() -> impl Strategy<Value = (Story, Vec<Event>)> {
    (stories(), prop::collection::vec(events(), 1..20))
}

/// Debits less credits of each account.
fn balances<'a>(postings: impl Iterator<Item = &'a Posting>) -> BTreeMap<LedgerAccount, i128> {
    let mut balances = BTreeMap::new();
    for Posting { debit, credit, amount } in postings {
        let amount = i128::from(amount.0);
        for (account, amount) in [(*debit, amount), (*credit, amount.saturating_neg())] {
            let balance: &mut i128 = balances.entry(account).or_default();
            *balance = balance.saturating_add(amount);
        }
    }
    balances
}

/// The graph of behaviour §2.2, without what is not built.
fn may_follow(from: Status, to: Status) -> bool {
    use Status::{
        Active, Canceled, Expired, FiatSent, Pending, SettledHoldInvoice, Success,
        WaitingBuyerInvoice, WaitingPayment,
    };
    from == to
        || matches!(
            (from, to),
            (Pending, WaitingBuyerInvoice | WaitingPayment | Canceled | Expired)
                | (WaitingBuyerInvoice, WaitingPayment | Active | Pending | Canceled)
                | (WaitingPayment, Active | WaitingBuyerInvoice | Pending | Canceled)
                | (Active, FiatSent | Canceled)
                | (FiatSent, SettledHoldInvoice)
                | (SettledHoldInvoice, Success)
        )
}

/// The request that is answered when LND has spoken.
fn waiting_request(order: &Order) -> Option<u64> {
    match &order.state {
        OrderState::PreparingHold(preparing) => preparing.request_id,
        OrderState::Settling { request_id, .. } => *request_id,
        _ => None,
    }
}

/// Who may read a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Buyer,
    Seller,
    Maker,
    /// Either party, and a party that is none any more.
    Party,
    /// Whoever asked, party or not.
    Requester,
}

fn reader(notice: &Notice) -> Reader {
    match notice {
        Notice::AddInvoice(_)
        | Notice::AddInvoiceReputation(_)
        | Notice::WaitingSellerToPay
        | Notice::HoldInvoicePaymentAccepted(_)
        | Notice::Released
        | Notice::PurchaseCompleted
        | Notice::PaymentFailed { .. }
        | Notice::InvoiceUpdated => Reader::Buyer,
        Notice::PayInvoice { .. }
        | Notice::PayInvoiceReputation(_)
        | Notice::WaitingBuyerInvoice
        | Notice::BuyerTookOrder(_)
        | Notice::HoldInvoicePaymentSettled => Reader::Seller,
        Notice::NewOrder(_) => Reader::Maker,
        Notice::FiatSentOk { .. }
        | Notice::HoldInvoicePaymentCanceled
        | Notice::Rate
        | Notice::Canceled => Reader::Party,
        Notice::CantDo(_) => Reader::Requester,
    }
}

/// Whether `to` is who should read it, in the order as it was or as it is now.
fn is_for(notice: &Notice, to: TradeKey, asked: Option<TradeKey>, orders: [&Order; 2]) -> bool {
    let is = |party: fn(&Order) -> Option<&Party>| {
        orders.iter().any(|order| party(order).is_some_and(|party| party.trade == to))
    };
    let is_party = is(|order| Some(&order.maker)) || is(|order| order.taker.as_ref());
    match reader(notice) {
        Reader::Buyer => is(Order::buyer),
        Reader::Seller => is(Order::seller),
        Reader::Maker => is(|order| Some(&order.maker)),
        Reader::Party => is_party,
        Reader::Requester => is_party || asked == Some(to),
    }
}

/// Whether a command to LND and what is saved with it say the same.
fn fits(command: &LnCommand, order: &Order) -> bool {
    let decision = order.hold(command.hash()).map(|hold| hold.decision);
    match command {
        LnCommand::AddHold { .. } => decision == Some(None),
        LnCommand::EndHold { hash } => match decision {
            Some(Some(HoldDecision::Settle)) => {
                matches!(&order.state, OrderState::Settling { held, .. } if held.hash == *hash)
            }
            Some(Some(HoldDecision::Cancel)) => order.state.hold() != Some(*hash),
            Some(None) | None => false,
        },
        LnCommand::SendPayout { hash } => newest(order) == Some(*hash),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    // spec: I6 I11 INV-3 INV-4
    #[test]
    fn no_life_breaks_a_law_or_leaves_the_graph((story, events) in lives()) {
        let life = Life::whole(story, &events);

        for (before, Decision { order: after, cause, .. }) in &life.decisions {
            prop_assert_eq!(invariants::check(after), Ok(()));
            let (from, to) = (before.status(), after.status());
            prop_assert!(may_follow(from, to), "{:?} to {:?} by {}", from, to, cause);
            prop_assert!(!before.state.is_final() || before.state == after.state);
        }
    }

    // spec: C9 C19 I7 INV-2
    #[test]
    fn an_observation_applied_twice_is_applied_once((story, events) in lives()) {
        let mut life = Life::begin(story);
        for event in events {
            let is_news = matches!(event.input, Input::Lightning(_));
            if !life.goes_on(&event) || !is_news {
                continue;
            }
            let once = life.story.order.clone();
            let again = Event { wait: Duration::ZERO, ..event };
            if life.goes_on(&again) {
                let Decision { order, effects, postings, .. } = &life.story.last;
                prop_assert_eq!(order, &once);
                // A debt that was paid twice is cried out whenever LND tells of it.
                let paid_twice = [Effect::Alarm(Alarm::Frozen(FrozenBecause::PaidThoughGivenUp))];
                let is_nothing = effects.is_empty() || *effects == paid_twice;
                prop_assert!(is_nothing && postings.is_empty(), "{:?}", effects);
            }
        }
    }

    // spec: I1 INV-2
    #[test]
    fn money_neither_appears_nor_vanishes((story, events) in lives()) {
        // A story that begins as settled has its income behind it.
        let begun = story.last.postings.clone();
        let life = Life::whole(story, &events);

        let postings = life.decisions.iter().flat_map(|(_, decision)| &decision.postings);
        let balances = balances(begun.iter().chain(postings));
        prop_assert_eq!(balances.values().sum::<i128>(), 0);
        let Order { state, payouts, .. } = &life.story.order;
        let is_owed = !payouts.is_empty() && *state != OrderState::Ended(Outcome::Success);
        let expected = OWED.to_msats().filter(|_| is_owed).unwrap_or_default();
        let owed = balances.get(&LedgerAccount::Buyer).copied().unwrap_or_default();
        prop_assert_eq!(owed.saturating_neg(), i128::from(expected.0));
    }

    // spec: E1 E2 INV-4 P1
    #[test]
    fn what_lnd_is_told_is_saved_with_it_and_never_changes((story, events) in lives()) {
        let life = Life::whole(story, &events);

        for (before, Decision { order, effects, .. }) in &life.decisions {
            for hold in &before.holds {
                let after = order.hold(hold.hash).expect("no decision drops a hold");
                prop_assert!(hold.decision.is_none() || hold.decision == after.decision);
                prop_assert!(hold.bolt11.is_none() || hold.bolt11 == after.bolt11);
                prop_assert_eq!(hold.preimage, after.preimage);
            }
            for effect in effects {
                let Effect::Lightning(command) = effect else { continue };
                prop_assert!(fits(command, order), "{:?}", command);
            }
        }
    }

    // spec: K-25 D14
    #[test]
    fn only_the_requester_reads_its_request_id((story, events) in lives()) {
        let mut life = Life::begin(story);
        for event in events {
            let asked = match &event.input {
                Input::User(request) => Some((request.sender.trade, request.request_id)),
                _ => None,
            };
            let waited = waiting_request(&life.story.order);
            if !life.goes_on(&event) {
                continue;
            }
            for effect in &life.story.last.effects {
                let Effect::Notify { to, request_id: Some(id), .. } = effect else { continue };
                prop_assert!(asked == Some((*to, Some(*id))) || waited == Some(*id));
            }
        }
    }

    // spec: D14 T32
    #[test]
    fn every_notice_goes_to_the_party_it_is_for((story, events) in lives()) {
        let mut life = Life::begin(story);
        for event in events {
            let asked = match &event.input {
                Input::User(request) => Some(request.sender.trade),
                _ => None,
            };
            let before = life.story.order.clone();
            if !life.goes_on(&event) {
                continue;
            }
            let Decision { order: after, effects, .. } = &life.story.last;
            for effect in effects {
                let Effect::Notify { to, notice, .. } = effect else { continue };
                let orders = [&before, after];
                prop_assert!(
                    is_for(notice, *to, asked, orders),
                    "{:?} is for the {:?}, and went to {:?}", notice, reader(notice), to
                );
                if let Notice::FiatSentOk { peer } = notice {
                    let parties = [after.maker, after.taker.expect("a trade has a taker")];
                    prop_assert!(peer != to && parties.iter().any(|party| party.trade == *peer));
                }
            }
        }
    }
}
