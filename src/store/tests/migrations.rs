//! Databases of earlier versions are migrated with all their data.

use std::path::PathBuf;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use trade::{OrderId, Timestamp};

use super::{folder, open, pending};
use crate::store::PublicationId;

/// A file with the schema before a migration, and these rows in it.
async fn written_before(migration: i64, rows: &[&'static str]) -> (TempDir, PathBuf) {
    let (folder, path) = folder();
    let mut migrator = sqlx::migrate!();
    let earlier = migrator.iter().filter(|each| each.version < migration).cloned();
    migrator.migrations = earlier.collect::<Vec<_>>().into();
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let mut connection = options.connect().await.unwrap();
    migrator.run(&mut connection).await.unwrap();
    for rows in rows {
        sqlx::raw_sql(*rows).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    (folder, path)
}

/// Two orders in the book, as the first versions wrote them.
const ORDERS: &str = r#"
    insert into orders (id, version, kind, status, state, maker_key, maker_identity, maker_index,
        fiat_code, fiat_amount, payment_method, premium, amount, fee, created_at, expires_at, due_at)
    select column1, 1, 'sell', 'pending', '{"v":"1","state":"pending"}',
        '0101010101010101010101010101010101010101010101010101010101010101',
        '6565656565656565656565656565656565656565656565656565656565656565',
        1, 'EUR', 90, 'face to face', 0, 100000, 1000, 1, 1000, 1000
    from (values ('01010101-0101-0101-0101-010101010101'), ('02020202-0202-0202-0202-020202020202'));
"#;

// spec: INV-7 D30
#[tokio::test]
async fn published_and_waiting_revisions_are_migrated() {
    const ROWS: &str = "
        insert into book (order_id, revision, published, event, event_revision, last_created_at,
            taken_at, attempts, retry_at)
        values
            ('01010101-0101-0101-0101-010101010101', 2, 2, 'out', 2, 500, 500, 0, 0),
            ('02020202-0202-0202-0202-020202020202', 3, 2, 'sealed', 3, 700, 600, 4, 60);
        insert into addressable (kind, d, created_at, event, taken_at) values
            (0, '', 40, 'profile', 0),
            (10002, '', 50, 'relays', 50),
            (38385, 'former key', 10, 'terms under a former key', 10),
            (38385, 'key', 20, 'terms', 20);
    ";
    let (_folder, path) = written_before(21, &[ORDERS, ROWS]).await;

    let (_writer, reader) = open(&path).await.unwrap();

    let due = reader.list_publications_due(Timestamp(60), 9).await.unwrap();
    let [profile, order] = &due[..] else { panic!("{due:?}") };
    assert_eq!(profile.id, PublicationId::Profile);
    assert_eq!(profile.event.as_deref(), Some("profile"), "no relay is known to have it");
    assert_eq!(order.id, PublicationId::Order(OrderId([2; 16])));
    assert_eq!((order.revision, order.attempts, order.event.as_deref()), (3, 4, Some("sealed")));
    assert_eq!((order.last_created_at, order.taken_at), (Timestamp(700), Timestamp(600)));
    let shown = reader.list_shown(Timestamp(1), None, 9).await.unwrap();
    assert_eq!(shown.iter().map(|(_, event)| event).collect::<Vec<_>>(), ["out", "sealed"]);
    let own = reader.list_own_events().await.unwrap();
    assert_eq!(own, ["terms", "profile", "relays"]);
}

#[tokio::test]
async fn query_columns_are_filled_for_orders_saved_before() {
    const ROWS: &str = "
        insert into orders (id, version, kind, status, state, maker_key, maker_identity,
            taker_key, taker_identity, fiat_code, fiat_amount, payment_method, premium, amount, fee,
            created_at, expires_at, due_at)
        select column1, 2, 'sell', column2, '{}', printf('%064d', 1), printf('%064d', 2),
            printf('%064d', 3), printf('%064d', 4), 'EUR', 90, 'cash', 0, 100000, 1000, 1, 1000,
            column3
        from (values
            (printf('%036d', 1), 'pending', 9),
            (printf('%036d', 2), 'waiting-payment', 9),
            (printf('%036d', 3), 'waiting-buyer-invoice', 9),
            (printf('%036d', 4), 'waiting-payment', null), -- frozen
            (printf('%036d', 5), 'active', null),
            (printf('%036d', 6), 'settled-hold-invoice', 9),
            (printf('%036d', 7), 'success', null),
            (printf('%036d', 8), 'expired', null)
        );
    ";
    let (_folder, path) = written_before(22, &[ROWS]).await;

    let (_writer, reader) = open(&path).await.unwrap();

    let asked: Vec<(String, i64, i64, Option<String>)> =
        sqlx::query_as("select status, ended, in_book, waits_for from orders order by id")
            .fetch_all(&reader.pool)
            .await
            .unwrap();
    let asked: Vec<_> = asked
        .iter()
        .map(|(status, ended, in_book, waits_for)| {
            (status.as_str(), *ended, *in_book, waits_for.as_deref())
        })
        .collect();
    assert_eq!(
        asked,
        [
            ("pending", 0, 1, None),
            ("waiting-payment", 0, 0, Some("seller")),
            ("waiting-buyer-invoice", 0, 0, Some("buyer")),
            ("waiting-payment", 0, 0, None),
            ("active", 0, 0, None),
            ("settled-hold-invoice", 0, 0, None),
            ("success", 1, 0, None),
            ("expired", 1, 0, None),
        ]
    );
}

#[tokio::test]
async fn terms_that_were_spelled_in_columns_are_read_from_their_document() {
    let (_folder, path) = written_before(21, &[ORDERS]).await;

    let (_writer, reader) = open(&path).await.unwrap();

    for n in [1, 2] {
        let order = reader.find_order(OrderId([n; 16])).await.unwrap();
        assert_eq!(order, Some(pending(n)));
    }
}

#[tokio::test]
async fn moments_whose_keys_were_renamed_are_known_afterwards() {
    const ROWS: &str = "
        insert into daemon_state (key, value) values ('heard_at', '5'), ('lnd_unwell_at', '6');
    ";
    let (_folder, path) = written_before(24, &[ROWS]).await;

    let (_writer, reader) = open(&path).await.unwrap();

    let state = reader.daemon_state().await.unwrap();
    assert_eq!(state.relays_reachable_at, Some(Timestamp(5)));
    assert_eq!(state.lnd_unhealthy_at, Some(Timestamp(6)));
}
