//! One PostgreSQL for the whole test run, by `scripts/postgres`; a database of its own per test.

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use dig_ingest::config::secret::Secret;
use dig_ingest::orders::journey::Actor;
use dig_ingest::orders::journey::unit::Unit;
use dig_ingest::orders::store::change::Cause;
use dig_ingest::orders::store::rows::OrderLine;
use dig_ingest::orders::store::{Config, Error, Store};

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

/// A constraint that shows only at the end makes `COMMIT` fail; with one connection the next change meets what is left.
#[tokio::test]
async fn a_commit_that_failed_leaves_no_connection_in_a_transaction() {
    let config = Config {
        connections: 1,
        ..fresh()
    };
    let store = Store::init(&config).await.unwrap();
    let other = sqlx::PgPool::connect(config.url.reveal()).await.unwrap();
    sqlx::query(
        "ALTER TABLE units ALTER CONSTRAINT units_order_id_fkey DEFERRABLE INITIALLY DEFERRED",
    )
    .execute(&other)
    .await
    .unwrap();
    let now = jiff::Timestamp::now();
    for _ in 0..3 {
        let mut change = store.change(Actor::Reconciler, None, now).await.unwrap();
        let line = OrderLine {
            id: "1".into(),
            ..OrderLine::default()
        };
        let cause = Cause::new("take-in", "of no order");
        change
            .add_unit("9", &line, &Unit::ordered(), cause)
            .await
            .unwrap();
        change.commit().await.expect_err("there is no order 9");
        let mut change = store.change(Actor::Reconciler, None, now).await.unwrap();
        let cause = Cause::new("test", "still works");
        change.note(None, None, cause).await.unwrap();
        change.commit().await.unwrap();
    }
    assert!(store.units("9").await.unwrap().is_empty());
    other.close().await;
    store.close().await;
}

#[tokio::test]
async fn a_database_without_a_store_is_told_from_one_with_it_and_names_its_own_backup() {
    let config = fresh();
    let missing = Store::open(&config).await.expect_err("nobody made one");
    assert!(matches!(missing, Error::Missing(_)), "{missing}");
    assert!(missing.to_string().contains("orders init"), "{missing}");
    let store = Store::init(&config).await.unwrap();
    let refused = store
        .backup(&config, std::path::Path::new("copy.dump"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("pg_dump --format=custom --file=copy.dump"),
        "{refused}"
    );
    store.close().await;
    Store::open(&config).await.unwrap().close().await;
}

/// A machine that stands still (suspended, moved) in the middle of a change: its connection lives on, with the lease's row locked.
#[tokio::test]
async fn an_instance_that_sleeps_in_a_change_keeps_nobody_from_the_store_for_long() {
    let config = Config {
        busy_ms: 500,
        ..fresh()
    };
    let asleep = Store::init(&config).await.unwrap();
    let awake = Store::open(&config).await.unwrap();
    let now = jiff::Timestamp::now();
    let life = std::time::Duration::from_secs(30);
    let token = asleep.take_lease("asleep", life, now).await.unwrap();
    let mut held = asleep.change(Actor::Reconciler, token, now).await.unwrap();
    let cause = Cause::new("test", "it sleeps now");
    held.note(None, None, cause).await.unwrap();

    let later = now + jiff::SignedDuration::from_secs(31);
    let refused = awake.take_lease("awake", life, later).await;
    let error = refused.expect_err("the row is locked");
    assert!(error.is_away() && error.retryable(), "{error}");
    assert!(
        error.to_string().contains("orders.store.busy_ms"),
        "{error}"
    );
    let taken = loop {
        match awake.take_lease("awake", life, later).await {
            Ok(taken) => break taken,
            Err(error) => assert!(error.is_away(), "{error}"),
        }
    };
    assert!(taken.is_some(), "the sleeper's time is over");
    held.commit().await.expect_err("its transaction was ended");
    let lost = asleep.change(Actor::Reconciler, token, later).await;
    assert!(matches!(lost.err(), Some(Error::LeaseLost)));
    let events = awake.events_after(0).await.unwrap();
    assert!(events.iter().all(|event| event.act != "test"), "{events:?}");
    asleep.close().await;
    awake.close().await;
}

#[tokio::test]
async fn a_server_that_restarts_in_the_middle_of_a_change_is_used_again() {
    let pid = std::process::id().to_string();
    let instance = format!("test-{pid}-restart");
    let start = ["start", "--instance", &instance, "--owner", &pid];
    script(&start);
    let url = script(&["create", "journey", "--instance", &instance]);
    let config = Config {
        url: Secret::new(url),
        ..Config::default()
    };
    let store = Store::init(&config).await.unwrap();
    let note = async |why: &str| {
        let now = jiff::Timestamp::now();
        let mut change = store.change(Actor::Reconciler, None, now).await?;
        change.note(None, None, Cause::new("test", why)).await?;
        Ok::<_, Error>(change)
    };
    let cut_off = note("cut off").await.unwrap();
    script(&["kill", "--instance", &instance]);
    let away = note("nobody is there").await.expect_err("it is away");
    assert!(away.retryable(), "{away}");
    script(&start);
    let lost = cut_off.commit().await.expect_err("its server is gone");
    assert!(lost.retryable() && lost.may_have_effects(), "{lost}");
    // One for each connection that died; none of them is in the way for ever.
    note("again").await.unwrap().commit().await.unwrap();
    let events = store.events_after(0).await.unwrap();
    let told: Vec<&str> = events
        .iter()
        .filter(|event| event.act == "test")
        .map(|event| event.why.as_str())
        .collect();
    assert_eq!(told, ["again"]);
    store.close().await;
    script(&["stop", "--instance", &instance, "--delete"]);
}
