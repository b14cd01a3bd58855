//! Nothing waits in silence: what waits says so, since when, and what a person can do; and what is said to be done, works.

use dig_ingest::orders::journey::Tags;
use dig_ingest::orders::settings::{Mode, Partial};
use dig_ingest::orders::store::operator_actions::Subject;
use jiff::SignedDuration;

use super::site::{Site, ann, marks};

/// A unit waits for this, tells what a person can do, and the order tells the same.
async fn waits_for(site: &Site, unit: &str, what: &str) -> String {
    let wait = site.wait(unit).await;
    assert_eq!(wait.what.name(), what, "{wait:?}");
    assert!(!wait.said.is_empty() && !wait.remedy.is_empty(), "{wait:?}");
    assert!(wait.since <= site.world.now(), "{wait:?}");
    let order = unit.split('.').next().unwrap();
    let shown = site.explained(order).await.whole.order;
    assert!(shown.wait.is_some(), "{shown:?}");
    wait.remedy
}

#[tokio::test]
async fn a_unit_says_in_every_state_what_it_waits_for_and_each_remedy_works() {
    let mut site = Site::new(Mode::Worksheet, |config| config.approval.always = true).await;
    let order = site.world.place("CTD-200", 1).to_string();
    site.round(0).await;
    let unit = site.units(&order).await[0].id.clone();
    let remedy = waits_for(&site, &unit, "approval").await;
    site.apply(&remedy, "approve");
    waits_for(&site, &unit, "job").await;
    site.round(130).await;

    // IMEI and SIM: with the values of the device in the remedy's places.
    let row = site.unit(&unit).await;
    let remedy = waits_for(&site, &unit, "marks").await;
    let tags = marks(&row);
    let (imei, sim) = (tags.imei.unwrap(), tags.sim.unwrap());
    let remedy = remedy.replace("IMEI", &imei).replace("SIM", &sim);
    site.apply(&remedy, "assign");

    let remedy = waits_for(&site, &unit, "shipping").await;
    let remedy = remedy.replace("CARRIER", "Post").replace("NUMBER", "T1");
    site.apply(&remedy, "ship");

    let remedy = waits_for(&site, &unit, "keying").await;
    let page = std::env::temp_dir().join(format!("sheet-{}.html", std::process::id()));
    site.apply(&remedy.replace("FILE", page.to_str().unwrap()), "export");
    assert!(std::fs::read_to_string(&page).unwrap().contains(&*imei));
    std::fs::remove_file(&page).unwrap();
    let row = site.unit(&unit).await;
    site.key_in(&row, |_| {});
    site.round(130).await;
    assert_eq!(site.unit(&unit).await.unit.state(), "reported");
    waits_for(&site, &unit, "keying").await;
    site.key_in_shipment(&order, "T1", "Fulfilled");
    site.round(130).await;
    site.round(130).await;
    assert_eq!(site.unit(&unit).await.unit.state(), "confirmed");
    waits_for(&site, &unit, "database").await;
    site.world.own_all();
    site.all(&order, "active").await;
    let shown = site.explained(&order).await.whole;
    assert_eq!((shown.order.wait, &shown.units[0].wait), (None, &None));
    site.store.close().await;
}

