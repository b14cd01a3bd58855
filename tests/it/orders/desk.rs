//! Tests of `dig-ingest orders`: the program itself on a store in a file.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dig_ingest::orders::journey::order::Order;
use dig_ingest::orders::journey::unit::Unit;
use dig_ingest::orders::journey::{Actor, Needs};
use dig_ingest::orders::store::change::Cause;
use dig_ingest::orders::store::rows::{Head, OrderLine};
use dig_ingest::orders::store::{self, Store};
use jiff::Timestamp;
use serde_json::Value;

/// A store in a file with one order of two units; the second order waits for a person.
pub(crate) async fn filled(folder: &Path) -> (PathBuf, Store) {
    let file = folder.join("orders.db");
    let config = store::Config {
        file: file.clone(),
        ..store::Config::default()
    };
    let store = Store::init(&config).await.unwrap();
    fill(&store).await;
    (file, store)
}

/// Orders 7 and 8 of two units each.
pub(crate) async fn fill(store: &Store) {
    let now = Timestamp::now();
    let mut change = store.change(Actor::Reconciler, None, now).await.unwrap();
    for (id, asks) in [("7", vec![]), ("8", vec!["a comment".into()])] {
        let head = Head {
            account: "PART01".into(),
            reference: format!("SO-{id}"),
            purchase_order: format!("PO-{id}"),
            status: "PendingFulfillment".into(),
            ..Head::default()
        };
        let order = Order::receive(asks);
        let cause = Cause::new("intake", "listed");
        change.add_order(id, &order, &head, cause).await.unwrap();
        for line in ["1", "2"] {
            let line = OrderLine {
                id: line.into(),
                product_code: "CTD-100".into(),
                needs: Needs {
                    imei: true,
                    ..Needs::default()
                },
                attribute: None,
            };
            let cause = Cause::new("intake", "listed");
            let unit = Unit::ordered();
            change.add_unit(id, &line, &unit, cause).await.unwrap();
        }
    }
    change.commit().await.unwrap();
}

pub(crate) fn orders(file: &Path, args: &[&str]) -> Output {
    let place = format!("orders.store.file={}", file.display());
    Command::new(env!("CARGO_BIN_EXE_dig-ingest"))
        .arg("orders")
        .args(args)
        .args(["--set", &place, "--by", "ann"])
        .output()
        .unwrap()
}

