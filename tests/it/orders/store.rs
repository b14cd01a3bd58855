//! The store: the same cases on SQLite and on PostgreSQL.

mod claims;
mod odds;

use std::time::Duration;

use dig_ingest::orders::journey::kit::{OwnerDatabase, ReadBack};
use dig_ingest::orders::journey::order::Order;
use dig_ingest::orders::journey::unit::{Live, Unit};
use dig_ingest::orders::journey::{Actor, Code, Needs, Parcel, Reason, Serial, Tags};
use dig_ingest::orders::store::cancel_terminate::Termination;
use dig_ingest::orders::store::change::{Cause, Change};
use dig_ingest::orders::store::intents::{Outcome, Wish};
use dig_ingest::orders::store::operator_actions::Subject;
use dig_ingest::orders::store::rows::{Head, OrderLine, UnitRow};
use dig_ingest::orders::store::{Config, Error, Store};
use dig_ingest::registry::State;
use jiff::Timestamp;
use serde_json::json;

use super::postgres;
use claims::{
    a_serial_that_is_made_takes_its_key_from_a_device_id,
    identifiers_are_compared_with_those_of_other_kinds,
    the_serial_of_another_device_is_nobodys_identifier,
};

/// Every case runs on both databases.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(#[test] fn $case() { super::run(super::sqlite_file(), super::$case); })*
        }
        mod postgresql {
            $(#[test] fn $case() { super::run(super::postgres::fresh(), super::$case); })*
        }
    };
}

on_both!(
    walks_the_whole_journey,
    refuses_what_does_not_fit_with_a_remedy,
    a_change_that_is_dropped_leaves_nothing,
    two_changes_of_one_row_do_not_overwrite_each_other,
    a_lost_lease_stops_every_write,
    an_open_intent_is_closed_once,
    a_serial_belongs_to_one_unit,
    a_device_that_changes_its_id_leaves_the_old_one_behind,
    cancelling_flags_what_has_a_serial,
    terminating_twice_changes_nothing,
    an_alarm_is_raised_once_and_counted,
    the_serial_of_another_device_is_nobodys_identifier,
    identifiers_are_compared_with_those_of_other_kinds,
    a_serial_that_is_made_takes_its_key_from_a_device_id,
);

/// A file in a directory of its own, which `run` removes.
fn sqlite_file() -> Config {
    Config {
        file: tempfile::tempdir().unwrap().keep().join("orders.db"),
        ..Config::default()
    }
}

