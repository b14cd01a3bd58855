//! A partition worker: the task that processes one assigned partition.
//!
//! Owns the [`Partition`], its decoder, its requests in flight and its letters in flight. Workers share only channels, permits
//! and snapshots.
//!
//! * O2, O3, S1, S2 hold through [`Partition`]; the watermark is published only after the settling act.
//! * S2 across restarts: a revoked worker starts no new request; requests in flight may finish until the drain's deadline.
//!
//! Queues: chunks from the consumer thread, capacity [`CHUNKS`]; letters in flight, at most [`LETTERS`] and [`letter_bytes`]
//! before the worker stops taking chunks. When the worker ends, records in hand are dropped unsettled and re-delivered to the
//! partition's next owner.

mod failing;
mod held;
mod intake;
mod letters;
mod requests;
mod schema;
mod waits;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::dispatch::{self, Due};
use super::feed::Messages;
use super::guard::Guard;
use super::hold::Released;
use super::kafka;
use super::live;
use super::outbox::Outbox;
use super::partition::{Account, Partition};
use super::permits::{PartitionPermits, Permit};
use super::producer::Producer;
use super::progress::Progress;
use super::queues::{Limits, PackedRequest, Watch};
use super::release::{Asked, HeldPartition};
use super::request::{Request, Verdicts};
use super::settings::Topics;
use super::sources::{OriginCache, Sources};
use super::upload::{RequestSlot, Uploader};
use crate::formats;
use crate::ops::metrics::held as held_metrics;
use crate::ops::metrics::pipeline as metrics;
use crate::ops::status::{Pause, Totals};
use crate::ops::status_registry::{self, StatusRegistry};
use crate::record::Decoded;
use crate::record::decode::Decoder;
use crate::registry;
use crate::topic_partition::TopicPartition;

/// Capacity of the channel from the consumer thread to a worker, in chunks.
pub const CHUNKS: usize = 2;
/// Unconfirmed letters at which a worker stops taking chunks.
pub const LETTERS: usize = 10_000;
/// Most bytes of unconfirmed letters of a partition: a flood of rejected messages must not fill the memory that permits bound
/// (M1).
const LETTER_BYTES: u64 = 1024 * 1024;
/// Bytes of unconfirmed letters at which a worker stops taking messages, if its partition may hold `partition_bytes`.
#[must_use]
pub fn letter_bytes(partition_bytes: u64) -> u64 {
    (partition_bytes / 8).clamp(64 * 1024, LETTER_BYTES)
}

/// Backoff before a letter that the broker refused is written again.
const LETTER_RETRY: Duration = Duration::from_millis(500);

/// Messages for a worker, with the memory permit for their bytes.
pub struct Chunk {
    /// Messages as librdkafka gave them, in the order of the partition; they keep the Kafka client alive.
    pub messages: Messages<super::consumer::Events>,
    /// Bytes of all payloads.
    pub payload_bytes: u64,
    /// Memory permit for these bytes; split off part by part for what is decoded. Dropped, the rest of it is returned.
    pub permit: Option<Permit>,
    /// Last offset of a range that could not be read and that a person asked to skip; settled with no record.
    pub skipped: Option<i64>,
    /// Number of the log's life that these messages belong to, and the offset at which that life begins.
    pub life: (u32, i64),
    /// Where the log ended when it was last checked.
    pub log_end: Option<i64>,
    /// Client position up to which nothing more is for applications (only control records lie between); the watermark may
    /// advance to it.
    pub passed: Option<i64>,
}

/// What the consumer thread commands a worker to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Run,
    /// Start no new request (with `flush`: send the queued records first) and end, at the deadline at the latest.
    Drain {
        flush: bool,
        deadline: Instant,
    },
    /// The partition is lost: end now.
    Abandon,
}

/// Handles that every worker of a job has.
#[derive(Clone)]
pub struct Shared {
    /// Uploads requests; shared with `Owner`, and all users apply one pacing.
    pub uploader: Arc<Uploader>,
    /// Writes letters, marks and deletions; a clone of the job's one Kafka producer, which `Owner` and `Watcher` use too.
    pub producer: Producer,
    /// Newest snapshot of the device registry; the registry's follower task has the sender.
    pub registry: registry::RegistryWatch,
    /// Mappings and rules, which may be replaced while the job runs; the composition root has the sender.
    pub live: live::LiveWatch,
    /// Counts dead-lettered messages of all workers; returns an error once their share is too large.
    pub guard: Arc<Guard>,
    /// Where the worker publishes figures and waits; read by the health pages.
    pub board: Arc<StatusRegistry>,
    /// Answers about held topics, shared by the workers of the job, so that one question to the broker serves all of them.
    pub asked: Arc<Asked>,
    /// Opens the memory of where uploaded records came from; `Owner` searches it for records that the gateway rejects later.
    pub sources: Arc<Sources>,
    /// Settings of a request: records, bytes, linger.
    pub batch: dispatch::Config,
    /// Settings of the Kafka clients that read the held topic and the state topic.
    pub kafka: kafka::Config,
    /// Names of the topics that the job writes, and their settings.
    pub topics: Topics,
    /// How long letters may stay unconfirmed before an alarm.
    pub alarm: Duration,
    /// Takes the error that ends the job; `once` has the receiver. It has one place: an error behind the first is dropped.
    pub fatal: mpsc::Sender<anyhow::Error>,
    /// The consumer thread; unparked when a chunk was taken, because there is room for the next.
    pub reader: std::thread::Thread,
    /// Whether the memory formula holds for an instance that owns so many partitions; else why not.
    pub formula: Arc<dyn Fn(u64) -> Result<(), String> + Send + Sync>,
}

