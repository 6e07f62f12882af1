use std::sync::Arc;

use futures::future::join_all;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use trade::{Command, Input, Notice, OrderId, Refusal, Request, Status, TradeKey};

use super::{EngineFixture, START, answers, buyer, policy, secret, sell_order, seller};
use crate::clock::ManualClock;
use crate::engine::{Applied, Engine, EngineError};
use crate::store::tests::open;
use crate::store::{Delivery, Notification, StoreError};

/// Commits so far.
fn commits(engine: &Engine) -> u64 {
    *engine.commits().borrow()
}

#[tokio::test]
async fn all_waiting_jobs_are_one_commit() {
    let fixture = EngineFixture::new().await;
    let before = commits(&fixture.engine);

    let orders = join_all((1..=20).map(|n| fixture.create(n))).await;

    assert_eq!(orders.len(), 20);
    assert_eq!(commits(&fixture.engine), before + 1);
}

// spec: D42
#[tokio::test]
async fn messages_of_strangers_come_last_and_a_few_share_a_commit() {
    let fixture = EngineFixture::new().await;
    let before = commits(&fixture.engine);
    let engine = fixture.engine.for_strangers();
    let strangers = (1..=17).map(|n| {
        let (delivery, refusal) = refusal_of_a_stranger(&fixture, n);
        engine.answer(delivery, refusal)
    });
    let trader = async {
        fixture.create(1).await;
        commits(&fixture.engine)
    };

    let (_, first) = tokio::join!(join_all(strangers), trader);

    assert_eq!(first, before + 1);
    // One in the commit of the trader, then eight in each commit.
    assert_eq!(commits(&fixture.engine), before + 3);
}

fn refusal_of_a_stranger(fixture: &EngineFixture, n: u8) -> (Delivery, Notification) {
    let to = TradeKey([n | 0x80; 32]);
    let notice = Notice::CantDo(Refusal::NotFound);
    let refusal = Notification { to, order: None, request_id: None, trade_index: None, notice };
    (fixture.delivery(to), refusal)
}

#[tokio::test]
async fn jobs_are_decided_in_order_of_arrival() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;
    let take = Command::TakeSell { destination: None, secret: secret(1) };

    let (cancel, take) =
        tokio::join!(fixture.say(seller(), id, Command::Cancel), fixture.say(buyer(), id, take),);

    assert_eq!(cancel, Applied::Saved);
    assert!(matches!(take, Applied::Refused(_)), "{take:?}");
    assert_eq!(fixture.order(id).await.status(), Status::Canceled);
}

#[tokio::test]
async fn a_failed_job_does_not_affect_the_other_jobs() {
    let fixture = EngineFixture::new().await;
    let unknown = fixture.engine.apply(OrderId([99; 16]), Input::Deadline);

    let (first, failed, second) = tokio::join!(fixture.create(1), unknown, fixture.create(2));

    assert!(matches!(failed, Err(EngineError::NoSuchOrder(_))));
    for id in [first, second] {
        assert_eq!(fixture.order(id).await.status(), Status::Pending);
    }
}

