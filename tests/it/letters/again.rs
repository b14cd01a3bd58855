//! Replays beside a running job: late records, stopping and going on, letters that come back, and what the gateway refused.

use dig_ingest::sim::Poison;

use super::{asked, count, leave, replays, staying};
use crate::support::{broker::Broker, world::World};

/// Records that a setting rejected are replayed behind younger ones that were accepted, each once, in the order of their serial,
/// although the replay is stopped half-way.
#[test]
fn late_records_are_replayed_once_and_in_order_beside_a_running_job() {
    let mut world = World::new(
        Broker::shared(),
        2,
        &[
            ("guard.share", "1.0"),
            ("validate.past_days", "1"),
            ("validate.hold_back", "\"reject\""),
        ],
    );
    // Three hours apart: of each device the older records are rejected, and the younger ones go.
    let flags = [
        "--devices",
        "10",
        "--interval-ms",
        "10800000",
        "--mix",
        "gps=1",
    ];
    world.produced(300, &flags);
    world.join();
    world.drained();
    let (letters, accepted) = (world.letters().len() as u64, world.accepted());
    assert!(
        letters > 60 && accepted > 60,
        "{letters} letters, {accepted} accepted"
    );
    leave(&mut world);
    let strict = world.settings_file("strict", &[]);
    let (_, dry) = asked(&world, &strict, &["replay", "--dry-run"]);
    assert_eq!(staying(&dry, "record.datetime.past"), letters, "{dry:#}");

    world.set("validate.past_days", "365");
    let config = world.settings_file("repair", &[]);
    world.join();
    let line = ["replay", "--rate", "20", "--report", "json", "--config"].map(str::to_owned);
    let line = [&line[..], &[config.display().to_string()]].concat();
    let mut first = world.command("replay-first", &line);
    world.until("some letters are replayed", |world| {
        world.accepted() > accepted
    });
    first.signal("TERM");
    let (status, first) = first.report();
    assert!(!status.success() && first["stopped"] == true, "{first:#}");
    let (whole, second) = asked(&world, &config, &["replay", "--rate", "0"]);
    assert!(whole, "{second:#}");
    let (first, second) = (count(&first, "replayed"), count(&second, "replayed"));
    assert!(first > 0 && second > 0, "{first} and {second}");
    assert_eq!(first + second, letters);
    world.drained();
    let mut places = replays(&world);
    assert_eq!(places.len() as u64, letters);
    places.sort();
    places.dedup();
    assert_eq!(places.len() as u64, letters, "a letter was replayed twice");
    let report = world.verified(&["--config", &config.display().to_string()]);
    assert_eq!(count(&report, "duplicated"), 0, "{report:#}");
    assert_eq!(
        count(&report["letters"], "replayed_late"),
        letters,
        "{report:#}"
    );
    leave(&mut world);
    world.end();
}

/// The job rejects what today's settings of the command let pass: the letter comes back with its count, until the limit.
#[test]
fn a_letter_that_comes_back_is_replayed_a_limited_number_of_times() {
    let mut world = World::new(
        Broker::shared(),
        1,
        &[
            ("guard.share", "1.0"),
            ("validate.past_days", "1"),
            ("validate.hold_back", "\"reject\""),
        ],
    );
    let flags = [
        "--devices",
        "1",
        "--interval-ms",
        "86400000",
        "--mix",
        "gps=1",
    ];
    world.produced(2, &flags);
    world.join();
    world.drained();
    let letters = world.letters().len() as u64;
    assert_eq!(letters, 1);
    let config = world.settings_file("repair", &[("validate.past_days", "365")]);
    for round in 1..=2u64 {
        let (whole, report) = asked(&world, &config, &["replay", "--max-replays", "2"]);
        assert!(whole && count(&report, "replayed") == 1, "{report:#}");
        world.until("the letter is back", |world| {
            world.letters().len() as u64 == 1 + round
        });
        let newest = world.letters().pop().expect("a letter");
        let header = newest.headers.iter().find(|(name, _)| name == "replays");
        assert_eq!(
            header.map(|(_, count)| count.clone()),
            Some(round.to_string())
        );
    }
    let (whole, report) = asked(&world, &config, &["replay", "--max-replays", "2"]);
    assert!(
        !whole && staying(&report, "replay.limit") == 1,
        "{report:#}"
    );
    leave(&mut world);
    world.end();
}

const PATCH: &str = r#"
[device]
serial = "SerialNo"

[time]
path = "DateTime"
format = "rfc3339"

[[record]]
type = "VinRecord"
[record.fields]
VehicleIdentificationNumber = { const = "1HGCM82633A004352" }
"#;

/// The gateway refuses records for a value; a patch corrects it, also where the topic has a mapping of its own.
#[test]
fn records_that_the_gateway_refused_are_replayed_with_a_patch() {
    const MARKER: &str = "REFUSE00000000000";
    let mut world = World::new(Broker::shared(), 1, &[("guard.share", "1.0")]);
    let registry = world.file("devices.ndjson", "").display().to_string();
    world.set("registry.file", &format!("{registry:?}"));
    world.set(&format!("input.mappings.{}", world.topic), "\"flespi\"");
    world
        .gateway
        .poison(Poison::member("VehicleIdentificationNumber", MARKER));
    let flags = [
        "--devices",
        "50",
        "--shape",
        "flespi",
        "--poison-share",
        "0.02",
    ];
    let report = world.loaded(1_000, &[&flags[..], &["--registry", &registry]].concat());
    let poisoned = count(&report, "poison");
    assert!(poisoned > 0, "the load has no marked record");
    world.join();
    world.drained();
    assert_eq!(world.letters().len() as u64, poisoned);
    let accepted = world.accepted();
    let config = world.settings_file("repair", &[]);
    let patch = world.file("patch.toml", PATCH).display().to_string();
    let (whole, report) = asked(&world, &config, &["replay", "--patch", &patch]);
    assert!(
        whole && count(&report, "replayed") == poisoned,
        "{report:#}"
    );
    world.until("the repaired records are accepted", |world| {
        world.accepted() == accepted + poisoned
    });
    assert_eq!(
        world.letters().len() as u64,
        poisoned,
        "no letter came back"
    );
    let report = world.verified(&["--config", &config.display().to_string()]);
    assert_eq!(
        count(&report["letters"], "repaired"),
        poisoned,
        "{report:#}"
    );
    leave(&mut world);
    world.end();
}
