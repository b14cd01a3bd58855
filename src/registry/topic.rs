//! The registry topic: compacted, one message per device, its key the device id; a tombstone makes a device unknown again.
//!
//! Owns a reader thread for the life of the job, and the [`Writer`] through which `orders` and `dig-ingest devices` change it.
//!
//! * [`follow`] gives its first snapshot only when the topic was read to its end; then every change is published at once.
//! * What cannot be read changes nothing: the device stays what it was, with an alarm (G1).
//! * A change is written when every replica has it, and changes of one writer keep their order.
//!
//! The client's settings are handed in; nothing here knows where they come from. No queue but the client's own.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::trouble::Trouble;
use super::{Device, Feed, Snapshot, State};
use crate::ops::board::Board;
use crate::ops::metrics::registry as metrics;

/// How long a call to the broker may take at the start.
const CALL: Duration = Duration::from_secs(20);
/// How long a topic that is not there is waited for.
const BORN: Duration = Duration::from_secs(5);
/// How long the broker may take to say where the topic ends, and how often it is asked.
const ASK: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_secs(5);
/// Pause of the reader when nothing comes.
const IDLE: Duration = Duration::from_millis(100);
/// Changes of one published snapshot: each may copy a shard, and the old ones live until their readers let go of them.
const TOGETHER: usize = 512;
/// Bytes of a batch of changes: a topic takes more.
const BATCH: u32 = 16 * 1024;
/// How long one change may wait for the broker before the writer gives up.
const WRITE: Duration = Duration::from_secs(30);

/// A message's value; members this version does not know are passed over.
#[derive(Deserialize)]
struct Value {
    device_id: Box<str>,
    serial: Option<Box<str>>,
    state: State,
    order: Option<Box<str>>,
    since: Option<String>,
}

impl Value {
    fn into_device(self) -> anyhow::Result<Device> {
        let since = self.since.map(|since| since.parse()).transpose();
        Ok(Device {
            device_id: self.device_id,
            serial: self.serial,
            state: self.state,
            order: self.order,
            since: since.context("since is no instant")?,
        })
    }
}

