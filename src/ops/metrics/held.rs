//! Metrics of what is held and released.

use metrics::{counter, gauge};

use crate::ops::status::Waiting;
use crate::pipeline::hold::Released;
use crate::topic_partition::TopicPartition;

/// What a partition holds: records and bytes waiting, devices being released.
///
/// * `dig_ingest_held_records`: Records of a partition that are held.
/// * `dig_ingest_held_bytes`: Bytes of the records of a partition that are held.
/// * `dig_ingest_releasing_devices`: Devices of a partition whose held records are being released.
pub fn waiting(of: &TopicPartition, waiting: &Waiting) {
    let labels = [
        ("topic", of.topic.clone()),
        ("partition", of.partition.to_string()),
    ];
    gauge!("dig_ingest_held_records", &labels).set(waiting.records as f64);
    gauge!("dig_ingest_held_bytes", &labels).set(waiting.bytes as f64);
    gauge!("dig_ingest_releasing_devices", &labels).set(waiting.releasing as f64);
}

/// Adds what changed in a partition's account of released records.
///
/// * `dig_ingest_released_taken_up_total`: Held records taken up for release; equals the records of all outcomes and those in hand.
/// * `dig_ingest_released_records_total`: Held records taken up that ended, by outcome: `accepted`, `dead_lettered`, `discarded`, `held_again` or `put_back`.
pub fn released(topic: &str, before: &Released, after: &Released) {
    let add = |outcome: &'static str, from: u64, to: u64| {
        if to > from {
            counter!("dig_ingest_released_records_total", "topic" => topic.to_owned(), "outcome" => outcome)
                .increment(to - from);
        }
    };
    if after.taken_up > before.taken_up {
        counter!("dig_ingest_released_taken_up_total", "topic" => topic.to_owned())
            .increment(after.taken_up - before.taken_up);
    }
    add("accepted", before.accepted, after.accepted);
    add("dead_lettered", before.dead_lettered, after.dead_lettered);
    add("discarded", before.discarded, after.discarded);
    add("held_again", before.held_again, after.held_again);
    add("put_back", before.put_back, after.put_back);
}

/// A released-through mark was written.
pub fn marked(topic: &str) {
    counter!("dig_ingest_release_marks_total", "topic" => topic.to_owned()).increment(1);
}

/// The broker refused a mark.
pub fn mark_refused(topic: &str) {
    counter!("dig_ingest_release_marks_refused_total", "topic" => topic.to_owned()).increment(1);
}

/// Released records were deleted from the held topic.
pub fn trimmed(topic: &str) {
    counter!("dig_ingest_held_trims_total", "topic" => topic.to_owned()).increment(1);
}

/// What is held could not be found out after a start; the partition waits and asks again.
pub fn unread(topic: &str) {
    counter!("dig_ingest_held_unread_total", "topic" => topic.to_owned()).increment(1);
}
