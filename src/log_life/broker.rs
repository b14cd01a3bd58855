//! A broker's answers about the life of a log: topic ids, committed offsets with their metadata, single messages.
//!
//! Owns calls into librdkafka that its safe bindings do not offer: `DescribeTopics` (topic ids), leader epochs of messages and
//! of offsets, and metadata of committed offsets as bytes (the bindings panic on metadata that is not UTF-8, and any program
//! may write it).
//!
//! Every call blocks the calling thread, for [`CALL`] at the longest. It writes nothing.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::bindings as ffi;
use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Message as _, Offset, TopicPartitionList};

use super::{Facts, Point, Points, TopicId};
use crate::access;
use crate::pipeline::unreadable::is_of_data;
use crate::poll;
use crate::topic_partition::TopicPartition;

/// How long one call may take.
pub const CALL: Duration = Duration::from_secs(10);
/// Longest wait for the cluster's controller, in milliseconds.
const CONTROLLER_MS: i32 = 500;
/// Prefix of the cluster ids of librdkafka's mock broker.
const MOCK: &str = "mockCluster";
/// How long one poll for a message waits.
const POLL: Duration = Duration::from_millis(50);

/// Whether a topic exists, and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    Missing,
    /// `None`: the broker gives no ids.
    There(Option<TopicId>),
}

/// A group's committed offset of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    /// -1 for none.
    pub epoch: i32,
    /// The topic in whose life the offset was committed, if its metadata name one.
    pub topic_id: Option<TopicId>,
}

/// An offset to be stored or committed, with the data that bind it to the life of its log.
#[derive(Debug, Clone)]
pub struct Stored<'a> {
    pub key: &'a TopicPartition,
    pub offset: i64,
    pub epoch: i32,
    pub topic_id: Option<&'a TopicId>,
}

/// Leader epoch under which a message was written; -1 for none.
#[must_use]
pub fn epoch_of(message: &BorrowedMessage<'_>) -> i32 {
    // SAFETY: the pointer is valid for as long as the message is borrowed.
    unsafe { ffi::rd_kafka_message_leader_epoch(message.ptr()) }
}

/// The fingerprint of a message.
#[must_use]
pub fn point_of(message: &BorrowedMessage<'_>) -> Point {
    Point::new(
        message.offset(),
        epoch_of(message),
        message.timestamp().to_millis(),
        message.key(),
        message.payload(),
    )
}

/// Builds a partition list of offsets with leader epochs and metadata.
#[must_use]
pub fn list_of<'a>(offsets: impl Iterator<Item = Stored<'a>>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for stored in offsets {
        let mut element = list.add_partition(&stored.key.topic, stored.key.partition);
        // Fails only for offsets that no broker gives.
        let _ = element.set_offset(Offset::Offset(stored.offset));
        if let Some(id) = stored.topic_id {
            element.set_metadata(id.metadata());
        }
        // SAFETY: the list is alive, and the element that was just added is its last.
        unsafe {
            let raw = &*list.ptr();
            let element = raw.elems.add(raw.cnt as usize - 1);
            ffi::rd_kafka_topic_partition_set_leader_epoch(element, stored.epoch);
        }
    }
    list
}

/// The offsets of a partition list; entries without an offset, or with an error, are left out.
pub fn committed_in(list: &TopicPartitionList) -> Vec<(TopicPartition, Committed)> {
    // SAFETY: the list is alive for the whole function; `elems` holds `cnt` elements.
    let elements = unsafe {
        let raw = &*list.ptr();
        match raw.cnt {
            0 => &[],
            count => std::slice::from_raw_parts(raw.elems, count as usize),
        }
    };
    let mut all = Vec::with_capacity(elements.len());
    let sound = |element: &&ffi::rd_kafka_topic_partition_t| {
        element.offset >= 0 && RDKafkaErrorCode::from(element.err) == RDKafkaErrorCode::NoError
    };
    for element in elements.iter().filter(sound) {
        // SAFETY: the client gives a C string, and metadata of `metadata_size` bytes or null.
        let (topic, metadata, epoch) = unsafe {
            let topic = CStr::from_ptr(element.topic).to_string_lossy().into_owned();
            let metadata = match element.metadata.is_null() {
                true => &[],
                false => {
                    std::slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size)
                }
            };
            let epoch = ffi::rd_kafka_topic_partition_get_leader_epoch(element);
            (topic, metadata, epoch)
        };
        let committed = Committed {
            offset: element.offset,
            epoch,
            topic_id: TopicId::of_metadata(metadata),
        };
        all.push((TopicPartition::new(topic, element.partition), committed));
    }
    all
}

