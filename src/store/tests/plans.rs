use std::collections::BTreeSet;
use std::path::Path;

use sqlx::Row as _;

use super::Disk;

/// What is short however long the daemon runs: indexes of what is not over, a table of a few rows,
/// and results of parts of a query.
const SHORT: [&str; 9] = [
    "(subquery-2)",
    "(subquery-4)",
    "CONSTANT ROW",
    "attempt USING INDEX payout_attempts_open",
    "daemon_state",
    "holds USING INDEX holds_unclosed",
    "orders USING INDEX orders_by_destination",
    "outbox USING INDEX outbox_by_due_at",
    "shown",
];

// `mostrod check` alone sums up the ledger.
#[tokio::test]
async fn no_query_of_a_running_daemon_reads_the_whole_past() {
    let disk = Disk::new().await;
    let queries = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let mut long = BTreeSet::new();
    for file in std::fs::read_dir(queries).unwrap() {
        let file = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let query = serde_json::from_str::<serde_json::Value>(&file).unwrap();
        let sql = format!("explain query plan {}", query["query"].as_str().unwrap());
        let plan = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&disk.reader.pool).await;
        let steps: Vec<String> = plan.unwrap().iter().map(|step| step.get("detail")).collect();
        let scans = steps.iter().filter_map(|step| step.strip_prefix("SCAN "));
        long.extend(scans.filter(|scan| !SHORT.contains(scan)).map(str::to_owned));
    }
    assert_eq!(long, BTreeSet::from(["ledger".to_owned()]));
}
