//! End to end on the client library's mock broker: quick, and with nothing but this program to start.

use std::time::{Duration, Instant};

use dig_ingest::pipeline::kafka;
use dig_ingest::registry;

use crate::kafka::held::{devices, fleet, gated, held, import};
use crate::support::{
    broker::{Broker, block_on},
    world::World,
};

#[test]
fn every_shape_of_record_arrives_once() {
    let broker = Broker::mock();
    let mut world = World::new(&broker, 3, &[]);
    let bad = world.loaded(4_000, &["--mix", "all=1", "--bad-share", "0.01"])["bad"]
        .as_u64()
        .expect("a count");
    world.produced(2_000, &["--shape", "native-array", "--array-len", "7"]);
    world.join();
    let ending = world.finish(0);
    assert!(bad > 0, "the load has no bad record");
    assert_eq!(ending.letters as u64, bad);
}

/// What is stored is what is done: the second instance finds nothing to do again.
#[test]
fn a_successor_goes_on_where_an_orderly_end_left_off() {
    let broker = Broker::mock();
    let mut world = World::new(&broker, 2, &[]);
    world.join();
    world.produced(3_000, &[]);
    world.accepts(1);
    let mut first = world.instances.remove(0);
    first.signal("TERM");
    first.succeeded();
    world.produced(1_000, &[]);
    world.join();
    world.finish(0);
}

/// Nothing passes before activation; then everything does, in order.
#[test]
fn held_records_are_released_when_their_device_becomes_active() {
    let broker = Broker::mock();
    let mut world = gated(&broker, &[]);
    let fleet = fleet(&world);
    world.join();
    let path = fleet.display().to_string();
    world.produced(2_000, &["--devices", "10", "--registry", &path]);
    world.until("all is held", |world| held(world) == 2_000);
    assert_eq!(world.accepted(), 0);
    let kafka = kafka::Config {
        brokers: broker.address().to_owned(),
        ..kafka::Config::default()
    };
    let devices = registry::file::read(&fleet).expect("the load wrote its devices");
    let topic = format!("{}.devices", world.topic);
    let writer = registry::writer::Writer::new(&kafka.producer().expect("settings"), &topic);
    let from = Instant::now();
    block_on(writer.expect("a writer").write(&devices)).expect("written");
    let written = from.elapsed();
    world.accepts(1);
    eprintln!(
        "{} activations were in the topic after {written:?}, the first record at the gateway after {:?}",
        devices.len(),
        from.elapsed()
    );
    world.accepts(2_000);
    let ending = world.finish(0);
    assert_eq!(ending.report["letters"]["held"], 0, "{:#}", ending.report);
}

/// What is still held is told by the job and by a command, with how much, since when and why.
#[test]
fn what_is_held_is_shown_per_partition_and_per_device() {
    let broker = Broker::mock();
    let mut world = gated(&broker, &[]);
    let fleet = fleet(&world);
    world.join();
    let path = fleet.display().to_string();
    world.produced(900, &["--devices", "3", "--registry", &path]);
    world.until("all is held", |world| held(world) == 900);
    import(&mut world, &fleet, |at| (at == 0).then_some("pending"));
    world.until("the job shows what is held", |world| {
        let page = world.instances[0].page("/status");
        let body = page.split_once("\r\n\r\n").expect("a page").1;
        let status: serde_json::Value = serde_json::from_str(body).expect("JSON");
        let partitions = status["partitions"].as_array().expect("partitions");
        let records = |at: &serde_json::Value| at["held"]["records"].as_u64().unwrap_or_default();
        partitions.iter().map(records).sum::<u64>() == 900
    });
    let listed = devices(&mut world, &["held"]);
    assert_eq!(listed["records"], 900, "{listed:#}");
    let waiting = listed["devices"].as_array().expect("devices");
    assert_eq!(waiting.len(), 3);
    for device in waiting {
        let since: jiff::Timestamp = device["since"].as_str().unwrap().parse().expect("a time");
        assert!(since <= jiff::Timestamp::now());
        assert_eq!(device["reason"], "device.unknown", "why it came in");
        assert!(device["bytes"].as_u64() > device["records"].as_u64());
    }
    import(&mut world, &fleet, |_| Some("active"));
    world.accepts(900);
    world.finish(0);
}

