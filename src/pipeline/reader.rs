//! The consumer thread: takes the client's events, sends chunks to the workers, and stores watermarks.
//!
//! Owns the Kafka consumer, the feeds, and the channels to the worker of every assigned partition. It is an OS thread, because
//! a rebalance waits for workers and must not block the runtime on which they run.
//!
//! * O1: the thread stores only what a worker published as its watermark; the client's timer commits what is stored.
//! * E1: a partition is read only after the life of its committed offset was checked (`log`); an offset is stored only in the
//!   life of the log to which it belongs.
//! * O3: offsets are stored only for partitions that are assigned at that moment, and never for a lost partition.
//! * M1: nothing is read without a memory permit. A refused read asks the worker to flush.
//! * At most `[memory] window_messages` of a partition are read beyond the offset that the broker confirmed as committed; a
//!   crash re-delivers at most that many.
//! * Backpressure is not reading a partition's queue, never pause and resume (which throws prefetched messages away).
//!
//! Queue to a worker: [`worker::CHUNKS`]. When the thread ends, the watermarks of drained partitions are stored, and the client
//! commits them while it leaves the group; records in hand are re-delivered to the next owner.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::{mpsc, watch};

use super::consumer::{Event, Events};
use super::feed::PartitionQueue;
use super::gate::Gate;
use super::log_watch::LogWatch;
use super::partition::Partition;
use super::permits::{PartitionPermits, Permits};
use super::progress::Progress;
use super::queues::kept_bytes;
use super::settings::{Input, Memory};
use super::worker::{self, Chunk, Command, Shared, Worker};
use crate::formats::Formats;
use crate::ops::metrics::pipeline as metrics;
use crate::ops::status_registry;
use crate::ops::waits::Wait;
use crate::poll;
use crate::topic_partition::TopicPartition;

mod commit;
mod facts;
mod leave;
mod log;
mod partitions;
mod read;
mod refused;
mod unreadable;

use log::Log;
use partitions::list;

/// Pause of the loop when no message is to be read; an unpark ends it early.
const IDLE: Duration = Duration::from_millis(5);
/// How often watermarks are stored and figures published.
const STORE_EVERY: Duration = Duration::from_millis(100);
/// First guess of a message's size; then the largest of recent reads.
const FIRST_GUESS: u64 = 1024;

/// Progress of the assigned partitions, for `Owner` and the watcher.
pub type Assignment = Arc<Vec<Arc<Progress>>>;

/// State of the consumer thread; [`Reader::run`] is its main loop.
pub struct Reader {
    /// The telemetry consumer. Feeds, and messages in the hands of workers, have clones, `Owner` a weak reference; when the
    /// last clone is dropped the client closes and leaves the group.
    pub consumer: Arc<BaseConsumer<Events>>,
    /// Callbacks of the client and answers about logs; the client's context and the log-watch thread have the senders.
    pub events: std_mpsc::Receiver<Event>,
    /// Handles of the whole job; every worker gets a clone.
    pub shared: Shared,
    /// Formats of the input topics; a worker's decoder has a clone of its topic's.
    pub formats: Arc<Formats>,
    /// Questions to the log-watch thread. Dropped, that thread ends.
    pub logs: LogWatch,
    /// The gate's settings; every partition gets a clone.
    pub gate: Gate,
    /// Memory permits of the job; the share of every partition keeps them alive.
    pub permits: Arc<Permits>,
    /// Settings of memory, window and chunks.
    pub memory: Memory,
    /// Settings of the input topics, of drains and of the end.
    pub input: Input,
    /// The runtime on which the workers run; this thread is none of its own.
    pub runtime: tokio::runtime::Handle,
    /// Progress of the assigned partitions; `Owner` and `Watcher` have receivers. Dropped, the task of `Owner` ends.
    pub assignment: watch::Sender<Assignment>,
    /// `true` ends the thread after a drain; `once` has the sender, and the thread ends also when that is dropped.
    pub stop: watch::Receiver<bool>,
    /// The wait published while the user may not be a member of the group. Dropped, it ends on the board.
    pub no_rights: RefCell<Option<Wait>>,
    /// The wait published while more partitions are assigned than `memory.partitions` counts. Dropped, it ends on the board.
    pub too_many: RefCell<Option<Wait>>,
}

