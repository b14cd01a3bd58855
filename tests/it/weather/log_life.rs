//! An offset names a message only within one life of a log: topics that are recreated, lose their tail or restart their offsets (E1).

mod held;
mod tail;

use crate::support::{broker::Broker, world::World};

const CHANGES: &str = "dig_ingest_log_life_changes_total";

/// Deletes a topic and makes it again under its name.
fn recreate(broker: &Broker, topic: &str, partitions: i32) {
    broker.delete_topic(topic);
    broker.topic(topic, partitions, &[]);
}

/// Waits until so many changes of logs were noticed. What is written to a new topic before that may be read from the middle first.
fn noticed(world: &mut World<'_>, changes: f64) {
    world.until("the change is noticed", |world| {
        world.instances[0].metric(CHANGES) >= changes
    });
}

/// Waits until everything promised was accepted, and committed in the log that is there.
fn all_arrive(world: &mut World<'_>, records: u64) {
    world.until(&format!("{records} records were accepted"), |world| {
        world.accepted() >= records
    });
    world.drained();
}

/// `/status` names the change of this topic's log.
fn shown(world: &mut World<'_>, topic: &str, change: &str) {
    shown_as(world, topic, &[change]);
}

/// As [`shown`], with one of these changes.
fn shown_as(world: &mut World<'_>, topic: &str, any: &[&str]) {
    let (_, status) = world.instances[0].told("/status");
    let changes = status["log_changes"].as_array().expect("a list").clone();
    let found = changes
        .iter()
        .any(|one| one["topic"] == topic && any.iter().any(|change| one["change"] == *change));
    assert!(found, "{topic} {any:?}: {status:#}");
    assert!(world.instances[0].metric(CHANGES) >= 1.0);
}

fn leave(world: &mut World<'_>) {
    let mut instance = world.instances.remove(0);
    instance.signal("TERM");
    instance.succeeded();
}

/// librdkafka#3255, librdkafka#1582, quickwit#1602, franz-go#358: a topic is deleted and created again under a running consumer. What
/// was written to the new one below the old position was dropped as repeated, and committed past.
#[test]
fn a_topic_recreated_while_the_job_runs_is_read_from_its_beginning() {
    let mut world = World::new(Broker::shared(), 1, &[]);
    world.join();
    world.produced(1_000, &[]);
    all_arrive(&mut world, 1_000);
    recreate(world.broker, &world.topic, 1);
    noticed(&mut world, 1.0);
    world.produced(1_500, &[]);
    all_arrive(&mut world, 2_500);
    assert_eq!(
        world.broker.committed(&world.group, &world.topic, 1),
        [1_500]
    );
    let topic = world.topic.clone();
    shown(&mut world, &topic, "recreated");
    // Until the change is noticed the client may read on in the middle of the new log.
    world.finish(1_500);
}

/// As above, several times and with several partitions, so that old and new lives meet in hand.
#[test]
fn a_topic_recreated_again_and_again_loses_nothing_that_was_written_to_it() {
    let mut world = World::new(Broker::shared(), 3, &[("batch.max_records", "50")]);
    world.join();
    let (mut records, mut changes) = (0, 0.0);
    for more in [900, 300, 2_000] {
        world.produced(more, &["--devices", "20"]);
        records += more;
        all_arrive(&mut world, records);
        recreate(world.broker, &world.topic, 3);
        changes += 3.0;
        noticed(&mut world, changes);
    }
    world.produced(500, &["--devices", "20"]);
    all_arrive(&mut world, records + 500);
    world.finish(records + 500);
}

/// The leader epochs of a new topic begin at 0 again, and a client that knows higher ones takes its metadata for outdated.
#[test]
fn a_topic_recreated_after_leaders_changed_is_read_from_its_beginning() {
    let broker = Broker::start(&[]);
    let mut world = World::new(&broker, 1, &[]);
    world.join();
    for round in 1..=2 {
        world.produced(300, &[]);
        all_arrive(&mut world, round * 300);
        broker.restart();
    }
    world.produced(100, &[]);
    all_arrive(&mut world, 700);
    recreate(&broker, &world.topic, 1);
    noticed(&mut world, 1.0);
    world.produced(1_200, &[]);
    all_arrive(&mut world, 1_900);
    world.finish(1_900);
}