type Finished = (Request, PackedRequest, Option<Verdicts>);

/// See the module's documentation.
pub struct Worker {
    /// Handles of the whole job; the consumer thread has the original and gives every worker a clone.
    shared: Shared,
    /// Offset tracker, serial queues, held index and isolation of this partition; no other task sees them. Dropped with records
    /// in hand, their offsets stay uncommitted and the next owner reads them again.
    partition: Partition,
    /// Decodes messages of the input topic; made by the consumer thread for this worker alone.
    decoder: formats::Intake,
    /// The schema that the next message of `intake` needs, while it is asked for. Dropped, the question is given up if no other
    /// partition waits for the schema.
    schema: schema::Schema,
    /// Output of both decoders, reused from part to part; its bytes go over to the serial queues with every part.
    decoded: Decoded,
    /// Records of each message of the part in hand, in the order of `Intake`'s messages.
    counts: Vec<u32>,
    /// Life of the log that the newest chunk belongs to, as the consumer thread counts it.
    life: u32,
    /// Chunks from the consumer thread, whose `Assigned` has the only sender. Dropped, the consumer thread's next chunk is
    /// discarded unread.
    chunks: mpsc::Receiver<Chunk>,
    /// The chunk that is not taken in to its end, with the permit for what is not decoded; no other chunk is received meanwhile
    /// (S1).
    intake: Option<intake::Intake>,
    /// The partition's share of the memory permits; the consumer thread reserves from it before a read, `Side` before a batch
    /// of held records. Every `Permit` keeps it alive.
    permits: Arc<PartitionPermits>,
    /// Offset of the newest message that the guard has counted as dead-lettered in this life of the log.
    last_dead: Option<i64>,
    /// What the consumer thread wants; its `Assigned` has the sender. A dropped sender ends the worker at once.
    command: watch::Receiver<Command>,
    /// Watermark and window, written here and read by the consumer thread; the watcher and `Owner` have clones by the
    /// assignment.
    progress: Arc<Progress>,
    /// The partition's entry on the board, written by this worker alone. Dropped, the partition disappears from the pages.
    slot: status_registry::PartitionStatus,
    /// Identities and offsets of the records of requests that came back. `Sources` has a weak reference: dropped, they are
    /// forgotten.
    memory: Arc<OriginCache>,
    /// Order sentinel and number of resent records as last given to the metrics, which add the difference.
    watched: (Watch, u64),
    /// Requests in flight, a task each, with the upload slot and the ticket. Dropped, the tasks are aborted and nothing of
    /// theirs is settled, although the gateway may have accepted it.
    requests: JoinSet<Finished>,
    /// Letters that wait to be handed to the producer, in their order (S1).
    outbox: Outbox,
    /// Letters that the producer has and the broker has not confirmed. Dropped, the producer may still write them; their
    /// records are read again.
    letters: letters::OnWay,
    /// Bytes of all letters in `outbox` and `letters`; no chunk is taken above the limit (M1).
    letter_bytes: u64,
    /// Backoff: no letter is handed over before this instant, because one was refused or its topic's limit is being asked for.
    letters_after: Option<Instant>,
    /// Since when letters wait and none was confirmed; set anew by every alarm. `None` while no letter waits.
    letter_waits_since: Option<Instant>,
    /// Whether the alarm for unconfirmed letters was raised and no letter was confirmed since.
    letters_blocked: bool,
    /// Why the broker refused a letter last, since one was confirmed.
    letters_refused: Option<String>,
    /// The wait published while letters are not confirmed. Dropped, it ends on the board.
    letters_wait: waits::LettersWait,
    /// Cancelled by a revoke or an error; every upload in `requests` has a clone and starts no attempt after that (O3).
    /// Dropping it cancels nothing.
    stop: CancellationToken,
    /// Whether records are sent without lingering: set by a drain, by short memory and by the consumer thread; cleared when
    /// none is ready.
    flush: bool,
    /// Accounts of live and of released records as last given to the metrics, which add the difference.
    published: (Account, Released),
    /// What concerns the held topic. Dropped, its reading and its rebuilding end.
    side: held::Side,
    /// What concerns devices that the gateway fails on.
    failing: failing::Failing,
}

