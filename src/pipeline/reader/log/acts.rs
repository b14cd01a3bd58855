//! What the consumer thread does about the life of logs: asks, compares, seeks, begins another life, replaces a worker.
//!
//! Owns nothing; the state is [`Log`]'s. The only blocking call is the client's seek, bounded by [`SEEK`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;

use super::{AGAIN, DOUBTS, LOOK, Log, Lower, SEEK, Stand, Topics};
use crate::log_life::broker::{Committed, Topic};
use crate::log_life::{
    Change, Facts, Point, Points, Reading, TopicId, Verdict, judge_commit, judge_reading,
};
use crate::ops::metrics::log_life as metrics;
use crate::ops::waits::Kind;
use crate::pipeline::consumer::Events;
use crate::pipeline::feed::{Messages, PartitionQueue};
use crate::pipeline::log_watch::{Answer, Question};
use crate::pipeline::reader::{Assigned, Reader, list};
use crate::pipeline::worker::Chunk;
use crate::topic_partition::TopicPartition;

impl Reader {
    /// Sends the questions that are due, and seeks where a partition is to be read from another offset.
    pub(in crate::pipeline::reader) fn follow_logs(
        &self,
        assigned: &mut HashMap<TopicPartition, Assigned>,
        topics: &mut Topics,
    ) {
        let now = Instant::now();
        let mut questions = Vec::new();
        for (key, partition) in assigned.iter_mut() {
            if let Stand::Moving(to) = partition.log.stand
                && now >= partition.log.ask_at
            {
                if self.moved(key, to) {
                    partition.log.stand = Stand::Checked;
                    // The time for the first message begins now.
                    if let Some(silent) = &mut partition.log.silent {
                        silent.since = silent.since.map(|_| now);
                    }
                } else {
                    partition.log.ask_at = now + AGAIN;
                }
            }
            questions.extend(partition.log.question(key, now));
            self.tell_life(partition);
            self.publish_wait(key, &mut partition.log);
        }
        if !topics.asked && now >= topics.ask_at && !assigned.is_empty() {
            let mut names: Vec<String> = assigned.keys().map(|key| key.topic.clone()).collect();
            if self.gate.holds() {
                let held = |name: &String| self.shared.topics.held(name);
                names.extend(names.iter().map(held).collect::<Vec<_>>());
            }
            let names: HashSet<String> = names.into_iter().collect();
            questions.push(Question::Topics(names.into_iter().collect()));
            topics.asked = true;
        }
        if !questions.is_empty()
            && let Err(error) = self.logs.ask(questions)
        {
            self.fail(error);
        }
    }

    /// Publishes the wait for the check of the log, from its beginning on.
    fn publish_wait(&self, key: &TopicPartition, log: &mut Log) {
        if log.may_read() {
            log.wait = None;
        } else if log.wait.is_none() {
            let cause = "it is being checked whether the log is still the one that offsets are remembered of; nothing is read until the broker answers";
            let remedy = "check the broker, and that this user may describe the topic and read the group's offsets; it is asked again by itself";
            let subject = key.to_string();
            let board = &self.shared.board;
            log.wait = Some(match log.stand {
                Stand::Start => board.usual_wait(Kind::LogLife, subject, cause, remedy),
                _ => board.wait(Kind::LogLife, subject, cause, remedy),
            });
        }
    }

    /// Seeks to an offset; false if the client refused, and then the caller tries again. After success the client's position is
    /// `to`.
    pub(in crate::pipeline::reader) fn moved(&self, key: &TopicPartition, to: i64) -> bool {
        let wanted = list(std::iter::once((key, Some(to))));
        let moved = self.consumer.seek_partitions(wanted, SEEK);
        let refused = match &moved {
            Ok(list) => list.elements().iter().find_map(|e| e.error().err()),
            Err(error) => Some(error.clone()),
        };
        if let Some(error) = &refused {
            tracing::debug!(topic = key.topic, partition = key.partition, to, %error, "the client does not move to an offset yet");
        }
        refused.is_none()
    }

