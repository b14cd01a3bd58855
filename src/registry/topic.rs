//! The registry topic: compacted, one message per device, its key the device id; a tombstone makes a device unknown again.
//!
//! Owns a reader thread for the life of the job; [`super::writer`] changes the topic.
//!
//! * [`follow`] gives its first snapshot only when the topic was read to its end; then every change is published at once.
//! * What cannot be read changes nothing: the device stays what it was, with an alarm (G1).
//! * Only what was committed is read: the messages of a replaced writer are aborted, and never seen (G2).
//! * The end of a partition is told by the client, not by offsets of messages: transactions end with control records.
//!
//! The client's settings are handed in; nothing here knows where they come from. No queue but the client's own.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::entries::{Entries, Entry};
use super::mark::{self, Mark};
use super::trouble::Trouble;
use super::{Device, Feed, Snapshot, State, poll};
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

/// A message's value; members this version does not know are passed over.
#[derive(Deserialize)]
struct Value {
    device_id: Box<str>,
    serial: Option<Box<str>>,
    state: State,
    order: Option<Box<str>>,
    since: Option<String>,
    unit: Option<Box<str>>,
}

impl Value {
    fn into_entry(self) -> anyhow::Result<Entry> {
        let since = self.since.map(|since| since.parse()).transpose();
        let device = Device {
            device_id: self.device_id,
            serial: self.serial,
            state: self.state,
            order: self.order,
            since: since.context("since is no instant")?,
        };
        Ok(Entry {
            device: device.normal()?.into_owned(),
            unit: self.unit,
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
        .set("isolation.level", "read_committed")
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
        let _ = poll::next(&consumer, IDLE);
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

/// What a message says.
enum Told<'m> {
    Device(Entry),
    /// The device is unknown again.
    Gone(&'m str),
    Mark(Mark),
    /// A reserved key of a later version.
    Reserved,
}

fn told<'m>(message: &'m BorrowedMessage<'_>) -> Result<Told<'m>, String> {
    let Some(key) = message.key().and_then(|key| std::str::from_utf8(key).ok()) else {
        return Err("its key is no device id".to_owned());
    };
    let Some(payload) = message.payload() else {
        return Ok(Told::Gone(key));
    };
    if key == mark::KEY {
        return serde_json::from_slice(payload)
            .map(Told::Mark)
            .map_err(|error| error.to_string());
    }
    if key.starts_with(mark::RESERVED) {
        return Ok(Told::Reserved);
    }
    let entry = serde_json::from_slice::<Value>(payload)
        .map_err(anyhow::Error::from)
        .and_then(Value::into_entry)
        .map_err(|error| format!("{error:#}"))?;
    if *entry.device.device_id == *key {
        Ok(Told::Device(entry))
    } else {
        Err("its key is not its device_id".to_owned())
    }
}

/// Applies one message; whether it changed anything.
fn apply(snapshot: &mut Snapshot, message: &BorrowedMessage<'_>) -> bool {
    match told(message) {
        Ok(Told::Device(entry)) => match snapshot.set(&entry.device) {
            Ok(()) => true,
            Err(unfit) => unreadable(message, &unfit.to_string()),
        },
        Ok(Told::Gone(key)) => snapshot.remove(key),
        Ok(Told::Mark(_) | Told::Reserved) => false,
        Err(why) => unreadable(message, &why),
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
    let mut snapshot = Snapshot::default();
    to_the_end(client, topic, bound, |message| {
        apply(&mut snapshot, message);
    })?;
    snapshot.shrink();
    Ok(snapshot)
}

/// As [`read`], with the units and the orders store's mark.
///
/// # Errors
/// As [`read`].
pub fn entries(client: &ClientConfig, topic: &str, bound: Duration) -> anyhow::Result<Entries> {
    let mut entries = Entries::default();
    let mut bad_mark = None;
    to_the_end(client, topic, bound, |message| match told(message) {
        Ok(Told::Device(entry)) => {
            let id = entry.device.device_id.clone();
            entries.devices.insert(id, entry);
        }
        Ok(Told::Gone(mark::KEY)) => entries.mark = None,
        Ok(Told::Gone(id)) => {
            entries.devices.remove(id);
        }
        Ok(Told::Mark(mark)) => {
            entries.mark = Some(mark);
            bad_mark = None;
        }
        Ok(Told::Reserved) => {}
        Err(why) if message.key() == Some(mark::KEY.as_bytes()) => bad_mark = Some(why),
        Err(why) => {
            unreadable(message, &why);
        }
    })?;
    // Without the mark nobody can tell whether the store is the one that published last.
    match bad_mark {
        Some(why) => anyhow::bail!("{topic}: the mark of the orders store cannot be read: {why}"),
        None => Ok(entries),
    }
}

/// Hands over every message up to the end.
fn to_the_end(
    client: &ClientConfig,
    topic: &str,
    bound: Duration,
    mut take: impl FnMut(&BorrowedMessage<'_>),
) -> anyhow::Result<()> {
    let (consumer, mut unread) = reader(client, topic)?;
    let deadline = Instant::now() + bound;
    while !unread.is_empty() {
        anyhow::ensure!(
            Instant::now() < deadline,
            "{topic} was not read to its end within {} s",
            bound.as_secs()
        );
        match poll::next(&consumer, IDLE) {
            None => {}
            Some(Ok(message)) => take(&message),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                unread.remove(&partition);
            }
            Some(Err(error)) => tracing::warn!(%error, "reading the device registry"),
        }
    }
    Ok(())
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
        let idle = match poll::next(consumer, wait) {
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