/// Asks for the ids of topics by their names.
///
/// # Errors
/// The broker does not answer, or does not allow it.
pub fn topics<C: ClientContext>(
    client: &Client<C>,
    names: &[&str],
    bound: Duration,
) -> anyhow::Result<HashMap<String, Topic>> {
    let texts = names
        .iter()
        .map(|name| CString::new(*name).context("a topic's name holds a zero byte"))
        .collect::<anyhow::Result<Vec<CString>>>()?;
    let mut found = HashMap::with_capacity(names.len());
    if names.is_empty() {
        return Ok(found);
    }
    // Topic ids come from an admin request. Two kinds of cluster let it time out: one without a controller, and librdkafka's own mock.
    let metadata = client
        .fetch_metadata(names.first().copied(), bound)
        .context("cannot ask for topics")?;
    drop(metadata);
    // SAFETY: the client is alive.
    let controller = unsafe { ffi::rd_kafka_controllerid(client.native_ptr(), CONTROLLER_MS) };
    let mock = client
        .fetch_cluster_id(Duration::ZERO)
        .is_some_and(|id| id.starts_with(MOCK));
    if controller < 0 || mock {
        return without_ids(client, names, bound);
    }
    let mut pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
    let bound_ms = i32::try_from(bound.as_millis()).unwrap_or(i32::MAX);
    let native = client.native_ptr();
    // SAFETY: the client is alive; the names outlive the call; what is made here is destroyed here, on every path, and results
    // belong to the event, which is destroyed after the last look at them.
    unsafe {
        let queue = ffi::rd_kafka_queue_new(native);
        let options = ffi::rd_kafka_AdminOptions_new(
            native,
            ffi::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        let mut why = [0; 128];
        ffi::rd_kafka_AdminOptions_set_request_timeout(
            options,
            bound_ms,
            why.as_mut_ptr(),
            why.len(),
        );
        let names =
            ffi::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        ffi::rd_kafka_DescribeTopics(native, names, options, queue);
        // The request has a timeout of its own; this bound is only for a client that is stuck.
        let event = ffi::rd_kafka_queue_poll(queue, bound_ms.saturating_add(2_000));
        let read = read_topics(event, &mut found);
        if !event.is_null() {
            ffi::rd_kafka_event_destroy(event);
        }
        ffi::rd_kafka_TopicCollection_destroy(names);
        ffi::rd_kafka_AdminOptions_destroy(options);
        ffi::rd_kafka_queue_destroy(queue);
        read?;
    }
    Ok(found)
}

/// Existence of topics by metadata, without ids.
fn without_ids<C: ClientContext>(
    client: &Client<C>,
    names: &[&str],
    bound: Duration,
) -> anyhow::Result<HashMap<String, Topic>> {
    let metadata = client
        .fetch_metadata(None, bound)
        .context("cannot ask for topics")?;
    let there = |name: &str| metadata.topics().iter().any(|topic| topic.name() == name);
    let known = |name: &&str| match there(name) {
        true => ((*name).to_owned(), Topic::There(None)),
        false => ((*name).to_owned(), Topic::Missing),
    };
    Ok(names.iter().map(known).collect())
}

/// # Safety
/// `event` is null or a live event of the client.
unsafe fn read_topics(
    event: *mut ffi::rd_kafka_event_t,
    found: &mut HashMap<String, Topic>,
) -> anyhow::Result<()> {
    anyhow::ensure!(!event.is_null(), "the client gave no answer about topics");
    // SAFETY: as promised by the caller; the results belong to the event.
    unsafe {
        let error = RDKafkaErrorCode::from(ffi::rd_kafka_event_error(event));
        if error != RDKafkaErrorCode::NoError {
            return Err(anyhow::anyhow!("{error}").context("cannot ask for the ids of topics"));
        }
        let result = ffi::rd_kafka_event_DescribeTopics_result(event);
        anyhow::ensure!(!result.is_null(), "the client answered something else");
        let mut count = 0;
        let all = ffi::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        for at in 0..count {
            let topic = *all.add(at);
            let name = CStr::from_ptr(ffi::rd_kafka_TopicDescription_name(topic));
            let name = name.to_string_lossy().into_owned();
            let error = ffi::rd_kafka_TopicDescription_error(topic);
            let code = match error.is_null() {
                true => RDKafkaErrorCode::NoError,
                false => ffi::rd_kafka_error_code(error).into(),
            };
            let what = match code {
                RDKafkaErrorCode::NoError => Topic::There(id_of(topic)),
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                    Topic::Missing
                }
                code => {
                    return Err(anyhow::anyhow!("{code}")
                        .context(format!("cannot ask for the id of topic {name}")));
                }
            };
            found.insert(name, what);
        }
    }
    Ok(())
}

