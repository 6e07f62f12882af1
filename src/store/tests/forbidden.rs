use trade::{
    Attempt, Hold, Msats, Order, OrderState, Outcome, Payout, PayoutState, Preimage, Seen,
};

use super::{Disk, attempt, awaiting_hold, canceled_hold, ended, invoice, paying, payout, pending};
use crate::store::StoreError;

/// Runs SQL that the schema must refuse.
async fn refuses(disk: &mut Disk, sql: &'static str) {
    let error = disk.tamper(sql).await.expect_err(sql);
    assert!(matches!(error, StoreError::Forbidden(_)), "{sql}: {error}");
}

// spec: I6
#[tokio::test]
async fn an_order_that_ended_never_changes() {
    let mut disk = Disk::new().await;
    disk.create(&ended(1, Outcome::Canceled)).await;

    refuses(&mut disk, "update orders set status = 'pending', version = 2").await;
    refuses(&mut disk, "update orders set state = '{}', version = 2").await;
    refuses(&mut disk, "update orders set ended = 0, version = 2").await;
    refuses(&mut disk, "delete from orders").await;
}

// spec: INV-4
#[tokio::test]
async fn an_order_whose_hold_was_settled_only_succeeds() {
    let mut disk = Disk::new().await;
    disk.create(&paying(1, None)).await;

    refuses(&mut disk, "update orders set status = 'canceled', version = 2").await;
    refuses(&mut disk, "update orders set status = 'active', version = 2").await;
}

#[tokio::test]
async fn versions_follow_one_another() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;

    refuses(&mut disk, "update orders set status = 'active', version = 3").await;
    refuses(&mut disk, "update orders set status = 'active', version = 1").await;
}

// spec: E2
#[tokio::test]
async fn the_decision_on_a_hold_is_written_once() {
    let mut disk = Disk::new().await;
    disk.create(&Order { holds: vec![canceled_hold(9)], ..pending(1) }).await;

    refuses(&mut disk, "update holds set decision = 'settle'").await;
    refuses(&mut disk, "update holds set decision = null").await;
}

#[tokio::test]
async fn a_hold_seen_as_canceled_is_never_open_again() {
    let mut disk = Disk::new().await;
    let closed = Hold { seen: Seen::Canceled, ..canceled_hold(9) };
    disk.create(&Order { holds: vec![closed], ..pending(1) }).await;

    refuses(&mut disk, "update holds set seen = 'open'").await;
    refuses(&mut disk, "update holds set seen = 'wanted'").await;
}

// spec: E1
#[tokio::test]
async fn the_preimage_of_a_hold_is_never_deleted() {
    let mut disk = Disk::new().await;
    disk.create(&awaiting_hold(1, 9)).await;

    refuses(&mut disk, "update holds set preimage = 'a' || substr(preimage, 2)").await;
    refuses(&mut disk, "update holds set amount = 1").await;
    refuses(&mut disk, "update holds set bolt11 = 'another'").await;
    refuses(&mut disk, "delete from holds").await;
}

#[tokio::test]
async fn a_payment_hash_is_of_one_hold() {
    let mut disk = Disk::new().await;
    disk.create(&awaiting_hold(1, 9)).await;
    disk.create(&pending(2)).await;

    let error = disk.save(&awaiting_hold(2, 9), vec![]).await.unwrap_err();

    assert!(matches!(error, StoreError::Forbidden(_)), "{error}");
}

// spec: K-24
#[tokio::test]
async fn a_payment_hash_is_of_a_hold_or_of_a_payout() {
    let mut disk = Disk::new().await;
    disk.create(&awaiting_hold(1, 9)).await;
    disk.create(&paying(2, None)).await;

    let error = disk.save(&paying(2, Some(attempt(9))), vec![]).await.unwrap_err();

    assert!(matches!(error, StoreError::Forbidden(_)), "{error}");
}

// spec: K-24 C26
#[tokio::test]
async fn two_running_orders_never_pay_to_one_invoice() {
    let mut disk = Disk::new().await;
    let to_seven = |n| Order { destination: Some(invoice(7)), ..pending(n) };
    disk.create(&to_seven(1)).await;
    disk.create(&pending(2)).await;

    let error = disk.save(&to_seven(2), vec![]).await.unwrap_err();

    assert!(matches!(error, StoreError::Forbidden(_)), "{error}");
}

// spec: INV-2 I4
#[tokio::test]
async fn a_payout_has_at_most_one_attempt_in_flight() {
    let mut disk = Disk::new().await;
    disk.create(&paying(1, Some(attempt(9)))).await;

    let error = disk.save(&paying(1, Some(attempt(8))), vec![]).await.unwrap_err();

    assert!(matches!(error, StoreError::Forbidden(_)), "{error}");
}