fn run<F: AsyncFnOnce(Store)>(config: Config, case: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::init(&config).await.unwrap();
        case(store.clone()).await;
        store.close().await;
    });
    if config.url.is_empty() {
        std::fs::remove_dir_all(config.file.parent().unwrap()).unwrap();
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn ann() -> Actor {
    Actor::Person("ann".into())
}

const NEEDS: Needs = Needs {
    serial: true,
    sim: false,
    imei: true,
};

fn tags(imei: &str) -> Tags {
    Tags {
        imei: Some(imei.into()),
        ..Tags::default()
    }
}

pub(super) fn serial(n: u32) -> Serial {
    Serial::parse(&format!("CX{n:010}")).unwrap()
}

pub(super) async fn take_in(store: &Store, order: &str, units: u32) {
    let mut change = store.change(Actor::Reconciler, None, at(0)).await.unwrap();
    let head = Head {
        status: "PendingFulfillment".into(),
        account: "PART01".into(),
        ..Head::default()
    };
    let received = Order::receive(Vec::new());
    assert!(
        change
            .add_order(order, &received, &head, Cause::new("take-in", "seen"))
            .await
            .unwrap()
    );
    for n in 0..units {
        let line = OrderLine {
            id: format!("{}", n + 1),
            product_code: "CTD-100".into(),
            needs: NEEDS,
            attribute: None,
        };
        let cause = Cause::new("take-in", "seen");
        assert!(
            change
                .add_unit(order, &line, &Unit::ordered(), cause)
                .await
                .unwrap()
        );
    }
    // Again: nothing.
    assert!(
        !change
            .add_order(order, &received, &head, Cause::new("take-in", "seen"))
            .await
            .unwrap()
    );
    change.commit().await.unwrap();
}

pub(super) async fn unit(store: &Store, id: &str) -> UnitRow {
    store.unit(id).await.unwrap().unwrap()
}

async fn put(store: &Store, row: &UnitRow, live: Live, at: Timestamp) -> UnitRow {
    let mut change = store.change(Actor::Reconciler, None, at).await.unwrap();
    let row = change
        .put_unit(row, Unit::Live(live), Cause::new("step", "test"))
        .await
        .unwrap();
    change.commit().await.unwrap();
    row
}

pub(super) async fn provision(store: &Store, id: &str, given: &Serial) -> UnitRow {
    let row = unit(store, id).await;
    let Unit::Live(Live::Ordered(ordered)) = row.unit.clone() else {
        panic!("{row:?}");
    };
    put(
        store,
        &row,
        Live::Provisioned(ordered.provision(given.clone())),
        at(1),
    )
    .await
}

async fn walks_the_whole_journey(store: Store) {
    take_in(&store, "77", 1).await;
    provision(&store, "77.1", &serial(1)).await;
    let row = store
        .assign("77.1", None, &tags("350000000000014"), &ann(), at(2))
        .await
        .unwrap();
    assert_eq!(row.unit.state(), "assigned");
    let parcel = Parcel::new("Post", ["T1", "T2"]).unwrap();
    let shipped = store
        .ship("77", None, &parcel, &ann(), at(3))
        .await
        .unwrap();
    let Unit::Live(Live::Shipped(unit)) = shipped[0].unit.clone() else {
        panic!("{shipped:?}");
    };
    let reported = unit.report();
    let row = put(&store, &shipped[0], Live::Reported(reported.clone()), at(4)).await;
    let shown = ReadBack {
        serial: Some("CX0000000001"),
        sim: None,
        imei: Some("350000000000014"),
    };
    let confirmed = reported
        .clone()
        .confirm(shown.compare(reported.kit()).unwrap());
    let row = put(&store, &row, Live::Confirmed(confirmed.clone()), at(5)).await;
    let inside = confirmed
        .enter(OwnerDatabase::new("acme").unwrap())
        .unwrap();
    let row = put(&store, &row, Live::InDatabase(inside.clone()), at(6)).await;
    assert_eq!(store.devices().await.unwrap()[0].state, State::Pending);
    let clear = store
        .order("77")
        .await
        .unwrap()
        .unwrap()
        .order
        .clear()
        .unwrap();
    put(
        &store,
        &row,
        Live::Active(inside.activate(&clear, at(7))),
        at(7),
    )
    .await;

    // Read again from the rows: the same state; and the registry, the outbox and the audit trail tell it.
    let row = self::unit(&store, "77.1").await;
    let Unit::Live(Live::Active(active)) = &row.unit else {
        panic!("{row:?}");
    };
    assert_eq!(active.since(), at(7));
    let devices = store.devices().await.unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!(&*devices[0].device_id, "350000000000014");
    assert_eq!(
        (devices[0].state, devices[0].since),
        (State::Active, Some(at(7)))
    );
    let letters = store.unpublished(0, 100).await.unwrap();
    // Provisioned without an IMEI it went by its serial; that id is to be forgotten.
    let forgotten: Vec<_> = letters
        .iter()
        .filter(|letter| letter.device.serial.is_none())
        .collect();
    assert_eq!(forgotten.len(), 1);
    assert_eq!(&*forgotten[0].device.device_id, "CX0000000001");
    assert!(letters.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert_eq!(letters.last().unwrap().device, devices[0]);
    store
        .mark_published(letters.last().unwrap().seq, at(8), at(0))
        .await
        .unwrap();
    assert_eq!(store.unpublished_count().await.unwrap(), 0);
    let states: Vec<_> = store
        .events("77")
        .await
        .unwrap()
        .into_iter()
        .filter(|event| event.unit_id.is_some())
        .map(|event| (event.actor_kind, event.to_state.unwrap()))
        .collect();
    let (we, she) = ("reconciler", "person");
    let expected = [
        (we, "ordered"),
        (we, "provisioned"),
        (she, "assigned"),
        (she, "shipped"),
        (we, "reported"),
        (we, "confirmed"),
        (we, "in-database"),
        (we, "active"),
    ];
    assert_eq!(
        states,
        expected.map(|(who, state)| (who.to_owned(), state.to_owned()))
    );
    odds::of_an_active_device(&store).await;
}

fn refusal(result: Result<impl std::fmt::Debug, Error>) -> String {
    match result {
        Err(Error::Refused(refusal)) => {
            assert!(!refusal.remedy.is_empty());
            refusal.to_string()
        }
        other => panic!("not refused: {other:?}"),
    }
}

async fn refuses_what_does_not_fit_with_a_remedy(store: Store) {
    take_in(&store, "77", 2).await;
    let parcel = Parcel::new("Post", ["T1"]).unwrap();
    let text = refusal(store.ship("77", None, &parcel, &ann(), at(1)).await);
    assert!(
        text.contains("unit 77.1") && text.contains("no serial"),
        "{text}"
    );
    let text = refusal(
        store
            .ship("77", Some(&["77.9".into()]), &parcel, &ann(), at(1))
            .await,
    );
    assert!(text.contains("77.9"), "{text}");
    assert!(refusal(store.approve("77", &ann(), at(1)).await).contains("approved already"));
    assert!(refusal(store.approve("78", &ann(), at(1)).await).contains("order 78"));
    store
        .assign("77.1", None, &tags("1"), &ann(), at(1))
        .await
        .unwrap();
    let text = refusal(store.assign("77.2", None, &tags("1"), &ann(), at(1)).await);
    assert!(text.contains("IMEI 1 belongs to unit 77.1"), "{text}");
    let unit = Subject::parse("77.1");
    store.park(&unit, "a look", &ann(), at(2)).await.unwrap();
    assert!(refusal(store.park(&unit, "again", &ann(), at(2)).await).contains("not under way"));
    store.retry(&unit, &ann(), at(3)).await.unwrap();
    assert_eq!(self::unit(&store, "77.1").await.unit.state(), "ordered");
}

async fn a_change_that_is_dropped_leaves_nothing(store: Store) {
    take_in(&store, "77", 1).await;
    let before = store.events("77").await.unwrap().len();
    let row = unit(&store, "77.1").await;
    let mut change = store.change(Actor::Reconciler, None, at(1)).await.unwrap();
    let parked = match row.unit.clone() {
        Unit::Live(live) => Unit::Parked(live.park(Reason::new(Code::Person, "x"))),
        other => other,
    };
    change
        .put_unit(&row, parked, Cause::new("park", "x"))
        .await
        .unwrap();
    drop(change);
    assert_eq!(unit(&store, "77.1").await, row);
    assert_eq!(store.events("77").await.unwrap().len(), before);
    // The numbers of a dropped change are given again.
    store
        .note_alarm("kind", "a", "said", None, &ann(), at(2))
        .await
        .unwrap();
    provision(&store, "77.1", &serial(1)).await;
    let events = store.events("77").await.unwrap();
    assert!(
        events.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1),
        "{events:?}"
    );
}

async fn two_changes_of_one_row_do_not_overwrite_each_other(store: Store) {
    take_in(&store, "77", 1).await;
    let old = unit(&store, "77.1").await;
    provision(&store, "77.1", &serial(1)).await;
    let mut change = store.change(Actor::Reconciler, None, at(2)).await.unwrap();
    let result = change
        .put_unit(&old, Unit::ordered(), Cause::new("step", "late"))
        .await;
    assert!(
        matches!(&result, Err(error @ Error::Changed(_)) if error.retryable() && !error.may_have_effects()),
        "{result:?}"
    );
    drop(change);
    // Persons who meet take turns.
    let race = (1..=8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .assign("77.1", None, &tags(&n.to_string()), &ann(), at(n))
                .await
        })
    });
    let mut done = 0;
    for one in race.collect::<Vec<_>>() {
        done += u32::from(one.await.unwrap().is_ok());
    }
    assert!(done >= 1);
    let events = store.events("77").await.unwrap();
    assert_eq!(
        events.iter().filter(|event| event.act == "assign").count(),
        done as usize
    );
}

