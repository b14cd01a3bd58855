//! The watcher: asks the brokers which topics there are and where they end, so that standing still is told from having nothing
//! to do (H1).
//!
//! Owns one thread and two clients: their answers do not depend on the fetching that they are compared with. It publishes
//!
//! * brokers that do not answer, and input topics that do not exist, as waits on the board;
//! * the first and the end offset of each assigned partition, to its [`Progress`];
//! * a fatal error of the producer of letters, which ends the job;
//! * the loss of the group ([`super::membership`]), after which the consumer is re-created.
//!
//! It reads and writes no message, joins no group, and delays no other task (N1): its calls block its own thread only, and no
//! other thread joins it at the end. An answer that does not come changes nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::groups::GroupList;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::{mpsc, watch};

use super::fatal::Fatal;
use super::kafka;
use super::membership::{GroupState, MembershipLoss};
use super::producer::Producer;
use super::progress::Progress;
use super::reader::Assignment;
use super::settings::{Input, Topics};
use crate::access;
use crate::ops::status_registry::StatusRegistry;
use crate::ops::waits::{Kind, Wait};
use crate::poll;
use crate::rights::{self, Operation, Resource};

/// Between two looks at the ends of the assigned partitions.
const LOOK: Duration = Duration::from_secs(5);
/// Pause of the loop: between two looks at the producer, and between two questions to the broker while a wait is published.
const OFTEN: Duration = Duration::from_secs(1);
/// How long one call may take.
const CALL: Duration = Duration::from_secs(5);
/// After so long without an answer the client is opened anew: librdkafka can lose a connection for good.
const REOPEN: Duration = Duration::from_secs(60);

/// What the watcher's thread is started with.
pub struct Watcher {
    /// Settings of the thread's own client.
    pub kafka: kafka::Config,
    /// Which topics are read.
    pub input: Input,
    /// Names of the topics that the job writes, which are no input.
    pub topics: Topics,
    /// Where waits are published.
    pub board: Arc<StatusRegistry>,
    /// A clone of the job's producer, asked only for a fatal error.
    pub producer: Producer,
    /// Progress of the assigned partitions, whose bounds this thread sets; the consumer thread has the sender.
    pub assignment: watch::Receiver<Assignment>,
    /// Takes the error that ends the job; `once` has the receiver.
    pub fatal: mpsc::Sender<anyhow::Error>,
}

/// The running watcher; dropping it ends the thread after the call it is at.
#[derive(Debug)]
pub struct Running {
    /// Nothing is sent: the thread has the receiver and ends when this sender is dropped.
    #[expect(
        dead_code,
        reason = "the thread ends when this end of the channel is dropped"
    )]
    stop: std_mpsc::Sender<()>,
}

/// The thread's clients. Dropped, they disconnect.
struct Clients {
    /// Reads committed messages, as the telemetry consumer does: the end of a log is its last stable offset.
    committed: BaseConsumer,
    /// Reads uncommitted messages too: the end of a log is its high watermark.
    uncommitted: BaseConsumer,
}

/// The waits that the watcher has on the board.
#[derive(Default)]
struct Published {
    /// The wait for a broker that does not answer. Dropped, it ends on the board.
    broker: Option<Wait>,
    /// The waits for input topics that do not exist, by name.
    topics: HashMap<String, Wait>,
}

