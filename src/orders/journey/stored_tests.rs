use super::*;
use crate::orders::journey::kit::ReadBack;
use crate::orders::journey::registration::registration;
use crate::orders::journey::unit::NotNow;
use crate::orders::journey::{Actor, Serial, Tags};
use crate::registry::State;

const ALL: Needs = Needs {
    serial: true,
    sim: true,
    imei: true,
};

fn serial() -> Serial {
    Serial::parse("CX0000000001").expect("a serial")
}

fn tags() -> Tags {
    Tags {
        sim: Some("1".into()),
        imei: Some("2".into()),
        device_id: None,
    }
}

fn parcel(number: &str) -> Parcel {
    Parcel::new("Post", [number]).expect("a parcel")
}

/// Every state of the way to `active`, in order.
fn way() -> Vec<Live> {
    let ordered = Ordered { tags: tags() };
    let provisioned = ordered.clone().provision(serial());
    let assigned = provisioned.clone().assign(ALL).expect("complete");
    let shipped = assigned.clone().ship(parcel("T1"));
    let reported = shipped.clone().report();
    let shown = ReadBack {
        serial: Some("CX0000000001"),
        sim: Some("1"),
        imei: Some("2"),
    };
    let matches = shown.compare(reported.kit()).expect("the same");
    let confirmed = reported.clone().confirm(matches);
    let database = OwnerDatabase::new("acme").expect("a name");
    let inside = confirmed.clone().enter(database).expect("has a serial");
    let clear = Order::receive(Vec::new()).clear().expect("approved");
    let active = inside.clone().activate(&clear, Timestamp::UNIX_EPOCH);
    vec![
        Live::Ordered(ordered),
        Live::Provisioned(provisioned),
        Live::Assigned(assigned),
        Live::Shipped(shipped),
        Live::Reported(reported),
        Live::Confirmed(confirmed),
        Live::InDatabase(inside),
        Live::Active(active),
    ]
}

fn all_units() -> Vec<Unit> {
    let at = Timestamp::UNIX_EPOCH;
    let mut units = Vec::new();
    for live in way() {
        let parked = live.clone().park(Reason::new(Code::Person, "a look"));
        let unit = Unit::Live(live);
        units.push(Unit::Cancelled(unit.clone().cancel(at).expect("not ended")));
        if let Some(terminated) = unit.clone().terminate(at) {
            units.push(Unit::Terminated(terminated));
        }
        units.push(Unit::Parked(parked));
        units.push(unit);
    }
    units
}

#[test]
fn every_state_survives_the_flat_form() {
    for unit in all_units() {
        let flat = FlatUnit::from(&unit);
        assert_eq!(flat.restore(ALL), Ok(unit));
    }
    let asked = Order::receive(vec!["a comment".into()]);
    let Order::Open(open) = asked.clone() else {
        panic!("it is open");
    };
    let parked = Order::Parked(open.park(Reason::new(Code::Vanished, "gone")));
    let cancelled = Order::receive(Vec::new())
        .cancel(Timestamp::UNIX_EPOCH, "status Cancelled")
        .expect("open");
    let approved = match asked.clone() {
        Order::Open(Open::Received(received)) => Order::Open(Open::Approved(
            received.approve(&Actor::Person("ann".into())),
        )),
        other => other,
    };
    let closed = Order::Closed(order::Closed {
        why: "was Fulfilled".into(),
    });
    for order in [asked, approved, parked, Order::Cancelled(cancelled), closed] {
        assert_eq!(FlatOrder::from(&order).restore(), Ok(order));
    }
}

#[test]
fn a_row_that_no_state_wrote_is_refused() {
    for unit in all_units() {
        let flat = FlatUnit::from(&unit);
        if unit.serial().is_some() && !matches!(unit, Unit::Cancelled(_)) {
            let mut broken = flat.clone();
            broken.known.serial = None;
            assert!(broken.restore(ALL).is_err(), "{unit:?}");
        }
    }
    let nonsense = FlatUnit {
        state: "flying".to_owned(),
        ..FlatUnit::default()
    };
    assert!(nonsense.restore(ALL).is_err());
    let nonsense = FlatOrder {
        state: "parked".to_owned(),
        ..FlatOrder::default()
    };
    assert!(nonsense.restore().is_err());
    assert!(reason(Some("nonsense"), None).is_err());
}

#[test]
fn a_correction_goes_back_to_shipped_except_for_an_active_unit() {
    for live in way() {
        let state = live.state();
        let corrected = live.clone().ship(parcel("T2"));
        match state {
            "ordered" | "provisioned" => assert_eq!(corrected, Err(NotNow::NotAssigned)),
            "active" => assert_eq!(corrected.map(|live| live.state()), Ok("active")),
            _ => {
                let corrected = corrected.expect("it can ship");
                assert_eq!(corrected.state(), "shipped");
                assert_eq!(corrected.known().parcel, Some(parcel("T2")));
            }
        }
        let other = Tags {
            imei: Some("9".into()),
            ..Tags::default()
        };
        let retagged = live.tag(other);
        match state {
            "active" => assert_eq!(retagged, Err(NotNow::Active)),
            "ordered" | "provisioned" | "assigned" => {
                assert_eq!(retagged.map(|live| live.state()), Ok(state));
            }
            _ => assert_eq!(retagged.map(|live| live.state()), Ok("shipped")),
        }
    }
}

#[test]
fn the_registry_calls_active_only_what_is_active() {
    for unit in all_units() {
        let registered = registration(&unit, "77");
        match (&unit, registered) {
            (unit, None) => assert_eq!(unit.serial(), None),
            (Unit::Cancelled(_) | Unit::Terminated(_), Some(device)) => {
                assert_eq!(device.state, State::Terminated);
            }
            (unit, Some(device)) => {
                assert_eq!(device.state == State::Active, unit.is_active(), "{unit:?}");
                // The IMEI, when there is no own id.
                assert_eq!(&*device.device_id, "2");
            }
        }
    }
}

#[test]
fn a_unit_without_a_serial_ends_confirmed() {
    let needs = Needs::default();
    let assigned = Ordered::default().assign(needs).expect("needs nothing");
    let reported = assigned.ship(parcel("T1")).report();
    let matches = ReadBack::default()
        .compare(reported.kit())
        .expect("nothing to show");
    let confirmed = reported.confirm(matches);
    let database = OwnerDatabase::new("acme").expect("a name");
    let confirmed = confirmed.enter(database).expect_err("no serial");
    let unit = Unit::Live(Live::Confirmed(confirmed));
    assert!(unit.is_settled());
    assert_eq!(registration(&unit, "77"), None);
    assert!(unit.terminate(Timestamp::UNIX_EPOCH).is_none());
}

#[test]
fn leaving_the_database_takes_back_a_step() {
    let Some(Live::InDatabase(inside)) = way().into_iter().nth(6) else {
        panic!("the seventh state");
    };
    assert_eq!(inside.database().as_str(), "acme");
    assert_eq!(Live::Confirmed(inside.leave()).state(), "confirmed");
}