pub(crate) fn report(file: &Path, args: &[&str]) -> Value {
    let output = orders(file, &[args, &["--report", "json"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let last = text
        .lines()
        .last()
        .unwrap_or_else(|| panic!("{args:?}: {said}"));
    serde_json::from_str(last).unwrap()
}

pub(crate) fn refused(file: &Path, args: &[&str]) -> String {
    let output = orders(file, args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn an_order_is_assigned_shipped_and_keyed_in() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = filled(folder.path()).await;
    store.close().await;
    let listed = report(&file, &["list"]);
    assert_eq!(listed["orders"].as_array().map(Vec::len), Some(2));

    let said = refused(
        &file,
        &["ship", "7", "--carrier", "Post", "--tracking", "T1"],
    );
    assert!(
        said.contains("IMEI") && said.contains("orders show"),
        "{said}"
    );
    let imei = "350000000000014";
    let unit = report(&file, &["assign", "7.1", "--imei", imei]);
    assert_eq!(unit["units"][0]["state"], "assigned");
    let said = refused(&file, &["assign", "7.2", "--imei", imei]);
    assert!(said.contains("belongs to unit 7.1"), "{said}");

    let shipped = report(
        &file,
        &["ship", "7", "--carrier", "Post", "--tracking", "T1"],
    );
    assert_eq!(shipped["units"].as_array().map(Vec::len), Some(1));
    let whole = report(&file, &["show", imei]);
    assert_eq!(whole["id"], "7");
    assert_eq!(whole["units"][0]["tracking"][0], "T1");

    let sheet = orders(&file, &["export", "worksheet"]);
    let sheet = String::from_utf8(sheet.stdout).unwrap();
    assert_eq!(sheet.lines().count(), 2, "{sheet}");
    assert!(
        sheet.contains("SO-7,PO-7,PART01,7.1,CTD-100,,,350000000000014,Post,T1"),
        "{sheet}"
    );
    let page = folder.path().join("page.html");
    let path = page.to_str().unwrap();
    assert!(
        orders(&file, &["export", "worksheet-page", "--to", path])
            .status
            .success()
    );
    assert!(
        std::fs::read_to_string(&page)
            .unwrap()
            .contains("Order SO-7")
    );

    let events = report(&file, &["events", "7"]);
    let acts: Vec<_> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["act"])
        .collect();
    assert!(acts.contains(&&Value::from("assign")) && acts.contains(&&Value::from("ship")));
    let people = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["actor"] == "ann");
    assert_eq!(people.count(), 2);
}

#[tokio::test]
async fn an_order_is_approved_parked_retried_and_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = filled(folder.path()).await;
    store.close().await;
    assert_eq!(report(&file, &["approve", "8"])["state"], "approved");
    assert!(refused(&file, &["approve", "8"]).contains("approved already"));
    assert_eq!(
        report(&file, &["park", "8", "--why", "look"])["state"],
        "parked"
    );
    assert_eq!(
        report(&file, &["list", "--state", "parked"])["orders"][0]["id"],
        "8"
    );
    assert_eq!(report(&file, &["retry", "8"])["state"], "approved");
    let parked = report(&file, &["park", "8.1", "--why", "look"]);
    assert_eq!(parked["units"][0]["state"], "parked");
    assert_eq!(
        report(&file, &["cancel", "8", "--why", "called"])["state"],
        "cancelled"
    );
    assert!(refused(&file, &["show", "none"]).contains("orders list"));
    assert_eq!(
        report(&file, &["list", "--alarms"])["alarms"],
        serde_json::json!([])
    );
}

#[tokio::test]
async fn an_alarm_is_listed_and_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = filled(folder.path()).await;
    let by = Actor::Reconciler;
    for subject in ["CX0000000001", "CX0000000002"] {
        let raised = store.note_alarm(
            "orphan-serial",
            subject,
            "nobody has it",
            None,
            &by,
            Timestamp::now(),
        );
        assert!(raised.await.unwrap());
    }
    store.close().await;
    let listed = report(&file, &["list", "--alarms"]);
    assert_eq!(listed["alarms"].as_array().map(Vec::len), Some(2));
    assert_eq!(listed["alarms"][0]["said"], "nobody has it");
    let cleared = report(&file, &["clear", "orphan-serial", "CX0000000001"]);
    assert_eq!(cleared["cleared"], true);
    let listed = report(&file, &["list", "--alarms"]);
    assert_eq!(listed["alarms"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["alarms"][0]["subject"], "CX0000000002");
    let said = refused(&file, &["clear", "orphan-serial", "CX0000000001"]);
    assert!(said.contains("orders list --alarms"), "{said}");
}

#[tokio::test]
async fn the_inventory_is_shown_with_what_is_wrong_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = filled(folder.path()).await;
    store.close().await;
    report(&file, &["assign", "7.1", "--imei", "350000000000014"]);
    let shelf = folder.path().join("shelf.csv");
    let text = "imei,product\n350000000000014,CTD-100\n350000000000022,CTD-100\n3.5E+14,\n350000000000030,\n";
    std::fs::write(&shelf, text).unwrap();
    let place = format!("orders.inventory.file={}", shelf.display());
    let args = ["inventory", "--set", &place];
    let told = report(&file, &args);
    assert_eq!(told["devices"], 3, "{told}");
    assert_eq!(
        told["free"],
        serde_json::json!({ "CTD-100": 1, "": 1 }),
        "{told}"
    );
    assert_eq!(told["bad"][0]["line"], 4, "{told}");
    let said = refused(&file, &args);
    assert!(
        said.contains("shelf.csv: line 4, imei \"3.5E+14\""),
        "{said}"
    );
    assert!(refused(&file, &["inventory"]).contains("orders.inventory.file"));
}

