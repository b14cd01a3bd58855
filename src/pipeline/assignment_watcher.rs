//! The task that follows the assignment: the share of the cluster's rate limits, the feedback poller, and the check of
//! committed offsets.
//!
//! Owns one task. It never delays a rebalance, and its blocking calls run on blocking threads of the runtime.
//!
//! * The feedback is polled by the owner of partition 0 of the first topic alone; its cursor moves only after every item was
//!   confirmed by the broker.

use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::consumer::Events;
use super::producer::Producer;
use super::reader::Assignment;
use super::refusal::Refusal;
use super::sources::Sources;
use super::upload::Uploader;
use super::{Config, feedback, invalid, kafka, state};
use crate::dig::page::Invalid;
use crate::ops::attempts::Attempts;
use crate::ops::metrics::pipeline as metrics;
use crate::ops::status_registry::StatusRegistry;
use crate::ops::waits::Kind;

/// The feedback cursor's name in the state topic.
const CURSOR: &str = "invalid-records";
/// How often committed offsets are read back (sentinel), and partitions counted.
const LOOK: Duration = Duration::from_secs(30);
/// How long such a call may take.
const CALL: Duration = Duration::from_secs(10);
/// Pause before a cursor that could not be read is read again.
const AGAIN: Duration = Duration::from_secs(2);

/// What the task is started with.
pub struct Owner {
    /// The job's settings.
    pub config: Config,
    /// A clone of the workers' uploader: gets the share of the rate limits, and lends its session to the feedback.
    pub uploader: Uploader,
    /// A clone of the job's producer: writes invalid records and the feedback cursor.
    pub producer: Producer,
    /// The telemetry consumer, asked for commits and partition counts. Weak: the consumer thread alone decides when the client
    /// leaves the group.
    pub consumer: Weak<BaseConsumer<Events>>,
    /// Where uploaded records came from; the workers write it.
    pub sources: Arc<Sources>,
    /// Where a feedback that has ended is published.
    pub board: Arc<StatusRegistry>,
    /// Progress of the assigned partitions; the consumer thread has the sender, and its end ends this task.
    pub assignment: watch::Receiver<Assignment>,
}

