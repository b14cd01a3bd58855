//! A batch that the client cannot or will not read stops its partition, is named, and is skipped by nobody but a person (D1).

use std::{fs, time::Duration};

use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use serde_json::Value;

use crate::support::{
    broker::{Broker, Letter, block_on},
    child::Running,
    wait_until,
    world::World,
};

const NOISE: usize = 150;

/// Sends one message as a batch of its own.
fn send(broker: &Broker, topic: &str, value: &[u8], codec: &str) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("message.max.bytes", "300000000")
        .set("compression.type", codec)
        .create()
        .expect("a producer");
    let record: FutureRecord<'_, str, [u8]> = FutureRecord::to(topic).partition(0).payload(value);
    block_on(producer.send(record, Duration::from_secs(60))).expect("the broker takes it");
}

fn record(number: u32) -> Vec<u8> {
    let now = jiff::Timestamp::now();
    format!(
        r#"{{"Type":"GenericStatusRecord","DateTime":"{now:.3}","SerialNo":"CX0000000001","Code":107,"Value":{number}}}"#
    )
    .into_bytes()
}

/// CRC-32C, as the header of a batch has it.
fn checksum(bytes: &[u8]) -> u32 {
    let shifted = |crc: u32| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shifted(crc));
    !bytes.iter().fold(u32::MAX, byte)
}

/// Damages what a batch of a segment holds, and makes its checksum fit, as a producer does whose compression is broken.
fn damage(segment: &std::path::Path, number: usize) {
    let mut bytes = fs::read(segment).expect("the segment");
    let mut at = 0;
    for _ in 0..number {
        let length = bytes[at + 8..at + 12].try_into().expect("four bytes");
        at += 12 + u32::from_be_bytes(length) as usize;
    }
    let length = bytes[at + 8..at + 12].try_into().expect("four bytes");
    let batch = &mut bytes[at..][..12 + u32::from_be_bytes(length) as usize];
    assert_ne!(batch[22] & 7, 0, "it is compressed");
    batch[61..69].fill(0xFF);
    let sum = checksum(&batch[21..]).to_be_bytes();
    batch[17..21].copy_from_slice(&sum);
    fs::write(segment, bytes).expect("changed");
}

fn header<'l>(letter: &'l Letter, name: &str) -> Option<&'l str> {
    let found = letter.headers.iter().find(|(header, _)| header == name);
    found.map(|(_, value)| value.as_str())
}

/// The instance names the batch at this offset, and the gauge says that the partition stands.
fn named(world: &mut World<'_>, offset: i64) {
    let topic = world.topic.clone();
    let instance = &mut world.instances[0];
    let wanted = format!("offset={offset}");
    let line = instance.said("the batch is named", |line| {
        (line.contains("a record batch cannot be read") && line.contains(&wanted))
            .then(|| line.to_owned())
    });
    assert!(
        line.contains(&topic) && line.contains("dig-ingest skip"),
        "{line}"
    );
    let stands = instance.metric("dig_ingest_partition_unreadable");
    assert!(stands > 0.0, "no gauge says so");
    wait_until("the health page names the batch", || {
        let (status, page) = instance.told("/readyz");
        let waits = page["waits"].as_array().cloned().unwrap_or_default();
        let says = |wait: &Value, member: &str, part: &str| {
            wait[member]
                .as_str()
                .is_some_and(|text| text.contains(part))
        };
        status == 503
            && waits.iter().any(|wait| {
                wait["kind"] == "batch"
                    && says(wait, "subject", &topic)
                    && says(wait, "cause", &format!("offset {offset} "))
                    && says(wait, "remedy", "dig-ingest skip")
            })
    });
}

fn skip(world: &mut World<'_>, offset: i64) -> Running {
    let settings = world.settings_file("skip", &[]);
    let args = [
        "skip",
        "--topic",
        &world.topic,
        "--partition",
        "0",
        "--offset",
        &offset.to_string(),
        "--by",
        "ann",
        "--report",
        "json",
        "--config",
        &settings.display().to_string(),
    ];
    world.command("skip", &args.map(str::to_owned))
}

fn skipped(world: &mut World<'_>, from: i64, to: i64) {
    let (status, report) = skip(world, from).report();
    assert!(status.success(), "{report:#}");
    assert_eq!(
        (&report["from"], &report["to"]),
        (&from.into(), &to.into()),
        "{report:#}"
    );
}