    /// Sends the worker a chunk without messages when a life has begun, so that the watermark changes to it even if the log is
    /// empty.
    fn tell_life(&self, partition: &mut Assigned) {
        let log = &mut partition.log;
        if !log.may_read() || log.told == Some(log.life.0) || partition.chunks.capacity() == 0 {
            return;
        }
        let Some(permit) = partition.permits.reserve(0) else {
            return;
        };
        let chunk = Chunk {
            messages: Messages::none(&self.consumer),
            payload_bytes: 0,
            permit: Some(permit),
            skipped: None,
            life: log.life,
            log_end: log.end,
            passed: None,
        };
        log.told = Some(log.life.0);
        let _ = partition.chunks.try_send(chunk);
    }

    /// Handles answers of the log-watch thread.
    pub(in crate::pipeline::reader) fn answered(
        &self,
        answers: Vec<Answer>,
        assigned: &mut HashMap<TopicPartition, Assigned>,
        topics: &mut Topics,
    ) {
        let now = Instant::now();
        for answer in answers {
            match answer {
                Answer::Topics(found) => {
                    topics.asked = false;
                    topics.ask_at = now + LOOK;
                    match found {
                        Ok(found) => self.compare_topics(&found, assigned),
                        Err(error) => {
                            tracing::debug!(
                                error = format!("{error:#}"),
                                "topics were not asked for"
                            )
                        }
                    }
                }
                Answer::Start { key, token, found } => {
                    if let Some((partition, found)) = due(assigned, &key, token, found) {
                        let (facts, committed, differs) = found;
                        let (id, from, end) = (facts.topic_id.clone(), facts.low, facts.end);
                        let begun =
                            self.start(&key, partition, facts, (committed.as_ref(), differs));
                        let before = id.and_then(|id| {
                            let before = topics.seen.insert(key.clone(), id.clone());
                            before.filter(|before| *before != id)
                        });
                        // The partition was revoked while the topic was gone, and nothing is committed in the new topic.
                        if before.is_some() && !begun {
                            partition.log.waits_for_first(from, end);
                            self.say(&key, Change::Recreated, from);
                        }
                    }
                }
                Answer::Proof {
                    key,
                    token,
                    points,
                    found,
                } => {
                    if let Some((partition, found)) = due(assigned, &key, token, found) {
                        let (facts, point) = found;
                        self.prove(&key, partition, facts, &points, point.as_ref());
                        if let Some(id) = partition.log.topic_id.clone() {
                            topics.seen.insert(key, id);
                        }
                    }
                }
            }
        }
    }

    fn say(&self, key: &TopicPartition, change: Change, from: i64) {
        metrics::changed(&key.topic, change);
        tracing::error!(
            topic = key.topic,
            partition = key.partition,
            from,
            change = change.name(),
            "{}",
            change.meaning()
        );
        self.shared.board.log_changed(key, change, from);
    }

    /// Checks the life of the committed offset; true if another life of the log has begun.
    fn start(
        &self,
        key: &TopicPartition,
        partition: &mut Assigned,
        facts: Facts,
        (committed, differs): (Option<&Committed>, Option<i64>),
    ) -> bool {
        let log = &mut partition.log;
        log.topic_id.clone_from(&facts.topic_id);
        let verdict = committed.map_or(Verdict::Same, |committed| {
            let topic_id = committed.topic_id.as_ref();
            judge_commit(committed.offset, topic_id, &facts, differs)
        });
        match verdict {
            Verdict::Same => {
                if let Some(committed) = committed {
                    log.epochs.note(committed.offset - 1, committed.epoch);
                }
                log.end = Some(facts.end);
                log.stand = log.missed.take().map_or(Stand::Checked, Stand::Moving);
                // The client may remember the leader epoch of an earlier assignment, whose log is gone.
                let begin = committed.map_or(facts.low, |committed| committed.offset);
                let begin = begin.max(facts.low);
                log.silent = None;
                if facts.end > begin {
                    log.waits_for_first(begin, facts.end);
                }
                false
            }
            Verdict::New { from, change } => {
                let before = committed.map(|committed| committed.offset);
                self.begin_life(key, partition, facts, from, change, before);
                true
            }
        }
    }

