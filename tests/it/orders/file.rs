//! The SQLite file: damaged, and opened again.

use dig_ingest::orders::store::{Config, Store};

use super::store::{provision, serial, take_in, unit};

#[test]
fn a_damaged_file_is_named_and_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        file: directory.path().join("orders.db"),
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::init(&config).await.unwrap();
        take_in(&store, "77", 200).await;
        store.close().await;
        let mut bytes = std::fs::read(&config.file).unwrap();
        for byte in bytes.iter_mut().skip(4096 * 3).take(4096 * 4) {
            *byte ^= 0x5a;
        }
        std::fs::write(&config.file, bytes).unwrap();
        let error = Store::open(&config).await.unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("orders store: "), "{error}");
        for remedy in ["orders backup", "orders recover"] {
            assert!(error.contains(remedy), "{error}");
        }
        // So does a file that is none at all.
        std::fs::write(
            &config.file,
            "not a database, but long enough to be taken for one".repeat(100),
        )
        .unwrap();
        let error = Store::open(&config).await.unwrap_err().to_string();
        for remedy in ["orders backup", "orders recover"] {
            assert!(error.contains(remedy), "{error}");
        }
    });
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        file: directory.path().join("orders.db"),
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::init(&config).await.unwrap();
        take_in(&store, "77", 2).await;
        provision(&store, "77.1", &serial(1)).await;
        store.close().await;
        let store = Store::open(&config).await.unwrap();
        assert_eq!(unit(&store, "77.1").await.unit.serial(), Some(serial(1)));
        assert_eq!(store.unpublished_count().await.unwrap(), 1);
    });
}
