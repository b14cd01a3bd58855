//! Letters end to end on a real broker: what became letters is counted, shown, repaired and replayed, and the ledger is judged after it.

use std::path::{Path, PathBuf};

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;

use crate::support::{
    broker::{Broker, block_on},
    world::World,
};

mod again;

/// Runs a command that talks about letters to its end: whether it succeeded, and its report.
fn asked(world: &World<'_>, config: &Path, args: &[&str]) -> (bool, Value) {
    let mut line: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    line.extend(["--config".to_owned(), config.display().to_string()]);
    line.extend(["--report", "json"].map(str::to_owned));
    let (status, report) = world.command(args[0], &line).report();
    (status.success(), report)
}

fn count(report: &Value, name: &str) -> u64 {
    report[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no count {name}: {report:#}"))
}

/// Letters that stay for a reason.
fn staying(report: &Value, code: &str) -> u64 {
    report["stay"][code]["letters"].as_u64().unwrap_or_default()
}

/// Every instance leaves in order.
fn leave(world: &mut World<'_>) {
    world.leave(150);
    world.instances.clear();
}

/// The shipped mapping of a flat message.
const SOUND: &str = include_str!("../../config/mappings/generic.toml");

/// The same with a time that no message has.
fn broken() -> String {
    SOUND.replace("path = \"time\"", "path = \"tiem\"")
}

/// A world whose input has the shape of the mapping file; with the file.
fn mapped<'b>(broker: &'b Broker, devices: &str) -> (World<'b>, PathBuf) {
    let mut world = World::new(broker, 2, &[("guard.share", "1.0")]);
    let mapping = world.file("vendor.toml", &broken());
    world.set(
        &format!("input.mappings.{}", world.topic),
        &format!("{:?}", mapping.display().to_string()),
    );
    let registry = world.file(devices, "").display().to_string();
    world.set("registry.file", &format!("{registry:?}"));
    (world, mapping)
}

/// A mapping is broken, its records become letters; it is corrected, a dry run says that all would pass, and they are replayed.
#[test]
fn letters_of_a_broken_mapping_are_replayed_when_it_is_corrected() {
    const LETTERS: u64 = 1_000;
    let (mut world, mapping) = mapped(Broker::shared(), "devices.ndjson");
    let registry = world.path("devices.ndjson").display().to_string();
    let flags = ["--shape", "generic", "--mix", "gps=1", "--devices", "20"];
    let flags = [&flags[..], &["--registry", &registry]].concat();
    // A message of this shape makes two records.
    world.produced(2 * LETTERS, &flags);
    world.join();
    world.drained();
    assert_eq!(
        (world.letters().len() as u64, world.accepted()),
        (LETTERS, 0)
    );
    leave(&mut world);

    let config = world.settings_file("repair", &[]);
    let (_, groups) = asked(&world, &config, &["letters", "group"]);
    assert_eq!(count(&groups, "letters"), LETTERS);
    assert_eq!(groups["shown"][0]["group"], "map.time", "{groups:#}");
    let (passes, dry) = asked(&world, &config, &["replay", "--dry-run"]);
    assert!(!passes, "{dry:#}");
    assert_eq!(
        (count(&dry, "pass"), staying(&dry, "map.time")),
        (0, LETTERS)
    );

    std::fs::write(&mapping, SOUND).expect("a mapping");
    let (passes, dry) = asked(&world, &config, &["replay", "--dry-run"]);
    assert!(passes, "{dry:#}");
    assert_eq!(
        (count(&dry, "pass"), count(&dry, "to_replay")),
        (LETTERS, LETTERS)
    );
    let before = world.lag();
    assert_eq!(before, 0, "a dry run writes nothing");
    // Against a stopped job: what is written waits in the input topic.
    let (whole, report) = asked(&world, &config, &["replay", "--rate", "0"]);
    assert!(whole, "{report:#}");
    assert_eq!(count(&report, "replayed"), LETTERS, "{report:#}");
    world.join();
    world.drained();

    for marked in [false, true] {
        let more: &[&str] = if marked { &["--marked"] } else { &[] };
        let (_, list) = asked(&world, &config, &[&["letters", "list"], more].concat());
        let expected = if marked { (LETTERS, 0) } else { (0, LETTERS) };
        assert_eq!((count(&list, "letters"), count(&list, "marked")), expected);
    }
    let (whole, again) = asked(&world, &config, &["replay"]);
    assert!(whole && count(&again, "letters") == 0, "{again:#}");
    assert_eq!(world.letters().len() as u64, LETTERS, "no letter came back");
    let report = world.verified(&["--config", &config.display().to_string()]);
    assert_eq!(count(&report, "duplicated"), 0, "{report:#}");
    assert_eq!(count(&report, "lost"), 0, "{report:#}");
    assert_eq!(
        count(&report["letters"], "replayed"),
        count(&report, "accepted")
    );
    leave(&mut world);
    world.end();
}

/// Writes a message with these headers.
fn write(world: &World<'_>, topic: &str, value: &[u8], headers: &[(&str, &[u8])]) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", world.broker.address())
        .create()
        .expect("a producer");
    let mut given = OwnedHeaders::new();
    for (key, value) in headers {
        given = given.insert(Header {
            key,
            value: Some(*value),
        });
    }
    let record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic)
        .payload(value)
        .key(&b"\xff\x1b[2J"[..])
        .headers(given);
    block_on(producer.send(record, std::time::Duration::from_secs(10))).expect("written");
}