impl Owner {
    /// Runs until `stop` or until the consumer thread ends.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut poller: Option<CancellationToken> = None;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                changed = self.assignment.changed() => if changed.is_err() { break },
                _ = look.tick() => self.look().await,
            }
            let owns = self.owns_first();
            match &poller {
                None if owns && self.config.feedback.enabled => {
                    poller = Some(self.start_feedback(&stop))
                }
                Some(running) if !owns => {
                    running.cancel();
                    poller = None;
                }
                _ => {}
            }
        }
        if let Some(running) = poller {
            running.cancel();
        }
    }

    fn owns_first(&self) -> bool {
        let all = self.assignment.borrow();
        let first = self.config.input.topics.first();
        all.iter().any(|progress| {
            progress.input.partition == 0
                && first.is_some_and(|topic| {
                    // Of a pattern's topics the first by name stands for all.
                    topic.starts_with('^')
                        && all
                            .first()
                            .is_some_and(|p| p.input.topic == progress.input.topic)
                        || *topic == progress.input.topic
                })
        })
    }

    /// Compares committed offsets with the watermarks, and sets the share of the rate limits by the partition count. A broker
    /// that does not answer changes nothing.
    async fn look(&self) {
        let mine: Assignment = Arc::clone(&self.assignment.borrow());
        if mine.is_empty() {
            return;
        }
        let Some(consumer) = self.consumer.upgrade() else {
            return;
        };
        let asked = tokio::task::spawn_blocking(move || -> anyhow::Result<u32> {
            let committed = consumer.committed(CALL).context("committed offsets")?;
            for element in committed.elements() {
                let progress = mine.iter().find(|p| {
                    p.input.topic == element.topic() && p.input.partition == element.partition()
                });
                if let (Some(progress), Offset::Offset(offset)) = (progress, element.offset())
                    && let Some(watermark) = progress.watermark()
                {
                    metrics::commit_gap(&progress.input, watermark - offset);
                }
            }
            let mut topics: Vec<&str> = mine.iter().map(|p| p.input.topic.as_str()).collect();
            topics.dedup();
            let mut total = 0;
            for topic in topics {
                let metadata = consumer
                    .fetch_metadata(Some(topic), CALL)
                    .context("metadata")?;
                total += metadata
                    .topics()
                    .iter()
                    .map(|t| t.partitions().len() as u32)
                    .sum::<u32>();
            }
            Ok(total)
        });
        match asked
            .await
            .map_err(anyhow::Error::from)
            .and_then(|result| result)
        {
            Ok(total) => {
                let assigned = self.assignment.borrow().len() as u32;
                self.uploader.set_share(assigned, total.max(assigned));
            }
            Err(error) => tracing::info!(
                error = format!("{error:#}"),
                "a metadata request was not sent"
            ),
        }
    }

    fn start_feedback(&self, stop: &CancellationToken) -> CancellationToken {
        let stop = stop.child_token();
        let (kafka, topics) = (self.config.kafka.clone(), self.config.topics.clone());
        let attempts = Arc::new(Attempts::new(
            &self.board,
            Kind::Feedback,
            "invalid records",
            format!(
                "check the broker, and that {} and {} exist and may be read and written by this user; it goes on by itself, and no record \
                 waits for it",
                topics.invalid, topics.state
            ),
        ));
        let load = {
            let (topic, attempts) = (topics.state.clone(), Arc::clone(&attempts));
            move || async move { cursor(&kafka, &topic, &attempts).await }
        };
        let (producer, sources) = (self.producer.clone(), Arc::clone(&self.sources));
        let sink = move |items: Arc<[Invalid]>, key: Option<i64>| {
            let (producer, topics, sources) =
                (producer.clone(), topics.clone(), Arc::clone(&sources));
            let attempts = Arc::clone(&attempts);
            async move {
                let written = async {
                    for item in items.iter() {
                        write_invalid(&producer, &topics.invalid, item, &sources).await?;
                    }
                    if let Some(key) = key {
                        let key = key.to_string();
                        state::store(&producer, &topics.state, CURSOR, key.as_bytes()).await?;
                    }
                    anyhow::Ok(())
                };
                let written = written.await;
                let failure = written.as_ref().err();
                attempts.note(failure.map(|error| {
                    format!("what the gateway rejected later cannot be written: {error:#}")
                }));
                written
            }
        };
        let run = feedback::run(
            self.uploader.gateway().clone(),
            self.config.feedback.clone(),
            load,
            sink,
            stop.clone(),
        );
        let (board, ended, state) = (
            Arc::clone(&self.board),
            stop.clone(),
            self.config.topics.state.clone(),
        );
        tokio::spawn(async move {
            if let Err(error) = run.await {
                let wait = board.wait(
                    Kind::Feedback,
                    "invalid records",
                    format!("the feedback has ended: {error:#}"),
                    format!(
                        "check {state} and its key {CURSOR} (a message of that key without a value makes the feedback begin anew), \
                         then start the owner of partition 0 again; no record waits for it"
                    ),
                );
                ended.cancelled().await;
                wait.abandon();
            }
        });
        stop
    }
}

/// The feedback's cursor. While the state topic cannot be read, that is published, and it is read again.
///
/// # Errors
/// What is kept is no cursor.
async fn cursor(
    kafka: &kafka::Config,
    topic: &str,
    attempts: &Attempts,
) -> anyhow::Result<Option<i64>> {
    loop {
        let (kafka, name) = (kafka.clone(), topic.to_owned());
        let read = tokio::task::spawn_blocking(move || state::load(&kafka, &name, CURSOR));
        match read.await.context("reading the cursor failed")? {
            Ok(value) => {
                attempts.note(None);
                let text = value.map(|value| String::from_utf8_lossy(&value).into_owned());
                let number = text.map(|text| text.parse().context("the kept cursor is no number"));
                return number.transpose();
            }
            Err(error) => {
                attempts.note(Some(format!(
                    "the feedback's cursor cannot be read: {error:#}"
                )));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Writes one item to the topic of invalid records, shortened further after each refusal as too large.
///
/// # Errors
/// The topic takes no item at the moment, or not even the shortest form.
async fn write_invalid(
    producer: &Producer,
    topic: &str,
    item: &Invalid,
    sources: &Sources,
) -> anyhow::Result<()> {
    let source = sources.find(item);
    let mut refusals = 0;
    loop {
        let room = producer.limits().room(topic, refusals);
        let (key, value) = invalid::message(item, source.as_ref(), room);
        match producer.write(topic, &key, &value).await {
            Ok(()) => return Ok(()),
            Err(error) if error.refusal == Refusal::TooLarge && room > 0 => refusals += 1,
            Err(error) => return Err(error.into()),
        }
    }
}
