use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use trade::{
    Attempt, BlockHeight, Day, Decision, Effect, FailedSends, Fiat, FiatAmount, FrozenBecause,
    FrozenState, Held, Hold, HoldDecision, HoldPurpose, HorizonWarning, IdentityKey, Invoice, Kind,
    Msats, Network, NodeKey, Notice, Order, OrderId, OrderState, Outcome, Party, PaymentHash,
    Payout, PayoutPurpose, PayoutState, Preimage, Preparing, PreparingFrom, Price, Quote, Sats,
    Seen, Status, Subsidy, Terms, Timestamp, TradeKey,
};

use super::{Disk, MARGIN, awaiting_hold, canceled_hold, decision, ended, line, party, pending};
use crate::store::{EventId, Part, StoreError};

#[test]
fn an_order_is_read_back_unchanged() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let disk = std::cell::RefCell::new(runtime.block_on(Disk::new()));
    let mut runner = TestRunner::new(ProptestConfig::with_cases(256));

    let checked = runner.run(&(any_order(), any::<bool>()), |(order, is_new)| {
        trade::invariants::check(&order).map_err(TestCaseError::fail)?;
        let mut disk = disk.borrow_mut();
        let found = runtime.block_on(async {
            if is_new {
                disk.create(&order).await;
            } else {
                disk.create(&untouched(&order)).await;
                disk.save(&order, vec![]).await.unwrap();
            }
            disk.order(order.id).await
        });
        prop_assert_eq!(found, Order { version: if is_new { 1 } else { 2 }, ..order });
        Ok(())
    });

    checked.unwrap();
}

/// The order as it was in the book.
fn untouched(order: &Order) -> Order {
    Order {
        state: OrderState::Pending,
        taker: None,
        taken_at: None,
        destination: None,
        holds: vec![],
        payouts: vec![],
        ..order.clone()
    }
}

#[tokio::test]
async fn a_saved_order_is_there_after_a_restart() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    disk.save(&awaiting_hold(1, 9), vec![]).await.unwrap();

    let disk = disk.reopened().await;

    assert_eq!(disk.order(pending(1).id).await, Order { version: 2, ..awaiting_hold(1, 9) });
}

#[tokio::test]
async fn an_order_that_was_never_created_is_not_found() {
    let disk = Disk::new().await;
    assert_eq!(disk.reader.find_order(OrderId([7; 16])).await.unwrap(), None);
}

#[tokio::test]
async fn uncommitted_changes_are_not_visible() {
    let mut disk = Disk::new().await;
    let mut tx = disk.begin().await;
    tx.create(&decision(pending(1), vec![]), &line(1), MARGIN).await.unwrap();
    drop(tx);

    assert_eq!(disk.reader.find_order(pending(1).id).await.unwrap(), None);
}

#[tokio::test]
async fn a_savepoint_is_undone_alone() {
    let mut disk = Disk::new().await;
    let mut tx = disk.begin().await;
    for (order, keep) in [(pending(1), true), (pending(2), false), (pending(3), true)] {
        let mut part = tx.savepoint().await.unwrap();
        part.create(&decision(order, vec![]), &line(1), MARGIN).await.unwrap();
        if keep { part.commit().await.unwrap() } else { part.rollback().await.unwrap() }
    }
    tx.commit().await.unwrap();

    for (n, there) in [(1, true), (2, false), (3, true)] {
        let found = disk.reader.find_order(pending(n).id).await.unwrap();
        assert_eq!(found.is_some(), there, "order {n}");
    }
}

#[tokio::test]
async fn a_full_disk_leaves_no_partial_write_and_writes_continue_once_there_is_space() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    disk.tamper("pragma max_page_count = 1").await.unwrap();
    let wordy = |n| {
        let terms = Terms { payment_method: "x".repeat(100_000), ..pending(n).terms };
        Order { terms, ..pending(n) }
    };
    let mut tx = disk.begin().await;
    let mut part = tx.savepoint().await.unwrap();
    part.create(&decision(pending(2), vec![]), &line(1), MARGIN).await.unwrap();
    part.commit().await.unwrap();
    let mut part = tx.savepoint().await.unwrap();
    let error = part.create(&decision(wordy(3), vec![]), &line(1), MARGIN).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    drop(part);
    drop(tx);

    disk.writer.renew().await.unwrap();
    disk.create(&wordy(4)).await;

    for (n, there) in [(1, true), (2, false), (3, false), (4, true)] {
        let found = disk.reader.find_order(pending(n).id).await.unwrap();
        assert_eq!(found.is_some(), there, "order {n}");
    }
}