impl Worker {
    pub fn new(
        shared: Shared,
        mut partition: Partition,
        (decoder, held_decoder): (formats::Intake, Decoder),
        chunks: mpsc::Receiver<Chunk>,
        command: watch::Receiver<Command>,
        progress: Arc<Progress>,
        permits: Arc<PartitionPermits>,
    ) -> Self {
        let place = HeldPartition {
            kafka: shared.kafka.clone(),
            held: TopicPartition::new(
                shared.topics.held(&progress.input.topic),
                progress.input.partition,
            ),
            state_topic: shared.topics.state.clone(),
            asked: Arc::clone(&shared.asked),
        };
        let registry = shared.registry.clone();
        let session = Duration::from_millis(shared.kafka.session_timeout_ms.into());
        let lows = held::LowWatermarks::new(session, shared.topics.trim_held);
        partition.set_pauses(shared.uploader.pauses());
        let gated = partition.gated();
        let side = held::Side::new(
            place,
            registry,
            held_decoder,
            Arc::clone(&permits),
            gated,
            lows,
        );
        let slot = shared.board.open(&progress.input, Instant::now());
        let memory = shared.sources.open(&progress.input);
        Self {
            shared,
            partition,
            decoder,
            schema: schema::Schema::default(),
            decoded: Decoded::default(),
            counts: Vec::new(),
            life: 0,
            chunks,
            intake: None,
            permits,
            last_dead: None,
            command,
            progress,
            slot,
            memory,
            watched: (Watch::default(), 0),
            requests: JoinSet::new(),
            outbox: Outbox::default(),
            letters: letters::OnWay::default(),
            letter_bytes: 0,
            letters_after: None,
            letter_waits_since: None,
            letters_blocked: false,
            letters_refused: None,
            letters_wait: None,
            stop: CancellationToken::new(),
            flush: false,
            published: <(Account, Released)>::default(),
            side,
            failing: failing::Failing::default(),
        }
    }

    /// The consumer thread's entry on the board, beside the worker's own.
    #[must_use]
    pub fn shown(&self) -> status_registry::StatusWatch {
        self.slot.feed()
    }

    /// Runs until the consumer thread drains or abandons the partition.
    pub async fn run(mut self) {
        let mut slot: Option<Pin<Box<dyn Future<Output = RequestSlot> + Send>>> = None;
        let mut open = true;
        let (topics, board) = (self.shared.topics.clone(), Arc::clone(&self.shared.board));
        self.side.begin(&self.progress.input, topics, board);
        loop {
            let command = *self.command.borrow_and_update();
            let revoked = matches!(command, Command::Drain { flush: false, .. });
            if let Err(error) = self.follow_held(command == Command::Run, revoked) {
                self.fail(error);
                break;
            }
            match command {
                Command::Run => {}
                Command::Drain { flush, deadline } => {
                    // Records of devices that fail alone are not waited for.
                    let queued = flush && self.partition.queued_well() > 0;
                    if !flush {
                        self.partition.revoke();
                        self.stop.cancel();
                    }
                    self.flush = true;
                    let idle = self.requests.is_empty()
                        && self.outbox.is_empty()
                        && self.letters.is_empty()
                        && (!flush || self.side.idle());
                    if (idle && !queued) || Instant::now() >= deadline {
                        break;
                    }
                }
                Command::Abandon => break,
            }
            let running = command == Command::Run;
            let limits = self.limits();
            let takes = running
                && !dispatch::sated(self.partition.queues(), limits)
                && self.side.ready
                && !self.partition.hold().crowded()
                && self.letters_fit();
            if !revoked
                && self.partition.withdraws()
                && self.letters_fit()
                && let Err(error) = self.withdraw()
            {
                self.fail(error);
                break;
            }
            if takes && let Err(error) = self.take_in() {
                self.fail(error);
                break;
            }
            self.hand_over_letters();

            let linger = Duration::from_millis(self.shared.batch.linger_ms);
            let due = if revoked || self.partition.withdraws() {
                Due::Never
            } else {
                dispatch::due(
                    self.partition.queues(),
                    limits,
                    linger,
                    self.flush,
                    Instant::now(),
                )
            };
            if due == Due::Now && slot.is_none() {
                let uploader = Arc::clone(&self.shared.uploader);
                slot = Some(Box::pin(async move { uploader.slot().await }));
            }
            let retry = if revoked || self.partition.withdraws() {
                None
            } else {
                self.seek_retry(Instant::now())
            };
            let wake = self.next_wake(due, command).into_iter().chain(retry).min();
            let sated = dispatch::sated(self.partition.queues(), limits);
            let accepting = takes && open && self.intake.is_none() && !sated && self.letters_fit();
            let waits = self.partition.hold().waits();

            tokio::select! {
                biased;
                changed = self.command.changed() => if changed.is_err() { break },
                Some(finished) = self.requests.join_next() => match finished {
                    Ok(finished) => self.finish(finished),
                    Err(error) => {
                        self.fail(anyhow::anyhow!("an upload task ended without an answer: {error}"));
                        break;
                    }
                },
                event = self.letters.next() => self.written(event),
                granted = async { slot.as_mut().expect("guarded").await }, if slot.is_some() => {
                    slot = None;
                    self.send(granted);
                }
                granted = self.failing.slot() => self.retry(granted),
                news = self.schema.changed(), if running => self.schema_news(news),
                act = self.side.next(running, waits) => if let Err(error) = self.held(act) {
                    self.fail(error);
                    break;
                },
                chunk = self.chunks.recv(), if accepting => match chunk {
                    Some(chunk) => {
                        self.shared.reader.unpark();
                        if let Err(error) = self.begin(chunk) {
                            self.fail(error);
                            break;
                        }
                    }
                    None => open = false,
                },
                () = self.progress.flush_asked(), if running => {
                    self.flush = true;
                    if let Err(error) = self.press() {
                        self.fail(error);
                        break;
                    }
                }
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => {}
            }
            self.publish();
        }
        // Requests still in flight are aborted: their verdicts can settle nothing any more (O3).
        self.requests.abort_all();
        self.forget_failing();
        self.publish();
    }

