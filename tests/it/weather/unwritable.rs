//! Whatever must be written can be written: letters, held records and marks that the broker will never take (D1).

use std::{path::Path, time::Duration};

use dig_ingest::sim::Poison;
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
    types::RDKafkaRespErr,
};

use crate::{
    kafka::held::{devices, gated, held},
    support::{
        broker::{Broker, Letter, block_on},
        world::World,
    },
};

const NOISE: usize = 150;

/// A producer that takes any size; what compresses is compressed with `codec`.
fn producer(broker: &Broker, codec: &str) -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("message.max.bytes", "300000000")
        .set("compression.type", codec)
        .create()
        .expect("a producer")
}

struct Sent<'m> {
    key: Option<&'m str>,
    value: &'m [u8],
    headers: Vec<(&'m str, Vec<u8>)>,
}

impl<'m> Sent<'m> {
    fn new(value: &'m [u8]) -> Self {
        Self {
            key: None,
            value,
            headers: Vec::new(),
        }
    }
}

fn send(producer: &FutureProducer, topic: &str, sent: &Sent<'_>) {
    let mut headers = OwnedHeaders::new();
    for (key, value) in &sent.headers {
        headers = headers.insert(Header {
            key,
            value: Some(value),
        });
    }
    let mut record: FutureRecord<'_, str, [u8]> = FutureRecord::to(topic)
        .partition(0)
        .payload(sent.value)
        .headers(headers);
    record.key = sent.key;
    block_on(producer.send(record, Duration::from_secs(60))).expect("the broker takes it");
}

/// A sound record of this serial; `padding` bytes of white space make it longer.
fn record(serial: &str, number: u32, padding: usize) -> Vec<u8> {
    let now = jiff::Timestamp::now();
    let blanks = " ".repeat(padding);
    format!(
        r#"{{"Type":"GenericStatusRecord","DateTime":"{now:.3}","SerialNo":"{serial}",{blanks}"Code":107,"Value":{number}}}"#
    )
    .into_bytes()
}

fn header<'l>(letter: &'l Letter, name: &str) -> Option<&'l str> {
    let found = letter.headers.iter().find(|(header, _)| header == name);
    found.map(|(_, value)| value.as_str())
}

fn serial(number: u32) -> String {
    format!("CX{number:010}")
}

/// One good record, one broken message, 48 good ones, of one partition.
fn around(world: &World<'_>, broken: &[u8]) {
    let producer = producer(world.broker, "none");
    for number in 0..50 {
        let good = record(&serial(number % 7 + 1), number, 0);
        let value = if number == 1 { broken } else { &good };
        send(&producer, &world.topic, &Sent::new(value));
    }
}

/// The partition goes on: 49 records arrive, one letter tells of the broken message, and everything is committed.
fn judged(mut world: World<'_>) -> Letter {
    world.join();
    world.until("the good records arrive", |world| world.accepted() == 49);
    world.drained();
    let mut letters = world.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    world.leave(NOISE);
    world.end();
    let letter = letters.remove(0);
    assert_eq!(header(&letter, "source-partition"), Some("0"));
    assert_eq!(header(&letter, "source-offset"), Some("1"));
    letter
}

/// sentry-kafka-schemas#482, #273: a message that is larger than the dead-letter producer takes stops its partition for ever. All
/// settings are the defaults; the topic that we create takes the message and the headers.
#[test]
fn a_broken_message_larger_than_a_client_takes_becomes_a_letter_with_default_settings() {
    let world = World::new(Broker::shared(), 1, &[]);
    let broken = vec![b'x'; 1_010_000];
    around(&world, &broken);
    let letter = judged(world);
    assert_eq!(letter.payload, broken, "it fits: nothing is left out");
    assert_eq!(header(&letter, "full-length"), None);
}

/// KAFKA-20771: the dead-letter topic is somebody else's and takes less than the input.
#[test]
fn a_broken_message_larger_than_the_dead_letter_topic_takes_is_written_shortened() {
    let broker = Broker::shared();
    let world = World::new(broker, 1, &[]);
    broker.alter_topic(&world.topic, "max.message.bytes", "5000000");
    broker.topic(&world.dead_topic, 1, &[("max.message.bytes", "10000")]);
    let broken = vec![b'x'; 3_000_000];
    around(&world, &broken);
    let topic = world.topic.clone();
    let letter = judged(world);
    let kept = letter.payload.len();
    assert!(
        kept > 8_000 && broken.starts_with(&letter.payload),
        "{kept}"
    );
    assert_eq!(header(&letter, "full-length"), Some("3000000"));
    assert_eq!(
        header(&letter, "full-sha256"),
        Some(&*sha256_of_file_by_sha256sum(&broken))
    );
    assert_eq!(header(&letter, "source-topic"), Some(&*topic));
}

