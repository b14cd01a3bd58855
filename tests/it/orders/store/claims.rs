//! Identifiers that are another device's: nobody gets them, and an entry of the device registry that stands in the way is not lost.

use dig_ingest::orders::journey::Tags;
use dig_ingest::orders::store::Store;
use dig_ingest::registry::State;
use serde_json::json;

use super::{ann, at, provision, refusal, serial, tags, take_in};
use dig_ingest::orders::journey::Actor;
use dig_ingest::orders::store::cancel_terminate::Termination;

fn called(device_id: &str) -> Tags {
    Tags {
        device_id: Some(device_id.into()),
        ..Tags::default()
    }
}

/// Device id, serial and state of each entry.
async fn entries(store: &Store) -> Vec<(String, String, State)> {
    let devices = store.devices().await.unwrap();
    let text = |serial: Option<String>| serial.unwrap_or_default();
    devices
        .into_iter()
        .map(|device| {
            let serial = device.serial.map(|serial| serial.to_string());
            (device.device_id.to_string(), text(serial), device.state)
        })
        .collect()
}

/// A terminated serial was given to another unit as its device id: its tombstone was overwritten, and its records were unknown.
pub async fn the_serial_of_another_device_is_nobodys_identifier(store: Store) {
    take_in(&store, "77", 2).await;
    take_in(&store, "78", 1).await;
    provision(&store, "77.1", &serial(1)).await;
    provision(&store, "78.1", &serial(2)).await;
    let before = entries(&store).await;
    let refused = async |given: &Tags| {
        let said = store.assign("77.2", None, given, &ann(), at(3)).await;
        let said = refusal(said);
        assert!(
            said.contains("is the serial of unit 77.1") && said.contains("label"),
            "{said}"
        );
    };
    let one = serial(1);
    for written in [one.as_str(), "cx00-0000-0001", " CX00 0000 0001"] {
        refused(&called(written)).await;
        refused(&tags(written)).await;
    }
    assert_eq!(entries(&store).await, before);
    let by = Actor::Sheet("a.csv".into());
    let ended = store.terminate(&one, "sheet", &json!({}), &by, at(4)).await;
    assert!(matches!(ended, Ok(Termination::Done { .. })), "{ended:?}");
    let before = entries(&store).await;
    refused(&called(one.as_str())).await;
    assert_eq!(entries(&store).await, before);
    // A serial is its own unit's identifier, and may be written so.
    store
        .assign("78.1", None, &called(serial(2).as_str()), &ann(), at(5))
        .await
        .unwrap();
}

/// The device id of one unit was the IMEI of another one: whichever changed last had the entry.
pub async fn identifiers_are_compared_with_those_of_other_kinds(store: Store) {
    take_in(&store, "77", 3).await;
    let imei = "356938035643809";
    store
        .assign("77.1", None, &tags(imei), &ann(), at(2))
        .await
        .unwrap();
    store
        .assign("77.2", None, &called("truck-7"), &ann(), at(2))
        .await
        .unwrap();
    for (given, owner) in [(called(imei), "77.1"), (tags("truck-7"), "77.2")] {
        let said = refusal(store.assign("77.3", None, &given, &ann(), at(3)).await);
        assert!(said.contains(&format!("belongs to unit {owner}")), "{said}");
    }
    let given = called(serial(5).as_str());
    store
        .assign("77.3", None, &given, &ann(), at(3))
        .await
        .unwrap();
    let taken = store
        .assign("77.1", Some(&serial(5)), &Tags::default(), &ann(), at(4))
        .await;
    let said = refusal(taken);
    assert!(said.contains("is an identifier of unit 77.3"), "{said}");
}

/// MyAdmin makes a serial that is another unit's device id by chance: the serial has its key, and the other device goes by its own.
pub async fn a_serial_that_is_made_takes_its_key_from_a_device_id(store: Store) {
    take_in(&store, "77", 3).await;
    // Two that stand in the way, one behind the other.
    for (unit, device_id) in [("77.1", serial(2)), ("77.2", serial(3))] {
        let given = called(device_id.as_str());
        store
            .assign(unit, None, &given, &ann(), at(1))
            .await
            .unwrap();
    }
    provision(&store, "77.1", &serial(1)).await;
    provision(&store, "77.2", &serial(2)).await;
    provision(&store, "77.3", &serial(3)).await;
    let wanted = [1, 2, 3].map(|n| {
        let serial = serial(n).to_string();
        (serial.clone(), serial, State::Pending)
    });
    let mut found = entries(&store).await;
    found.retain(|(_, serial, _)| !serial.is_empty());
    assert_eq!(found, wanted);
}
