//! The writer of replayed letters and of marks, both in one Kafka transaction (L1).
//!
//! Owns a transactional producer, whose transactional id is `TOPIC.replay` of the state topic.
//!
//! * [`Writer::take_over`] fences a replay that began before: two at once would send letters twice. What an earlier one left open
//!   is aborted.
//! * A transaction that was not committed left nothing that the job reads: neither messages nor marks.
//!
//! Consumers of the partitions wait for an open transaction, so it is short: one batch. When the program is killed, the broker ends it
//! after [`TRANSACTION`], and the partitions written to wait for that long. Blocks the calling thread, which must be a blocking
//! thread of the runtime.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::place::LetterPlace;
use crate::access;
use crate::pipeline::kafka;
use crate::pipeline::replay::{NATIVE, header};

/// Transaction timeout: how long the broker waits for a program that was killed.
const TRANSACTION: Duration = Duration::from_secs(15);
/// How long a batch may take to be confirmed; below [`TRANSACTION`], as the client requires.
const WRITE: Duration = Duration::from_secs(10);
/// How long a take-over may last: the broker may have to end the transaction of the replay before.
const TAKE_OVER: Duration = Duration::from_secs(40);
/// How long one request may wait for its answer.
const REQUEST: Duration = Duration::from_secs(5);

/// A letter as it is written to its input topic.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub letter: LetterPlace,
    pub topic: String,
    /// `None`: by the key.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    /// This replay included.
    pub replays: u32,
    pub native: bool,
}

impl Outgoing {
    pub fn bytes(&self) -> usize {
        self.value.len() + self.key.as_ref().map_or(0, Vec::len) + 256
    }

    fn headers(&self) -> OwnedHeaders {
        let (replays, letter) = (self.replays.to_string(), self.letter.to_string());
        let mut headers = OwnedHeaders::new();
        let shape = self.native.then_some((header::REPLAY_SHAPE, NATIVE));
        let ours = [(header::REPLAYS, &*replays), (header::REPLAY_OF, &*letter)];
        for (key, value) in ours.into_iter().chain(shape) {
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
        }
        headers
    }
}

/// Why a batch was not written. Nothing of it counts, unless the end of its transaction was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// The broker refused one of the messages; the same batch would be refused again.
    #[error("the broker refused a message: {0}")]
    Refused(KafkaError),
    #[error(
        "another replay began with the same settings; this one ends, and what it had replayed is marked"
    )]
    Replaced,
    #[error("the broker did not confirm {act}: {error}{}", remedy(.error))]
    Unconfirmed {
        act: &'static str,
        error: KafkaError,
    },
}

fn remedy(error: &KafkaError) -> &'static str {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => {
            "; grant the user Write and Describe on transactional ids that begin with the name of topics.state"
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            "; grant the user Write on the input topics and on topics.state"
        }
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            "; topics.state must exist: run the job once, or create it with cleanup.policy=compact"
        }
        _ => "; what is confirmed is marked, so the command may be given again",
    }
}

/// See the module's documentation.
pub(super) struct Writer {
    /// Transactional producer. Dropped, an open transaction is ended by the next writer or by its timeout.
    producer: FutureProducer,
    /// Name of the state topic.
    state_topic: String,
}

impl Writer {
    /// # Errors
    /// Properties that the client refuses.
    pub fn open(kafka: &kafka::Config, state_topic: &str) -> anyhow::Result<Self> {
        let mut client = kafka.producer()?;
        client
            .set("transactional.id", format!("{state_topic}.replay"))
            .set(
                "transaction.timeout.ms",
                TRANSACTION.as_millis().to_string(),
            )
            .set("message.timeout.ms", WRITE.as_millis().to_string())
            .set("socket.timeout.ms", REQUEST.as_millis().to_string())
            .set("linger.ms", "5");
        let producer: FutureProducer = client
            .create()
            .context("cannot open the writer of replayed letters")?;
        access::prime(producer.client());
        Ok(Self {
            producer,
            state_topic: state_topic.to_owned(),
        })
    }

