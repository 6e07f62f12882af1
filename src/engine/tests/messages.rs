use trade::{
    Command, Destination, Input, LnCommand, NewOrder, Notice, Observation, OrderId, OrderState,
    Refusal, Request, Status, Timestamp,
};

use super::{EngineFixture, answers, buyer, invoice, secret, sell_order, seller};
use crate::engine::{Applied, EngineError, Write};
use crate::store::tests::spoken;
use crate::store::{Act, Class, Notification, Transport};

// spec: I7 C25
#[tokio::test]
async fn a_repeated_message_is_acted_on_once() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;
    let delivery = fixture.delivery(buyer().trade);
    let command = Command::TakeSell { destination: None, secret: secret(1) };
    let take = Request { sender: buyer(), request_id: Some(7), command };
    let deliver = || fixture.engine.deliver(delivery, id, take.clone(), answers(None));
    assert_eq!(deliver().await.unwrap(), Applied::Saved);
    let before = fixture.order(id).await;
    fixture.acts().await;

    assert_eq!(deliver().await.unwrap(), Applied::Repeat);

    assert_eq!(fixture.order(id).await, before);
    assert_eq!(fixture.acts().await, [], "and not answered again");
}

// spec: I7
#[tokio::test]
async fn a_refused_message_is_refused_once() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;
    fixture.acts().await;
    let delivery = fixture.delivery(buyer().trade);
    let release = Request { sender: buyer(), request_id: Some(7), command: Command::Release };
    for applied in [Applied::Refused(Refusal::InvalidPeer), Applied::Repeat] {
        let found = fixture.engine.deliver(delivery, id, release.clone(), answers(None)).await;
        assert_eq!(found.unwrap(), applied);
    }

    assert_eq!(fixture.messages(buyer().trade).await.len(), 1);
}

// spec: I7
#[tokio::test]
async fn a_message_is_still_known_after_a_restart() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;
    let delivery = fixture.delivery(buyer().trade);
    let cancel = Request { sender: seller(), request_id: None, command: Command::Cancel };
    fixture.engine.deliver(delivery, id, cancel.clone(), answers(None)).await.unwrap();

    let fixture = fixture.restarted().await;

    let again = fixture.engine.deliver(delivery, id, cancel, answers(None)).await.unwrap();
    assert_eq!(again, Applied::Repeat);
}

// spec: D5
#[tokio::test]
async fn a_message_that_was_ignored_is_not_acted_on_later() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;
    let delivery = fixture.delivery(seller().trade);
    let cancel = Request { sender: seller(), request_id: None, command: Command::Cancel };

    fixture.engine.write(Write::Disregard(delivery)).await.unwrap();

    let later = fixture.engine.deliver(delivery, id, cancel, answers(None)).await.unwrap();
    assert_eq!(later, Applied::Repeat);
}

// spec: D14
#[tokio::test]
async fn a_refusal_echoes_the_request_and_the_order() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;
    fixture.say(buyer(), id, Command::FiatSent).await;

    let notice = Notice::CantDo(Refusal::InvalidOrderStatus);
    let refused = spoken(&notice, Some(id), Some(77), None);
    assert_eq!(fixture.messages(buyer().trade).await, [refused]);
}

#[tokio::test]
async fn an_order_that_does_not_exist_is_not_found() {
    let fixture = EngineFixture::new().await;
    let made_up = OrderId([99; 16]);

    let applied = fixture.say(buyer(), made_up, Command::Release).await;

    assert_eq!(applied, Applied::Refused(Refusal::NotFound));
    let refused = spoken(&Notice::CantDo(Refusal::NotFound), Some(made_up), Some(77), None);
    assert_eq!(fixture.messages(buyer().trade).await, [refused]);
}

#[tokio::test]
async fn an_observation_of_an_unknown_order_is_an_error() {
    let fixture = EngineFixture::new().await;
    let error = fixture.engine.apply(OrderId([99; 16]), Input::Deadline).await.unwrap_err();
    assert!(matches!(error, EngineError::NoSuchOrder(_)), "{error}");
}

// spec: D18 D22 T1
#[tokio::test]
async fn one_message_creates_at_most_one_order() {
    let fixture = EngineFixture::new().await;
    let delivery = fixture.delivery(seller().trade);
    let create =
        |n| fixture.engine.create(delivery, OrderId([n; 16]), seller(), Some(3), sell_order());
    assert_eq!(create(1).await.unwrap(), Applied::Saved);
    assert_eq!(create(2).await.unwrap(), Applied::Repeat);

    assert!(fixture.reader.find_order(OrderId([2; 16])).await.unwrap().is_none());
    let created = fixture.messages(seller().trade).await;
    assert_eq!(created.len(), 1);
    assert!(created[0].starts_with("NewOrder(") && created[0].contains(" Some(3) "), "{created:?}");
}

