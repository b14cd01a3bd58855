//! A partition's feed: messages straight from librdkafka's partition queue, many per call.
//!
//! Owns the unsafe calls into librdkafka that read and commit; [`commit_stored`] and [`commit_at`] are here because their
//! result comes as an event. The safe `BaseConsumer::poll` allocates twice per message and returns one at a time;
//! `rd_kafka_consume_batch_queue` costs a fraction of that, and the difference is larger than everything else the pipeline
//! does.
//!
//! * A feed is opened at every assignment. A queue lives as long as librdkafka's own partition object, which is destroyed when
//!   the topic is gone while no partition of it is assigned. A queue opened before that would stay silent for ever, and the
//!   messages would arrive in the consumer's main queue. Opening the same queue again is harmless: the old handle only returns
//!   its reference.
//! * librdkafka takes every entry of a batch for a message: an error in a message's place moves the client's position behind
//!   the error's offset (librdkafka#4844), and after the pause of a rebalance the client goes on from there, one message too
//!   far. So the end of a partition is never requested as an event, and after any other error ([`Messages::error_at`]) the
//!   reader seeks back to its own position.
//! * Every [`Message`] and [`PartitionQueue`] keeps the consumer alive, so none can outlive the client whose memory it points into.
//!
//! It does not block: an empty queue gives an empty read.

use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::sync::Arc;

use rdkafka::TopicPartitionList;
use rdkafka::bindings::{
    rd_kafka_commit_queue, rd_kafka_consume_batch_queue, rd_kafka_header_get_all,
    rd_kafka_header_get_last, rd_kafka_headers_t, rd_kafka_message_destroy,
    rd_kafka_message_headers, rd_kafka_message_leader_epoch, rd_kafka_message_t,
    rd_kafka_message_timestamp, rd_kafka_queue_destroy, rd_kafka_queue_forward,
    rd_kafka_queue_get_consumer, rd_kafka_queue_get_partition, rd_kafka_queue_t,
    rd_kafka_topic_partition_list_t,
};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{IsError, KafkaError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::replay::{Replay, header};
use super::unreadable::{self, Unreadable};
use crate::log_life::Point;
use crate::record::origin::{Headers, Origin};
use crate::topic_partition::TopicPartition;

/// Asks the client to commit the stored offsets now. The result always comes as a commit event of the consumer, even when there
/// is nothing to commit. (The safe call commits as well, but reports no result.) Does not wait.
///
/// # Errors
/// The client is not in a group.
pub fn commit_stored<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> KafkaResult<()> {
    commit(consumer, std::ptr::null())
}

/// Asks the client to commit these offsets, even where they are lower than what it committed before; of stored offsets it
/// commits only higher ones. The result comes as that of [`commit_stored`]. Does not wait.
///
/// # Errors
/// The client is not in a group.
pub fn commit_at<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    offsets: &TopicPartitionList,
) -> KafkaResult<()> {
    commit(consumer, offsets.ptr())
}

fn commit<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    offsets: *const rd_kafka_topic_partition_list_t,
) -> KafkaResult<()> {
    let client = consumer.client().native_ptr();
    // SAFETY: the client is alive; the list is null ("what is stored") or alive, and copied by the call; the queue is ours until
    // destroyed below, and the client keeps a reference of its own for the event; without a callback the event goes to that queue.
    let error = unsafe {
        let queue = rd_kafka_queue_get_consumer(client);
        if queue.is_null() {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_GROUP
        } else {
            let error = rd_kafka_commit_queue(client, offsets, queue, None, std::ptr::null_mut());
            rd_kafka_queue_destroy(queue);
            error
        }
    };
    if error.is_error() {
        return Err(KafkaError::ConsumerCommit(error.into()));
    }
    Ok(())
}

