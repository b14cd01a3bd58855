//! Publishing of the consumer thread: positions, the number of partitions, and the client's fatal error.
//!
//! It publishes only; [`crate::ops::health`] judges.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;

use super::{Assigned, Reader};
use crate::ops::metrics::pipeline as metrics;
use crate::ops::status::Position;
use crate::ops::waits::Kind;
use crate::pipeline::fatal::Fatal;
use crate::pipeline::progress::Progress;
use crate::pipeline::worker::Command;
use crate::topic_partition::TopicPartition;

/// From this share of the memory permits on, in percent, a read may be refused: it asks for a quarter of a partition's share at most,
/// which is a quarter of the whole at most.
const FULL_PERCENT: u64 = 70;

/// How long workers may take to end after a fatal error.
const ABANDONED: Duration = Duration::from_secs(2);

impl Reader {
    /// Posts each partition's position on the board: next offset, end offset and committed offset.
    pub(super) fn show(&self, assigned: &mut HashMap<TopicPartition, Assigned>) {
        let now = Instant::now();
        let full = self.permits.used() * 100 >= self.permits.total() * FULL_PERCENT;
        self.shared.board.set_memory_full(full);
        for partition in assigned.values() {
            let progress = &partition.progress;
            let reached = partition.read_to.max(partition.passed);
            let position = Position {
                next: progress.begin().map(|begin| begin.max(reached)),
                end: progress.end(),
                stable: progress.stable(),
                committed: Some(partition.committed).filter(|offset| *offset >= 0),
            };
            partition.shown.post(position, now);
        }
    }

    /// Publishes the assignment, and figures of it.
    pub(super) fn publish(&self, assigned: &HashMap<TopicPartition, Assigned>) {
        metrics::assigned(assigned.len());
        for (key, partition) in assigned {
            metrics::window(key, partition.progress.window());
        }
        metrics::memory(self.permits.used(), self.permits.total());
        let mut all: Vec<Arc<Progress>> = assigned
            .values()
            .map(|partition| Arc::clone(&partition.progress))
            .collect();
        all.sort_by(|a, b| a.input.cmp(&b.input));
        self.assignment.send_if_modified(|current| {
            let same = current.len() == all.len()
                && current.iter().zip(&all).all(|(a, b)| Arc::ptr_eq(a, b));
            if !same {
                *current = Arc::new(all);
            }
            !same
        });
    }

    /// Publishes a wait while more partitions are assigned than the memory formula counts.
    pub(super) fn count_partitions(&self, owned: usize) {
        let (owned, counted) = (owned as u64, self.memory.partitions);
        let mut said = self.too_many.borrow_mut();
        // Published anew each time, because the figures are part of its text.
        *said = None;
        if owned <= counted {
            return;
        }
        let excess = (self.shared.formula)(owned).err();
        let kind = match excess {
            Some(_) => Kind::Memory,
            None => Kind::Partitions,
        };
        let cause = format!(
            "this instance owns {owned} partitions, and memory.partitions counts {counted}{}",
            excess.map_or_else(String::new, |excess| format!("; with so many {excess}"))
        );
        let remedy = format!(
            "add instances, or set memory.partitions = {owned} and give the process what `dig-ingest check` then says"
        );
        *said = Some(
            self.shared
                .board
                .wait(kind, "memory.partitions", cause, remedy),
        );
    }

    /// After a fatal error of the client abandons all partitions (O3) and reports the error to the job.
    pub(super) fn end_if_fatal(&self, assigned: &mut HashMap<TopicPartition, Assigned>) {
        let Some(error) = self.consumer.client().fatal_error() else {
            return;
        };
        self.shared.board.set_assigned(false);
        let abandoned: Vec<Assigned> = assigned.drain().map(|(_, partition)| partition).collect();
        for partition in &abandoned {
            partition.command.send_replace(Command::Abandon);
        }
        // Messages in the workers' hands keep the client alive: they are dropped first, so that this thread closes the client.
        let deadline = Instant::now() + ABANDONED;
        for partition in abandoned {
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = partition.done.recv_timeout(left);
        }
        self.fail(Fatal::of_consumer(error).into());
    }
}
