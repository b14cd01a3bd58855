//! A call that was begun is finished, and what is told is what is true.

use std::sync::Arc;

use dig_ingest::orders::alarms::AlarmShown;
use dig_ingest::orders::journey::{Actor, Tags};
use dig_ingest::orders::settings::Mode;
use dig_ingest::orders::store::intents::Outcome;
use dig_ingest::orders::store::operator_actions::Subject;
use dig_ingest::orders::store::{Error, Store};
use dig_ingest::orders::{Parts, run, wall_clock};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::model::world::Place;
use super::registry;
use super::site::{Site, ann, serial};

/// The whole journey on a site's store and world, by the wall clock.
fn job(site: &Site, name: &str) -> (CancellationToken, JoinHandle<anyhow::Result<()>>) {
    let parts = Parts {
        market: site.world.clone(),
        store: site.store.clone(),
        open: registry::open(&site.topic),
        outside: super::recover::Said::nothing().outside(),
        clock: wall_clock(),
        name: name.into(),
    };
    let stop = CancellationToken::new();
    let config = Arc::clone(&site.config);
    let task = tokio::spawn(run(config, parts, stop.clone()));
    (stop, task)
}

/// A site whose lease is free, with one order that is to be provisioned.
async fn waiting() -> (Site, String) {
    let site = Site::new(Mode::Api, |config| {
        config.lease_s = 3;
        config.provision.visible_after_s = 900;
    })
    .await;
    let holder = site.store.lease_holder().await.unwrap();
    site.store.leave_lease(holder.token).await.unwrap();
    let ahead = jiff::Timestamp::now().as_second() - site.world.now().as_second();
    site.world.pass(ahead);
    let order = site.world.place("CTD-100", 1).to_string();
    (site, order)
}

async fn outcomes(store: &Store) -> Vec<Outcome> {
    let intents = store.intents().await.unwrap();
    intents.into_iter().map(|intent| intent.outcome).collect()
}

