use trade::{
    Attempt, Day, Decision, Effect, Hold, LedgerAccount, LnCommand, Msats, NodeKey, Order,
    OrderState, Outcome, Payout, PayoutState, Posting, Preimage, Seen, Subsidy, Timestamp,
};

use super::{
    Disk, MARGIN, attempt, awaiting_hold, canceled_hold, decision, hash, invoice, line, paying,
    payout, pending, wanted_hold,
};

// spec: INV-3 E3
#[tokio::test]
async fn holds_that_lnd_has_and_has_not_ended_are_watched() {
    let mut disk = Disk::new().await;
    let acknowledged = |hold: Hold| Hold { bolt11: Some("lnbcrt".to_owned()), ..hold };
    let debt = acknowledged(canceled_hold(7));
    let closed = Hold { seen: Seen::Canceled, ..acknowledged(canceled_hold(6)) };
    disk.create(&Order { holds: vec![debt, closed, canceled_hold(5)], ..pending(1) }).await;
    disk.create(&awaiting_hold(2, 9)).await;

    let watched = disk.reader.list_holds_to_watch().await.unwrap();

    assert_eq!(watched, [(pending(1).id, hash(7)), (pending(2).id, hash(9))]);
}

#[tokio::test]
async fn a_hold_is_found_by_its_hash() {
    let mut disk = Disk::new().await;
    disk.create(&Order { holds: vec![canceled_hold(9)], ..pending(1) }).await;

    let found = disk.reader.find_hold(hash(9)).await.unwrap();

    assert_eq!(found, Some(canceled_hold(9)));
    assert_eq!(disk.reader.find_hold(hash(8)).await.unwrap(), None);
}

// spec: P5
#[tokio::test]
async fn a_payment_is_followed_once_its_send_was_begun_and_until_it_ends() {
    let mut disk = Disk::new().await;
    disk.create(&paying(1, None)).await;
    let send = Effect::Lightning(LnCommand::SendPayout { hash: hash(9) });
    disk.save(&paying(1, Some(attempt(9))), vec![send]).await.unwrap();
    assert_eq!(disk.reader.list_payments_to_follow().await.unwrap(), [], "not sent yet");

    let row = disk.due(2).await.remove(0);
    let mut tx = disk.begin().await;
    tx.finish_act(row.id, Timestamp(3)).await.unwrap();
    tx.commit().await.unwrap();
    let followed = disk.reader.list_payments_to_follow().await.unwrap();
    assert_eq!(followed, [(pending(1).id, hash(9))]);

    disk.save(&failed(1, 9), vec![]).await.unwrap();
    assert_eq!(disk.reader.list_payments_to_follow().await.unwrap(), [], "LND reported FAILED");
}

// spec: D20
#[tokio::test]
async fn another_send_of_a_hash_uses_the_same_row() {
    let mut disk = Disk::new().await;
    disk.create(&paying(1, Some(attempt(9)))).await;
    disk.save(&failed(1, 9), vec![]).await.unwrap();
    let again = Attempt { tries: 2, base_index: 5, acked: false, ..attempt(9) };
    disk.save(&paying(1, Some(again.clone())), vec![]).await.unwrap();

    assert_eq!(disk.reader.find_attempt(hash(9)).await.unwrap(), Some((pending(1).id, again)));
    let rows: i64 = sqlx::query_scalar("select count(*) from payout_attempts")
        .fetch_one(&disk.reader.pool)
        .await
        .unwrap();
    assert_eq!(rows, 1);
}

// spec: D20 P7
#[tokio::test]
async fn the_newest_attempt_is_the_one_that_counts() {
    let mut disk = Disk::new().await;
    disk.create(&paying(1, Some(attempt(9)))).await;
    disk.save(&failed(1, 9), vec![]).await.unwrap();
    disk.save(&paying(1, Some(attempt(8))), vec![]).await.unwrap();

    let order = disk.order(pending(1).id).await;
    assert_eq!(order.payouts[0].attempt, Some(attempt(8)));
    assert_eq!(order.payouts[0].given_up, [hash(9)]);
}

// spec: P4
#[tokio::test]
async fn a_receipt_is_saved_with_the_end_of_its_payout() {
    let mut disk = Disk::new().await;
    disk.create(&paying(1, Some(attempt(9)))).await;
    let receipt = Attempt { receipt: Some(Preimage([3; 32])), acked: true, ..attempt(9) };
    let paid = Payout {
        state: PayoutState::Paid { fee: Msats(12) },
        attempt: Some(receipt.clone()),
        ..payout(None)
    };
    let state = OrderState::Ended(Outcome::Success);
    disk.save(&Order { state, payouts: vec![paid.clone()], ..paying(1, None) }, vec![])
        .await
        .unwrap();

    let disk = disk.reopened().await;

    assert_eq!(disk.order(pending(1).id).await.payouts, [paid]);
    assert_eq!(disk.reader.find_attempt(hash(9)).await.unwrap(), Some((pending(1).id, receipt)));
}

