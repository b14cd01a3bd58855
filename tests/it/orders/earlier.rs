//! Stores that earlier versions wrote: what was released is never changed, and what they hold is read.

use dig_ingest::orders::store::judged::Standing;
use dig_ingest::orders::store::{Config, Store};
use sqlx::Row as _;

/// SHA-384 of each migration, as stores keep it. A store opens only if the migrations it has are those of the program to the byte,
/// comments too: one that was released is never touched, a further one is added here.
const RELEASED: [(i64, &str); 7] = [
    (
        1,
        "db5a1ff186c605818b4313358fd19053d513234eeaf13a7d7e74a8687405d498c605a047ce9a36aca95953daf9859095",
    ),
    (
        2,
        "c7010273587444bf174903d7ca1d9faf4dd0ee4df800d6eaaa12060f4ee24474619ea2b36c12253fdd1740a5bbfb965a",
    ),
    (
        3,
        "bb3db393d2d9e07d6222d4702d49cc059174308bf0440dc37d803aed3d7a69a537e8fa74d76cb8f154a19da6ac2445ca",
    ),
    (
        4,
        "804f4f667f1c36e325f10a0c91af1d47d6d3102d7c0372c3a70a62cd0862e6d4ca92b31a09a3d46486498b11fc41860a",
    ),
    (
        5,
        "4f8924bc06c595575c158f72713a88a0c286b01d5c1f78a11f98eacd37ab844e3ad9a368a12271d8b60c399582dd3680",
    ),
    (
        6,
        "35e5ac92412c312f55863e81972b9d167b501eb92d39e47f16286e9307be99ad3db82bcacb9de3dfbc28b91edd871147",
    ),
    (
        7,
        "9db1e474d8c854eaf620c3878afa5df0fcc4754befca2a2f72e62fe3e1db812a398e8e271f7e3f8b54622a9d32bbd57e",
    ),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn no_migration_that_was_released_changes() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        file: folder.path().join("orders.db"),
        ..Config::default()
    };
    let store = Store::init(&config).await.unwrap();
    let url = format!("sqlite://{}", config.file.display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let rows = sqlx::query("SELECT version, checksum FROM _sqlx_migrations ORDER BY version")
        .fetch_all(&pool)
        .await
        .unwrap();
    let made: Vec<(i64, String)> = rows
        .iter()
        .map(|row| (row.get("version"), hex(row.get("checksum"))))
        .collect();
    let released = RELEASED.map(|(version, sum)| (version, sum.to_owned()));
    assert_eq!(made, released);
    pool.close().await;
    store.close().await;
}

/// The word people see is another one than the table's.
#[tokio::test]
async fn a_sheet_that_an_earlier_version_carried_out_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        file: folder.path().join("orders.db"),
        ..Config::default()
    };
    let store = Store::init(&config).await.unwrap();
    let url = format!("sqlite://{}", config.file.display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::query(
        "INSERT INTO judged_sheets (place, name, digest, subject, state, said, row_count, bad_count, judged_by, judged_at) \
         VALUES ('folder', 'a.csv', 'd1', 'a.csv@d1', 'obeyed', '', 1, 0, '', 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    let sheets = store.judged_sheets(false).await.unwrap();
    let states: Vec<Standing> = sheets.iter().map(|sheet| sheet.state).collect();
    assert_eq!(states, [Standing::Obeyed]);
    assert_eq!(
        serde_json::json!(sheets)[0]["state"],
        Standing::Obeyed.name()
    );
    store.close().await;
}

#[tokio::test]
async fn a_store_of_a_later_version_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        file: folder.path().join("orders.db"),
        ..Config::default()
    };
    Store::init(&config).await.unwrap().close().await;
    let url = format!("sqlite://{}", config.file.display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (900, 'later', 1, x'00', 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    let error = Store::open(&config)
        .await
        .expect_err("it is of a later version");
    let said = format!("{:#}", anyhow::Error::from(error));
    assert!(
        said.contains("a later version of this program wrote the store"),
        "{said}"
    );
}

/// Another process holds the file: a backup program, or an instance that was stopped in the middle of a change.
#[tokio::test]
async fn a_file_that_another_process_has_locked_is_told_once_with_what_to_do() {
    use sqlx::Connection as _;
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = super::desk::filled(folder.path()).await;
    store.close().await;
    let url = format!("sqlite://{}", file.display());
    let mut other = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    let soon = ["--set", "orders.store.busy_ms=300"];
    for args in [&["list"][..], &["approve", "8"]] {
        let said = super::desk::refused(&file, &[args, &soon].concat());
        assert!(said.contains("fuser -v FILE"), "{said}");
        assert_eq!(said.matches("database is locked").count(), 1, "{said}");
    }
    other.close().await.unwrap();
    super::desk::report(&file, &["approve", "8"]);
}