    /// Checks the fingerprints of what was read against the log.
    ///
    /// `points` are the fingerprints that the question carried: more may have been read since.
    ///
    /// `points` are those that were asked about: more may have been read since.
    fn prove(
        &self,
        key: &TopicPartition,
        partition: &mut Assigned,
        facts: Facts,
        points: &Points,
        point: Option<&Point>,
    ) {
        let read_to = (partition.read_to >= 0).then_some(partition.read_to);
        let log = &mut partition.log;
        let reading = Reading {
            topic_id: log.topic_id.as_ref(),
            read_to: points.newest().map(|newest| newest.offset + 1),
            points,
        };
        match judge_reading(&reading, &facts, point) {
            Verdict::Same => {
                log.doubted = false;
                log.ends_now(facts.end, Instant::now());
                if log.stand == Stand::Back {
                    let to = read_to.map_or(facts.low, |to| to.max(facts.low));
                    log.stand = Stand::Moving(to);
                }
            }
            Verdict::New {
                change: Change::TailLost,
                ..
            } if log.short < DOUBTS && read_to.is_some_and(|to| facts.end < to) => {
                log.short += 1;
                log.ask_at = Instant::now() + AGAIN;
            }
            Verdict::New { from, change } => {
                self.begin_life(key, partition, facts, from, change, read_to);
            }
        }
    }

    /// Begins another life: the log was recreated or truncated, and is read from offset `from` on.
    fn begin_life(
        &self,
        key: &TopicPartition,
        partition: &mut Assigned,
        facts: Facts,
        from: i64,
        change: Change,
        before: Option<i64>,
    ) {
        metrics::changed(&key.topic, change);
        tracing::error!(
            topic = key.topic,
            partition = key.partition,
            from,
            before,
            end = facts.end,
            change = change.name(),
            topic_id = facts.topic_id.as_ref().map(TopicId::as_str),
            "{}",
            change.meaning()
        );
        self.shared.board.log_changed(key, change, from);
        let log = &mut partition.log;
        log.life = (log.life.0 + 1, from);
        log.topic_id = facts.topic_id.clone();
        // Messages below `from` were shown to be the same.
        let kept = if change == Change::TailLost { from } else { 0 };
        log.points.forget_from(kept);
        log.epochs.clear();
        log.lower = Lower::Due;
        log.waits_for_first(from, facts.end);
        log.end = Some(facts.end);
        (log.doubted, log.short) = (false, 0);
        log.missed = None;
        log.stop(Stand::Moving(from));
        log.ask_at = Instant::now();
        // An unreadable batch, and a request to skip it, belonged to the life before.
        partition.skipped = None;
        partition.stored = -1;
        partition.committed = -1;
        partition.progress.set_committed(-1);
        partition.began = i64::MAX;
        (partition.read_to, partition.passed, partition.passed_to) = (-1, -1, -1);
        partition.progress.set_begin(from);
        self.goes_on(key, partition);
    }

    /// Compares the ids of topics with those of the logs that are read.
    fn compare_topics(
        &self,
        found: &HashMap<String, Topic>,
        assigned: &mut HashMap<TopicPartition, Assigned>,
    ) {
        let id = |topic: &str| match found.get(topic) {
            Some(Topic::There(Some(id))) => Some(id),
            _ => None,
        };
        let now = Instant::now();
        let mut restart = Vec::new();
        for (key, partition) in assigned.iter_mut() {
            let log = &mut partition.log;
            match (id(&key.topic), &log.topic_id) {
                (Some(id), Some(known)) if id != known && log.may_read() => log.went_back(now),
                (Some(id), None) if log.may_read() => log.topic_id = Some(id.clone()),
                _ => {}
            }
            let held = self.shared.topics.held(&key.topic);
            if let Some((now, then)) = id(&held).zip(partition.progress.held_topic())
                && now != then
            {
                let held = TopicPartition::new(held, key.partition);
                restart.push((key.clone(), held));
            }
        }
        for (key, held) in restart {
            self.start_over(&key, &held, assigned);
        }
    }

