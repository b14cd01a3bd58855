//! The telemetry consumer's door: everything the Kafka client does to us becomes one [`Event`].
//!
//! Owns the callbacks and nothing else: each only notes what happened, so none can wait for a task. The consumer thread
//! ([`super::reader`]) takes the events from a channel without a bound; the client makes few, and each is small.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{ClientContext, TopicPartitionList};

use super::log_watch::Answer;
use crate::log_life::broker::{Committed, Key, committed_in};
use crate::ops::metrics::pipeline as metrics;

/// Everything the client does to us, and what is found out about the logs it reads.
#[derive(Debug)]
pub enum Event {
    Assigned(Vec<(String, i32)>),
    Revoked(Vec<(String, i32)>),
    Committed(Vec<(Key, Committed)>),
    CommitFailed(String),
    /// All that is stored was committed before.
    NothingToCommit,
    Lag(Vec<(String, i32, i64)>),
    /// The client's own word about the group: whether it has joined and has its partitions, and its states.
    Membership {
        steady: bool,
        states: String,
    },
    /// Up to where the client has fetched, of partitions of which everything fetched was read: messages that are not for
    /// applications (control records of transactions) are passed over in silence.
    Fetched(Vec<(String, i32, i64)>),
    Failed {
        error: KafkaError,
        reason: String,
    },
    /// The client moved to another offset by its reset rule.
    OffsetReset,
    /// What the broker says of the life of logs.
    Log(Vec<Answer>),
}

/// How others than the client bring events in.
#[derive(Clone)]
pub struct Answers(std_mpsc::Sender<Event>);

impl Answers {
    /// Whether somebody is left to hear it.
    pub fn give(&self, answers: Vec<Answer>) -> bool {
        self.0.send(Event::Log(answers)).is_ok()
    }
}

/// The door through which the client's callbacks come in.
pub struct Events {
    /// To the consumer thread, which has the receiver; a late event after its end is discarded.
    to: std_mpsc::Sender<Event>,
    /// Set while leaving: an assign or a revoke is answered by the callback itself, because nothing is left to drain.
    closing: AtomicBool,
}

impl Events {
    /// The door and the room behind it.
    #[must_use]
    pub fn channel() -> (Self, std_mpsc::Receiver<Event>) {
        let (to, from) = std_mpsc::channel();
        (
            Self {
                to,
                closing: AtomicBool::new(false),
            },
            from,
        )
    }

    /// Where answers about the life of logs go.
    #[must_use]
    pub fn answers(&self) -> Answers {
        Answers(self.to.clone())
    }

    fn tell(&self, event: Event) {
        // The receiver goes away only when the thread ends; late events concern nobody.
        let _ = self.to.send(event);
    }

    /// From now on every wish of the group is granted without a drain.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

fn named(list: &TopicPartitionList) -> Vec<(String, i32)> {
    list.elements()
        .iter()
        .map(|element| (element.topic().to_owned(), element.partition()))
        .collect()
}

/// What a line of the client's log was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    OffsetReset,
    Other,
}

/// One line of the client's own log. An offset reset may mean lost records, so it is an alarm.
pub fn log_client(level: RDKafkaLogLevel, facility: &str, message: &str) -> Told {
    if message.contains("offset reset") {
        metrics::offset_reset();
        tracing::warn!(
            facility,
            message,
            "the client moved to another offset by its reset rule"
        );
        return Told::OffsetReset;
    }
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::warn!(facility, message, "kafka client");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
            tracing::info!(facility, message, "kafka client")
        }
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(facility, message, "kafka client")
        }
    }
    Told::Other
}

impl ClientContext for Events {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = false;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if log_client(level, facility, message) == Told::OffsetReset {
            self.tell(Event::OffsetReset);
        }
    }

    fn stats(&self, statistics: Statistics) {
        let lag = statistics.topics.values().flat_map(|topic| {
            topic
                .partitions
                .values()
                .filter(|p| p.partition >= 0 && p.consumer_lag >= 0)
                .map(|p| (topic.topic.clone(), p.partition, p.consumer_lag))
        });
        self.tell(Event::Lag(lag.collect()));
        let fetched = statistics.topics.values().flat_map(|topic| {
            topic
                .partitions
                .values()
                .filter(|p| p.partition >= 0 && p.fetchq_cnt == 0 && p.next_offset >= 0)
                .map(|p| (topic.topic.clone(), p.partition, p.next_offset))
        });
        self.tell(Event::Fetched(fetched.collect()));
        if let Some(group) = statistics.cgrp {
            self.tell(Event::Membership {
                steady: group.join_state == "steady" && group.state == "up",
                states: format!("coordinator {}, join {}", group.state, group.join_state),
            });
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.tell(Event::Failed {
            error,
            reason: reason.to_owned(),
        });
    }
}

impl ConsumerContext for Events {
    /// Only notes what the group wants: the thread answers with an assign or unassign of its own when the workers are ready.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let closing = self.closing.load(Ordering::Acquire);
        let granted = match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS if closing => {
                consumer.incremental_assign(list)
            }
            _ if closing => consumer.incremental_unassign(list),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.tell(Event::Assigned(named(list)));
                return;
            }
            _ => {
                self.tell(Event::Revoked(named(list)));
                return;
            }
        };
        // Without an answer the client would wait for one for ever, and never close.
        if let Err(error) = granted {
            tracing::warn!(%error, "the group's last wish was not granted while leaving");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        match result {
            Ok(()) => self.tell(Event::Committed(committed_in(offsets))),
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {
                self.tell(Event::NothingToCommit);
            }
            Err(error) => self.tell(Event::CommitFailed(error.to_string())),
        }
    }
}
