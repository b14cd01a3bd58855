mod doubts;
mod orphans;
mod shown;
mod stock;

use std::collections::BTreeMap;

use super::*;
use crate::orders::journey::unit::Ordered;
use crate::orders::journey::{Needs, Parcel};
use crate::orders::settings::{
    CheckContracts, Fulfilment, Mode, Packages, Partial, Product, Provision,
};
use crate::orders::store::rows::LineStanding;
use doubts::seen;
use view::Listing;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("in range")
}

fn config() -> Config {
    Config {
        accounts: vec!["PART01".into()],
        products: [(
            "CTD-100".into(),
            Product {
                product_id: 10032,
                prefix: "CX".into(),
                ..Product::default()
            },
        )]
        .into(),
        fulfilment: Fulfilment {
            mode: Mode::Api,
            ..Fulfilment::default()
        },
        provision: Provision {
            check_contracts: CheckContracts::Never,
            ..Provision::default()
        },
        ..Config::default()
    }
}

fn order_row(status: &str) -> OrderRow {
    OrderRow {
        id: "77".into(),
        version: 1,
        order: Order::receive(Vec::new()),
        head: Head {
            status: status.into(),
            account: "PART01".into(),
            order_date: "2027-01-10".into(),
            ..Head::default()
        },
        missing: 0,
        reported: None,
        attempts: 0,
        retry_at: None,
        created_at: at(0),
        updated_at: at(0),
    }
}

fn unit_row(n: u32, unit: Unit) -> UnitRow {
    UnitRow {
        id: format!("77.{n}"),
        order_id: "77".into(),
        version: 1,
        line: OrderLine {
            id: n.to_string(),
            product_code: "CTD-100".into(),
            needs: Needs {
                serial: true,
                ..Needs::default()
            },
            attribute: None,
        },
        unit,
        standing: Default::default(),
        replaces: None,
        attempts: 0,
        retry_at: None,
        created_at: at(0),
        updated_at: at(0),
    }
}

fn serial(n: u32) -> Serial {
    Serial::parse(&format!("CX{n:010}")).expect("a serial")
}

fn shipped(n: u32, tracking: &str) -> Unit {
    let needs = Needs {
        serial: true,
        ..Needs::default()
    };
    let assigned = Ordered::default().provision(serial(n)).assign(needs);
    let parcel = Parcel::new("Post", [tracking]).expect("a parcel");
    Unit::Live(Live::Shipped(assigned.expect("complete").ship(parcel)))
}

fn reported(n: u32, tracking: &str) -> Unit {
    match shipped(n, tracking) {
        Unit::Live(Live::Shipped(unit)) => Unit::Live(Live::Reported(unit.report())),
        other => other,
    }
}

fn held(row: OrderRow, units: Vec<UnitRow>) -> Held {
    Held {
        known: [row.id.clone()].into(),
        orders: vec![Whole { row, units }],
        first_listed: Some(at(-100_000)),
        last_listed: Some(at(0)),
        ..Held::default()
    }
}

fn wire_order(status: &str) -> wire::Order {
    wire::Order {
        id: 77,
        account: Some(wire::Account {
            account_id: "PART01".into(),
            id: None,
        }),
        order_date: Some("2027-01-10".into()),
        shipment_status: status.into(),
        ..wire::Order::default()
    }
}

fn wire_line(n: u32, serial: Option<String>) -> wire::LineUnit {
    wire::LineUnit {
        id: i64::from(n),
        product_code: "CTD-100".into(),
        requires_serial_number: Some(true),
        serial_number: serial,
        ..wire::LineUnit::default()
    }
}

fn view(orders: Vec<wire::Order>, lines: Vec<wire::LineUnit>, full: bool) -> View {
    let from = "2026-10-01".parse().expect("a day");
    View {
        listing: Some(Listing::new(orders, from, full)),
        lines: BTreeMap::from([("77".to_owned(), lines)]),
        ..View::default()
    }
}

fn names(acts: &[Action]) -> Vec<&'static str> {
    acts.iter().map(Action::name).collect()
}

