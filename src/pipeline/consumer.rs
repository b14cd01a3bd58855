//! The telemetry consumer's callbacks: everything that the Kafka client reports becomes one [`Event`].
//!
//! Owns the callbacks and nothing else. A callback only sends an event, so it never waits for a task. The consumer thread
//! ([`super::reader`]) takes the events from an unbounded channel; the client makes few of them, and each is small.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{ClientContext, TopicPartitionList};

use super::log_watch::Answer;
use crate::log_life::broker::{Committed, committed_in};
use crate::ops::metrics::pipeline as metrics;
use crate::topic_partition::TopicPartition;

/// Everything that the client reports through its callbacks, and what the broker answers about the logs that are read.
#[derive(Debug)]
pub enum Event {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    Committed(Vec<(TopicPartition, Committed)>),
    CommitFailed(KafkaError),
    /// A commit found every stored offset committed before.
    NothingToCommit,
    Lag(Vec<(TopicPartition, i64)>),
    /// Group membership by the client's statistics: whether the member is in state `steady`, and the states in words.
    Membership {
        steady: bool,
        states: String,
    },
    /// Fetch position of every partition whose fetched messages were all consumed. Control records of transactions are not
    /// delivered, so the position can be ahead of the newest message.
    Fetched(Vec<(TopicPartition, i64)>),
    Failed {
        error: KafkaError,
        reason: String,
    },
    /// The client reset its position by `auto.offset.reset`.
    OffsetReset,
    /// Answers of the broker about the life of logs.
    Log(Vec<Answer>),
}

/// Sends answers of the log-watch thread to the consumer thread, as events.
#[derive(Clone)]
pub struct Answers(std_mpsc::Sender<Event>);

impl Answers {
    /// Sends answers; false once the consumer thread has dropped its receiver.
    pub fn give(&self, answers: Vec<Answer>) -> bool {
        self.0.send(Event::Log(answers)).is_ok()
    }
}

/// The callback side: the context that the client calls, and the sender of the events.
pub struct Events {
    /// To the consumer thread, which has the receiver; a late event after its end is discarded.
    to: std_mpsc::Sender<Event>,
    /// Set while leaving: an assign or a revoke is answered by the callback itself, because nothing is left to drain.
    closing: AtomicBool,
}

impl Events {
    /// Creates the callback side and the receiver that the consumer thread drains.
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

    /// Gives the sender with which the log-watch thread delivers its answers.
    #[must_use]
    pub fn answers(&self) -> Answers {
        Answers(self.to.clone())
    }

    fn tell(&self, event: Event) {
        // The receiver is dropped only when the consumer thread ends; an event after that is discarded.
        let _ = self.to.send(event);
    }

    /// From now on the callback itself answers an assignment or a revocation, without a drain.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

fn named(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements()
        .iter()
        .map(|element| TopicPartition::new(element.topic(), element.partition()))
        .collect()
}

/// The subject of a line of the client's log, as far as the job reacts to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    OffsetReset,
    Other,
}

/// Writes one line of the client's log to ours. An offset reset may mean lost records, so it is counted and logged as a
/// warning.
pub fn log_client(level: RDKafkaLogLevel, facility: &str, message: &str) -> Told {
    if message.contains("offset reset") {
        metrics::offset_reset();
        tracing::warn!(
            facility,
            message,
            "librdkafka reset the offset of a partition (auto.offset.reset)"
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
                .map(|p| {
                    // The client counts up to the last stable offset; what an open transaction hides lags too.
                    let hidden = match p.ls_offset >= 0 {
                        true => p.hi_offset.saturating_sub(p.ls_offset).max(0),
                        false => 0,
                    };
                    (
                        TopicPartition::new(&topic.topic, p.partition),
                        p.consumer_lag + hidden,
                    )
                })
        });
        self.tell(Event::Lag(lag.collect()));
        let fetched = statistics.topics.values().flat_map(|topic| {
            topic
                .partitions
                .values()
                .filter(|p| p.partition >= 0 && p.fetchq_cnt == 0 && p.next_offset >= 0)
                .map(|p| {
                    (
                        TopicPartition::new(&topic.topic, p.partition),
                        p.next_offset,
                    )
                })
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
    /// Sends the pending rebalance to the consumer thread, which answers with an incremental assign or unassign once the
    /// workers are ready.
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
        // The client waits for an assign or unassign before it goes on, and would never close without one.
        if let Err(error) = granted {
            tracing::warn!(%error, "a pending rebalance was not completed during shutdown");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        match result {
            Ok(()) => self.tell(Event::Committed(committed_in(offsets))),
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {
                self.tell(Event::NothingToCommit);
            }
            Err(error) => self.tell(Event::CommitFailed(error)),
        }
    }
}
