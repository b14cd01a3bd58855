//! The judgement behind `/livez` and `/readyz`: from the facts of a [`Snapshot`] to what waits, and what that means (H1).
//!
//! Green means moving: assigned, read, settled and committed, against what there is to read. Invariants:
//!
//! * L1: a partition with records in hand that settles none for longer than the setting, and has not said why, makes the job
//!   not live. L2: one that has said why does not: a restart would not help. L3: a consumer thread that does not poll for as
//!   long makes the job not live. L4: an idle partition is given the whole time anew from its first record.
//! * L5: messages that are there and are not read for as long make the job not live, unless a published wait explains it.
//! * L6: the job is ready only if everything it is told to read is assigned or in good hands, and nothing that has work waits.
//! * L7: an idle topic, a pattern that matches no topic, and an instance that the group has given no partitions are live and ready.
//!
//! Pure: time is an argument. It neither publishes nor repairs anything.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::status::{Partition, Pause, Snapshot};
use super::waits::{Effect, Kind, open_transaction};
use crate::topic_partition::TopicPartition;

/// One thing that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: Kind,
    /// What waits: `topic/partition`, a topic, a device, a part of the job.
    pub subject: String,
    /// How long it has waited.
    pub seconds: u64,
    pub effect: Effect,
    pub cause: String,
    pub remedy: String,
}

/// The answers of the health pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// `false`: a restart may help.
    pub live: bool,
    /// `false`: work waits, or the job cannot do its work yet.
    pub ready: bool,
    /// Whatever waits, the gravest first.
    pub waits: Vec<Finding>,
}

/// Kinds of published waits that explain why nothing is read anywhere.
const EVERYWHERE: [Kind; 5] = [
    Kind::Broker,
    Kind::Group,
    Kind::Client,
    Kind::Gateway,
    Kind::GatewayRefuses,
];

/// Judges the job as it stood at `now`; `stall_after` is how long something may stand still that nothing explains.
#[must_use]
pub fn judge(snapshot: &Snapshot, now: Instant, stall_after: Duration) -> Health {
    let mut judge = Judge {
        snapshot,
        now,
        stall_after,
        waits: Vec::new(),
    };
    judge.published();
    if snapshot.streams {
        judge.beginning();
        if snapshot.inputs {
            judge.membership();
        }
    }
    judge.consumer_thread();
    for partition in &snapshot.partitions {
        judge.partition(partition);
    }
    judge.store();
    let mut waits = judge.waits;
    waits.sort_by(|a, b| {
        let rank = |wait: &Finding| {
            (
                std::cmp::Reverse(wait.effect),
                // Without a broker much else waits, and for that reason.
                wait.kind != Kind::Broker,
                std::cmp::Reverse(wait.seconds),
            )
        };
        rank(a).cmp(&rank(b))
    });
    let gravest = waits.first().map_or(Effect::Reported, |wait| wait.effect);
    Health {
        live: gravest < Effect::NotLive,
        ready: gravest < Effect::NotReady,
        waits,
    }
}

struct Judge<'s> {
    snapshot: &'s Snapshot,
    now: Instant,
    stall_after: Duration,
    waits: Vec<Finding>,
}

