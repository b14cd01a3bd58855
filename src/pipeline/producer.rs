//! The producer of letters, invalid records and cursors: the one Kafka producer of the job.
//!
//! Owns the connection, and one for deleting. "Written" means confirmed by every replica, never queued.
//!
//! * Letters of one destination partition keep the order they were handed over in (idempotent producer).
//! * Nothing is given up: the client retries for ever; a letter the broker refuses comes back to the caller.
//!
//! Capacity: librdkafka's own queue; when it is full [`Producer::enqueue`] says so and the caller keeps the letter.
//! Dropping the producer drops what is not confirmed; its records are unsettled and will be read again.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::kafka;
use super::letter::{self, Destination, Letter};
use super::settings::Topics;
use crate::log_life::TopicId;
use crate::log_life::broker::{Topic, topics};

/// How long the broker may take to delete records.
const DELETE: Duration = Duration::from_secs(20);

/// Turns the client's log lines into ours.
struct Quiet;

impl ClientContext for Quiet {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = false;

    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        // A producer has no offset to move.
        let _ = super::consumer::log_client(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka producer");
    }
}

/// See the module's documentation.
#[derive(Clone)]
pub struct Producer {
    inner: FutureProducer<Quiet>,
    topics: Topics,
    /// Made when something is deleted for the first time.
    admin: Arc<OnceLock<AdminClient<DefaultClientContext>>>,
    client: ClientConfig,
}

/// Why records were not deleted.
#[derive(Debug)]
pub enum Kept {
    /// The broker does not do it, or not for us.
    ForGood(RDKafkaErrorCode),
    ForNow(anyhow::Error),
}

/// What became of an enqueued letter.
pub type Delivery = DeliveryFuture;

impl Producer {
    /// Opens the producer.
    ///
    /// # Errors
    /// Settings that librdkafka refuses.
    pub fn new(kafka: &kafka::Config, topics: &Topics) -> anyhow::Result<Self> {
        let inner = kafka
            .producer()?
            .create_with_context(Quiet)
            .context("cannot open the producer of letters")?;
        Ok(Self {
            inner,
            topics: topics.clone(),
            admin: Arc::default(),
            client: kafka.plain()?,
        })
    }