async fn a_lost_lease_stops_every_write(store: Store) {
    let life = Duration::from_secs(30);
    let first = store.take_lease("one", life, at(0)).await.unwrap().unwrap();
    assert_eq!(store.take_lease("two", life, at(29)).await.unwrap(), None);
    assert!(store.keep_lease(first, life, at(20)).await.unwrap());
    assert_eq!(store.take_lease("two", life, at(49)).await.unwrap(), None);
    let second = store
        .take_lease("two", life, at(51))
        .await
        .unwrap()
        .unwrap();
    assert!(second > first);
    assert!(!store.keep_lease(first, life, at(52)).await.unwrap());
    let late = store.change(Actor::Reconciler, Some(first), at(52)).await;
    assert!(matches!(late, Err(Error::LeaseLost)), "{late:?}");
    let change = store
        .change(Actor::Reconciler, Some(second), at(52))
        .await
        .unwrap();
    change.commit().await.unwrap();
    assert_eq!(store.lease_holder().await.unwrap().name, "two");
    store.leave_lease(second).await.unwrap();
    assert!(
        store
            .take_lease("one", life, at(53))
            .await
            .unwrap()
            .is_some()
    );
}

async fn begin(change: &mut Change, unit: &str) -> i64 {
    let wish = Wish {
        unit_id: unit.into(),
        product_code: "CTD-100".into(),
        product_id: 10032,
        prefix: "CX".into(),
        erp_no: "PART01".into(),
        listed_at: Some(at(0)),
    };
    change.begin_intent(&wish).await.unwrap()
}

