//! Storing and committing offsets on the consumer thread.
//!
//! * O1, E1: only watermarks of the life of the log that is read now are stored, each with the topic id and the leader epoch.
//! * The client commits only offsets above those it committed before. After a log was truncated or recreated, the first offset
//!   of the new life is committed explicitly, until the broker has confirmed it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;

use super::log::Position;
use super::{Assigned, Reader};
use crate::log_life::broker::list_of;
use crate::pipeline::feed::{commit_at, commit_stored};
use crate::topic_partition::TopicPartition;

/// Commit intervals without a confirmation after which the client's timer is taken to be late.
const LATE: u32 = 4;

impl Reader {
    pub(super) fn store(&self, assigned: &mut HashMap<TopicPartition, Assigned>) {
        let mut offsets = Vec::new();
        for (key, partition) in assigned.iter_mut() {
            let watermark = partition.progress.watermark_in(partition.log.life());
            let due = |watermark: &i64| *watermark > partition.stored || partition.log.lowers();
            if let Some(watermark) = watermark.filter(due) {
                partition.stored = watermark;
                offsets.push(partition.log.position(key, watermark));
            }
        }
        self.store_offsets(&offsets);
    }

    /// Commits ahead of the client's timer when half a window is settled and unconfirmed, so that reading does not stop at the
    /// window. Commits in place of the timer when no commit was confirmed for too long by the monotonic clock: the timer
    /// follows the time of day, which may be set back (librdkafka#2145).
    pub(super) fn commit_early(
        &self,
        assigned: &mut HashMap<TopicPartition, Assigned>,
        asked: &mut bool,
    ) {
        let late = Duration::from_millis(self.shared.kafka.commit_interval_ms.into()) * LATE;
        let half = self.memory.window_messages / 2;
        let due = assigned.values().any(|partition| {
            let open = partition.unconfirmed(partition.stored);
            open >= half || open > 0 && partition.confirmed_at.elapsed() >= late
        });
        if due && !*asked {
            for partition in assigned.values_mut() {
                partition.confirmed_at = Instant::now();
            }
            match commit_stored(&self.consumer) {
                Ok(()) => *asked = true,
                Err(error) => tracing::info!(%error, "a commit was not sent"),
            }
        }
    }

    pub(super) fn store_offsets(&self, offsets: &[Position]) {
        if offsets.is_empty() {
            return;
        }
        let list = list_of(offsets.iter().map(Position::stored));
        if let Err(error) = self.consumer.store_offsets(&list) {
            // Refused only for a partition that is no longer assigned; its next owner starts from the last commit.
            tracing::info!(%error, "offsets were not stored");
        }
        let lower = offsets.iter().filter(|position| position.lowers);
        let lower = list_of(lower.map(Position::stored));
        if lower.count() > 0
            && let Err(error) = commit_at(&self.consumer, &lower)
        {
            tracing::info!(%error, "a lower offset was not committed");
        }
    }
}