impl Watcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// Settings that the client refuses, a pattern that is none, and a thread that cannot be started.
    pub fn start(self) -> anyhow::Result<Running> {
        let clients = self.open()?;
        let (stop, ended) = std_mpsc::channel();
        std::thread::Builder::new()
            .name("watcher".to_owned())
            .spawn(move || self.run(clients, &ended))
            .context("cannot start the watcher")?;
        Ok(Running { stop })
    }

    /// Opens the thread's clients. They do not join the group; the name is needed to ask for the group's committed offsets.
    fn open(&self) -> anyhow::Result<Clients> {
        let mut client = self.kafka.by_hand("watcher")?;
        client.set("group.id", &self.kafka.group);
        let open = |client: &ClientConfig| {
            access::plain_consumer(client).context("cannot open the client of the watcher")
        };
        Ok(Clients {
            committed: open(&client)?,
            uncommitted: open(client.set("isolation.level", "read_uncommitted"))?,
        })
    }

    fn run(self, mut clients: Clients, ended: &std_mpsc::Receiver<()>) {
        let session = Duration::from_millis(self.kafka.session_timeout_ms.into());
        let mut loss = MembershipLoss::new(session, Instant::now());
        let mut answered_at = Instant::now();
        let refresh = Duration::from_millis(self.kafka.metadata_refresh_ms.into());
        let mut published = Published::default();
        let (mut ends_at, mut topics_at) = (Instant::now(), Instant::now());
        while ended.recv_timeout(OFTEN) == Err(std_mpsc::RecvTimeoutError::Timeout) {
            self.producer.upkeep();
            if let Some(error) = self.producer.fatal_error().and_then(Fatal::of_producer) {
                // Only the first reason matters; a full channel already holds one.
                let _ = self.fatal.try_send(error.into());
            }
            // Errors of the client's connections come through its event queue.
            poll::serve(&clients.committed, |_| {});
            poll::serve(&clients.uncommitted, |_| {});
            let now = Instant::now();
            let mut asked = Ok(());
            if now >= topics_at || !published.topics.is_empty() {
                asked = self.look_at_topics(&clients.committed, &mut published.topics);
                topics_at = now + refresh;
            }
            if asked.is_ok() && (now >= ends_at || published.broker.is_some()) {
                asked = self.look_at_ends(&clients);
                ends_at = now + LOOK;
            }
            if !self.board.has_inputs() {
                // A consumer without a topic joins no group.
                loss = MembershipLoss::new(session, now);
            } else if asked.is_ok() {
                self.look_at_membership(&clients.committed, &mut loss);
            }
            if asked.is_ok() {
                answered_at = now;
            } else if now.saturating_duration_since(answered_at) > REOPEN {
                match self.open() {
                    Ok(opened) => (clients, answered_at) = (opened, now),
                    // A password file may be away for a moment; the client that is open is kept.
                    Err(error) => {
                        tracing::warn!(
                            error = format!("{error:#}"),
                            "the watcher's client cannot be re-opened"
                        );
                    }
                }
            }
            match (asked, &published.broker) {
                (Ok(()), _) => published.broker = None,
                (Err(error), Some(wait)) => wait.update(format!("{error:#}")),
                (Err(error), None) => {
                    published.broker = Some(self.board.wait(
                        Kind::Broker,
                        self.kafka.brokers.clone(),
                        format!("{error:#}"),
                        "check kafka.brokers, the brokers and the network; nothing is lost, and the job goes on when they answer",
                    ));
                }
            }
        }
        // The job ends before the waits did: they are removed without a word in the log.
        published.broker.into_iter().for_each(Wait::abandon);
        published.topics.into_values().for_each(Wait::abandon);
    }

    /// Publishes the input topics that the settings name and that do not exist. Asking for all topics creates none.
    fn look_at_topics(
        &self,
        client: &BaseConsumer,
        waits: &mut HashMap<String, Wait>,
    ) -> anyhow::Result<()> {
        let all = client
            .fetch_metadata(None, CALL)
            .context("no broker answers the question for topics")?;
        let there = |topic: &str| {
            all.topics()
                .iter()
                .any(|known| known.name() == topic && !known.partitions().is_empty())
        };
        let reads = self.input.matcher()?;
        let input = |topic: &str| reads(topic) && !self.topics.is_written(topic);
        let found = all.topics().iter().any(|topic| input(topic.name()));
        self.board.set_inputs(found);
        let missing: Vec<&String> = self
            .input
            .topics
            .iter()
            .filter(|topic| !topic.starts_with('^') && !there(topic))
            .collect();
        waits.retain(|topic, _| missing.contains(&topic));
        for topic in missing {
            if !waits.contains_key(topic) {
                let remedy = format!(
                    "create the topic, {}, or remove it from input.topics; it is read as soon as it is there",
                    rights::grant(Operation::Read, Resource::Topic(topic))
                );
                let wait = self.board.wait(
                    Kind::InputTopic,
                    topic.as_str(),
                    format!(
                        "the input topic {topic} does not exist, or this user may not describe it"
                    ),
                    remedy,
                );
                waits.insert(topic.clone(), wait);
            }
        }
        Ok(())
    }

    /// Ends the job's consumer if it has lost the group for good, so that it is re-created.
    fn look_at_membership(&self, client: &BaseConsumer, loss: &mut MembershipLoss) {
        let membership = self.board.membership();
        if !loss.is_doubted(membership.as_ref(), Instant::now()) {
            return;
        }
        // The admin interface would ask the coordinator alone, and its client aborts the process if the coordinator goes away meanwhile
        // (librdkafka 2.12: the assertion `eonce->refcnt > 0`). A group whose brokers do not all answer is not judged.
        let answer = client
            .fetch_group_list(Some(&self.kafka.group), CALL)
            .ok()
            .filter(|_| !self.is_refused())
            .and_then(|list| group_state(&list, &self.kafka.group));
        if loss.is_lost(answer, Instant::now()) {
            let lost = Fatal::OutOfGroup {
                group: self.kafka.group.clone(),
                states: membership.map_or_else(String::new, |membership| membership.states),
            };
            // Only the first reason matters; a full channel already holds one.
            let _ = self.fatal.try_send(lost.into());
        }
    }

    /// Whether the user has no right on the group: then the group is not listed, and another consumer would be refused too.
    fn is_refused(&self) -> bool {
        let waits = self.board.snapshot().waits;
        waits.iter().any(|wait| wait.kind == Kind::Group)
    }

    /// Asks for the first and the end offset of the assigned partitions.
    fn look_at_ends(&self, clients: &Clients) -> anyhow::Result<()> {
        let client = &clients.committed;
        let assigned: Assignment = Arc::clone(&self.assignment.borrow());
        let mut by_topic: HashMap<&str, Vec<&Progress>> = HashMap::new();
        for progress in assigned.iter() {
            by_topic
                .entry(&progress.input.topic)
                .or_default()
                .push(progress);
        }
        for (topic, partitions) in by_topic {
            let known = client
                .fetch_metadata(Some(topic), CALL)
                .with_context(|| format!("no broker answers the question for topic {topic}"))?;
            // A deleted topic is published by `look_at_topics`; asking for its end offsets would wait for its leader.
            let leads = |progress: &&Progress| {
                known.topics().iter().any(|topic| {
                    topic
                        .partitions()
                        .iter()
                        .any(|p| p.id() == progress.input.partition && p.leader() >= 0)
                })
            };
            let partitions: Vec<&Progress> = partitions.into_iter().filter(leads).collect();
            let stable = bounds(client, &partitions, Offset::End)?;
            let ends = bounds(&clients.uncommitted, &partitions, Offset::End)?;
            for (progress, stable) in stable {
                let end = ends.iter().find(|(of, _)| std::ptr::eq(*of, progress));
                let end = end.map_or(stable, |(_, end)| *end);
                progress.set_end(end.max(stable), stable);
            }
            let begins: Vec<&Progress> = partitions
                .into_iter()
                .filter(|progress| progress.begin().is_none())
                .collect();
            let firsts = bounds(client, &begins, Offset::Beginning)?;
            for (progress, begin) in behind_commits(client, firsts)? {
                progress.find_begin(begin);
            }
        }
        Ok(())
    }
}

