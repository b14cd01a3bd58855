//! The end of a log is gone, and others are written under its offsets: a power cut, and an election of a replica that was behind.

use super::{all_arrive, leave, noticed, shown, shown_as};
use crate::support::{broker::Broker, world::World};

/// Committed offsets and the ends of the logs, of one partition.
fn bounds(world: &World<'_>) -> (i64, i64) {
    let committed = world.broker.committed(&world.group, &world.topic, 1)[0];
    (committed, world.broker.ends(&world.topic, 1)[0])
}

/// KAFKA-9307, KAFKA-3955, and every report of a host that lost power with unflushed pages. The power fails while the job runs: what it has read and committed is not in the log any more, and the leader epoch rises.
#[test]
fn a_power_cut_that_takes_the_end_of_the_log_while_the_job_runs_loses_nothing_written_after_it() {
    let broker = Broker::start(&[]);
    let mut world = World::new(&broker, 1, &[]);
    world.join();
    for round in 1..=3 {
        world.produced(300, &[]);
        all_arrive(&mut world, round * 300);
    }
    broker.lose_tail(&world.topic, 0);
    let (committed, end) = bounds(&world);
    assert!(0 < end && end < committed, "{committed}, {end}");
    noticed(&mut world, 1.0);
    world.produced(1_500, &[]);
    all_arrive(&mut world, 2_400);
    // A broker that restarts gives the partition to the group's members anew, and then it is the committed offset that is judged first.
    let topic = world.topic.clone();
    shown_as(&mut world, &topic, &["tail_lost", "commit_above_end"]);
    assert_eq!(bounds(&world), (end + 1_500, end + 1_500));
    world.finish(2_400);
}

/// As above while the job is down. Little is written then, so that the committed offset lies above the end of the log; or so much that
/// it lies below, and looks familiar: what was written in place of the lost tail was skipped without a word. The leader epoch that is
/// committed beside the offset tells.
#[test]
fn a_power_cut_that_takes_the_end_of_the_log_while_the_job_is_down_loses_nothing_written_after_it()
{
    let broker = Broker::start(&[]);
    for more in [50, 1_500] {
        let mut world = World::new(&broker, 1, &[]);
        world.join();
        for round in 1..=3 {
            world.produced(300, &[]);
            all_arrive(&mut world, round * 300);
        }
        leave(&mut world);
        broker.lose_tail(&world.topic, 0);
        world.produced(more, &[]);
        let (committed, end) = bounds(&world);
        assert_eq!(committed < end, more == 1_500, "{committed}, {end}");
        world.join();
        all_arrive(&mut world, 900 + more);
        let topic = world.topic.clone();
        let change = match committed < end {
            true => "tail_lost",
            false => "commit_above_end",
        };
        shown(&mut world, &topic, change);
        world.finish(900);
    }
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