impl Judge<'_> {
    fn lasted(&self, since: Instant) -> Duration {
        self.now.saturating_duration_since(since)
    }

    fn add(
        &mut self,
        kind: Kind,
        effect: Effect,
        subject: &str,
        since: Instant,
        words: (&str, &str),
    ) {
        let (cause, remedy) = words;
        self.waits.push(Finding {
            kind,
            subject: subject.to_owned(),
            seconds: self.lasted(since).as_secs(),
            effect,
            cause: cause.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    /// What its own part of the job has published.
    fn published(&mut self) {
        // The gateway's outage is trouble only while records wait for it: nothing is known against an idle instance.
        let for_gateway = self.snapshot.partitions.iter().any(|partition| {
            partition.totals.in_hand() > 0 && self.lasted(partition.progress) > self.stall_after
        });
        for wait in &self.snapshot.waits {
            let effect = match wait.kind {
                Kind::Gateway if !for_gateway => Effect::Reported,
                kind => kind.effect(),
            };
            self.add(
                wait.kind,
                effect,
                &wait.subject,
                wait.since,
                (&wait.cause, &wait.remedy),
            );
        }
    }

    /// What has to be done before the first record.
    fn beginning(&mut self) {
        let started = self.snapshot.started;
        if !self.snapshot.logged_in {
            let words = (
                "no login at the gateway has succeeded yet",
                "check dig.url, dig.username and its password; `dig-ingest check --connect` tries them",
            );
            self.add(Kind::Gateway, Effect::NotReady, "login", started, words);
        }
        if !self.snapshot.registry_read {
            let words = (
                "the device registry has not been read to its end yet",
                "wait, or check the broker and the topic topics.devices if it lasts",
            );
            self.add(Kind::Registry, Effect::NotReady, "registry", started, words);
        }
    }

    fn membership(&mut self) {
        if !self.snapshot.assigned {
            let words = (
                "the consumer group has not assigned partitions to this instance",
                "wait for the rebalance; if it lasts, check kafka.group, the broker and the rights of the user on the group",
            );
            let since = self.snapshot.assigned_since;
            self.add(Kind::Group, Effect::NotReady, "assignment", since, words);
        } else if let Some(membership) = &self.snapshot.membership
            && !membership.steady
            && self.lasted(membership.since) > self.stall_after
        {
            let cause = format!(
                "this instance has been no settled member of the consumer group since then ({})",
                membership.states
            );
            let words = (
                cause.as_str(),
                "check the broker's log for the group, and that every instance of the group answers; restart one that does not",
            );
            self.add(
                Kind::Group,
                Effect::NotReady,
                "membership",
                membership.since,
                words,
            );
        }
    }

    fn consumer_thread(&mut self) {
        let Some(polled) = self.snapshot.polled else {
            return;
        };
        if self.lasted(polled) > self.stall_after {
            let words = (
                "the consumer thread does not poll; the group will take its partitions away",
                "restart this instance, and report it with its log; this is a defect",
            );
            self.add(
                Kind::ConsumerThread,
                Effect::NotLive,
                "consumer",
                polled,
                words,
            );
        }
    }

    fn partition(&mut self, partition: &Partition) {
        let subject = TopicPartition::new(&partition.topic, partition.partition).to_string();
        let in_hand = partition.totals.in_hand();
        if partition.pause != Pause::None {
            self.paused(partition, &subject);
        } else if in_hand > 0 {
            if self.lasted(partition.progress) > self.stall_after
                && !self.explained(partition, &subject)
            {
                let at = partition.watermark.map_or_else(
                    || "its start".to_owned(),
                    |offset| format!("offset {offset}"),
                );
                let cause = format!(
                    "{in_hand} records are in hand and none was settled; the watermark stands at {at}"
                );
                let words = (
                    cause.as_str(),
                    "restart this instance, and report it with its log; this is a defect",
                );
                self.add(
                    Kind::Settling,
                    Effect::NotLive,
                    &subject,
                    partition.progress,
                    words,
                );
            }
        } else {
            self.reading(partition, &subject);
            self.releasing(partition, &subject);
        }
        self.committing(partition, &subject);
    }

    /// A partition that has said why it settles nothing.
    fn paused(&mut self, partition: &Partition, subject: &str) {
        let in_hand = partition.totals.in_hand();
        let (kind, effect, remedy) = match partition.pause {
            Pause::None => return,
            // The worker says so only when something happens: without records in hand its last word may be old.
            Pause::Gateway | Pause::Alarm if in_hand == 0 => return,
            Pause::Gateway => {
                let lasts = self.lasted(partition.progress) > self.stall_after;
                let effect = if lasts {
                    Effect::NotReady
                } else {
                    Effect::Reported
                };
                let remedy =
                    "wait, if it is the gateway's outage; check dig.url and the network, if not";
                (Kind::Gateway, effect, remedy)
            }
            Pause::Alarm => (
                Kind::GatewayRefuses,
                Effect::NotReady,
                "check dig.url, dig.username, its password and the DIG-Access role; `dig-ingest check --connect` tries them",
            ),
            Pause::DeadLetter => (
                Kind::Letter,
                Effect::NotReady,
                "check that the dead-letter and held topics exist, take messages of this size and may be written",
            ),
            Pause::Held => {
                let lasts = self.lasted(partition.paused) > self.stall_after;
                let effect = if lasts {
                    Effect::NotReady
                } else {
                    Effect::Reported
                };
                let remedy = "wait until the held topic is read; check the broker and the held topic if it lasts";
                (Kind::HeldTopic, effect, remedy)
            }
            Pause::Schema => {
                let lasts = self.lasted(partition.paused) > self.stall_after;
                let effect = if lasts {
                    Effect::NotReady
                } else {
                    Effect::Reported
                };
                let remedy = "wait until the schema registry answers; check schema_registry.urls if it lasts";
                (Kind::Schema, effect, remedy)
            }
            Pause::Store => (
                Kind::Store,
                Effect::NotReady,
                "see the orders store in /status",
            ),
            Pause::Draining => (
                Kind::Draining,
                Effect::Reported,
                "wait; it ends within input.drain_ms",
            ),
        };
        // What was published says it better.
        let known = self
            .snapshot
            .waits
            .iter()
            .any(|wait| wait.kind == kind && wait.subject == *subject);
        if !known {
            self.add(
                kind,
                effect,
                subject,
                partition.paused,
                (partition.pause.meaning(), remedy),
            );
        }
    }

    /// Messages that are there and are not read (L5).
    fn reading(&mut self, partition: &Partition, subject: &str) {
        let position = partition.position;
        let (Some(next), Some(end)) = (position.next, position.end) else {
            return;
        };
        if next >= end
            || self.lasted(partition.read) <= self.stall_after
            || self.explained(partition, subject)
            || self.uncommitted(partition)
        {
            return;
        }
        if position.stable.is_some_and(|stable| next >= stable) {
            let cause = format!(
                "an open transaction of another producer hides the messages from offset {next} to {end}"
            );
            let remedy = open_transaction(&partition.topic, partition.partition);
            let words = (cause.as_str(), remedy.as_str());
            self.add(
                Kind::Reading,
                Effect::NotReady,
                subject,
                partition.read,
                words,
            );
            return;
        }
        let cause = format!(
            "{} messages are there to read, from offset {next} to {end}, and none is read",
            end - next
        );
        // Whoever has lent out all memory is judged itself. Without the client's statistics nobody knows whether what is there is
        // for applications: transactions leave control records.
        let (effect, remedy) = if self.snapshot.memory_full {
            (
                Effect::NotReady,
                "the memory permits are lent out: see what else waits, or raise memory.total_bytes",
            )
        } else if self.snapshot.membership.is_none() {
            (
                Effect::NotReady,
                "set kafka.statistics_interval_ms above 0, so that control records of transactions are told from messages",
            )
        } else {
            (
                Effect::NotLive,
                "restart this instance, and report it with its log; this is a defect",
            )
        };
        self.add(
            Kind::Reading,
            effect,
            subject,
            partition.read,
            (&cause, remedy),
        );
    }

    /// Devices that are being released, of which nothing moves.
    fn releasing(&mut self, partition: &Partition, subject: &str) {
        let releasing = partition.waiting.releasing;
        if releasing == 0
            || self.lasted(partition.released) <= self.stall_after
            || self.explained(partition, subject)
        {
            return;
        }
        let cause = format!(
            "{releasing} devices are being released, and none of their held records is read or settled"
        );
        let words = (
            cause.as_str(),
            "check the broker and the held topic; a restart begins the release anew where its marks stand",
        );
        self.add(
            Kind::HeldTopic,
            Effect::NotReady,
            subject,
            partition.released,
            words,
        );
    }

    /// Offsets that are settled and not committed.
    fn committing(&mut self, partition: &Partition, subject: &str) {
        let Some(watermark) = partition.watermark else {
            return;
        };
        if !self.uncommitted(partition) || self.explained(partition, subject) {
            return;
        }
        let committed = partition.position.committed;
        let so_far =
            committed.map_or_else(|| "nothing".to_owned(), |offset| format!("offset {offset}"));
        let cause = format!(
            "everything below offset {watermark} is settled, and the broker has confirmed {so_far} of this assignment"
        );
        let words = (
            cause.as_str(),
            "check that the user may read the group (ACL Read), and the broker's log for the group; until then a restart repeats records",
        );
        self.add(
            Kind::Commit,
            Effect::NotReady,
            subject,
            partition.confirmed,
            words,
        );
    }

    /// Whether what is settled has not been committed for too long; then a full window may be what stops the reading.
    fn uncommitted(&self, partition: &Partition) -> bool {
        let committed = partition.position.committed;
        partition.watermark.is_some_and(|watermark| {
            committed.is_none_or(|committed| committed < watermark)
                && self.lasted(partition.confirmed) > self.stall_after
        })
    }

    /// Whether a published wait, or the login that is waited for, says why this partition stands still.
    fn explained(&self, partition: &Partition, subject: &str) -> bool {
        !self.snapshot.logged_in
            || self.snapshot.waits.iter().any(|wait| {
                EVERYWHERE.contains(&wait.kind)
                    || wait.kind != Kind::Quarantine
                        && (wait.subject == *subject || wait.subject == partition.topic)
            })
    }

    /// The orders store (J1, J2).
    fn store(&mut self) {
        let Some(journey) = &self.snapshot.journey else {
            return;
        };
        let subject = "orders store";
        if self.lasted(journey.answered) > self.stall_after {
            let words = (
                "the orders store does not answer",
                "check the database of orders.store; restart this instance if the database answers others",
            );
            self.add(
                Kind::StoreSilent,
                Effect::NotLive,
                subject,
                journey.answered,
                words,
            );
        } else if let Some(trouble) = &journey.trouble {
            let cause = format!("the orders store refuses: {trouble}");
            let words = (
                cause.as_str(),
                "check orders.store, its rights and the free space of its disk",
            );
            self.add(
                Kind::Store,
                Effect::NotReady,
                subject,
                journey.worked,
                words,
            );
        } else if journey.figures.is_none() {
            let words = (
                "the orders store has not answered yet",
                "wait, or check the database of orders.store if it lasts",
            );
            self.add(
                Kind::Store,
                Effect::NotReady,
                subject,
                journey.worked,
                words,
            );
        }
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
