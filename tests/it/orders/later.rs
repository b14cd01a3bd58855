//! Life after an order was taken in: its quantity changes, units are cancelled alone, devices replaced, moved, sold again.

use dig_ingest::orders::journey::unit::Unit;
use dig_ingest::orders::settings::{Approval, Mode, Partial, Status};
use dig_ingest::orders::store::operator_actions::Subject;
use dig_ingest::orders::store::rows::UnitRow;
use dig_ingest::registry::State;
use dig_ingest::sim::market::Market;

use super::site::{Site, ann, marks};

const PRODUCT: &str = "CTD-200";

async fn site() -> Site {
    Site::new(Mode::Api, |config| {
        config.fulfilment.partial = Partial::Report;
        config.sweep_every_h = 1;
    })
    .await
}

fn id(text: &str) -> u64 {
    text.parse().unwrap()
}

/// MyAdmin's own number of a unit.
fn line(row: &UnitRow) -> u64 {
    row.line.id.parse().unwrap()
}

/// What the registry is to say of a device id.
async fn registered(site: &Site, device: &str) -> Option<(State, Option<String>)> {
    let devices = site.store.devices().await.unwrap();
    let device = devices
        .into_iter()
        .find(|known| *known.device_id == *device)?;
    Some((device.state, device.serial.map(|serial| serial.to_string())))
}

async fn in_state(site: &mut Site, unit: &str, state: &str) {
    in_state_or(site, unit, &[state]).await;
}

async fn in_state_or(site: &mut Site, unit: &str, states: &[&str]) {
    site.until(&format!("{unit} is {states:?}"), async |store| {
        let row = store.unit(unit).await.unwrap();
        row.is_some_and(|row| states.contains(&row.unit.state()))
    })
    .await;
}

/// Gives a provisioned unit its marks and ships it.
async fn sent(site: &mut Site, unit: &str, number: &str) {
    in_state(site, unit, "provisioned").await;
    let row = site.unit(unit).await;
    let (tags, now) = (marks(&row), site.world.now());
    let given = site.store.assign(unit, None, &tags, &ann(), now).await;
    given.unwrap();
    let units = [unit.to_owned()];
    site.ship(&row.order_id, Some(&units), number)
        .await
        .unwrap();
}

async fn active(site: &mut Site, unit: &str) {
    in_state_or(site, unit, &["confirmed", "active"]).await;
    site.world.own_all();
    in_state(site, unit, "active").await;
}

/// `line-changed` parked the order, `retry` parked it again, and shipped devices were never activated.
#[tokio::test]
async fn a_line_that_is_added_is_taken_in_and_shipped_devices_go_on() {
    let mut site = site().await;
    let order = site.shipped(2).await;
    let added = site
        .world
        .meanwhile(|market, now| market.add_unit(id(&order), PRODUCT, now))
        .unwrap();
    let before = site.units(&order).await;
    let late = format!("{order}.{added}");
    in_state(&mut site, &late, "provisioned").await;
    for row in &before {
        active(&mut site, &row.id).await;
    }
    sent(&mut site, &late, "T2").await;
    active(&mut site, &late).await;
    assert_eq!(
        site.acts(&order)
            .await
            .iter()
            .filter(|act| *act == "park")
            .count(),
        0
    );
}

/// Where a person approves every order, a line that comes afterwards asks as well.
#[tokio::test]
async fn a_line_that_is_added_to_an_approved_order_waits_for_a_person_where_the_order_did() {
    let mut site = Site::new(Mode::Api, |config| {
        config.sweep_every_h = 1;
        config.approval = Approval {
            units_above: 2,
            ..Approval::default()
        };
    })
    .await;
    let order = site.assigned(2).await;
    let added = site
        .world
        .meanwhile(|market, now| market.add_unit(id(&order), PRODUCT, now))
        .unwrap();
    let late = format!("{order}.{added}");
    in_state(&mut site, &late, "parked").await;
    let Unit::Parked(parked) = site.unit(&late).await.unit else {
        panic!("it is parked");
    };
    assert_eq!(parked.reason.code.name(), "line-changed");
    assert_eq!(site.world.made_for_us().len(), 2);
    let subject = Subject::parse(&late);
    let now = site.world.now();
    site.store.retry(&subject, &ann(), now).await.unwrap();
    in_state(&mut site, &late, "provisioned").await;
}

