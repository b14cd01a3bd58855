//! Reading one chunk of a partition: the messages that the client has fetched, as far as there is room, sent to the partition's
//! worker.
//!
//! It owns nothing. It does not wait: without room, or without messages, nothing is read.
//!
//! * M1: every chunk has a memory permit for its bytes.
//! * E1: messages of another life of the log are discarded, and read again after the log was checked.
//! * Nothing behind an unreadable batch is taken.

use std::collections::HashMap;
use std::time::Instant;

use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;

use super::{Assigned, Reader};
use crate::ops::metrics::pipeline as metrics;
use crate::pipeline::consumer::Events;
use crate::pipeline::fatal::Fatal;
use crate::pipeline::feed::{Messages, PartitionQueue};
use crate::pipeline::settings::MESSAGE_OVERHEAD;
use crate::pipeline::worker::Chunk;
use crate::topic_partition::TopicPartition;

impl Reader {
    /// Reads one chunk of a partition if there is room for it; true if messages or an error came.
    pub(super) fn read(
        &self,
        key: &TopicPartition,
        feed: &PartitionQueue<Events>,
        partition: &mut Assigned,
    ) -> bool {
        if partition.chunks.capacity() == 0 || partition.stands() || !partition.log.may_read() {
            return false;
        }
        // The read-ahead beyond the last confirmed commit bounds what a crash re-delivers.
        let room = self
            .memory
            .window_messages
            .saturating_sub(partition.uncommitted().max(partition.progress.window()));
        if room == 0 {
            let settling = partition.progress.window() * 2 >= self.memory.window_messages;
            if settling {
                partition.progress.ask_flush();
            }
            metrics::backpressure(if settling { "window" } else { "commit" });
            return false;
        }
        let each = partition.message_bytes + MESSAGE_OVERHEAD;
        // Never more than a quarter of the partition's share, so that a read of larger messages than expected stays small.
        let most = (self.memory.partition_bytes / 4 / each)
            .clamp(1, self.memory.chunk_messages as u64)
            .min(room);
        let Some(mut permit) = partition.permits.reserve(most * each) else {
            metrics::backpressure("memory");
            partition.progress.ask_flush();
            return false;
        };
        let mut messages = feed.buffer();
        if feed.read(most as usize, &mut messages) == 0 {
            if partition.log.nothing_came() {
                let partition = partition.progress.input.clone();
                self.fail(Fatal::Stale { partition }.into());
            }
            return false;
        }
        self.follow_rights(key, partition, &messages);
        let failed_at = messages.error_at();
        let unreadable = messages.take_unreadable();
        if unreadable.is_some() {
            // The client can read this log, though not this batch.
            partition.log.came();
        }
        let survey = messages.survey(partition.read_to, partition.log.epoch());
        let went_back = survey.back.is_some();
        if let Some(at) = survey.back {
            // Messages from there on are read again after the log was checked.
            let repeated = messages.cut(at);
            metrics::repeated(&partition.progress.input.topic, repeated as u64);
            partition.log.went_back(Instant::now());
        }
        if let Some(first) = survey.first {
            partition.began = partition.began.min(first);
            partition.read_to = survey.read_to;
            partition.log.read(&messages);
        }
        // Behind messages of another life the error belongs to that life, and comes again when that life is read.
        let unreadable = unreadable.filter(|_| !went_back);
        if let Some(at) = failed_at
            && unreadable.is_none()
            && !went_back
        {
            // The client's position is behind the error now (see `feed`).
            let to = match partition.read_to {
                to if to >= 0 => to,
                _ => at,
            };
            partition.log.move_to(to, Instant::now());
        }
        self.follow_data(key, partition, unreadable, survey.first.is_none());
        if messages.is_empty() {
            return true;
        }
        let count = messages.len() as u64;
        let bytes = survey.bytes;
        permit.charge(bytes + count * MESSAGE_OVERHEAD);
        // The estimate falls slowly and rises at once: the reserve should rarely be too small.
        partition.message_bytes = (bytes / count.max(1))
            .max(partition.message_bytes - partition.message_bytes / 16)
            .max(16);
        // Capacity was checked above and this thread is the only sender; a closed channel means a worker that failed.
        let _ = partition.chunks.try_send(Chunk {
            messages,
            payload_bytes: bytes,
            permit: Some(permit),
            skipped: None,
            life: partition.log.begun(),
            log_end: partition.log.end(),
            passed: None,
        });
        true
    }

    /// Sends the client's position to the worker when it is behind the newest message: control records of transactions lie
    /// between, and the watermark advances past them too.
    ///
    /// The position lies behind every message that was delivered to this thread, which is the only reader.
    ///
    /// The client's position lies behind everything that it handed to this thread, and only this thread reads.
    pub(super) fn follow_positions(&self, assigned: &mut HashMap<TopicPartition, Assigned>) {
        let Ok(positions) = self.consumer.position() else {
            // Without a group there are no partitions to follow.
            return;
        };
        for element in positions.elements() {
            let key = TopicPartition::new(element.topic(), element.partition());
            let (Some(partition), Offset::Offset(position)) =
                (assigned.get_mut(&key), element.offset())
            else {
                continue;
            };
            if !partition.log.may_read() || partition.standing.is_some() {
                continue;
            }
            partition.log.came();
            if position > partition.read_to.max(partition.passed_to)
                && partition.chunks.capacity() > 0
                && let Some(permit) = partition.permits.reserve(0)
            {
                partition.passed_to = position;
                let _ = partition.chunks.try_send(Chunk {
                    messages: Messages::none(&self.consumer),
                    payload_bytes: 0,
                    permit: Some(permit),
                    skipped: None,
                    life: partition.log.begun(),
                    log_end: partition.log.end(),
                    passed: Some(position),
                });
            }
        }
    }
}
