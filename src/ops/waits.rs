//! Waits: whatever waits publishes here what waits, since when, why, and what a person can do about it (H1).
//!
//! Owns the list of published waits. [`StatusRegistry::wait`](super::status_registry::StatusRegistry::wait) adds one and returns a [`Wait`]; the entry is
//! removed when that value is dropped. Publishing is one short lock and never waits for a reader (N1).
//!
//! * A wait is published before the waiting begins, not when it has lasted for a while.
//! * [`Wait::update`] replaces the cause and keeps the beginning.
//! * What a wait means for `/livez` and `/readyz` follows from its [`Kind`] alone; [`super::health`] does the judging.
//!
//! It does not decide anything and does not retry anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// What a wait means for the health pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is listed, and changes neither page.
    Reported,
    /// `/readyz` answers 503: work waits, and a restart would not help.
    NotReady,
    /// `/livez` and `/readyz` answer 503: a restart may help.
    NotLive,
}

/// What a person can do about an open transaction that hides messages of a partition.
#[must_use]
pub fn open_transaction(topic: &str, partition: i32) -> String {
    format!(
        "end the producer's transaction: `kafka-transactions.sh --bootstrap-server BROKER describe-producers --topic {topic} --partition \
         {partition}` shows it, and `kafka-transactions.sh ... abort` ends one that its producer left open; nothing is lost meanwhile"
    )
}

/// What kind of thing waits. The names are labels of metrics and part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// No broker answers.
    Broker,
    /// This instance is no member of its consumer group, or was given no partitions yet.
    Group,
    /// A topic that `input.topics` names does not exist.
    InputTopic,
    /// A fetched batch cannot be read: corrupt, or its compression is not supported.
    Batch,
    /// Messages are there and are not read, although nothing is known that prevents it.
    Reading,
    /// Records are in hand and none is settled, although nothing is known that prevents it.
    Settling,
    /// Records are settled and their offsets are not committed.
    Commit,
    /// Remembered offsets belong to another life of the log.
    LogLife,
    /// The held topic does not exist, or cannot be read or written.
    HeldTopic,
    /// A mark or cursor in the state topic cannot be read or written.
    State,
    /// Letters cannot be written.
    Letter,
    /// The device registry cannot be read.
    Registry,
    /// The schema of a message cannot be asked for: the schema registry is away.
    Schema,
    /// The gateway does not answer, or asked to wait.
    Gateway,
    /// The gateway refuses credentials or every request: a person has to act.
    GatewayRefuses,
    /// Records of one device are held because the gateway fails on them; other devices are not affected.
    Quarantine,
    /// What the gateway rejected later cannot be read or written; no record waits for it.
    Feedback,
    /// The orders store refuses.
    Store,
    /// The orders store does not answer.
    StoreSilent,
    /// More partitions are assigned than `memory.partitions` counts.
    Partitions,
    /// With the partitions assigned, the memory formula exceeds `memory.limit_bytes`.
    Memory,
    /// The consumer thread does not poll.
    ConsumerThread,
    /// A Kafka client met an error that it cannot recover from; it is replaced, or the process ends.
    Client,
    /// A partition is being given back, or the job is ending.
    Draining,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Broker,
        Self::Group,
        Self::InputTopic,
        Self::Batch,
        Self::Reading,
        Self::Settling,
        Self::Commit,
        Self::LogLife,
        Self::HeldTopic,
        Self::State,
        Self::Letter,
        Self::Registry,
        Self::Schema,
        Self::Gateway,
        Self::GatewayRefuses,
        Self::Quarantine,
        Self::Feedback,
        Self::Store,
        Self::StoreSilent,
        Self::Partitions,
        Self::Memory,
        Self::ConsumerThread,
        Self::Client,
        Self::Draining,
    ];

    /// Its name in pages, metrics and the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Group => "group",
            Self::InputTopic => "input_topic",
            Self::Batch => "batch",
            Self::Reading => "reading",
            Self::Settling => "settling",
            Self::Commit => "commit",
            Self::LogLife => "log_life",
            Self::HeldTopic => "held_topic",
            Self::State => "state",
            Self::Letter => "letter",
            Self::Registry => "registry",
            Self::Schema => "schema",
            Self::Gateway => "gateway",
            Self::GatewayRefuses => "gateway_refuses",
            Self::Quarantine => "quarantine",
            Self::Feedback => "feedback",
            Self::Store => "store",
            Self::StoreSilent => "store_silent",
            Self::Partitions => "partitions",
            Self::Memory => "memory",
            Self::ConsumerThread => "consumer_thread",
            Self::Client => "client",
            Self::Draining => "draining",
        }
    }

    /// What such a wait means for the health pages.
    #[must_use]
    pub const fn effect(self) -> Effect {
        match self {
            Self::Quarantine | Self::Feedback | Self::Partitions | Self::Draining => {
                Effect::Reported
            }
            Self::Broker
            | Self::Group
            | Self::InputTopic
            | Self::Batch
            | Self::Commit
            | Self::LogLife
            | Self::HeldTopic
            | Self::State
            | Self::Letter
            | Self::Registry
            | Self::Schema
            | Self::Gateway
            | Self::GatewayRefuses
            | Self::Store
            | Self::Memory
            | Self::Client => Effect::NotReady,
            Self::Reading | Self::Settling | Self::StoreSilent | Self::ConsumerThread => {
                Effect::NotLive
            }
        }
    }
}