/// A unit that is taken out of the order before its device was made is cancelled, and goes on if it is put back.
#[tokio::test]
async fn a_line_that_goes_before_anything_was_done_is_cancelled_until_it_comes_back() {
    let mut site = Site::new(Mode::Api, |config| {
        config.sweep_every_h = 1;
        config.approval = Approval {
            always: true,
            ..Approval::default()
        };
    })
    .await;
    let order = site.world.place(PRODUCT, 2).to_string();
    site.all(&order, "ordered").await;
    let gone = site.units(&order).await.remove(0);
    let unit = site
        .world
        .meanwhile(|market, now| market.drop_unit(id(&order), line(&gone), now))
        .unwrap();
    in_state(&mut site, &gone.id, "cancelled").await;
    site.world
        .meanwhile(|market, now| market.restore_unit(id(&order), unit, now))
        .unwrap();
    in_state(&mut site, &gone.id, "ordered").await;
    let now = site.world.now();
    site.store.approve(&order, &ann(), now).await.unwrap();
    site.all(&order, "provisioned").await;
    assert_eq!(site.world.made_for_us().len(), 2);
}

/// A unit could not be cancelled alone. Its serial is terminated in the registry: its records are letters, never unknown.
#[tokio::test]
async fn a_unit_whose_line_goes_after_its_serial_was_made_is_a_persons_and_can_be_cancelled_alone()
{
    let mut site = site().await;
    let order = site.assigned(2).await;
    let units = site.units(&order).await;
    let (gone, stays) = (&units[0], &units[1]);
    site.world
        .meanwhile(|market, now| market.drop_unit(id(&order), line(gone), now))
        .unwrap();
    in_state(&mut site, &gone.id, "parked").await;
    site.ship(&order, Some(std::slice::from_ref(&stays.id)), "T1")
        .await
        .unwrap();
    active(&mut site, &stays.id).await;
    let Unit::Parked(parked) = site.unit(&gone.id).await.unit else {
        panic!("it is parked");
    };
    let remedy = parked.reason.code.remedy(&gone.id);
    site.apply(&remedy, "cancel");
    let now = site.world.now();
    site.round(60).await;
    let device = marks(gone).imei.unwrap();
    let (state, _) = registered(&site, &device).await.expect("it is known");
    assert_eq!(state, State::Terminated);
    assert!(
        site.standing()
            .await
            .contains(&("cancelled-serial".into(), gone.id.clone()))
    );
    let again = site
        .store
        .cancel_unit(&stays.id, "this too", &ann(), now)
        .await;
    let refused = again.unwrap_err().to_string();
    assert!(refused.contains("orders replace"), "{refused}");
}

/// A unit that left the warehouse goes on, whatever its order shows; a person is told.
#[tokio::test]
async fn a_line_that_goes_after_its_device_was_shipped_is_told_of_and_the_device_goes_on() {
    let mut site = site().await;
    let order = site.shipped(2).await;
    let gone = site.units(&order).await.remove(0);
    in_state(&mut site, &gone.id, "confirmed").await;
    let unit = site
        .world
        .meanwhile(|market, now| market.drop_unit(id(&order), line(&gone), now))
        .unwrap();
    let alarm = ("line-vanished".to_owned(), gone.id.clone());
    for _ in 0..40 {
        site.round(130).await;
    }
    assert!(
        site.standing().await.contains(&alarm),
        "{:?}",
        site.standing().await
    );
    site.world
        .meanwhile(|market, now| market.restore_unit(id(&order), unit, now))
        .unwrap();
    for _ in 0..40 {
        site.round(130).await;
    }
    assert!(!site.standing().await.contains(&alarm));
    active(&mut site, &gone.id).await;
}

