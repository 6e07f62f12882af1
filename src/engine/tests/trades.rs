use std::time::Duration;

use trade::{
    Command, Destination, FailureReason, HoldDecision, HoldStatus, Input, LnCommand, Msats, Notice,
    Observation, OrderState, Outcome, PaymentStatus, PayoutState, Preimage, Refusal, Sender,
    Status, Timestamp,
};

use super::{EngineFixture, PAID, START, answers, buyer, invoice, secret, seller};
use crate::clock::Clock as _;
use crate::engine::{Applied, is_reachable};
use crate::store::tests::spoken;
use crate::store::{Act, OutboxRow};

fn is_send(row: &OutboxRow) -> bool {
    matches!(row.act, Act::Lightning(LnCommand::SendPayout { .. }))
}

// spec: T1 T8 T10 T24 T29 T32 I1
#[tokio::test]
async fn a_trade_goes_from_the_book_to_success() {
    let fixture = EngineFixture::new().await;
    let id = fixture.awaiting_hold(1).await;
    let hold = secret(1).hash;

    let seen = |status| Observation::Hold { hash: hold, status };
    assert_eq!(fixture.lnd_says(id, seen(PAID)).await, Applied::Saved);
    assert_eq!(fixture.say(buyer(), id, Command::FiatSent).await, Applied::Saved);
    assert_eq!(fixture.say(seller(), id, Command::Release).await, Applied::Saved);
    assert_eq!(fixture.lnd_says(id, seen(HoldStatus::Settled)).await, Applied::Saved);
    if fixture.payout(id).await.state != PayoutState::Sending {
        fixture.engine.apply(id, Input::Deadline).await.unwrap();
    }
    assert!(fixture.acts().await.iter().any(is_send));
    let payout = fixture.payout(id).await.attempt.unwrap();
    let status =
        PaymentStatus::Succeeded { index: 1, receipt: Preimage([8; 32]), fee: Msats(1_500) };
    fixture.lnd_says(id, Observation::Payment { hash: payout.hash, status }).await;

    let order = fixture.order(id).await;
    assert_eq!(order.state, OrderState::Ended(Outcome::Success));
    let messages = [Notice::PurchaseCompleted, Notice::Rate];
    let messages = messages.map(|notice| spoken(&notice, Some(id), None, None));
    assert_eq!(fixture.messages(buyer().trade).await, messages);
    let balances = fixture.reader.balances().await.unwrap();
    assert_eq!(balances.values().sum::<i64>(), 0);
    assert_eq!(balances["buyer"], 0, "the debt is paid");
    assert_eq!(balances["fee-income"], -2_000_000);
    assert_eq!(balances["routing-fees"], 1_500);
    assert_eq!(balances["lightning"], 2_000_000 - 1_500);
}

// spec: P1 P7
#[tokio::test]
async fn a_send_starts_only_while_its_attempt_is_open() {
    let fixture = EngineFixture::new().await;
    let id = fixture.awaiting_hold(1).await;
    let seen = |status| Observation::Hold { hash: secret(1).hash, status };
    fixture.lnd_says(id, seen(PAID)).await;
    fixture.say(buyer(), id, Command::FiatSent).await;
    fixture.say(seller(), id, Command::Release).await;
    fixture.lnd_says(id, seen(HoldStatus::Settled)).await;
    let hash = fixture.payout(id).await.attempt.unwrap().hash;
    let send = fixture.acts().await.into_iter().find(is_send).unwrap().id;
    let begin = || fixture.engine.begin_payout(send, id, hash);
    let failed = PaymentStatus::Failed { index: 1, reason: FailureReason::NoRoute };

    assert_eq!(begin().await.unwrap(), Applied::Saved);
    fixture.lnd_says(id, Observation::PayoutUnanswered { hash }).await;
    assert_eq!(begin().await.unwrap(), Applied::Unchanged, "it is asked about now");
    fixture.lnd_says(id, Observation::Payment { hash, status: failed }).await;
    assert_eq!(begin().await.unwrap(), Applied::Unchanged, "it has failed");
    fixture.clock.advance(Duration::from_hours(1));
    fixture.engine.apply(id, Input::Deadline).await.unwrap();
    assert_eq!(begin().await.unwrap(), Applied::Saved, "it is another try");
}

// spec: E1
#[tokio::test]
async fn the_preimage_is_on_disk_before_lnd_is_called() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;
    let destination = Some(Destination::Bolt11(invoice(101)));
    fixture.say(buyer(), id, Command::TakeSell { destination, secret: secret(1) }).await;

    let acts = fixture.acts().await;
    let adds = |row: &&OutboxRow| matches!(row.act, Act::Lightning(LnCommand::AddHold { .. }));
    assert_eq!(acts.iter().filter(adds).count(), 1);
    let hold = fixture.reader.find_hold(secret(1).hash).await.unwrap().unwrap();
    assert!(hold.preimage == secret(1).preimage);
}

