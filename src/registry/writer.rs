//! The writer of the registry's topic: changes in Kafka transactions, so that the bytes of a replaced writer never count (G2).
//!
//! Owns a transactional producer. Its transactional id decides which writers fence each other: the id of the orders journey is
//! for the holder of the lease ([`Writer::for_orders`]), all commands share another one ([`Writer::new`]).
//!
//! * [`Writer::take_over`] fences every earlier writer of the same id and aborts its open transaction: the broker refuses
//!   whatever of it arrives later.
//! * A change counts when its transaction is committed; readers read committed messages only. Changes keep their order.
//! * A writer that failed is discarded: a new one begins with a take-over, which ends an open transaction.
//!
//! No queue but the client's own. A change that is dropped half-way is aborted by the next change, or by the broker when the
//! transaction times out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use serde::Serialize;
use tokio::sync::Mutex;

use super::Device;
use super::mark::{self, Mark};
use crate::access;
use crate::rights::{self, Operation, Resource};

/// How often a transaction is begun again that the client dropped before it was sent.
const AGAIN: usize = 3;
/// How long one change may wait for the broker before a command gives up.
const WRITE: Duration = Duration::from_secs(30);
/// Transaction timeout: how long the broker waits for a writer that is gone. A successor ends the transaction at once.
const TRANSACTION: Duration = Duration::from_secs(60);
/// How long a take-over may last: the broker may have to abort the transaction of the writer before.
const TAKE_OVER: Duration = Duration::from_secs(20);
/// How long one request may wait for its answer; the client requires less than [`TRANSACTION`].
const REQUEST: Duration = Duration::from_secs(10);
/// Most messages of one transaction.
const TOGETHER: usize = 10_000;
/// Bytes of a batch of changes, far below the default limit of a topic.
const BATCH: u32 = 16 * 1024;
/// Pause while the client's queue is full.
const FULL: Duration = Duration::from_millis(20);

/// One message of the topic.
#[derive(Debug, Clone, Copy)]
pub enum Message<'a> {
    /// A device, with its unit.
    Device(&'a Device, Option<&'a str>),
    /// A tombstone: the device is unknown from now on.
    Forget(&'a str),
    Mark(&'a Mark),
}

/// A device as it is written.
#[derive(Serialize)]
struct Value<'a> {
    #[serde(flatten)]
    device: &'a Device,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
}

impl<'a> Message<'a> {
    fn key(&self) -> &'a str {
        match self {
            Self::Device(device, _) => &device.device_id,
            Self::Forget(id) => id,
            Self::Mark(_) => mark::KEY,
        }
    }

    fn value(&self) -> Option<Vec<u8>> {
        let plain = "texts, numbers and lists of texts serialise";
        match *self {
            Self::Device(device, unit) => {
                Some(serde_json::to_vec(&Value { device, unit }).expect(plain))
            }
            Self::Forget(_) => None,
            Self::Mark(mark) => Some(serde_json::to_vec(mark).expect(plain)),
        }
    }
}

/// Why a change was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another writer has fenced this one; nothing of the change counts, now or later.
    #[error(
        "the device registry {topic} has another writer now (transactional id {id}); nothing was written"
    )]
    Replaced { topic: String, id: String },
    /// The broker did not confirm the change. If the commit was not answered, the change may count all the same.
    #[error("the device registry {topic} did not confirm {what}: {error}{}", remedy(.error, .topic, .id))]
    Unconfirmed {
        topic: String,
        /// Transactional id of the writer.
        id: String,
        what: String,
        error: KafkaError,
    },
}

fn remedy(error: &KafkaError, topic: &str, id: &str) -> String {
    let grant = |resource| format!("; {}", rights::grant(Operation::Write, resource));
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => {
            grant(Resource::TransactionalId(id))
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => grant(Resource::Topic(topic)),
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
            format!("; raise max.message.bytes of {topic}")
        }
        _ => String::new(),
    }
}

impl WriteError {
    /// Whether a later attempt, with a new writer, may succeed.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Replaced { .. } => false,
            Self::Unconfirmed { error, .. } => !matches!(
                error.rdkafka_error_code(),
                Some(
                    RDKafkaErrorCode::MessageSizeTooLarge
                        | RDKafkaErrorCode::TopicAuthorizationFailed
                        | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                        | RDKafkaErrorCode::InvalidRecord
                )
            ),
        }
    }

    /// Whether the topic takes no batch of that size: less at once may be taken. `false` for a commit, whose size is not ours.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        match self {
            Self::Replaced { .. } => false,
            Self::Unconfirmed { error, .. } => matches!(
                error.rdkafka_error_code(),
                Some(
                    RDKafkaErrorCode::MessageSizeTooLarge
                        | RDKafkaErrorCode::MessageBatchTooLarge
                        | RDKafkaErrorCode::InvalidMessageSize
                )
            ),
        }
    }

    /// Whether the client dropped the change before it was sent.
    fn is_dropped(&self) -> bool {
        let code = match self {
            Self::Replaced { .. } => None,
            Self::Unconfirmed { error, .. } => error.rdkafka_error_code(),
        };
        code == Some(RDKafkaErrorCode::PurgeQueue)
    }

    /// Whether the change may be in the topic although it was not confirmed.
    #[must_use]
    pub fn may_have_effects(&self) -> bool {
        match self {
            Self::Replaced { .. } => false,
            Self::Unconfirmed { what, .. } => what == COMMIT,
        }
    }
}

