//! The consumer thread: events in, chunks out, watermarks stored.
//!
//! Owns the Kafka consumer, the feeds, and for every assigned partition the way to its worker. An OS thread of its own, because
//! a rebalance waits for workers and must not hold up the runtime they run on.
//!
//! * O1: it stores what a worker published as its watermark, nothing else; the client's timer commits what is stored.
//! * E1: nothing is read of a partition before it was checked where its committed offset belongs (`log`); an offset is stored only
//!   in the life of the log it is an offset of.
//! * O3: offsets are stored only for partitions assigned at that moment, and not at all for a lost one.
//! * M1: no memory permit, no read. A refused read asks the worker to flush.
//! * At most `[memory] window_messages` of a partition are read beyond what the broker confirmed as committed: that much a crash
//!   may repeat.
//! * Backpressure is not reading a partition's queue, never pause and resume (which throws prefetched messages away).
//!
//! Queue to a worker: [`worker::CHUNKS`]. When the thread ends, drained partitions have their offsets stored and the client
//! commits them while it leaves the group; what was in hand is read again by the next owner.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::{mpsc, watch};

use super::consumer::{Event, Events};
use super::feed::Feed;
use super::gate::Gate;
use super::log_watch::LogWatch;
use super::partition::Partition;
use super::permits::{PartitionPermits, Permits};
use super::progress::Progress;
use super::queues::kept_bytes;
use super::settings::{Input, Memory};
use super::worker::{self, Chunk, Command, Shared, Worker};
use crate::log_life::broker::Key;
use crate::ops::board;
use crate::ops::metrics::pipeline as metrics;
use crate::ops::waits::Wait;
use crate::poll;
use crate::record::decode::Decoder;

mod commit;
mod facts;
mod leave;
mod log;
mod partitions;
mod read;
mod unreadable;

use log::Log;
use partitions::list;

/// Pause of the loop when nothing is to be read and nobody wakes it.
const IDLE: Duration = Duration::from_millis(5);
/// How often watermarks are stored and figures published.
const STORE_EVERY: Duration = Duration::from_millis(100);
/// First guess of a message's size; then the largest of recent reads.
const FIRST_GUESS: u64 = 1024;

/// The assigned partitions' progress, for status, health and feedback.
pub type Assignment = Arc<Vec<Arc<Progress>>>;

/// Makes the decoder of a topic.
pub type Decoders = Box<dyn Fn(&str) -> Decoder + Send>;

/// What the thread is made of.
pub struct Reader {
    pub consumer: Arc<BaseConsumer<Events>>,
    pub events: std_mpsc::Receiver<Event>,
    pub shared: Shared,
    /// Where questions about the life of logs go.
    pub logs: LogWatch,
    pub gate: Gate,
    pub decoders: Decoders,
    pub permits: Arc<Permits>,
    pub memory: Memory,
    pub input: Input,
    pub runtime: tokio::runtime::Handle,
    pub assignment: watch::Sender<Assignment>,
    /// Set to end the thread: `true` after SIGTERM.
    pub stop: watch::Receiver<bool>,
    /// What the board says of the number of partitions, while it is too many.
    pub too_many: RefCell<Option<Wait>>,
}

struct Assigned {
    chunks: mpsc::Sender<Chunk>,
    command: watch::Sender<Command>,
    progress: Arc<Progress>,
    done: std_mpsc::Receiver<()>,
    permits: Arc<PartitionPermits>,
    stored: i64,
    /// Up to where the broker confirmed; -1 before the first time.
    committed: i64,
    /// When the broker last confirmed a commit, or was last asked for one that was late.
    confirmed_at: Instant,
    /// Where reading began; `i64::MAX` before that.
    began: i64,
    /// Behind the newest message read.
    read_to: i64,
    /// Up to where the client fetched messages that are not for applications; -1 before the first time.
    passed: i64,
    /// Behind the newest of those that the worker was told of; -1 before the first.
    passed_to: i64,
    /// This partition's place on the board.
    shown: board::Feed,
    message_bytes: u64,
    /// What is known of the log.
    log: Log,
    /// Its next batch cannot be read.
    standing: Option<unreadable::Standing>,
    /// From and to where a person let it skip, until a commit behind that is confirmed.
    skipped: Option<(i64, i64)>,
}

impl Assigned {
    /// Messages that would be read again if this instance ended now.
    fn uncommitted(&self) -> u64 {
        self.unconfirmed(self.read_to)
    }

    /// Messages below `offset` that the broker has not confirmed as committed.
    fn unconfirmed(&self, offset: i64) -> u64 {
        u64::try_from(offset.saturating_sub(self.committed.max(self.began))).unwrap_or(0)
    }
}

/// What is left of partitions whose workers ended.
#[derive(Default)]
struct Drained {
    /// What was stored, and the broker has not confirmed yet.
    owed: HashMap<Key, i64>,
    logs: HashMap<Key, Log>,
}

