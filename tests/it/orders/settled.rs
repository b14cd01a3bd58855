//! After the end: serials that a sheet of terminations names are nobody's business any more, and orders whose units are all settled
//! still take in what is added to them.

use std::time::Duration;

use dig_ingest::myadmin::wire::PartnerDevice;
use dig_ingest::orders::journey::{Actor, Serial};
use dig_ingest::orders::recall;
use dig_ingest::orders::settings::{Mode, Partial};
use dig_ingest::orders::store::Store;
use dig_ingest::orders::terminations::Config;
use dig_ingest::registry::State;

use super::recover::Said;
use super::sheets::{drop_file, sheet, watcher_at};
use super::site::{Site, ann, serial};

async fn site() -> Site {
    Site::new(Mode::Api, |config| {
        config.fulfilment.partial = Partial::Report;
        config.sweep_every_h = 1;
    })
    .await
}

/// The Partner's sheet, with the devices that were terminated in MyAdmin.
async fn sheet_names(site: &Site, name: &str, serials: &[&Serial]) {
    let folder = site.file().with_file_name("sheets");
    std::fs::create_dir_all(&folder).unwrap();
    let rows: Vec<&str> = serials.iter().map(|serial| serial.as_str()).collect();
    drop_file(&folder, name, sheet(&rows), 1);
    let config = Config {
        folder,
        stale_after_h: 0,
        shrink_percent: 100,
        ..Config::default()
    };
    let clock = site.clock();
    let mut watch = watcher_at(&site.store, config, clock);
    watch.look().await;
    watch.look().await;
}

async fn stands(site: &Site, kind: &str, subject: &str) -> bool {
    let standing = site.standing().await;
    standing.contains(&(kind.to_owned(), subject.to_owned()))
}

async fn active(site: &mut Site, order: &str) {
    site.all(order, "confirmed").await;
    site.world.own_all();
    site.all(order, "active").await;
}

/// The alarm asks to have the old serial terminated. The sheet that names it says that it is, and nobody has to clear anything.
#[tokio::test]
async fn a_sheet_that_names_a_replaced_or_cancelled_serial_ends_its_alarm() {
    let mut site = site().await;
    let order = site.shipped(1).await;
    active(&mut site, &order).await;
    let replaced = site.units(&order).await.remove(0);
    let now = site.world.now();
    site.store
        .replace(&replaced.id, "RMA 17", &ann(), now)
        .await
        .unwrap();
    let other = site.assigned(2).await;
    let units = site.units(&other).await;
    let (cancelled, stays) = (&units[0], &units[1]);
    for row in [cancelled, stays] {
        site.store
            .cancel_unit(&row.id, "one less", &ann(), now)
            .await
            .unwrap();
    }
    for (kind, row) in [
        ("replaced-serial", &replaced),
        ("cancelled-serial", cancelled),
        ("cancelled-serial", stays),
    ] {
        assert!(stands(&site, kind, &row.id).await, "{kind}");
    }
    sheet_names(&site, "1.csv", &[&serial(&replaced), &serial(cancelled)]).await;
    assert!(!stands(&site, "replaced-serial", &replaced.id).await);
    assert!(!stands(&site, "cancelled-serial", &cancelled.id).await);
    // Of one that no sheet names, nobody knows yet; a person who has looked ends it.
    assert!(stands(&site, "cancelled-serial", &stays.id).await);
    let alarms = site.alarms().await;
    let alarm = alarms
        .iter()
        .find(|alarm| alarm.row.subject == stays.id)
        .unwrap();
    assert!(
        alarm
            .remedy
            .contains("a sheet of terminations that names it"),
        "{alarm:?}"
    );
    site.apply(&alarm.remedy, "clear");
    site.round(7200).await;
    assert!(!stands(&site, "cancelled-serial", &stays.id).await);
    site.store.close().await;
}

/// A doubted sheet says nothing: its alarm stands, and so do those of the serials that it names.
#[tokio::test]
async fn a_doubted_sheet_ends_no_alarm_of_a_serial() {
    let mut site = site().await;
    let order = site.assigned(1).await;
    let row = site.units(&order).await.remove(0);
    let now = site.world.now();
    site.store
        .cancel_unit(&row.id, "one less", &ann(), now)
        .await
        .unwrap();
    let folder = site.file().with_file_name("sheets");
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!("{}CX99,soon\n", sheet(&[serial(&row).as_str()]));
    drop_file(&folder, "1.csv", text, 1);
    let config = Config {
        folder,
        stale_after_h: 0,
        ..Config::default()
    };
    let mut watch = watcher_at(&site.store, config, site.clock());
    watch.look().await;
    watch.look().await;
    assert!(stands(&site, "cancelled-serial", &row.id).await);
    let alarms = site.alarms().await;
    let alarm = alarms
        .iter()
        .find(|alarm| alarm.row.kind == "sheet-malformed")
        .unwrap();
    site.apply(&alarm.remedy, "sheet accept");
    assert_eq!(site.standing().await, []);
    site.store.close().await;
}