/// # Safety
/// `topic` is a live description.
unsafe fn id_of(topic: *const ffi::rd_kafka_TopicDescription_t) -> Option<TopicId> {
    // SAFETY: as promised by the caller; the id and its text belong to the description.
    unsafe {
        let id = ffi::rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null() {
            return None;
        }
        let bits = (
            ffi::rd_kafka_Uuid_most_significant_bits(id),
            ffi::rd_kafka_Uuid_least_significant_bits(id),
        );
        if bits == (0, 0) {
            return None;
        }
        let text = ffi::rd_kafka_Uuid_base64str(id);
        if text.is_null() {
            return None;
        }
        TopicId::new(&CStr::from_ptr(text).to_string_lossy())
    }
}

/// A client that asks a broker about logs.
pub struct Asker {
    /// The client; it joins no group and commits nothing. Dropped, it closes.
    consumer: BaseConsumer,
}

impl Asker {
    /// Opens the client. `client`: the properties of a manually assigned consumer, with the group whose commits are asked for. It reads
    /// uncommitted messages too: the questions are about logs, and the end of a log is its high watermark.
    ///
    /// # Errors
    /// Properties that the client refuses.
    pub fn open(client: &ClientConfig) -> anyhow::Result<Self> {
        let mut client = client.clone();
        client.set("isolation.level", "read_uncommitted");
        Ok(Self {
            consumer: access::plain_consumer(&client)
                .context("cannot open the client that asks for the state of logs")?,
        })
    }

    /// The client, for calls that the safe bindings offer.
    #[must_use]
    pub fn client(&self) -> &BaseConsumer {
        &self.consumer
    }

    /// Serves the client's events.
    pub fn serve(&self) {
        poll::serve(&self.consumer, |_| {});
    }

    /// As [`topics`].
    ///
    /// # Errors
    /// As [`topics`].
    pub fn topics(&self, names: &[&str]) -> anyhow::Result<HashMap<String, Topic>> {
        topics(self.consumer.client(), names, CALL)
    }

    /// The id of one topic; `None` where the broker gives none.
    ///
    /// # Errors
    /// As [`topics`]; the topic does not exist.
    pub fn topic_id(&self, name: &str) -> anyhow::Result<Option<TopicId>> {
        match self.topics(&[name])?.remove(name) {
            Some(Topic::There(id)) => Ok(id),
            Some(Topic::Missing) | None => anyhow::bail!("topic {name} does not exist"),
        }
    }

