//! Polling a consumer by our own clock.
//!
//! Owns one call into librdkafka. A client hands over one event at a time, and a line of its own log is one too: with
//! `kafka.properties.debug` set there are thousands in a second. So whoever polls goes on until nothing waits; a client that is not
//! polled keeps every line it writes.
//!
//! The Kafka client waits until a time of day: when the clock is set back by hours, a wait of milliseconds lasts for hours
//! (librdkafka#2145). So the client is only ever asked for what is there, and the pauses between are ours.

use std::time::{Duration, Instant};

use rdkafka::bindings::{
    rd_kafka_queue_destroy, rd_kafka_queue_get_consumer, rd_kafka_queue_length,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;

use crate::access;

/// The first pauses, while the next message is probably on its way.
const SHORT: Duration = Duration::from_millis(1);
/// Later pauses.
const LONG: Duration = Duration::from_millis(10);
/// Short pauses before the first long one.
const SHORT_ONES: u32 = 20;

/// How long events are served at a stretch.
const STRETCH: Duration = Duration::from_millis(20);

/// Whether an event or a message waits in the consumer's own queue.
pub fn waits<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> bool {
    // SAFETY: the client is alive; the queue is ours until it is destroyed, and null for a client without a group.
    unsafe {
        let queue = rd_kafka_queue_get_consumer(consumer.client().native_ptr());
        if queue.is_null() {
            return false;
        }
        let length = rd_kafka_queue_length(queue);
        rd_kafka_queue_destroy(queue);
        length > 0
    }
}

/// Serves the events that wait, for a while at the longest. What comes instead of an event goes to `others`.
pub fn serve<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    mut others: impl FnMut(KafkaResult<BorrowedMessage<'_>>),
) {
    access::upkeep(consumer.client());
    let began = Instant::now();
    loop {
        if let Some(other) = consumer.poll(Duration::ZERO) {
            others(other);
        }
        if !waits(consumer) || began.elapsed() >= STRETCH {
            return;
        }
    }
}

/// The next message or event of a consumer; `None` after `most`. Blocks the calling thread.
pub fn next<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    most: Duration,
) -> Option<KafkaResult<BorrowedMessage<'_>>> {
    access::upkeep(consumer.client());
    let began = Instant::now();
    let mut pauses = 0;
    loop {
        if let Some(message) = consumer.poll(Duration::ZERO) {
            return Some(message);
        }
        let left = most
            .checked_sub(began.elapsed())
            .filter(|left| !left.is_zero())?;
        if waits(consumer) {
            continue;
        }
        let pause = if pauses < SHORT_ONES { SHORT } else { LONG };
        std::thread::park_timeout(pause.min(left));
        pauses += 1;
    }
}