/// The properties of a client that reads the topic on top of what connects it. Nothing is ever committed to the group, which the
/// client needs even to read partitions by hand.
fn reader(client: &ClientConfig, topic: &str) -> anyhow::Result<(BaseConsumer, HashSet<i32>)> {
    let mut client = client.clone();
    client
        .set("group.id", format!("{topic}-reader"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", "4096");
    let consumer: BaseConsumer = client
        .create()
        .context("cannot open the reader of the device registry")?;
    let born = Instant::now() + BORN;
    let partitions = loop {
        let metadata = consumer
            .fetch_metadata(Some(topic), CALL)
            .with_context(|| format!("cannot ask for topic {topic}"))?;
        let partitions: HashSet<i32> = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions().iter().map(|p| p.id()))
            .collect();
        // A topic that was created a moment ago is not known to every broker yet.
        if !partitions.is_empty() || Instant::now() >= born {
            break partitions;
        }
        let _ = consumer.poll(IDLE);
    };
    anyhow::ensure!(
        !partitions.is_empty(),
        "topic {topic} does not exist; create it, compacted, or set topics.create = true"
    );
    let mut wanted = TopicPartitionList::new();
    for &partition in &partitions {
        wanted
            .add_partition_offset(topic, partition, Offset::Beginning)
            .context("an offset that no broker gives")?;
    }
    consumer
        .assign(&wanted)
        .with_context(|| format!("cannot read {topic}"))?;
    Ok((consumer, partitions))
}

/// Applies one message; whether it changed anything.
fn apply(snapshot: &mut Snapshot, message: &BorrowedMessage<'_>) -> bool {
    let Some(key) = message.key().and_then(|key| std::str::from_utf8(key).ok()) else {
        return unreadable(message, "its key is no device id");
    };
    let Some(payload) = message.payload() else {
        return snapshot.remove(key);
    };
    let device = serde_json::from_slice::<Value>(payload)
        .map_err(anyhow::Error::from)
        .and_then(Value::into_device);
    match device {
        Ok(device) if *device.device_id == *key => match snapshot.set(&device) {
            Ok(()) => true,
            Err(unfit) => unreadable(message, &unfit.to_string()),
        },
        Ok(_) => unreadable(message, "its key is not its device_id"),
        Err(error) => unreadable(message, &format!("{error:#}")),
    }
}

fn unreadable(message: &BorrowedMessage<'_>, why: &str) -> bool {
    metrics::unreadable();
    tracing::error!(
        topic = message.topic(),
        partition = message.partition(),
        offset = message.offset(),
        why,
        "a message of the device registry cannot be used; the device stays what it was"
    );
    false
}

/// All devices as the topic has them now. Blocks the calling thread.
///
/// # Errors
/// The broker does not answer, or the end is not reached within `bound`.
pub fn read(client: &ClientConfig, topic: &str, bound: Duration) -> anyhow::Result<Snapshot> {
    let (consumer, mut unread) = reader(client, topic)?;
    let deadline = Instant::now() + bound;
    let mut snapshot = Snapshot::default();
    while !unread.is_empty() {
        anyhow::ensure!(
            Instant::now() < deadline,
            "{topic} was not read to its end within {} s",
            bound.as_secs()
        );
        match consumer.poll(IDLE) {
            None => {}
            Some(Ok(message)) => {
                apply(&mut snapshot, &message);
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                unread.remove(&partition);
            }
            Some(Err(error)) => tracing::warn!(%error, "reading the device registry"),
        }
    }
    snapshot.shrink();
    Ok(snapshot)
}

/// Reads the topic to its end, then follows it until `stop`.
///
/// # Errors
/// The topic does not exist or the broker does not answer at the start.
pub async fn follow(
    client: ClientConfig,
    topic: String,
    board: Arc<Board>,
    stop: CancellationToken,
) -> anyhow::Result<(Feed, JoinHandle<()>)> {
    let (to, mut from) = watch::channel(None);
    let opened = {
        let topic = topic.clone();
        tokio::task::spawn_blocking(move || reader(&client, &topic))
    };
    let (consumer, unread) = opened.await.context("opening the reader failed")??;
    let ended = stop.clone();
    let mut trouble = Trouble::new(board, topic.clone());
    let name = topic.clone();
    let thread = tokio::task::spawn_blocking(move || {
        run(&consumer, (&name, unread), &to, &mut trouble, &ended);
    });
    let first = tokio::select! {
        () = stop.cancelled() => None,
        first = from.wait_for(Option::is_some) => first.ok().and_then(|first| (*first).clone()),
    };
    // Only a stop leaves the first one out; nobody will send anything then.
    let (feed_to, feed) = watch::channel(first.unwrap_or_default());
    let followed = tokio::spawn(async move {
        while from.changed().await.is_ok() {
            if let Some(newest) = from.borrow_and_update().clone() {
                feed_to.send_replace(newest);
            }
        }
        if let Err(error) = thread.await {
            tracing::error!(%error, "the reader of the device registry broke");
        }
    });
    tracing::info!(
        topic,
        devices = feed.borrow().len(),
        "the device registry was read"
    );
    Ok((feed, followed))
}

/// Where each partition ends. A topic that does not exist, or that we may not describe, is an error.
fn ends(
    consumer: &BaseConsumer,
    topic: &str,
    partitions: &HashSet<i32>,
) -> Result<Vec<(i32, i64)>, String> {
    let one = |&partition: &i32| match consumer.fetch_watermarks(topic, partition, ASK) {
        Ok((_, end)) => Ok((partition, end)),
        Err(error) => Err(error.to_string()),
    };
    partitions.iter().map(one).collect()
}

fn run(
    consumer: &BaseConsumer,
    (topic, mut unread): (&str, HashSet<i32>),
    to: &watch::Sender<Option<Arc<Snapshot>>>,
    trouble: &mut Trouble,
    stop: &CancellationToken,
) {
    let partitions = unread.clone();
    let mut looked = Instant::now();
    let mut snapshot = Snapshot::default();
    let mut changes = 0usize;
    let mut shrunk = false;
    while !stop.is_cancelled() {
        if looked.elapsed() >= LOOK {
            trouble.asked(ends(consumer, topic, &partitions), Instant::now());
            looked = Instant::now();
        }
        let wait = if changes > 0 { Duration::ZERO } else { IDLE };
        let idle = match consumer.poll(wait) {
            None => true,
            Some(Ok(message)) => {
                trouble.moved(message.partition());
                changes += usize::from(apply(&mut snapshot, &message));
                false
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                trouble.moved(partition);
                unread.remove(&partition);
                true
            }
            Some(Err(error)) => {
                trouble.begin(&error.to_string());
                false
            }
        };
        if !unread.is_empty() {
            // Nobody has a snapshot yet, so that changing ours copies nothing.
            continue;
        }
        if !shrunk {
            snapshot.shrink();
        }
        if !shrunk || (changes > 0 && idle) || changes >= TOGETHER {
            publish(&snapshot, to);
            (changes, shrunk) = (0, true);
        }
    }
}

fn publish(snapshot: &Snapshot, to: &watch::Sender<Option<Arc<Snapshot>>>) {
    let counts = snapshot.counts();
    metrics::devices(&counts);
    if let Some((serial, devices)) = snapshot.dispute_example() {
        tracing::error!(
            serial,
            ?devices,
            disputed = counts.disputed,
            "devices claim the same serial: none of them may send until all but one give it up"
        );
    }
    to.send_replace(Some(Arc::new(snapshot.clone())));
}

/// Why a change was not confirmed. It may have been written all the same; writing it again is harmless, in the same order.
#[derive(Debug, thiserror::Error)]
#[error("the device registry {topic} did not confirm {device_id}: {error}")]
pub struct WriteError {
    pub topic: String,
    pub device_id: String,
    pub error: KafkaError,
}

impl WriteError {
    /// A later attempt may succeed.
    #[must_use]
    pub fn retryable(&self) -> bool {
        !matches!(
            self.error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::MessageSizeTooLarge
                    | RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::InvalidRecord
            )
        )
    }

    /// The change may be in the topic although it was not confirmed.
    #[must_use]
    pub fn may_have_effects(&self) -> bool {
        matches!(
            self.error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::RequestTimedOut)
        )
    }
}

