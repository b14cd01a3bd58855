//! The same of what the job remembers beside the input: marks of released records, the device registry, the state topic.

use std::time::Duration;

use super::{leave, recreate, shown};
use crate::kafka::held::{fleet, gated, held, import};
use crate::support::{broker::Broker, world::World};

const DEVICES: &str = "10";

/// Holds this many records of devices that are pending, then activates the devices and waits until all were accepted.
fn held_then_released(world: &mut World<'_>, fleet: &std::path::PathBuf, records: u64) {
    let before = (world.accepted(), held(world));
    let path = fleet.display().to_string();
    world.produced(records, &["--devices", DEVICES, "--registry", &path]);
    world.drained();
    assert_eq!(
        world.accepted(),
        before.0,
        "a record passed before activation"
    );
    import(world, fleet, |_| Some("active"));
    world.until("what was held was released", |world| {
        world.accepted() >= before.0 + records
    });
    import(world, fleet, |_| Some("pending"));
}

/// Waits until every released record was marked as such.
fn marked(world: &mut World<'_>) {
    world.until("nothing is held and every mark is written", |world| {
        world.instances[0].metric("dig_ingest_held_records") == 0.0
            && world.instances[0].metric("dig_ingest_releasing_devices") == 0.0
    });
}

/// Records stay in the held topic, so that only marks say what is released.
const KEPT: (&str, &str) = ("topics.trim_held", "false");

/// The held topic is deleted and created again (or its records are mirrored elsewhere) while the marks remain: what was held later, at
/// offsets below the old marks, was taken for released, never sent and never lettered.
#[test]
fn marks_of_a_held_topic_that_is_gone_release_nothing_of_the_new_one() {
    let mut world = gated(Broker::shared(), &[KEPT]);
    let fleet = fleet(&world);
    world.join();
    held_then_released(&mut world, &fleet, 2_000);
    marked(&mut world);
    leave(&mut world);
    let topic = format!("{}.held", world.topic);
    recreate(world.broker, &topic, world.partitions);
    // More than before, so that the old marks lie below the new log's end.
    let path = fleet.display().to_string();
    world.join();
    world.produced(4_000, &["--devices", DEVICES, "--registry", &path]);
    world.drained();
    assert_eq!(world.accepted(), 2_000);
    leave(&mut world);
    world.join();
    import(&mut world, &fleet, |_| Some("active"));
    world.until("what was held was released", |world| {
        world.accepted() >= 6_000
    });
    let ending = world.finish(0);
    assert_eq!(ending.report["letters"]["held"], 0, "{:#}", ending.report);
}

/// As above while the job runs: the worker's index of held records names offsets of a log that is gone.
#[test]
fn a_held_topic_recreated_while_the_job_runs_is_found_out_anew() {
    let mut world = gated(Broker::shared(), &[KEPT]);
    let fleet = fleet(&world);
    world.join();
    held_then_released(&mut world, &fleet, 2_000);
    marked(&mut world);
    let topic = format!("{}.held", world.topic);
    recreate(world.broker, &topic, world.partitions);
    // Before or after the change is noticed: nothing that is held now may be lost.
    held_then_released(&mut world, &fleet, 1_000);
    world.until("the change is noticed", |world| {
        world.instances[0].metric(super::CHANGES) >= 1.0
    });
    shown(&mut world, &topic, "recreated");
    held_then_released(&mut world, &fleet, 1_000);
    world.finish(3_000);
}

/// Marks as the version before wrote them: an offset, without a word of the topic.
#[test]
fn marks_of_the_version_before_are_void_above_the_end_of_the_held_log() {
    let mut world = gated(Broker::shared(), &[KEPT]);
    let fleet = fleet(&world);
    let (topic, state) = (
        format!("{}.held", world.topic),
        format!("{}.state", world.topic),
    );
    world.broker.topic(&topic, world.partitions, &[]);
    world
        .broker
        .topic(&state, 1, &[("cleanup.policy", "compact")]);
    for partition in 0..world.partitions {
        let low = format!("held-low/{topic}/{partition}/");
        world.broker.write(&state, &low, "70000", Duration::ZERO);
    }
    world.join();
    let path = fleet.display().to_string();
    world.produced(1_000, &["--devices", DEVICES, "--registry", &path]);
    world.drained();
    let names: Vec<String> = std::fs::read_to_string(&fleet)
        .expect("the load wrote its devices")
        .lines()
        .map(|line| {
            let device: serde_json::Value = serde_json::from_str(line).expect("JSON");
            device["device_id"].as_str().expect("an id").to_owned()
        })
        .collect();
    leave(&mut world);
    // Released through offsets that are there, by marks older than what lies at them.
    for partition in 0..world.partitions {
        for name in &names {
            let key = format!("released-through/{topic}/{partition}/{name}");
            world
                .broker
                .write(&state, &key, "50", Duration::from_secs(3_600));
        }
    }
    world.join();
    import(&mut world, &fleet, |_| Some("active"));
    world.until("what was held was released", |world| {
        world.accepted() >= 1_000
    });
    let ending = world.finish(0);
    assert_eq!(ending.report["letters"]["held"], 0, "{:#}", ending.report);
}

/// A follower that never saw the registry's topic being recreated went on with devices that are not in it any more, and did not hear
/// of new ones below its old position.
#[test]
fn a_registry_topic_recreated_while_the_job_runs_is_the_registry() {
    let mut world = gated(Broker::shared(), &[]);
    let fleet = fleet(&world);
    world.join();
    let path = fleet.display().to_string();
    let flags = ["--devices", DEVICES, "--registry", &path];
    world.produced(500, &flags);
    import(&mut world, &fleet, |_| Some("active"));
    world.until("all were accepted", |world| world.accepted() >= 500);
    let registry = format!("{}.devices", world.topic);
    world.broker.delete_topic(&registry);
    world
        .broker
        .topic(&registry, 1, &[("cleanup.policy", "compact")]);
    world.until("nobody is active any more", |world| {
        world.instances[0].metric("dig_ingest_registry_devices") == 0.0
    });
    shown(&mut world, &registry, "recreated");
    world.produced(500, &flags);
    world.until("records are held", |world| held(world) >= 500);
    assert_eq!(
        world.accepted(),
        500,
        "a record passed without its device (G1)"
    );
    import(&mut world, &fleet, |_| Some("active"));
    world.until("all were accepted", |world| world.accepted() >= 1_000);
    world.finish(0);
}

/// Marks are lost with the state topic: what they released may be sent again, and nothing is lost.
#[test]
fn a_state_topic_recreated_while_the_job_runs_loses_no_record() {
    let mut world = gated(Broker::shared(), &[]);
    let fleet = fleet(&world);
    world.join();
    held_then_released(&mut world, &fleet, 1_000);
    let state = format!("{}.state", world.topic);
    world.broker.delete_topic(&state);
    world
        .broker
        .topic(&state, 1, &[("cleanup.policy", "compact")]);
    held_then_released(&mut world, &fleet, 1_000);
    leave(&mut world);
    world.join();
    held_then_released(&mut world, &fleet, 1_000);
    world.finish(2_000);
}