#[test]
fn an_order_that_is_listed_twice_and_not_alike_is_as_if_it_was_not_looked_at() {
    let from = "2026-10-01".parse().expect("a day");
    let pending = || wire_order("PendingFulfillment");
    let alike = Listing::new(vec![pending(), pending()], from, true);
    assert_eq!(alike.orders.len(), 1);
    assert!(alike.contradicting.is_empty());
    // In either order of the entries.
    for orders in [
        vec![pending(), wire_order("Cancelled")],
        vec![wire_order("Cancelled"), pending()],
    ] {
        let view = view(orders, vec![wire_line(1, None)], true);
        let listing = view.listing.as_ref().expect("a listing");
        assert!(listing.orders.is_empty());
        assert!(listing.contradicting.contains("77"));
        let fresh = decide(&view, &Held::default(), &config(), at(0));
        assert_eq!(names(&fresh), Vec::<&str>::new(), "it is not taken in");
        let units = vec![unit_row(1, Unit::ordered())];
        let known = held(order_row("PendingFulfillment"), units);
        let acts = decide(&view, &known, &config(), at(0));
        assert_eq!(
            names(&acts),
            Vec::<&str>::new(),
            "it is neither missing nor cancelled"
        );
    }
}

#[test]
fn a_line_that_is_listed_twice_is_one_line() {
    let row = order_row("PendingFulfillment");
    let held = held(row, vec![unit_row(1, Unit::ordered())]);
    let lines = [2, 1, 2, 1].map(|line| wire_line(line, None)).to_vec();
    let view = view(vec![wire_order("PendingFulfillment")], lines, false);
    let acts = decide(&view, &held, &config(), at(0));
    let added = acts
        .iter()
        .filter(|act| matches!(act, Action::AddUnit { .. }));
    assert_eq!(added.count(), 1, "{acts:?}");
    for line in ["1", "2"] {
        assert_eq!(
            view.line("77", line)
                .map(|unit| unit.id.to_string())
                .as_deref(),
            Some(line)
        );
    }
    assert!(view.line("77", "3").is_none());
}

#[test]
fn a_new_order_is_taken_in_by_what_its_status_means() {
    for (status, expected) in [
        ("PendingFulfillment", "approved"),
        ("Fulfilled", "closed"),
        ("Cancelled", "closed"),
        ("Odd", "parked"),
    ] {
        let view = view(vec![wire_order(status)], vec![wire_line(1, None)], false);
        let acts = decide(&view, &Held::default(), &config(), at(0));
        let [Action::TakeIn { order, lines, .. }] = &acts[..] else {
            panic!("{status}: {acts:?}");
        };
        assert_eq!(order.state(), expected, "{status}");
        assert_eq!(lines.is_empty(), expected == "closed", "{status}");
    }
    // Its lines could not be read: nothing is taken in by half.
    let blind = view(vec![wire_order("PendingFulfillment")], Vec::new(), false);
    assert!(decide(&blind, &Held::default(), &config(), at(0)).is_empty());
}

#[test]
fn a_rule_holds_an_order_for_a_person_and_nothing_is_done_for_it() {
    let mut config = config();
    config.approval.comments = true;
    let mut order = wire_order("PendingFulfillment");
    order.comment = Some("call first".into());
    let view = view(vec![order], vec![wire_line(1, None)], false);
    let acts = decide(&view, &Held::default(), &config, at(0));
    let [Action::TakeIn { order, .. }] = &acts[..] else {
        panic!("{acts:?}");
    };
    assert_eq!(order.state(), "received");
    let mut row = order_row("PendingFulfillment");
    row.order = order.clone();
    let held = held(row, vec![unit_row(1, Unit::ordered())]);
    assert!(decide(&View::default(), &held, &config, at(0)).is_empty());
}