/// librdkafka#1538: a committed offset above the log's end (a broker restored, a cluster moved, a mistaken reset). Everything was sent
/// again at each start, nothing was committed any more, and reading stopped behind the window.
#[test]
fn a_committed_offset_above_the_logs_end_is_corrected_once() {
    let mut world = World::new(
        Broker::shared(),
        2,
        &[
            ("memory.window_messages", "200"),
            ("memory.chunk_messages", "100"),
        ],
    );
    world.produced(2_000, &[]);
    world
        .broker
        .commit(&world.group, &world.topic, &[50_000, 70_000]);
    world.join();
    all_arrive(&mut world, 2_000);
    let topic = world.topic.clone();
    shown(&mut world, &topic, "commit_above_end");
    leave(&mut world);
    world.join();
    world.produced(100, &[]);
    all_arrive(&mut world, 2_100);
    assert_eq!(world.instances[0].metric(CHANGES), 0.0);
    world.finish(0);
}

/// A topic recreated while the job is down, in a cluster that keeps the group's offsets (mirrored or restored): the committed offset
/// lies below the end of the new log and looks familiar.
#[test]
fn a_topic_recreated_while_the_job_is_down_is_read_from_its_beginning() {
    let mut world = World::new(Broker::shared(), 1, &[]);
    world.join();
    world.produced(400, &[]);
    all_arrive(&mut world, 400);
    // The offset is committed with the topic's id.
    let committed = world.broker.committed_with(&world.group, &world.topic, 0);
    leave(&mut world);
    recreate(world.broker, &world.topic, 1);
    world.broker.commit_with(&world.group, &committed);
    world.produced(1_000, &[]);
    world.join();
    all_arrive(&mut world, 1_400);
    let topic = world.topic.clone();
    shown(&mut world, &topic, "recreated");
    world.finish(0);
}

/// A topic is away for longer than the group waits, then back. librdkafka makes its partitions anew then, and messages came past the
/// queues that were split off before: the job ended.
#[test]
fn a_topic_that_is_away_and_comes_back_is_read_on() {
    let mut world = World::new(Broker::shared(), 2, &[]);
    world.set(
        "kafka.properties",
        "{ \"topic.metadata.refresh.interval.ms\" = \"500\" }",
    );
    world.join();
    for round in 1..=2 {
        world.produced(500, &[]);
        all_arrive(&mut world, round * 500);
        world.broker.delete_topic(&world.topic);
        world.until("nothing is assigned", |world| {
            world.instances[0].metric("dig_ingest_partitions_assigned") == 0.0
        });
        world.broker.topic(&world.topic, 2, &[]);
    }
    world.produced(500, &[]);
    all_arrive(&mut world, 1_500);
    world.finish(0);
}

/// Transactions end with control records that are no messages: the lag stayed at 1 for ever, and at 302 behind an aborted tail.
#[test]
fn control_records_and_aborted_tails_leave_no_lag() {
    let mut world = World::new(Broker::shared(), 1, &[]);
    world.join();
    world.produced(300, &[]);
    all_arrive(&mut world, 300);
    let values: Vec<Vec<u8>> = world
        .broker
        .read(&world.topic)
        .into_iter()
        .map(|m| m.payload)
        .collect();
    world
        .broker
        .transaction(&world.topic, 0, &values[..50], true);
    world.drained();
    world.broker.transaction(&world.topic, 0, &values, false);
    world.drained();
    assert_eq!(world.broker.committed(&world.group, &world.topic, 1), [652]);
    world.produced(10, &[]);
    all_arrive(&mut world, 310);
    // The committed transaction says again what was said.
    world.finish(50);
}

/// A broker is restored from a disk image while the job runs: the tail of the log is gone, others are written under its offsets, and
/// the leader epochs repeat.
#[test]
fn a_broker_restored_from_an_older_disk_image_loses_nothing_written_after_it() {
    let broker = Broker::start(&[]);
    let mut world = World::new(&broker, 1, &[]);
    world.join();
    world.produced(900, &[]);
    all_arrive(&mut world, 900);
    let image = broker.take_image();
    world.produced(100, &[]);
    all_arrive(&mut world, 1_000);
    broker.restore(&image);
    world.produced(500, &[]);
    all_arrive(&mut world, 1_500);
    world.finish(1_500);
}

/// As above while the job is down; the group's offsets were on another broker, and survive.
#[test]
fn a_log_restored_while_the_job_is_down_is_read_where_it_differs() {
    let broker = Broker::start(&[]);
    let mut world = World::new(&broker, 1, &[]);
    world.join();
    world.produced(900, &[]);
    all_arrive(&mut world, 900);
    leave(&mut world);
    let image = broker.take_image();
    world.join();
    world.produced(100, &[]);
    all_arrive(&mut world, 1_000);
    let committed = broker.committed_with(&world.group, &world.topic, 0);
    leave(&mut world);
    broker.restore(&image);
    broker.commit_with(&world.group, &committed);
    world.produced(50, &[]);
    world.join();
    all_arrive(&mut world, 1_050);
    let topic = world.topic.clone();
    shown(&mut world, &topic, "commit_above_end");
    world.finish(1_000);
}