/// `retry` parked it again: a person's word holds.
#[tokio::test]
async fn a_unit_whose_line_changed_goes_on_as_a_person_says() {
    let mut site = site().await;
    let order = site.assigned(2).await;
    let gone = site.units(&order).await.remove(0);
    site.world
        .meanwhile(|market, now| market.drop_unit(id(&order), line(&gone), now))
        .unwrap();
    in_state(&mut site, &gone.id, "parked").await;
    let subject = Subject::parse(&gone.id);
    let now = site.world.now();
    site.store.retry(&subject, &ann(), now).await.unwrap();
    for _ in 0..40 {
        site.round(130).await;
    }
    assert_eq!(site.unit(&gone.id).await.unit.state(), "assigned");
}

/// The device came back broken: another one of the same line goes the whole journey; the old serial stays known and terminated,
/// also where both go by the same id.
#[tokio::test]
async fn a_device_that_is_replaced_stays_known_and_terminated() {
    let mut site = site().await;
    let order = site.shipped(2).await;
    for row in site.units(&order).await {
        active(&mut site, &row.id).await;
    }
    let broken = site.units(&order).await.remove(0);
    let serial = broken.unit.serial().unwrap();
    let now = site.world.now();
    let fresh = site.store.replace(&broken.id, "RMA 17", &ann(), now).await;
    let fresh = fresh.unwrap();
    let twice = site.store.replace(&broken.id, "again", &ann(), now).await;
    assert!(twice.unwrap_err().to_string().contains(&fresh));
    in_state(&mut site, &fresh, "provisioned").await;
    // The same id as before: the board was swapped, the sticker was not.
    let row = site.unit(&fresh).await;
    let tags = broken.unit.known().tags;
    let now = site.world.now();
    site.store
        .assign(&fresh, None, &tags, &ann(), now)
        .await
        .unwrap();
    site.ship(&order, Some(std::slice::from_ref(&fresh)), "T2")
        .await
        .unwrap();
    active(&mut site, &fresh).await;
    site.round(60).await;
    let second = site.unit(&fresh).await.unit.serial().unwrap();
    assert_ne!(second, serial, "P1: {row:?}");
    let device = tags.device_id.or(tags.imei).unwrap();
    assert_eq!(
        registered(&site, &device).await,
        Some((State::Active, Some(second.to_string())))
    );
    assert_eq!(
        registered(&site, serial.as_str()).await,
        Some((State::Terminated, Some(serial.to_string())))
    );
    assert!(
        site.standing()
            .await
            .contains(&("replaced-serial".into(), broken.id.clone()))
    );
    assert_eq!(site.unit(&broken.id).await.unit.state(), "terminated");
}

/// A parcel is lost before the rest of the order has shipped: the order is not fulfilled without the device that takes its place.
#[tokio::test]
async fn an_order_waits_for_a_replacement_that_was_made_before_it_was_fulfilled() {
    let mut site = Site::new(Mode::Api, |config| {
        config.fulfilment.partial = Partial::Wait;
        config.sweep_every_h = 1;
    })
    .await;
    let order = site.assigned(2).await;
    let ids: Vec<String> = site
        .units(&order)
        .await
        .into_iter()
        .map(|row| row.id)
        .collect();
    let tags = site.unit(&ids[0]).await.unit.known().tags;
    site.ship(&order, Some(&ids[..1]), "T1").await.unwrap();
    let now = site.world.now();
    let by = ann();
    let fresh = site.store.replace(&ids[0], "lost in the post", &by, now);
    let fresh = fresh.await.unwrap();
    site.ship(&order, Some(&ids[1..]), "T2").await.unwrap();
    in_state(&mut site, &fresh, "provisioned").await;
    for _ in 0..4 {
        site.round(130).await;
    }
    let tracking = |site: &Site| {
        site.world.meanwhile(|market, _| {
            let order = market.all_orders().find(|one| one.id == id(&order));
            order.and_then(|order| order.tracking.clone())
        })
    };
    assert_eq!(tracking(&site), None, "reported without {fresh}");
    let now = site.world.now();
    let given = site.store.assign(&fresh, None, &tags, &ann(), now).await;
    given.unwrap();
    site.ship(&order, Some(std::slice::from_ref(&fresh)), "T3")
        .await
        .unwrap();
    active(&mut site, &fresh).await;
    active(&mut site, &ids[1]).await;
    assert!(tracking(&site).is_some_and(|numbers| numbers.contains("T3")));
}

