//! The streaming path: Kafka to DIG.
//!
//! ```text
//! consumer thread ─2 chunks─► partition worker: decode ─► validate ─► gate ─► serial queues ─► dispatch ─► upload ─► DIG
//!        ▲                           │ reject, hold                                                          │ verdicts
//!        │                           ▼                                                                      ▼
//!        └── watermark ◄── offset tracker ◄── letter confirmed by the broker ◄── refused ◄──────────────────┘
//! ```
//!
//! [`run`] builds one job and ends at `stop` or at a fatal error; a consumer that was fenced, or that lost its group, is replaced ([`rejoin`], [`membership`]). Each
//! stage's own file says what it owns and which invariants it keeps.

pub mod assignment_watcher;
pub mod consumer;
pub mod dispatch;
pub mod fatal;
pub mod feed;
pub mod feedback;
pub mod fit;
pub mod gate;
pub mod group;
pub mod guard;
pub mod held_topic;
pub mod hold;
pub mod invalid;
pub mod isolation;
pub mod kafka;
pub mod letter;
pub mod limits;
pub mod live;
pub mod log_watch;
pub mod membership;
pub mod metadata_probe;
pub mod offsets;
pub mod outbox;
pub mod partition;
pub mod permits;
pub mod producer;
pub mod progress;
pub mod queues;
pub mod reader;
pub mod refusal;
pub mod rehearsal;
pub mod rejoin;
pub mod release;
pub mod replay;
pub mod request;
pub mod settings;
pub mod skip;
pub mod sources;
pub mod split;
pub mod start;
pub mod state;
pub mod topics;
pub mod unreadable;
pub mod upload;
pub mod watcher;
pub mod worker;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::Consumer as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::topics::{Keep, Wanted};

use crate::access;
use crate::formats::Formats;
use crate::ops::metrics::pipeline as metrics;
use crate::ops::status_registry::StatusRegistry;
use crate::ops::waits::Kind;
use crate::registry;

/// Settings of one job.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Kafka clients.
    pub kafka: kafka::Config,
    /// Input topics, drains and the end.
    pub input: settings::Input,
    /// Topics that the job writes.
    pub topics: settings::Topics,
    /// Gate.
    pub gate: gate::Config,
    /// Size and linger time of requests.
    pub batch: dispatch::Config,
    /// Memory permits, windows and chunks.
    pub memory: settings::Memory,
    /// Dead-letter share guard.
    pub guard: settings::Guard,
    /// Feedback of invalid records.
    pub feedback: feedback::Config,
}

/// Handles that the composition root gives to a job.
#[derive(Clone)]
pub struct Parts {
    /// Uploads records; the composition root has a clone and closes its session after the job.
    pub uploader: upload::Uploader,
    /// Newest snapshot of the device registry; its follower task has the sender.
    pub registry: registry::RegistryWatch,
    /// Mappings, rules and guard, which may be replaced while the job runs; the composition root has the sender.
    pub live: live::LiveWatch,
    /// Formats of the topics whose messages are not plain JSON.
    pub formats: Arc<Formats>,
    /// Whether the memory formula holds for an instance that owns so many partitions; else why not.
    pub formula: Arc<dyn Fn(u64) -> Result<(), String> + Send + Sync>,
    /// Where the job publishes figures and waits; read by the health pages.
    pub board: Arc<StatusRegistry>,
}

/// How long metadata may take at start.
const METADATA: Duration = Duration::from_secs(20);
/// How long the flush of the producer may take at the end.
const FLUSH: Duration = Duration::from_secs(2);
/// Pause before brokers that did not answer are asked again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// How a job ended after `stop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The workers are drained, their watermarks committed, and the group is left.
    InOrder,
    /// The consumer thread did not end in time: the group keeps the member until its session times out, and records in hand are
    /// re-delivered.
    LeftWithoutBroker,
}

