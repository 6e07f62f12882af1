use super::{Disk, StoreError, pending};

/// The header is not changed, so that the file is still a database.
fn damage(disk: &Disk) {
    let path = disk.folder.path().join("trades.db");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
}

#[tokio::test]
async fn a_page_that_is_damaged_under_a_running_daemon_is_fatal() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    disk.tamper("pragma wal_checkpoint(truncate)").await.unwrap();
    damage(&disk);

    let error = disk.reader.find_order(pending(1).id).await.unwrap_err();

    assert!(matches!(error, StoreError::Damaged(_)) && error.is_fatal(), "{error}");
    assert!(error.to_string().contains("docs/OPERATIONS.md"), "{error}");
    let error = disk.reader.check_pages().await.unwrap_err();
    assert!(error.is_fatal(), "{error}");
}

#[tokio::test]
async fn a_database_that_may_not_be_written_is_fatal() {
    let mut disk = Disk::new().await;
    disk.tamper("pragma query_only = 1").await.unwrap();

    let error = disk.tamper("delete from outbox").await.unwrap_err();

    assert!(matches!(error, StoreError::NotWritable(_)) && error.is_fatal(), "{error}");
    assert!(error.to_string().contains("belong to the daemon's user"), "{error}");
}
