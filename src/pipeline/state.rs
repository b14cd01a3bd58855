//! The state topic: small cursors by name, compacted; the newest value of a name counts.
//!
//! Owns no connection of its own beyond one read: [`load`] reads the topic to its end, [`store`] writes through the producer of
//! letters and waits for the broker. It keeps nothing in memory.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::kafka;
use super::producer::Producer;

/// How long a call to the broker may take.
const CALL: Duration = Duration::from_secs(20);

/// The newest value of `name`, read from the topic's beginning to its end as it is now. Blocks the calling thread.
///
/// # Errors
/// The broker does not answer, or the topic's end is not reached within the bound.
pub fn load(kafka: &kafka::Config, topic: &str, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let mut client = kafka.plain()?;
    // A group is needed by the client even to read partitions by hand; nothing is ever committed to it.
    client
        .set("group.id", format!("{}-state", kafka.group))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest");
    let reader: BaseConsumer = client.create().context("cannot open a reader")?;
    let metadata = reader
        .fetch_metadata(Some(topic), CALL)
        .with_context(|| format!("cannot ask for topic {topic}"))?;
    let partitions: Vec<i32> = metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions().iter().map(|p| p.id()))
        .collect();
    let mut wanted = TopicPartitionList::new();
    let mut left = 0;
    for &partition in &partitions {
        let (low, high) = reader
            .fetch_watermarks(topic, partition, CALL)
            .with_context(|| format!("cannot ask for the end of {topic}"))?;
        if high > low {
            wanted
                .add_partition_offset(topic, partition, Offset::Offset(low))
                .context("an offset that no broker gives")?;
            left += 1;
        }
    }
    reader
        .assign(&wanted)
        .with_context(|| format!("cannot read {topic}"))?;
    let ends: std::collections::HashMap<i32, i64> = partitions
        .iter()
        .map(|&p| Ok((p, reader.fetch_watermarks(topic, p, CALL)?.1)))
        .collect::<anyhow::Result<_>>()?;
    let mut newest = None;
    let deadline = Instant::now() + CALL;
    while left > 0 {
        anyhow::ensure!(
            Instant::now() < deadline,
            "{topic} was not read to its end in time"
        );
        if let Some(message) = reader.poll(Duration::from_millis(200)) {
            let message = message.with_context(|| format!("cannot read {topic}"))?;
            if message.key() == Some(name.as_bytes()) {
                newest = message.payload().map(<[u8]>::to_vec);
            }
        }
        // The position passes compacted gaps too, so it reaches the end even when the last offsets are gone.
        left = reader
            .position()
            .context("cannot ask for the position")?
            .elements()
            .iter()
            .filter(|at| match at.offset() {
                Offset::Offset(offset) => {
                    ends.get(&at.partition()).is_some_and(|&end| offset < end)
                }
                _ => true,
            })
            .count();
    }
    Ok(newest)
}

/// Writes a cursor and waits until the broker has it.
///
/// # Errors
/// The broker's refusal.
pub async fn store(
    producer: &Producer,
    topic: &str,
    name: &str,
    value: &[u8],
) -> anyhow::Result<()> {
    producer.write(topic, name.as_bytes(), value).await
}
