//! Source offsets of uploaded records, for a bounded number of records.
//!
//! Owns one ring of identities and offsets per assigned partition. The gateway reports invalid records later, and without
//! source offsets; with the ring `dig.invalid` can name them.
//!
//! * Bounded: `[feedback] sources` records per partition, 16 bytes each; the oldest is overwritten.
//! * An identity may repeat (a resend, two codes at one instant): the newest match counts, and a reader is told that it is a
//!   match.
//!
//! Cost on the path: one append per uploaded record; the search runs only for invalid records.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::Serialize;

use crate::dig::page::Invalid;
use crate::record::{self, RecordType};
use crate::topic_partition::TopicPartition;

/// The source offset of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

#[derive(Debug)]
struct Ring {
    /// Identity and offset of each record, at most `capacity` of them.
    entries: Vec<(u64, i64)>,
    /// Place of the oldest entry, once the ring is full.
    next: usize,
}

/// The ring of one partition; its worker holds it.
#[derive(Debug)]
pub struct OriginCache {
    /// The partition of the input topic.
    input: TopicPartition,
    /// Records remembered; 0 remembers nothing.
    capacity: usize,
    /// A lock: the worker appends once per request, the feedback poller looks in once per invalid record; never across an
    /// await.
    ring: Mutex<Ring>,
}

impl OriginCache {
    /// Appends records of a request that came back: identity and offset.
    pub fn remember(&self, accepted: impl Iterator<Item = (u64, i64)>) {
        if self.capacity == 0 {
            return;
        }
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in accepted {
            if ring.entries.len() < self.capacity {
                ring.entries.push(entry);
            } else {
                let at = ring.next;
                ring.entries[at] = entry;
            }
            ring.next = (ring.next + 1) % self.capacity;
        }
    }

    fn find(&self, identity: u64) -> Option<Origin> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = ring
            .entries
            .iter()
            .filter(|(known, _)| *known == identity)
            .map(|(_, offset)| *offset)
            .max()?;
        Some(Origin {
            topic: self.input.topic.clone(),
            partition: self.input.partition,
            offset: newest,
        })
    }
}

/// The rings of all partitions that are assigned at the moment.
#[derive(Debug, Default)]
pub struct Sources {
    /// Records that each memory may hold (`feedback.sources`).
    capacity: usize,
    /// One entry per partition, weak: the worker has the memory, and drops it with the partition. A lock: taken when a
    /// partition is opened and for each invalid record.
    memories: Mutex<Vec<Weak<OriginCache>>>,
}

impl Sources {
    /// `capacity`: records remembered per partition; 0 remembers nothing.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            memories: Mutex::default(),
        }
    }

    /// Opens the ring of a partition; it is forgotten when the returned value is dropped.
    #[must_use]
    pub fn open(&self, input: &TopicPartition) -> Arc<OriginCache> {
        let memory = Arc::new(OriginCache {
            input: input.clone(),
            capacity: self.capacity,
            ring: Mutex::new(Ring {
                entries: Vec::new(),
                next: 0,
            }),
        });
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.retain(|memory| memory.strong_count() > 0);
        memories.push(Arc::downgrade(&memory));
        memory
    }

    /// The source offset of a record that the gateway returned; `None` if no ring has it.
    #[must_use]
    pub fn find(&self, returned: &Invalid) -> Option<Origin> {
        let [kind, time, serial] = returned.texts(["Type", "DateTime", "SerialNo"]);
        let kind = kind?;
        let kind = *RecordType::ALL.iter().find(|known| known.name() == kind)?;
        let micros = record::micros(&time?)?;
        let hash = record::serial_hash(serial?.as_bytes());
        let identity = record::identity(hash, kind, micros);
        let memories: Vec<Arc<OriginCache>> = self
            .memories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        memories.iter().find_map(|memory| memory.find(identity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn returned(record: serde_json::Value) -> Invalid {
        Invalid {
            record: record.to_string().into(),
            cause: None,
            marked: None,
        }
    }

    fn key(n: i64) -> u64 {
        record::identity(record::serial_hash(b"CX0000000001"), RecordType::Gps, n)
    }

    #[test]
    fn a_returned_record_is_found_until_it_is_overwritten() {
        let sources = Sources::new(3);
        let memory = sources.open(&TopicPartition::new("telemetry", 4));
        let at = record::micros("2026-01-02T03:04:05.000006Z").expect("an instant");
        memory.remember([(key(at), 77)].into_iter());
        let returned = returned(
            json!({"serialNo": "CX0000000001", "Type": "GpsRecord", "DateTime": "2026-01-02T03:04:05.000006Z"}),
        );
        let origin = Origin {
            topic: "telemetry".into(),
            partition: 4,
            offset: 77,
        };
        assert_eq!(sources.find(&returned), Some(origin));
        memory.remember((0..3).map(|n| (key(n), n)));
        assert_eq!(sources.find(&returned), None, "overwritten");
    }

    #[test]
    fn a_partition_that_left_is_forgotten() {
        let sources = Sources::new(3);
        let memory = sources.open(&TopicPartition::new("telemetry", 4));
        memory.remember([(key(1), 1)].into_iter());
        assert!(memory.find(key(1)).is_some());
        drop(memory);
        assert!(sources.find(&returned(json!({"SerialNo": "CX0000000001", "Type": "GpsRecord", "DateTime": "1970-01-01T00:00:00.000001Z"}))).is_none());
    }
}