/// One published wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub kind: Kind,
    /// What waits: `topic/partition`, a topic, a device, a part of the job.
    pub subject: String,
    pub since: Instant,
    /// Why, in words.
    pub cause: String,
    /// What a person can do.
    pub remedy: String,
}

#[derive(Debug, Default)]
struct List {
    next: u64,
    waits: BTreeMap<u64, Published>,
}

/// What the log says of a wait that begins.
const BEGINS: &str = "a wait begins; /status lists it";

/// The published waits of a job; clones share one list.
#[derive(Debug, Clone, Default)]
pub struct Waits {
    // A lock: taken when a wait begins, changes or ends, and by the pages; never across an await.
    list: Arc<Mutex<List>>,
}

impl Waits {
    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a wait that begins at `now`, and logs it: one that every start has (`usual`) as information, any other as a warning.
    pub fn begin(
        &self,
        kind: Kind,
        subject: String,
        cause: String,
        remedy: String,
        (now, usual): (Instant, bool),
    ) -> Wait {
        let name = kind.name();
        if usual {
            tracing::info!(kind = name, subject, cause, remedy, "{BEGINS}");
        } else {
            tracing::warn!(kind = name, subject, cause, remedy, "{BEGINS}");
        }
        let published = Published {
            kind,
            subject,
            since: now,
            cause,
            remedy,
        };
        let mut list = self.list();
        let id = list.next;
        list.next += 1;
        list.waits.insert(id, published);
        Wait {
            waits: self.clone(),
            id,
        }
    }

    /// All of them, the oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Published> {
        let mut all: Vec<_> = self.list().waits.values().cloned().collect();
        all.sort_by_key(|wait| wait.since);
        all
    }
}

/// A published wait; dropping it ends the wait.
#[derive(Debug)]
#[must_use = "the wait ends when this is dropped"]
pub struct Wait {
    waits: Waits,
    id: u64,
}

impl Wait {
    /// Replaces the cause; the wait has begun when it began.
    pub fn update(&self, cause: impl Into<String>) {
        if let Some(wait) = self.waits.list().waits.get_mut(&self.id) {
            wait.cause = cause.into();
        }
    }

    /// Replaces the remedy, once more is known of the cause.
    pub fn advise(&self, remedy: impl Into<String>) {
        if let Some(wait) = self.waits.list().waits.get_mut(&self.id) {
            wait.remedy = remedy.into();
        }
    }

    /// Ends the wait without a word in the log: what waited ends itself, and has not got what it waited for.
    pub fn abandon(self) {
        self.waits.list().waits.remove(&self.id);
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut list = self.waits.list();
        let Some(ended) = list.waits.remove(&self.id) else {
            return;
        };
        drop(list);
        tracing::info!(
            kind = ended.kind.name(),
            subject = ended.subject,
            seconds = ended.since.elapsed().as_secs(),
            "a wait has ended"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_wait_is_listed_until_it_is_dropped() {
        let (waits, now) = (Waits::default(), Instant::now());
        let begin = |kind, subject: &str| {
            waits.begin(
                kind,
                subject.to_owned(),
                "cause".to_owned(),
                "remedy".to_owned(),
                (now, false),
            )
        };
        let one = begin(Kind::Batch, "telemetry/3");
        let other = begin(Kind::State, "telemetry/4");
        one.update("another cause");
        let all = waits.all();
        assert_eq!(
            (all.len(), all[0].cause.as_str(), all[0].since),
            (2, "another cause", now)
        );
        drop(one);
        assert_eq!(waits.all()[0].subject, "telemetry/4");
        drop(other);
        assert!(waits.all().is_empty());
    }

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            let shown = serde_json::to_value(kind).expect("a kind is a word");
            assert_eq!(shown, kind.name());
        }
    }
}