/// The state of a group by the answers of all brokers; `None` of a group that is listed and could not be described.
fn group_state(list: &GroupList, group: &str) -> Option<GroupState> {
    let listed = list.groups().iter().find(|listed| listed.name() == group);
    match listed.map(|listed| listed.state()) {
        Some("") => None,
        Some(state) => Some(GroupState::named(state)),
        None => Some(GroupState::named("")),
    }
}

fn list(partitions: &[&Progress], offset: Offset) -> anyhow::Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for progress in partitions {
        list.add_partition_offset(&progress.input.topic, progress.input.partition, offset)
            .context("an offset that no broker gives")?;
    }
    Ok(list)
}

/// A partition with an offset.
type Found<'a> = (&'a Progress, i64);

/// Asks for the first or the end offsets of partitions; the brokers take the special offsets in place of a timestamp.
fn bounds<'a>(
    client: &BaseConsumer,
    partitions: &[&'a Progress],
    bound: Offset,
) -> anyhow::Result<Vec<Found<'a>>> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let found = client
        .offsets_for_times(list(partitions, bound)?, CALL)
        .context("the brokers do not say where the assigned partitions begin and end")?;
    let offset = |progress: &Progress| {
        let element = found.find_partition(&progress.input.topic, progress.input.partition);
        match element.filter(|element| element.error().is_ok())?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    };
    let with_offset = |progress: &&'a Progress| Some((*progress, offset(progress)?));
    Ok(partitions.iter().filter_map(with_offset).collect())
}

/// Where reading begins, from the first offsets of the logs: the group's committed offset, where there is one above.
fn behind_commits<'a>(
    client: &BaseConsumer,
    firsts: Vec<Found<'a>>,
) -> anyhow::Result<Vec<Found<'a>>> {
    if firsts.is_empty() {
        return Ok(firsts);
    }
    let partitions: Vec<&Progress> = firsts.iter().map(|(progress, _)| *progress).collect();
    let found = client
        .committed_offsets(list(&partitions, Offset::Invalid)?, CALL)
        .context("the group's coordinator does not say what is committed")?;
    let behind = |(progress, first): Found<'a>| {
        let element = found.find_partition(&progress.input.topic, progress.input.partition);
        match element.map(|element| element.offset()) {
            Some(Offset::Offset(committed)) => (progress, first.max(committed)),
            _ => (progress, first),
        }
    };
    Ok(firsts.into_iter().map(behind).collect())
}
