//! Dead letters: written before the offset moves, or the partition waits.

use crate::support::{broker::Broker, world::World};

/// The broker cannot take letters: the offsets stay behind them, and everything arrives once it can.
#[test]
fn a_partition_waits_for_its_dead_letters() {
    let broker = Broker::shared();
    let mut world = World::new(broker, 4, &[("topics.alarm_s", "1")]);
    // Two replicas are asked for and there is one broker: the topic takes nothing.
    broker.topic(&world.dead_topic, 1, &[("min.insync.replicas", "2")]);
    let report = world.loaded(10_000, &["--bad-share", "0.02"]);
    let bad = report["bad"].as_u64().expect("a count");
    assert!(bad > 0, "the load has no bad record");
    world.join();
    let alarm = world.instances[0].said("an alarm about letters that cannot be written", |line| {
        line.contains("letters are not confirmed")
            .then(|| line.to_owned())
    });
    assert!(
        world.lag() > 0,
        "offsets passed letters that were not written; alarm: {alarm}"
    );
    assert_eq!(broker.ends(&world.dead_topic, 1), [0]);

    broker.alter_topic(&world.dead_topic, "min.insync.replicas", "1");
    world.drained();
    let letters = world.letters();
    for letter in &letters {
        for name in [
            "reason",
            "stage",
            "source-topic",
            "source-partition",
            "source-offset",
        ] {
            let there = letter.headers.iter().any(|(header, _)| header == name);
            assert!(there, "no header {name}: {:?}", letter.headers);
        }
        assert!(!letter.payload.is_empty());
    }
    // A letter may be written twice when the broker's answer is lost, never fewer times than once.
    assert!(
        letters.len() as u64 >= bad,
        "{} letters for {bad} bad records",
        letters.len()
    );
    world.finish(0);
}
