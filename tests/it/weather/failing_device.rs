//! A device whose records the gateway fails on blocks only itself (Q1).
//!
//! Reported for other jobs: one record that fails for ever, retried at the head of its partition, stops the partition or, through
//! a circuit breaker, everything (`parallel-consumer#887`, `redpanda-data/connect#414`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use dig_ingest::sim::{Action, BodyKind, CutAt, Operation, RetryAfter, Rule};
use serde_json::Value;

use crate::kafka::held::{devices, fleet, gated, import};
use crate::support::{broker::Broker, world::World};

const RECORDS: u64 = 3_000;
const DEVICES: &str = "40";
/// The fleet goes on talking: while nothing but failing devices is left in hand, nobody can tell whether the gateway works.
const TALK: [&str; 2] = ["--devices", DEVICES];
/// What takes minutes takes a second.
pub const QUICK: [(&str, &str); 6] = [
    ("upload.quarantine_after_s", "1"),
    ("upload.quarantine_probe_s", "1"),
    ("upload.quarantine_probe_max_s", "2"),
    ("upload.backoff_max_ms", "200"),
    ("pacing.probe_interval_ms", "50"),
    ("pacing.probe_interval_max_ms", "200"),
];

pub fn status(status: u16) -> Action {
    Action::Status {
        status,
        body: BodyKind::Json,
        text: Some("the shard of this device is away".to_owned()),
        retry_after: RetryAfter::None,
    }
}

/// A backlog of many devices, and their serials.
fn backlog(broker: &Broker, partitions: i32) -> (World<'_>, Vec<String>) {
    let mut world = World::new(broker, partitions, &QUICK);
    world.produced(RECORDS, &["--devices", DEVICES]);
    let serials = serials(&world);
    (world, serials)
}

/// The serials of all loads.
pub fn serials(world: &World<'_>) -> Vec<String> {
    let mut serials = BTreeSet::new();
    for manifest in world.manifests() {
        for line in fs::read_to_string(manifest).expect("a manifest").lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            if let Some(serial) = line["serial"].as_str() {
                serials.insert(serial.to_owned());
            }
        }
    }
    serials.into_iter().collect()
}

/// The serials of a fleet, in its order.
fn devices_of(fleet: &Path) -> Vec<String> {
    let text = fs::read_to_string(fleet).expect("a fleet");
    let serial = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["serial"].as_str().expect("a serial").to_owned()
    };
    text.lines().map(serial).collect()
}

/// The gateway fails on every request that holds one of these devices.
pub fn fail(world: &World<'_>, serials: &[String], action: &Action) {
    for serial in serials {
        let rule = Rule::new(action.clone()).on(Operation::Records);
        world.gateway.faults().push(rule.with_serial(serial));
    }
}

/// Waits until everything is settled: those devices are in quarantine, all others are delivered. Gives what is held.
fn others_go_on(world: &mut World<'_>, failing: &[String]) -> u64 {
    world.drained();
    let listed = devices(world, &["held"]);
    let held = listed["records"].as_u64().expect("a count");
    let waiting = listed["devices"].as_array().expect("devices");
    let names: BTreeSet<&str> = waiting
        .iter()
        .map(|device| device["device"].as_str().expect("a name"))
        .collect();
    let expected: BTreeSet<&str> = failing.iter().map(String::as_str).collect();
    assert_eq!(names, expected, "{listed:#}");
    for device in waiting {
        assert_eq!(device["reason"], "gateway.failing", "{listed:#}");
    }
    held
}

/// The gateway takes them again: everything arrives, in order.
fn recovers(mut world: World<'_>, records: u64, duplicates: u64) {
    world.gateway.faults().clear();
    world.accepts(records);
    let ending = world.finish(duplicates);
    assert_eq!(ending.letters, 0);
    assert_eq!(ending.report["letters"]["held"], 0, "{:#}", ending.report);
}

/// `parallel-consumer#887`, `redpanda-data/connect#414`: 60 of 5000 records were delivered in a minute, the circuit was open, and
/// the lag grew everywhere.
#[test]
fn a_device_the_gateway_fails_on_blocks_only_itself() {
    let broker = Broker::mock();
    for action in [status(500), status(503), Action::Cut(CutAt::AfterBody)] {
        let (mut world, serials) = backlog(&broker, 1);
        let failing = &serials[..1];
        fail(&world, failing, &action);
        world.join();
        let held = others_go_on(&mut world, failing);
        assert_eq!(world.accepted(), RECORDS - held, "{action:?}");
        let page = world.instances[0].page("/metrics");
        let shown = |name: &str| {
            let line = page.lines().find(|line| line.starts_with(name));
            line.unwrap_or_else(|| panic!("no {name} in {page}"))
                .to_owned()
        };
        let quarantined = shown("dig_ingest_devices_quarantined_total");
        assert!(quarantined.ends_with(" 1"), "{quarantined}");
        assert!(world.instances[0].log().contains(&serials[0]));
        recovers(world, RECORDS, 0);
    }
}

