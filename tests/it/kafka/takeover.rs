//! The orders part as a process beside the pipeline: alone, together, and taken over by another instance.

use serde_json::{Value, json};

use dig_ingest::sim::Operation;

use super::held::devices;
use crate::support::broker::Broker;
use crate::support::child::Running;
use crate::support::trade::{desk, open, ordered};
use crate::support::wait_for;
use crate::support::world::World;

const PARTITIONS: i32 = 4;
pub const IMEI: &str = "356938035643809";

/// The one unit of an order, once it has come to a state.
pub fn unit(address: &str, order: u64, state: &str) -> Value {
    wait_for(&format!("the unit is {state}"), || {
        let orders = desk(address, "GET /api/orders?limit=10", &Value::Null);
        let id = Value::from(order.to_string());
        let mut known = orders["orders"].as_array()?.iter();
        known.find(|known| known["id"] == id)?;
        let whole = desk(address, &format!("GET /api/orders/{order}"), &Value::Null);
        let unit = whole["units"].as_array()?.first()?.clone();
        (unit["state"] == state).then_some(unit)
    })
}

/// What `/status` says of the orders, once it says who has the lease.
pub fn led(instance: &mut Running, lease: &str) -> Value {
    wait_for(&format!("the lease is {lease}"), || {
        let (_, status) = instance.told("/status");
        let figures = status["orders"]["figures"].clone();
        (figures["lease"] == lease).then_some(figures)
    })
}

/// What the registry's topic says of a device.
fn registered(world: &mut World<'_>, device: &str) -> Value {
    let settings = world.settings_file("show", &[]);
    let args = ["devices", "show", device, "--config"].map(str::to_owned);
    let all = [args.as_slice(), &[settings.display().to_string()]].concat();
    let (status, device) = world.command("show", &all).report();
    assert!(status.success(), "{device:#}");
    device
}

pub fn share(world: &World<'_>, serial: &str) {
    world
        .gateway
        .market(|market, now| market.assign(serial, "customer", now))
        .expect("it is there");
}

#[test]
fn a_killed_instance_is_taken_over_and_the_device_is_active_in_the_topic() {
    let mut world = open(Broker::shared(), PARTITIONS);
    let mut first = world.start_only(Some("orders"), &[]);
    led(&mut first, "ours");
    let mut second = world.start_only(Some("orders"), &[]);
    let figures = led(&mut second, "waiting");
    assert!(figures["holder"].is_string(), "{figures:#}");
    for instance in [&mut first, &mut second] {
        assert_eq!(instance.told("/readyz").0, 200);
        assert_eq!(instance.told("/livez").0, 200);
    }

    let order = ordered(&world, "CTD-200", 1);
    // Who waits for the lease serves people all the same.
    let api = second.address("orders API");
    let made = unit(&api, order, "provisioned");
    first.kill();
    let id = made["id"].as_str().expect("an id");
    let marks = json!({ "imei": IMEI, "sim": "8931440400000000008" });
    desk(&api, &format!("POST /api/units/{id}/assign"), &marks);
    let parcel = json!({ "carrier": "Post", "tracking": ["T1"] });
    desk(&api, &format!("POST /api/orders/{order}/ship"), &parcel);
    unit(&api, order, "confirmed");
    led(&mut second, "ours");
    let serial = made["serial"].as_str().expect("a serial");
    share(&world, serial);
    let active = unit(&api, order, "active");
    assert_eq!(active["serial"], serial, "a unit keeps its serial (P1)");
    // The state is committed first, and then published.
    wait_for("the topic says so", || {
        (registered(&mut world, IMEI)["state"] == "active").then_some(())
    });
    assert_eq!(registered(&mut world, IMEI)["serial"], serial);
    assert_eq!(world.asked(Operation::ProvisionDeviceToAccount), 1);
    let asked = world.asked(Operation::Authenticate);
    assert_eq!(asked, 0, "orders have no business with the gateway");
    let figures = led(&mut second, "ours");
    assert_eq!(figures["units"], json!({ "active": 1 }));
    assert_eq!(figures["outbox_waiting"], 0);

    second.signal("TERM");
    second.succeeded();
    assert!(first.log().contains("this instance acquired the lease"));
}