async fn an_open_intent_is_closed_once(store: Store) {
    take_in(&store, "77", 1).await;
    let mut change = store.change(Actor::Reconciler, None, at(1)).await.unwrap();
    let id = begin(&mut change, "77.1").await;
    change.commit().await.unwrap();
    let open = store.intents_in_doubt().await.unwrap();
    assert_eq!(
        (open.len(), open[0].id, open[0].outcome),
        (1, id, Outcome::Open)
    );
    // While it is open, nobody gives the unit a serial by hand.
    let text = refusal(
        store
            .assign("77.1", Some(&serial(1)), &Tags::default(), &ann(), at(2))
            .await,
    );
    assert!(text.contains("in doubt"), "{text}");
    let mut change = store.change(Actor::Reconciler, None, at(3)).await.unwrap();
    change
        .close_intent(
            id,
            Outcome::Open,
            Outcome::Unresolved,
            None,
            Some(&json!({})),
        )
        .await
        .unwrap();
    let again = change
        .close_intent(id, Outcome::Open, Outcome::Answered, None, None)
        .await;
    assert!(matches!(again, Err(Error::Changed(_))), "{again:?}");
    change.commit().await.unwrap();
    store
        .assign("77.1", Some(&serial(1)), &tags("1"), &ann(), at(4))
        .await
        .unwrap();
    let all = store.intents().await.unwrap();
    assert_eq!(
        (all[0].outcome, all[0].serial.clone()),
        (Outcome::Adopted, Some(serial(1)))
    );
    assert_eq!(unit(&store, "77.1").await.unit.state(), "assigned");
}

async fn a_serial_belongs_to_one_unit(store: Store) {
    take_in(&store, "77", 2).await;
    provision(&store, "77.1", &serial(1)).await;
    let text = refusal(
        store
            .assign("77.2", Some(&serial(1)), &Tags::default(), &ann(), at(2))
            .await,
    );
    assert!(text.contains("belongs to unit 77.1"), "{text}");
    let text = refusal(
        store
            .assign("77.1", Some(&serial(2)), &Tags::default(), &ann(), at(2))
            .await,
    );
    assert!(text.contains("keeps its serial"), "{text}");
}

