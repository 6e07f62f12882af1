use std::os::unix::fs::PermissionsExt as _;

use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use super::{folder, open};
use crate::store::{OpenError, open_reader};

async fn pragma(connection: &mut sqlx::SqliteConnection, name: &'static str) -> String {
    let sql = match name {
        "journal_mode" => "select journal_mode from pragma_journal_mode",
        "synchronous" => "select cast(synchronous as text) from pragma_synchronous",
        _ => "select cast(foreign_keys as text) from pragma_foreign_keys",
    };
    sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn the_writer_is_durable_and_checks_references() {
    let (_folder, path) = folder();
    let (mut writer, _reader) = open(&path).await.unwrap();

    assert_eq!(pragma(&mut writer.connection, "journal_mode").await, "wal");
    assert_eq!(pragma(&mut writer.connection, "synchronous").await, "2", "FULL");
    assert_eq!(pragma(&mut writer.connection, "foreign_keys").await, "1");
}

#[tokio::test]
async fn nobody_else_may_read_the_files() {
    let (_folder, path) = folder();
    let (mut writer, _reader) = open(&path).await.unwrap();
    let mut tx = writer.begin().await.unwrap();
    tx.set_relays_reachable_at(trade::Timestamp(1)).await.unwrap();
    tx.commit().await.unwrap();

    let folder = path.parent().unwrap();
    let mut names = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        names.push(file.file_name().into_string().unwrap());
        assert_eq!(mode, 0o600, "{names:?}");
    }
    assert!(names.contains(&"trades.db-wal".to_owned()), "{names:?}");
}

#[tokio::test]
async fn a_second_daemon_reports_that_the_first_one_runs() {
    let (_folder, path) = folder();
    let _first = open(&path).await.unwrap();

    let second = open(&path).await.unwrap_err();

    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    assert!(second.to_string().contains("another daemon holds"), "{second}");
}

#[tokio::test]
async fn a_file_can_be_opened_again_after_it_was_closed() {
    let (_folder, path) = folder();
    let (writer, reader) = open(&path).await.unwrap();
    writer.close().await.unwrap();
    drop(reader);

    open(&path).await.unwrap();
}

#[tokio::test]
async fn a_database_of_another_program_is_not_changed() {
    let (_folder, path) = folder();
    let mut other = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    other
        .execute(
            "create table _sqlx_migrations (version bigint primary key, description text not null,
                installed_on timestamp not null default current_timestamp,
                success boolean not null, checksum blob not null, execution_time bigint not null);
            insert into _sqlx_migrations values (20231005195154, 'theirs', 0, true, x'00', 0)",
        )
        .await
        .unwrap();
    other.close().await.unwrap();

    let error = open(&path).await.unwrap_err();

    assert!(matches!(error, OpenError::Migration { .. }), "{error}");
}

/// Why a file that `harm` has changed is not opened, by the daemon or by `mostrod check`.
async fn refusal(harm: impl FnOnce(Vec<u8>) -> Vec<u8>) -> OpenError {
    let (_folder, path) = folder();
    let (writer, reader) = open(&path).await.unwrap();
    reader.pool.close().await;
    writer.close().await.unwrap();
    std::fs::write(&path, harm(std::fs::read(&path).unwrap())).unwrap();

    open_reader(&path).await.unwrap_err();
    open(&path).await.unwrap_err()
}

#[tokio::test]
async fn a_damaged_page_a_truncated_file_and_a_text_file_need_repair_by_a_person() {
    let damaged = refusal(|mut bytes| {
        let half = bytes.len() / 2;
        bytes[half..half + 4096].fill(0xff);
        bytes
    });
    let short = refusal(|bytes| bytes[..bytes.len() / 2].to_vec());
    let text = refusal(|_| b"dear diary ".repeat(1_000));

    for error in [damaged.await, short.await, text.await] {
        assert!(error.needs_a_person(), "{error}");
        assert!(error.to_string().contains("docs/OPERATIONS.md"), "{error}");
    }
}

#[tokio::test]
async fn the_error_of_a_wrong_file_names_what_it_is_and_the_remedy() {
    let (_folder, path) = folder();
    std::fs::create_dir(&path).unwrap();
    let error = open(&path).await.unwrap_err();
    assert!(error.needs_a_person(), "{error}");
    assert!(error.to_string().contains("belong to the daemon's user"), "{error}");

    // It may be mounted later.
    let error = open(&path.join("missing").join("trades.db")).await.unwrap_err();
    assert!(!error.needs_a_person(), "{error}");
}

#[tokio::test]
async fn readers_cannot_write() {
    let (_folder, path) = folder();
    let (_writer, reader) = open(&path).await.unwrap();

    let written = sqlx::query("insert into daemon_state (key, value) values ('a', 'b')")
        .execute(&reader.pool)
        .await;

    assert!(written.is_err());
}