// spec: INV-5
#[tokio::test]
async fn a_decision_on_an_order_that_has_changed_is_not_saved() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    let stale = disk.order(pending(1).id).await;
    disk.save(&awaiting_hold(1, 9), vec![]).await.unwrap();

    let mut tx = disk.begin().await;
    let lost = decision(ended(1, Outcome::Expired), vec![]);
    let error = tx.save(&stale, &lost, &line(3), MARGIN).await.unwrap_err();

    assert!(matches!(error, StoreError::Moved { version: 1, .. }), "{error}");
}

#[tokio::test]
async fn an_ended_hold_is_not_loaded_any_more() {
    let mut disk = Disk::new().await;
    let two = Order { holds: vec![canceled_hold(8), canceled_hold(9)], ..pending(1) };
    disk.create(&two).await;
    let given_back = Hold { seen: Seen::Canceled, ..canceled_hold(8) };
    disk.save(&Order { holds: vec![given_back, canceled_hold(9)], ..two }, vec![]).await.unwrap();

    assert_eq!(disk.order(pending(1).id).await.holds, [canceled_hold(9)]);
}

#[tokio::test]
async fn a_status_that_does_not_fit_its_state_is_corrupt() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    disk.tamper("update orders set status = 'active', version = 2").await.unwrap();

    let error = disk.reader.find_order(pending(1).id).await.unwrap_err();

    assert!(matches!(error, StoreError::Corrupt { table: "orders", .. }), "{error}");
}

#[tokio::test]
async fn query_columns_that_contradict_the_state_are_corrupt() {
    for change in [
        "update orders set ended = 1, version = 2",
        "update orders set in_book = 0, version = 2",
        "update orders set waits_for = 'buyer', version = 2",
    ] {
        let mut disk = Disk::new().await;
        disk.create(&pending(1)).await;
        disk.tamper(change).await.unwrap();

        let error = disk.reader.find_order(pending(1).id).await.unwrap_err();

        assert!(matches!(error, StoreError::Corrupt { table: "orders", .. }), "{change}: {error}");
    }
}

#[tokio::test]
async fn a_state_from_the_future_is_corrupt_and_not_guessed_at() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    disk.tamper(r#"update orders set state = '{"v":"2","state":"pending"}', version = 2"#)
        .await
        .unwrap();

    let error = disk.reader.find_order(pending(1).id).await.unwrap_err();

    assert!(matches!(error, StoreError::Corrupt { table: "orders", .. }), "{error}");
}

#[tokio::test]
async fn an_order_that_breaks_an_invariant_is_corrupt() {
    let mut disk = Disk::new().await;
    disk.create(&awaiting_hold(1, 9)).await;
    disk.tamper("update holds set decision = 'settle'").await.unwrap();

    let error = disk.reader.find_order(pending(1).id).await.unwrap_err();

    assert!(matches!(error, StoreError::Corrupt { table: "orders", .. }), "{error}");
}

#[tokio::test]
async fn an_unreadable_row_is_not_a_database_error() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    disk.tamper("update orders set terms = cast(x'22e16322' as text), version = 2").await.unwrap();

    let error = disk.reader.find_order(pending(1).id).await.unwrap_err();

    assert!(matches!(error, StoreError::Unreadable(_)), "{error}");
}

// spec: INV-9 E3
#[tokio::test]
async fn an_unreadable_hold_does_not_block_the_others() {
    let mut disk = Disk::new().await;
    disk.create(&awaiting_hold(1, 8)).await;
    disk.create(&awaiting_hold(2, 9)).await;
    disk.tamper("drop trigger holds_stay_what_they_are").await.unwrap();
    let damaged = "update holds set hash = 'x' || substr(hash, 2) where id = 1";
    disk.tamper(damaged).await.unwrap();

    let watched = disk.reader.list_holds_to_watch().await.unwrap();

    assert_eq!(watched, [(pending(2).id, PaymentHash([9; 32]))]);
}

