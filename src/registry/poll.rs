//! Waiting for a message by our own clock.
//!
//! The Kafka client waits until a time of day: when the clock is set back by hours, a wait of milliseconds lasts for hours
//! (librdkafka#2145). So the client is only ever asked for what is there, and the pauses between are ours.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;

/// The first pauses, while the next message is probably on its way.
const SHORT: Duration = Duration::from_millis(1);
/// Later pauses.
const LONG: Duration = Duration::from_millis(10);
/// Short pauses before the first long one.
const SHORT_ONES: u32 = 20;

/// The next message or event of a consumer; `None` after `most`. Blocks the calling thread.
pub fn next<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    most: Duration,
) -> Option<KafkaResult<BorrowedMessage<'_>>> {
    let began = Instant::now();
    let mut pauses = 0;
    loop {
        if let Some(message) = consumer.poll(Duration::ZERO) {
            return Some(message);
        }
        let left = most
            .checked_sub(began.elapsed())
            .filter(|left| !left.is_zero())?;
        let pause = if pauses < SHORT_ONES { SHORT } else { LONG };
        std::thread::park_timeout(pause.min(left));
        pauses += 1;
    }
}
