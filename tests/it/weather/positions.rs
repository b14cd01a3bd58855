//! Where the client goes on after the pause of a rebalance is where reading stands, whatever it gave in a message's place.
//!
//! librdkafka takes everything that is read in a batch for a message, so an event or an error moves its position behind the offset
//! that comes with it; the pause of a cooperative rebalance makes it go on from there.

use rdkafka::types::RDKafkaRespErr;

use crate::support::{broker::Broker, child::Running, world::World};

const PARTITIONS: i32 = 6;

fn takes_partitions(instance: &mut Running) {
    instance.said("it got partitions", |line| {
        let some = line.contains("partitions assigned") && !line.contains("partitions=0");
        some.then_some(())
    });
}

/// Partitions that are read to their ends, which is where most partitions of a fleet stand most of the time, stay with their
/// owner while others change hands: the next message of each is read (librdkafka#4844: an event at the end of a partition moves the
/// position one message too far, <https://github.com/confluentinc/librdkafka/issues/4844>).
#[test]
fn a_rebalance_at_the_end_of_a_partition_skips_nothing() {
    let mut world = World::new(Broker::shared(), PARTITIONS, &[]);
    world.join();
    world.produced(600, &[]);
    world.drained();
    for _ in 0..2 {
        world.join();
        takes_partitions(world.instances.last_mut().expect("one that joined"));
        world.produced(600, &[]);
        world.drained();
    }
    let mut leaving = world.instances.remove(0);
    leaving.signal("TERM");
    leaving.succeeded();
    world.produced(600, &[]);
    world.finish(0);
}

/// The right to read a topic is taken away for a moment and given back, and then the group rebalances: the message that was to be
/// read when the right was missing is read.
#[test]
fn a_rebalance_after_a_refused_fetch_skips_nothing() {
    let broker = Broker::mock();
    let mut world = World::new(&broker, PARTITIONS, &[]);
    world.join();
    world.produced(600, &[]);
    world.drained();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.answer_fetches(refused, 1);
    world.until("the client was refused a fetch", |world| {
        world.instances[0].metric("dig_ingest_message_errors_total") >= 1.0
    });
    world.join();
    takes_partitions(&mut world.instances[1]);
    world.produced(600, &[]);
    world.finish(0);
}