#[tokio::test]
async fn an_import_is_all_or_nothing_and_may_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = filled(folder.path()).await;
    let csv = folder.path().join("marks.csv");
    let path = csv.to_str().unwrap();
    let bad = "unit,imei,carrier,tracking\n\
        7.1,350000000000014,Post,T1\n\
        7.9,350000000000097,,\n\
        7.2,350000000000014,,\n\
        7.2,12x,,\n";
    std::fs::write(&csv, bad).unwrap();
    let outcome = report(&file, &["import", path]);
    assert_eq!(outcome["done"], 0);
    let lines: Vec<_> = outcome["bad"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bad| bad["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [3, 4, 5]);
    assert_eq!(
        store.unit("7.1").await.unwrap().unwrap().unit.state(),
        "ordered"
    );

    let outcome = report(&file, &["import", path, "--partial"]);
    assert_eq!(
        (&outcome["done"], &outcome["unchanged"]),
        (&1.into(), &0.into())
    );
    let unit = store.unit("7.1").await.unwrap().unwrap();
    assert_eq!(unit.unit.state(), "shipped");
    let outcome = report(&file, &["import", path, "--partial"]);
    assert_eq!(
        (&outcome["done"], &outcome["unchanged"]),
        (&1.into(), &1.into())
    );
    let again = store.unit("7.1").await.unwrap().unwrap();
    assert_eq!(again, unit, "a repeated line changes nothing");
    store.close().await;
}

/// The file of the morning is imported again in the evening: what became ready since is no part of it.
#[tokio::test]
async fn an_imported_parcel_of_an_order_takes_no_unit_that_became_ready_later() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = filled(folder.path()).await;
    let csv = folder.path().join("parcels.csv");
    let path = csv.to_str().unwrap();
    std::fs::write(&csv, "unit,imei\n7.1,350000000000014\n").unwrap();
    assert_eq!(report(&file, &["import", path])["done"], 1);
    std::fs::write(&csv, "order,carrier,tracking\n7,Post,DAY1\n").unwrap();
    assert_eq!(report(&file, &["import", path])["unchanged"], 0);
    let state = async |id| store.unit(id).await.unwrap().unwrap().unit.state();
    assert_eq!(
        (state("7.1").await, state("7.2").await),
        ("shipped", "ordered")
    );
    let other = folder.path().join("marks.csv");
    std::fs::write(&other, "unit,imei\n7.2,350000000000022\n").unwrap();
    assert_eq!(
        report(&file, &["import", other.to_str().unwrap()])["done"],
        1
    );
    let before = store.unit("7.2").await.unwrap();
    let outcome = report(&file, &["import", path]);
    assert_eq!(
        (&outcome["done"], &outcome["unchanged"]),
        (&1.into(), &1.into())
    );
    assert_eq!(store.unit("7.2").await.unwrap(), before);
    store.close().await;
}

#[test]
fn a_store_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("none.db");
    let said = refused(&file, &["list"]);
    assert!(
        said.contains("orders.store.file") && said.contains("orders init"),
        "{said}"
    );
    assert!(!file.exists());
}

#[tokio::test]
async fn the_check_states_the_database_its_version_and_its_journal() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = filled(folder.path()).await;
    store.close().await;
    let place = format!("orders.store.file={}", file.display());
    let output = Command::new(env!("CARGO_BIN_EXE_dig-ingest"))
        .args(["check", "--config", "config/tour.toml", "--set", &place])
        .args(["--set", "kafka.brokers=127.0.0.1:9092"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("SQLite 3.") && said.contains("journal mode truncate"),
        "{said}"
    );
}
