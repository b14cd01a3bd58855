//! Rights on a broker that checks them (H1): the documented ones are enough, and each one that is missing is named with the right to
//! grant. The table of `src/ops/README.md` is what the tests grant.

use std::{fs, path::Path, time::Duration};

use dig_ingest::{
    registry::{Device, State, writer::Writer},
    rights::{Operation, Resource, grant},
    sim,
};
use rdkafka::ClientConfig;
use serde_json::Value;

use crate::kafka::held::{fleet, held};
use crate::kafka::takeover::{led, unit};
use crate::support::{
    broker::{Broker, block_on},
    child::Running,
    root,
    trade::{open, ordered},
    wait_for, wait_until,
    world::World,
};

/// A right of the table.
#[derive(Debug)]
struct Row {
    resource: String,
    operation: Operation,
    streaming: bool,
    orders: bool,
}

/// The table of the README, row by row.
fn documented() -> Vec<Row> {
    let text = fs::read_to_string(root().join("src/ops/README.md")).expect("the README");
    let (_, table) = text.split_once("<!-- rights: begin -->").expect("a table");
    let (table, _) = table.split_once("<!-- rights: end -->").expect("its end");
    let rows = table.lines().filter(|line| line.starts_with("| "));
    rows.skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let operations = [Operation::Read, Operation::Write, Operation::Delete];
            let operation = operations.into_iter().find(|one| one.name() == cells[1]);
            Row {
                resource: cells[0].to_owned(),
                operation: operation.unwrap_or_else(|| panic!("no right: {line}")),
                streaming: !cells[2].is_empty(),
                orders: !cells[3].is_empty(),
            }
        })
        .collect()
}

/// The names of a scenario that the table tells of.
struct Names {
    input: String,
    held: String,
    dead: String,
    state: String,
    invalid: String,
    devices: String,
    orders: String,
    group: String,
}

impl Names {
    fn of(world: &World<'_>) -> Self {
        let topic = &world.topic;
        Self {
            input: topic.clone(),
            held: format!("{topic}.held"),
            dead: world.dead_topic.clone(),
            state: format!("{topic}.state"),
            invalid: format!("{topic}.invalid"),
            devices: format!("{topic}.devices"),
            orders: format!("{topic}.devices.orders"),
            group: world.group.clone(),
        }
    }

    fn resource(&self, row: &Row) -> Resource<'_> {
        let text = &row.resource;
        match text.as_str() {
            _ if text.starts_with("groups") => Resource::Groups(&self.group),
            _ if text.starts_with("transactional id") => Resource::TransactionalId(&self.orders),
            _ if text.contains("`input.topics`") => Resource::Topic(&self.input),
            _ if text.contains("`topics.held_suffix`") => Resource::Topic(&self.held),
            _ if text.contains("`topics.dead_letter`") => Resource::Topic(&self.dead),
            _ if text.contains("`topics.state`") => Resource::Topic(&self.state),
            _ if text.contains("`topics.invalid`") => Resource::Topic(&self.invalid),
            _ if text.contains("`topics.devices`") => Resource::Topic(&self.devices),
            _ => panic!("the test does not know {text}"),
        }
    }

    /// Makes the topics that the job may not make.
    fn make(&self, broker: &Broker, partitions: i32) {
        let compact = [("cleanup.policy", "compact")];
        for (name, partitions, settings) in [
            (&self.dead, 1, &[][..]),
            (&self.invalid, 1, &[]),
            (&self.held, partitions, &[]),
            (&self.state, 1, &compact),
            (&self.devices, 1, &compact),
        ] {
            broker.topic(name, partitions, settings);
        }
    }
}

/// The instances come as the named user; the harness itself does not.
fn guard(world: &mut World<'_>) {
    for (key, value) in world.broker.listener("sasl_plaintext") {
        world.set(&key, &format!("{value:?}"));
    }
    world.set("topics.create", "false");
}

/// `/readyz`, or `/status` where nothing waits for it, and the log say which right to grant.
fn named(instance: &mut Running, right: &str) {
    wait_for(&format!("{right}: it is named"), || {
        let listed = |page: &Value| {
            let waits = page["waits"].as_array().expect("a list").clone();
            waits.iter().any(|wait| wait.to_string().contains(right))
        };
        let (status, ready) = instance.told("/readyz");
        let reported = |wait: &Value| wait["effect"] == "reported";
        let (_, all) = instance.told("/status");
        let waits = all["waits"].as_array().expect("a list").clone();
        let beside = waits
            .iter()
            .any(|wait| reported(wait) && wait.to_string().contains(right));
        (status == 503 && listed(&ready) || beside).then_some(())
    });
    wait_until(&format!("{right}: the log names it"), || {
        instance.log().contains(right)
    });
}