/// One partition's queue.
pub struct PartitionQueue<C: ConsumerContext + 'static> {
    /// Handle of librdkafka's queue of the partition, owned by this value and destroyed with it.
    queue: NonNull<rd_kafka_queue_t>,
    /// The client to which the queue belongs. Declared last and dropped last, so that the queue never outlives the client.
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's queues may be used and destroyed from any thread; the pointer is owned by this value alone.
unsafe impl<C: ConsumerContext + 'static> Send for PartitionQueue<C> {}

impl<C: ConsumerContext + 'static> PartitionQueue<C> {
    /// Splits the partition's messages off into their own queue, for as long as the client knows the partition.
    ///
    /// Returns `None` for a topic name that librdkafka cannot take.
    pub fn open(consumer: &Arc<BaseConsumer<C>>, key: &TopicPartition) -> Option<Self> {
        let topic = CString::new(&*key.topic).ok()?;
        // SAFETY: the client is alive (we hold it), the name is a C string that outlives the call.
        let queue = unsafe {
            rd_kafka_queue_get_partition(
                consumer.client().native_ptr(),
                topic.as_ptr(),
                key.partition,
            )
        };
        let queue = NonNull::new(queue)?;
        // SAFETY: the queue was just given to us; a null destination means "keep the messages here".
        unsafe { rd_kafka_queue_forward(queue.as_ptr(), std::ptr::null_mut()) };
        Some(Self {
            queue,
            consumer: Arc::clone(consumer),
        })
    }

    /// Moves messages out of the queue until `most` are in `into`; returns how many came. Never blocks.
    pub fn read(&self, most: usize, into: &mut Messages<C>) -> usize {
        let before = into.raw.len();
        into.raw.reserve(most.saturating_sub(before));
        while into.raw.len() < most {
            let want = most - into.raw.len();
            let spare = into.raw.spare_capacity_mut();
            // SAFETY: the queue is alive; `spare` has room for `want` pointers, and librdkafka writes the first `got` of them.
            let got = unsafe {
                rd_kafka_consume_batch_queue(
                    self.queue.as_ptr(),
                    0,
                    spare.as_mut_ptr().cast(),
                    want,
                )
            };
            let got = usize::try_from(got).unwrap_or(0);
            // SAFETY: the first `got` spare places were just written.
            unsafe { into.raw.set_len(into.raw.len() + got) };
            if got < want {
                break;
            }
        }
        into.raw.len() - before
    }

    /// An empty buffer for [`read`](Self::read).
    pub fn buffer(&self) -> Messages<C> {
        Messages::none(&self.consumer)
    }
}

