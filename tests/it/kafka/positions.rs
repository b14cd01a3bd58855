//! Where a group begins, and how a person moves it (E1): nothing is skipped that nobody asked to skip.

use std::time::Duration;

use serde_json::Value;

use crate::support::{broker::Broker, child::Running, world::World};

const PARTITIONS: i32 = 3;
const HOUR: Duration = Duration::from_secs(3600);

/// Messages of yesterday, which become letters if they are read.
fn yesterday(world: &World<'_>, messages: usize) {
    for number in 0..messages {
        let key = format!("old-{number}");
        world
            .broker
            .write(&world.topic, &key, "of yesterday", 24 * HOUR);
    }
}

/// Runs `dig-ingest offsets ...` and gives its report, or what it says instead.
fn offsets(world: &mut World<'_>, name: &str, args: &[&str]) -> Result<Value, String> {
    let file = world.settings_file(name, &[]);
    let mut all: Vec<String> = vec!["offsets".to_owned()];
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    all.extend(["--report", "json", "--config"].map(str::to_owned));
    all.push(file.display().to_string());
    let mut command: Running = world.command(name, &all);
    if !command.ended().success() {
        return Err(command.log());
    }
    Ok(command.report().1)
}

/// A group that begins at the end remembers where that was: what comes while it is dead after that is sent all the same.
#[test]
fn a_group_that_begins_at_the_end_loses_nothing_after_its_beginning() {
    let mut world = World::new(
        Broker::shared(),
        PARTITIONS,
        &[("input.start", "\"latest\"")],
    );
    yesterday(&world, 20);
    world.join();
    world.instances[0].said("where it begins", |line| {
        (line.contains("begins where input.start says") && line.contains("messages=20"))
            .then_some(())
    });
    world.until("the beginning is committed", |world| {
        let committed = world
            .broker
            .committed(&world.group, &world.topic, PARTITIONS);
        committed.iter().sum::<i64>() == 20
    });
    // It dies before it has read a record, and those of the meantime count.
    world.instances.remove(0).kill();
    world.produced(500, &[]);
    world.join();
    world.drained();
    // A partition that is added later is read from its first message, whatever the setting says.
    world.broker.grow(&world.topic, PARTITIONS as usize + 1);
    world.partitions += 1;
    world.produced(2_000, &[]);
    let ending = world.finish(0);
    assert_eq!(ending.letters, 0, "messages of yesterday were read");
}

/// A group that lost its offsets is not taken for a new one: it reads everything again instead of skipping what it has not read.
#[test]
fn a_group_whose_offsets_expired_skips_nothing() {
    let mut world = World::new(
        Broker::shared(),
        PARTITIONS,
        &[("input.start", "\"latest\"")],
    );
    world.join();
    world.instances[0].said("where it begins", |line| {
        line.contains("begins where input.start says").then_some(())
    });
    world.produced(300, &[]);
    world.drained();
    world.leave(20);
    world.instances.clear();
    world.broker.forget_group(&world.group);
    world.produced(300, &[]);
    world.join();
    world.instances[0].said("that its offsets are gone", |line| {
        line.contains("the group has lost its offsets")
            .then_some(())
    });
    let ending = world.finish(300);
    assert_eq!(ending.duplicated, 300, "{:#}", ending.report);
}

/// A time names the first message that was written then or later.
#[test]
fn a_group_begins_at_a_time() {
    let mut world = World::new(Broker::shared(), PARTITIONS, &[]);
    yesterday(&world, 20);
    let an_hour_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
    world.set("input.start", &format!("\"{an_hour_ago}\""));
    world.produced(500, &[]);
    world.join();
    let ending = world.finish(0);
    assert_eq!(ending.letters, 0, "messages of yesterday were read");
}