/// The gateway does not answer at all when that device is in the request.
#[test]
fn a_device_the_gateway_hangs_on_blocks_only_itself() {
    let broker = Broker::mock();
    let (mut world, serials) = backlog(&broker, 2);
    world.set("dig.request_timeout_s", "[1]");
    fail(&world, &serials[..1], &Action::Stall);
    world.join();
    let held = others_go_on(&mut world, &serials[..1]);
    assert_eq!(world.accepted(), RECORDS - held);
    recovers(world, RECORDS, 0);
}

/// Failing devices in every partition, then half of the fleet: a shard of the gateway is away.
#[test]
fn half_the_fleet_failing_holds_up_only_that_half() {
    let broker = Broker::mock();
    for share in [8, 2] {
        let (mut world, serials) = backlog(&broker, 3);
        let failing: Vec<String> = serials.iter().step_by(share).cloned().collect();
        fail(&world, &failing, &status(500));
        world.join();
        let talk = world.until_amid_traffic("all are in quarantine", &TALK, |world| {
            let quarantined = world.instances[0].metric("dig_ingest_devices_quarantined_total");
            quarantined >= failing.len() as f64
        });
        let held = others_go_on(&mut world, &failing);
        assert_eq!(world.accepted(), RECORDS + talk - held);
        recovers(world, RECORDS + talk, 0);
    }
}

/// A gateway that is away while devices are isolated is waited for; an owner that is killed has a successor that knows them, and live
/// records go behind the held ones.
#[test]
fn quarantine_outlives_an_outage_and_its_owner() {
    let broker = Broker::mock();
    let mut world = World::new(&broker, 2, &QUICK);
    let fleet = fleet(&world);
    let path = fleet.display().to_string();
    let load = ["--devices", DEVICES, "--seed", "1", "--registry", &path];
    world.produced(RECORDS, &load);
    let failing = &devices_of(&fleet)[..2];
    fail(&world, failing, &status(500));
    world.join();
    world.accepts(100);
    world.gateway.outage(Some(status(503)));
    let before = world.asked(Operation::Records);
    world.until("probes went out", |world| {
        world.asked(Operation::Records) > before + 3
    });
    world.gateway.outage(None);
    let topic = format!("{}.held", world.topic);
    let held = |world: &World<'_>| world.broker.ends(&topic, 2).iter().sum::<i64>();
    let mut talk = world.until_amid_traffic("both are in quarantine", &load, |world| {
        world.instances[0].metric("dig_ingest_devices_quarantined_total") >= 2.0
    });
    // What the killed owner had sent and not committed may come again: records of devices that fail hold the commit up.
    let sent = world.arrived();
    world.instances.remove(0).kill();
    world.join();
    let then = held(&world);
    talk += world.until_amid_traffic("live records go behind them", &load, |world| {
        held(world) > then
    });
    // What the killed owner had held and not committed is held twice.
    let held = others_go_on(&mut world, failing);
    let missing = RECORDS + talk - world.accepted();
    assert!(
        (1..=held).contains(&missing),
        "{missing} missing, {held} held"
    );
    recovers(world, RECORDS + talk, sent);
}

/// With a gate: a device in quarantine that is terminated gets what every terminated device gets.
#[test]
fn a_device_in_quarantine_that_is_terminated_ends_as_any_other() {
    let broker = Broker::mock();
    let mut world = gated(&broker, &QUICK);
    let fleet = fleet(&world);
    let path = fleet.display().to_string();
    world.produced(1_000, &["--devices", "10", "--registry", &path]);
    import(&mut world, &fleet, |_| Some("active"));
    fail(&world, &devices_of(&fleet)[..1], &status(500));
    world.join();
    world.drained();
    let listed = devices(&mut world, &["held"]);
    let held = listed["records"].as_u64().expect("a count");
    assert!(held > 0 && world.accepted() == 1_000 - held, "{listed:#}");
    assert_eq!(listed["devices"][0]["reason"], "gateway.failing");
    import(&mut world, &fleet, |at| (at == 0).then_some("terminated"));
    world.until("its records are letters", |world| {
        world.letters().len() as u64 == held
    });
    world.sound_letters = held;
    world.finish(0);
}

/// Nobody made a held topic and the job may not: the device waits in memory, alone, and the log says what to do.
#[test]
fn without_a_held_topic_a_failing_device_waits_and_says_so() {
    let broker = Broker::shared();
    let (mut world, serials) = backlog(broker, 2);
    world.set("topics.create", "false");
    for name in ["dead", "invalid", "state"] {
        broker.topic(&format!("{}.{name}", world.topic), 1, &[]);
    }
    fail(&world, &serials[..1], &status(500));
    world.join();
    world.until("the log says what to do", |world| {
        world.instances[0].log().contains("topics.create = true")
    });
    world.until("all others are delivered", |world| {
        world.accepted() > RECORDS / 2 && world.gateway.counters().in_flight <= 1
    });
    recovers(world, RECORDS, 0);
}
