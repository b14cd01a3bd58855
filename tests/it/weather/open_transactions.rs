//! Transactions of other producers that stay open (KIP-664 calls them hanging): what lies behind one is there, and cannot be read yet.
//!
//! The broker gives a reader of committed messages the last stable offset where it asks for the end of a log.

use std::time::Duration;

use rdkafka::producer::Producer as _;

use super::standing_still::{not_ready, ready, text};
use crate::kafka::held::{fleet, import};
use crate::support::{broker::Broker, world::World};

const ASK: Duration = Duration::from_secs(20);

/// An exactly-once mirror writes into the held topic too. At a start the job took the last stable offset for the end of what is held: live
/// records overtook what it had not seen, and the next release deleted it.
#[test]
fn records_held_behind_an_open_transaction_are_found_at_a_restart() {
    let broker = Broker::shared();
    let mut world = World::new(broker, 1, &[("gate.mode", "\"registry\"")]);
    let devices = format!("{:?}", format!("{}.devices", world.topic));
    world.set("topics.devices", &devices);
    let fleet = fleet(&world);
    world.join();
    let path = fleet.display().to_string();
    let same = ["--devices", "5", "--registry", &path, "--seed", "1"];
    let held = |world: &mut World<'_>, records: f64| {
        world.until(&format!("{records} records are held"), |world| {
            world.instances[0].metric("dig_ingest_held_records") == records
        });
    };
    world.produced(60, &same);
    held(&mut world, 60.0);
    let topic = format!("{}.held", world.topic);
    let mirror = broker.open_transaction(&topic, 0, &[b"no letter".to_vec()]);
    world.produced(40, &same);
    held(&mut world, 100.0);
    let mut first = world.instances.remove(0);
    first.signal("TERM");
    first.succeeded();

    world.join();
    let wait = not_ready(&mut world.instances[0], "held_topic");
    assert!(
        text(&wait, "cause").contains("open transaction"),
        "{wait:#}"
    );
    assert!(
        text(&wait, "remedy").contains("kafka-transactions.sh"),
        "{wait:#}"
    );
    import(&mut world, &fleet, |_| Some("active"));
    world.produced(10, &same);
    mirror.abort_transaction(ASK).expect("aborted");
    world.accepts(110);
    ready(&mut world.instances[0]);
    world.finish(0);
}

/// The job stood at the last stable offset, with a lag of 0 and green health.
#[test]
fn an_open_transaction_in_the_input_is_named_and_lags() {
    let broker = Broker::shared();
    let settings = [
        ("ops.stall_after_s", "2"),
        ("kafka.statistics_interval_ms", "500"),
    ];
    let mut world = World::new(broker, 1, &settings);
    world.join();
    world.produced(50, &[]);
    world.accepts(50);
    let other = broker.open_transaction(&world.topic, 0, &[b"no record".to_vec()]);
    world.produced(300, &[]);
    let wait = not_ready(&mut world.instances[0], "reading");
    assert!(
        text(&wait, "cause").contains("open transaction"),
        "{wait:#}"
    );
    world.until("what is hidden lags", |world| {
        world.instances[0].metric("dig_ingest_partition_lag_messages") >= 300.0
    });
    other.abort_transaction(ASK).expect("aborted");
    world.accepts(300);
    ready(&mut world.instances[0]);
    world.until("nothing lags", |world| {
        world.instances[0].metric("dig_ingest_partition_lag_messages") == 0.0
    });
    world.finish(0);
}