#[test]
fn only_known_products_of_allowed_accounts_are_provisioned_one_at_a_time() {
    let units = vec![unit_row(1, Unit::ordered()), unit_row(2, Unit::ordered())];
    let all = held(order_row("PendingFulfillment"), units.clone());
    let acts = decide(&View::default(), &all, &config(), at(0));
    assert_eq!(names(&acts), ["provision"]);

    let stranger = Config {
        accounts: Vec::new(),
        ..config()
    };
    let acts = decide(&View::default(), &all, &stranger, at(0));
    assert!(
        acts.iter().all(
            |act| matches!(act, Action::ParkUnit { reason, .. } if reason.code == Code::Account)
        ),
        "{acts:?}"
    );
    let unknown = Config {
        products: BTreeMap::new(),
        ..config()
    };
    let acts = decide(&View::default(), &all, &unknown, at(0));
    assert!(
        acts.iter().all(
            |act| matches!(act, Action::ParkUnit { reason, .. } if reason.code == Code::UnknownProduct)
        ),
        "{acts:?}"
    );
    // A line that needs no serial is not provisioned.
    let mut cable = unit_row(1, Unit::ordered());
    cable.line.needs = Needs::default();
    let held = held(order_row("PendingFulfillment"), vec![cable]);
    let acts = decide(&View::default(), &held, &config(), at(0));
    assert_eq!(names(&acts), ["assign"]);
}

#[test]
fn a_terminated_device_that_reappears_is_shown_to_a_person_and_stays_terminated() {
    let mut held = held(order_row("Fulfilled"), Vec::new());
    held.reappeared = vec![("77.1".into(), seen(1, 9000))];
    let acts = decide(&View::default(), &held, &config(), at(9001));
    assert!(
        matches!(&acts[..], [Action::Alarm(Due { kind: "terminated-reappears", subject, .. })] if subject == "77.1"),
        "{acts:?}"
    );
}

#[test]
fn units_are_told_then_the_shipment_then_all_is_confirmed_by_reading_back() {
    let pending = || vec![wire_order("PendingFulfillment")];
    let order = || order_row("PendingFulfillment");
    let told = || Some(serial(1).to_string());
    let config = config();
    let one = |unit| vec![unit_row(1, unit)];

    let blank = view(pending(), vec![wire_line(1, None)], false);
    let acts = decide(
        &blank,
        &held(order(), one(shipped(1, "T1"))),
        &config,
        at(0),
    );
    assert_eq!(names(&acts), ["report-unit"]);
    let shown = view(pending(), vec![wire_line(1, told())], false);
    let acts = decide(
        &shown,
        &held(order(), one(shipped(1, "T1"))),
        &config,
        at(0),
    );
    assert_eq!(names(&acts), ["told"]);
    let acts = decide(
        &shown,
        &held(order(), one(reported(1, "T1"))),
        &config,
        at(0),
    );
    let [Action::ReportShipment { shipment, .. }] = &acts[..] else {
        panic!("{acts:?}");
    };
    assert_eq!(
        (&*shipment.tracking, &*shipment.status),
        ("T1", "Fulfilled")
    );

    let mut done = order_row("Fulfilled");
    done.reported = Some(shipment.clone());
    let fulfilled = view(
        vec![wire_order("Fulfilled")],
        vec![wire_line(1, told())],
        false,
    );
    let acts = decide(
        &fulfilled,
        &held(done.clone(), one(reported(1, "T1"))),
        &config,
        at(0),
    );
    assert_eq!(names(&acts), ["confirm"]);
    // A corrected number is told again.
    let acts = decide(
        &fulfilled,
        &held(done.clone(), one(reported(1, "T2"))),
        &config,
        at(0),
    );
    assert_eq!(names(&acts), ["report-shipment"]);
    // What was written in this round must be read again first.
    let mut written = fulfilled.clone();
    written.wrote("77");
    assert!(
        decide(
            &written,
            &held(done, one(reported(1, "T1"))),
            &config,
            at(0)
        )
        .is_empty()
    );
    // Somebody else's serial on the line is not overwritten.
    let foreign = view(
        pending(),
        vec![wire_line(1, Some(serial(9).to_string()))],
        false,
    );
    let acts = decide(
        &foreign,
        &held(order(), one(shipped(1, "T1"))),
        &config,
        at(0),
    );
    assert!(
        matches!(&acts[..], [Action::ParkUnit { reason, .. }] if reason.code == Code::Elsewhere),
        "{acts:?}"
    );
    // With a worksheet nothing is told by us.
    let sheet = Config {
        fulfilment: Fulfilment::default(),
        ..config
    };
    assert!(decide(&blank, &held(order(), one(shipped(1, "T1"))), &sheet, at(0)).is_empty());
}

