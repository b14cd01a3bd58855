//! The harness's own broker does what the other tests rely on.

use std::time::Duration;

use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};

use crate::support::{broker::Broker, world::World};

fn produce(broker: &Broker, topic: &str, count: usize) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .create()
        .expect("a producer");
    for number in 0..count {
        let (key, payload) = (format!("{}", number % 7), format!("{number}"));
        producer
            .send(BaseRecord::to(topic).key(&key).payload(&payload))
            .map_err(|(error, _)| error)
            .expect("queued");
    }
    producer.flush(Duration::from_secs(60)).expect("delivered");
}

#[test]
fn a_killed_broker_keeps_what_it_acknowledged_and_its_address() {
    let broker = Broker::start(&[]);
    broker.topic("kept", 3, &[("max.message.bytes", "100000")]);
    produce(&broker, "kept", 100);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("group.id", "group")
        .create()
        .expect("a consumer");
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset("kept", 1, rdkafka::Offset::Offset(2))
        .expect("an offset");
    consumer
        .commit(&offsets, CommitMode::Sync)
        .expect("committed");
    let address = broker.address().to_owned();

    broker.kill();
    broker.revive();

    assert_eq!(broker.address(), address);
    assert_eq!(broker.ends("kept", 3).iter().sum::<i64>(), 100);
    assert_eq!(broker.committed("group", "kept", 3), [0, 2, 0]);
    produce(&broker, "kept", 5);
    assert_eq!(broker.ends("kept", 3).iter().sum::<i64>(), 105);
    assert_eq!(broker.read("kept").len(), 105);
}

#[test]
fn two_brokers_know_nothing_of_each_other() {
    let (one, other) = (Broker::start(&[]), Broker::shared());
    one.topic("alone", 1, &[]);
    other.topic("alone", 2, &[]);
    produce(&one, "alone", 3);
    assert_eq!(one.ends("alone", 1), [3]);
    assert_eq!(other.ends("alone", 2), [0, 0]);
}

/// The broker restarts in order, then is killed, under load.
#[test]
fn a_broker_that_goes_away_and_comes_back() {
    let broker = Broker::start(&[]);
    let mut world = World::new(&broker, 4, &[("memory.window_messages", "3000")]);
    world.join();
    world.join();
    for orderly in [true, false] {
        let mut load = world.load(20_000, &["--rate", "4000"]);
        world.accepts(3_000);
        if orderly {
            broker.restart();
        } else {
            broker.kill();
            broker.revive();
        }
        load.succeeded();
    }
    // Each time, what was accepted since the last confirmed commit may come again: at most a window per partition.
    world.finish(2 * 4 * 3_000);
}

/// Its last word is true: what it could not do is said, and by whom it will be done.
#[test]
fn a_job_that_ends_without_its_broker_says_what_it_left_behind() {
    let broker = Broker::start(&[]);
    let mut world = World::new(&broker, 1, &[("input.shutdown_ms", "2000")]);
    let mut instance = world.start();
    world.produced(1_000, &[]);
    world.accepts(1_000);
    broker.kill();
    instance.signal("TERM");
    instance.succeeded();
    let log = instance.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(
        last.contains("ended, but no broker answered in time"),
        "{log}"
    );
    assert!(!log.contains("shutdown completed"), "{log}");
    world.end();
}
