//! The way to Kafka: the only file of `load` that knows the client.
//!
//! Idempotent, so that a retry neither repeats nor reorders. Queue: librdkafka's, bounded by `QUEUE_MESSAGES` and
//! `QUEUE_KBYTES`; when it is full, [`Outlet::send`] serves delivery reports until there is room or `stop` is set.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig,
};

use super::drive::Counters;
use crate::access;

/// How long a topic that was created may be unknown, and the pause between two questions for it.
const BORN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);

const QUEUE_MESSAGES: &str = "500000";
const QUEUE_KBYTES: &str = "131072";

/// Where and how to produce.
#[derive(Debug, Clone)]
pub struct Target {
    /// Address and security.
    pub client: ClientConfig,
    pub topic: String,
    /// `none`, `lz4`, `zstd`, `gzip` or `snappy`.
    pub compression: String,
    /// After this a message that the broker did not confirm is given up as unknown.
    pub timeout: Duration,
    /// Further client properties; they win over ours.
    pub properties: Vec<(String, String)>,
}

impl Target {
    fn client(&self) -> ClientConfig {
        let mut config = self.client.clone();
        config.set("client.id", "dig-ingest-load");
        config
    }

    fn brokers(&self) -> &str {
        self.client.get("bootstrap.servers").unwrap_or_default()
    }

    fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            // The partitioner of the Java client: all records of a key in one partition, the same one for every producer.
            .set("partitioner", "murmur2_random")
            .set("compression.type", &self.compression)
            .set("linger.ms", "20")
            .set("batch.size", "1000000")
            .set("batch.num.messages", "10000")
            .set("queue.buffering.max.messages", QUEUE_MESSAGES)
            .set("queue.buffering.max.kbytes", QUEUE_KBYTES)
            .set("message.timeout.ms", self.timeout.as_millis().to_string());
        for (name, value) in &self.properties {
            config.set(name, value);
            if name == "debug" {
                config.set_log_level(RDKafkaLogLevel::Debug);
            }
        }
        config
    }

    /// Creates the topic, replication 1; one that exists already is left alone if it has as many partitions.
    ///
    /// # Errors
    /// When the broker cannot be reached, refuses, or has the topic with another partition count.
    pub async fn create_topic(&self, partitions: i32) -> anyhow::Result<()> {
        let mut config = self.client();
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        let admin = access::admin(&config).context("cannot create the Kafka admin client")?;
        let topic = NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
        let results = admin
            .create_topics([&topic], &options)
            .await
            .with_context(|| {
                format!("cannot create topic `{}` at {}", self.topic, self.brokers())
            })?;
        for result in results {
            let there = || {
                let metadata = admin
                    .inner()
                    .fetch_metadata(Some(&self.topic), Duration::from_secs(20))
                    .with_context(|| {
                        format!("cannot ask {} about topic `{}`", self.brokers(), self.topic)
                    })?;
                let topic = metadata.topics().first();
                let there = topic.filter(|topic| topic.error().is_none());
                anyhow::Ok(there.map_or(0, |topic| topic.partitions().len()))
            };
            match result {
                Ok(_) => {
                    // A topic just created is not known to every broker yet.
                    let until = Instant::now() + BORN;
                    while there()? == 0 && Instant::now() < until {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {
                    let there = there()?;
                    if there != partitions as usize {
                        bail!(
                            "topic `{}` exists with {there} partitions, not {partitions}; choose another topic or leave \
                             --create-topic out",
                            self.topic
                        );
                    }
                }
                Err((name, code)) => bail!("cannot create topic `{name}`: {code}"),
            }
        }
        Ok(())
    }
}

/// What became of the messages: counted on success, listed on failure.
#[derive(Debug, Default)]
struct Deliveries {
    confirmed: AtomicU64,
    // A lock as failures are rare and come from whichever thread serves the reports.
    failed: Mutex<HashSet<u64>>,
    reason: Mutex<Option<String>>,
    fatal: Mutex<Option<String>>,
}

struct Reports {
    deliveries: Arc<Deliveries>,
    counters: Arc<Counters>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(facility, message, "kafka client");
            }
            _ => tracing::warn!(facility, message, "kafka client"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let KafkaError::Global(RDKafkaErrorCode::Fatal) = error {
            *self
                .deliveries
                .fatal
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
        tracing::warn!(%error, reason, "the producer reports an error");
    }
}

impl ProducerContext for Reports {
    /// The message's number in the plan.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        match result {
            Ok(_) => {
                self.deliveries.confirmed.fetch_add(1, Ordering::Relaxed);
                self.counters.confirmed(1);
            }
            Err((error, _)) => {
                self.deliveries
                    .failed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(number as u64);
                let mut reason = self
                    .deliveries
                    .reason
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                reason.get_or_insert_with(|| error.to_string());
                self.counters.failed(1);
            }
        }
    }
}

