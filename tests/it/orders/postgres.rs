//! One PostgreSQL for the whole test run, by `scripts/postgres`; a database of its own per test.

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use dig_ingest::config::secret::Secret;
use dig_ingest::orders::store::{Config, Store};

use crate::support::root;

fn script(args: &[&str]) -> String {
    let output = Command::new(root().join("scripts/postgres"))
        .args(args)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "scripts/postgres {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Settings of a fresh database on the server of this run, which ends with this process.
pub fn fresh() -> Config {
    static INSTANCE: OnceLock<String> = OnceLock::new();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let instance = INSTANCE.get_or_init(|| {
        let pid = std::process::id().to_string();
        let instance = format!("test-{pid}");
        script(&["start", "--instance", &instance, "--owner", &pid]);
        instance
    });
    let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let url = script(&["create", &name, "--instance", instance]);
    Config {
        url: Secret::new(url),
        ..Config::default()
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_told_from_one_that_refuses() {
    let there = fresh();
    let url = there.url.reveal().to_owned();
    let at = |url: String| Config {
        url: Secret::new(url),
        busy_ms: 500,
        ..Config::default()
    };
    let refused = Store::open(&at(format!("{url}-nonesuch"))).await;
    let error = refused.expect_err("there is no such database");
    assert!(!error.is_away(), "{error}");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let nobody = Store::open(&at(format!("postgres://somebody@127.0.0.1:{port}/journey"))).await;
    let error = nobody.expect_err("nobody listens there");
    assert!(error.is_away(), "{error}");
}