#[tokio::test]
async fn a_typing_mistake_in_myadmin_is_shown_told_and_corrected_on_either_side() {
    // A typing mistake may look right: then nobody has to insist on it.
    for (at, there, looks_right) in [
        (0, true, false),
        (1, true, false),
        (0, false, false),
        (1, false, false),
        (0, false, true),
    ] {
        let mut site = Site::new(Mode::Worksheet, |_| {}).await;
        let order = site.shipped(1).await;
        let row = site.units(&order).await.remove(0);
        let wrong = if looks_right {
            "350000000000097".to_owned()
        } else {
            "350000000000099".to_owned()
        };
        site.key_in(&row, |report| match at {
            0 => report.imei = Some(wrong.clone()),
            _ => report.sim = Some(wrong.clone()),
        });
        site.key_in_shipment(&order, "T1", "Fulfilled");
        site.round(130).await;
        let wait = site.wait(&row.id).await;
        assert_eq!(wait.what.name(), "difference", "{wait:?}");
        assert!(wait.said.contains(&wrong), "{wait:?}");
        let events = site.store.events(&order).await.unwrap();
        let shown: Vec<_> = events.iter().filter(|event| event.act == "shown").collect();
        assert_eq!(shown.len(), 1, "one event, however often it is read back");
        assert!(shown[0].why.contains(&wrong), "{shown:?}");
        // Longer than its bound: an alarm, whose remedy works.
        site.round(7200).await;
        let alarms = site.alarms().await;
        let [alarm] = &alarms[..] else {
            panic!("{alarms:?}");
        };
        assert_eq!(
            (alarm.row.kind.as_str(), alarm.row.subject.as_str()),
            ("waits-difference", order.as_str())
        );
        if there {
            assert!(alarm.remedy.contains("correct it in MyAdmin"), "{alarm:?}");
            site.key_in(&row, |_| {});
        } else {
            let odd = alarm.remedy.contains("--force");
            assert_eq!(odd, !looks_right, "{alarm:?}");
            site.apply(&alarm.remedy, "assign");
            let forced = site.acts(&order).await;
            assert_eq!(forced.iter().any(|act| act == "force"), odd, "{forced:?}");
        }
        site.world.own_all();
        site.all(&order, "active").await;
        assert_eq!(site.standing().await, [], "it ends with its cause");
        site.store.close().await;
    }
}

#[tokio::test]
async fn a_wrong_number_and_a_forgotten_status_are_shown_and_told() {
    for there in [true, false] {
        let mut site = Site::new(Mode::Worksheet, |_| {}).await;
        let order = site.shipped(2).await;
        for row in site.units(&order).await {
            site.key_in(&row, |_| {});
        }
        let unit = site.units(&order).await[0].id.clone();
        site.key_in_shipment(&order, "T9", "Fulfilled");
        site.round(130).await;
        site.round(130).await;
        let wait = site.wait(&unit).await;
        assert_eq!(wait.what.name(), "difference", "{wait:?}");
        assert!(
            wait.said.contains("T9") && wait.said.contains("T1"),
            "{wait:?}"
        );
        site.round(7200).await;
        let standing = site.standing().await;
        assert_eq!(standing, [("waits-difference".to_owned(), order.clone())]);
        if there {
            // Corrected, and the status forgotten.
            site.key_in_shipment(&order, "T1", "PendingFulfillment");
            site.round(130).await;
            let wait = site.wait(&unit).await;
            assert_eq!(wait.what.name(), "keying", "{wait:?}");
            assert!(wait.said.contains("PendingFulfillment"), "{wait:?}");
            site.key_in_shipment(&order, "T1", "Fulfilled");
        } else {
            site.apply(&wait.remedy, "ship");
        }
        site.world.own_all();
        site.all(&order, "active").await;
        assert_eq!(site.standing().await, []);
        site.store.close().await;
    }
}