// spec: C26 K-24
#[tokio::test]
async fn a_payment_hash_is_known_from_holds_payouts_and_running_orders() {
    let mut disk = Disk::new().await;
    disk.create(&awaiting_hold(1, 9)).await;
    disk.create(&paying(2, Some(attempt(8)))).await;
    disk.create(&Order { destination: Some(invoice(7)), ..pending(3) }).await;
    let gone = OrderState::Ended(Outcome::Canceled);
    disk.create(&Order { destination: Some(invoice(6)), state: gone, ..pending(4) }).await;
    let mut tx = disk.begin().await;

    for (n, of_order, known) in [
        (9, 1, true), // its own hold
        (9, 2, true),
        (8, 1, true),
        (8, 2, false), // its own newest attempt: the same invoice may be given again
        (7, 1, true),
        (7, 3, false),
        (6, 1, false), // nobody will ever pay it
        (5, 1, false),
    ] {
        let order = pending(of_order).id;
        let found = tx.is_payment_hash_known(hash(n), Some(order)).await.unwrap();
        assert_eq!(found, known, "hash {n} named for order {of_order}");
    }
    assert!(tx.is_payment_hash_known(hash(8), None).await.unwrap(), "for a new order");
}

// spec: C26 D20
#[tokio::test]
async fn an_older_attempt_of_the_same_order_is_not_named_again() {
    let mut disk = Disk::new().await;
    disk.create(&paying(1, Some(attempt(9)))).await;
    disk.save(&failed(1, 9), vec![]).await.unwrap();
    disk.save(&paying(1, Some(attempt(8))), vec![]).await.unwrap();
    let mut tx = disk.begin().await;

    let order = Some(pending(1).id);
    assert!(tx.is_payment_hash_known(hash(9), order).await.unwrap(), "its old FAILED is on record");
    assert!(!tx.is_payment_hash_known(hash(8), order).await.unwrap());
}

// spec: I1
#[tokio::test]
async fn the_ledger_balances() {
    use LedgerAccount::{Buyer, FeeIncome, Lightning};
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    let before = disk.order(pending(1).id).await;
    let post = |debit, credit, msat| Posting { debit, credit, amount: Msats(msat) };
    let postings =
        vec![post(Lightning, Buyer, 99), post(Lightning, FeeIncome, 2), post(Buyer, Lightning, 99)];
    let mut tx = disk.begin().await;
    let settled = Decision { postings, ..decision(paying(1, None), vec![]) };
    tx.save(&before, &settled, &line(2), MARGIN).await.unwrap();
    tx.commit().await.unwrap();

    let balances = disk.reader.balances().await.unwrap();
    assert_eq!(balances.values().sum::<i64>(), 0);
    let of = |account: &str, msat| (account.to_owned(), msat);
    let expected = [of("buyer", 0), of("fee-income", -2), of("lightning", 2)];
    assert_eq!(balances.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_hold_keeps_what_was_paid_into_it() {
    let mut disk = Disk::new().await;
    let expires_at = trade::BlockHeight(500);
    let accepted = Seen::Accepted { paid: Msats(101_000_000), expires_at };
    let debt = Hold { seen: accepted, ..canceled_hold(9) };
    let order = Order { holds: vec![debt.clone()], ..pending(1) };
    disk.create(&order).await;
    let closed = Hold { seen: Seen::Canceled, ..debt };
    disk.save(&Order { holds: vec![closed], ..order }, vec![]).await.unwrap();

    let paid: i64 = sqlx::query_scalar("select paid_msat from holds where seen = 'canceled'")
        .fetch_one(&disk.reader.pool)
        .await
        .unwrap();
    assert_eq!(paid, 101_000_000);
}

#[tokio::test]
async fn a_preimage_is_on_disk_with_the_wanted_hold() {
    let mut disk = Disk::new().await;
    let holds = vec![Hold { decision: Some(trade::HoldDecision::Cancel), ..wanted_hold(9) }];
    disk.create(&Order { holds, ..pending(1) }).await;

    let disk = disk.reopened().await;

    let hold = disk.reader.find_hold(hash(9)).await.unwrap().unwrap();
    assert!(hold.preimage == Preimage([9; 32]));
}

/// As [`paying`], after LND reported FAILED for the attempt.
fn failed(n: u8, of: u8) -> Order {
    let attempt = Some(Attempt { acked: true, payment_index: 5, ..attempt(of) });
    let due = PayoutState::Due { at: Timestamp(60) };
    let payout = Payout { state: due, failures: 1, attempt, ..payout(None) };
    Order { payouts: vec![payout], ..paying(n, None) }
}

// spec: D43
#[tokio::test]
async fn routing_fees_are_summed_by_day_and_by_destination() {
    let mut disk = Disk::new().await;
    let subsidy = |day, payee, amount| {
        Some(Subsidy { day: Day(day), payee: NodeKey([payee; 33]), amount: Msats(amount) })
    };
    for (n, subsidy) in
        [(1, subsidy(7, 3, 100)), (2, subsidy(7, 4, 20)), (3, subsidy(8, 3, 3)), (4, None)]
    {
        let sent = Attempt { subsidy, ..attempt(n) };
        disk.create(&paying(n, Some(sent))).await;
    }
    disk.tamper("update payout_attempts set state = 'succeeded', preimage = hash where id = 2")
        .await
        .unwrap();

    let mut tx = disk.begin().await;
    let sums = tx.subsidies(Day(7), NodeKey([3; 33])).await.unwrap();
    assert_eq!(sums, (Msats(120), Msats(20), Msats(100)));
    let sums = tx.subsidies(Day(9), NodeKey([3; 33])).await.unwrap();
    assert_eq!(sums, (Msats(0), Msats(0), Msats(0)));
}