#[test]
fn a_part_waits_or_is_told_and_several_packages_are_joined_or_refused() {
    let units = vec![
        unit_row(1, reported(1, "T1")),
        unit_row(2, Unit::ordered()),
        unit_row(3, reported(3, "T2")),
    ];
    let mut config = config();
    config.products.clear();
    let lines = (1..=3)
        .map(|n| wire_line(n, Some(serial(n).to_string())))
        .collect();
    let view = view(vec![wire_order("PendingFulfillment")], lines, false);
    let held = held(order_row("PendingFulfillment"), units);
    let told = |config: &Config| {
        let acts = decide(&view, &held, config, at(0));
        acts.into_iter().find_map(|act| match act {
            Action::ReportShipment { shipment, .. } => Some(Ok(shipment)),
            Action::ParkOrder { reason, .. } => Some(Err(reason.code)),
            _ => None,
        })
    };
    assert_eq!(told(&config), None);
    config.fulfilment.partial = Partial::Report;
    let Some(Ok(shipment)) = told(&config) else {
        panic!("a part is told");
    };
    // Not all has shipped: it is not fulfilled yet.
    assert_eq!(
        (&*shipment.tracking, &*shipment.status),
        ("T1, T2", "PendingFulfillment")
    );
    config.fulfilment.packages = Packages::Refuse;
    assert_eq!(told(&config), Some(Err(Code::Packages)));
}

fn confirmed() -> Unit {
    let line = wire_line(1, Some(serial(1).to_string()));
    match reported(1, "T1") {
        Unit::Live(Live::Reported(unit)) => {
            let matches = fulfil::read_back(&line).compare(unit.kit());
            Unit::Live(Live::Confirmed(unit.confirm(matches.expect("the same"))))
        }
        other => other,
    }
}

#[test]
fn a_confirmed_unit_becomes_active_only_by_an_owner_of_a_clear_order() {
    let mut asked = View::default();
    asked.asked.insert(serial(1));
    let owned = View {
        owners: OwnerDatabase::new("acme")
            .map(|db| (serial(1), db))
            .into_iter()
            .collect(),
        ..asked.clone()
    };
    let mut row = order_row("Fulfilled");
    row.reported = fulfil::wished(
        &Whole {
            row: row.clone(),
            units: vec![unit_row(1, confirmed())],
        },
        &config(),
    );
    let all = held(row.clone(), vec![unit_row(1, confirmed())]);
    assert!(decide(&asked, &all, &config(), at(0)).is_empty());
    assert_eq!(names(&decide(&owned, &all, &config(), at(0))), ["activate"]);
    let Order::Open(open) = row.order.clone() else {
        panic!("it is open");
    };
    let mut parked = row.clone();
    parked.order = Order::Parked(open.park(Reason::new(Code::Person, "a look")));
    let all = held(parked, vec![unit_row(1, confirmed())]);
    assert!(decide(&owned, &all, &config(), at(0)).is_empty());
    let mut gone = row;
    gone.order = match gone.order.cancel(at(0), "status") {
        Ok(cancelled) | Err(cancelled) => Order::Cancelled(cancelled),
    };
    let all = held(gone, vec![unit_row(1, confirmed())]);
    // It is shown as fulfilled all the same: a person is told.
    assert_eq!(names(&decide(&owned, &all, &config(), at(0))), ["alarm"]);
}

#[test]
fn a_cancelled_a_strange_and_a_foreign_status_stop_an_order() {
    let units = || vec![unit_row(1, Unit::ordered())];
    let act = |status: &str, config: &Config| {
        let view = view(vec![wire_order(status)], Vec::new(), false);
        decide(&view, &held(order_row(status), units()), config, at(0))
    };
    let config = config();
    assert!(names(&act("Cancelled", &config)).contains(&"cancel-order"));
    let park = Config {
        on_cancelled: OnCancelled::Park,
        ..config.clone()
    };
    assert!(names(&act("Cancelled", &park)).contains(&"park-order"));
    for (status, code) in [("Odd", Code::UnknownStatus), ("Fulfilled", Code::Elsewhere)] {
        let acts = act(status, &config);
        assert!(
            acts.iter()
                .any(|act| matches!(act, Action::ParkOrder { reason, .. } if reason.code == code)),
            "{status}: {acts:?}"
        );
    }
}

