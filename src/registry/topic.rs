//! The registry topic: compacted, one message per device with the device id as key; a tombstone removes the device.
//!
//! Owns a reader thread for the life of the job; [`super::writer`] writes the topic.
//!
//! * [`follow`] gives its first snapshot only when the topic was read to its end; then every change is published at once.
//! * A message that cannot be parsed changes nothing: the device keeps its state, with an alarm (G1).
//! * Only committed messages are read: those of a replaced writer are aborted, and never delivered (G2).
//! * The client reports the end of a partition; offsets of messages cannot, because transactions end with control records.
//! * E1: a snapshot belongs to one life of the topic's log. After the topic was recreated or truncated, or its brokers were
//!   unreachable for a while, it is read again from its first offset, and the result replaces the snapshot; until then the last
//!   snapshot is in force.
//!
//! The caller passes the client's settings. No queue but the client's own.

mod reading;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message as _};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::entries::{Entries, Entry};
use super::mark::{self, Mark};
use super::trouble::Trouble;
use super::{Device, RegistryWatch, Snapshot, State};
use crate::log_life::Change;
use crate::ops::metrics::{log_life as life, registry as metrics};
use crate::ops::status_registry::StatusRegistry;
use crate::topic_partition::TopicPartition;
pub use reading::Missing;
use reading::{Next, Reading};

/// Longest wait of the reader for a message.
const IDLE: Duration = Duration::from_millis(100);
/// Most changes of one published snapshot: each may copy a shard, and an old shard lives until its readers drop it.
const TOGETHER: usize = 512;

/// How often the broker is asked for the topic's id and end offsets.
const LOOK: Duration = Duration::from_secs(5);
/// Pause before a failed re-reading of the topic is repeated.
const AGAIN: Duration = Duration::from_secs(1);

/// A message's value; unknown members are ignored.
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

/// The meaning of a message.
enum Told<'m> {
    Device(Entry),
    /// A tombstone: the device is removed.
    Gone(&'m str),
    Mark(Mark),
    /// A reserved key that only a later version knows.
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

/// Applies one message; true if it changed anything.
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
        "an unusable message of the device registry is ignored; the device keeps its state"
    );
    false
}

/// Reads all devices of the topic. Blocks the calling thread.
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

/// As [`read`], with units and the orders store's mark.
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
    // Without the mark it is unknown whether the store is the one that published last.
    match bad_mark {
        Some(why) => anyhow::bail!("{topic}: the mark of the orders store cannot be read: {why}"),
        None => Ok(entries),
    }
}

