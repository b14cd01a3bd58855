//! Hold and release on a real broker: devices talk before they may, and everything of them arrives in order once they may.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::support::{broker::Broker, world::World};

const PARTITIONS: i32 = 4;

/// A world whose gate asks the registry topic.
pub fn gated<'b>(broker: &'b Broker, settings: &[(&str, &str)]) -> World<'b> {
    let mut world = World::new(broker, PARTITIONS, &[("gate.mode", "\"registry\"")]);
    let devices = format!("{}.devices", world.topic);
    if broker.is_mock() {
        broker.topic(&devices, 1, &[]);
    }
    world.set("topics.devices", &format!("{devices:?}"));
    world.set("batch.max_records", "200");
    for (key, value) in settings {
        world.set(key, value);
    }
    world
}

/// Where a load says which devices it has.
pub fn fleet(world: &World<'_>) -> PathBuf {
    world.file("fleet.ndjson", "")
}

/// Runs `dig-ingest devices`.
pub fn devices(world: &mut World<'_>, args: &[&str]) -> Value {
    let settings = world.settings_file("devices", &[]);
    let mut all: Vec<String> = vec!["devices".to_owned()];
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    all.extend(["--config".to_owned(), settings.display().to_string()]);
    all.extend(["--report".to_owned(), "json".to_owned()]);
    let (status, report) = world.command("devices", &all).report();
    assert!(status.success(), "devices {args:?}: {status}, {report:#}");
    report
}

/// Imports the fleet with the states that `state` gives each device by its place.
pub fn import(
    world: &mut World<'_>,
    fleet: &PathBuf,
    state: impl Fn(usize) -> Option<&'static str>,
) {
    let text = fs::read_to_string(fleet).expect("the load wrote its devices");
    let lines: String = text
        .lines()
        .enumerate()
        .filter_map(|(at, line)| Some((line, state(at)?)))
        .map(|(line, state)| line.replace("\"active\"", &format!("{state:?}")) + "\n")
        .collect();
    assert!(!lines.is_empty(), "the fleet is empty");
    let path = world.file("import.ndjson", &lines);
    devices(world, &["import", &path.display().to_string()]);
}

/// Messages in the held topic.
pub fn held(world: &World<'_>) -> i64 {
    let topic = format!("{}.held", world.topic);
    world.broker.ends(&topic, world.partitions).iter().sum()
}

/// Waits until so many records were held, and checks that none has passed (G1).
fn holds(world: &mut World<'_>, records: i64) {
    world.until("records are held", |world| held(world) >= records);
    assert_eq!(world.accepted(), 0, "a record passed before activation");
}

#[test]
fn devices_that_talk_too_early_are_heard_in_order_once_active() {
    let mut world = gated(Broker::shared(), &[]);
    let fleet = fleet(&world);
    world.join();
    let path = fleet.display().to_string();
    // Long enough for two imports, by commands of their own, on a slow machine.
    let mut load = world.load(
        20_000,
        &["--rate", "700", "--devices", "40", "--registry", &path],
    );
    holds(&mut world, 2_000);
    // Half of them become known, with their serials; the others stay unknown.
    import(&mut world, &fleet, |at| (at % 2 == 0).then_some("pending"));
    let before = held(&world);
    holds(&mut world, (before + 1_000).min(20_000));
    import(&mut world, &fleet, |_| Some("active"));
    world.accepts(before as u64);
    assert!(load.alive(), "live records were to follow the held ones");
    load.succeeded();
    world.accepts(20_000);
    let topic = format!("{}.held", world.topic);
    world.until(
        "released records are deleted from the held topic",
        |world| {
            let bounds = world.broker.bounds(&topic, PARTITIONS);
            bounds.iter().all(|(first, end)| first == end)
        },
    );
    let ending = world.finish(0);
    assert_eq!(ending.report["letters"]["held"], 0, "{:#}", ending.report);
    assert_eq!(ending.letters, 0);
}