/// `offsets set` says beforehand what it repeats and skips, leaves a working group alone, and does what it said.
#[test]
fn a_stopped_group_is_moved_as_the_dry_run_said() {
    let mut world = World::new(Broker::shared(), PARTITIONS, &[]);
    world.join();
    world.produced(600, &[]);
    world.drained();
    let refused = offsets(&mut world, "working", &["set", "--to", "earliest"]);
    let refused = refused.expect_err("the group has members");
    assert!(refused.contains("stop every instance"), "{refused}");
    let shown = offsets(&mut world, "shown", &["show"]).expect("a report");
    assert_eq!(
        shown["members"].as_array().map(Vec::len),
        Some(1),
        "{shown}"
    );
    let sum = |report: &Value, what: &str| -> i64 {
        let all = report["partitions"].as_array().expect("partitions");
        all.iter()
            .map(|one| one[what].as_i64().expect("a number"))
            .sum()
    };
    let (committed, end) = (sum(&shown, "committed"), sum(&shown, "end"));
    assert_eq!((committed, sum(&shown, "lag")), (end, 0), "{shown}");
    world.leave(20);
    world.instances.clear();

    let told =
        offsets(&mut world, "dry", &["set", "--to", "earliest", "--dry-run"]).expect("a report");
    assert_eq!(told["repeated"], end, "{told}");
    assert_eq!(
        (&told["skipped"], &told["done"]),
        (&Value::from(0), &Value::from(false))
    );
    let before = world
        .broker
        .committed(&world.group, &world.topic, PARTITIONS);
    assert_eq!(before.iter().sum::<i64>(), end, "a dry run moved the group");

    // More comes, and is not skipped by mistake.
    world.produced(300, &[]);
    let refused = offsets(&mut world, "skips", &["set", "--to", "latest"]);
    let refused = refused.expect_err("messages would be skipped");
    assert!(refused.contains("--allow-skip"), "{refused}");

    // One partition by its offset, and outside of its log.
    let topic = world.topic.clone();
    let one = ["set", "--topic", &topic, "--partition", "1", "--to"];
    let outside = offsets(&mut world, "outside", &[&one[..], &["99999999"]].concat());
    let outside = outside.expect_err("no such offset");
    assert!(outside.contains("nothing is changed"), "{outside}");
    let told = offsets(&mut world, "one", &[&one[..], &["0"]].concat()).expect("a report");
    assert_eq!(told["done"], true, "{told}");
    let repeated = told["repeated"].as_u64().expect("a count");
    let after = world
        .broker
        .committed(&world.group, &world.topic, PARTITIONS);
    assert_eq!(after[1], 0);
    assert_eq!((after[0], after[2]), (before[0], before[2]));

    world.join();
    let ending = world.finish(repeated);
    assert!(repeated > 0, "nothing lay in the partition");
    assert!(ending.duplicated > 0, "{:#}", ending.report);
}

/// E1: offsets that were committed for a topic that is deleted by now are told of and count as none.
#[test]
fn offsets_of_a_deleted_topic_count_as_none() {
    let mut world = World::new(Broker::shared(), 1, &[]);
    world.join();
    world.produced(200, &[]);
    world.drained();
    world.leave(20);
    world.instances.clear();
    // A broker forgets the offsets of a topic that it deletes; a mirror of the group brings them back.
    let committed = world.broker.committed_with(&world.group, &world.topic, 0);
    world.broker.delete_topic(&world.topic);
    world.broker.topic(&world.topic, 1, &[]);
    world.broker.commit_with(&world.group, &committed);
    yesterday(&world, 300);
    let shown = offsets(&mut world, "shown", &["show"]).expect("a report");
    let partition = &shown["partitions"][0];
    assert_eq!(partition["outdated"], "recreated", "{shown}");
    assert_eq!(partition["lag"], 300, "{shown}");
    let refused = offsets(&mut world, "skips", &["set", "--to", "latest"]);
    assert!(
        refused
            .expect_err("skips")
            .contains("300 messages would be skipped")
    );
    let told = offsets(
        &mut world,
        "set",
        &["set", "--to", "latest", "--allow-skip"],
    )
    .expect("a report");
    assert_eq!(told["skipped"], 300, "{told}");
    // The offset belongs to the new topic: nothing of it is read again.
    world.join();
    world.until("the group is there", |world| {
        world.instances[0].metric("dig_ingest_partitions_assigned") >= 1.0
    });
    world.leave(20);
    assert_eq!(world.letters().len(), 0);
    world.end();
}
