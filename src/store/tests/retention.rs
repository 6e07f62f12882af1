use std::time::Duration;

use trade::{Effect, LnCommand, Notice, Order, Outcome, Timestamp, TradeKey};

use super::{Disk, awaiting_hold, hash, party, pending};
use crate::store::retention::AT_ONCE;
use crate::store::{Delivery, EventId, Notification, Transport};

const DAY: Duration = Duration::from_hours(24);
/// How long these tests keep the id of a message.
const MEMORY: Duration = Duration::from_secs(1_000);
const STRANGER: TradeKey = TradeKey([77; 32]);

fn message(n: u32, written_at: i64) -> Delivery {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&n.to_be_bytes());
    Delivery {
        event_id: EventId(id),
        rumor_id: None,
        created_at: Timestamp(written_at),
        from: STRANGER,
        transport: Transport::GiftWrap,
    }
}

async fn remember(disk: &mut Disk, message: &Delivery) -> bool {
    let mut tx = disk.begin().await;
    let is_new = tx.remember(message, message.created_at).await.unwrap();
    tx.commit().await.unwrap();
    is_new
}

async fn forget(disk: &mut Disk, now: Timestamp) {
    let mut tx = disk.begin().await;
    tx.forget(now, MEMORY).await.unwrap();
    tx.commit().await.unwrap();
}

async fn count(disk: &Disk, table: &str) -> u32 {
    let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
    sqlx::query_scalar(sql).fetch_one(&disk.reader.pool).await.unwrap()
}

// spec: D5
#[tokio::test]
async fn a_message_id_is_kept_for_its_retention_and_then_deleted() {
    let mut disk = Disk::new().await;
    let (old, newer) = (message(1, 10), message(2, 11));
    for message in [&newer, &old] {
        assert!(remember(&mut disk, message).await);
    }

    forget(&mut disk, Timestamp(1_010)).await;
    assert_eq!(count(&disk, "inbox").await, 2);

    forget(&mut disk, Timestamp(1_011)).await;
    assert!(!disk.reader.is_remembered(old.event_id).await.unwrap());
    assert!(disk.reader.is_remembered(newer.event_id).await.unwrap());
}

// spec: I7 C25
#[tokio::test]
async fn messages_as_old_as_deleted_ids_are_refused_even_after_a_restart() {
    let mut disk = Disk::new().await;
    assert!(remember(&mut disk, &message(1, 10)).await);
    forget(&mut disk, Timestamp(2_000)).await;

    let mut disk = disk.reopened().await;

    assert!(!remember(&mut disk, &message(1, 10)).await, "it was acted on");
    assert!(!remember(&mut disk, &message(2, 9)).await, "it may have been");
    assert!(remember(&mut disk, &message(3, 11)).await, "it is newer than all that was forgotten");
}

// spec: D24
#[tokio::test]
async fn a_clock_that_was_ahead_does_not_exclude_messages_once_it_is_corrected() {
    let mut disk = Disk::new().await;
    assert!(remember(&mut disk, &message(1, 10)).await);
    forget(&mut disk, Timestamp(1_000_000_000)).await;

    assert!(remember(&mut disk, &message(2, 11)).await);
}

#[tokio::test]
async fn old_rows_are_deleted_in_small_steps_oldest_first() {
    let mut disk = Disk::new().await;
    for n in (0..=AT_ONCE).rev() {
        remember(&mut disk, &message(n, i64::from(n))).await;
    }

    forget(&mut disk, Timestamp(1_000_000)).await;
    assert_eq!(count(&disk, "inbox").await, 1);
    assert!(disk.reader.is_remembered(message(AT_ONCE, 0).event_id).await.unwrap());

    forget(&mut disk, Timestamp(1_000_000)).await;
    assert_eq!(count(&disk, "inbox").await, 0);
}

// spec: I7
#[tokio::test]
async fn a_deletion_that_is_not_committed_deletes_nothing() {
    let mut disk = Disk::new().await;
    assert!(remember(&mut disk, &message(1, 10)).await);
    let mut tx = disk.begin().await;
    tx.forget(Timestamp(2_000), MEMORY).await.unwrap();
    drop(tx);

    let mut disk = disk.reopened().await;

    assert!(disk.reader.is_remembered(message(1, 10).event_id).await.unwrap());
    assert!(remember(&mut disk, &message(2, 9)).await);
}

// spec: D40
#[tokio::test]
async fn no_message_id_younger_than_a_running_trade_is_deleted() {
    let mut disk = Disk::new().await;
    for (n, at) in [(1, -299), (2, -298), (3, 2)] {
        assert!(remember(&mut disk, &message(n, at)).await);
    }
    disk.create(&awaiting_hold(1, 9)).await;

    forget(&mut disk, Timestamp(1_000_000)).await;

    assert_eq!(disk.reader.oldest_take().await.unwrap(), Some(Timestamp(2)));
    assert!(!disk.reader.is_remembered(message(1, 0).event_id).await.unwrap());
    assert!(disk.reader.is_remembered(message(2, 0).event_id).await.unwrap(), "by a slow clock");
}

// spec: D41
#[tokio::test]
async fn a_confirmed_clock_corrects_a_deletion_limit_that_a_wrong_clock_set() {
    let mut disk = Disk::new().await;
    disk.tamper("insert into daemon_state (key, value) values ('forgotten_until', '90000000')")
        .await
        .unwrap();
    assert!(!remember(&mut disk, &message(1, 10_000)).await);

    forget(&mut disk, Timestamp(10_000)).await;

    assert!(!remember(&mut disk, &message(1, 10_000)).await, "it may have been acted on");
    assert!(remember(&mut disk, &message(2, 10_301)).await);
}