// spec: D19
#[tokio::test]
async fn an_order_that_is_refused_is_answered_without_an_id() {
    let fixture = EngineFixture::new().await;
    let delivery = fixture.delivery(seller().trade);
    let free = NewOrder { fiat_amount: 0, ..sell_order() };

    let applied =
        fixture.engine.create(delivery, OrderId([1; 16]), seller(), Some(3), free).await.unwrap();

    assert_eq!(applied, Applied::Refused(Refusal::InvalidAmount));
    let refused = spoken(&Notice::CantDo(Refusal::InvalidAmount), None, Some(3), None);
    assert_eq!(fixture.messages(seller().trade).await, [refused]);
    assert!(fixture.reader.find_order(OrderId([1; 16])).await.unwrap().is_none());
}

// spec: D19
#[tokio::test]
async fn an_answer_without_an_order_is_stored_once() {
    let fixture = EngineFixture::new().await;
    let delivery = fixture.delivery(buyer().trade);
    let notice = Notice::CantDo(Refusal::InvalidAction);
    let to = buyer().trade;
    let words = spoken(&notice, None, Some(5), None);
    let answer = Notification { to, order: None, request_id: Some(5), trade_index: None, notice };
    for applied in [Applied::Saved, Applied::Repeat] {
        assert_eq!(fixture.engine.answer(delivery, answer.clone()).await.unwrap(), applied);
    }

    assert_eq!(fixture.messages(buyer().trade).await, [words]);
}

// spec: D4
#[tokio::test]
async fn an_answer_uses_the_transport_of_the_message() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;
    fixture.say(buyer(), id, Command::Release).await;

    let transport = fixture.reader.find_transport(buyer().trade).await.unwrap();

    assert_eq!(transport, Some(Transport::Nip44));
}

// spec: C26 K-24
#[tokio::test]
async fn an_invoice_of_another_running_order_is_refused() {
    let fixture = EngineFixture::new().await;
    fixture.awaiting_hold(1).await;
    let second = fixture.create(2).await;
    let taken = Some(Destination::Bolt11(invoice(101)));
    let other = trade::Sender { trade: trade::TradeKey([9; 32]), ..buyer() };
    let other = trade::Sender { identity: trade::IdentityKey([109; 32]), ..other };

    let take = Command::TakeSell { destination: taken, secret: secret(2) };

    assert_eq!(fixture.say(other, second, take).await, Applied::Refused(Refusal::InvalidInvoice));
}

// spec: C1
#[tokio::test]
async fn the_second_taker_comes_too_late() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;
    let take = |n| Command::TakeSell { destination: None, secret: secret(n) };
    let late = trade::Sender {
        trade: trade::TradeKey([9; 32]),
        identity: trade::IdentityKey([109; 32]),
        trade_index: Some(1),
    };
    assert_eq!(fixture.say(buyer(), id, take(1)).await, Applied::Saved);

    let applied = fixture.say(late, id, take(2)).await;

    assert_eq!(applied, Applied::Refused(Refusal::InvalidOrderStatus));
    assert_eq!(fixture.order(id).await.taker.map(|taker| taker.trade), Some(buyer().trade));
}

// spec: INV-6
#[tokio::test]
async fn an_act_is_marked_done_in_the_commit_of_its_result() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;
    let destination = Some(Destination::Bolt11(invoice(101)));
    fixture.say(buyer(), id, Command::TakeSell { destination, secret: secret(1) }).await;
    let limits = [(Class::Lightning, 10)];
    let due = fixture.reader.list_acts_due(Timestamp(i64::MAX), &limits).await.unwrap();
    let adds = |act: &Act| matches!(act, Act::Lightning(LnCommand::AddHold { .. }));
    let add = due.into_iter().map(|due| due.act.unwrap()).find(|row| adds(&row.act)).unwrap();
    let opened = Observation::HoldOpened { hash: secret(1).hash, bolt11: "lnbcrt1hold".to_owned() };

    let applied = fixture.engine.finish_act(add.id, Some(Input::Lightning(opened))).await.unwrap();

    assert_eq!(applied, Applied::Saved);
    assert!(matches!(fixture.order(id).await.state, OrderState::AwaitingHold { .. }));
    assert!(!fixture.acts().await.iter().any(|row| row.id == add.id), "done");
}

// spec: T21
#[tokio::test]
async fn a_failure_is_signaled_before_the_answer_is_returned() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;
    let mut commits = fixture.engine.commits();
    commits.mark_unchanged();

    fixture.say(seller(), id, Command::Cancel).await;

    assert!(commits.has_changed().unwrap());
    assert_eq!(fixture.order(id).await.status(), Status::Canceled);
}