#[tokio::test]
async fn parked_units_are_found_among_the_orders() {
    let mut site = Site::new(Mode::Api, |_| {}).await;
    let order = site.assigned(3).await;
    let units = site.units(&order).await;
    for row in &units[..2] {
        let subject = Subject::Unit(row.id.clone());
        let now = site.world.now();
        site.store
            .park(&subject, "the box is wet", &ann(), now)
            .await
            .unwrap();
    }
    for state in [None, Some("parked"), Some("approved")] {
        let listed = site.listed(state).await;
        assert_eq!(listed.len(), 1, "{state:?}");
        assert_eq!(listed[0].unit_states.get("parked"), Some(&2));
        let wait = listed[0].wait.as_ref().expect("it waits");
        assert_eq!(wait.what.name(), "person");
        assert!(
            wait.said.contains("the box is wet") && wait.said.contains("1 more"),
            "{wait:?}"
        );
    }
    assert!(site.listed(Some("received")).await.is_empty());
    // An alarm after its bound, and the remedy works for both.
    site.round(90_000).await;
    let alarms = site.alarms().await;
    let of_person: Vec<_> = alarms
        .iter()
        .filter(|alarm| alarm.row.kind == "waits-person")
        .collect();
    assert_eq!(of_person.len(), 1, "{alarms:?}");
    for row in &units[..2] {
        let remedy = site.wait(&row.id).await.remedy;
        site.apply(&remedy, "retry");
    }
    site.round(130).await;
    assert!(
        site.standing()
            .await
            .iter()
            .all(|(kind, _)| kind != "waits-person")
    );
    site.store.close().await;
}

#[tokio::test]
async fn a_wait_is_an_alarm_after_its_bound_and_stays_cleared_when_a_person_has_seen_it() {
    let mut site = Site::new(Mode::Worksheet, |config| config.waits.marks_h = 10).await;
    let order = site.world.place("CTD-200", 2).to_string();
    site.all(&order, "provisioned").await;
    let kind = "waits-marks".to_owned();
    site.round(9 * 3600).await;
    assert_eq!(site.standing().await, []);
    site.round(3600).await;
    let alarms = site.alarms().await;
    let [alarm] = &alarms[..] else {
        panic!("one for all units of the order: {alarms:?}");
    };
    assert_eq!((&alarm.row.kind, &alarm.row.subject), (&kind, &order));
    assert!(alarm.row.said.contains("1 more"), "{alarm:?}");
    site.round(130).await;
    assert_eq!(site.alarms().await[0].row.times, 1, "it is raised once");
    let now = site.world.now();
    assert!(
        site.store
            .clear_alarm(&kind, &order, &ann(), now)
            .await
            .unwrap()
    );
    site.round(130).await;
    assert_eq!(site.standing().await, [], "a person has seen it");
    // One more mark, and later the same wait again: that is news.
    let row = site.units(&order).await.remove(0);
    let tags = Tags {
        imei: marks(&row).imei,
        ..Tags::default()
    };
    let now = site.world.now();
    site.store
        .assign(&row.id, None, &tags, &ann(), now)
        .await
        .unwrap();
    site.round(11 * 3600).await;
    assert_eq!(site.standing().await, [(kind, order)]);
    site.store.close().await;
}

#[tokio::test]
async fn an_order_whose_part_waits_names_the_part() {
    let mut site = Site::new(Mode::Api, |config| {
        config.fulfilment.partial = Partial::Wait
    })
    .await;
    let order = site.assigned(2).await;
    let ids: Vec<String> = site
        .units(&order)
        .await
        .iter()
        .map(|row| row.id.clone())
        .collect();
    site.ship(&order, Some(&ids[..1]), "T1").await.unwrap();
    site.round(130).await;
    let wait = site.wait(&ids[0]).await;
    assert_eq!(wait.what.name(), "other-units");
    assert!(wait.said.contains(&ids[1]), "{wait:?}");
    site.apply(&wait.remedy, "show");
    site.store.close().await;
}

#[tokio::test]
async fn a_unit_that_lacks_nothing_is_assigned_by_a_word_where_nobody_assigns_by_itself() {
    let mut site = Site::new(Mode::Api, |config| config.auto_assign = false).await;
    let order = site.world.place("CABLE-1", 1).to_string();
    site.round(0).await;
    let unit = site.units(&order).await[0].id.clone();
    let remedy = waits_for(&site, &unit, "marks").await;
    site.apply(&remedy, "assign");
    assert_eq!(site.unit(&unit).await.unit.state(), "assigned");
    site.store.close().await;
}