// spec: D8 D16
#[tokio::test]
async fn a_release_is_an_intent_with_its_decision_and_its_act() {
    let fixture = EngineFixture::new().await;
    let id = fixture.awaiting_hold(1).await;
    let paid = Observation::Hold { hash: secret(1).hash, status: PAID };
    fixture.lnd_says(id, paid).await;
    fixture.say(buyer(), id, Command::FiatSent).await;
    fixture.acts().await;

    fixture.say(seller(), id, Command::Release).await;

    let order = fixture.order(id).await;
    assert!(matches!(order.state, OrderState::Settling { .. }));
    assert_eq!(order.holds[0].decision, Some(HoldDecision::Settle));
    let acts: Vec<_> = fixture.acts().await.into_iter().map(|row| row.act).collect();
    assert_eq!(acts, [Act::Lightning(LnCommand::EndHold { hash: secret(1).hash })]);
}

// spec: C16 I7
#[tokio::test]
async fn a_second_release_is_refused_and_changes_nothing() {
    let fixture = EngineFixture::new().await;
    let id = fixture.awaiting_hold(1).await;
    fixture.lnd_says(id, Observation::Hold { hash: secret(1).hash, status: PAID }).await;
    fixture.say(buyer(), id, Command::FiatSent).await;
    fixture.say(seller(), id, Command::Release).await;
    let before = fixture.order(id).await;

    let again = fixture.say(seller(), id, Command::Release).await;

    assert_eq!(again, Applied::Refused(Refusal::NotAllowedByStatus));
    assert_eq!(fixture.order(id).await, before);
}

// spec: C9
#[tokio::test]
async fn a_repeated_observation_changes_nothing() {
    let fixture = EngineFixture::new().await;
    let id = fixture.awaiting_hold(1).await;
    let paid = || Observation::Hold { hash: secret(1).hash, status: PAID };
    fixture.lnd_says(id, paid()).await;
    let before = fixture.order(id).await;
    fixture.acts().await;

    assert_eq!(fixture.lnd_says(id, paid()).await, Applied::Unchanged);

    assert_eq!(fixture.order(id).await, before);
    assert_eq!(fixture.acts().await, []);
}

// spec: C6
#[tokio::test]
async fn a_cancel_of_a_paid_hold_is_refused_and_the_hold_accepted() {
    let fixture = EngineFixture::new().await;
    let id = fixture.awaiting_hold(1).await;
    fixture.acts().await;

    assert_eq!(fixture.say_while(buyer(), id, Command::Cancel, Some(PAID)).await, Applied::Saved);

    assert_eq!(fixture.order(id).await.status(), Status::Active);
    let messages = fixture.messages(buyer().trade).await;
    let refused = Notice::CantDo(Refusal::NotAllowedByStatus);
    assert_eq!(messages[0], spoken(&refused, Some(id), Some(77), None));
    assert!(messages[1].starts_with("HoldInvoicePaymentAccepted("), "{messages:?}");
}

// spec: C6 D9
#[tokio::test]
async fn a_cancel_is_refused_while_lnd_does_not_answer() {
    let fixture = EngineFixture::new().await;
    let id = fixture.awaiting_hold(1).await;
    let before = fixture.order(id).await;
    fixture.acts().await;

    let applied = fixture.say_while(buyer(), id, Command::Cancel, None).await;

    assert_eq!(applied, Applied::Refused(Refusal::NotAllowedByStatus));
    assert_eq!(fixture.order(id).await, before);
    let refused = Notice::CantDo(Refusal::NotAllowedByStatus);
    let refused = spoken(&refused, Some(id), Some(77), None);
    assert_eq!(fixture.messages(buyer().trade).await, [refused]);
}

// spec: C7
#[tokio::test]
async fn a_timeout_waits_while_lnd_does_not_answer() {
    let fixture = EngineFixture::new().await;
    let id = fixture.awaiting_hold(1).await;
    let before = fixture.order(id).await;
    fixture.clock.advance(Duration::from_secs(901));

    let Applied::Asks(question) = fixture.engine.apply(id, Input::Deadline).await.unwrap() else {
        panic!("it asks LND");
    };
    let ask = |lnd| fixture.engine.apply_asking(id, Input::Deadline, question, answers(lnd));

    assert_eq!(ask(None).await.unwrap(), Applied::Asks(question));
    assert_eq!(fixture.order(id).await, before);
    assert_eq!(ask(Some(HoldStatus::Open)).await.unwrap(), Applied::Saved);
    assert_eq!(fixture.order(id).await.status(), Status::Canceled, "the maker did not pay");
}