// spec: INV-9
#[tokio::test]
async fn an_unreadable_order_is_named_and_does_not_block_the_others() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    disk.create(&pending(2)).await;
    disk.tamper(
        "update orders set terms = cast(x'22ff22' as text), version = 2 where id like '01%'",
    )
    .await
    .unwrap();

    let mut tx = disk.writer.begin().await.unwrap();
    let failures = tx.refresh_deadlines(MARGIN).await.unwrap();

    assert_eq!(failures.len(), 1, "{failures:?}");
}

/// The stored form of terms is permanent: a database of this version must always be readable.
#[tokio::test]
async fn the_stored_form_of_terms_is_fixed() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    disk.create(&in_range(2)).await;

    let stored: Vec<String> = sqlx::query_scalar("select terms from orders order by id")
        .fetch_all(&disk.reader.pool)
        .await
        .unwrap();

    assert_eq!(
        stored,
        [
            r#"{"v":"1","fiat_code":"EUR","fiat":{"fixed":90},"price":"fixed","payment_method":"face to face","quote":{"fiat":90,"amount":100000,"fee":1000}}"#,
            r#"{"v":"1","fiat_code":"EUR","fiat":{"range":{"min":10,"max":50}},"price":{"market":{"premium":-2}},"payment_method":"face to face","quote":null}"#,
        ]
    );
}

/// An order in the book whose taker chooses the fiat, and that follows the market.
fn in_range(n: u8) -> Order {
    let terms = Terms {
        fiat: FiatAmount::Range { min: Fiat(10), max: Fiat(50) },
        price: Price::Market { premium: -2 },
        quote: None,
        ..pending(n).terms
    };
    Order { terms, ..pending(n) }
}

#[tokio::test]
async fn an_order_without_a_quote_is_in_the_book_and_never_taken() {
    let mut disk = Disk::new().await;
    let order = in_range(1);
    disk.create(&order).await;
    assert_eq!(disk.order(order.id).await, order);

    let Order { taker, taken_at, state, holds, .. } = awaiting_hold(1, 9);
    disk.save(&Order { taker, taken_at, state, holds, ..order.clone() }, vec![]).await.unwrap();

    let error = disk.reader.find_order(order.id).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { table: "orders", .. }), "{error}");
}

/// The stored form of a state is permanent: a database of this version must always be readable.
#[tokio::test]
async fn the_stored_form_of_a_state_is_fixed() {
    let mut disk = Disk::new().await;
    disk.create(&awaiting_hold(1, 9)).await;

    let state: String =
        sqlx::query_scalar("select state from orders").fetch_one(&disk.reader.pool).await.unwrap();

    let hash = "09".repeat(32);
    let form =
        format!(r#"{{"v":"1","state":{{"awaiting-hold":{{"hash":"{hash}","until":900}}}}}}"#);
    assert_eq!(state, form);
}

// spec: I9 E5
#[tokio::test]
async fn a_settling_order_of_a_version_that_did_not_warn_is_read_and_due_by_blocks() {
    let mut disk = Disk::new().await;
    let held =
        Held { hash: super::hash(9), paid: Msats(101_000_000), expires_at: BlockHeight(500) };
    let (request_id, warned) = (Some(7), HorizonWarning::NotYet);
    let mut settling = Order {
        destination: Some(super::invoice(7)),
        state: OrderState::Settling { held, request_id, warned },
        ..awaiting_hold(1, 9)
    };
    settling.holds[0].decision = Some(HoldDecision::Settle);
    disk.create(&settling).await;
    disk.tamper(
        "update orders set state = json_remove(state, '$.state.settling.warned'),
            due_height = null, version = 2",
    )
    .await
    .unwrap();

    let found = disk.reader.find_order(settling.id).await.unwrap().unwrap();
    assert_eq!(found.state, settling.state);
    let mut tx = disk.writer.begin().await.unwrap();
    assert!(tx.refresh_deadlines(24).await.unwrap().is_empty());
    tx.commit().await.unwrap();
    let due = async |height| disk.reader.list_due(Timestamp(0), height, true, 10).await.unwrap();
    assert_eq!(due(BlockHeight(463)).await, []);
    assert_eq!(due(BlockHeight(464)).await, [settling.id]);
}

// spec: I9
#[tokio::test]
async fn an_order_is_due_when_its_time_has_come() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    let due =
        async |now| disk.reader.list_due(Timestamp(now), BlockHeight(0), true, 10).await.unwrap();

    assert_eq!(due(999).await, []);
    assert_eq!(due(1_000).await, [pending(1).id]);
}

