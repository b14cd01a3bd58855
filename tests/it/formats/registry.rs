//! End to end with a real broker and a real schema registry, which is killed in between.

use super::hostile::{formatted, waits_for_a_schema};
use crate::support::broker::Broker;
use crate::support::schemas::Real;
use crate::support::world::World;

/// What the first instance knows it keeps; what joins while the registry is away waits, and goes on when it is back.
#[test]
fn a_schema_registry_that_is_killed_delays_records_and_loses_none() {
    let mut schemas = Real::start();
    for format in ["avro", "protobuf"] {
        // Slow enough that there is work left when the second instance comes.
        let settings = [
            ("memory.window_messages", "2000"),
            ("pacing.records_per_s", "400.0"),
        ];
        let mut world = World::new(Broker::shared(), 4, &settings);
        let load = formatted(&mut world, format, &schemas.url());
        let load: Vec<&str> = load.iter().map(String::as_str).collect();
        world.produced(6_000, &load);
        world.join();
        world.accepts(500);
        schemas.kill();
        world.join();
        let wait = waits_for_a_schema(&mut world, 1);
        let cause = wait["cause"].as_str().expect("a text");
        assert!(cause.contains("no connection"), "{wait:#}");
        let before = world.accepted();
        world.until("the first instance goes on with what it knows", |world| {
            world.accepted() > before
        });
        assert!(world.letters().is_empty());
        schemas.revive();
        world.accepts(6_000);
        let ending = world.finish(2_000);
        assert_eq!(ending.letters, 0, "{:#}", ending.report);
    }
}