// spec: D22 K-03
#[tokio::test]
async fn a_refused_request_costs_no_trade_index() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;
    let wrong = Command::TakeBuy { secret: secret(1) };
    let taker = Sender { trade_index: Some(5), ..buyer() };
    assert_eq!(fixture.say(taker, id, wrong).await, Applied::Refused(Refusal::InvalidOrderKind));

    let right = Command::TakeSell { destination: None, secret: secret(1) };
    assert_eq!(fixture.say(taker, id, right).await, Applied::Saved);
}

// spec: D22 K-01
#[tokio::test]
async fn a_trade_index_is_consumed_by_the_request_that_changed_the_order() {
    let fixture = EngineFixture::new().await;
    let first = fixture.create(1).await;
    let second = fixture.create(2).await;
    let take = |n| Command::TakeSell { destination: None, secret: secret(n) };
    fixture.say(buyer(), first, take(1)).await;
    fixture.say(buyer(), first, Command::Cancel).await;

    let again = fixture.say(buyer(), second, take(2)).await;

    assert_eq!(again, Applied::Refused(Refusal::InvalidTradeIndex));
}

// spec: D17
#[tokio::test]
async fn a_trade_index_is_returned_when_lnd_was_too_slow() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;
    let take = |n| Command::TakeSell {
        destination: Some(Destination::Bolt11(invoice(100 + n))),
        secret: secret(n),
    };
    fixture.say(buyer(), id, take(1)).await;
    fixture.clock.advance(Duration::from_secs(8));
    fixture.engine.apply(id, Input::Deadline).await.unwrap();
    assert_eq!(fixture.order(id).await.status(), Status::Pending);

    assert_eq!(fixture.say(buyer(), id, take(2)).await, Applied::Saved, "with the same index");
    let debts = fixture.order(id).await.holds;
    assert_eq!(debts[0].decision, Some(HoldDecision::Cancel), "the first hold is given back");
}

// spec: D5
#[tokio::test]
async fn waiting_deadlines_are_extended_by_the_unreachable_time() {
    let fixture = EngineFixture::new().await;
    let waiting = fixture.awaiting_hold(1).await;
    let pending = fixture.create(2).await;
    fixture.clock.advance(Duration::from_secs(10));
    fixture.engine.relays_reachable().await.unwrap();
    assert_eq!(until(&fixture, waiting).await, START.after(Duration::from_mins(15)));

    fixture.clock.advance(Duration::from_mins(10));
    fixture.engine.relays_reachable().await.unwrap();

    assert_eq!(until(&fixture, waiting).await, START.after(Duration::from_mins(25)));
    let book_end = START.after(Duration::from_hours(24));
    assert_eq!(fixture.order(pending).await.terms.expires_at, book_end, "the book does not wait");
}

// spec: D5
#[tokio::test]
async fn downtime_of_the_daemon_counts_as_unreachable() {
    let fixture = EngineFixture::new().await;
    let waiting = fixture.awaiting_hold(1).await;
    fixture.clock.advance(Duration::from_hours(1));
    let fixture = fixture.restarted().await;
    let due = async || {
        let (now, state) = (fixture.clock.now(), fixture.reader.daemon_state().await.unwrap());
        let is_reachable = is_reachable(&state, now);
        fixture.reader.list_due(now, super::HEIGHT, is_reachable, 10).await.unwrap()
    };
    assert_eq!(due().await, [], "no message could arrive");

    fixture.engine.relays_reachable().await.unwrap();

    assert_eq!(due().await, [], "and there is as much time left as there was");
    assert_eq!(until(&fixture, waiting).await, START.after(Duration::from_mins(75)));
}

// spec: D5 D24
#[tokio::test]
async fn a_short_clock_error_is_not_counted_as_downtime() {
    let fixture = EngineFixture::new().await;
    let waiting = fixture.awaiting_hold(1).await;
    let before = until(&fixture, waiting).await;
    let right = fixture.clock.now();

    fixture.clock.set(right.after(Duration::from_hours(72)));
    fixture.engine.relays_reachable().await.unwrap();
    fixture.clock.set(right);
    fixture.engine.relays_reachable().await.unwrap();

    assert_eq!(until(&fixture, waiting).await, before);
}

async fn until(fixture: &EngineFixture, id: trade::OrderId) -> Timestamp {
    match fixture.order(id).await.state {
        OrderState::AwaitingHold { until, .. } => until,
        other => panic!("not waiting: {other:?}"),
    }
}