// spec: E5
#[tokio::test]
async fn an_escrow_is_due_at_its_guard_height() {
    let mut disk = Disk::new().await;
    let held =
        Held { hash: super::hash(9), paid: Msats(101_000_000), expires_at: BlockHeight(500) };
    let active = Order {
        destination: Some(super::invoice(7)),
        state: OrderState::Active { held },
        ..awaiting_hold(1, 9)
    };
    disk.create(&active).await;
    let due = async |height| {
        disk.reader.list_due(Timestamp(i64::MAX), BlockHeight(height), true, 10).await.unwrap()
    };

    assert_eq!(due(500 - MARGIN - 1).await, []);
    assert_eq!(due(500 - MARGIN).await, [active.id]);
}

#[tokio::test]
async fn a_waiting_deadline_is_paused_while_relays_are_unreachable() {
    let mut disk = Disk::new().await;
    disk.create(&awaiting_hold(1, 9)).await;
    for is_reachable in [false, true] {
        let due = disk.reader.list_due(Timestamp(999), BlockHeight(0), is_reachable, 10);
        assert_eq!(!due.await.unwrap().is_empty(), is_reachable);
    }
}

#[tokio::test]
async fn deadlines_follow_the_margin_in_force() {
    let mut disk = Disk::new().await;
    let held =
        Held { hash: super::hash(9), paid: Msats(101_000_000), expires_at: BlockHeight(500) };
    let active = Order {
        destination: Some(super::invoice(7)),
        state: OrderState::Active { held },
        ..awaiting_hold(1, 9)
    };
    disk.create(&active).await;
    let mut tx = disk.begin().await;
    let failures = tx.refresh_deadlines(100).await.unwrap();
    tx.commit().await.unwrap();

    assert!(failures.is_empty());
    let due = disk.reader.list_due(Timestamp(0), BlockHeight(400), true, 10).await.unwrap();
    assert_eq!(due, [active.id]);
    assert_eq!(disk.order(active.id).await.version, 1, "a deadline is no decision");
}

#[tokio::test]
async fn each_version_has_its_journal_line() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    disk.save(&awaiting_hold(1, 9), vec![]).await.unwrap();

    let lines: Vec<(i64, Option<String>, String)> =
        sqlx::query_as("select version, from_status, to_status from journal order by id")
            .fetch_all(&disk.reader.pool)
            .await
            .unwrap();

    assert_eq!(lines[0], (1, None, "pending".to_owned()));
    assert_eq!(lines[1], (2, Some("pending".to_owned()), "waiting-payment".to_owned()));
}

#[tokio::test]
async fn only_a_changed_public_projection_needs_a_new_event() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    let taken = awaiting_hold(1, 9);
    disk.save(&taken, vec![]).await.unwrap();
    let later = OrderState::AwaitingHold { hash: super::hash(9), until: Timestamp(950) };
    disk.save(&Order { state: later, ..taken }, vec![]).await.unwrap();

    let due = disk.reader.list_publications_due(Timestamp(1), 10).await.unwrap();

    let revisions: Vec<_> = due.into_iter().map(|row| row.revision).collect();
    assert_eq!(revisions, [2], "pending, then in-progress; a deadline is not public");
}

/// A decision on order 1 that creates order `n` and notifies its maker.
fn with_child(n: u8) -> Decision {
    let notification = Effect::Notify {
        to: party(1).trade,
        request_id: None,
        trade_index: None,
        notice: Notice::Rate,
    };
    let child = decision(pending(n), vec![notification]);
    Decision { child: Some(Box::new(child)), ..decision(awaiting_hold(1, 9), vec![]) }
}

#[tokio::test]
async fn a_child_order_is_saved_in_the_transaction_of_its_parent() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;

    let mut tx = disk.begin().await;
    tx.save(&pending(1), &with_child(2), &line(2), MARGIN).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(disk.order(pending(2).id).await, pending(2));
    let notified: Vec<_> = disk.due(2).await.into_iter().map(|row| row.order).collect();
    assert_eq!(notified, [Some(pending(2).id)], "of the child order");
    let due = disk.reader.list_publications_due(Timestamp(1), 9).await.unwrap();
    assert_eq!(due.len(), 2, "{due:?}");
    let births: i64 = sqlx::query_scalar("select count(*) from journal where from_status is null")
        .fetch_one(&disk.reader.pool)
        .await
        .unwrap();
    assert_eq!(births, 2);
}

