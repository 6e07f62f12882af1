use std::collections::BTreeMap;

use sqlx::{Connection as _, Row as _, SqliteConnection};
use trade::{Effect, LnCommand, Notice, Refusal, Timestamp, TradeKey};

use super::{Disk, awaiting_hold, hash, party, pending};
use crate::store::strangers::{MOST, MOST_TO_ONE};
use crate::store::{Class, Notification, OutboxRow, Place, Sealed};

const STRANGER: TradeKey = TradeKey([77; 32]);

fn key(n: u32) -> TradeKey {
    let mut key = [7; 32];
    key[..4].copy_from_slice(&n.to_be_bytes());
    TradeKey(key)
}

fn refusal(to: TradeKey) -> Notification {
    let notice = Notice::CantDo(Refusal::NotFound);
    Notification { to, order: None, request_id: Some(1), trade_index: None, notice }
}

async fn answer_stranger(disk: &mut Disk, to: TradeKey, at: i64) {
    let mut tx = disk.begin().await;
    tx.answer_stranger(&refusal(to), Timestamp(at)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn send(disk: &mut Disk, to: TradeKey, at: i64) {
    let mut tx = disk.begin().await;
    tx.send(&refusal(to), Timestamp(at)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn finish(disk: &mut Disk, row: &OutboxRow, at: i64) {
    let mut tx = disk.begin().await;
    assert!(tx.finish_act(row.id, Timestamp(at)).await.unwrap());
    tx.commit().await.unwrap();
}

async fn expire(disk: &mut Disk, at: i64) {
    let mut tx = disk.begin().await;
    tx.expire_answers(Timestamp(at)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn of_class(disk: &Disk, class: Class, limit: u32) -> Vec<OutboxRow> {
    let due = disk.reader.list_acts_due(Timestamp(1_000), &[(class, limit)]).await.unwrap();
    due.into_iter().map(|due| due.act.unwrap()).collect()
}

async fn count(disk: &Disk, table: &str) -> u32 {
    let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
    sqlx::query_scalar(sql).fetch_one(&disk.reader.pool).await.unwrap()
}

/// The lanes and their first acts: as the triggers store them, and as computed from the outbox.
async fn heads(connection: &mut SqliteConnection) -> [BTreeMap<String, i64>; 2] {
    let kept = sqlx::query("select lane, head from lanes").fetch_all(&mut *connection).await;
    let computed =
        sqlx::query("select lane, min(id) from outbox where done_at is null group by lane");
    let computed = computed.fetch_all(&mut *connection).await;
    [kept, computed].map(|rows| rows.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect())
}

// spec: D42
#[tokio::test]
async fn lightning_commands_and_messages_to_traders_are_found_beside_any_number_of_strangers() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    let mut tx = disk.begin().await;
    for n in 0..3 * MOST {
        tx.answer_stranger(&refusal(key(n)), Timestamp(1)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let to = party(1).trade;
    let tell = Effect::Notify { to, request_id: None, trade_index: None, notice: Notice::Rate };
    let settle = Effect::Lightning(LnCommand::EndHold { hash: hash(9) });
    disk.save(&awaiting_hold(1, 9), vec![tell, settle]).await.unwrap();

    let limits = Class::ALL.map(|class| (class, 2));
    let due = disk.reader.list_acts_due(Timestamp(2), &limits).await.unwrap();

    let classes: Vec<_> = due.iter().map(|due| due.class).collect();
    assert_eq!(classes, [Class::Lightning, Class::Trade, Class::Stranger, Class::Stranger]);
}

// spec: D42
#[tokio::test]
async fn a_query_for_due_rows_uses_an_index_and_no_sort() {
    let disk = Disk::new().await;
    let queries = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let mut plans = Vec::new();
    for file in std::fs::read_dir(queries).unwrap() {
        let file = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let query = serde_json::from_str::<serde_json::Value>(&file).unwrap();
        let sql = query["query"].as_str().unwrap();
        if sql.contains("from lanes join outbox") {
            let plan = sqlx::AssertSqlSafe(format!("explain query plan {sql}"));
            let plan = sqlx::query(plan).fetch_all(&disk.reader.pool).await.unwrap();
            plans.extend(plan.iter().map(|step| step.get::<String, _>("detail")));
        }
    }

    let is_indexed =
        |step: &String, index: &str| step.starts_with("SEARCH") && step.contains(index);
    assert_eq!(plans.len(), 4, "{plans:?}");
    assert!(is_indexed(&plans[0], "lanes_by_due_at (class=? AND due_at<?)"), "{plans:?}");
    assert!(is_indexed(&plans[1], "INTEGER PRIMARY KEY"), "{plans:?}");
    assert_eq!(plans[2], "CORRELATED SCALAR SUBQUERY 1", "{plans:?}");
    assert!(is_indexed(&plans[3], "sqlite_autoindex_trade_keys_1 (key=?)"), "{plans:?}");
}

// spec: I8 INV-7
#[tokio::test]
async fn every_lane_with_due_acts_is_listed_by_its_first_act() {
    let mut disk = Disk::new().await;
    let mut chance = 7_u32;
    for step in 0..600_u32 {
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (to, at) = (key(chance >> 16 & 7), i64::from(step));
        match chance >> 24 & 7 {
            0 | 1 => send(&mut disk, to, at).await,
            2 | 3 => answer_stranger(&mut disk, to, at).await,
            4 => expire(&mut disk, at).await,
            5 => {
                let Some(row) = disk.due(at).await.pop() else { continue };
                let mut tx = disk.begin().await;
                tx.retry_act(row.id, Timestamp(at + 9)).await.unwrap();
                tx.commit().await.unwrap();
            }
            _ => {
                let Some(row) = disk.due(at).await.pop() else { continue };
                finish(&mut disk, &row, at).await;
            }
        }
        let [kept, computed] = heads(&mut disk.writer.connection).await;
        assert_eq!(kept, computed, "after step {step}");
    }
}

// spec: INV-7
#[tokio::test]
async fn a_stranger_who_becomes_a_trader_is_served_as_one_and_in_order() {
    let mut disk = Disk::new().await;
    answer_stranger(&mut disk, STRANGER, 1).await;
    send(&mut disk, STRANGER, 2).await;

    assert_eq!(of_class(&disk, Class::Stranger, 9).await, []);
    let first = of_class(&disk, Class::Trade, 9).await.remove(0);
    assert!(first.to_stranger, "the first act goes to a stranger");
    finish(&mut disk, &first, 3).await;
    assert!(!of_class(&disk, Class::Trade, 9).await[0].to_stranger);
}

#[tokio::test]
async fn lanes_take_turns() {
    let mut disk = Disk::new().await;
    for at in [1, 2] {
        send(&mut disk, key(1), at).await;
        send(&mut disk, key(2), at + 2).await;
    }
    let first = of_class(&disk, Class::Trade, 1).await.remove(0);
    finish(&mut disk, &first, 9).await;

    let next = of_class(&disk, Class::Trade, 1).await.remove(0);
    assert_ne!(next.lane, first.lane);
}

// spec: D42
#[tokio::test]
async fn each_stranger_and_all_strangers_together_have_a_limit() {
    let mut disk = Disk::new().await;
    let mut tx = disk.begin().await;
    for _ in 0..MOST_TO_ONE {
        assert_eq!(tx.place_for_answer(STRANGER).await.unwrap(), Place::Stranger);
        tx.answer_stranger(&refusal(STRANGER), Timestamp(1)).await.unwrap();
    }
    assert_eq!(tx.place_for_answer(STRANGER).await.unwrap(), Place::Full);
    for n in MOST_TO_ONE..MOST {
        assert_eq!(tx.place_for_answer(key(n)).await.unwrap(), Place::Stranger);
        tx.answer_stranger(&refusal(key(n)), Timestamp(1)).await.unwrap();
    }
    assert_eq!(tx.place_for_answer(key(MOST)).await.unwrap(), Place::Full);
    tx.commit().await.unwrap();
}

// spec: D42
#[tokio::test]
async fn answers_to_strangers_expire_after_minutes_and_leave_nothing() {
    let mut disk = Disk::new().await;
    answer_stranger(&mut disk, STRANGER, 100).await;
    answer_stranger(&mut disk, key(1), 101).await;

    assert!(!disk.reader.has_expired_answers(Timestamp(399)).await.unwrap());
    assert!(disk.reader.has_expired_answers(Timestamp(400)).await.unwrap());
    expire(&mut disk, 400).await;

    let left = disk.due(1_000).await;
    assert_eq!(
        left.iter().map(|row| row.lane.as_str()).collect::<Vec<_>>(),
        [format!("dm:{}", key(1))]
    );
    assert_eq!(count(&disk, "outbox").await, 1);
}

// spec: D42
#[tokio::test]
async fn no_row_is_kept_of_an_answer_to_a_stranger() {
    let mut disk = Disk::new().await;
    answer_stranger(&mut disk, STRANGER, 1).await;
    let row = of_class(&disk, Class::Stranger, 1).await.remove(0);
    let mut tx = disk.begin().await;
    let (event, written_at, expires_at) = ("{}".to_owned(), Timestamp(2), Timestamp(9_999));
    tx.seal_message(row.id, &Sealed { event, written_at, expires_at }).await.unwrap();
    tx.commit().await.unwrap();
    let sealed = of_class(&disk, Class::Stranger, 1).await.remove(0);
    assert_eq!(sealed.expires_at, row.expires_at, "it lives no longer for it");

    finish(&mut disk, &row, 5).await;

    assert_eq!(count(&disk, "outbox").await, 0);
    assert_eq!(count(&disk, "lanes").await, 0);
}

// spec: I8
#[tokio::test]
async fn an_older_database_continues_with_all_its_waiting_work() {
    let mut old = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    for migration in [
        include_str!("../../../migrations/0001_orders.sql"),
        include_str!("../../../migrations/0002_money.sql"),
        include_str!("../../../migrations/0003_messages.sql"),
        include_str!("../../../migrations/0004_users.sql"),
        include_str!("../../../migrations/0005_daemon.sql"),
        include_str!("../../../migrations/0006_retention.sql"),
        // A postponed settle, done messages, a trader's message behind a refusal, and a stranger's.
        "insert into outbox (lane, kind, body, due_at, done_at) values
            ('ln:1', 'hold.add/1', '{}', 5, 6),
            ('ln:1', 'hold.settle/1', '{}', 90, null),
            ('ln:1', 'hold.cancel/1', '{}', 7, null),
            ('dm:a', 'notice/1', '{\"notice\":{\"cant-do\":\"not-found\"}}', 10, null),
            ('dm:a', 'notice/1', '{\"notice\":\"rate\"}', 11, null),
            ('dm:b', 'notice/1', '{\"notice\":{\"cant-do\":\"not-found\"}}', 12, null),
            ('alarm', 'alarm/1', '\"escrow-lost\"', 13, null)",
        include_str!("../../../migrations/0014_lanes.sql"),
    ] {
        sqlx::raw_sql(migration).execute(&mut old).await.unwrap();
    }

    let lanes = sqlx::query("select lane, class, head, due_at from lanes order by lane");
    let lanes: Vec<(String, String, i64, i64)> = lanes
        .fetch_all(&mut old)
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect();
    let expected = [
        ("alarm", "alarm", 7, 13),
        ("dm:a", "trade", 4, 10),
        ("dm:b", "stranger", 6, 12),
        ("ln:1", "lightning", 2, 90),
    ];
    let expected = expected.map(|(lane, class, head, due)| (lane.into(), class.into(), head, due));
    assert_eq!(lanes, expected);
    let [kept, computed] = heads(&mut old).await;
    assert_eq!(kept, computed);
}
