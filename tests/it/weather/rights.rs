//! Rights on a broker that checks them (H1): the documented ones are enough for the orders part, and one that is missing is named with the right to
//! grant. The table of `src/ops/README.md` is what the tests grant.

use std::{fs, time::Duration};

use dig_ingest::rights::{Operation, Resource, grant};
use serde_json::Value;

use crate::kafka::takeover::{led, unit};
use crate::support::{
    broker::Broker,
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