#[tokio::test]
async fn a_child_order_that_cannot_be_saved_leaves_its_parent_unchanged() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    disk.create(&pending(2)).await;

    let mut tx = disk.begin().await;
    let mut part = tx.savepoint().await.unwrap();
    let error = part.save(&pending(1), &with_child(2), &line(2), MARGIN).await.unwrap_err();
    drop(part);
    tx.commit().await.unwrap();

    assert!(matches!(error, StoreError::Forbidden(_)), "{error}");
    assert_eq!(disk.order(pending(1).id).await, pending(1));
}

#[tokio::test]
async fn a_sender_is_a_party_only_of_a_running_order() {
    let mut disk = Disk::new().await;
    disk.create(&awaiting_hold(1, 9)).await;
    disk.create(&pending(3)).await;
    disk.create(&ended(4, Outcome::Expired)).await;
    let part = async |order: u8, n| {
        let id = Some(pending(order).id);
        disk.reader.find_known(EventId([0; 32]), None, id, party(n).trade).await.unwrap().part
    };

    let taken = Some(Part { taken_at: Some(Timestamp(2)) });
    assert_eq!((part(1, 1).await, part(1, 2).await), (taken, taken), "its maker and its taker");
    assert_eq!((part(1, 3).await, part(2, 1).await), (None, None));
    assert_eq!(part(3, 1).await, Some(Part { taken_at: None }), "nobody took it");
    assert_eq!(part(4, 1).await, None, "it has ended");
}

#[tokio::test]
async fn a_waiting_deadline_belongs_to_the_party_that_must_act() {
    let mut disk = Disk::new().await;
    disk.create(&awaiting_hold(1, 9)).await;
    let (maker, taker) = (party(1).identity, party(2).identity);
    let mut tx = disk.begin().await;

    assert!(tx.has_duty(maker, trade::Side::Seller).await.unwrap(), "the seller must pay");
    assert!(!tx.has_duty(maker, trade::Side::Buyer).await.unwrap());
    assert!(!tx.has_duty(taker, trade::Side::Seller).await.unwrap());
    assert!(!tx.has_duty(taker, trade::Side::Buyer).await.unwrap());
}

/// Any order that the core can produce, with the rows that are loaded.
fn any_order() -> impl Strategy<Value = Order> {
    (any_terms(), any_party(), any_party(), any::<[u8; 16]>(), vec(any_debt(), 0..3), any_stand())
        .prop_map(|(terms, maker, taker, id, mut holds, stand)| {
            holds.extend(stand.hold);
            Order {
                id: OrderId(id),
                version: 0,
                terms,
                maker,
                taker: (stand.state != OrderState::Pending).then_some(taker),
                taken_at: (stand.state != OrderState::Pending).then_some(Timestamp(3)),
                destination: stand.destination,
                state: stand.state,
                holds,
                payouts: stand.payout.into_iter().collect(),
            }
        })
}

/// A state and the rows that it requires.
#[derive(Debug, Clone)]
struct Stand {
    state: OrderState,
    hold: Option<Hold>,
    destination: Option<Invoice>,
    payout: Option<Payout>,
}