#[test]
fn one_process_does_both_and_a_pipeline_alone_needs_no_store() {
    let mut world = open(Broker::shared(), PARTITIONS);
    let fleet = world.path("fleet.ndjson");
    let nowhere = world.path("nowhere.db");
    let file = format!("{:?}", nowhere.display().to_string());
    let mut alone = world.start_only(Some("pipeline"), &[("orders.store.file", &file)]);
    wait_for("the pipeline is ready without orders", || {
        let (status, told) = alone.told("/readyz");
        (status == 200).then_some(told)
    });
    assert!(alone.told("/status").1["orders"].is_null());
    assert!(!nowhere.exists());
    alone.signal("TERM");
    alone.succeeded();

    let instance = world.start();
    world.instances.push(instance);
    let path = fleet.display().to_string();
    let by = ["--by", "device-id", "--devices", "1", "--registry", &path];
    let mut load = world.load(2_000, &[&by[..], &["--rate", "200"]].concat());
    let order = ordered(&world, "CTD-200", 1);
    let api = world.instances[0].address("orders API");
    let made = unit(&api, order, "provisioned");
    let text = std::fs::read_to_string(&fleet).expect("the load wrote its device");
    let device: Value = serde_json::from_str(&text).expect("one device");
    let id = made["id"].as_str().expect("an id");
    let marks = json!({ "imei": device["device_id"], "sim": "8931440400000000008" });
    desk(&api, &format!("POST /api/units/{id}/assign"), &marks);
    let parcel = json!({ "carrier": "Post", "tracking": ["T1"] });
    desk(&api, &format!("POST /api/orders/{order}/ship"), &parcel);
    unit(&api, order, "confirmed");
    world.until("early records are held", |world| {
        super::held::held(world) > 0
    });
    assert_eq!(
        world.accepted(),
        0,
        "a record passed before activation (G1)"
    );
    let serial = made["serial"].as_str().expect("a serial").to_owned();
    share(&world, &serial);
    world.until("the device is heard", |world| world.accepted() > 0);
    load.succeeded();
    world.until("all of it is heard", |world| world.accepted() == 2_000);
    let held = devices(&mut world, &["held"]);
    assert_eq!(held["records"], 0, "{held:#}");
    let lines = world.gateway.ledger();
    assert!(
        lines
            .iter()
            .all(|line| line.member("SerialNo").as_deref() == Some(serial.as_str()))
    );
    assert!(lines[0].bills, "the first record starts the billing");
    let mut instance = world.instances.remove(0);
    instance.signal("TERM");
    instance.succeeded();
}

#[test]
fn a_part_that_cannot_go_on_ends_the_other_one_in_order() {
    let mut world = open(Broker::shared(), PARTITIONS);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = format!("\"{}\"", taken.local_addr().expect("an address"));
    let mut instance = world.start_with(&[("orders.web.listen", &listen)]);
    let status = instance.ended();
    let log = instance.log();
    assert!(!status.success(), "{log}");
    assert!(log.contains("orders.web.listen: cannot listen on"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

/// Both wait, neither is ready, and told to end they do; once it is there they go on.
#[test]
fn both_parts_wait_for_a_broker_that_is_away_at_the_start() {
    let broker = Broker::start(&[]);
    let mut world = open(&broker, 1);
    broker.kill();
    let waits = |instance: &mut Running| {
        instance.said("waiting", |log| {
            log.contains("no broker answers; retrying").then_some(())
        });
        assert_eq!(instance.told("/readyz").0, 503);
    };
    let mut ended = world.start();
    waits(&mut ended);
    ended.signal("TERM");
    ended.succeeded();
    let mut instance = world.start();
    waits(&mut instance);
    broker.revive();
    led(&mut instance, "ours");
    wait_for("it is ready", || {
        (instance.told("/readyz").0 == 200).then_some(())
    });
    instance.signal("TERM");
    instance.succeeded();
    world.end();
}
