//! Dead letters: written before the offset moves, or the partition waits.

use crate::support::{broker::Broker, world::World};

/// The topic takes no letter of such a size: the offsets stay behind, and everything arrives once it does.
#[test]
fn a_partition_waits_while_its_dead_letters_are_refused() {
    let broker = Broker::shared();
    let mut world = World::new(broker, 4, &[]);
    broker.topic(&world.dead_topic, 1, &[("max.message.bytes", "100")]);
    let report = world.loaded(10_000, &["--bad-share", "0.02"]);
    let bad = report["bad"].as_u64().expect("a count");
    assert!(bad > 0, "the load has no bad record");
    world.join();
    let alarm = world.instances[0].said("a letter was rejected", |line| {
        line.contains("a letter was rejected")
            .then(|| line.to_owned())
    });
    assert!(
        world.lag() > 0,
        "offsets passed letters that were not written; alarm: {alarm}"
    );
    assert_eq!(broker.ends(&world.dead_topic, 1), [0]);

    broker.alter_topic(&world.dead_topic, "max.message.bytes", "1000000");
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

/// The broker takes the letters and does not confirm them: the alarm comes although nothing else happens.
#[test]
fn letters_that_are_not_confirmed_raise_an_alarm() {
    let broker = Broker::mock();
    let mut world = World::new(&broker, 2, &[("topics.alarm_s", "1")]);
    let bad = world.loaded(2_000, &["--bad-share", "0.02"])["bad"]
        .as_u64()
        .expect("a count");
    broker.refuse_writes();
    world.join();
    world.instances[0].said("an alarm about letters", |line| {
        line.contains("letters are not confirmed").then_some(())
    });
    assert!(
        world.lag() > 0,
        "offsets passed letters that were not written"
    );
    broker.accept_writes();
    let ending = world.finish(0);
    assert_eq!(ending.letters as u64, bad);
}