    /// Committed offsets of the client's group.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn committed<'k>(
        &self,
        keys: impl Iterator<Item = &'k TopicPartition>,
    ) -> anyhow::Result<HashMap<TopicPartition, Committed>> {
        let mut wanted = TopicPartitionList::new();
        for key in keys {
            wanted.add_partition(&key.topic, key.partition);
        }
        let act = "cannot ask for committed offsets";
        let list = self.consumer.committed_offsets(wanted, CALL).context(act)?;
        for element in list.elements() {
            element.error().context(act)?;
        }
        Ok(committed_in(&list).into_iter().collect())
    }

    /// First and end offset of a partition's log. `topic_id` as asked for before.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn facts(&self, key: &TopicPartition, topic_id: Option<TopicId>) -> anyhow::Result<Facts> {
        let (low, end) = self
            .consumer
            .fetch_watermarks(&key.topic, key.partition, CALL)
            .with_context(|| {
                format!(
                    "cannot ask for the bounds of {} {}",
                    key.topic, key.partition
                )
            })?;
        Ok(Facts { topic_id, low, end })
    }

    /// The newest of these fingerprints at which the log still holds the same message.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn find(
        &self,
        key: &TopicPartition,
        points: &Points,
        facts: &Facts,
    ) -> anyhow::Result<Option<Point>> {
        for point in points.newest_first() {
            if point.offset < facts.low {
                break;
            }
            if point.offset >= facts.end {
                continue;
            }
            if let Some(there) = self.message_at(key, point.offset)?
                && point.same_message(&there)
            {
                return Ok(Some(*point));
            }
        }
        Ok(None)
    }

    /// The fingerprint of the message right before an offset, if the log has one there.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn newest_below(&self, key: &TopicPartition, offset: i64) -> anyhow::Result<Option<Point>> {
        let found = self.message_at(key, offset - 1)?;
        Ok(found.filter(|point| point.offset < offset))
    }

    /// Where the log differs from the one in which `committed` was committed: the first offset below the committed one whose message
    /// was written under a newer leader epoch than the message that lay there before. `None` if nothing shows a difference.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn differs_from(
        &self,
        key: &TopicPartition,
        committed: &Committed,
        facts: &Facts,
    ) -> anyhow::Result<Option<i64>> {
        let known = committed.epoch >= 0 && (facts.low + 1..=facts.end).contains(&committed.offset);
        if !known {
            return Ok(None);
        }
        let newer = |point: &Point| point.epoch > committed.epoch;
        let last = self.newest_below(key, committed.offset)?;
        let Some(last) = last.filter(newer) else {
            return Ok(None);
        };
        // Leader epochs never fall within a log. The message at or behind `high` is always a newer one.
        let (mut low, mut high) = (facts.low, last.offset);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.message_at(key, middle)? {
                Some(there) if !newer(&there) => low = (there.offset + 1).min(high),
                Some(_) | None => high = middle,
            }
        }
        Ok(Some(low))
    }

    /// The fingerprint of the first message at or behind an offset; `None` also if it cannot be read.
    fn message_at(&self, key: &TopicPartition, offset: i64) -> anyhow::Result<Option<Point>> {
        let act = || format!("cannot read {} {} at {offset}", key.topic, key.partition);
        let mut wanted = TopicPartitionList::new();
        wanted
            .add_partition_offset(&key.topic, key.partition, Offset::Offset(offset))
            .with_context(act)?;
        self.consumer.assign(&wanted).with_context(act)?;
        let deadline = Instant::now() + CALL;
        let found = loop {
            match self.consumer.poll(POLL) {
                // A message of an earlier assignment may still come.
                Some(Ok(message))
                    if (message.topic(), message.partition()) != (&*key.topic, key.partition) => {}
                Some(Ok(message)) => break Ok(Some(point_of(&message))),
                Some(Err(KafkaError::PartitionEOF(_))) => break Ok(None),
                Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_of_data) => {
                    break Ok(None);
                }
                Some(Err(error)) => tracing::debug!(%error, "reading one message"),
                None => {}
            }
            if Instant::now() >= deadline {
                break Err(anyhow::anyhow!("no answer in time")).with_context(act);
            }
        };
        self.consumer
            .unassign()
            .context("cannot stop reading one message")?;
        found
    }
}
