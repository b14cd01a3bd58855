//! The end of a log is gone, and others are written under its offsets: an election of a replica that was behind.

use super::{all_arrive, shown};
use crate::support::{broker::Broker, world::World};

/// Committed offsets and the ends of the logs, of one partition.
fn bounds(world: &World<'_>) -> (i64, i64) {
    let committed = world.broker.committed(&world.group, &world.topic, 1)[0];
    (committed, world.broker.ends(&world.topic, 1)[0])
}

/// KAFKA-3410 and many reports of unclean elections: the leader dies, and a replica that was behind leads on. What only the dead leader
/// had was read and committed; its offsets are given to others.
#[test]
fn an_unclean_election_loses_nothing_that_is_in_the_log_then() {
    let broker = Broker::start(&[]);
    let mut world = World::new(&broker, 1, &[]);
    // Everything but the input is on the first node: the group, its offsets, what the job writes.
    world.set("topics.create", "false");
    for name in ["dead", "invalid"] {
        broker.topic(&format!("{}.{name}", world.topic), 1, &[]);
    }
    let state = format!("{}.state", world.topic);
    broker.topic(&state, 1, &[("cleanup.policy", "compact")]);
    broker.commit("warm-up", &world.topic, &[0]);
    broker.delete_topic(&world.topic);
    let (ahead, behind) = (broker.member(2), broker.member(3));
    let settings = [
        ("unclean.leader.election.enable", "true"),
        ("min.insync.replicas", "1"),
    ];
    broker.topic_on(&world.topic, &[2, 3], &settings);
    world.join();
    world.produced(300, &[]);
    all_arrive(&mut world, 300);
    behind.kill();
    world.produced(500, &[]);
    all_arrive(&mut world, 800);
    ahead.kill();
    behind.revive();
    let (committed, end) = bounds(&world);
    assert_eq!((committed, end), (800, 300), "the election was unclean");
    world.produced(1_200, &[]);
    all_arrive(&mut world, 2_000);
    let topic = world.topic.clone();
    shown(&mut world, &topic, "tail_lost");
    assert_eq!(bounds(&world), (1_500, 1_500));
    // The old leader comes back, and gives up what only it had.
    ahead.revive();
    world.produced(100, &[]);
    all_arrive(&mut world, 2_100);
    world.finish(2_000);
}