// spec: D41 D4
#[tokio::test]
async fn a_message_dated_ahead_blocks_neither_a_transport_change_nor_its_deletion() {
    let mut disk = Disk::new().await;
    let now = Timestamp(1_000);
    let ahead = message(1, now.after(365 * DAY).0);
    let direct = Delivery { transport: Transport::Nip44, ..message(2, 1_001) };
    let mut tx = disk.begin().await;
    assert!(tx.remember(&ahead, now).await.unwrap());
    assert!(tx.remember(&direct, Timestamp(1_001)).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(disk.reader.find_transport(STRANGER).await.unwrap(), Some(Transport::Nip44));

    disk.tamper("update trade_keys set updated_at = 90000000").await.unwrap();
    forget(&mut disk, now).await;

    assert_eq!(disk.reader.find_transport(STRANGER).await.unwrap(), None);
}

fn settle(n: u8) -> Effect {
    Effect::Lightning(LnCommand::EndHold { hash: hash(n) })
}

/// A database with one order and two acts, of which the first was done at 50.
async fn with_acts() -> Disk {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    disk.save(&awaiting_hold(1, 9), vec![settle(8), settle(9)]).await.unwrap();
    let first = disk.due(2).await.remove(0);
    let mut tx = disk.begin().await;
    assert!(tx.finish_act(first.id, Timestamp(50)).await.unwrap());
    tx.commit().await.unwrap();
    disk
}

#[tokio::test]
async fn done_acts_are_kept_for_a_week() {
    let mut disk = with_acts().await;

    forget(&mut disk, Timestamp(50).after(7 * DAY)).await;
    assert_eq!(count(&disk, "outbox where done_at is not null").await, 1);

    forget(&mut disk, Timestamp(51).after(7 * DAY)).await;
    assert_eq!(count(&disk, "outbox where done_at is not null").await, 0);
}

// spec: I8
#[tokio::test]
async fn waiting_acts_are_kept_at_any_age() {
    let mut disk = with_acts().await;

    forget(&mut disk, Timestamp(50).after(10_000 * DAY)).await;

    let due = disk.due(2).await;
    assert_eq!(
        due.into_iter().map(|row| row.lane).collect::<Vec<_>>(),
        [format!("ln:{}", hash(9))]
    );
}

// spec: INV-7
#[tokio::test]
async fn outbox_ids_are_not_reused_after_rows_were_deleted() {
    let mut disk = with_acts().await;
    let open = disk.due(2).await.remove(0);
    let mut tx = disk.begin().await;
    tx.finish_act(open.id, Timestamp(50)).await.unwrap();
    tx.commit().await.unwrap();
    forget(&mut disk, Timestamp(51).after(7 * DAY)).await;
    assert_eq!(count(&disk, "outbox").await, 0);

    let mut disk = disk.reopened().await;
    disk.create(&pending(2)).await;
    disk.save(&awaiting_hold(2, 7), vec![settle(7)]).await.unwrap();

    let next = disk.due(2).await.remove(0);
    assert!(next.id > open.id, "{next:?}");
}

/// Stores an old message of each key.
async fn with_messages_from(disk: &mut Disk, keys: &[TradeKey]) {
    for (n, key) in (0..).zip(keys) {
        assert!(remember(disk, &Delivery { from: *key, ..message(n, 1) }).await);
    }
}

// spec: D4
#[tokio::test]
async fn the_transport_of_a_key_is_deleted_after_a_month_without_messages() {
    let mut disk = Disk::new().await;
    with_messages_from(&mut disk, &[STRANGER]).await;

    forget(&mut disk, Timestamp(1).after(30 * DAY)).await;
    assert_eq!(disk.reader.find_transport(STRANGER).await.unwrap(), Some(Transport::GiftWrap));

    forget(&mut disk, Timestamp(2).after(30 * DAY)).await;
    assert_eq!(disk.reader.find_transport(STRANGER).await.unwrap(), None);
}

// spec: D4
#[tokio::test]
async fn parties_and_recipients_of_waiting_messages_keep_their_transport() {
    let mut disk = Disk::new().await;
    let (maker, taker, over) = (party(1).trade, party(2).trade, party(3).trade);
    with_messages_from(&mut disk, &[maker, taker, over, STRANGER]).await;
    disk.create(&pending(1)).await;
    disk.save(&awaiting_hold(1, 9), vec![]).await.unwrap();
    let ended = Order { maker: party(3), ..super::ended(2, Outcome::Canceled) };
    disk.create(&ended).await;
    let notice = Notice::Canceled;
    let waiting =
        Notification { to: STRANGER, order: None, request_id: None, trade_index: None, notice };
    let mut tx = disk.begin().await;
    tx.send(&waiting, Timestamp(1)).await.unwrap();
    tx.commit().await.unwrap();

    forget(&mut disk, Timestamp(1).after(1_000 * DAY)).await;

    for (key, transport) in [
        (maker, Some(Transport::GiftWrap)),
        (taker, Some(Transport::GiftWrap)),
        (STRANGER, Some(Transport::GiftWrap)),
        (over, None),
    ] {
        assert_eq!(disk.reader.find_transport(key).await.unwrap(), transport, "{key}");
    }
}