#[tokio::test]
async fn a_corrupt_order_is_skipped_and_the_others_continue() {
    let fixture = EngineFixture::new().await;
    let broken = fixture.create(1).await;
    let sound = fixture.create(2).await;
    tamper(&fixture, "update orders set status = 'active', version = 2 where rowid = 1").await;
    let cancel = |id| {
        let command = Command::Cancel;
        let request = Request { sender: seller(), request_id: None, command };
        fixture.engine.deliver(fixture.delivery(seller().trade), id, request, answers(None))
    };

    let (broken, sound_one) = tokio::join!(cancel(broken), cancel(sound));

    let Err(EngineError::Store(error)) = broken else { panic!("{broken:?}") };
    assert!(matches!(*error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(sound_one.unwrap(), Applied::Saved);
    assert_eq!(fixture.order(sound).await.status(), Status::Canceled);
}

#[tokio::test]
async fn a_corrupt_order_does_not_block_extending_the_deadlines_of_others() {
    let fixture = EngineFixture::new().await;
    let broken = fixture.awaiting_hold(1).await;
    let sound = fixture.awaiting_hold(2).await;
    let before = fixture.order(sound).await;
    tamper(&fixture, "update orders set state = '{}', version = version + 1 where rowid = 1").await;
    fixture.clock.advance(std::time::Duration::from_mins(1));

    fixture.engine.relays_reachable().await.unwrap();

    assert!(fixture.reader.find_order(broken).await.is_err());
    assert_ne!(fixture.order(sound).await, before);
}

#[tokio::test]
async fn a_daemon_starts_with_a_corrupt_order() {
    let fixture = EngineFixture::new().await;
    fixture.create(1).await;
    let sound = fixture.create(2).await;
    tamper(&fixture, "update orders set status = 'active', version = 2 where rowid = 1").await;

    let fixture = fixture.restarted().await;

    assert_eq!(fixture.say(seller(), sound, Command::Cancel).await, Applied::Saved);
}

#[tokio::test]
async fn an_answered_request_is_on_disk() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;

    let fixture = fixture.restarted().await;

    assert_eq!(fixture.order(id).await.status(), Status::Pending);
}

#[tokio::test]
async fn a_stopped_writer_returns_an_error() {
    let folder = TempDir::new().unwrap();
    let (writer, _reader) = open(&folder.path().join("trades.db")).await.unwrap();
    let clock = Arc::new(ManualClock::at(START));
    let (engine, task) = Engine::new(writer, policy(), clock);
    drop(task);

    let error = engine.relays_reachable().await.unwrap_err();

    assert!(matches!(error, EngineError::Stopped));
}

#[tokio::test]
async fn a_database_error_fails_the_batch_and_not_the_writer() {
    let fixture = EngineFixture::new().await;
    let id = OrderId([1; 16]);
    tamper(&fixture, "alter table journal rename to elsewhere").await;
    let delivery = fixture.delivery(seller().trade);
    let create = || fixture.engine.create(delivery, id, seller(), None, sell_order());
    let error = create().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");

    tamper(&fixture, "alter table elsewhere rename to journal").await;

    assert_eq!(create().await.unwrap(), Applied::Saved, "nothing was remembered of the first try");
}

#[tokio::test]
async fn a_database_that_needs_repair_by_a_person_stops_the_writer() {
    let fixture = EngineFixture::new().await;
    // After a write of another program, the writer reads its pages from the file again.
    tamper(&fixture, "create table elsewhere (id)").await;
    tamper(&fixture, "pragma wal_checkpoint(truncate)").await;
    let path = fixture.folder.path().join("trades.db");
    let mut pages = std::fs::read(&path).unwrap();
    pages[4_096..].fill(0xff);
    std::fs::write(&path, pages).unwrap();
    let delivery = fixture.delivery(seller().trade);
    let create = || fixture.engine.create(delivery, OrderId([1; 16]), seller(), None, sell_order());

    let error = create().await.unwrap_err();
    assert!(error.is_fatal(), "{error}");

    let error = create().await.unwrap_err();
    assert!(matches!(error, EngineError::Stopped), "{error}");
}

// spec: K-08
#[tokio::test]
async fn no_act_remains_of_a_decision_that_was_not_saved() {
    let fixture = EngineFixture::new().await;
    let no_room = "create trigger no_room before insert on publications
        begin select raise(abort, 'no room'); end";
    tamper(&fixture, no_room).await;
    let delivery = fixture.delivery(seller().trade);

    let create = fixture.engine.create(delivery, OrderId([1; 16]), seller(), None, sell_order());
    create.await.unwrap_err();

    let acts = fixture.acts().await;
    assert!(acts.is_empty(), "{acts:?}");
}

#[tokio::test]
async fn a_transaction_that_sqlite_ended_fails_its_batch_and_not_the_next() {
    let fixture = EngineFixture::new().await;
    let full = "create trigger full before insert on journal
        begin select raise(rollback, 'as a full disk does'); end";
    tamper(&fixture, full).await;
    let delivery = fixture.delivery(seller().trade);
    let create = || fixture.engine.create(delivery, OrderId([1; 16]), seller(), None, sell_order());
    create().await.unwrap_err();
    tamper(&fixture, "drop trigger full").await;

    assert_eq!(create().await.unwrap(), Applied::Saved, "nothing was remembered of the first try");
}

/// Another program changes the file.
async fn tamper(fixture: &EngineFixture, sql: &'static str) {
    let path = fixture.folder.path().join("trades.db");
    let mut other =
        sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    sqlx::query(sql).execute(&mut other).await.unwrap();
    other.close().await.unwrap();
}