    fn limits(&self) -> Limits {
        Limits {
            records: self
                .shared
                .batch
                .max_records
                .min(self.shared.uploader.max_records() as usize),
            bytes: self
                .shared
                .batch
                .max_bytes
                .min(self.shared.uploader.max_bytes()),
        }
    }

    fn next_wake(&self, due: Due, command: Command) -> Option<Instant> {
        let linger = match due {
            Due::At(at) => Some(at),
            Due::Now | Due::Never => None,
        };
        let drain = match command {
            Command::Drain { deadline, .. } => Some(deadline),
            Command::Run | Command::Abandon => None,
        };
        let outbox = (!self.outbox.is_empty()).then(|| {
            self.letters_after
                .unwrap_or_else(|| Instant::now() + LETTER_RETRY)
        });
        // Letters may stay unconfirmed while no other event comes: the alarm has a wake-up of its own.
        let alarm = self.letters_looked_at();
        let schema = self.schema.looked_at();
        [linger, drain, outbox, alarm, schema]
            .into_iter()
            .flatten()
            .min()
    }

    fn fail(&mut self, error: anyhow::Error) {
        self.partition.revoke();
        self.stop.cancel();
        let error = error.context(format!(
            "partition {} of {}",
            self.progress.input.partition, self.progress.input.topic
        ));
        // Only the first reason matters; a full channel already holds one.
        let _ = self.shared.fatal.try_send(error);
    }

    fn publish(&mut self) {
        let account = self.partition.account();
        let now = Instant::now();
        self.slot.pause(self.pause(), now);
        self.show_letters(now);
        self.show_schema(now);
        let totals = Totals {
            read: account.read,
            accepted: account.accepted,
            dead_lettered: account.dead_lettered,
            held: account.held,
            discarded: account.discarded,
        };
        self.slot.post(totals, self.partition.watermark(), now);
        self.slot.answer(|name| self.held_of(name));
        if let Some(watermark) = self.partition.watermark() {
            self.progress
                .set_watermark(self.partition.life(), watermark);
        }
        self.progress.set_window(self.partition.window() as u64);
        metrics::account(&self.progress.input.topic, &self.published.0, &account);
        let released = self.partition.hold().released();
        held_metrics::released(&self.progress.input.topic, &self.published.1, &released);
        if released != self.published.1 {
            self.slot.released(now);
        }
        self.published = (account, released);
        let watched = (self.partition.queues().watch(), self.partition.resent());
        metrics::watched(&self.watched, &watched);
        self.watched = watched;
    }

    fn pause(&self) -> Pause {
        if self.stop.is_cancelled() {
            Pause::Draining
        } else if !self.side.ready {
            Pause::Held
        } else if self.letters_blocked {
            Pause::DeadLetter
        } else if self.schema.waits() {
            Pause::Schema
        } else if self.only_failing() {
            Pause::Gateway
        } else if self.shared.uploader.flowing() {
            Pause::None
        } else {
            self.shared.uploader.pause()
        }
    }
}