#[tokio::test]
async fn a_process_that_is_told_to_end_waits_for_the_answer_and_writes_it() {
    let (site, order) = waiting().await;
    site.world.hold(Some(Place::Provision));
    let (stop, task) = job(&site, "first");
    site.world.reached(Place::Provision).await;
    assert_eq!(outcomes(&site.store).await, [Outcome::Open]);
    stop.cancel();
    // The lease is given back meanwhile: others need not wait for the answer.
    loop {
        let holder = site.store.lease_holder().await.unwrap();
        if holder.until <= jiff::Timestamp::now() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(!task.is_finished());
    site.world.hold(None);
    task.await.unwrap().unwrap();
    assert_eq!(outcomes(&site.store).await, [Outcome::Answered]);
    let units = site.units(&order).await;
    assert_eq!(
        site.world.made_for_us(),
        [serial(&units[0]).to_string()],
        "one call, one serial"
    );
    site.store.close().await;
}

#[tokio::test]
async fn an_answer_is_written_by_whoever_called_whoever_leads_by_then() {
    let (site, order) = waiting().await;
    site.world.hold(Some(Place::Provision));
    let (stop, task) = job(&site, "first");
    site.world.reached(Place::Provision).await;
    // Another instance takes over as if the first had been silent.
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let life = std::time::Duration::from_secs(7_200);
    let taken = site.store.take_lease("second", life, later).await.unwrap();
    assert!(taken.is_some());
    stop.cancel();
    site.world.hold(None);
    task.await.unwrap().unwrap();
    assert_eq!(outcomes(&site.store).await, [Outcome::Answered]);
    assert!(site.units(&order).await[0].unit.serial().is_some());
    assert_eq!(site.store.lease_holder().await.unwrap().name, "second");
    site.store.close().await;
}

#[tokio::test]
async fn an_end_in_the_pause_before_the_call_is_no_doubt() {
    let (site, _) = waiting().await;
    site.world.hold(Some(Place::Permit));
    let (stop, task) = job(&site, "first");
    site.world.reached(Place::Permit).await;
    stop.cancel();
    task.await.unwrap().unwrap();
    assert_eq!(outcomes(&site.store).await, []);
    assert_eq!(site.world.made_for_us(), Vec::<String>::new());
    site.store.close().await;
}

/// A unit whose call was made and never answered, as it is concluded: parked for a person, or with its serial.
pub(super) async fn lost(change: impl FnOnce(&mut dig_ingest::orders::Config)) -> (Site, String) {
    let mut site = Site::new(Mode::Api, change).await;
    site.round(0).await;
    let order = site.world.place("CTD-100", 1).to_string();
    // Past the next listing of orders.
    site.world.pass(400);
    site.world.hold(Some(Place::Provision));
    site.calls.kill(true);
    {
        let round = site.reconciler.round();
        tokio::select! {
            _ = round => panic!("the call is held up"),
            () = site.world.reached(Place::Provision) => {}
        }
    }
    site.calls.kill(false);
    site.world.hold(None);
    (site, order)
}

#[tokio::test]
async fn what_is_in_doubt_is_shown_with_since_when_what_fits_and_what_is_next() {
    let (mut site, order) = lost(|_| {}).await;
    let explained = site.explained(&order).await;
    let [doubt] = &explained.doubts[..] else {
        panic!("{explained:?}");
    };
    let call = site.store.intents().await.unwrap().remove(0);
    assert_eq!(doubt.since, call.begun_at.to_string());
    assert!(
        doubt.said.contains("concluded from what MyAdmin lists"),
        "{doubt:?}"
    );
    assert_eq!(doubt.fitting, Vec::<String>::new());
    let wait = site.wait(&doubt.unit).await;
    assert_eq!((wait.what.name(), wait.since), ("answer", call.begun_at));
    // It is listed, and taken for its own when the time has come.
    site.all(&order, "assigned").await;
    assert_eq!(outcomes(&site.store).await, [Outcome::Adopted]);
    assert_eq!(site.explained(&order).await.doubts, []);
    site.store.close().await;
}

#[tokio::test]
async fn a_serial_of_another_account_is_not_adopted() {
    let (mut site, order) = lost(|_| {}).await;
    let unit = site.units(&order).await.remove(0);
    // Ours is gone; what appears instead is somebody else's.
    let ours = site.world.made_for_us().remove(0);
    assert!(site.world.terminate(&ours));
    let other = site.world.make(10032);
    site.all(&order, "parked").await;
    assert_eq!(outcomes(&site.store).await, [Outcome::Unresolved]);
    // To retry is to provision anew: not while a serial stands that may be what the call made.
    let now = site.world.now();
    let subject = Subject::Unit(unit.id.clone());
    let Err(Error::Refused(refusal)) = site.store.retry(&subject, &ann(), now).await else {
        panic!("a fitting serial stands");
    };
    assert!(refusal.what.contains(&other), "{refusal}");
    let shown = site.explained(&order).await.doubts.remove(0);
    assert_eq!(shown.fitting, std::slice::from_ref(&other));
    // What the refusal offers, works: both ways.
    site.apply(&refusal.remedy, "assign");
    assert_eq!(
        site.unit(&unit.id).await.unit.serial().unwrap().as_str(),
        other
    );
    let alarms = site.standing().await;
    site.round(400).await;
    assert!(
        site.standing()
            .await
            .iter()
            .all(|(_, subject)| *subject != other),
        "an orphan that is given away is none: {alarms:?}"
    );
    site.store.close().await;
}

#[tokio::test]
async fn without_the_role_for_contracts_a_lost_answer_is_still_cleared_up() {
    let (mut site, order) = lost(|_| {}).await;
    site.world.deny_contracts();
    site.all(&order, "assigned").await;
    assert_eq!(outcomes(&site.store).await, [Outcome::Adopted]);
    site.store.close().await;
}

#[tokio::test]
async fn a_person_may_say_that_no_listed_serial_is_what_a_call_made() {
    let (mut site, order) = lost(|_| {}).await;
    let unit = site.units(&order).await.remove(0);
    let ours = site.world.made_for_us().remove(0);
    assert!(site.world.terminate(&ours));
    // Not of the fleet that was there at first.
    site.world.pass(1_000);
    let other = site.world.make(10032);
    site.all(&order, "parked").await;
    let wait = site.wait(&unit.id).await;
    site.apply(&wait.remedy, "retry");
    // The serial that is nobody's stops the product until a person says whose it is, and the unit says so.
    let stopped = |alarm: &AlarmShown| alarm.row.kind == "orphan-serial";
    let mut orphan = None;
    for _ in 0..10 {
        site.round(130).await;
        orphan = site.alarms().await.into_iter().find(stopped);
        if orphan.is_some() {
            break;
        }
    }
    let orphan = orphan.expect("a person is told");
    assert_eq!(orphan.row.subject, other);
    assert_eq!(site.unit(&unit.id).await.unit.state(), "ordered");
    let wait = site.wait(&unit.id).await;
    assert_eq!(wait.what.name(), "provisioning");
    assert!(wait.said.contains(&other), "{wait:?}");
    site.apply(&orphan.remedy, "clear");
    site.all(&order, "assigned").await;
    assert_ne!(serial(&site.unit(&unit.id).await).as_str(), other);
    site.store.close().await;
}

#[tokio::test]
async fn nothing_is_told_of_an_order_that_was_cancelled_while_another_unit_was_told() {
    let mut site = Site::new(Mode::Api, |_| {}).await;
    let order = site.shipped(2).await;
    site.world.hold(Some(Place::Report));
    let (world, store) = (site.world.clone(), site.store.clone());
    let id = order.clone();
    let office = tokio::spawn(async move {
        world.reached(Place::Report).await;
        let now = world.now();
        store
            .cancel(&id, "by telephone", &ann(), now)
            .await
            .unwrap();
        world.hold(None);
    });
    site.round(130).await;
    office.await.unwrap();
    assert_eq!(site.world.reports(), 1, "the one that was under way");
    site.round(130).await;
    assert_eq!(site.world.reports(), 1);
    // What was told has its events, before and after, and a person is told that it is not true any more.
    let acts = site.acts(&order).await;
    let told = acts.iter().filter(|act| *act == "tell").count();
    let after = acts.iter().filter(|act| *act == "report").count();
    assert_eq!((told, after), (1, 1), "{acts:?}");
    let standing = site.standing().await;
    assert!(
        standing.iter().any(|(kind, _)| kind == "told-late"),
        "{standing:?}"
    );
    site.store.close().await;
}

#[tokio::test]
async fn every_report_has_its_event_before_and_after() {
    let mut site = Site::new(Mode::Api, |_| {}).await;
    let order = site.shipped(2).await;
    site.world.own_all();
    site.all(&order, "active").await;
    let mut open: Option<Option<String>> = None;
    for event in site.store.events(&order).await.unwrap() {
        match event.act.as_str() {
            "tell" => assert_eq!(open.replace(event.unit_id), None),
            "report" | "put-off" => assert_eq!(open.take(), Some(event.unit_id)),
            _ => {}
        }
    }
    assert_eq!(open, None);
    let told = site.acts(&order).await;
    let told = told.iter().filter(|act| *act == "report").count();
    assert_eq!(told, 3, "two units and their shipment");
    site.store.close().await;
}

#[tokio::test]
async fn what_myadmin_refuses_is_told_a_few_times_and_then_a_persons() {
    for status in [400, 409, 422] {
        let mut site = Site::new(Mode::Api, |config| config.fulfilment.tries = 3).await;
        let order = site.shipped(1).await;
        site.world.refuse_reports(Some(status));
        site.all(&order, "parked").await;
        assert_eq!(site.world.reports(), 3, "{status}");
        for _ in 0..5 {
            site.round(4000).await;
        }
        assert_eq!(site.world.reports(), 3, "{status}: parked is parked");
        let unit = site.units(&order).await.remove(0);
        let wait = site.wait(&unit.id).await;
        assert!(wait.said.contains("report-refused"), "{wait:?}");
        // The cause is cleared, and its remedy works.
        site.world.refuse_reports(None);
        site.world.own_all();
        site.apply(&wait.remedy, "retry");
        site.all(&order, "active").await;
        site.store.close().await;
    }
}

#[tokio::test]
async fn a_shipment_that_myadmin_refuses_is_a_persons_too() {
    let mut site = Site::new(Mode::Api, |config| config.fulfilment.tries = 3).await;
    let order = site.shipped(1).await;
    site.world.refuse_shipments(Some(422));
    site.until("parked", async |store| {
        let row = store.order(&order).await.unwrap().expect("it is there");
        row.order.state() == "parked"
    })
    .await;
    assert_eq!(
        site.world.reports(),
        4,
        "its unit, and three times its shipment"
    );
    for _ in 0..5 {
        site.round(4000).await;
    }
    assert_eq!(site.world.reports(), 4, "parked is parked");
    let wait = site
        .explained(&order)
        .await
        .whole
        .order
        .wait
        .expect("it waits");
    site.world.refuse_shipments(None);
    site.world.own_all();
    site.apply(&wait.remedy, "retry");
    site.all(&order, "active").await;
    site.store.close().await;
}

#[tokio::test]
async fn what_left_before_keeps_its_carrier_and_number_when_the_rest_ships() {
    let mut site = Site::new(Mode::Api, |_| {}).await;
    let order = site.assigned(3).await;
    let units = site.units(&order).await;
    let first = [units[0].id.clone()];
    site.ship(&order, Some(&first), "P1").await.unwrap();
    let rest = site.ship(&order, None, "P2").await.unwrap();
    assert_eq!(rest.len(), 2);
    let number = async |site: &Site, at: usize| {
        let parcel = site.units(&order).await[at].unit.known().parcel.unwrap();
        parcel.tracking()[0].to_string()
    };
    assert_eq!(number(&site, 0).await, "P1");
    assert_eq!(number(&site, 1).await, "P2");
    // The same word again changes nothing; another one for what has left is refused, and tells how to correct.
    site.ship(&order, None, "P2").await.unwrap();
    let Err(Error::Refused(refusal)) = site.ship(&order, None, "P3").await else {
        panic!("all has left");
    };
    assert!(
        refusal.what.contains("P1") && refusal.what.contains("name it"),
        "{refusal}"
    );
    site.ship(&order, Some(&first), "P4").await.unwrap();
    assert_eq!(number(&site, 0).await, "P4");
    site.store.close().await;
}

#[tokio::test]
async fn a_late_answer_that_contradicts_what_was_concluded_is_told() {
    let mut site = Site::new(Mode::Api, |_| {}).await;
    site.round(0).await;
    let order = site.world.place("CTD-100", 1).to_string();
    // Past the next listing of orders.
    site.world.pass(400);
    site.world.hold(Some(Place::Provision));
    {
        let round = site.reconciler.round();
        tokio::select! {
            _ = round => panic!("the call is held up"),
            () = site.world.reached(Place::Provision) => {}
        }
    }
    // The call goes on by itself. Meanwhile somebody concludes that nothing came of it, and gives the unit another serial.
    let call = site.store.intents().await.unwrap().remove(0);
    let now = site.world.now();
    let by = Actor::Reconciler;
    let mut change = site.store.change(by, None, now).await.unwrap();
    let (open, doubted) = (Outcome::Open, Outcome::Unresolved);
    change
        .close_intent(call.id, open, doubted, None, None)
        .await
        .unwrap();
    change.commit().await.unwrap();
    let other = dig_ingest::orders::journey::Serial::parse("CX0000000099").unwrap();
    let id = call.wish.unit_id.clone();
    site.store
        .assign(&id, Some(&other), &Tags::default(), &ann(), now)
        .await
        .unwrap();
    site.world.hold(None);
    assert_eq!(
        site.calls.ended(std::time::Duration::from_secs(60)).await,
        0
    );
    assert_eq!(site.unit(&id).await.unit.serial(), Some(other));
    let standing = site.standing().await;
    assert!(
        standing.contains(&("wrong-serial".to_owned(), id)),
        "{standing:?}"
    );
    assert_eq!(site.units(&order).await.len(), 1);
    site.store.close().await;
}