fn any_stand() -> impl Strategy<Value = Stand> {
    let parts = (any_hold(), any_held(), any::<i64>(), option::of(any::<u64>()), any_invoice());
    (0_usize..16, parts, any_payout()).prop_map(|(which, parts, payout)| {
        let (stood_on, held, until, request_id, invoice) = parts;
        let until = Timestamp(until);
        let held = Held { hash: stood_on.hash, ..held };
        let (state, decision, pays) = match which {
            0 => (OrderState::Pending, None, false),
            1 => {
                let from = PreparingFrom::Book { index_before: request_id.map(|_| 3) };
                let preparing = Preparing { hash: stood_on.hash, until, request_id, from };
                (OrderState::PreparingHold(preparing), Some(None), false)
            }
            2 => {
                let from = PreparingFrom::AwaitingInvoice { until };
                let preparing = Preparing { hash: stood_on.hash, until, request_id, from };
                (OrderState::PreparingHold(preparing), Some(None), false)
            }
            3 => (OrderState::AwaitingHold { hash: stood_on.hash, until }, Some(None), false),
            4 => (OrderState::AwaitingInvoice { escrow: None, until }, None, false),
            5 => (OrderState::AwaitingInvoice { escrow: Some(held), until }, Some(None), false),
            6 => (OrderState::Active { held }, Some(None), true),
            7 => (OrderState::FiatSent { held, warned: HorizonWarning::Near }, Some(None), true),
            8 => {
                let settle = Some(HoldDecision::Settle);
                let warned = HorizonWarning::Reached;
                (OrderState::Settling { held, request_id, warned }, Some(settle), true)
            }
            9 => (OrderState::PayingBuyer, None, true),
            10 => {
                let because = FrozenBecause::EscrowLost;
                let was = FrozenState::StatusOnly(Status::FiatSent);
                (OrderState::Frozen { was, because }, None, true)
            }
            11 => {
                let state = OrderState::FiatSent { held, warned: HorizonWarning::Near };
                (frozen(state, FrozenBecause::EscrowLost), Some(None), true)
            }
            12 => {
                let state = OrderState::AwaitingHold { hash: stood_on.hash, until };
                (frozen(state, FrozenBecause::HoldForgotten), Some(None), false)
            }
            13 => (frozen(OrderState::PayingBuyer, FrozenBecause::PayoutRefused), None, true),
            14 => (OrderState::Ended(Outcome::Success), None, true),
            _ => (OrderState::Ended(Outcome::Canceled), None, false),
        };
        let payout = match state {
            OrderState::PayingBuyer => Some(payout),
            OrderState::Frozen { because: FrozenBecause::PayoutRefused, .. } => {
                Some(Payout { state: PayoutState::Frozen, ..payout })
            }
            OrderState::Ended(Outcome::Success) => Some(paid(payout)),
            _ => None,
        };
        Stand {
            hold: decision.map(|decision| Hold { decision, ..stood_on }),
            destination: pays.then_some(invoice),
            payout,
            state,
        }
    })
}

fn frozen(state: OrderState, because: FrozenBecause) -> OrderState {
    OrderState::Frozen { was: FrozenState::Whole(Box::new(state)), because }
}

fn paid(payout: Payout) -> Payout {
    let attempt = payout.attempt.unwrap_or_else(|| unreachable!("always there"));
    let attempt = Attempt { receipt: Some(Preimage([5; 32])), ..attempt };
    Payout { state: PayoutState::Paid { fee: Msats(7) }, attempt: Some(attempt), ..payout }
}

fn any_payout() -> impl Strategy<Value = Payout> {
    let state = prop_oneof![
        any::<i64>().prop_map(|at| PayoutState::Due { at: Timestamp(at) }),
        Just(PayoutState::Sending),
        Just(PayoutState::NeedsInvoice),
    ];
    let failed_sends = option::of((any::<i64>(), 1..u32::MAX));
    (amount(), any::<u32>(), state, failed_sends, any_attempt()).prop_map(
        |(amount, failures, state, failed_sends, attempt)| {
            let failed_sends =
                failed_sends.map(|(since, count)| FailedSends { since: Timestamp(since), count });
            let owed_since = Timestamp(i64::from(failures));
            let owed = Payout::owed(PayoutPurpose::Buyer, amount, owed_since);
            Payout { failures, state, failed_sends, attempt: Some(attempt), ..owed }
        },
    )
}

fn any_attempt() -> impl Strategy<Value = Attempt> {
    let money = (".{0,40}", option::of(amount()), amount(), 1..u32::MAX, any::<i64>());
    let tries = (1..u32::MAX, any::<i64>(), any::<bool>(), 0..=u64::MAX / 2, 0..=u64::MAX / 2);
    let since = || option::of(any::<i64>());
    let doubts = (since(), since(), since(), since(), option::of(".{0,40}"), since());
    (any::<[u8; 32]>(), money, tries, doubts).prop_map(|(hash, money, tries, doubts)| Attempt {
        hash: PaymentHash(hash),
        bolt11: money.0,
        amount: money.1,
        max_fee: money.2,
        subsidy: doubts.5.map(|day| Subsidy {
            day: Day(day),
            payee: NodeKey([3; 33]),
            amount: Msats(u64::from(money.3)),
        }),
        cltv_limit: money.3,
        expires_at: Timestamp(money.4),
        tries: tries.0,
        begun_at: Timestamp(tries.1),
        acked: tries.2,
        base_index: tries.3,
        payment_index: tries.4,
        unanswered_since: doubts.0.map(Timestamp),
        missing_since: doubts.1.map(Timestamp),
        htlc_missing_since: doubts.2.map(Timestamp),
        refused_since: doubts.3.map(Timestamp),
        refusal: doubts.4,
        in_doubt_since: doubts.5.map(Timestamp),
        receipt: None,
    })
}

