//! The producer of letters, invalid records and cursors: the one Kafka producer of the job.
//!
//! Owns the Kafka client, the size limits of the topics it writes, and one admin client (limits, deletions). "Written" means
//! confirmed by every in-sync replica, never just queued.
//!
//! * Letters to one partition keep the order in which they were handed over (idempotent producer) as long as none is refused;
//!   [`super::outbox`] keeps it then.
//! * Nothing is given up: the client retries without end; a letter that the broker refuses is returned to the caller with the
//!   meaning of the refusal ([`super::refusal`]).
//! * The client is replaced after a fatal error, which is permanent for an idempotent producer, and when a topic takes smaller
//!   batches than it makes. Callers tell clients apart by their generation.
//!
//! Capacity: librdkafka's own queue; when it is full, [`Producer::enqueue`] says so and the caller keeps the letter. Dropping
//! the producer drops unconfirmed letters; their records are unsettled and are read again.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::fit::Form;
use super::kafka;
use super::limits::Limits;
use super::refusal::{self, Refusal};
use super::topics::describe;
use crate::access;
use crate::log_life::TopicId;
use crate::log_life::broker::{Topic, topics};
use crate::rights::{self, Operation, Resource};
use crate::topic_partition::TopicPartition;

/// How long the broker may take to delete records.
const DELETE: Duration = Duration::from_secs(20);
/// How long the broker may take to say what a topic takes.
const DESCRIBE: Duration = Duration::from_secs(5);
/// How long one message may wait for room in the client's queue.
const ROOM: Duration = Duration::from_secs(30);

/// Writes the client's log lines to ours.
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

type Client = FutureProducer<Quiet>;

/// The client in use, and its properties.
struct TopicLine {
    /// The Kafka client; clones share it. Dropped, the messages that are not confirmed come back to their callers as refused.
    client: Client,
    /// Number of the client, by which callers tell it from its successor.
    generation: u64,
    /// Largest batch that the client makes.
    batch: usize,
}

/// See the module's documentation. Cheap to clone; all clones share one client.
#[derive(Clone)]
pub struct Producer {
    /// Shared by all clones: the workers', `Owner`'s, `Watcher`'s, and that of `once`, which flushes at the end.
    shared: Arc<Shared>,
}

/// State shared by all clones of the producer.
struct Shared {
    /// The client in use. A lock: the client is cloned out of it for every letter and replaced hardly ever; never held across
    /// an await.
    line: RwLock<TopicLine>,
    /// Clients that were replaced while they carried letters; they deliver what they have. Locked only to replace and to flush.
    replaced: Mutex<Vec<Client>>,
    /// Largest record and batch that each topic takes.
    limits: Limits,
    /// Held by `renew` across its awaits: after a refusal one caller at a time asks for limits and replaces the client.
    renewing: tokio::sync::Mutex<()>,
    /// Properties of the producing client.
    client: ClientConfig,
    /// Properties of the client for administration.
    plain: ClientConfig,
    /// The client for administration, created when it is needed for the first time.
    admin: OnceLock<AdminClient<DefaultClientContext>>,
}

/// Why records were not deleted.
#[derive(Debug)]
pub enum Kept {
    /// The broker cannot delete records, or does not permit it.
    ForGood(RDKafkaErrorCode),
    ForNow(anyhow::Error),
}

/// A write that was refused. A refusal that is not [`Refusal::retryable`] had no effect.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to {topic}: {error}{}", self.hint())]
pub struct WriteError {
    pub topic: String,
    pub refusal: Refusal,
    pub error: KafkaError,
}

impl WriteError {
    /// The right to grant, if one is missing.
    fn hint(&self) -> String {
        let code = self.error.rdkafka_error_code();
        if !code.is_some_and(rights::is_missing) {
            return String::new();
        }
        let topic = Resource::Topic(&self.topic);
        format!("; {}", rights::grant(Operation::Write, topic))
    }

    /// What a refused write means, if `error` is one; passing otherwise.
    #[must_use]
    pub fn refusal(error: &anyhow::Error) -> Refusal {
        error
            .downcast_ref::<Self>()
            .map_or(Refusal::Passing, |error| error.refusal)
    }
}

/// The delivery of a letter that was handed over; it resolves when the broker has confirmed or refused it.
pub struct Handed {
    pub delivery: DeliveryFuture,
    /// Generation of the client that carries the letter.
    pub generation: u64,
}

