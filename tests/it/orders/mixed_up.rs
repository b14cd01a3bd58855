//! What people mix up: the devices of two units, a serial of another product; and two people who act at once.

use dig_ingest::orders::journey::{Actor, Serial, Tags};
use dig_ingest::orders::store::{Config, Error, Store};
use jiff::Timestamp;
use serde_json::json;

use super::desk::{filled, refused, report};
use crate::support::marks::imei;

#[tokio::test]
async fn devices_that_were_mixed_up_are_swapped_and_the_registry_follows() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = filled(folder.path()).await;
    let (one, two) = (imei(1), imei(2));
    for (unit, serial, imei) in [("7.1", "CX0000000001", &one), ("7.2", "CX0000000002", &two)] {
        report(&file, &["assign", unit, "--serial", serial, "--imei", imei]);
    }
    report(
        &file,
        &["ship", "7", "--carrier", "Post", "--tracking", "T1"],
    );
    // The remedy of the refusal is the command.
    let said = refused(&file, &["assign", "7.1", "--imei", &two]);
    assert!(said.contains("`orders swap 7.1 7.2`"), "{said}");
    let swapped = report(&file, &["swap", "7.1", "7.2"]);
    let shown: Vec<_> = swapped["units"]
        .as_array()
        .unwrap()
        .iter()
        .map(|unit| {
            (
                unit["id"].clone(),
                unit["imei"].clone(),
                unit["serial"].clone(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (json!("7.1"), json!(two), json!("CX0000000001")),
            (json!("7.2"), json!(one), json!("CX0000000002")),
        ]
    );
    let mut devices: Vec<(String, String)> = store
        .devices()
        .await
        .unwrap()
        .into_iter()
        .filter_map(|device| Some((device.device_id.into(), device.serial?.to_string())))
        .collect();
    devices.sort();
    let mut expected = [
        (two.clone(), "CX0000000001".to_owned()),
        (one.clone(), "CX0000000002".to_owned()),
    ];
    expected.sort();
    assert_eq!(devices, expected);
    let events = store.events("7").await.unwrap();
    let swaps = events.iter().filter(|event| event.act == "swap").count();
    assert_eq!(swaps, 2);

    // Once more, and it is as it was.
    report(&file, &["swap", "7.2", "7.1"]);
    assert_eq!(
        report(&file, &["show", "7.1"])["units"][0]["imei"],
        json!(one)
    );
    let said = refused(&file, &["swap", "7.1", "7.1"]);
    assert!(said.contains("name two units"), "{said}");
    let said = refused(&file, &["swap", "7.1", "8.1"]);
    assert!(said.contains("same kinds of identifiers"), "{said}");
    store.close().await;
}

#[tokio::test]
async fn a_serial_that_is_listed_as_another_product_is_refused_unless_a_person_insists() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = filled(folder.path()).await;
    let now = Timestamp::now();
    let mut change = store.change(Actor::Reconciler, None, now).await.unwrap();
    for (serial, product) in [
        ("CX0000000001", "CTD-900"),
        ("CX0000000002", "ctd-100"),
        ("CX0000000003", ""),
    ] {
        let serial = Serial::parse(serial).unwrap();
        change.see_serial(&serial, product, "", now).await.unwrap();
    }
    change.commit().await.unwrap();
    let said = refused(&file, &["assign", "7.1", "--serial", "CX0000000001"]);
    assert!(
        said.contains("is listed by MyAdmin as a CTD-900, and the unit is a CTD-100"),
        "{said}"
    );
    assert!(said.contains("--force"), "{said}");
    report(
        &file,
        &["assign", "7.1", "--serial", "CX0000000001", "--force"],
    );
    let events = store.events("7").await.unwrap();
    let forced: Vec<&str> = events
        .iter()
        .filter(|event| event.act == "force")
        .map(|event| event.why.as_str())
        .collect();
    assert_eq!(forced.len(), 1, "{events:?}");
    assert!(forced[0].contains("CTD-900"), "{forced:?}");
    // The same product in another spelling, and one that the list does not name.
    report(&file, &["assign", "7.2", "--serial", "CX0000000002"]);
    report(&file, &["assign", "8.1", "--serial", "CX0000000003"]);
    let events = store.events("8").await.unwrap();
    assert!(
        events.iter().all(|event| event.act != "force"),
        "{events:?}"
    );
    store.close().await;
}

/// Two processes on one file, each with a person: one device for two units, and two devices for one unit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_who_act_at_once_leave_one_truth() {
    let folder = tempfile::tempdir().unwrap();
    let (file, ann) = filled(folder.path()).await;
    let config = Config {
        file: file.clone(),
        ..Config::default()
    };
    let bob = Store::open(&config).await.unwrap();
    let give = |store: &Store, who: &str, unit: &str, imei: String| {
        let (store, unit, by) = (store.clone(), unit.to_owned(), Actor::Person(who.into()));
        let tags = Tags {
            imei: Some(imei.into()),
            ..Tags::default()
        };
        tokio::spawn(async move {
            let now = Timestamp::now();
            store.assign(&unit, None, &tags, &by, now).await
        })
    };
    for round in 0..8 {
        let device = imei(round);
        let (one, two) = (
            give(&ann, "ann", "7.1", device.clone()),
            give(&bob, "bob", "7.2", device.clone()),
        );
        let results = [one.await.unwrap(), two.await.unwrap()];
        let refusals = results.iter().filter(|result| match result {
            Ok(_) => false,
            Err(Error::Refused(_)) => true,
            Err(error) => panic!("{error}"),
        });
        assert_eq!(refusals.count(), 1, "round {round}");
        let units = ann.units("7").await.unwrap();
        let has = |id: &str| {
            let unit = units.iter().find(|unit| unit.id == id).unwrap();
            unit.unit.known().tags.imei.as_deref() == Some(&*device)
        };
        assert_eq!(
            [has("7.1"), has("7.2")],
            [results[0].is_ok(), results[1].is_ok()]
        );
    }
    // A correction of a correction: what was written last is what holds, and the trail names both.
    let (one, two) = (
        give(&ann, "ann", "8.1", imei(20)),
        give(&bob, "bob", "8.1", imei(21)),
    );
    one.await.unwrap().unwrap();
    two.await.unwrap().unwrap();
    let unit = ann.unit("8.1").await.unwrap().unwrap();
    let events = ann.events("8").await.unwrap();
    let given: Vec<_> = events
        .iter()
        .filter(|event| event.act == "assign")
        .map(|event| event.evidence.clone().unwrap()["tags"]["imei"].clone())
        .collect();
    assert_eq!(given.len(), 2);
    assert_eq!(given[1], json!(unit.unit.known().tags.imei));
    ann.close().await;
    bob.close().await;
}