#[tokio::test]
async fn whatever_myadmin_lists_is_to_be_seen_however_odd() {
    let mut site = Site::new(Mode::Api, |_| {}).await;
    site.round(0).await;
    // Devices of products nobody configured, and a serial that cannot be one.
    site.world.pass(2000);
    let strange = site.world.make(10032);
    // By then it is listed.
    site.world.pass(700);
    site.world.list_oddly(true);
    let order = site.world.place("CTD-100", 1).to_string();
    site.round(400).await;
    let mut standing = site.standing().await;
    standing.sort();
    let expected = [
        ("device-unreadable", "G9-??".to_owned()),
        ("order-unreadable", order.clone()),
        ("orphan-serial", strange.clone()),
    ];
    let expected = expected.map(|(kind, subject)| (kind.to_owned(), subject));
    assert_eq!(standing, expected);
    let unclaimed = site.store.unclaimed().await.unwrap();
    assert!(unclaimed.iter().any(|seen| seen.serial.as_str() == strange));
    for alarm in site.alarms().await {
        assert!(!alarm.remedy.is_empty(), "{alarm:?}");
    }
    site.world.list_oddly(false);
    site.round(400).await;
    let left: Vec<String> = site
        .standing()
        .await
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(left, ["orphan-serial"]);
    assert!(
        site.store.order(&order).await.unwrap().is_some(),
        "it is taken in"
    );
    // To clear it works, and lasts.
    let remedy = site.alarms().await.remove(0).remedy;
    site.apply(&remedy, "clear");
    site.round(400).await;
    assert_eq!(site.standing().await, []);
    site.store.close().await;
}

#[tokio::test]
async fn an_order_that_is_missed_or_comes_back_is_an_alarm_that_ends() {
    let mut site = Site::new(Mode::Worksheet, |_| {}).await;
    let order = site.world.place("CTD-200", 1).to_string();
    site.all(&order, "provisioned").await;
    let now = site.world.now();
    site.store
        .cancel(&order, "by telephone", &ann(), now)
        .await
        .unwrap();
    site.round(400).await;
    let kinds = async |site: &Site| -> Vec<String> {
        let standing = site.standing().await.into_iter();
        standing.map(|(kind, _)| kind).collect()
    };
    let standing = kinds(&site).await;
    assert!(
        standing.contains(&"cancelled-reappears".to_owned()),
        "{standing:?}"
    );
    assert!(
        standing.contains(&"cancelled-serial".to_owned()),
        "{standing:?}"
    );
    // It is cancelled there as well, and its serial terminated.
    site.world.cancel(&order);
    site.round(400).await;
    let serial = site.units(&order).await[0].unit.serial().unwrap();
    let evidence = serde_json::json!({});
    let now = site.world.now() + SignedDuration::from_secs(1);
    site.store
        .terminate(&serial, "on the sheet", &evidence, &ann(), now)
        .await
        .unwrap();
    site.round(400).await;
    assert_eq!(kinds(&site).await, Vec::<String>::new());
    site.store.close().await;
}

#[tokio::test]
async fn the_pages_tell_how_many_units_wait_for_what_and_the_oldest_of_each() {
    let mut site = Site::new(Mode::Worksheet, |_| {}).await;
    let first = site.world.place("CTD-200", 2).to_string();
    site.all(&first, "provisioned").await;
    let second = site.assigned(1).await;
    let now = site.world.now();
    let waits = dig_ingest::orders::views::waits(&site.store, &site.config, now);
    let waits = waits.await.unwrap();
    let told: Vec<(&str, u64)> = waits
        .iter()
        .map(|(what, waits)| (what.name(), waits.units))
        .collect();
    assert_eq!(told, [("marks", 2), ("shipping", 1)]);
    let oldest: Vec<&str> = waits.values().map(|waits| &*waits.oldest).collect();
    assert!(oldest[0].starts_with(&first) && oldest[1].starts_with(&second));
    site.store.close().await;
}