    /// # Errors
    /// No broker answers, or it does not permit the transactional id.
    pub fn take_over(&self) -> Result<(), WriteError> {
        self.producer
            .init_transactions(TAKE_OVER)
            .map_err(|error| self.failed("the take-over from an earlier replay", error))
    }

    /// Writes messages in their order, and marks, in one transaction.
    ///
    /// # Errors
    /// As [`WriteError`] says; an open transaction was aborted.
    pub fn write<'m>(
        &self,
        messages: impl Iterator<Item = &'m Outgoing>,
        marks: impl Iterator<Item = (String, Vec<u8>)>,
    ) -> Result<(), WriteError> {
        self.producer
            .begin_transaction()
            .map_err(|error| self.failed("the beginning of a transaction", error))?;
        match self.send(messages, marks) {
            Ok(()) => self.commit(),
            Err(error) => {
                let refused = matches!(error, WriteError::Refused(_));
                match self.producer.abort_transaction(WRITE) {
                    // The batch may be divided and tried again only where nothing of it is left open.
                    Err(open) if refused => Err(self.failed("the abortion of a transaction", open)),
                    _ => Err(error),
                }
            }
        }
    }

    fn send<'m>(
        &self,
        messages: impl Iterator<Item = &'m Outgoing>,
        marks: impl Iterator<Item = (String, Vec<u8>)>,
    ) -> Result<(), WriteError> {
        let mut waiting = Vec::new();
        for message in messages {
            let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&message.topic)
                .payload(&message.value[..])
                .headers(message.headers());
            record.key = message.key.as_deref();
            record.partition = message.partition;
            waiting.push(self.hand_over(record)?);
        }
        for (key, value) in marks {
            let record = FutureRecord::to(&self.state_topic)
                .key(key.as_bytes())
                .payload(&value[..]);
            waiting.push(self.hand_over(record)?);
        }
        let runtime = tokio::runtime::Handle::current();
        for delivery in waiting {
            match runtime.block_on(delivery) {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => return Err(self.refused(error)),
                Err(_) => return Err(self.refused(KafkaError::Canceled)),
            }
        }
        Ok(())
    }

    /// The client's queue has room for a batch and its marks.
    fn hand_over(
        &self,
        record: FutureRecord<'_, [u8], [u8]>,
    ) -> Result<DeliveryFuture, WriteError> {
        self.producer
            .send_result(record)
            .map_err(|(error, _)| self.refused(error))
    }

    /// Commits the transaction; after a retriable error the same call is repeated, because only that call can end it.
    fn commit(&self) -> Result<(), WriteError> {
        let until = Instant::now() + WRITE;
        loop {
            match self.producer.commit_transaction(WRITE) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && Instant::now() < until => {}
                Err(error) => {
                    if let KafkaError::Transaction(asked) = &error
                        && asked.txn_requires_abort()
                        && let Err(error) = self.producer.abort_transaction(WRITE)
                    {
                        return Err(self.failed("the abortion of a transaction", error));
                    }
                    return Err(self.failed("the end of a transaction", error));
                }
            }
        }
    }

    fn refused(&self, error: KafkaError) -> WriteError {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessage
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidMessageSize,
            ) => WriteError::Refused(error),
            _ => self.failed("a batch", error),
        }
    }

    fn failed(&self, act: &'static str, error: KafkaError) -> WriteError {
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        let codes = [fatal, error.rdkafka_error_code()];
        let fenced = |code: RDKafkaErrorCode| {
            matches!(
                code,
                RDKafkaErrorCode::Fenced
                    | RDKafkaErrorCode::ProducerFenced
                    | RDKafkaErrorCode::InvalidProducerEpoch
                    | RDKafkaErrorCode::TransactionCoordinatorFenced
            )
        };
        match codes.into_iter().flatten().any(fenced) {
            true => WriteError::Replaced,
            false => WriteError::Unconfirmed { act, error },
        }
    }
}