// spec: INV-2 I4
#[tokio::test]
async fn a_payout_is_paid_once() {
    let mut disk = Disk::new().await;
    disk.create(&paying(1, Some(attempt(9)))).await;
    let paid = Payout {
        state: PayoutState::Paid { fee: Msats(1) },
        attempt: Some(Attempt { receipt: Some(Preimage([9; 32])), ..attempt(9) }),
        ..payout(None)
    };
    let success = OrderState::Ended(Outcome::Success);
    disk.save(&Order { state: success, payouts: vec![paid], ..paying(1, None) }, vec![])
        .await
        .unwrap();

    refuses(&mut disk, "update payouts set state = 'due', due_at = 1, fee_msat = null").await;
    refuses(&mut disk, "update payout_attempts set state = 'failed'").await;
    refuses(&mut disk, "delete from payout_attempts").await;
    refuses(
        &mut disk,
        "insert into payouts (id, order_id, purpose, amount, state)
            select 9, order_id, purpose, 1, 'sending' from payouts",
    )
    .await;
}

// spec: P4
#[tokio::test]
async fn an_attempt_succeeds_with_a_receipt_only() {
    let mut disk = Disk::new().await;
    disk.create(&paying(1, Some(attempt(9)))).await;

    refuses(&mut disk, "update payout_attempts set state = 'succeeded'").await;
}

// spec: P2
#[tokio::test]
async fn an_attempt_never_changes_its_invoice() {
    let mut disk = Disk::new().await;
    disk.create(&paying(1, Some(attempt(9)))).await;

    refuses(&mut disk, "update payout_attempts set bolt11 = 'another'").await;
}

#[tokio::test]
async fn journal_and_ledger_rows_cannot_be_changed() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    disk.tamper(
        "insert into ledger (order_id, version, at, debit, credit, amount_msat)
        select order_id, 1, 1, 'lightning', 'buyer', 1 from journal",
    )
    .await
    .unwrap();

    for sql in [
        "update journal set cause = 'another'",
        "delete from journal",
        "update ledger set amount_msat = 2",
        "delete from ledger",
    ] {
        refuses(&mut disk, sql).await;
    }
}

// spec: I1 I11
#[tokio::test]
async fn a_posting_moves_something_from_one_account_to_another() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;

    refuses(
        &mut disk,
        "insert into ledger (order_id, version, at, debit, credit, amount_msat)
        select order_id, 1, 1, 'lightning', 'buyer', 0 from journal",
    )
    .await;
    refuses(
        &mut disk,
        "insert into ledger (order_id, version, at, debit, credit, amount_msat)
        select order_id, 1, 1, 'buyer', 'buyer', 1 from journal",
    )
    .await;
}

// spec: I7
#[tokio::test]
async fn a_message_id_is_deleted_only_once_messages_of_that_age_are_refused() {
    let mut disk = Disk::new().await;
    let remember = "insert into inbox (event_id, created_at, at)
        select printf('%064d', 1), 10, 10";
    disk.tamper(remember).await.unwrap();
    refuses(&mut disk, "delete from inbox").await;

    disk.tamper("insert into daemon_state (key, value) values ('forgotten_until', '10')")
        .await
        .unwrap();
    disk.tamper("delete from inbox").await.unwrap();
    refuses(&mut disk, remember).await;
}

// spec: I7
#[tokio::test]
async fn the_deletion_limit_cannot_be_lowered_or_removed() {
    let mut disk = Disk::new().await;
    disk.tamper("insert into daemon_state (key, value) values ('forgotten_until', '10')")
        .await
        .unwrap();

    refuses(&mut disk, "update daemon_state set value = '9'").await;
    refuses(&mut disk, "update daemon_state set key = 'another'").await;
    refuses(&mut disk, "delete from daemon_state").await;
}

// spec: I7 D41
#[tokio::test]
async fn the_deletion_limit_moves_back_only_to_a_confirmed_time() {
    let mut disk = Disk::new().await;
    disk.tamper(
        "insert into daemon_state (key, value)
        values ('forgotten_until', '10'), ('clock_confirmed_at', '5')",
    )
    .await
    .unwrap();

    refuses(&mut disk, "update daemon_state set value = '4' where key = 'forgotten_until'").await;
    disk.tamper("update daemon_state set value = '5' where key = 'forgotten_until'").await.unwrap();
}

// spec: I8
#[tokio::test]
async fn waiting_acts_are_never_deleted() {
    let mut disk = Disk::new().await;
    disk.tamper("insert into outbox (lane, kind, body, at) values ('a', 'b', '{}', 1)")
        .await
        .unwrap();

    refuses(&mut disk, "delete from outbox").await;
}
