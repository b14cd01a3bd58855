//! Topics that an earlier version wrote carry over: held records, marks and cursors, the device registry. The fixtures are messages as
//! versions wrote them; names, ids and times of the scenario stand in braces.

use std::{fs, time::Duration};

use dig_ingest::{
    log_life::broker::Asker,
    pipeline::{kafka, state},
    registry::{State, topic},
};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use serde::Deserialize;
use serde_json::Value;

use crate::kafka::held::{devices, gated};
use crate::support::{
    broker::{Broker, block_on},
    root,
    world::World,
};

const BOUND: Duration = Duration::from_secs(60);

/// A message as it was written.
#[derive(Deserialize)]
struct Written {
    key: String,
    /// `None` for a tombstone.
    value: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
}

fn client(world: &World<'_>) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", world.broker.address());
    client
}

/// Writes the messages of a fixture to a topic, with what stands in braces filled in.
fn write(world: &World<'_>, fixture: &str, topic: &str, filled: &[(&str, &str)]) {
    let path = root().join(format!("tests/fixtures/topics/{fixture}.ndjson"));
    let producer: FutureProducer = client(world).create().expect("a producer");
    for line in fs::read_to_string(path).expect("a fixture").lines() {
        let fill = |text: &str| {
            let fill_in = |text: String, (name, value): &(&str, &str)| text.replace(name, value);
            filled.iter().fold(text.to_owned(), fill_in)
        };
        let Written {
            key,
            value,
            headers,
        } = serde_json::from_str(line).expect("a message");
        let (key, value) = (fill(&key), value.as_deref().map(fill));
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(&fill(value)),
                })
            });
        let mut record: FutureRecord<'_, str, str> = FutureRecord::to(topic)
            .partition(0)
            .key(key.as_str())
            .headers(headers);
        record.payload = value.as_deref();
        block_on(producer.send(record, BOUND)).expect("the broker has it");
    }
}

#[test]
fn topics_written_by_earlier_versions_are_read() {
    let mut world = gated(Broker::shared(), &[("topics.trim_held", "false")]);
    world.set("topics.create", "false");
    let names = ["held", "state", "devices", "dead", "invalid"];
    let [held, kept, registry, dead, invalid] = names.map(|name| format!("{}.{name}", world.topic));
    world.broker.topic(&held, world.partitions, &[]);
    for name in [&kept, &registry] {
        world
            .broker
            .topic(name, 1, &[("cleanup.policy", "compact")]);
    }
    for name in [&dead, &invalid] {
        world.broker.topic(name, 1, &[]);
    }
    // The records of the input that were held; the offsets of the headers are theirs.
    let now = jiff::Timestamp::now();
    let producer: FutureProducer = client(&world).create().expect("a producer");
    for _ in 0..6 {
        let record: FutureRecord<'_, str, str> = FutureRecord::to(&world.topic)
            .partition(0)
            .payload("held before");
        block_on(producer.send(record, BOUND)).expect("the broker has it");
    }
    let ends = world.broker.ends(&world.topic, world.partitions);
    world.broker.commit(&world.group, &world.topic, &ends);
    let asker = Asker::open(client(&world).set("group.id", "fixtures")).expect("a client");
    let id = asker.topic_id(&held).expect("an answer").expect("an id");
    let (input, time, ms) = (
        world.topic.clone(),
        format!("{now:.3}"),
        now.as_millisecond().to_string(),
    );
    let filled = [
        ("{input}", input.as_str()),
        ("{held}", &held),
        ("{held-id}", id.as_str()),
        ("{time}", &time),
        ("{ms}", &ms),
    ];
    write(&world, "devices", &registry, &filled);
    write(&world, "held", &held, &filled);
    write(&world, "state", &kept, &filled);

    let entries = topic::entries(&client(&world), &registry, BOUND).expect("it is read");
    let known: Vec<_> = entries
        .devices
        .values()
        .map(|entry| {
            let device = &entry.device;
            (
                &*device.device_id,
                device.state,
                device.order.as_deref(),
                entry.unit.as_deref(),
            )
        })
        .collect();
    let order = Some("10001");
    assert_eq!(
        known,
        [
            ("350000000000001", State::Active, order, Some("10001.1")),
            ("350000000000002", State::Pending, None, None),
            ("350000000000003", State::Terminated, order, Some("10001.2")),
        ]
    );
    let mark = entries.mark.expect("the store's mark");
    assert_eq!((mark.generation, mark.open.len()), (7, 1));

    world.join();
    // Of the active device one record is not marked as released; that of the terminated one becomes a letter.
    world.until("the active device is released", |world| {
        world.accepted() == 1
    });
    world.until("the terminated device ends", |world| {
        world.letters().len() == 1
    });
    let letter = world.letters().remove(0);
    let header = |name: &str| {
        let found = letter.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.clone())
    };
    assert_eq!(header("reason").as_deref(), Some("device.terminated"));
    assert_eq!(header("source-topic"), Some(input));
    assert_eq!(header("source-offset").as_deref(), Some("4"));
    let body: Value = serde_json::from_slice(&letter.payload).expect("a record");
    assert_eq!(body["Value"], 5);
    // The pending and the unknown one wait; a mark of another topic of that name releases nothing.
    world.until("only those are listed", |world| {
        devices(world, &["held"])["records"] == 2
    });
    assert_eq!(world.accepted(), 1);
    world.leave(150);
    let config = kafka::Config {
        brokers: world.broker.address().to_owned(),
        ..kafka::Config::default()
    };
    let cursor = state::load(&config, &kept, "invalid-records").expect("it is read");
    let cursor = String::from_utf8(cursor.expect("a cursor")).expect("text");
    assert!(cursor.parse::<i64>().expect("a number") >= 4711, "{cursor}");
    world.end();
}