/// An assigned partition as the consumer thread sees it: its worker's channels, its positions, and the state of its log.
struct Assigned {
    /// Chunks to the worker, which has the receiver. This thread is the only sender.
    chunks: mpsc::Sender<Chunk>,
    /// Commands to the worker, which has the receiver. Dropped, the worker ends at once and its records are read again.
    command: watch::Sender<Command>,
    /// Watermark and window of the worker, committed offset of this thread; the worker, `Owner` and `Watcher` have clones.
    progress: Arc<Progress>,
    /// Gets one message when the worker's task has ended, however it ended.
    done: std_mpsc::Receiver<()>,
    /// The partition's share of the memory permits; the worker has a clone.
    permits: Arc<PartitionPermits>,
    /// Watermark last stored in the client; -1 before the first.
    stored: i64,
    /// Offset that the broker last confirmed as committed; -1 before the first time.
    committed: i64,
    /// When the broker last confirmed a commit, or was last asked for one that was late.
    confirmed_at: Instant,
    /// Offset of the first message read; `i64::MAX` before that.
    began: i64,
    /// Offset behind the newest message read; -1 before the first.
    read_to: i64,
    /// Offset up to which the client has fetched, by its statistics; -1 before the first time.
    passed: i64,
    /// Client position last sent to the worker as `Chunk::passed`; -1 before the first.
    passed_to: i64,
    /// The partition's position on the board, written by this thread alone; the worker's slot is the entry beside it.
    shown: status_registry::StatusWatch,
    /// Estimated size of a message, from recent reads: the reserve of the next read.
    message_bytes: u64,
    /// Which life of the log is read, and whether it may be read now.
    log: Log,
    /// The wait published while the user may not read the topic. Dropped, it ends on the board.
    forbidden: Option<Wait>,
    /// Set while the next batch cannot be read.
    standing: Option<unreadable::Standing>,
    /// Offsets from and to which a person let the partition skip, until a commit behind them is confirmed.
    skipped: Option<(i64, i64)>,
}

impl Assigned {
    /// Messages that would be re-delivered if this instance ended now.
    fn uncommitted(&self) -> u64 {
        self.unconfirmed(self.read_to)
    }

    /// Messages below `offset` that the broker has not confirmed as committed.
    fn unconfirmed(&self, offset: i64) -> u64 {
        u64::try_from(offset.saturating_sub(self.committed.max(self.began))).unwrap_or(0)
    }
}

/// What a drain leaves behind: watermarks without a confirmed commit, and log states.
#[derive(Default)]
struct Drained {
    /// Watermarks that were stored and that the broker has not confirmed as committed.
    owed: HashMap<TopicPartition, i64>,
    /// Log state of each partition, for a worker that takes over in the same assignment.
    logs: HashMap<TopicPartition, Log>,
}

impl Reader {
    /// Runs until `stop`; then drains the workers, stores and commits the watermarks, and leaves the group.
    pub fn run(self) {
        let mut feeds: HashMap<TopicPartition, PartitionQueue<Events>> = HashMap::new();
        let mut assigned: HashMap<TopicPartition, Assigned> = HashMap::new();
        let mut stored_at = Instant::now();
        // Whether a commit that this thread asked for is unanswered; the client's timer commits independently of it.
        let mut asked = false;
        let mut topics = log::Topics::new(Instant::now());
        // A dropped sender ends the loop too: `once` was cancelled or panicked.
        while !*self.stop.borrow() && self.stop.has_changed().is_ok() {
            self.shared.board.set_polled(Instant::now());
            self.serve(&mut feeds, &mut assigned, &mut asked, &mut topics);
            self.follow_logs(&mut assigned, &mut topics);
            let mut busy = false;
            for (key, partition) in &mut assigned {
                self.forget_skip(key, partition);
                if let Some(feed) = feeds.get(key) {
                    self.stand(key, feed, partition);
                    busy |= self.read(key, feed, partition);
                }
            }
            if stored_at.elapsed() >= STORE_EVERY {
                self.follow_positions(&mut assigned);
                self.store(&mut assigned);
                self.commit_early(&mut assigned, &mut asked);
                self.publish(&assigned);
                self.show(&mut assigned);
                stored_at = Instant::now();
            }
            if !busy {
                std::thread::park_timeout(IDLE);
            }
        }
        let everything: Vec<TopicPartition> = assigned.keys().cloned().collect();
        let bound = Duration::from_millis(self.input.shutdown_ms);
        let drained = self.drain(&everything, &mut assigned, true, bound);
        self.commit_last(drained.owed);
        feeds.clear();
        let _ = self.assignment.send(Assignment::default());
    }

