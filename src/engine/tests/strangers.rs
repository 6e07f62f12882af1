//! A sender without an open order is answered only while the limit for such answers allows it (D42).

use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _};
use trade::{Command, IdentityKey, Notice, OrderId, Refusal, Sender, TradeKey};

use super::{EngineFixture, seller};
use crate::engine::{Applied, Write};
use crate::store::{Delivery, EventId, Notification, Transport};

/// How many answers may wait for one stranger, and for all of them.
const MOST_TO_ONE: usize = 4;
const MOST: u32 = 500;

const NOBODYS: OrderId = OrderId([99; 16]);
const REFUSED: Applied = Applied::Refused(Refusal::NotFound);

fn stranger(n: u32) -> Sender {
    let mut key = [9; 32];
    key[..4].copy_from_slice(&n.to_be_bytes());
    Sender { trade: TradeKey(key), identity: IdentityKey(key), trade_index: None }
}

async fn rows(fixture: &EngineFixture, table: &str) -> u32 {
    let path = fixture.folder.path().join("trades.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).read_only(true);
    let mut books = options.connect().await.unwrap();
    let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
    let count = sqlx::query_scalar(sql).fetch_one(&mut books).await.unwrap();
    books.close().await.unwrap();
    count
}

/// One message from each of this many strangers.
async fn strangers_ask(fixture: &EngineFixture, from: u32, to: u32) -> Vec<Applied> {
    let asked = (from..to).map(|n| {
        let sender = stranger(n);
        let mut event_id = [8; 32];
        event_id[..4].copy_from_slice(&n.to_be_bytes());
        let delivery = Delivery {
            event_id: EventId(event_id),
            rumor_id: None,
            created_at: crate::clock::Clock::now(&*fixture.clock),
            from: sender.trade,
            transport: Transport::Nip44,
        };
        let notice = Notice::CantDo(Refusal::InvalidAction);
        let message = Notification {
            to: sender.trade,
            order: None,
            request_id: None,
            trade_index: None,
            notice,
        };
        fixture.engine.answer(delivery, message)
    });
    futures::future::join_all(asked).await.into_iter().map(Result::unwrap).collect()
}

// spec: D42 D19
#[tokio::test]
async fn a_stranger_is_answered_a_few_times_and_then_leaves_no_trace() {
    let fixture = EngineFixture::new().await;
    for _ in 0..MOST_TO_ONE {
        assert_eq!(fixture.say(stranger(1), NOBODYS, Command::Cancel).await, REFUSED);
    }
    let before = [rows(&fixture, "inbox").await, rows(&fixture, "outbox").await];
    let mut commits = fixture.engine.commits();
    commits.mark_unchanged();

    let applied = fixture.say(stranger(1), NOBODYS, Command::Cancel).await;

    assert_eq!(applied, Applied::Unanswered);
    assert_eq!([rows(&fixture, "inbox").await, rows(&fixture, "outbox").await], before);
    assert!(!commits.has_changed().unwrap(), "nobody is waked for it");
    assert_eq!(fixture.say(stranger(2), NOBODYS, Command::Cancel).await, REFUSED, "another is");
}

// spec: D42
#[tokio::test]
async fn a_flood_of_strangers_fills_the_outbox_up_to_its_limit() {
    let fixture = EngineFixture::new().await;

    let answers = strangers_ask(&fixture, 0, 2 * MOST).await;

    let unanswered = answers.iter().filter(|answer| **answer == Applied::Unanswered).count();
    assert_eq!(unanswered, 500);
    for table in ["outbox", "lanes", "inbox", "trade_keys"] {
        assert_eq!(rows(&fixture, table).await, MOST, "{table}");
    }
}

// spec: D42 D19
#[tokio::test]
async fn a_party_to_an_open_order_is_always_answered() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;
    strangers_ask(&fixture, 0, MOST).await;

    for _ in 0..3 * MOST_TO_ONE {
        let own = fixture.say(seller(), id, Command::Release).await;
        assert_eq!(own, Applied::Refused(Refusal::NotAllowedByStatus));
        assert_eq!(fixture.say(seller(), NOBODYS, Command::Release).await, REFUSED, "of any order");
    }

    assert_eq!(fixture.say(seller(), id, Command::Cancel).await, Applied::Saved);
    assert_eq!(
        fixture.say(seller(), id, Command::Cancel).await,
        Applied::Unanswered,
        "its order has ended"
    );
}

// spec: C25 D42
#[tokio::test]
async fn a_repeated_message_that_was_not_answered_is_handled_again() {
    let fixture = EngineFixture::new().await;
    strangers_ask(&fixture, 0, MOST).await;
    assert_eq!(strangers_ask(&fixture, MOST, MOST + 1).await, [Applied::Unanswered]);

    fixture.clock.advance(Duration::from_mins(5));
    fixture.engine.write(Write::ExpireAnswers).await.unwrap();

    assert_eq!(strangers_ask(&fixture, MOST, MOST + 1).await, [Applied::Saved]);
    assert_eq!(strangers_ask(&fixture, MOST, MOST + 1).await, [Applied::Repeat]);
}