impl<C: ConsumerContext + 'static> Drop for PartitionQueue<C> {
    fn drop(&mut self) {
        // SAFETY: owned by this value, destroyed once, before the client.
        unsafe { rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// Messages read from one partition, in order. Dropping them returns their memory to librdkafka.
pub struct Messages<C: ConsumerContext + 'static> {
    /// librdkafka's messages, owned by this value and destroyed with it.
    raw: Vec<*mut rd_kafka_message_t>,
    /// The client to which the messages' memory belongs, kept alive by a worker that has them. Declared last and dropped last.
    #[expect(dead_code, reason = "keeps the client alive as long as its messages")]
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's messages may be read and destroyed from any thread; the pointers are owned by this value alone.
unsafe impl<C: ConsumerContext + 'static> Send for Messages<C> {}

impl<C: ConsumerContext + 'static> Messages<C> {
    /// No messages.
    #[must_use]
    pub fn none(consumer: &Arc<BaseConsumer<C>>) -> Self {
        Self {
            raw: Vec::new(),
            consumer: Arc::clone(consumer),
        }
    }

    /// The messages in order; an error in a message's place is returned as an error.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Result<Message<'_>, RDKafkaErrorCode>> {
        self.raw.iter().map(|&raw| {
            // SAFETY: not null (librdkafka never returns null messages) and alive until `clear` or drop, which need `&mut self`.
            let message = Message {
                raw: unsafe { &*raw },
            };
            match message.raw.err {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(message),
                error => Err(error.into()),
            }
        })
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The lowest offset of the errors in messages' places, if the client gave one.
    #[must_use]
    pub fn error_at(&self) -> Option<i64> {
        let errors = self.raw.iter().filter_map(|&raw| {
            // SAFETY: as in `iter`.
            let raw = unsafe { &*raw };
            let failed = raw.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
            (failed && raw.offset >= 0).then_some(raw.offset)
        });
        errors.min()
    }

    /// One pass over the messages: offsets, bytes, and the first message that does not continue the log.
    #[must_use]
    pub fn survey(&self, read_to: i64, epoch: i32) -> Survey {
        let mut survey = Survey {
            first: None,
            read_to,
            bytes: 0,
            back: None,
        };
        let ends = |message: Option<Message<'_>>| message.map(|message| message.epoch());
        let epochs = (
            ends(self.iter().flatten().next()),
            ends(self.iter().flatten().next_back()),
        );
        // The epoch is read per message only if it changes within the batch.
        let changes = [epochs.0, epochs.1]
            .into_iter()
            .flatten()
            .any(|found| found != epoch);
        let mut newest = epoch;
        for (at, message) in self.iter().enumerate() {
            let Ok(message) = message else { continue };
            let written = if changes { message.epoch() } else { epoch };
            if message.offset() < survey.read_to || (written >= 0 && written < newest) {
                survey.back = Some(at);
                break;
            }
            newest = newest.max(written);
            survey.first.get_or_insert(message.offset());
            survey.read_to = message.offset() + 1;
            survey.bytes += message.raw.len as u64;
        }
        survey
    }

    /// Discards the messages from this place on; gives their number.
    pub fn cut(&mut self, at: usize) -> usize {
        let at = at.min(self.raw.len());
        let cut = self.raw.len() - at;
        for raw in self.raw.drain(at..) {
            // SAFETY: owned by this value, destroyed once.
            unsafe { rd_kafka_message_destroy(raw) };
        }
        cut
    }

    /// Takes out the first error about the data itself, and discards everything behind it: the client skips some unreadable
    /// batches without being asked to.
    pub fn take_unreadable(&mut self) -> Option<Unreadable> {
        let code = |raw: *mut rd_kafka_message_t| {
            // SAFETY: as in `iter`.
            let error = unsafe { (*raw).err };
            (error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR)
                .then(|| RDKafkaErrorCode::from(error))
                .filter(|code| unreadable::is_of_data(*code))
        };
        let at = self.raw.iter().position(|&raw| code(raw).is_some())?;
        // SAFETY: as in `iter`.
        let raw = unsafe { &*self.raw[at] };
        let text = bytes(raw.payload, raw.len).unwrap_or_default();
        let found = Unreadable {
            offset: raw.offset,
            code: raw.err.into(),
            text: String::from_utf8_lossy(text).into_owned(),
        };
        self.cut(at);
        Some(found)
    }

    /// Returns every message's memory to librdkafka.
    pub fn clear(&mut self) {
        for raw in self.raw.drain(..) {
            // SAFETY: owned by this value, destroyed once.
            unsafe { rd_kafka_message_destroy(raw) };
        }
    }
}

impl<C: ConsumerContext + 'static> Drop for Messages<C> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What one pass over messages found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    /// The first offset of the messages that continue the log.
    pub first: Option<i64>,
    /// Offset behind the last of them.
    pub read_to: i64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Place of the first message that does not continue the log: its offset was read before, or its leader epoch is older than
    /// one before.
    pub back: Option<usize>,
}

/// One message, borrowed.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    raw: &'a rd_kafka_message_t,
}