/// Runs the job until `stop` is cancelled; then drains, stores offsets and leaves the group. A fenced consumer is replaced as
/// soon as no other member holds its name.
///
/// # Errors
/// What the job cannot go on without: settings the client refuses, a broken invariant, the dead-letter share guard, a fatal error of
/// a Kafka client, another process that has our `kafka.instance_id`.
pub async fn run(config: Config, parts: Parts, stop: CancellationToken) -> anyhow::Result<End> {
    loop {
        let board = Arc::clone(&parts.board);
        let attempt = stop.child_token();
        let result = Box::pin(once(&config, parts.clone(), &stop, &attempt)).await;
        attempt.cancel();
        board.set_assigned(false);
        let error = match result {
            Err(error) if !stop.is_cancelled() => error,
            ended => return ended,
        };
        let Some(reason) = error
            .downcast_ref::<fatal::Fatal>()
            .and_then(fatal::Fatal::replaces_consumer)
        else {
            return Err(error);
        };
        metrics::client_replaced(reason.name());
        if reason != fatal::Replaced::Fenced {
            tracing::warn!(error = format!("{error:#}"), "the consumer is re-created");
            continue;
        }
        let instance_id = &config.kafka.instance_id;
        let wait = board.wait(
            Kind::Client,
            format!("kafka.instance_id {instance_id}"),
            format!("{error:#}"),
            "wait: this instance joins again when the name is free; give every instance a kafka.instance_id of its own",
        );
        match rejoin::until_free(&config.kafka, &wait, &stop).await? {
            rejoin::Ended::Free => {
                tracing::info!(
                    instance_id,
                    "kafka.instance_id is free again: re-joining the group"
                );
            }
            rejoin::Ended::Stopped => return Ok(End::InOrder),
            rejoin::Ended::Held(rejoin::Holder { client_id, host }) => anyhow::bail!(
                "kafka.instance_id: another process holds {instance_id:?} in group {:?} (client {client_id} at {host}) and has \
                 fenced this one; give every instance a name of its own, and start again",
                config.kafka.group
            ),
        }
    }
}

/// Runs the job with one consumer, until that consumer ends.
async fn once(
    config: &Config,
    parts: Parts,
    stop: &CancellationToken,
    attempt: &CancellationToken,
) -> anyhow::Result<End> {
    let Parts {
        uploader,
        registry,
        live,
        formats,
        formula,
        board,
    } = parts;
    let config = config.clone();
    if config.topics.create {
        tokio::select! {
            made = prepare_topics(&config) => made?,
            () = stop.cancelled() => return Ok(End::InOrder),
        }
    }
    let producer = producer::Producer::new(&config.kafka)?;
    let written = [
        &config.topics.dead_letter,
        &config.topics.invalid,
        &config.topics.state,
    ];
    producer.learn(&written.map(String::as_str)).await;
    start::decide(&config, &producer, &board, stop).await?;
    if stop.is_cancelled() {
        return Ok(End::InOrder);
    }
    let (door, events) = consumer::Events::channel();
    let logs = log_watch::LogWatch::start(&config.kafka, door.answers())?;
    let mut client = config.kafka.consumer()?;
    // A pattern over input topics must not match the topics that the job itself writes.
    client.set("topic.blacklist", config.topics.written());
    let consumer = access::consumer(&client, door).context("cannot open the telemetry consumer")?;
    let consumer = Arc::new(consumer);
    let topics: Vec<&str> = config.input.topics.iter().map(String::as_str).collect();
    consumer
        .subscribe(&topics)
        .with_context(|| format!("cannot subscribe to {topics:?}"))?;

    let sources = Arc::new(sources::Sources::new(config.feedback.sources));
    let (fatal, mut failures) = mpsc::channel(1);
    let (assignment, assigned) = watch::channel(reader::Assignment::default());
    let (end, ended) = watch::channel(false);
    let runtime = tokio::runtime::Handle::current();
    let flusher = producer.clone();
    let guard = live.borrow().guard.clone();
    let guard = Arc::new(guard::Guard::new(guard, Instant::now()));
    let tuned = tokio::spawn(live::follow(
        live.clone(),
        Arc::clone(&guard),
        uploader.clone(),
    ));
    let (memory, input) = (config.memory.clone(), config.input.clone());
    let bound = Duration::from_millis(input.shutdown_ms);
    let followed = tokio::spawn(
        assignment_watcher::Owner {
            config: config.clone(),
            uploader: uploader.clone(),
            producer: producer.clone(),
            consumer: Arc::downgrade(&consumer),
            sources: Arc::clone(&sources),
            board: Arc::clone(&board),
            assignment: assigned,
        }
        .run(attempt.clone()),
    );
    let watched = watcher::Watcher {
        kafka: config.kafka.clone(),
        input: config.input.clone(),
        topics: config.topics.clone(),
        board: Arc::clone(&board),
        producer: producer.clone(),
        assignment: assignment.subscribe(),
        fatal: fatal.clone(),
    }
    .start()?;
    // Dropped with the thread, however it ends.
    let (alive, gone) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new()
        .name("consumer".to_owned())
        .spawn(move || {
            let _alive = alive;
            let me = std::thread::current();
            let permits = permits::Permits::new(memory.total_bytes, Some(me.clone()));
            let shared = worker::Shared {
                uploader: Arc::new(uploader),
                producer,
                registry,
                guard,
                live,
                board,
                asked: Arc::default(),
                sources,
                batch: config.batch,
                kafka: config.kafka.clone(),
                topics: config.topics.clone(),
                alarm: Duration::from_secs(config.topics.alarm_s),
                fatal,
                reader: me,
                formula,
            };
            reader::Reader {
                consumer,
                events,
                shared,
                formats,
                logs,
                gate: gate::Gate::new(config.gate),
                permits,
                memory,
                input,
                runtime,
                assignment,
                stop: ended,
                too_many: RefCell::new(None),
                no_rights: RefCell::new(None),
            }
            .run();
        })
        .context("cannot start the consumer thread")?;
    let reader = thread.thread().clone();
    let finished = tokio::task::spawn_blocking(move || thread.join());

    let failure = tokio::select! {
        () = stop.cancelled() => None,
        failure = failures.recv() => failure,
        _ = gone => None,
    };
    followed.abort();
    tuned.abort();
    drop(watched);
    let _ = end.send(true);
    reader.unpark();
    // The thread's own bounds add up to less; with the broker gone, a call of the client may block longer than that.
    let end = match tokio::time::timeout(bound + Duration::from_secs(5), finished).await {
        Ok(Ok(Ok(()))) => End::InOrder,
        Ok(Ok(Err(_)) | Err(_)) => anyhow::bail!("the consumer thread panicked"),
        Err(_) => End::LeftWithoutBroker,
    };
    // The client's own bound follows the time of day; ours follows the monotonic clock.
    let flush = tokio::task::spawn_blocking(move || flusher.flush(FLUSH));
    if !matches!(tokio::time::timeout(FLUSH * 2, flush).await, Ok(Ok(()))) {
        tracing::warn!("the flush of the letter producer failed");
    }
    match failure {
        // Its thread still runs: the error loses its type, so that no second consumer is started beside it.
        Some(error) if end == End::LeftWithoutBroker => Err(anyhow::anyhow!("{error:#}")),
        Some(error) => Err(error),
        None => Ok(end),
    }
}