/// By the program that a person would use.
fn sha256_of_file_by_sha256sum(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("original");
    std::fs::write(&path, bytes).expect("a file");
    let output = std::process::Command::new("sha256sum")
        .arg(Path::new(&path))
        .output();
    let text = String::from_utf8(output.expect("sha256sum runs").stdout).expect("text");
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// The limit is lowered while the job runs: batches that fitted before are refused as a whole (librdkafka does not split them).
#[test]
fn a_dead_letter_topic_that_takes_less_from_now_on_gets_every_letter() {
    let broker = Broker::shared();
    let mut world = World::new(broker, 2, &[]);
    broker.topic(&world.dead_topic, 1, &[]);
    let first = world.loaded(2_000, &["--bad-share", "0.1"]);
    world.join();
    world.drained();
    broker.alter_topic(&world.dead_topic, "max.message.bytes", "4000");
    let second = world.loaded(10_000, &["--bad-share", "0.3"]);
    let bad = |report: &serde_json::Value| report["bad"].as_u64().expect("a count");
    let expected = bad(&first) + bad(&second);
    let ending = world.finish(0);
    assert!(ending.letters as u64 >= expected && expected > 3_000);
}

/// A held topic that takes less than its input: what does not fit becomes a dead letter, the others of the device are held and
/// released in their order.
#[test]
fn a_record_larger_than_the_held_topic_takes_becomes_a_letter_and_the_others_are_held() {
    let broker = Broker::shared();
    let mut world = gated(broker, &[]);
    broker.topic(
        &format!("{}.held", world.topic),
        world.partitions,
        &[("max.message.bytes", "3000")],
    );
    let producer = producer(broker, "none");
    for number in 0..9 {
        let padding = if number == 4 { 5_000 } else { 0 };
        let value = record(&serial(1), number, padding);
        send(&producer, &world.topic, &Sent::new(&value));
    }
    world.join();
    world.until("the others are held", |world| held(world) == 8);
    world.until("the large one is a letter", |world| {
        world.letters().len() == 1
    });
    world.drained();
    let letter = world.letters().remove(0);
    assert_eq!(header(&letter, "reason"), Some("held.too-large"));
    assert_eq!(header(&letter, "source-offset"), Some("4"));
    assert!(
        letter.payload.len() > 5_000,
        "it fits the dead-letter topic whole"
    );
    let fleet = world.file(
        "fleet.ndjson",
        &format!(
            "{{\"device_id\":\"one\",\"serial\":\"{}\",\"state\":\"active\"}}\n",
            serial(1)
        ),
    );
    devices(&mut world, &["import", &fleet.display().to_string()]);
    world.until("they are released", |world| world.accepted() == 8);
    let order: Vec<u64> = arrived(&world);
    assert_eq!(order, [0, 1, 2, 3, 5, 6, 7, 8]);
    world.leave(NOISE);
    world.end();
}

/// The values of all accepted records, in the order of their arrival.
fn arrived(world: &World<'_>) -> Vec<u64> {
    let records = world.gateway.ledger();
    records
        .iter()
        .map(|record| {
            let record: serde_json::Value =
                serde_json::from_str(&record.record).expect("a record is JSON");
            record["Value"].as_u64().expect("a number")
        })
        .collect()
}

/// Messages of a held topic that somebody else wrote (a mirror, a script, an attacker): their headers are claims. They belong to
/// the partition they lie in, and nothing of them is used as a name, a place or a size.
#[test]
fn held_messages_of_others_with_strange_headers_are_released_where_they_lie() {
    let broker = Broker::shared();
    let mut world = gated(broker, &[]);
    let topic = format!("{}.held", world.topic);
    broker.topic(&topic, world.partitions, &[]);
    let claims = |topic: &str, partition: &str, offset: &str, time: &str| {
        vec![
            ("reason", vec![b'r'; 300_000]),
            ("detail", vec![0xFF; 300_000]),
            ("stage", b"gate".to_vec()),
            ("attempts", b"0".to_vec()),
            ("source-topic", topic.as_bytes().to_vec()),
            ("source-partition", partition.as_bytes().to_vec()),
            ("source-offset", offset.as_bytes().to_vec()),
            ("source-timestamp-ms", time.as_bytes().to_vec()),
        ]
    };
    let own = world.topic.clone();
    let strange = [
        claims("no/such topic", "-1", "-5", "-9223372036854775808"),
        claims(&own, "0", "9223372036854775807", "9223372036854775807"),
        claims(&own, "99", "0", "1"),
        vec![("source-topic", vec![0; 10])],
        Vec::new(),
    ];
    let (active, ended) = (serial(1), serial(2));
    let producer = producer(broker, "none");
    for (number, headers) in (0..).zip(strange) {
        for serial in [&active, &ended] {
            let value = record(serial, number, 0);
            let sent = Sent {
                key: Some(serial),
                value: &value,
                headers: headers.clone(),
            };
            send(&producer, &topic, &sent);
        }
    }
    world.join();
    let fleet = world.file(
        "fleet.ndjson",
        &format!(
            "{{\"device_id\":\"one\",\"serial\":\"{active}\",\"state\":\"active\"}}\n{{\"device_id\":\"two\",\"serial\":\"{ended}\",\"state\":\"terminated\"}}\n"
        ),
    );
    devices(&mut world, &["import", &fleet.display().to_string()]);
    world.until("the active device's arrive", |world| world.accepted() == 5);
    world.until("the others are letters", |world| world.letters().len() == 5);
    assert_eq!(arrived(&world), [0, 1, 2, 3, 4]);
    for letter in world.letters() {
        assert_eq!(header(&letter, "reason"), Some("device.terminated"));
        assert_eq!(
            header(&letter, "source-topic"),
            Some(&*topic),
            "where it lies"
        );
        assert_eq!(header(&letter, "source-partition"), Some("0"));
    }
    let live = record(&active, 100, 0);
    send(&producer, &own, &Sent::new(&live));
    world.until("the partition goes on", |world| world.accepted() == 6);
    world.drained();
    world.leave(NOISE);
    world.end();
}

/// A letter of a record that the gateway refused said `attempts=1` always, and had the record as it was sent, without a word of which
/// record of its message that was.
#[test]
fn a_refused_record_says_how_often_it_was_sent_and_when_it_was_written() {
    let mut world = World::new(Broker::shared(), 1, &[]);
    world.gateway.poison(Poison::member("Value", "7"));
    let producer = producer(world.broker, "none");
    for message in 0..5 {
        let records: Vec<String> = (0..4)
            .map(|place| record(&serial(place + 1), message * 4 + place, 0))
            .map(|record| String::from_utf8(record).expect("a text"))
            .collect();
        let value = format!("[{}]", records.join(", "));
        send(&producer, &world.topic, &Sent::new(value.as_bytes()));
    }
    world.join();
    world.until("the others arrive", |world| world.accepted() == 19);
    world.drained();
    let letter = world.letters().remove(0);
    assert_eq!(header(&letter, "stage"), Some("upload"));
    assert_eq!(header(&letter, "source-offset"), Some("1"));
    assert_eq!(header(&letter, "source-record"), Some("3"));
    let attempts = header(&letter, "attempts").and_then(|text| text.parse::<u32>().ok());
    assert!(
        attempts >= Some(2),
        "within a request, then alone: {letter:?}"
    );
    assert!(
        header(&letter, "source-timestamp-ms").is_some(),
        "{letter:?}"
    );
    world.leave(NOISE);
    world.end();
}

/// Letters are refused with this error; what the instance says of it, and all letters once it is over.
fn refused_with(error: RDKafkaRespErr, says: &str) {
    let broker = Broker::mock();
    let mut world = World::new(&broker, 2, &[]);
    let bad = world.loaded(2_000, &["--bad-share", "0.02"])["bad"]
        .as_u64()
        .expect("a count");
    broker.answer_writes(error, 5);
    world.join();
    world.instances[0].said("what was refused", |line| line.contains(says).then_some(()));
    world.drained();
    assert!(world.letters().len() as u64 >= bad && bad > 0);
    world.finish(0);
}

/// Somebody may grant the rights: the letters wait, with the remedy in the log, and nothing is lost.
#[test]
fn a_topic_without_rights_is_waited_for_with_an_alarm() {
    refused_with(
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        "grant the user Write",
    );
}

/// An idempotent producer that lost its state at the broker raises a fatal error and writes nothing any more.
#[test]
fn a_producer_that_can_write_no_more_is_replaced() {
    refused_with(
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        "a new producer of letters",
    );
}