/// Changes the registry. Clones share one connection, and with it one order.
#[derive(Clone)]
pub struct Writer {
    producer: FutureProducer,
    topic: Arc<str>,
}

impl Writer {
    /// `client`: the properties of an idempotent producer.
    ///
    /// # Errors
    /// Properties that the client refuses.
    pub fn new(client: &ClientConfig, topic: &str) -> anyhow::Result<Self> {
        Self::within(client, topic, WRITE)
    }

    /// A writer that gives up what the broker has not confirmed within a bound: afterwards the client sends it no more.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn within(client: &ClientConfig, topic: &str, bound: Duration) -> anyhow::Result<Self> {
        let mut client = client.clone();
        client
            .set("message.timeout.ms", bound.as_millis().max(1).to_string())
            .set("linger.ms", "5");
        // A broker refuses a batch that is larger than its topic takes, and the client does not split it.
        if client.get("batch.size").is_none() {
            client.set("batch.size", BATCH.to_string());
        }
        Ok(Self {
            producer: client
                .create()
                .context("cannot open the writer of the device registry")?,
            topic: topic.into(),
        })
    }

    /// Writes devices in their order and waits until the broker has all of them.
    ///
    /// # Errors
    /// The first that was not confirmed; those behind it may have been written.
    pub async fn write(&self, devices: &[Device]) -> Result<(), WriteError> {
        let changes = devices
            .iter()
            .map(|device| (&*device.device_id, Some(device)));
        self.change(changes).await
    }

    /// Writes devices, and makes those unknown again that come without one, in their order; waits until the broker has all of it.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn change<'a>(
        &self,
        changes: impl Iterator<Item = (&'a str, Option<&'a Device>)>,
    ) -> Result<(), WriteError> {
        let value = |device| serde_json::to_vec(device).expect("a device is plain JSON");
        self.send(changes.map(|(id, device)| (id, device.map(value))))
            .await
    }

    /// Makes devices unknown again, and waits until the broker has it.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn forget(&self, device_ids: &[&str]) -> Result<(), WriteError> {
        self.send(device_ids.iter().map(|id| (*id, None))).await
    }

    async fn send(
        &self,
        changes: impl Iterator<Item = (&str, Option<Vec<u8>>)>,
    ) -> Result<(), WriteError> {
        let failed = |device_id: &str, error| WriteError {
            topic: self.topic.to_string(),
            device_id: device_id.to_owned(),
            error,
        };
        let mut waiting = std::collections::VecDeque::new();
        for (device_id, value) in changes {
            loop {
                let mut record: FutureRecord<'_, str, [u8]> =
                    FutureRecord::to(&self.topic).key(device_id);
                record.payload = value.as_deref();
                match self.producer.send_result(record) {
                    Ok(delivery) => {
                        waiting.push_back((device_id.to_owned(), delivery));
                        break;
                    }
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                        // Whoever fills the queue alone waits for its oldest; otherwise others will make room.
                        match waiting.pop_front() {
                            Some((id, delivery)) => confirmed(delivery)
                                .await
                                .map_err(|error| failed(&id, error))?,
                            None => tokio::time::sleep(IDLE).await,
                        }
                    }
                    Err((error, _)) => return Err(failed(device_id, error)),
                }
            }
        }
        for (device_id, delivery) in waiting {
            confirmed(delivery)
                .await
                .map_err(|error| failed(&device_id, error))?;
        }
        Ok(())
    }
}

async fn confirmed(
    delivery: rdkafka::producer::future_producer::DeliveryFuture,
) -> Result<(), KafkaError> {
    match delivery.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(error),
        Err(_) => Err(KafkaError::Canceled),
    }
}
