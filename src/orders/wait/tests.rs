//! Every state of a unit, in every state of its order: what is not settled waits for something, and tells what to do.

use super::*;
use crate::orders::journey::kit::{OwnerDatabase, ReadBack};
use crate::orders::journey::unit::Ordered;
use crate::orders::journey::{Code, Needs, Parcel, Reason, Serial, Tags};
use crate::orders::settings::{Mode, Partial, Product};
use crate::orders::store::intents::Wish;
use crate::orders::store::rows::{Head, OrderLine, OrderRow};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("in range")
}

/// A unit in every state of its way.
fn lives() -> Vec<Live> {
    let needs = Needs {
        serial: true,
        imei: true,
        sim: false,
    };
    let serial = Serial::parse("CX0000000001").expect("a serial");
    let ordered = Ordered::default();
    let tagged = Ordered {
        tags: Tags {
            imei: Some("350000000000014".into()),
            ..Tags::default()
        },
    };
    let assigned = tagged
        .provision(serial.clone())
        .assign(needs)
        .expect("complete");
    let parcel = Parcel::new("Post", ["T1"]).expect("a parcel");
    let shipped = assigned.clone().ship(parcel);
    let reported = shipped.clone().report();
    let shown = ReadBack {
        serial: Some("CX0000000001"),
        sim: None,
        imei: Some("350000000000014"),
    };
    let matches = shown.compare(reported.kit()).expect("the same");
    let confirmed = reported.clone().confirm(matches);
    let database = OwnerDatabase::new("acme").expect("a name");
    let inside = confirmed.clone().enter(database).expect("it has a serial");
    let clear = Order::receive(Vec::new()).clear().expect("no rule asks");
    let active = inside.clone().activate(&clear, at(0));
    vec![
        Live::Ordered(ordered.clone()),
        Live::Provisioned(ordered.provision(serial)),
        Live::Assigned(assigned),
        Live::Shipped(shipped),
        Live::Reported(reported),
        Live::Confirmed(confirmed),
        Live::InDatabase(inside),
        Live::Active(active),
    ]
}

fn units() -> Vec<Unit> {
    let reason = |code| Reason::new(code, "a look");
    let mut units: Vec<Unit> = lives().into_iter().map(Unit::Live).collect();
    for code in Code::ALL {
        units.extend(
            lives()
                .into_iter()
                .map(|live| Unit::Parked(live.park(reason(code)))),
        );
    }
    units
}

fn orders() -> Vec<Order> {
    let open = || Order::receive(Vec::new());
    let Order::Open(parked) = open() else {
        panic!("it is open");
    };
    let cancelled = match open().cancel(at(0), "by telephone") {
        Ok(cancelled) | Err(cancelled) => cancelled,
    };
    vec![
        open(),
        Order::receive(vec!["a comment".into()]),
        Order::Parked(parked.park(Reason::new(Code::Vanished, "gone"))),
        Order::Cancelled(cancelled),
    ]
}

fn whole(order: Order, unit: Unit) -> Whole {
    let needs = Needs {
        serial: true,
        imei: true,
        sim: false,
    };
    Whole {
        row: OrderRow {
            id: "7".into(),
            version: 1,
            order,
            head: Head {
                status: "PendingFulfillment".into(),
                account: "PART01".into(),
                ..Head::default()
            },
            missing: 0,
            reported: None,
            attempts: 0,
            retry_at: None,
            created_at: at(0),
            updated_at: at(0),
        },
        units: vec![UnitRow {
            id: "7.1".into(),
            order_id: "7".into(),
            version: 1,
            line: OrderLine {
                id: "1".into(),
                product_code: "CTD-100".into(),
                needs,
                attribute: None,
            },
            unit,
            standing: Default::default(),
            replaces: None,
            attempts: 0,
            retry_at: None,
            created_at: at(0),
            updated_at: at(10),
        }],
    }
}

fn configs() -> Vec<Config> {
    let mut configs = Vec::new();
    for mode in [Mode::Api, Mode::Worksheet] {
        for partial in [Partial::Wait, Partial::Report] {
            for auto in [true, false] {
                let mut config = Config {
                    accounts: vec!["PART01".into()],
                    products: [("CTD-100".to_owned(), Product::default())].into(),
                    auto_assign: auto,
                    ..Config::default()
                };
                config.fulfilment.mode = mode;
                config.fulfilment.partial = partial;
                configs.push(config);
            }
        }
    }
    configs
}

#[test]
fn whatever_is_not_settled_says_what_it_waits_for_and_what_to_do() {
    let facts = Facts {
        now: at(100),
        ..Facts::default()
    };
    let mut seen = std::collections::BTreeSet::new();
    for config in configs() {
        for order in orders() {
            for unit in units() {
                let whole = whole(order.clone(), unit);
                let row = &whole.units[0];
                let scene = Scene::new(&whole, &facts, &config);
                let wait = scene.unit(row);
                if whole.row.order.is_over() {
                    continue;
                }
                assert_eq!(wait.is_none(), row.unit.is_settled(), "{whole:?}");
                if let Some(wait) = wait {
                    assert!(!wait.said.is_empty() && !wait.remedy.is_empty(), "{wait:?}");
                    assert!(wait.since >= at(0) && wait.since <= facts.now, "{wait:?}");
                    seen.insert(wait.what.name());
                    assert!(scene.order().is_some(), "{whole:?}");
                }
            }
        }
    }
    for name in [
        "approval", "person", "marks", "shipping", "keying", "database", "job",
    ] {
        assert!(seen.contains(name), "{seen:?}");
    }
}

#[test]
fn a_call_in_doubt_is_told_in_every_state_of_its_unit() {
    for outcome in [Outcome::Open, Outcome::Unresolved] {
        let call = IntentRow {
            id: 3,
            wish: Wish {
                unit_id: "7.1".into(),
                product_code: "CTD-100".into(),
                product_id: 1,
                prefix: "CX".into(),
                erp_no: "PART01".into(),
                listed_at: Some(at(1)),
            },
            outcome,
            begun_at: at(5),
            closed_at: None,
            serial: None,
            evidence: None,
        };
        let facts = Facts {
            doubts: vec![call],
            now: at(100),
            ..Facts::default()
        };
        for order in orders() {
            for unit in units() {
                let whole = whole(order.clone(), unit);
                let config = Config::default();
                let wait = Scene::new(&whole, &facts, &config).unit(&whole.units[0]);
                let wait = wait.expect("it is in doubt");
                assert_eq!((wait.what, wait.since), (For::Answer, at(5)));
                assert!(wait.said.contains("PART01"), "{wait:?}");
            }
        }
    }
}

#[test]
fn every_wait_has_a_name_an_alarm_and_a_bound() {
    let waits = bounds::Waits::default();
    for what in For::ALL {
        assert_eq!(what.alarm(), format!("waits-{}", what.name()));
        assert!(waits.bound_s(what).is_some());
    }
    let never = bounds::Waits {
        marks_h: 0,
        ..waits
    };
    assert_eq!(never.bound_s(For::Marks), None);
}