impl Reader {
    /// Runs until told to stop; then drains, stores and leaves the group.
    pub fn run(self) {
        let mut feeds: HashMap<Key, Feed<Events>> = HashMap::new();
        let mut assigned: HashMap<Key, Assigned> = HashMap::new();
        let mut stored_at = Instant::now();
        // Whether a commit of ours is on its way; the client's timer commits beside it.
        let mut asked = false;
        let mut topics = log::Topics::new(Instant::now());
        // Also when whoever waits for this thread panicked.
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
        let everything: Vec<Key> = assigned.keys().cloned().collect();
        let bound = Duration::from_millis(self.input.shutdown_ms);
        let drained = self.drain(&everything, &mut assigned, true, bound);
        self.commit_last(drained.owed);
        feeds.clear();
        let _ = self.assignment.send(Assignment::default());
    }

    /// Serves the client's callbacks and acts on what they brought.
    fn serve(
        &self,
        feeds: &mut HashMap<Key, Feed<Events>>,
        assigned: &mut HashMap<Key, Assigned>,
        asked: &mut bool,
        topics: &mut log::Topics,
    ) {
        poll::serve(&self.consumer, |other| match other {
            Err(error) => {
                let remedy = error.rdkafka_error_code().and_then(super::asker::remedy);
                tracing::warn!(%error, remedy, "kafka consumer");
                log::doubt_if_lost(&error, assigned);
                self.end_if_fatal(assigned);
            }
            Ok(message) => {
                let key = (message.topic().to_owned(), message.partition());
                self.split_again(&key, message.offset(), feeds, assigned);
            }
        });
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Assigned(keys) => self.assign(&keys, feeds, assigned),
                Event::Revoked(keys) => self.revoke(&keys, assigned),
                Event::Committed(offsets) => {
                    *asked = false;
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
                    tracing::info!(%error, "a commit was refused; during a rebalance that is normal");
                }
                Event::Lag(partitions) => {
                    for (topic, partition, messages) in partitions {
                        metrics::lag(&topic, partition, messages);
                    }
                }
                Event::Membership { steady, states } => {
                    let now = Instant::now();
                    self.shared.board.set_membership(steady, states, now);
                }
                Event::Fetched(offsets) => {
                    for (topic, partition, offset) in offsets {
                        if let Some(ours) = assigned.get_mut(&(topic, partition)) {
                            ours.passed = ours.passed.max(offset);
                            ours.log.fetched(offset);
                        }
                    }
                }
                Event::Failed { error, reason } => {
                    tracing::warn!(%error, reason, "kafka consumer");
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
        keys: &[Key],
        feeds: &mut HashMap<Key, Feed<Events>>,
        assigned: &mut HashMap<Key, Assigned>,
    ) {
        metrics::rebalanced("assign");
        for key in keys {
            let (topic, number) = key;
            let Some(feed) = Feed::open(&self.consumer, topic, *number) else {
                self.fail(anyhow::anyhow!(
                    "cannot open the queue of partition {number} of {topic}"
                ));
                continue;
            };
            // Whatever a former assignment left behind would put this one's first offset too far ahead (O1).
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
    fn open(&self, key: &Key, log: Log) -> Assigned {
        let (topic, number) = key;
        let (chunks, from) = mpsc::channel(worker::CHUNKS);
        let (command, commands) = watch::channel(Command::Run);
        let (done, ended) = std_mpsc::sync_channel(1);
        let progress = Progress::new(topic, *number);
        let permits = self.permits.partition(self.memory.partition_bytes);
        // A held topic has no mapping: its records are in the gateway's shape.
        let held = format!("{topic}{}", self.shared.topics.held_suffix);
        let mut partition = Partition::new(topic, *number, self.gate.clone())
            .keeping(kept_bytes(self.memory.partition_bytes));
        partition.set_held_topic(&held);
        let worker = Worker::new(
            self.shared.clone(),
            partition,
            ((self.decoders)(topic), (self.decoders)(&held)),
            from,
            commands,
            Arc::clone(&progress),
            Arc::clone(&permits),
        );
        let shown = worker.shown();
        let (fatal, what) = (self.shared.fatal.clone(), format!("{topic} {number}"));
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
            standing: None,
            skipped: None,
        }
    }

    fn revoke(&self, keys: &[Key], assigned: &mut HashMap<Key, Assigned>) {
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

    /// Ends the workers of these partitions and stores how far they came.
    fn drain(
        &self,
        keys: &[Key],
        assigned: &mut HashMap<Key, Assigned>,
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
            // A little longer than the worker's own deadline, so that its last settling is counted.
            let left =
                deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(250);
            if partition.done.recv_timeout(left).is_err() {
                tracing::warn!(
                    topic = key.0,
                    partition = key.1,
                    "a worker did not end in time; what it had in hand is read again"
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
