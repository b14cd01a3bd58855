//! End to end on the client library's mock broker: quick, and with nothing but this program to start.

use crate::kafka::held::{fleet, gated, held, import};
use crate::support::{broker::Broker, world::World};

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
    import(&mut world, &fleet, |_| Some("active"));
    world.accepts(2_000);
    let ending = world.finish(0);
    assert_eq!(ending.report["letters"]["held"], 0, "{:#}", ending.report);
}