async fn a_device_that_changes_its_id_leaves_the_old_one_behind(store: Store) {
    take_in(&store, "77", 1).await;
    provision(&store, "77.1", &serial(1)).await;
    for imei in ["1", "2", "1"] {
        store
            .assign("77.1", None, &tags(imei), &ann(), at(2))
            .await
            .unwrap();
        let devices = store.devices().await.unwrap();
        let with_serial: Vec<_> = devices
            .iter()
            .filter(|device| device.serial.is_some())
            .collect();
        assert_eq!(with_serial.len(), 1, "{devices:?}");
        assert_eq!(&*with_serial[0].device_id, imei);
    }
}

async fn cancelling_flags_what_has_a_serial(store: Store) {
    take_in(&store, "77", 2).await;
    provision(&store, "77.1", &serial(1)).await;
    store
        .cancel("77", "the customer asked", &ann(), at(2))
        .await
        .unwrap();
    assert!(refusal(store.cancel("77", "again", &ann(), at(2)).await).contains("already"));
    for id in ["77.1", "77.2"] {
        assert_eq!(unit(&store, id).await.unit.state(), "cancelled");
    }
    assert_eq!(store.devices().await.unwrap()[0].state, State::Terminated);
    let alarms = store.alarms().await.unwrap();
    assert_eq!(alarms.len(), 1);
    assert_eq!(
        (&*alarms[0].kind, &*alarms[0].subject),
        ("cancelled-serial", "77.1")
    );
    assert!(
        refusal(store.assign("77.1", None, &tags("1"), &ann(), at(3)).await).contains("cancelled")
    );
}

async fn terminating_twice_changes_nothing(store: Store) {
    take_in(&store, "77", 1).await;
    provision(&store, "77.1", &serial(1)).await;
    let sheet = Actor::Sheet("2027-01-15.csv".into());
    let evidence = json!({ "row": 3 });
    let unit = "77.1".to_owned();
    let first = store
        .terminate(&serial(1), "on the sheet", &evidence, &sheet, at(2))
        .await
        .unwrap();
    assert_eq!(first, Termination::Done { unit: unit.clone() });
    let events = store.events("77").await.unwrap();
    assert_eq!(events.last().unwrap().actor, "2027-01-15.csv");
    let second = store
        .terminate(&serial(1), "on the sheet", &evidence, &sheet, at(3))
        .await
        .unwrap();
    assert_eq!(second, Termination::Already { unit });
    assert_eq!(store.events("77").await.unwrap(), events);
    let unknown = store
        .terminate(&serial(9), "on the sheet", &evidence, &sheet, at(3))
        .await
        .unwrap();
    assert_eq!(unknown, Termination::Unknown);
    assert_eq!(store.devices().await.unwrap()[0].state, State::Terminated);
}

async fn an_alarm_is_raised_once_and_counted(store: Store) {
    assert!(
        store
            .note_alarm("sheet", "a.csv", "empty", None, &ann(), at(1))
            .await
            .unwrap()
    );
    assert!(
        !store
            .note_alarm("sheet", "a.csv", "empty", None, &ann(), at(2))
            .await
            .unwrap()
    );
    let alarms = store.alarms().await.unwrap();
    assert_eq!(
        (
            alarms.len(),
            alarms[0].times,
            alarms[0].first_at,
            alarms[0].last_at
        ),
        (1, 2, at(1), at(2))
    );
    assert!(
        store
            .clear_alarm("sheet", "a.csv", &ann(), at(3))
            .await
            .unwrap()
    );
    assert!(
        !store
            .clear_alarm("sheet", "a.csv", &ann(), at(3))
            .await
            .unwrap()
    );
    assert!(store.alarms().await.unwrap().is_empty());
    assert!(
        store
            .note_alarm("sheet", "a.csv", "again", None, &ann(), at(4))
            .await
            .unwrap()
    );
}
