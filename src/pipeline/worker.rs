//! A partition worker: the task that drives one partition's world.
//!
//! Owns the [`Partition`], its decoder, its requests in flight and its letters on their way. Workers share nothing but channels,
//! permits and snapshots.
//!
//! * O2, O3, S1, S2 hold through [`Partition`]; the watermark is published only after the settling act.
//! * S2 across restarts: a revoked worker starts nothing new; what is in flight may finish until the drain's deadline.
//!
//! Queues: chunks from the consumer thread, capacity [`CHUNKS`]; letters on their way, at most [`LETTERS`] and [`letter_bytes`] before it stops taking
//! chunks. When the worker ends, whatever is in hand is dropped unsettled and read again by the partition's next owner.

mod failing;
mod held;
mod intake;
mod letters;
mod requests;
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
use super::outbox::Outbox;
use super::partition::{Account, Partition};
use super::permits::{PartitionPermits, Permit};
use super::producer::Producer;
use super::progress::Progress;
use super::queues::{Limits, Ticket, Watch};
use super::release::{Asked, Place};
use super::request::{Request, Verdicts};
use super::settings::Topics;
use super::sources::{Memory, Sources};
use super::upload::{Slot, Uploader};
use crate::ops::board::{self, Board};
use crate::ops::metrics::held as held_metrics;
use crate::ops::metrics::pipeline as metrics;
use crate::ops::status::{Pause, Totals};
use crate::record::Decoded;
use crate::record::decode::Decoder;
use crate::registry;

/// Chunks waiting for a worker.
pub const CHUNKS: usize = 2;
/// Letters on their way before a worker stops taking chunks.
pub const LETTERS: usize = 10_000;
/// Their bytes, likewise: a flood of rejected messages must not fill the memory that permits bound (M1).
const LETTER_BYTES: u64 = 1024 * 1024;
/// Bytes of letters on their way before a worker whose partition may hold `partition_bytes` stops taking messages.
#[must_use]
pub fn letter_bytes(partition_bytes: u64) -> u64 {
    (partition_bytes / 8).clamp(64 * 1024, LETTER_BYTES)
}

/// Pause before a letter that the broker refused is tried again.
const LETTER_RETRY: Duration = Duration::from_millis(500);

/// Messages on their way to a worker, with the permit for their bytes.
pub struct Chunk {
    pub messages: Messages<super::consumer::Events>,
    /// Bytes of all payloads.
    pub payload_bytes: u64,
    /// Goes over to what is decoded, part by part.
    pub permit: Option<Permit>,
    /// Up to this offset, and this one too, nothing could be read, and a person asked to skip it.
    pub skipped: Option<i64>,
    /// The life of the log these messages belong to, and where it begins.
    pub life: (u32, i64),
    /// Where the log ended when it was last checked.
    pub log_end: Option<i64>,
    /// Up to here nothing more is for applications.
    pub passed: Option<i64>,
}

/// What the consumer thread wants of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Run,
    /// Start nothing new (with `flush`: finish what is queued as well) and end, at the deadline at the latest.
    Drain {
        flush: bool,
        deadline: Instant,
    },
    /// The partition is lost: end now.
    Abandon,
}

/// What every worker of a job is handed.
#[derive(Clone)]
pub struct Shared {
    pub uploader: Arc<Uploader>,
    pub producer: Producer,
    pub registry: registry::Feed,
    pub guard: Arc<Guard>,
    pub board: Arc<Board>,
    /// What was asked of held topics, for all partitions.
    pub asked: Arc<Asked>,
    pub sources: Arc<Sources>,
    pub batch: dispatch::Config,
    pub kafka: kafka::Config,
    pub topics: Topics,
    /// Seconds a letter may wait before an alarm.
    pub alarm: Duration,
    /// Takes the reason why the whole job must stop.
    pub fatal: mpsc::Sender<anyhow::Error>,
    /// Wakes the consumer thread.
    pub reader: std::thread::Thread,
    /// Whether the memory formula holds for an instance that owns so many partitions; else why not.
    pub formula: Arc<dyn Fn(u64) -> Result<(), String> + Send + Sync>,
}

type Finished = (Request, Ticket, Option<Verdicts>);