    /// Replaces a worker after its held topic was recreated: the old worker's held index names other records now. The new
    /// worker rebuilds the index and reads again what the old one has not settled.
    fn start_over(
        &self,
        key: &TopicPartition,
        held: &TopicPartition,
        assigned: &mut HashMap<TopicPartition, Assigned>,
    ) {
        metrics::changed(&held.topic, Change::Recreated);
        tracing::error!(
            topic = held.topic,
            partition = held.partition,
            change = Change::Recreated.name(),
            "the held topic was deleted and created again: records that were held in it are gone with it, and its offsets name other records now"
        );
        self.shared.board.log_changed(held, Change::Recreated, 0);
        let Some(partition) = assigned.get(key) else {
            return;
        };
        let (committed, began, stored) = (partition.committed, partition.began, partition.stored);
        let skipped = partition.skipped;
        let life = partition.log.life();
        let progress = Arc::clone(&partition.progress);
        let bound = Duration::from_millis(self.input.drain_ms);
        let mut drained = self.drain(std::slice::from_ref(key), assigned, false, bound);
        let Some(log) = drained.logs.remove(key) else {
            return;
        };
        let began = (began < i64::MAX).then_some(began);
        let from = progress.watermark_in(life).or(began);
        let now = Instant::now();
        let mut other = self.open(key, log.for_another_worker(from, now));
        (other.committed, other.stored, other.skipped) = (committed, stored, skipped);
        other.progress.set_committed(committed);
        assigned.insert(key.clone(), other);
        self.publish(assigned);
    }

    /// Splits a partition's queue off again after the client recreated its partition object: messages of it arrived in the
    /// consumer's main queue. The message is read once more in its order.
    pub(in crate::pipeline::reader) fn split_again(
        &self,
        key: &TopicPartition,
        offset: i64,
        feeds: &mut HashMap<TopicPartition, PartitionQueue<Events>>,
        assigned: &mut HashMap<TopicPartition, Assigned>,
    ) {
        let Some(partition) = assigned.get_mut(key) else {
            return;
        };
        tracing::info!(
            topic = key.topic,
            partition = key.partition,
            offset,
            "librdkafka re-created a partition; its queue is split off again"
        );
        let Some(feed) = PartitionQueue::open(&self.consumer, key) else {
            return;
        };
        feeds.insert(key.clone(), feed);
        let log = &mut partition.log;
        match log.stand {
            Stand::Checked => {
                let to = match partition.read_to {
                    to if to >= 0 => to.min(offset),
                    _ => offset,
                };
                log.stop(Stand::Back);
                log.ask_at = Instant::now();
                if log.points.newest().is_none() {
                    log.stand = Stand::Moving(to);
                }
            }
            Stand::Start => log.missed = Some(log.missed.map_or(offset, |at| at.min(offset))),
            // A seek follows anyway.
            Stand::Back | Stand::Moving(_) => {}
        }
    }
}

/// The partition that an answer is for, unless the question is outdated; a failed question is scheduled again.
fn due<'a, T>(
    assigned: &'a mut HashMap<TopicPartition, Assigned>,
    key: &TopicPartition,
    token: u64,
    found: anyhow::Result<T>,
) -> Option<(&'a mut Assigned, T)> {
    let partition = assigned.get_mut(key)?;
    let log = &mut partition.log;
    if log.token != token {
        return None;
    }
    log.asked = false;
    match found {
        Ok(found) => {
            log.failed = 0;
            Some((partition, found))
        }
        Err(error) => {
            log.ask_at = Instant::now() + AGAIN;
            log.failed += 1;
            if let Some(wait) = &log.wait {
                wait.update(format!("the broker does not say whether the log is still the one that offsets are remembered of: {error:#}"));
            }
            if log.failed > 1 {
                return None;
            }
            tracing::warn!(
                topic = key.topic,
                partition = key.partition,
                error = format!("{error:#}"),
                "the broker does not return the identity of a log; retrying"
            );
            None
        }
    }
}