    /// Hands a letter over; the future resolves when the broker has confirmed or refused it. `None`: the queue is full, try later.
    pub fn enqueue(&self, letter: &Letter) -> Option<Delivery> {
        let held;
        let (topic, partition) = match letter.destination {
            Destination::DeadLetter => (self.topics.dead_letter.as_str(), None),
            Destination::Held => {
                held = format!("{}{}", letter.source.topic, self.topics.held_suffix);
                (held.as_str(), Some(letter.source.partition))
            }
        };
        let mut headers = OwnedHeaders::new();
        for (name, value) in letter::headers(&letter.reason, &letter.source) {
            headers = headers.insert(Header {
                key: name,
                value: Some(value.as_bytes()),
            });
        }
        let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic)
            .payload(letter.value.as_slice())
            .headers(headers);
        record.key = letter.key.as_deref();
        record.partition = partition;
        match self.inner.send_result(record) {
            Ok(delivery) => Some(delivery),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => None,
            Err((error, _)) => {
                tracing::error!(%error, topic, "a letter cannot be handed to the producer; it will be tried again");
                None
            }
        }
    }

    /// Writes one message and waits until the broker has it; retried for ever by the client.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn write(&self, topic: &str, key: &[u8], value: &[u8]) -> anyhow::Result<()> {
        let record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).payload(value).key(key);
        self.inner
            .send(record, Duration::from_secs(30))
            .await
            .map(|_| ())
            .map_err(|(error, _)| {
                anyhow::Error::from(error).context(format!("cannot write to {topic}"))
            })
    }

    /// Makes a name of a compacted topic forgotten, and waits until the broker has it.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn erase(&self, topic: &str, key: &[u8]) -> anyhow::Result<()> {
        let record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).key(key);
        self.inner
            .send(record, Duration::from_secs(30))
            .await
            .map(|_| ())
            .map_err(|(error, _)| {
                anyhow::Error::from(error).context(format!("cannot write to {topic}"))
            })
    }

    /// Deletes what lies below an offset, and waits until the broker has done it. `topic_id` names the topic the offset is of: in one
    /// that was created anew under the name the offset would be one of other records (E1).
    ///
    /// # Errors
    /// The broker's refusal, and whether it may change its mind.
    pub async fn delete_below(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        topic_id: Option<&TopicId>,
    ) -> Result<(), Kept> {
        let act = "cannot delete released records";
        let later = |error: KafkaError| Kept::ForNow(anyhow::Error::from(error).context(act));
        let admin = match self.admin.get() {
            Some(admin) => admin,
            None => {
                let made = self.client.create().map_err(later)?;
                self.admin.get_or_init(|| made)
            }
        };
        if let Some(expected) = topic_id {
            let (admin, name) = (Arc::clone(&self.admin), topic.to_owned());
            let asked = tokio::task::spawn_blocking(move || match admin.get() {
                Some(admin) => topics(admin.inner(), &[&name], DELETE),
                None => Ok(std::collections::HashMap::new()),
            });
            let asked = asked.await.map_err(anyhow::Error::from);
            let mut found = asked
                .and_then(|found| found)
                .map_err(|error| Kept::ForNow(error.context(act)))?;
            if found.remove(topic) != Some(Topic::There(Some(expected.clone()))) {
                return Err(Kept::ForNow(anyhow::anyhow!(
                    "{act}: the topic is not the one they were released from any more"
                )));
            }
        }
        let mut below = TopicPartitionList::new();
        below
            .add_partition_offset(topic, partition, Offset::Offset(offset))
            .map_err(later)?;
        let options = AdminOptions::new().operation_timeout(Some(DELETE));
        let done = admin.delete_records(&below, &options).await;
        let refused = match done {
            Ok(done) => done
                .elements()
                .into_iter()
                .find_map(|element| element.error().err()),
            Err(error) => Some(error),
        };
        match refused {
            None => Ok(()),
            Some(error) => match error.rdkafka_error_code() {
                Some(
                    code @ (RDKafkaErrorCode::UnsupportedFeature
                    | RDKafkaErrorCode::PolicyViolation
                    | RDKafkaErrorCode::TopicAuthorizationFailed),
                ) => Err(Kept::ForGood(code)),
                _ => Err(later(error)),
            },
        }
    }

    /// The error after which the client writes nothing any more, if there was one.
    #[must_use]
    pub fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.inner.client().fatal_error()
    }

    /// Waits until everything handed over is confirmed or the bound has passed. Blocks the calling thread.
    pub fn flush(&self, bound: Duration) {
        if let Err(error) = self.inner.flush(bound) {
            tracing::warn!(%error, "letters were not confirmed before the bound; their records will be read again");
        }
    }
}

/// How long a created topic keeps its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// As the broker does by itself.
    Usual,
    /// The newest of each key.
    Newest,
    /// Until somebody deletes them: when held records expire is ours to say.
    Everything,
}

/// Creates what is missing of `wanted` (name, partitions, how long it keeps); existing topics are left as they are.
///
/// # Errors
/// The broker refused, or cannot be reached within the bound.
pub async fn create_topics(
    kafka: &kafka::Config,
    topics: &Topics,
    wanted: &[(String, i32, Keep)],
) -> anyhow::Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let admin: AdminClient<DefaultClientContext> = kafka
        .plain()?
        .create()
        .context("cannot open the admin client")?;
    let new: Vec<NewTopic<'_>> = wanted
        .iter()
        .map(|(name, partitions, keep)| {
            let topic = NewTopic::new(
                name,
                *partitions,
                TopicReplication::Fixed(topics.replication),
            );
            match keep {
                Keep::Usual => topic,
                Keep::Newest => topic.set("cleanup.policy", "compact"),
                Keep::Everything => topic
                    .set("cleanup.policy", "delete")
                    .set("retention.ms", "-1")
                    .set("retention.bytes", "-1"),
            }
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
    for result in admin
        .create_topics(&new, &options)
        .await
        .context("cannot create topics")?
    {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => anyhow::bail!(
                "cannot create topic {name}: {code}; create it by hand or set topics.create = false"
            ),
        }
    }
    Ok(())
}