const COMMIT: &str = "the end of a transaction";

/// State of a writer's transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Earlier writers are not fenced yet.
    New,
    Idle,
    /// A transaction was begun and did not end.
    Open,
}

/// See the module's documentation. Clones share one producer, and with it one order.
#[derive(Clone)]
pub struct Writer {
    /// Transactional producer; all clones share it. Dropped with the last of them, an open transaction is aborted by the next
    /// writer or by its timeout.
    producer: FutureProducer,
    /// Name of the topic.
    topic: Arc<str>,
    /// Transactional id, by which a later writer fences this one.
    id: Arc<str>,
    /// How long a change may wait for the broker.
    within: Duration,
    /// Held for a whole transaction, over awaits: the client has room for one, and a second change has to wait for its end.
    state: Arc<Mutex<State>>,
}

impl Writer {
    /// The writer of a command; a command that begins later fences it. `client`: the properties of an idempotent producer.
    ///
    /// # Errors
    /// Properties that the client refuses.
    pub fn new(client: &ClientConfig, topic: &str) -> anyhow::Result<Self> {
        Self::with_id(client, topic, format!("{topic}.commands"), WRITE)
    }

    /// The writer of the orders journey, for one holding of the lease. A change that the broker has not confirmed within
    /// `bound` is given up.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_orders(client: &ClientConfig, topic: &str, bound: Duration) -> anyhow::Result<Self> {
        Self::with_id(client, topic, format!("{topic}.orders"), bound)
    }

    fn with_id(
        client: &ClientConfig,
        topic: &str,
        id: String,
        bound: Duration,
    ) -> anyhow::Result<Self> {
        let mut client = client.clone();
        // The client refuses a message that may live longer than its transaction.
        let within = bound.clamp(Duration::from_millis(500), TRANSACTION - REQUEST);
        client
            .set("transactional.id", &id)
            .set(
                "transaction.timeout.ms",
                TRANSACTION.as_millis().to_string(),
            )
            .set("socket.timeout.ms", REQUEST.as_millis().to_string())
            .set("message.timeout.ms", within.as_millis().to_string())
            .set("linger.ms", "5");
        // A broker refuses a batch that is larger than its topic takes, and the client does not split it.
        if client.get("batch.size").is_none() {
            client.set("batch.size", BATCH.to_string());
        }
        let producer: FutureProducer = client
            .create()
            .context("cannot open the writer of the device registry")?;
        access::prime(producer.client());
        Ok(Self {
            producer,
            topic: topic.into(),
            id: id.into(),
            within,
            state: Arc::new(Mutex::new(State::New)),
        })
    }

    /// Fences every earlier writer of the same transactional id. The first change does it if no call did before.
    ///
    /// # Errors
    /// No broker answers, or the broker does not permit the transactional id.
    pub async fn take_over(&self) -> Result<(), WriteError> {
        let mut state = self.state.lock().await;
        self.begin(&mut state).await
    }

    async fn begin(&self, state: &mut State) -> Result<(), WriteError> {
        match *state {
            State::Idle => return Ok(()),
            State::New => {
                self.call("the take-over", |producer| {
                    producer.init_transactions(TAKE_OVER)
                })
                .await?;
            }
            State::Open => self.abort().await?,
        }
        *state = State::Idle;
        Ok(())
    }

    /// Writes devices in their order and waits for the commit.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn write(&self, devices: &[Device]) -> Result<(), WriteError> {
        let messages = devices.iter().map(|device| Message::Device(device, None));
        self.change(messages).await
    }

    /// Writes tombstones for devices, and waits for the commit.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn forget(&self, device_ids: &[&str]) -> Result<(), WriteError> {
        self.change(device_ids.iter().map(|id| Message::Forget(id)))
            .await
    }

    /// Writes messages in their order, in transactions of at most `TOGETHER`, and waits until each is committed.
    ///
    /// # Errors
    /// The first transaction that was not committed; those before it are.
    pub async fn change(
        &self,
        messages: impl IntoIterator<Item = Message<'_>>,
    ) -> Result<(), WriteError> {
        let mut state = self.state.lock().await;
        let mut messages = messages.into_iter().peekable();
        while messages.peek().is_some() {
            let together: Vec<Message<'_>> = messages.by_ref().take(TOGETHER).collect();
            let mut dropped = 0;
            loop {
                self.begin(&mut state).await?;
                self.call(
                    "the beginning of a transaction",
                    FutureProducer::begin_transaction,
                )
                .await?;
                *state = State::Open;
                let Err(error) = self.send(&together).await else {
                    break;
                };
                let error = self.reason(error).await;
                if self.abort().await.is_ok() {
                    *state = State::Idle;
                }
                // The client drops what is queued while it gets a new epoch after a refused message; nothing of it was sent.
                dropped += 1;
                if !error.is_dropped() || dropped > AGAIN {
                    return Err(error);
                }
            }
            let within = self.within;
            self.call(COMMIT, move |producer| commit(producer, within))
                .await?;
            *state = State::Idle;
        }
        Ok(())
    }

    /// Why messages were not sent. The client keeps back those of a topic that the broker does not let it add to a transaction, until
    /// they are too old, and says why only when it is asked to commit; after a message that failed it commits nothing.
    async fn reason(&self, error: WriteError) -> WriteError {
        let code = match &error {
            WriteError::Replaced { .. } => None,
            WriteError::Unconfirmed { error, .. } => error.rdkafka_error_code(),
        };
        if !matches!(
            code,
            Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::PurgeQueue)
        ) {
            return error;
        }
        let within = self.within;
        let told = self
            .call(COMMIT, move |producer| producer.commit_transaction(within))
            .await;
        match (told, error) {
            (
                Err(WriteError::Unconfirmed { error: told, .. }),
                WriteError::Unconfirmed {
                    topic, id, what, ..
                },
            ) if told.rdkafka_error_code().is_some_and(rights::is_missing) => {
                WriteError::Unconfirmed {
                    topic,
                    id,
                    what,
                    error: told,
                }
            }
            (_, error) => error,
        }
    }

    async fn abort(&self) -> Result<(), WriteError> {
        let within = self.within;
        self.call("the abortion of a transaction", move |producer| {
            producer.abort_transaction(within)
        })
        .await
    }

    async fn send(&self, messages: &[Message<'_>]) -> Result<(), WriteError> {
        let mut waiting = VecDeque::new();
        for message in messages {
            let (key, value) = (message.key(), message.value());
            loop {
                let mut record: FutureRecord<'_, str, [u8]> =
                    FutureRecord::to(&self.topic).key(key);
                record.payload = value.as_deref();
                match self.producer.send_result(record) {
                    Ok(delivery) => {
                        waiting.push_back((key.to_owned(), delivery));
                        break;
                    }
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                        // If this change filled the queue, its oldest message is awaited; otherwise other messages make room.
                        match waiting.pop_front() {
                            Some((key, delivery)) => self.confirmed(&key, delivery).await?,
                            None => tokio::time::sleep(FULL).await,
                        }
                    }
                    Err((error, _)) => return Err(self.failed(key, error)),
                }
            }
        }
        for (key, delivery) in waiting {
            self.confirmed(&key, delivery).await?;
        }
        Ok(())
    }

    async fn confirmed(&self, key: &str, delivery: DeliveryFuture) -> Result<(), WriteError> {
        match delivery.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(self.failed(key, error)),
            Err(_) => Err(self.failed(key, KafkaError::Canceled)),
        }
    }

    /// Runs a blocking call of the client on a blocking thread.
    async fn call(
        &self,
        what: &str,
        call: impl FnOnce(&FutureProducer) -> Result<(), KafkaError> + Send + 'static,
    ) -> Result<(), WriteError> {
        access::upkeep(self.producer.client());
        let producer = self.producer.clone();
        match tokio::task::spawn_blocking(move || call(&producer)).await {
            Ok(result) => result.map_err(|error| self.failed(what, error)),
            Err(_) => Err(self.failed(what, KafkaError::Canceled)),
        }
    }

    fn failed(&self, what: &str, error: KafkaError) -> WriteError {
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        let replaced = [fatal, error.rdkafka_error_code()].into_iter().flatten();
        if replaced.into_iter().any(is_fencing) {
            return WriteError::Replaced {
                topic: self.topic.to_string(),
                id: self.id.to_string(),
            };
        }
        WriteError::Unconfirmed {
            topic: self.topic.to_string(),
            id: self.id.to_string(),
            what: what.to_owned(),
            error,
        }
    }
}

fn is_fencing(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Fenced
            | RDKafkaErrorCode::ProducerFenced
            | RDKafkaErrorCode::InvalidProducerEpoch
            | RDKafkaErrorCode::TransactionCoordinatorFenced
    )
}

/// Commits the transaction; after a retriable error the same call is repeated, because only that call can end it.
fn commit(producer: &FutureProducer, within: Duration) -> Result<(), KafkaError> {
    let until = std::time::Instant::now() + within;
    loop {
        match producer.commit_transaction(within) {
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && std::time::Instant::now() < until => {}
            result => return result,
        }
    }
}
