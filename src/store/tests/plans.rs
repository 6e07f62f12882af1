use std::collections::BTreeSet;
use std::path::Path;

use sqlx::Row as _;

use super::Disk;

/// Scans that stay short however long the daemon runs: indexes of unfinished rows, a table of a few
/// rows, and results of parts of a query.
const SHORT: [&str; 16] = [
    "(subquery-1)",
    "(subquery-2)",
    "(subquery-3)",
    "(subquery-4)",
    "(subquery-5)",
    "CONSTANT ROW",
    "attempt USING INDEX payout_attempts_open",
    "daemon_state",
    "holds USING INDEX holds_unclosed",
    "orders USING COVERING INDEX orders_open",
    "orders USING COVERING INDEX orders_open_by_maker_key",
    "orders USING INDEX orders_open_by_taker_key",
    "orders USING INDEX orders_waiting",
    "outbox USING COVERING INDEX outbox_to_strangers_by_expiry",
    "running",
    "shown",
];

// Only `mostrod check` sums up the ledger and counts waiting rows.
#[tokio::test]
async fn no_query_of_a_running_daemon_scans_a_whole_table() {
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
    let of_check = ["ledger", "outbox USING INDEX outbox_by_lane"];
    assert_eq!(long, of_check.map(str::to_owned).into());
}
