use trade::{
    AccountChange, BlockHeight, Day, Decision, LightningIdentity, Network, NodeKey, Note, Order,
    OrderId, Reputation, Timestamp,
};

use super::{Disk, MARGIN, decision, line, party, pending};
use crate::store::DaemonState;

async fn change(disk: &mut Disk, change: AccountChange) {
    let id = pending(1).id;
    if disk.reader.find_order(id).await.unwrap().is_none() {
        disk.create(&pending(1)).await;
    }
    let before = disk.order(id).await;
    let mut tx = disk.begin().await;
    let changed =
        Decision { account: Some(change), ..decision(Order { ..before.clone() }, vec![]) };
    tx.save(&before, &changed, &line(50_000), MARGIN).await.unwrap();
    tx.commit().await.unwrap();
}

async fn last_index(disk: &mut Disk) -> Option<i64> {
    let mut tx = disk.begin().await;
    tx.user(party(1).identity, Timestamp(50_000)).await.unwrap().last_index
}

// spec: K-01
#[tokio::test]
async fn a_trade_index_only_grows() {
    let mut disk = Disk::new().await;
    assert_eq!(last_index(&mut disk).await, None);
    for (to, last) in [(5, 5), (3, 5), (6, 6)] {
        change(&mut disk, AccountChange::RaiseIndex { identity: party(1).identity, to }).await;
        assert_eq!(last_index(&mut disk).await, Some(last), "raised to {to}");
    }
}

// spec: D17
#[tokio::test]
async fn a_trade_index_is_returned_while_it_is_still_the_newest() {
    let mut disk = Disk::new().await;
    let identity = party(1).identity;
    for (from, to, last) in [(5, Some(2), Some(7)), (7, Some(2), Some(2)), (2, None, None)] {
        if last_index(&mut disk).await.is_none() {
            change(&mut disk, AccountChange::RaiseIndex { identity, to: 7 }).await;
        }
        change(&mut disk, AccountChange::GiveBackIndex { identity, from, to }).await;
        assert_eq!(last_index(&mut disk).await, last, "{from} given back");
    }
}

#[tokio::test]
async fn a_stranger_has_no_reputation() {
    let disk = Disk::new().await;
    let known = disk.reader.reputation(party(1).identity, Timestamp(50_000)).await.unwrap();
    assert_eq!(known, Reputation::default());
}

#[tokio::test]
async fn the_first_rating_counts_half_in_the_average() {
    let mut disk = Disk::new().await;
    change(&mut disk, AccountChange::RaiseIndex { identity: party(1).identity, to: 1 }).await;
    disk.tamper(
        "update users set reviews = 3, rating_sum = 15, first_rating = 5, last_rating = 5,
            min_rating = 5, max_rating = 5, created_at = 90000",
    )
    .await
    .unwrap();

    let now = Timestamp(90_000 + 3 * 86_400);
    let known = disk.reader.reputation(party(1).identity, now).await.unwrap();

    assert_eq!((known.rating_milli, known.reviews), (4_166, 3), "5, 5 and 5 stars");
    assert_eq!((known.operating_days, known.since), (3, Some(Timestamp(86_400))));
}

#[tokio::test]
async fn the_daemon_state_survives_a_restart() {
    let mut disk = Disk::new().await;
    assert_eq!(disk.reader.daemon_state().await.unwrap(), DaemonState::default());
    let state = DaemonState {
        relays_reachable_at: Some(Timestamp(1)),
        cursor: Some(Timestamp(9)),
        missed_since: Some(Timestamp(2)),
        height: Some(BlockHeight(3)),
        tip_seen_at: Some(Timestamp(2)),
        lnd_unhealthy_at: Some(Timestamp(4)),
        lnd_restarted_at: Some(Timestamp(5)),
        routing_half_told: Some(Day(6)),
        routing_short_told: Some(Day(7)),
        refused_orders: vec![OrderId([1; 16]), OrderId([2; 16])],
        node: Some(LightningIdentity { key: NodeKey([2; 33]), network: Network::Regtest }),
    };
    let mut tx = disk.begin().await;
    tx.set_relays_reachable_at(Timestamp(1)).await.unwrap();
    tx.set_height(BlockHeight(3)).await.unwrap();
    tx.set_tip_seen_at(Timestamp(2)).await.unwrap();
    tx.set_cursor(Timestamp(9), Some(Timestamp(2))).await.unwrap();
    tx.set_lnd_unhealthy_at(Timestamp(4)).await.unwrap();
    tx.set_lnd_restarted_at(Timestamp(5)).await.unwrap();
    tx.take_note(&Note::RoutingHalfTold(Day(6))).await.unwrap();
    tx.take_note(&Note::RoutingShortTold(Day(7))).await.unwrap();
    tx.take_note(&Note::RefusedOrders(state.refused_orders.clone())).await.unwrap();
    tx.set_node(state.node.unwrap()).await.unwrap();
    tx.commit().await.unwrap();

    let mut disk = disk.reopened().await;

    assert_eq!(disk.reader.daemon_state().await.unwrap(), state);
    let mut tx = disk.begin().await;
    tx.set_cursor(Timestamp(3), None).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(disk.reader.daemon_state().await.unwrap().missed_since, None);
}
