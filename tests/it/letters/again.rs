//! Replays of what the gateway refused.

use dig_ingest::sim::Poison;

use super::{asked, count, leave};
use crate::support::{broker::Broker, world::World};

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