/// The letter tells which offset, why, and who decided it.
fn lettered(world: &World<'_>, offset: i64) {
    let letters = world.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(header(&letters[0], "reason"), Some("message.unreadable"));
    assert_eq!(header(&letters[0], "source-topic"), Some(&*world.topic));
    assert_eq!(
        header(&letters[0], "source-offset"),
        Some(&*offset.to_string())
    );
    assert!(header(&letters[0], "detail").is_some_and(|detail| detail.contains("ann")));
}

fn arrived(world: &World<'_>) -> Vec<Value> {
    let ledger = world.gateway.ledger();
    let values = ledger.iter().map(|line| {
        let record: Value = serde_json::from_str(&line.record).expect("a record is JSON");
        record["Value"].clone()
    });
    values.collect()
}

/// librdkafka unpacks no batch beyond `receive.message.max.bytes`: a few kilobytes of zstd that are 110 MB stop the partition, and
/// the same batch is fetched again for ever.
#[test]
fn a_batch_that_the_client_does_not_unpack_is_named_and_skipped_by_a_person() {
    let broker = Broker::shared();
    let mut world = World::new(broker, 1, &[]);
    send(broker, &world.topic, &record(0), "none");
    send(broker, &world.topic, &vec![b'x'; 110_000_000], "zstd");
    for number in 2..5 {
        send(broker, &world.topic, &record(number), "none");
    }
    world.join();
    named(&mut world, 1);
    world.until("what lies before it arrives", |world| world.accepted() == 1);
    world.until("it is committed, and nothing behind it", |world| {
        world.lag() == 4
    });
    skipped(&mut world, 1, 2);
    world.until("the partition goes on", |world| world.accepted() == 4);
    world.drained();
    lettered(&world, 1);
    world.leave(NOISE);
    world.end();
}

/// A byte of a segment changed on the disk. The client does not look at checksums by itself and would give the changed record; when
/// it looks, it gives an error and passes over the batch.
#[test]
fn a_corrupt_batch_is_named_and_skipped_by_a_person_while_the_group_is_stopped() {
    let broker = Broker::start(&[]);
    let mut world = World::new(&broker, 1, &[]);
    for number in 10..15 {
        send(&broker, &world.topic, &record(number), "none");
    }
    let segment = broker.segment(&world.topic, 0);
    broker.stop();
    let mut bytes = fs::read(&segment).expect("the segment");
    let value = b"\"Value\":12";
    let places: Vec<usize> = (0..bytes.len() - value.len())
        .filter(|&at| bytes[at..].starts_with(value))
        .collect();
    assert_eq!(places.len(), 1, "the record lies there as it was written");
    bytes[places[0] + value.len() - 1] = b'9';
    fs::write(&segment, bytes).expect("changed");
    broker.revive();

    world.join();
    named(&mut world, 2);
    world.until("what lies before it arrives", |world| world.accepted() == 2);
    let mut readable = skip(&mut world, 1);
    assert!(!readable.ended().success());
    assert!(
        readable.log().contains("can be read there"),
        "{}",
        readable.log()
    );
    world.leave(NOISE);
    world.instances.clear();
    skipped(&mut world, 2, 3);
    world.join();
    world.until("the partition goes on", |world| world.accepted() == 4);
    world.drained();
    assert_eq!(arrived(&world), [10, 11, 13, 14].map(Value::from));
    lettered(&world, 2);
    world.leave(NOISE);
    world.end();
}

/// KAFKA-3160, librdkafka#2633 and others: producers whose compression made frames that nobody can unpack, with a checksum that fits.
#[test]
fn frames_that_cannot_be_unpacked_are_named_and_skipped_by_a_person() {
    let broker = Broker::start(&[]);
    let mut worlds = Vec::new();
    for codec in ["gzip", "snappy", "lz4"] {
        let world = World::new(&broker, 1, &[]);
        for number in 10..15 {
            // What does not become shorter is not compressed.
            let text = String::from_utf8(record(number)).expect("a text");
            let long = text.replace("\"Code\"", &format!("{:1000}\"Code\"", ""));
            send(&broker, &world.topic, long.as_bytes(), codec);
        }
        worlds.push(world);
    }
    let segments = worlds.iter().map(|world| broker.segment(&world.topic, 0));
    let segments: Vec<_> = segments.collect();
    broker.stop();
    segments.iter().for_each(|segment| damage(segment, 2));
    broker.revive();
    for mut world in worlds {
        world.join();
        named(&mut world, 2);
        world.until("what lies before it arrives", |world| world.accepted() == 2);
        skipped(&mut world, 2, 3);
        world.until("the partition goes on", |world| world.accepted() == 4);
        world.drained();
        assert_eq!(arrived(&world), [10, 11, 13, 14].map(Value::from));
        lettered(&world, 2);
        world.leave(NOISE);
        world.end();
    }
}
