use trade::{FrozenBecause, FrozenState, Order, OrderState, Status, Timestamp};

use super::{Disk, party, pending};

// spec: D13
#[tokio::test]
async fn what_waits_for_a_person_is_listed_with_the_reason_the_time_and_what_to_do() {
    let mut disk = Disk::new().await;
    for n in 1..=3 {
        disk.create(&pending(n)).await;
    }
    let because = FrozenBecause::HoldForgotten;
    let state = OrderState::Frozen { was: FrozenState::StatusOnly(Status::Active), because };
    disk.save(
        &Order { taker: Some(party(2)), taken_at: Some(Timestamp(2)), state, ..pending(2) },
        vec![],
    )
    .await
    .unwrap();
    disk.tamper(
        "update orders set maker_identity = replace(hex(zeroblob(32)), '0', 'z')
        where id like '03%'",
    )
    .await
    .unwrap();

    let found = disk.reader.list_waiting(trade::Timestamp(10), 24).await.unwrap();

    assert!(found.iter().all(super::super::WaitingOrder::needs_a_person));
    let ids: Vec<_> = found.iter().map(|waiting| waiting.order).collect();
    assert_eq!(ids, [pending(2).id, pending(3).id]);
    assert_eq!(
        found[0].to_string(),
        "LND does not know a hold it had acknowledged; the order is frozen. Is this the right LND, \
         with all of its data? (unchanged since 1970-01-01 00:00:02 UTC)"
    );
    assert!(found[1].to_string().contains("restored from a backup"), "{}", found[1]);
}