/// A replacement is dead on the shelf and replaced before MyAdmin was told of it: what MyAdmin shows is ours all the same.
#[tokio::test]
async fn a_replacement_that_is_replaced_before_it_was_reported_goes_on() {
    let mut site = site().await;
    let order = site.shipped(1).await;
    let first = site.units(&order).await.remove(0);
    active(&mut site, &first.id).await;
    let tags = first.unit.known().tags;
    let mut last = first.id.clone();
    for _ in 0..2 {
        let now = site.world.now();
        last = site.store.replace(&last, "RMA", &ann(), now).await.unwrap();
        in_state(&mut site, &last, "provisioned").await;
    }
    let now = site.world.now();
    let given = site.store.assign(&last, None, &tags, &ann(), now).await;
    given.unwrap();
    site.ship(&order, Some(std::slice::from_ref(&last)), "T2")
        .await
        .unwrap();
    active(&mut site, &last).await;
}

/// An order that was cancelled and comes back is a person's to take up again; the remedy does it.
#[tokio::test]
async fn a_cancelled_order_that_comes_back_can_be_resumed() {
    let mut site = site().await;
    let order = site.assigned(2).await;
    let now = site.world.now();
    site.store
        .cancel(&order, "by telephone", &ann(), now)
        .await
        .unwrap();
    let alarm = ("cancelled-reappears".to_owned(), order.clone());
    site.round(130).await;
    let alarms = site.alarms().await;
    let told = alarms
        .iter()
        .find(|told| told.row.kind == alarm.0)
        .expect("it is told");
    site.apply(&told.remedy, "resume");
    site.round(130).await;
    assert!(!site.standing().await.contains(&alarm));
    site.all(&order, "assigned").await;
    let standing = site.standing().await;
    assert!(
        !standing.iter().any(|(kind, _)| kind == "cancelled-serial"),
        "{standing:?}"
    );
    site.ship(&order, None, "T1").await.unwrap();
    for row in site.units(&order).await {
        active(&mut site, &row.id).await;
    }
    assert_eq!(site.world.made_for_us().len(), 2);
}

/// MyAdmin still shows the order as cancelled: it was resumed, and cancelled again two seconds later.
#[tokio::test]
async fn an_order_that_myadmin_shows_as_cancelled_is_not_resumed() {
    let mut site = site().await;
    let order = site.assigned(1).await;
    site.world
        .meanwhile(|market, now| market.cancel(id(&order), now))
        .unwrap();
    let subject = Subject::parse(&order);
    site.until("it is cancelled", async |store| {
        let row = store.order(&order).await.unwrap().unwrap();
        row.order.state() == "cancelled"
    })
    .await;
    let now = site.world.now();
    let status = Status::default();
    let by = ann();
    let resumed = site.store.resume(&subject, "after all", &status, &by, now);
    let said = resumed.await.unwrap_err().to_string();
    assert!(
        said.contains("Cancelled") && said.contains("pending in MyAdmin"),
        "{said}"
    );
}

/// A device that its owner moved to another database is shown there.
#[tokio::test]
async fn a_device_that_moves_is_shown_in_its_new_database() {
    let mut site = site().await;
    let order = site.shipped(1).await;
    let row = site.units(&order).await.remove(0);
    active(&mut site, &row.id).await;
    let serial = site.unit(&row.id).await.unit.serial().unwrap();
    let moved = |market: &mut Market, now| {
        market.unassign(serial.as_str())?;
        market.assign(serial.as_str(), "other_fleet", now)
    };
    site.world.meanwhile(moved).unwrap();
    site.until("it is shown where it is", async |store| {
        let row = store.unit(&row.id).await.unwrap().unwrap();
        row.unit.known().database.as_deref() == Some("other_fleet")
    })
    .await;
    assert_eq!(site.unit(&row.id).await.unit.state(), "active");
    assert!(site.acts(&order).await.contains(&"move".to_owned()));
}