fn any_terms() -> impl Strategy<Value = Terms> {
    let texts = ("[A-Z]{3}", ".{0,40}");
    let fiat = prop_oneof![
        any::<u64>().prop_map(|fiat| FiatAmount::Fixed(Fiat(fiat))),
        any::<(u64, u64)>()
            .prop_map(|(min, max)| FiatAmount::Range { min: Fiat(min), max: Fiat(max) }),
    ];
    let price = prop_oneof![
        Just(Price::Fixed),
        any::<i64>().prop_map(|premium| Price::Market { premium }),
    ];
    let quote = (1..=u64::MAX / 2)
        .prop_flat_map(|amount| (any::<u64>(), Just(amount), 0..amount))
        .prop_map(|(fiat, amount, fee)| Quote::new(Fiat(fiat), Sats(amount), Sats(fee)));
    (any::<bool>(), texts, (fiat, price, quote), any::<(i64, i64)>()).prop_map(
        |(sells, texts, (fiat, price, quote), times)| Terms {
            kind: if sells { Kind::Sell } else { Kind::Buy },
            fiat_code: texts.0,
            fiat,
            price,
            payment_method: texts.1,
            quote,
            created_at: Timestamp(times.0),
            expires_at: Timestamp(times.1),
        },
    )
}

fn any_party() -> impl Strategy<Value = Party> {
    any::<([u8; 32], [u8; 32], Option<i64>)>().prop_map(|(trade, identity, index)| Party {
        trade: TradeKey(trade),
        identity: IdentityKey(identity),
        index,
    })
}

fn any_invoice() -> impl Strategy<Value = Invoice> {
    let node = (any::<[u8; 32]>(), any::<u8>(), option::of(0..=u64::MAX));
    (any::<[u8; 32]>(), ".{0,40}", node, any::<(i64, u32)>()).prop_map(
        |(hash, text, (key, first, amount), (expires_at, min_final_cltv))| {
            let mut payee = [first; 33];
            payee[1..].copy_from_slice(&key);
            Invoice {
                text,
                hash: PaymentHash(hash),
                payee: NodeKey(payee),
                amount: amount.map(Msats),
                expires_at: Timestamp(expires_at),
                min_final_cltv,
                network: Network::Signet,
            }
        },
    )
}

/// The hold of a state; its decision follows from the state.
fn any_hold() -> impl Strategy<Value = Hold> {
    let seen = prop_oneof![
        Just(Seen::Wanted),
        Just(Seen::Open),
        any_held().prop_map(|held| Seen::Accepted { paid: held.paid, expires_at: held.expires_at }),
    ];
    let secret = any::<([u8; 32], [u8; 32])>();
    (secret, amount(), option::of(".{0,40}"), seen).prop_map(
        |((hash, preimage), amount, bolt11, seen)| Hold {
            hash: PaymentHash(hash),
            preimage: Preimage(preimage),
            purpose: HoldPurpose::Escrow,
            amount,
            bolt11,
            seen,
            decision: None,
        },
    )
}

/// A hold of an earlier take that is still to be canceled.
fn any_debt() -> impl Strategy<Value = Hold> {
    any_hold().prop_map(|hold| Hold { decision: Some(HoldDecision::Cancel), ..hold })
}

fn any_held() -> impl Strategy<Value = Held> {
    (0..=u64::MAX / 2, any::<u32>()).prop_map(|(paid, expires_at)| Held {
        hash: PaymentHash([0; 32]),
        paid: Msats(paid),
        expires_at: BlockHeight(expires_at),
    })
}

fn amount() -> impl Strategy<Value = Sats> {
    (1..=u64::MAX / 2).prop_map(Sats)
}