/// What the broker said about all messages handed over.
#[derive(Debug, Clone, Default)]
pub struct Confirmation {
    /// Messages.
    pub confirmed: u64,
    /// Numbers of the messages that were not confirmed.
    pub failed: HashSet<u64>,
    /// The first failure's reason.
    pub reason: Option<String>,
}

/// A producer of one topic.
pub struct Outlet {
    producer: BaseProducer<Reports>,
    deliveries: Arc<Deliveries>,
    counters: Arc<Counters>,
    topic: String,
    since_poll: u32,
    timeout: Duration,
}

impl Outlet {
    /// # Errors
    /// When a client property is not accepted.
    pub fn open(target: &Target, counters: Arc<Counters>) -> anyhow::Result<Self> {
        let deliveries = Arc::new(Deliveries::default());
        let reports = Reports {
            deliveries: Arc::clone(&deliveries),
            counters: Arc::clone(&counters),
        };
        let producer: BaseProducer<Reports> = target
            .producer()
            .create_with_context(reports)
            .context("cannot create the Kafka producer")?;
        access::prime(producer.client());
        Ok(Self {
            producer,
            deliveries,
            counters,
            topic: target.topic.clone(),
            since_poll: 0,
            timeout: target.timeout,
        })
    }

    /// Asks the broker for the topic, so that a wrong address or name is an error before anything is produced.
    ///
    /// # Errors
    /// When the broker does not answer, or does not have the topic.
    pub fn require_topic(&self) -> anyhow::Result<()> {
        let metadata = self
            .producer
            .client()
            .fetch_metadata(Some(&self.topic), Duration::from_secs(20))
            .context("the Kafka broker does not answer; check --brokers")?;
        match metadata.topics().first() {
            Some(topic) if topic.error().is_none() && !topic.partitions().is_empty() => Ok(()),
            _ => bail!(
                "the broker has no topic `{}`; create it or add --create-topic PARTITIONS",
                self.topic
            ),
        }
    }

    /// Hands over one message. `false` when `stop` was set while the queue was full.
    ///
    /// # Errors
    /// When the producer has failed for good.
    pub fn send(&mut self, key: &str, payload: &[u8], number: u64) -> anyhow::Result<bool> {
        self.since_poll += 1;
        if self.since_poll >= 2_000 {
            self.since_poll = 0;
            self.producer.poll(Duration::ZERO);
        }
        let mut record = BaseRecord::with_opaque_to(&self.topic, number as usize)
            .key(key)
            .payload(payload);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(true),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    if self.counters.is_stopped() {
                        return Ok(false);
                    }
                    record = back;
                    self.producer.poll(Duration::from_millis(20));
                }
                Err((error, _)) => {
                    let fatal = self
                        .deliveries
                        .fatal
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .take();
                    bail!(
                        "cannot produce to topic `{}`: {}",
                        self.topic,
                        fatal.unwrap_or_else(|| error.to_string())
                    );
                }
            }
        }
    }

    /// Serves delivery reports for up to `wait`.
    pub fn serve(&self, wait: Duration) {
        access::upkeep(self.producer.client());
        self.producer.poll(wait);
    }

    /// Waits until every message is confirmed or given up.
    #[must_use]
    pub fn finish(self) -> Confirmation {
        if self
            .producer
            .flush(self.timeout + Duration::from_secs(5))
            .is_err()
        {
            self.producer
                .purge(PurgeConfig::default().queue().inflight());
            // Purging turns every open message into a delivery report; this serves them.
            let _ = self.producer.flush(Duration::from_secs(5));
        }
        let take = |slot: &Mutex<Option<String>>| {
            slot.lock().unwrap_or_else(PoisonError::into_inner).take()
        };
        Confirmation {
            confirmed: self.deliveries.confirmed.load(Ordering::Relaxed),
            failed: std::mem::take(
                &mut *self
                    .deliveries
                    .failed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner),
            ),
            reason: take(&self.deliveries.fatal).or_else(|| take(&self.deliveries.reason)),
        }
    }
}