/// Why a letter was not handed over.
#[derive(Debug)]
pub enum Withheld {
    /// The client's queue is full.
    Full,
    Refused(KafkaError),
}

impl Producer {
    /// Opens the producer.
    ///
    /// # Errors
    /// Settings that librdkafka refuses.
    pub fn new(kafka: &kafka::Config) -> anyhow::Result<Self> {
        let client = kafka.producer()?;
        let told = |name: &str| client.get(name).and_then(|text| text.parse().ok());
        let limits = Limits::new(told("message.max.bytes").unwrap_or(usize::MAX));
        let line = open(&client, 0, &limits)?;
        Ok(Self {
            shared: Arc::new(Shared {
                line: RwLock::new(line),
                replaced: Mutex::default(),
                limits,
                renewing: tokio::sync::Mutex::default(),
                client,
                plain: kafka.plain()?,
                admin: OnceLock::new(),
            }),
        })
    }

    fn client(&self) -> (Client, u64) {
        let line = self.shared.line.read();
        let line = line.unwrap_or_else(PoisonError::into_inner);
        (line.client.clone(), line.generation)
    }

    /// Generation of the client that would carry a letter now.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.client().1
    }

    /// The size limits of the topics.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Hands a letter to the client's queue.
    ///
    /// # Errors
    /// The queue is full, or the client refused it.
    pub fn enqueue(
        &self,
        topic: &str,
        partition: Option<i32>,
        form: &Form<'_>,
    ) -> Result<Handed, Withheld> {
        let mut headers = OwnedHeaders::new();
        for (name, value) in &form.headers {
            headers = headers.insert(Header {
                key: name,
                value: Some(value.as_bytes()),
            });
        }
        let mut record: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(topic).payload(form.value).headers(headers);
        record.key = form.key.as_deref();
        record.partition = partition;
        let (client, generation) = self.client();
        match client.send_result(record) {
            Ok(delivery) => Ok(Handed {
                delivery,
                generation,
            }),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                Err(Withheld::Full)
            }
            Err((error, _)) => Err(Withheld::Refused(error)),
        }
    }

    /// Writes one message and waits for the broker's confirmation; the client retries without end.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn write(&self, topic: &str, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        let record = FutureRecord::to(topic).payload(value).key(key);
        self.send(topic, record).await
    }

    /// Writes a tombstone for a key of a compacted topic, and waits for the broker's confirmation.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn erase(&self, topic: &str, key: &[u8]) -> Result<(), WriteError> {
        self.send(topic, FutureRecord::to(topic).key(key)).await
    }

    async fn send(
        &self,
        topic: &str,
        record: FutureRecord<'_, [u8], [u8]>,
    ) -> Result<(), WriteError> {
        let (client, generation) = self.client();
        let Err((error, _)) = client.send(record, ROOM).await else {
            return Ok(());
        };
        let refusal = meaning(&error);
        self.renew(topic, refusal, generation).await;
        Err(WriteError {
            topic: topic.to_owned(),
            refusal,
            error,
        })
    }

    /// After a refusal by the client of that generation: asks for the topic's limit, and replaces the client if it is broken or
    /// makes batches that are too large. Never fails: a limit that cannot be asked for now is asked for after the next refusal.
    pub async fn renew(&self, topic: &str, refusal: Refusal, generation: u64) {
        let shared = &self.shared;
        let _one = shared.renewing.lock().await;
        if self.generation() != generation {
            return;
        }
        if refusal == Refusal::TooLarge {
            if !shared.limits.fresh(topic, Instant::now()) {
                self.learn(&[topic]).await;
            }
            shared.limits.refused(topic);
        }
        let batch = {
            let line = shared.line.read().unwrap_or_else(PoisonError::into_inner);
            line.batch
        };
        if refusal != Refusal::Client && batch <= shared.limits.batch() {
            return;
        }
        let line = match open(&shared.client, generation + 1, &shared.limits) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the letter producer cannot be re-created"
                );
                return;
            }
        };
        tracing::info!(
            batch = line.batch,
            ?refusal,
            "the letter producer was re-created"
        );
        let before = {
            let mut current = shared.line.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, line).client
        };
        if refusal == Refusal::Client {
            // Its unconfirmed letters come back as refused. Dropping it may wait for the network.
            let ended = tokio::task::spawn_blocking(move || drop(before));
            drop(ended);
            return;
        }
        let mut replaced = shared
            .replaced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        replaced.retain(|client| client.in_flight_count() > 0);
        replaced.push(before);
    }

    /// Asks for the limits of these topics. A limit that the broker does not give stays as it was.
    pub async fn learn(&self, topics: &[&str]) {
        let answer = match self.admin() {
            Ok(admin) => describe(admin, topics, DESCRIBE).await,
            Err(error) => Err(error),
        };
        let sizes = answer.unwrap_or_else(|error| {
            tracing::debug!(
                error = format!("{error:#}"),
                ?topics,
                "no answer about the largest record of topics"
            );
            Default::default()
        });
        let now = Instant::now();
        for topic in topics {
            self.shared
                .limits
                .note(topic, sizes.get(*topic).copied(), now);
        }
    }

    /// Gives the client newer Kafka credentials, if there are some; the client polls itself.
    pub fn upkeep(&self) {
        access::upkeep(self.client().0.client());
    }

    fn admin(&self) -> anyhow::Result<&AdminClient<DefaultClientContext>> {
        if let Some(admin) = self.shared.admin.get() {
            access::upkeep(admin.inner());
            return Ok(admin);
        }
        let made = access::admin(&self.shared.plain).context("cannot open the admin client")?;
        Ok(self.shared.admin.get_or_init(|| made))
    }

    /// Deletes the records below an offset, and waits until the broker has done it. `topic_id` names the topic to which the
    /// offset belongs: in a topic recreated under the same name the offset would be one of other records (E1).
    ///
    /// # Errors
    /// The broker's refusal, and whether it may change its mind.
    pub async fn delete_below(
        &self,
        from: &TopicPartition,
        offset: i64,
        topic_id: Option<&TopicId>,
    ) -> Result<(), Kept> {
        let act = "cannot delete released records";
        let later = |error: KafkaError| Kept::ForNow(anyhow::Error::from(error).context(act));
        let admin = self.admin().map_err(Kept::ForNow)?;
        if let Some(expected) = topic_id {
            let (producer, name) = (self.clone(), from.topic.clone());
            let asked = tokio::task::spawn_blocking(move || {
                topics(producer.admin()?.inner(), &[&name], DELETE)
            });
            let asked = asked.await.map_err(anyhow::Error::from);
            let mut found = asked
                .and_then(|found| found)
                .map_err(|error| Kept::ForNow(error.context(act)))?;
            if found.remove(&from.topic) != Some(Topic::There(Some(expected.clone()))) {
                return Err(Kept::ForNow(anyhow::anyhow!(
                    "{act}: the topic is not the one they were released from any more"
                )));
            }
        }
        let mut below = TopicPartitionList::new();
        below
            .add_partition_offset(&from.topic, from.partition, Offset::Offset(offset))
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

    /// The fatal error that another client would meet too, if there was one. A client that only lost its state is replaced with
    /// the next letter; that is no such error.
    #[must_use]
    pub fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        let (client, _) = self.client();
        let fatal = client.client().fatal_error();
        fatal.filter(|(code, _)| refusal::of(*code) != Refusal::Client)
    }

    /// Waits until every letter is confirmed or the bound has passed. Blocks the calling thread.
    pub fn flush(&self, bound: Duration) {
        let until = Instant::now() + bound;
        let replaced = std::mem::take(
            &mut *self
                .shared
                .replaced
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for client in [self.client().0].into_iter().chain(replaced) {
            if let Err(error) = client.flush(until.saturating_duration_since(Instant::now())) {
                tracing::warn!(%error, "letters were not acknowledged before the limit; their messages are re-delivered");
            }
        }
    }
}

fn open(client: &ClientConfig, generation: u64, limits: &Limits) -> anyhow::Result<TopicLine> {
    let mut client = client.clone();
    let batch = client
        .get("batch.size")
        .and_then(|text| text.parse().ok())
        .map_or(limits.batch(), |told: usize| told.min(limits.batch()));
    client.set("batch.size", batch.to_string());
    let producer: Client = client
        .create_with_context(Quiet)
        .context("cannot open the producer of letters")?;
    access::prime(producer.client());
    Ok(TopicLine {
        client: producer,
        generation,
        batch,
    })
}

/// The meaning of a refused write.
#[must_use]
pub fn meaning(error: &KafkaError) -> Refusal {
    match error {
        KafkaError::Canceled => Refusal::Client,
        _ => error
            .rdkafka_error_code()
            .map_or(Refusal::Passing, refusal::of),
    }
}