/// The Partner terminated the broken device before it was replaced here: MyAdmin has it so, and nobody is asked to do it again.
#[tokio::test]
async fn a_device_that_a_sheet_ended_is_replaced_without_an_alarm() {
    let mut site = site().await;
    let order = site.shipped(2).await;
    active(&mut site, &order).await;
    let units = site.units(&order).await;
    let (by_sheet, by_hand) = (&units[0], &units[1]);
    sheet_names(&site, "1.csv", &[&serial(by_sheet)]).await;
    let now = site.world.now();
    // A person's word ends it here alone.
    let (hand, evidence) = (Actor::Person("ann".into()), serde_json::json!({}));
    site.store
        .terminate(&serial(by_hand), "it was lost", &evidence, &hand, now)
        .await
        .unwrap();
    for row in [by_sheet, by_hand] {
        assert_eq!(site.unit(&row.id).await.unit.state(), "terminated");
        site.store
            .replace(&row.id, "RMA 17", &ann(), now)
            .await
            .unwrap();
    }
    assert!(!stands(&site, "replaced-serial", &by_sheet.id).await);
    assert!(stands(&site, "replaced-serial", &by_hand.id).await);
    site.store.close().await;
}

/// A device that is active while its order is cancelled goes on until a sheet ends it; then nothing is left to say.
#[tokio::test]
async fn the_alarm_of_an_active_device_of_a_cancelled_order_ends_with_the_device() {
    let mut site = site().await;
    let order = site.shipped(1).await;
    active(&mut site, &order).await;
    let row = site.units(&order).await.remove(0);
    site.world.cancel(&order);
    let now = site.world.now();
    site.store
        .cancel(&order, "by telephone", &ann(), now)
        .await
        .unwrap();
    assert!(stands(&site, "cancelled-active", &row.id).await);
    sheet_names(&site, "1.csv", &[&serial(&row)]).await;
    assert_eq!(site.unit(&row.id).await.unit.state(), "terminated");
    assert!(!stands(&site, "cancelled-active", &row.id).await);
    site.store.close().await;
}

fn id(text: &str) -> u64 {
    text.parse().unwrap()
}

/// A customer who has all devices wants one more, in the same order.
#[tokio::test]
async fn an_order_whose_units_are_all_active_takes_in_a_line_that_is_added() {
    let mut site = site().await;
    let order = site.shipped(2).await;
    active(&mut site, &order).await;
    site.round(4000).await;
    site.key_in_shipment(&order, "T1", "PendingFulfillment");
    let added = site
        .world
        .meanwhile(|market, now| market.add_unit(id(&order), "CTD-200", now))
        .unwrap();
    let late = format!("{order}.{added}");
    site.until("its unit has a serial", async |store| {
        let row = store.unit(&late).await.unwrap();
        row.is_some_and(|row| row.unit.state() == "provisioned")
    })
    .await;
    assert_eq!(site.world.made_for_us().len(), 3);
    let units = site.units(&order).await;
    assert_eq!(units.iter().filter(|row| row.unit.is_active()).count(), 2);
    site.store.close().await;
}

/// All units of the order were cancelled one by one, and MyAdmin goes on showing it as pending: nothing of its head tells of the line.
#[tokio::test]
async fn an_order_whose_units_are_all_cancelled_takes_in_a_line_that_is_added() {
    let mut site = site().await;
    let order = site.assigned(2).await;
    for row in site.units(&order).await {
        let now = site.world.now();
        site.store
            .cancel_unit(&row.id, "not these", &ann(), now)
            .await
            .unwrap();
    }
    for _ in 0..4 {
        site.round(4000).await;
    }
    let added = site
        .world
        .meanwhile(|market, now| market.add_unit(id(&order), "CTD-200", now))
        .unwrap();
    let late = format!("{order}.{added}");
    site.until("its unit has a serial", async |store| {
        let row = store.unit(&late).await.unwrap();
        row.is_some_and(|row| row.unit.state() == "provisioned")
    })
    .await;
    assert_eq!(site.world.made_for_us().len(), 3);
    site.store.close().await;
}

/// A copy of the store as it is now, and the one with which it is put back.
async fn restored(site: Site, copy: Option<&std::path::Path>) -> Site {
    let Some(copy) = copy else {
        let store = Store::init(&site.another()).await.unwrap();
        return site.with_store(store).await;
    };
    let place = site.another();
    std::fs::copy(copy, &place.file).unwrap();
    let store = Store::open(&place).await.unwrap();
    site.with_store(store).await
}

/// A person accepts what registry and MyAdmin show.
async fn recovered(site: &Site) {
    site.publish().await.ok();
    let said = Said::nothing();
    *said.entries.lock().unwrap() = Some(site.topic.lock().unwrap().entries.clone());
    let listed = site.world.listed().into_iter();
    let listed = listed.map(|(serial, code)| PartnerDevice {
        serial,
        product_code: Some(code),
        database: None,
    });
    *said.listed.lock().unwrap() = Some(listed.collect());
    let (store, within) = (&site.store, Duration::from_secs(10));
    let witnesses = said.outside().witnesses;
    let done = recall::recover(store, &witnesses, &site.config, Some(&ann()), within).await;
    assert!(done.unwrap().accepted);
    site.publish().await.unwrap();
}