/// Writes devices as somebody who may.
fn activate(world: &World<'_>, fleet: &Path, state: State) {
    let text = fs::read_to_string(fleet).expect("the load wrote its devices");
    let devices: Vec<Device> = text
        .lines()
        .map(|line| {
            let device: Value = serde_json::from_str(line).expect("JSON");
            let text = |name: &str| device[name].as_str().expect("a text").to_owned();
            Device {
                device_id: text("device_id").into(),
                serial: Some(text("serial").into()),
                state,
                order: None,
                since: None,
            }
        })
        .collect();
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", world.broker.address());
    let topic = format!("{}.devices", world.topic);
    let writer = Writer::new(&client, &topic).expect("a writer");
    block_on(writer.write(&devices)).expect("written");
}

/// Records of devices that are pending, a refused one, and one that the gateway rejects once its device is active.
fn pending(world: &mut World<'_>, fleet: &Path, round: usize) {
    activate(world, fleet, State::Pending);
    let path = fleet.display().to_string();
    world.produced(60, &["--devices", "5", "--registry", &path, "--seed", "1"]);
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let serial = fs::read_to_string(fleet).expect("devices");
    let serial: Value = serde_json::from_str(serial.lines().next().expect("one")).expect("JSON");
    let serial = serial["serial"].as_str().expect("a serial");
    let late = format!(
        r#"{{"Type":"GenericStatusRecord","DateTime":"{ahead:.3}","SerialNo":"{serial}","Code":107,"Value":{round}}}"#
    );
    for value in [late.as_str(), "no record"] {
        world.broker.write(&world.topic, "", value, Duration::ZERO);
    }
}

/// Waits until records were held, then activates their devices.
fn release(world: &mut World<'_>, fleet: &Path, before: i64) {
    world.until("records are held", |world| held(world) > before);
    activate(world, fleet, State::Active);
}

#[test]
fn the_documented_rights_carry_the_streaming_job_and_a_missing_one_is_named() {
    let broker = Broker::guarded();
    let gateway = sim::Config {
        settings: sim::Settings {
            invalid_delay_max_ms: 100,
            ..sim::Settings::default()
        },
        ..sim::Config::default()
    };
    let mut world = World::beside(&broker, 1, gateway);
    guard(&mut world);
    let names = Names::of(&world);
    names.make(&broker, 1);
    for (key, value) in [
        ("gate.mode", "\"registry\""),
        ("topics.devices", &format!("{:?}", names.devices)),
        ("feedback.poll_ms", "200"),
        ("validate.future_s", "100000"),
    ] {
        world.set(key, value);
    }
    let rows: Vec<Row> = documented()
        .into_iter()
        .filter(|row| row.streaming)
        .collect();
    assert!(rows.len() >= 10, "{rows:#?}");
    for row in &rows {
        broker.grant(row.operation, names.resource(row));
    }
    let fleet = fleet(&world);
    world.produced(
        10,
        &[
            "--devices",
            "5",
            "--registry",
            &fleet.display().to_string(),
            "--seed",
            "1",
        ],
    );
    world.join();
    pending(&mut world, &fleet, 0);
    release(&mut world, &fleet, 0);
    // Those that the gateway rejects afterwards are none of them.
    let mut accepted = 70;
    whole(&mut world, &names, accepted);
    let mut instance = world.instances.remove(0);
    let log = instance.log();
    assert!(!log.contains("grant the user"), "{log}");
    instance.signal("TERM");
    instance.succeeded();
    for (round, row) in (1..).zip(&rows) {
        let resource = names.resource(row);
        let right = grant(row.operation, resource);
        eprintln!("without: {right}");
        broker.withdraw(row.operation, resource);
        let before = held(&world);
        let mut instance = world.start();
        pending(&mut world, &fleet, round);
        let deletes = row.operation == Operation::Delete;
        let writes =
            |topic: &str| (row.operation, resource) == (Operation::Write, Resource::Topic(topic));
        // What is needed only once records are released.
        let late = deletes || writes(&names.state) || writes(&names.invalid);
        if late {
            world.instances.push(instance);
            release(&mut world, &fleet, before);
            instance = world.instances.remove(0);
        }
        if deletes {
            instance.said("what stays", |line| line.contains(&right).then_some(()));
        } else if resource == Resource::Topic(&names.devices) {
            assert!(!instance.ended().success());
            assert!(instance.log().contains(&right), "{}", instance.log());
        } else {
            named(&mut instance, &right);
        }
        broker.grant(row.operation, resource);
        if !instance.alive() {
            instance = world.start();
        }
        world.instances.push(instance);
        if !late {
            release(&mut world, &fleet, before);
        }
        accepted += 60;
        whole(&mut world, &names, accepted);
        let mut instance = world.instances.remove(0);
        wait_until("it is ready", || instance.told("/readyz").0 == 200);
        instance.signal("TERM");
        instance.succeeded();
    }
    world.end();
}