    /// Serves the client's callbacks and handles the events that they sent.
    fn serve(
        &self,
        feeds: &mut HashMap<TopicPartition, PartitionQueue<Events>>,
        assigned: &mut HashMap<TopicPartition, Assigned>,
        asked: &mut bool,
        topics: &mut log::Topics,
    ) {
        poll::serve(&self.consumer, |other| match other {
            Err(error) => {
                let remedy = error
                    .rdkafka_error_code()
                    .and_then(super::metadata_probe::remedy);
                tracing::warn!(%error, remedy, "kafka consumer");
                self.note_rights(&error);
                log::doubt_if_lost(&error, assigned);
                self.end_if_fatal(assigned);
            }
            Ok(message) => {
                let key = TopicPartition::new(message.topic(), message.partition());
                self.split_again(&key, message.offset(), feeds, assigned);
            }
        });
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Assigned(keys) => self.assign(&keys, feeds, assigned),
                Event::Revoked(keys) => self.revoke(&keys, assigned),
                Event::Committed(offsets) => {
                    *asked = false;
                    self.no_rights.replace(None);
                    for (key, committed) in offsets {
                        if let Some(ours) = assigned.get_mut(&key)
                            && ours.log.confirms(&committed)
                        {
                            metrics::committed(committed.offset < ours.committed);
                            ours.committed = committed.offset;
                            ours.confirmed_at = Instant::now();
                            ours.progress.set_committed(committed.offset);
                        }
                    }
                }
                Event::NothingToCommit => *asked = false,
                Event::CommitFailed(error) => {
                    *asked = false;
                    metrics::commit_failed();
                    assigned
                        .values_mut()
                        .for_each(|partition| partition.log.commit_failed());
                    tracing::info!(%error, "a commit was rejected, which is normal during a rebalance");
                    self.note_rights(&error);
                }
                Event::Lag(partitions) => {
                    for (key, messages) in partitions {
                        metrics::lag(&key, messages);
                    }
                }
                Event::Membership { steady, states } => {
                    let now = Instant::now();
                    self.shared.board.set_membership(steady, states, now);
                }
                Event::Fetched(offsets) => {
                    for (key, offset) in offsets {
                        if let Some(ours) = assigned.get_mut(&key) {
                            ours.passed = ours.passed.max(offset);
                            ours.log.fetched(offset);
                        }
                    }
                }
                Event::Failed { error, reason } => {
                    tracing::warn!(%error, reason, "kafka consumer");
                    self.note_rights(&error);
                    log::doubt_if_lost(&error, assigned);
                    self.end_if_fatal(assigned);
                }
                Event::OffsetReset => assigned
                    .values_mut()
                    .for_each(|partition| partition.log.doubt(Instant::now())),
                Event::Log(answers) => self.answered(answers, assigned, topics),
            }
        }
    }

    fn fail(&self, error: anyhow::Error) {
        // Only the first reason matters; a full channel already holds one.
        let _ = self.shared.fatal.try_send(error);
    }

    fn assign(
        &self,
        keys: &[TopicPartition],
        feeds: &mut HashMap<TopicPartition, PartitionQueue<Events>>,
        assigned: &mut HashMap<TopicPartition, Assigned>,
    ) {
        metrics::rebalanced("assign");
        self.no_rights.replace(None);
        for key in keys {
            let Some(feed) = PartitionQueue::open(&self.consumer, key) else {
                self.fail(anyhow::anyhow!(
                    "cannot open the queue of partition {} of {}",
                    key.partition,
                    key.topic
                ));
                continue;
            };
            // Messages left over from an earlier assignment would put this assignment's first offset too far ahead (O1).
            let mut stale = feed.buffer();
            while feed.read(self.memory.chunk_messages, &mut stale) > 0 {
                stale.clear();
            }
            feeds.insert(key.clone(), feed);
            let log = Log::new(Instant::now());
            assigned.insert(key.clone(), self.open(key, log));
        }
        if let Err(error) = self
            .consumer
            .incremental_assign(&list(keys.iter().map(|key| (key, None))))
        {
            self.fail(
                anyhow::Error::from(error).context("cannot take the partitions the group gave us"),
            );
        }
        tracing::info!(
            partitions = keys.len(),
            all = assigned.len(),
            "partitions assigned"
        );
        self.shared.board.set_assigned(true);
        self.publish(assigned);
        self.count_partitions(assigned.len());
    }

    /// Starts the worker of a partition.
    fn open(&self, key: &TopicPartition, log: Log) -> Assigned {
        let topic = &key.topic;
        let (chunks, from) = mpsc::channel(worker::CHUNKS);
        let (command, commands) = watch::channel(Command::Run);
        let (done, ended) = std_mpsc::sync_channel(1);
        let progress = Progress::new(key.clone());
        let permits = self.permits.partition(self.memory.partition_bytes);
        // A held topic has no format and no mapping: its records are in the gateway's shape.
        let held = self.shared.topics.held(topic);
        let mut partition = Partition::new(topic, key.partition, self.gate.clone())
            .keeping(kept_bytes(self.memory.partition_bytes));
        partition.set_held_topic(&held);
        let live = Arc::clone(&self.shared.live.borrow());
        let worker = Worker::new(
            self.shared.clone(),
            partition,
            (live.intake(topic, &self.formats), live.decoder(&held)),
            from,
            commands,
            Arc::clone(&progress),
            Arc::clone(&permits),
        );
        let shown = worker.shown();
        let (fatal, what) = (
            self.shared.fatal.clone(),
            format!("{topic} {}", key.partition),
        );
        let task = self.runtime.spawn(worker.run());
        self.runtime.spawn(async move {
            if let Err(error) = task.await {
                let _ = fatal.try_send(anyhow::anyhow!(
                    "the worker of {what} broke an invariant: {error}"
                ));
            }
            let _ = done.try_send(());
        });
        Assigned {
            chunks,
            command,
            progress,
            done: ended,
            permits,
            stored: -1,
            committed: -1,
            confirmed_at: Instant::now(),
            began: i64::MAX,
            read_to: -1,
            passed: -1,
            passed_to: -1,
            shown,
            message_bytes: FIRST_GUESS,
            log,
            forbidden: None,
            standing: None,
            skipped: None,
        }
    }

    fn revoke(&self, keys: &[TopicPartition], assigned: &mut HashMap<TopicPartition, Assigned>) {
        let lost = self.consumer.assignment_lost();
        metrics::rebalanced(if lost { "lost" } else { "revoke" });
        tracing::info!(partitions = keys.len(), lost, "partitions revoked");
        if lost {
            self.shared.board.set_assigned(false);
            for key in keys {
                if let Some(partition) = assigned.remove(key) {
                    partition.command.send_replace(Command::Abandon);
                }
            }
        } else {
            self.drain(
                keys,
                assigned,
                false,
                Duration::from_millis(self.input.drain_ms),
            );
        }
        if let Err(error) = self
            .consumer
            .incremental_unassign(&list(keys.iter().map(|key| (key, None))))
        {
            self.fail(
                anyhow::Error::from(error)
                    .context("cannot give back the partitions the group took"),
            );
        }
        self.publish(assigned);
        self.count_partitions(assigned.len());
    }

    /// Drains the workers of these partitions until `bound`, and stores their watermarks.
    fn drain(
        &self,
        keys: &[TopicPartition],
        assigned: &mut HashMap<TopicPartition, Assigned>,
        flush: bool,
        bound: Duration,
    ) -> Drained {
        let deadline = Instant::now() + bound;
        for partition in keys.iter().filter_map(|key| assigned.get(key)) {
            partition
                .command
                .send_replace(Command::Drain { flush, deadline });
        }
        let mut offsets = Vec::new();
        let mut drained = Drained::default();
        for key in keys {
            let Some(mut partition) = assigned.remove(key) else {
                continue;
            };
            // Slightly longer than the worker's own deadline, so that a record settled at the last moment counts.
            let left =
                deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(250);
            if partition.done.recv_timeout(left).is_err() {
                tracing::warn!(
                    topic = key.topic,
                    partition = key.partition,
                    "a partition worker did not end in time; its unsettled messages are re-delivered"
                );
                partition.command.send_replace(Command::Abandon);
            }
            if let Some(watermark) = partition.progress.watermark_in(partition.log.life()) {
                offsets.push(partition.log.position(key, watermark));
                if watermark > partition.committed {
                    drained.owed.insert(key.clone(), watermark);
                }
            }
            drained.logs.insert(key.clone(), partition.log);
        }
        self.store_offsets(&offsets);
        drained
    }
}