/// Releases while the load goes on and something breaks; `broken` says how many records that were read may be read again. They
/// are held and released a second time; beyond them only what had arrived by then may come again, as no mark says it did.
fn released_through(broken: impl FnOnce(&mut World<'_>) -> u64) {
    let settings = [
        ("pacing.concurrency_cap", "2"),
        ("memory.window_messages", "2000"),
    ];
    let mut world = gated(Broker::shared(), &settings);
    let fleet = fleet(&world);
    world.join();
    let path = fleet.display().to_string();
    let mut load = world.load(
        30_000,
        &["--rate", "4000", "--devices", "50", "--registry", &path],
    );
    holds(&mut world, 10_000);
    import(&mut world, &fleet, |_| Some("active"));
    world.accepts(1_000);
    let again = broken(&mut world);
    let bound = world.arrived() + world.most_per_request + again;
    load.succeeded();
    world.accepts(30_000);
    // An instance that lost its session on a busy machine holds again what it had not committed: copies beyond the records there are.
    let copies = u64::try_from(held(&world) - 30_000).unwrap_or(0);
    let ending = world.finish(bound + copies);
    assert_eq!(ending.report["letters"]["held"], 0, "{:#}", ending.report);
}

#[test]
fn an_instance_killed_while_it_releases_loses_and_reorders_nothing() {
    released_through(|world| {
        let mut first = world.instances.remove(0);
        first.kill();
        let again = world.lag();
        world.join();
        again.unsigned_abs()
    });
}

#[test]
fn a_rebalance_during_a_release_loses_and_reorders_nothing() {
    released_through(|world| {
        world.join();
        world.accepts(2_000);
        let mut first = world.instances.remove(0);
        first.signal("TERM");
        first.succeeded();
        // A partition changes hands at most twice, and repeats at most its window.
        2 * PARTITIONS as u64 * 2_000
    });
}

#[test]
fn terminated_devices_end_as_letters_and_the_others_pass() {
    let mut world = gated(Broker::shared(), &[]);
    let fleet = fleet(&world);
    world.join();
    let path = fleet.display().to_string();
    let mut load = world.load(
        8_000,
        &["--rate", "2000", "--devices", "20", "--registry", &path],
    );
    holds(&mut world, 2_000);
    import(&mut world, &fleet, |at| match at % 4 {
        0 => Some("terminated"),
        1 => None,
        _ => Some("active"),
    });
    load.succeeded();
    // Of 20 devices 5 are terminated and 5 stay unknown.
    world.until("the active ones are heard", |world| {
        world.accepted() >= 4_000
    });
    world.until("the letters of the terminated are written", |world| {
        world.letters().len() >= 2_000
    });
    world.drained();
    let listed = devices(&mut world, &["held"]);
    assert_eq!(listed["records"], 2_000, "{listed:#}");
    assert_eq!(listed["devices"].as_array().map(Vec::len), Some(5));
    assert_eq!(listed["devices"][0]["reason"], "device.unknown");
    for letter in world.letters() {
        let reason = letter.headers.iter().find(|(name, _)| name == "reason");
        assert_eq!(
            reason.map(|(_, value)| value.as_str()),
            Some("device.terminated")
        );
    }
    world.sound_letters = 2_000;
    let ending = world.finish(0);
    assert_eq!(
        ending.report["letters"]["held"], 2_000,
        "{:#}",
        ending.report
    );
}

#[test]
fn records_of_a_vendors_shape_wait_in_the_gateways_shape() {
    let mut world = gated(Broker::shared(), &[]);
    let mapping = format!("{{ {:?} = \"flespi\" }}", world.topic);
    world.set("input.mappings", &mapping);
    let fleet = fleet(&world);
    world.join();
    let path = fleet.display().to_string();
    let flags = [
        "--rate",
        "2000",
        "--devices",
        "10",
        "--shape",
        "flespi",
        "--registry",
        &path,
    ];
    let mut load = world.load(6_000, &flags);
    holds(&mut world, 1_000);
    let topic = format!("{}.held", world.topic);
    let letters = world.broker.read(&topic);
    let record: Value = serde_json::from_slice(&letters[0].payload).expect("JSON");
    assert!(
        record["Type"].is_string() && record["DeviceId"].is_string(),
        "{record:#}"
    );
    import(&mut world, &fleet, |_| Some("active"));
    load.succeeded();
    // What is held is committed too.
    world.accepts(6_000);
    let ending = world.finish(0);
    assert_eq!(ending.report["letters"]["held"], 0, "{:#}", ending.report);
}