/// Waits until everything is read, settled and released, and everything that was rejected is written.
fn whole(world: &mut World<'_>, names: &Names, accepted: u64) {
    world.drained();
    world.until("what was held is released", |world| {
        world.accepted() >= accepted
            && world.instances[0].metric("dig_ingest_held_records") == 0.0
            && world.instances[0].metric("dig_ingest_releasing_devices") == 0.0
    });
    let input = world.broker.read(&world.topic);
    let broken = input.iter().filter(|letter| letter.payload == b"no record");
    let late = broken.count();
    world.until("every letter is written", |world| {
        world.broker.ends(&names.dead, 1)[0] >= late as i64
            && world.broker.ends(&names.invalid, 1)[0] >= late as i64
    });
}

#[test]
fn the_documented_rights_carry_the_orders_part_and_a_missing_one_is_named() {
    let broker = Broker::guarded();
    let mut world = open(&broker, 1);
    guard(&mut world);
    let names = Names::of(&world);
    names.make(&broker, 1);
    let rows: Vec<Row> = documented().into_iter().filter(|row| row.orders).collect();
    assert!(rows.len() >= 4, "{rows:#?}");
    for row in &rows {
        broker.grant(row.operation, names.resource(row));
    }
    let mut instance = world.start_only(Some("orders"), &[]);
    led(&mut instance, "ours");
    let provisioned = |world: &World<'_>, instance: &mut Running| {
        let order = ordered(world, "CTD-200", 1);
        let api = instance.address("orders API");
        unit(&api, order, "provisioned");
    };
    provisioned(&world, &mut instance);
    let log = instance.log();
    assert!(!log.contains("grant the user"), "{log}");
    for row in &rows {
        instance.signal("TERM");
        instance.succeeded();
        let resource = names.resource(row);
        let right = grant(row.operation, resource);
        eprintln!("without: {right}");
        broker.withdraw(row.operation, resource);
        instance = world.start_only(Some("orders"), &[]);
        let order = ordered(&world, "CTD-200", 1);
        named(&mut instance, &right);
        broker.grant(row.operation, resource);
        let api = instance.address("orders API");
        unit(&api, order, "provisioned");
        wait_until("it is ready", || instance.told("/readyz").0 == 200);
    }
    instance.signal("TERM");
    instance.succeeded();
    world.end();
}

/// A broker that refuses one topic of several, while the topic may still be described: the others are read on.
#[test]
fn a_topic_that_may_be_described_and_not_read_is_named_and_stops_no_other() {
    let broker = Broker::guarded();
    let mut world = World::new(&broker, 1, &[]);
    guard(&mut world);
    let names = Names::of(&world);
    names.make(&broker, 1);
    let other = format!("{}-other", world.topic);
    broker.topic(&other, 1, &[]);
    broker.topic(&format!("{other}.held"), 1, &[]);
    world.set("input.topics", &format!("[{:?}, {other:?}]", world.topic));
    for row in documented().into_iter().filter(|row| row.streaming) {
        broker.grant(row.operation, names.resource(&row));
    }
    broker.grant(Operation::Describe, Resource::Topic(&other));
    world.join();
    world.broker.write(&other, "", "no record", Duration::ZERO);
    let right = grant(Operation::Read, Resource::Topic(&other));
    named(&mut world.instances[0], &right);
    assert_eq!(world.instances[0].told("/livez").0, 200);
    world.produced(300, &[]);
    world.accepts(300);
    world.drained();
    broker.grant(Operation::Read, Resource::Topic(&other));
    world.until("the letter of the other topic is written", |world| {
        world.broker.ends(&world.dead_topic, 1)[0] == 1
    });
    world.until("it is ready", |world| {
        world.instances[0].told("/readyz").0 == 200
    });
    world.leave(300);
    world.end();
}