/// The old ones of a device become letters, in order; the younger ones go on waiting and are released.
#[test]
fn records_held_too_long_become_letters() {
    let broker = Broker::mock();
    let mut world = gated(&broker, &[("gate.hold_max_days", "1")]);
    world.join();
    let day = Duration::from_secs(24 * 3_600);
    let record = |serial: &str, number: u32| {
        format!(
            r#"{{"Type":"GenericStatusRecord","DateTime":"2026-09-21T10:00:{number:02}Z","SerialNo":"{serial}","Code":107,"Value":{number}}}"#
        )
    };
    let (late, young) = ("CX0000000001", "CX0000000002");
    for (number, age) in [(1, 3 * day), (2, 2 * day), (3, Duration::ZERO)] {
        broker.write(&world.topic, late, &record(late, number), age);
    }
    broker.write(&world.topic, young, &record(young, 4), day / 2);
    world.until("two are letters", |world| world.letters().len() >= 2);
    let letters = world.letters();
    for (letter, number) in letters.iter().zip(1..) {
        assert_eq!(letter.payload, record(late, number).as_bytes());
        let header = |name: &str| {
            let found = letter.headers.iter().find(|(header, _)| header == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(header("reason"), Some("held.expired"));
        assert!(header("detail").is_some_and(|text| text.contains("device.unknown")));
        assert_eq!(header("source-topic"), Some(world.topic.as_str()));
    }
    world.until("the rest waits", |world| {
        devices(world, &["held"])["records"] == 2
    });
    let fleet = format!("{{\"device_id\":\"one\",\"serial\":\"{late}\",\"state\":\"active\"}}\n");
    let file = world.file("late.ndjson", &fleet);
    devices(&mut world, &["import", &file.display().to_string()]);
    world.until("what was young enough is released", |world| {
        world.accepted() == 1
    });
    let listed = devices(&mut world, &["held", young]);
    assert_eq!(listed["records"], 1, "{listed:#}");
    assert_eq!(world.letters().len(), 2);
    let instance = &mut world.instances[0];
    instance.signal("TERM");
    instance.succeeded();
}

/// `gate.unknown` and `gate.terminated`, each way that is not the default; holding and lettering have tests of their own.
#[test]
fn the_gates_policies_are_settings() {
    let broker = Broker::mock();
    for policy in ["send", "dead-letter"] {
        let mut world = gated(&broker, &[("gate.unknown", &format!("{policy:?}"))]);
        world.join();
        world.produced(600, &["--devices", "4"]);
        if policy == "dead-letter" {
            world.sound_letters = 600;
        }
        let ending = world.finish(0);
        let letters = if policy == "dead-letter" { 600 } else { 0 };
        assert_eq!(ending.letters, letters, "{policy}");
        assert_eq!(ending.report["letters"]["held"], 0);
    }
    let mut world = gated(&broker, &[("gate.terminated", "\"discard\"")]);
    let fleet = fleet(&world);
    let path = fleet.display().to_string();
    world.produced(600, &["--devices", "4", "--registry", &path]);
    import(&mut world, &fleet, |_| Some("terminated"));
    world.join();
    world.drained();
    let counted = "dig_ingest_records_total{topic=";
    let page = world.instances[0].page("/metrics");
    let discarded = page
        .lines()
        .filter(|line| line.starts_with(counted) && line.contains("outcome=\"discarded\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>();
    assert_eq!(discarded, 600.0, "{page}");
    assert_eq!((world.accepted(), world.letters().len()), (0, 0));
    assert_eq!(held(&world), 0);
}