/// Letters of any program: nothing crashes, nothing is applied by a terminal, and no header decides where a message is written.
#[test]
fn hostile_letters_are_listed_and_harm_nobody() {
    let broker = Broker::shared();
    let mut world = World::new(broker, 1, &[]);
    broker.topic(&world.dead_topic, 1, &[]);
    let state = format!("{}.state", world.topic);
    broker.topic(&state, 1, &[("cleanup.policy", "compact")]);
    let other = format!("{}.other", world.topic);
    broker.topic(&other, 1, &[]);
    let dead = world.dead_topic.clone();
    let sound = br#"{"Type":"VinRecord","DateTime":"2026-01-31T12:00:00Z","SerialNo":"CXBBE850E8BE","VehicleIdentificationNumber":"1HGCM82633A004352"}"#;
    let escape = "\u{1b}]0;owned\u{7}\u{202e}\n".as_bytes();
    let huge = vec![b'x'; 300_000];
    let place = |topic: &'static str| {
        [
            ("source-topic", topic.as_bytes()),
            ("source-partition", b"0"),
            ("source-offset", b"0"),
        ]
    };
    write(&world, &dead, b"", &[]);
    write(&world, &dead, sound, &[]);
    write(
        &world,
        &dead,
        b"\xff\xfe\x1b[2J",
        &[("reason", escape), ("detail", &huge), ("serial", escape)],
    );
    write(
        &world,
        &dead,
        sound,
        &[
            ("source-topic", b"a/b"),
            ("source-partition", b"-1"),
            ("source-offset", b"99999999999999999999"),
        ],
    );
    write(
        &world,
        &dead,
        sound,
        &[&place("dig.devices")[..], &[("reason", b"forged")]].concat(),
    );
    let forged = [
        ("source-topic", other.as_bytes()),
        ("source-partition", b"0"),
        ("source-offset", b"0"),
        ("full-length", b"18446744073709551615"),
        ("full-sha256", b"no"),
    ];
    write(&world, &dead, sound, &forged);
    let config = world.settings_file("repair", &[]);
    let config_text = config.display().to_string();
    for args in [
        &["letters", "list"][..],
        &["letters", "group", "--by", "serial"],
        &["letters", "export"],
        &["letters", "show", &format!("{dead}/0/2")],
    ] {
        let mut line: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        line.extend(["--config".to_owned(), config_text.clone()]);
        let mut running = world.command("letters", &line);
        running.succeeded();
        let output = running.log();
        let hidden = output
            .chars()
            .any(|c| c.is_control() && c != '\n' || c == '\u{202e}');
        assert!(!hidden, "{args:?}: {output:?}");
    }
    let (_, list) = asked(&world, &config, &["letters", "list"]);
    assert_eq!(count(&list, "letters"), 6);
    let (whole, report) = asked(&world, &config, &["replay"]);
    assert!(!whole, "{report:#}");
    assert_eq!(
        (count(&report, "letters"), count(&report, "replayed")),
        (6, 0),
        "{report:#}"
    );
    assert_eq!(staying(&report, "source.unknown"), 6, "{report:#}");
    assert_eq!(broker.ends(&other, 1), [0], "a forged source was believed");
    world.end();
}

/// A letter that its topic did not take whole is replayed whole, from the original.
#[test]
fn a_shortened_letter_is_replayed_from_its_original() {
    let broker = Broker::shared();
    let mut world = World::new(broker, 1, &[]);
    broker.topic(&world.dead_topic, 1, &[("max.message.bytes", "2000")]);
    let record = format!(
        r#"{{"Type":"VinRecord","DateTime":"2026-01-31T12:00:00Z","SerialNo":"CXBBE850E8BE","VehicleIdentificationNumber":"1HGCM82633A004352","Extra":"{}"}}"#,
        "é".repeat(3_000)
    );
    let array = format!("[{record}]");
    world.set("validate.past_days", "3650");
    world.broker.write(
        &world.topic,
        "CXBBE850E8BE",
        &array,
        std::time::Duration::ZERO,
    );
    world.join();
    world.drained();
    leave(&mut world);
    let config = world.settings_file("repair", &[("validate.unknown_members", "\"drop\"")]);
    let place = format!("{}/0/0", world.dead_topic);
    let (_, letter) = asked(&world, &config, &["letters", "show", &place]);
    assert_eq!(letter["full"]["length"], record.len(), "{letter:#}");
    let (whole, report) = asked(&world, &config, &["replay"]);
    assert!(whole && count(&report, "replayed") == 1, "{report:#}");
    world.set("validate.unknown_members", "\"drop\"");
    world.join();
    world.until("the record is accepted", |world| world.accepted() == 1);
    leave(&mut world);

    // Once the original is deleted, the letter says so and stays.
    broker.forget(&world.topic, 1);
    let (whole, report) = asked(&world, &config, &["replay", "--again", "--dry-run"]);
    assert!(
        !whole && staying(&report, "original.gone") == 1,
        "{report:#}"
    );
    world.end();
}