/// The shipment was told to MyAdmin, the device was not in a database yet, and the store is lost: a new one closes the order, as
/// somebody fulfilled it. The device's records would be held for ever.
#[tokio::test]
async fn a_fulfilled_order_of_a_lost_store_is_taken_up_again_and_its_device_activated() {
    let mut site = site().await;
    let order = site.shipped(1).await;
    site.all(&order, "confirmed").await;
    site.publish().await.unwrap();
    let before = site.units(&order).await.remove(0);
    let mut site = restored(site, None).await;
    site.round(400).await;
    recovered(&site).await;
    site.round(400).await;
    assert_eq!(
        site.store
            .order(&order)
            .await
            .unwrap()
            .unwrap()
            .order
            .state(),
        "closed"
    );
    let alarms = site.alarms().await;
    let alarm = alarms
        .iter()
        .find(|alarm| alarm.row.kind == "device-stranded")
        .unwrap_or_else(|| panic!("{alarms:?}"));
    let known = before.unit.known();
    assert_eq!(Some(&*alarm.row.subject), known.tags.imei.as_deref());
    let remedy = alarm.remedy.replace("UNIT", &before.id);
    site.apply(&remedy, "resume");
    site.until("its line is a unit again", async |store| {
        store.unit(&before.id).await.unwrap().is_some()
    })
    .await;
    site.apply(&remedy, "assign");
    let now = site.world.now();
    site.store
        .assign(&before.id, None, &known.tags, &ann(), now)
        .await
        .unwrap();
    site.round(130).await;
    if let Some(wait) = site.explained(&order).await.whole.order.wait
        && wait.remedy.contains("`orders retry")
    {
        site.apply(&wait.remedy, "retry");
    }
    site.round(130).await;
    let ship = remedy.replace("CARRIER", "Post").replace("NUMBER", "T1");
    site.apply(&ship, "ship");
    active(&mut site, &order).await;
    assert_eq!(
        site.unit(&before.id).await.unit.serial(),
        before.unit.serial()
    );
    assert_eq!(site.world.made_for_us().len(), 1, "P1");
    assert_eq!(site.standing().await, []);
    site.store.close().await;
}

/// The copy does not know that the order shipped: it is parked, and goes on when a person has compared it. It was parked again at once.
#[tokio::test]
async fn an_order_that_shipped_after_the_copy_goes_on_when_a_person_retries_it() {
    let mut site = site().await;
    let order = site.assigned(1).await;
    site.publish().await.unwrap();
    let copy = site.file().with_file_name("copy.db");
    site.store.backup(&site.place(), &copy).await.unwrap();
    site.ship(&order, None, "T1").await.unwrap();
    site.all(&order, "confirmed").await;
    site.publish().await.unwrap();
    let mut site = restored(site, Some(&copy)).await;
    site.round(400).await;
    if site.publish().await.is_ok() && !site.is_proven() {
        recovered(&site).await;
    }
    site.round(400).await;
    let wait = site
        .explained(&order)
        .await
        .whole
        .order
        .wait
        .expect("it waits");
    assert!(wait.said.contains("elsewhere"), "{wait:?}");
    site.apply(&wait.remedy, "retry");
    site.round(400).await;
    assert_eq!(
        site.store
            .order(&order)
            .await
            .unwrap()
            .unwrap()
            .order
            .state(),
        "approved"
    );
    site.ship(&order, None, "T1").await.unwrap();
    active(&mut site, &order).await;
    assert_eq!(site.world.made_for_us().len(), 1, "P1");
    site.store.close().await;
}

/// A serial that the registry has as terminated comes back with nobody (G1), whoever reads it from a label.
#[tokio::test]
async fn a_terminated_serial_is_given_to_no_unit() {
    let mut site = site().await;
    let order = site.shipped(1).await;
    active(&mut site, &order).await;
    site.publish().await.unwrap();
    let ended = serial(&site.units(&order).await[0]);
    sheet_names(&site, "1.csv", &[&ended]).await;
    site.publish().await.unwrap();
    let mut site = restored(site, None).await;
    site.round(400).await;
    recovered(&site).await;
    let other = site.world.place("CTD-200", 1).to_string();
    site.until("it is taken in", async |store| {
        !store.units(&other).await.unwrap().is_empty()
    })
    .await;
    let row = site.units(&other).await.remove(0);
    if row.unit.serial().is_none() {
        let now = site.world.now();
        let given = site
            .store
            .assign(&row.id, Some(&ended), &Default::default(), &ann(), now)
            .await;
        assert!(given.unwrap_err().to_string().contains("terminated"));
    }
    let states = site.store.devices().await.unwrap();
    let of = states
        .iter()
        .find(|device| device.serial.as_ref() == Some(&ended))
        .unwrap();
    assert_eq!(of.state, State::Terminated);
    site.store.close().await;
}