/// Passes every message up to the end to `take`.
fn to_the_end(
    client: &ClientConfig,
    topic: &str,
    bound: Duration,
    mut take: impl FnMut(&BorrowedMessage<'_>),
) -> anyhow::Result<()> {
    let deadline = Instant::now() + bound;
    let mut reading = Reading::open(client, topic)?;
    while !reading.complete() {
        anyhow::ensure!(
            Instant::now() < deadline,
            "{topic} was not read to its end within {} s",
            bound.as_secs()
        );
        match reading.next(IDLE) {
            Next::Message(message) => take(&message),
            Next::Back => anyhow::bail!("{topic} changed while it was read"),
            Next::Failed {
                error,
                forbidden: true,
                ..
            } => anyhow::bail!("{topic} cannot be read: {error}"),
            Next::Failed { error, .. } => tracing::warn!(error, "reading the device registry"),
            Next::Idle | Next::End(_) => {}
        }
    }
    Ok(())
}

/// Reads the topic from its first offset to its end; `None` if `goes_on` returned false before.
fn read_whole(
    client: &ClientConfig,
    topic: &str,
    goes_on: impl Fn() -> bool,
) -> anyhow::Result<Option<(Reading, Snapshot)>> {
    let mut reading = Reading::open(client, topic)?;
    let mut snapshot = Snapshot::default();
    while !reading.complete() {
        if !goes_on() {
            return Ok(None);
        }
        match reading.next(IDLE) {
            Next::Message(message) => {
                apply(&mut snapshot, &message);
            }
            Next::Back => anyhow::bail!("{topic} changed while it was read"),
            Next::Failed {
                error,
                forbidden: true,
                ..
            } => anyhow::bail!("{topic} cannot be read: {error}"),
            Next::Failed { error, .. } => tracing::warn!(error, "reading the device registry"),
            Next::Idle | Next::End(_) => {}
        }
    }
    snapshot.shrink();
    Ok(Some((reading, snapshot)))
}

/// Reads the topic to its end, then follows it until `stop`.
///
/// # Errors
/// The topic does not exist or the broker does not answer at the start.
pub async fn follow(
    client: ClientConfig,
    topic: String,
    board: Arc<StatusRegistry>,
    stop: CancellationToken,
) -> anyhow::Result<(RegistryWatch, JoinHandle<()>)> {
    let (to, mut from) = watch::channel(None);
    let opened = {
        let (client, topic) = (client.clone(), topic.clone());
        tokio::task::spawn_blocking(move || Reading::open(&client, &topic))
    };
    let reading = opened.await.context("opening the reader failed")??;
    let follower = Follower {
        client,
        topic: topic.clone(),
        to,
        board: Arc::clone(&board),
        stop: stop.clone(),
    };
    let mut trouble = Trouble::new(board, topic.clone());
    let thread = tokio::task::spawn_blocking(move || follower.run(reading, &mut trouble));
    let first = tokio::select! {
        () = stop.cancelled() => None,
        first = from.wait_for(Option::is_some) => first.ok().and_then(|first| (*first).clone()),
    };
    // The first snapshot is missing only after a stop, and then no record is sent.
    let (feed_to, feed) = watch::channel(first.unwrap_or_default());
    let followed = tokio::spawn(async move {
        while from.changed().await.is_ok() {
            if let Some(newest) = from.borrow_and_update().clone() {
                feed_to.send_replace(newest);
            }
        }
        if let Err(error) = thread.await {
            tracing::error!(%error, "the reader of the device registry failed");
        }
    });
    tracing::info!(
        topic,
        devices = feed.borrow().len(),
        "the device registry was read"
    );
    Ok((feed, followed))
}

/// What the reader thread is started with.
struct Follower {
    /// Properties of the client, for every reading that begins anew.
    client: ClientConfig,
    /// Name of the topic.
    topic: String,
    /// Snapshots to the task that passes them on to the readers. Dropped with the thread, that task ends, and the readers'
    /// channel closes.
    to: watch::Sender<Option<Arc<Snapshot>>>,
    /// Where another life of the topic's log is published.
    board: Arc<StatusRegistry>,
    /// Ends the thread; the composition root cancels it.
    stop: CancellationToken,
}

impl Follower {
    fn run(&self, mut reading: Reading, trouble: &mut Trouble) {
        let mut snapshot = Snapshot::default();
        let mut changes = 0usize;
        let mut shrunk = false;
        let mut looked = Instant::now();
        // Whether the client lost its brokers since the last look.
        let mut lost = false;
        while !self.stop.is_cancelled() {
            let wait = if changes > 0 { Duration::ZERO } else { IDLE };
            let (mut idle, mut change) = (false, None);
            match reading.next(wait) {
                Next::Idle => idle = true,
                Next::End(partition) => {
                    trouble.moved(partition);
                    idle = true;
                }
                Next::Message(message) => {
                    trouble.moved(message.partition());
                    changes += usize::from(apply(&mut snapshot, &message));
                }
                Next::Back => change = Some(Change::TailLost),
                Next::Failed {
                    error, lost: gone, ..
                } => {
                    trouble.begin(&error);
                    lost |= gone;
                }
            }
            let mut again = false;
            if looked.elapsed() >= LOOK && change.is_none() {
                looked = Instant::now();
                let found = reading.look();
                let ends = found.as_ref().map(|look| look.ends.clone());
                trouble.asked(ends.map_err(|error| format!("{error:#}")), looked);
                if let Ok(look) = found {
                    change = look.change;
                    again = std::mem::take(&mut lost);
                }
            }
            if let Some(change) = change {
                self.say(change);
            }
            if again || change.is_some() {
                let Some(whole) = self.read_again(trouble) else {
                    return;
                };
                (reading, snapshot) = whole;
                publish(&snapshot, &self.to);
                (changes, shrunk, looked) = (0, true, Instant::now());
                continue;
            }
            if !reading.complete() && !shrunk {
                // No snapshot is published yet, so changing this one copies nothing.
                continue;
            }
            if !shrunk {
                snapshot.shrink();
            }
            if !shrunk || (changes > 0 && idle) || changes >= TOGETHER {
                publish(&snapshot, &self.to);
                (changes, shrunk) = (0, true);
            }
        }
    }

    fn say(&self, change: Change) {
        life::changed(&self.topic, change);
        tracing::error!(
            topic = self.topic,
            change = change.name(),
            "the device registry's topic was deleted and created again, or lost its tail: it is read again from its beginning, and devices that are not in it any more may not send"
        );
        self.board
            .log_changed(&TopicPartition::new(&self.topic, -1), change, 0);
    }

    /// Reads the topic again to its end; `None` after `stop`. Until then the last snapshot is in force.
    fn read_again(&self, trouble: &mut Trouble) -> Option<(Reading, Snapshot)> {
        while !self.stop.is_cancelled() {
            match read_whole(&self.client, &self.topic, || !self.stop.is_cancelled()) {
                Ok(Some(whole)) => {
                    tracing::info!(
                        topic = self.topic,
                        devices = whole.1.len(),
                        "the device registry was read again"
                    );
                    *trouble = Trouble::new(Arc::clone(&self.board), self.topic.clone());
                    return Some(whole);
                }
                Ok(None) => return None,
                Err(error) => {
                    trouble.begin(&format!("{error:#}"));
                    std::thread::park_timeout(AGAIN);
                }
            }
        }
        None
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