/// Waits until a broker answers. Without an answer the reason is logged and the question repeated: a broker may be away, and a
/// password may be on its way.
///
/// # Errors
/// Settings that the client refuses.
pub async fn until_answered(kafka: &kafka::Config) -> anyhow::Result<metadata_probe::Cluster> {
    let asker = Arc::new(metadata_probe::Asker::open(&kafka.plain()?)?);
    loop {
        let asking = Arc::clone(&asker);
        match tokio::task::spawn_blocking(move || asking.cluster(METADATA))
            .await
            .context("asking for metadata failed")?
        {
            Ok(cluster) => return Ok(cluster),
            Err(metadata_probe::Trouble { what, remedy }) => {
                tracing::warn!(error = what, remedy, "no broker answers; retrying");
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }
}

/// Creates the topics that the job writes; each held topic with the partition count of its input topic.
async fn prepare_topics(config: &Config) -> anyhow::Result<()> {
    let there = until_answered(&config.kafka).await?.topics;
    let read = config.input.matcher()?;
    let topics = &config.topics;
    let inputs: Vec<(String, usize)> = there
        .into_iter()
        .filter(|(name, count)| *count > 0 && read(name) && topics.input_of(name).is_none())
        .collect();
    let names: Vec<&str> = inputs.iter().map(|(name, _)| &**name).collect();
    let sizes = topics::sizes(&config.kafka, &names, METADATA).await;
    let largest = sizes.values().copied().max();
    let mut wanted = vec![
        Wanted::new(&topics.dead_letter, -1, Keep::Usual).behind(largest),
        Wanted::new(&topics.invalid, -1, Keep::Usual).behind(largest),
        Wanted::new(&topics.state, 1, Keep::Newest).behind(largest),
    ];
    for (topic, count) in &inputs {
        let held = topics.held(topic);
        let count = i32::try_from(*count).unwrap_or(i32::MAX);
        let takes = sizes.get(topic).copied();
        wanted.push(Wanted::new(&held, count, Keep::Everything).behind(takes));
    }
    topics::create_once_answered(&config.kafka, topics, &wanted).await
}
