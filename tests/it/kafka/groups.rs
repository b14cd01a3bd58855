//! Partitions change hands: orderly, and behind the back of an instance that was asleep.

use dig_ingest::sim::{Action, CutAt, Operation};

use crate::support::{broker::Broker, child::Running, world::World};

const PARTITIONS: i32 = 6;

/// Offsets of a partition are stored before it is given away: the client refuses them later, and says so (O3).
fn stored_in_time(instance: &Running) {
    let log = instance.log();
    assert!(!log.contains("offsets were not stored"), "{log}");
}

/// Instances come and go in order; every one drains what it has to give away.
#[test]
fn instances_join_and_leave_under_load() {
    let mut world = World::new(
        Broker::shared(),
        PARTITIONS,
        &[("memory.window_messages", "2000")],
    );
    let commits = world
        .broker
        .watch_commits(&world.group, &world.topic, PARTITIONS);
    world.join();
    let mut load = world.load(40_000, &["--rate", "3000"]);
    world.accepts(2_000);
    world.join();
    world.accepts(2_000);
    world.join();
    world.accepts(2_000);
    for _ in 0..2 {
        let mut leaving = world.instances.remove(0);
        leaving.signal("TERM");
        leaving.succeeded();
        stored_in_time(&leaving);
        world.accepts(1_000);
        world.join();
        world.accepts(2_000);
    }
    let mut leaving = world.instances.remove(0);
    leaving.signal("TERM");
    leaving.succeeded();
    load.succeeded();
    world.drained();
    stored_in_time(&leaving);
    world.instances.iter().for_each(stored_in_time);
    // Whoever gave a partition away commits nothing of it any more (O3).
    assert_eq!(commits.end(), [] as [String; 0], "commits that went back");
    // A partition changes hands at most once per change of the group, and repeats at most its window.
    let changes = 7;
    world.finish(changes * PARTITIONS as u64 * 2_000);
}

/// An instance sleeps past its session; the other takes its partitions; the sleeper wakes up with requests and offsets
/// of partitions it does not own any more (O3).
#[test]
fn a_sleeper_that_wakes_up_disturbs_nobody() {
    let mut world = World::new(
        Broker::shared(),
        PARTITIONS,
        &[("memory.window_messages", "2000")],
    );
    world.join();
    world.join();
    let mut load = world.load(30_000, &["--rate", "4000"]);
    world.accepts(3_000);
    world.instances[0].signal("STOP");
    load.succeeded();
    // Only the other one can do this, and only once the group has given it everything.
    world.until("the other instance has taken over", |world| {
        world.lag() == 0
    });
    let before = world
        .broker
        .committed(&world.group, &world.topic, PARTITIONS);
    world.instances[0].signal("CONT");
    let mut load = world.load(20_000, &["--rate", "4000"]);
    world.until("everything is settled after the sleeper woke up", |world| {
        let now = world
            .broker
            .committed(&world.group, &world.topic, PARTITIONS);
        let back = before
            .iter()
            .zip(&now)
            .position(|(before, now)| now < before);
        assert_eq!(
            back, None,
            "a committed offset went back: {before:?} -> {now:?}"
        );
        !load.alive() && world.lag() == 0
    });
    load.succeeded();
    world.finish(2 * PARTITIONS as u64 * 2_000);
}

/// Requests that are being retried when their partition is taken away are given up, and none of their records counts as
/// done (O1, O3): the next owner sends them.
#[test]
fn what_a_revoked_partition_could_not_send_the_next_owner_sends() {
    let mut world = World::new(
        Broker::shared(),
        PARTITIONS,
        &[
            ("memory.window_messages", "2000"),
            ("input.drain_ms", "500"),
            ("pacing.concurrency_start", "8"),
            ("pacing.failures_to_open", "1000000"),
            ("batch.max_records", "200"),
        ],
    );
    world.join();
    world.produced(3_000, &[]);
    world.accepts(3_000);
    world.gateway.outage(Some(Action::Cut(CutAt::BeforeBody)));
    let before = world.asked(Operation::Records);
    world.produced(20_000, &[]);
    world.until("requests are being retried", |world| {
        world.asked(Operation::Records) >= before + 20
    });
    world.join();
    world.instances[1].said("it got partitions", |line| {
        line.contains("partitions assigned").then_some(())
    });
    world.gateway.outage(None);
    // Nothing of what was cut arrived, so nothing need come twice; what was accepted before may.
    world.finish(3_000);
}

/// Retention went faster than the job: what it had not read is gone, and the job says so.
#[test]
fn records_that_were_gone_before_they_were_read_raise_an_alarm() {
    let mut world = World::new(Broker::shared(), PARTITIONS, &[]);
    world.join();
    world.produced(3_000, &[]);
    world.drained();
    let mut leaving = world.instances.remove(0);
    leaving.signal("TERM");
    leaving.succeeded();
    world.produced(3_000, &[]);
    world.broker.forget(&world.topic, PARTITIONS);
    world.join();
    world.until("each partition's jump is counted", |world| {
        world.instances[0].metric("dig_ingest_offset_resets_total") >= f64::from(PARTITIONS)
    });
}
