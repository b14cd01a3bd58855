//! A partition whose next batch cannot be read: reading stops, the batch is named in a wait and read again with backoff; a
//! person's request skips it.
//!
//! Owns what is known of the batch, and the question whether a request is in the state topic.
//!
//! * Nothing behind the batch is taken, although the client may deliver it.
//! * The batch is read again with backoff: another replica may have an intact copy.
//! * A request is erased once the broker has confirmed a commit behind it, so that it never applies to another batch.
//!
//! The question runs on a blocking thread; an answer that comes late is dropped with the partition.

use std::sync::{Arc, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use super::{Assigned, Reader};
use crate::ops::metrics::pipeline as metrics;
use crate::ops::waits::{Kind, Wait};
use crate::pipeline::consumer::Events;
use crate::pipeline::feed::PartitionQueue;
use crate::pipeline::settings::MESSAGE_OVERHEAD;
use crate::pipeline::skip;
use crate::pipeline::unreadable::{Skip, Unreadable, key as name, remedy};
use crate::pipeline::worker::Chunk;
use crate::topic_partition::TopicPartition;

/// First backoff before the batch is read again, and the longest.
const TRY: Duration = Duration::from_secs(2);
const TRY_MOST: Duration = Duration::from_secs(60);
/// How often the state topic is looked into for a request.
const LOOK: Duration = Duration::from_secs(2);

/// The unreadable batch at which a partition stopped.
pub(super) struct Standing {
    /// The published wait (H1), kept while the same batch is tried again. Dropped, it ends on the board.
    wait: Arc<Wait>,
    /// Offset of the batch: the one that would be read next.
    at: i64,
    /// Whether the client was moved back to the batch and reads it again.
    trying: bool,
    /// It is not tried again before this instant.
    try_at: Instant,
    /// Backoff between two tries; doubles.
    pause: Duration,
    /// The state topic is not looked into before this instant.
    look_at: Instant,
    /// Answer to the question whether a person asked to skip; a blocking thread of the runtime has the sender. Dropped, a late
    /// answer is discarded.
    asked: Option<std_mpsc::Receiver<Option<Skip>>>,
}

impl Assigned {
    /// Whether reading is stopped at an unreadable batch that is not being read again.
    pub(super) fn stands(&self) -> bool {
        self.standing
            .as_ref()
            .is_some_and(|standing| !standing.trying)
    }
}

impl Reader {
    /// Handles the result of a read: `none` says that it gave no message, `unreadable` what cannot be read behind the messages.
    pub(super) fn follow_data(
        &self,
        key: &TopicPartition,
        partition: &mut Assigned,
        unreadable: Option<Unreadable>,
        none: bool,
    ) {
        if !none {
            self.goes_on(key, partition);
        }
        if let Some(unreadable) = unreadable {
            self.stands(key, partition, &unreadable);
        }
    }

    /// Stops reading at the batch that cannot be read, at or behind what was read.
    fn stands(&self, key: &TopicPartition, partition: &mut Assigned, unreadable: &Unreadable) {
        let at = unreadable.offset.max(partition.read_to);
        let now = Instant::now();
        let again = partition.standing.take().filter(|before| before.at == at);
        let pause = again
            .as_ref()
            .map_or(TRY, |before| (before.pause * 2).min(TRY_MOST));
        let remedy = remedy(key, at);
        let cause = format!("the batch at offset {at} cannot be read: {unreadable}");
        if again.is_none() {
            metrics::unreadable(key, true);
            tracing::error!(
                topic = key.topic, partition = key.partition, offset = at, error = %unreadable,
                remedy,
                "a record batch cannot be read: the partition waits until the batch is readable or an operator skips it"
            );
        }
        let wait = match again.as_ref() {
            Some(before) => Arc::clone(&before.wait),
            None => {
                let subject = key.to_string();
                let board = &self.shared.board;
                Arc::new(board.wait(Kind::Batch, subject, cause.clone(), remedy))
            }
        };
        wait.update(cause);
        partition.standing = Some(Standing {
            at,
            wait,
            trying: false,
            try_at: now + pause,
            pause,
            look_at: again.as_ref().map_or(now, |before| before.look_at),
            asked: again.and_then(|before| before.asked),
        });
    }

    /// Ends the stop: the batch was read after all, or was skipped.
    pub(super) fn goes_on(&self, key: &TopicPartition, partition: &mut Assigned) {
        if partition.standing.take().is_some() {
            metrics::unreadable(key, false);
            tracing::info!(
                topic = key.topic,
                partition = key.partition,
                "the partition continues after an unreadable batch"
            );
        }
    }

    /// Discards what the client delivers, reads the batch again when its backoff is over, and looks for a request to skip it.
    pub(super) fn stand(
        &self,
        key: &TopicPartition,
        feed: &PartitionQueue<Events>,
        partition: &mut Assigned,
    ) {
        let Some(standing) = &mut partition.standing else {
            return;
        };
        if !partition.log.may_read() {
            // The client is about to seek; if the batch is still in the log, the read meets it again.
            return;
        }
        let now = Instant::now();
        if !standing.trying {
            // Messages behind the batch, or its error once more.
            let mut behind = feed.buffer();
            while feed.read(self.memory.chunk_messages, &mut behind) > 0 {
                behind.clear();
            }
            if now >= standing.try_at {
                standing.trying = self.moved(key, standing.at);
                standing.try_at = now + standing.pause;
            }
        }
        match standing.asked.as_ref().map(std_mpsc::Receiver::try_recv) {
            Some(Ok(Some(skip))) => {
                self.skip(key, feed, partition, &skip);
            }
            Some(Ok(None) | Err(std_mpsc::TryRecvError::Disconnected)) => standing.asked = None,
            Some(Err(std_mpsc::TryRecvError::Empty)) => {}
            None if now >= standing.look_at => {
                standing.look_at = now + LOOK;
                standing.asked = Some(self.ask_for_request(key, standing.at));
            }
            None => {}
        }
    }

    fn ask_for_request(
        &self,
        key: &TopicPartition,
        offset: i64,
    ) -> std_mpsc::Receiver<Option<Skip>> {
        let (to, answer) = std_mpsc::channel();
        let (kafka, state) = (self.shared.kafka.clone(), self.shared.topics.state.clone());
        let key = key.clone();
        self.runtime.spawn_blocking(move || {
            let found = skip::requested(&kafka, &state, &key, offset);
            let found = found.unwrap_or_else(|error| {
                tracing::warn!(
                    topic = key.topic,
                    partition = key.partition,
                    error = format!("{error:#}"),
                    "the skip requests in the state topic cannot be read; retrying"
                );
                None
            });
            // The receiver is dropped with the partition; a late answer is discarded.
            let _ = to.send(found);
        });
        answer
    }

    /// Seeks behind the batch. Without room for the chunk that tells the worker, the request is looked for again.
    fn skip(
        &self,
        key: &TopicPartition,
        feed: &PartitionQueue<Events>,
        partition: &mut Assigned,
        skip: &Skip,
    ) {
        let permit = partition.permits.reserve(MESSAGE_OVERHEAD);
        let (Some(permit), true) = (permit, partition.chunks.capacity() > 0) else {
            if let Some(standing) = &mut partition.standing {
                standing.asked = None;
            }
            return;
        };
        if !self.moved(key, skip.to) {
            return;
        }
        tracing::warn!(
            topic = key.topic,
            partition = key.partition,
            from = skip.from,
            to = skip.to,
            by = skip.by,
            "unreadable offsets are skipped at an operator's request"
        );
        metrics::skipped(&key.topic);
        partition.began = partition.began.min(skip.from);
        partition.read_to = skip.to;
        partition.skipped = Some((skip.from, skip.to));
        // Capacity was checked above and this thread is the only sender.
        let _ = partition.chunks.try_send(Chunk {
            messages: feed.buffer(),
            payload_bytes: 0,
            permit: Some(permit),
            skipped: Some(skip.to - 1),
            life: partition.log.begun(),
            log_end: partition.log.end(),
            passed: None,
        });
        self.goes_on(key, partition);
    }

    /// Erases a request once the committed offset has passed it.
    pub(super) fn forget_skip(&self, key: &TopicPartition, partition: &mut Assigned) {
        let committed = partition.committed;
        let Some((from, _)) = partition.skipped.take_if(|(_, to)| committed >= *to) else {
            return;
        };
        let (producer, state) = (
            self.shared.producer.clone(),
            self.shared.topics.state.clone(),
        );
        let key = name(key, from);
        self.runtime.spawn(async move {
            if let Err(error) = producer.erase(&state, key.as_bytes()).await {
                tracing::warn!(%error, key, "a skip request was carried out but not deleted");
            }
        });
    }
}