#[test]
fn an_order_that_sweeps_miss_is_checked_not_acted_upon() {
    let missed = |missing: i64, full: bool, config: &Config| {
        let mut row = order_row("PendingFulfillment");
        row.missing = missing;
        let mut unit = unit_row(1, Unit::ordered());
        unit.retry_at = Some(at(100));
        let view = view(Vec::new(), Vec::new(), full);
        names(&decide(&view, &held(row, vec![unit]), config, at(0)))
    };
    let config = config();
    assert!(missed(0, false, &config).is_empty());
    assert_eq!(missed(0, true, &config), ["missing"]);
    assert_eq!(missed(1, true, &config), ["missing"]);
    assert_eq!(missed(2, false, &config), ["alarm"]);
    let cancel = Config {
        on_vanished: OnVanished::Cancel,
        ..config
    };
    assert_eq!(missed(1, true, &cancel), ["cancel-order"]);
}

#[test]
fn a_line_that_changes_afterwards_is_taken_in_and_the_others_go_on() {
    let decided = |units: Vec<UnitRow>, lines| {
        let view = view(vec![wire_order("PendingFulfillment")], lines, false);
        let held = held(order_row("PendingFulfillment"), units);
        decide(&view, &held, &config(), at(0))
    };
    let names = |acts: &[Action]| acts.iter().map(Action::name).collect::<Vec<_>>();
    let new = || unit_row(1, Unit::ordered());
    let acts = decided(vec![new()], vec![wire_line(1, None), wire_line(2, None)]);
    assert_eq!(names(&acts), ["add-unit", "provision"]);
    let mut other = wire_line(1, None);
    other.product_code = "CTD-200".into();
    let acts = decided(vec![new()], vec![other]);
    assert!(
        matches!(&acts[..], [Action::ParkUnit { reason, .. }] if reason.code == Code::LineChanged),
        "{acts:?}"
    );
    let acts = decided(
        vec![new(), unit_row(2, Unit::ordered())],
        vec![wire_line(2, None)],
    );
    assert_eq!(names(&acts), ["line-gone", "provision"]);
    // A person let it go on.
    let kept = UnitRow {
        standing: LineStanding::Kept,
        ..new()
    };
    let acts = decided(vec![kept], vec![wire_line(2, None)]);
    assert_eq!(names(&acts), ["add-unit", "provision"]);
}

#[test]
fn an_order_that_this_pass_stops_is_told_of_no_more() {
    let units = || vec![unit_row(1, reported(1, "T1"))];
    let lines = || vec![wire_line(1, Some(serial(1).to_string()))];
    let acts = |status: &str, config: &Config| {
        let view = view(vec![wire_order(status)], lines(), false);
        let held = held(order_row("PendingFulfillment"), units());
        names(&decide(&view, &held, config, at(0)))
    };
    let config = config();
    assert_eq!(acts("PendingFulfillment", &config), ["report-shipment"]);
    assert_eq!(acts("Cancelled", &config), ["head", "cancel-order"]);
    assert_eq!(acts("Odd", &config), ["head", "park-order"]);
}

#[test]
fn an_order_is_not_told_as_fulfilled_while_a_unit_of_it_is_parked_untold() {
    let Unit::Live(live) = shipped(2, "T1") else {
        panic!("it is live");
    };
    let parked = Unit::Parked(live.park(Reason::new(Code::ReportRefused, "400")));
    let units = vec![unit_row(1, reported(1, "T1")), unit_row(2, parked)];
    let lines = vec![
        wire_line(1, Some(serial(1).to_string())),
        wire_line(2, None),
    ];
    let view = view(vec![wire_order("PendingFulfillment")], lines, false);
    for partial in [Partial::Wait, Partial::Report] {
        let mut config = config();
        config.fulfilment.partial = partial;
        let held = held(order_row("PendingFulfillment"), units.clone());
        assert!(decide(&view, &held, &config, at(0)).is_empty());
    }
}