/// See the module's documentation.
pub struct Worker {
    shared: Shared,
    partition: Partition,
    decoder: Decoder,
    decoded: Decoded,
    /// Records of each message of the part in hand.
    counts: Vec<u32>,
    /// The life of the log that is being read.
    life: u32,
    chunks: mpsc::Receiver<Chunk>,
    /// The chunk that is not taken in to its end.
    intake: Option<intake::Intake>,
    permits: Arc<PartitionPermits>,
    /// Offset of the newest message the guard has counted as dead-lettered.
    last_dead: Option<i64>,
    command: watch::Receiver<Command>,
    progress: Arc<Progress>,
    slot: board::Slot,
    memory: Arc<Memory>,
    watched: (Watch, u64),
    requests: JoinSet<Finished>,
    outbox: Outbox,
    letters: letters::OnWay,
    letter_bytes: u64,
    /// No letter is handed over before: one was refused.
    letters_after: Option<Instant>,
    letter_waits_since: Option<Instant>,
    letters_blocked: bool,
    /// Published while letters wait for the broker.
    letters_wait: waits::LettersWait,
    stop: CancellationToken,
    flush: bool,
    published: (Account, Released),
    side: held::Side,
    failing: failing::Failing,
}

impl Worker {
    pub fn new(
        shared: Shared,
        mut partition: Partition,
        (decoder, held_decoder): (Decoder, Decoder),
        chunks: mpsc::Receiver<Chunk>,
        command: watch::Receiver<Command>,
        progress: Arc<Progress>,
        permits: Arc<PartitionPermits>,
    ) -> Self {
        let place = Place {
            kafka: shared.kafka.clone(),
            held_topic: format!("{}{}", progress.topic, shared.topics.held_suffix),
            state_topic: shared.topics.state.clone(),
            partition: progress.partition,
            asked: Arc::clone(&shared.asked),
        };
        let registry = shared.registry.clone();
        let session = Duration::from_millis(shared.kafka.session_timeout_ms.into());
        let lows = held::Lows::new(session, shared.topics.trim_held);
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
        let slot = shared
            .board
            .open(&progress.topic, progress.partition, Instant::now());
        let memory = shared.sources.open(&progress.topic, progress.partition);
        Self {
            shared,
            partition,
            decoder,
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
            letters_wait: None,
            stop: CancellationToken::new(),
            flush: false,
            published: <(Account, Released)>::default(),
            side,
            failing: failing::Failing::default(),
        }
    }

    /// The consumer thread's place on the board, beside the worker's own.
    #[must_use]
    pub fn shown(&self) -> board::Feed {
        self.slot.feed()
    }

    /// Runs until the consumer thread drains or abandons the partition.
    pub async fn run(mut self) {
        let mut slot: Option<Pin<Box<dyn Future<Output = Slot> + Send>>> = None;
        let mut open = true;
        let (topics, board) = (self.shared.topics.clone(), Arc::clone(&self.shared.board));
        self.side.begin(&self.progress.topic, topics, board);
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
                    // What fails on its own would be waited for in vain.
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
        // Requests still in flight are abandoned: no verdict of theirs can settle anything any more (O3).
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
        // Letters on their way may stay unconfirmed with nothing else happening: the alarm must not wait for that.
        let alarm = self.letters_looked_at();
        [linger, drain, outbox, alarm].into_iter().flatten().min()
    }

    fn fail(&mut self, error: anyhow::Error) {
        self.partition.revoke();
        self.stop.cancel();
        let error = error.context(format!(
            "partition {} of {}",
            self.progress.partition, self.progress.topic
        ));
        // Only the first reason matters; a full channel already holds one.
        let _ = self.shared.fatal.try_send(error);
    }

    fn publish(&mut self) {
        let account = self.partition.account();
        let now = Instant::now();
        self.slot.pause(self.pause(), now);
        self.show_letters(now);
        let totals = Totals {
            read: account.read,
            accepted: account.accepted,
            dead_lettered: account.dead_lettered,
            held: account.held,
            discarded: account.discarded,
        };
        self.slot.post(totals, self.partition.watermark(), now);
        if let Some(watermark) = self.partition.watermark() {
            self.progress
                .set_watermark(self.partition.life(), watermark);
        }
        self.progress.set_window(self.partition.window() as u64);
        metrics::account(&self.progress.topic, &self.published.0, &account);
        let released = self.partition.hold().released();
        held_metrics::released(&self.progress.topic, &self.published.1, &released);
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
        } else if self.only_failing() {
            Pause::Gateway
        } else if self.shared.uploader.flowing() {
            Pause::None
        } else {
            self.shared.uploader.pause()
        }
    }
}