impl<'a> Message<'a> {
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.raw.offset
    }

    /// The leader epoch it was written under; -1 where the broker gives none.
    #[must_use]
    pub fn epoch(&self) -> i32 {
        // SAFETY: the message is alive for 'a.
        unsafe { rd_kafka_message_leader_epoch(self.raw) }
    }

    /// Its fingerprint.
    #[must_use]
    pub fn point(&self) -> Point {
        Point::new(
            self.offset(),
            self.epoch(),
            self.timestamp_ms(),
            self.key(),
            self.payload(),
        )
    }

    /// `None` for a tombstone.
    #[must_use]
    pub fn payload(&self) -> Option<&'a [u8]> {
        bytes(self.raw.payload, self.raw.len)
    }

    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        bytes(self.raw.key, self.raw.key_len)
    }

    /// What the headers say of a message that was replayed; `None` for any other. Costs one call for a message without headers.
    #[must_use]
    pub fn replay(&self) -> Option<Replay> {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is alive for 'a; the headers that the client gives belong to it.
        let error = unsafe { rd_kafka_message_headers(self.raw, &raw mut headers) };
        if error.is_error() || headers.is_null() {
            return None;
        }
        let replays = last_header(headers, header::REPLAYS_C);
        Replay::of(replays, last_header(headers, header::REPLAY_SHAPE_C))
    }

    /// Milliseconds since the epoch, when the broker gave a timestamp.
    #[must_use]
    pub fn timestamp_ms(&self) -> Option<i64> {
        let mut kind =
            rdkafka::bindings::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive for 'a.
        let at = unsafe { rd_kafka_message_timestamp(self.raw, &raw mut kind) };
        (at >= 0).then_some(at)
    }

    /// Where it came from, for mappings that read it.
    #[must_use]
    pub fn origin(&'a self, topic: &'a str) -> Origin<'a> {
        Origin {
            topic,
            partition: self.raw.partition,
            offset: self.offset(),
            timestamp_ms: self.timestamp_ms(),
            key: self.key(),
            headers: self,
        }
    }
}

impl Headers for Message<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        let name = CString::new(name).ok()?;
        let (mut headers, mut value, mut len) = (std::ptr::null_mut(), std::ptr::null(), 0);
        // SAFETY: the message is alive, its headers are its own, and the name ends with a zero; the value lives as long as the message.
        let found = unsafe {
            rd_kafka_message_headers(self.raw, &raw mut headers)
                == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
                && rd_kafka_header_get_last(headers, name.as_ptr(), &raw mut value, &raw mut len)
                    == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        };
        found.then(|| bytes(value.cast_mut(), len)).flatten()
    }

    fn each(&self, with: &mut dyn FnMut(&str, &[u8])) {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is alive; the headers that the client gives belong to it.
        let error = unsafe { rd_kafka_message_headers(self.raw, &raw mut headers) };
        if error.is_error() || headers.is_null() {
            return;
        }
        for number in 0.. {
            let (mut name, mut value, mut len) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: the headers are alive; name, value and length are written only on success.
            let error = unsafe {
                rd_kafka_header_get_all(
                    headers,
                    number,
                    &raw mut name,
                    &raw mut value,
                    &raw mut len,
                )
            };
            if error.is_error() || name.is_null() {
                return;
            }
            // SAFETY: the client ends names with a zero byte; the name lives as long as the message.
            if let Ok(name) = unsafe { CStr::from_ptr(name) }.to_str() {
                with(name, bytes(value.cast_mut(), len).unwrap_or_default());
            }
        }
    }
}

/// The value of the last header of that name; the headers of a live message are given for at most its lifetime.
fn last_header<'a>(headers: *mut rd_kafka_headers_t, name: &CStr) -> Option<&'a [u8]> {
    let (mut value, mut size) = (std::ptr::null(), 0);
    // SAFETY: the headers are alive; value and size are written only on success.
    let error =
        unsafe { rd_kafka_header_get_last(headers, name.as_ptr(), &raw mut value, &raw mut size) };
    if error.is_error() {
        return None;
    }
    bytes(value.cast_mut(), size)
}

fn bytes<'a>(start: *mut std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: librdkafka gives a pointer to `len` bytes, or null; they live as long as the message ('a at the only callers).
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) })
}
