//! A store that is behind its registry and MyAdmin, and what happens before a person has recovered it (P1, P3).

use dig_ingest::orders::journey::Serial;
use dig_ingest::orders::recovery::Target;
use dig_ingest::orders::store::Store;
use dig_ingest::orders::store::devices::Ended;
use dig_ingest::orders::store::identity::Proof;
use dig_ingest::registry::{Device, State};

use super::proof::{Scene, alarms, ann};

/// A termination sheet is obeyed before a person has recovered the store: the store knows the device then and not its unit, which
/// keeps its serial and ends.
#[tokio::test]
async fn a_sheet_that_came_before_the_recovery_costs_no_unit_its_serial() {
    for taken_in in [true, false] {
        let scene = Scene::new();
        let mut holding = scene.hold(Store::init(&scene.place).await.unwrap()).await;
        let order = scene.world.place("CTD-100", 2);
        holding.work(&scene.world).await;
        let made = holding.serials(order).await;
        holding.store.close().await;
        scene.remove_store();
        let mut holding = scene.hold(Store::init(&scene.place).await.unwrap()).await;
        if taken_in {
            holding.work(&scene.world).await;
        } else {
            assert_eq!(holding.registrar.compare().await.unwrap(), Proof::Unproven);
        }
        let serial = Serial::parse(made[0].as_ref().expect("one was made")).unwrap();
        let registered: Vec<Device> = {
            let topic = scene.topic.lock().unwrap();
            let devices = topic.entries.devices.values();
            let devices = devices.map(|entry| entry.device.clone());
            devices
                .filter(|device| device.serial.as_deref() == Some(serial.as_str()))
                .collect()
        };
        let evidence = serde_json::json!({});
        let now = scene.world.now();
        let by = ann();
        let device = (&registered[0], &serial);
        let ended = holding
            .store
            .terminate_device(device, "a sheet", &evidence, &by, now);
        assert_eq!(ended.await.unwrap(), Ended::Now);
        let plan = scene.plan(&holding.store).await;
        assert_eq!(plan.adopt.len(), 2, "{plan:#?}");
        assert!(plan.to_provision.is_empty(), "{plan:#?}");
        let now = scene.world.now();
        holding.store.recover(&plan, &ann(), now).await.unwrap();
        holding.work(&scene.world).await;
        assert_eq!(holding.serials(order).await, made);
        assert_eq!(scene.world.made_for_us().len(), 2, "provisioned again");
        let units = holding.store.units(&order.to_string()).await.unwrap();
        assert_eq!(units[0].unit.state(), "terminated");
        let topic = scene.topic.lock().unwrap().entries.clone();
        let entry = topic
            .devices
            .values()
            .find(|entry| entry.device.serial.as_deref() == Some(serial.as_str()));
        let entry = entry.expect("it is known");
        assert_eq!(entry.device.state, State::Terminated);
        assert_eq!(entry.unit.as_deref(), Some(&*units[0].id));
        holding.store.close().await;
    }
}

/// After the copy was made a device was replaced (RMA), and the new one shipped: the store reports nothing to MyAdmin before it is
/// recovered, the new unit is made anew with its serial, and its parcel stays in MyAdmin.
#[tokio::test]
async fn a_restored_store_takes_back_no_shipment_and_no_replacement() {
    let scene = Scene::new();
    let mut holding = scene.hold(Store::init(&scene.place).await.unwrap()).await;
    let order = scene.world.place("CTD-200", 1).to_string();
    holding.work(&scene.world).await;
    let first = holding.store.units(&order).await.unwrap().remove(0).id;
    holding.send(&scene.world, &first, "T1").await;
    holding
        .store
        .backup(&scene.place, &scene.copy())
        .await
        .unwrap();
    let now = scene.world.now();
    let by = ann();
    let replaced = holding.store.replace(&first, "RMA", &by, now);
    let second = replaced.await.unwrap();
    holding.work(&scene.world).await;
    holding.send(&scene.world, &second, "T2").await;
    let shown = || {
        scene.world.meanwhile(|market, _| {
            let order = market.all_orders().find(|one| one.id.to_string() == order);
            order.and_then(|order| order.tracking.clone())
        })
    };
    assert_eq!(shown().as_deref(), Some("T1, T2"));
    let made = scene.world.made_for_us();
    assert_eq!(made.len(), 2);
    let serial = holding.store.unit(&second).await.unwrap().unwrap();
    let serial = serial.unit.serial().expect("it was made");
    holding.store.close().await;

    scene.remove_store();
    std::fs::copy(scene.copy(), &scene.place.file).unwrap();
    let mut holding = scene.hold(Store::open(&scene.place).await.unwrap()).await;
    let reports = scene.world.reports();
    holding.work(&scene.world).await;
    assert_eq!(
        scene.world.reports(),
        reports,
        "reported before the recovery"
    );
    assert_eq!(shown().as_deref(), Some("T1, T2"));
    let plan = scene.plan(&holding.store).await;
    let anew = Target::Replacement {
        unit: second.clone(),
        replaces: first.clone(),
    };
    assert!(plan.adopt.iter().any(|one| one.target == anew), "{plan:#?}");
    let now = scene.world.now();
    holding.store.recover(&plan, &ann(), now).await.unwrap();
    holding.work(&scene.world).await;
    assert_eq!(scene.world.made_for_us(), made, "provisioned again");
    assert_eq!(shown().as_deref(), Some("T1, T2"));
    let first = holding.store.unit(&first).await.unwrap().unwrap();
    assert_eq!(first.unit.state(), "terminated");
    let row = holding.store.unit(&second).await.unwrap().unwrap();
    assert_eq!(row.unit.serial(), Some(serial));
    let standing = alarms(&holding.store).await;
    assert!(
        standing.contains(&"parcel-unknown".to_owned()),
        "{standing:?}"
    );
    // Its parcel is given again by a person.
    holding.send(&scene.world, &second, "T2").await;
    let standing = alarms(&holding.store).await;
    assert!(
        !standing.contains(&"parcel-unknown".to_owned()),
        "{standing:?}"
    );
    scene.world.own_all();
    holding.work(&scene.world).await;
    let row = holding.store.unit(&second).await.unwrap().unwrap();
    assert_eq!(row.unit.state(), "active");
    assert_eq!(shown().as_deref(), Some("T1, T2"));
    holding.store.close().await;
}
