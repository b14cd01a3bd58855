//! The consumer group seen from outside: its members, and its committed offsets beside the logs to which they belong.
//!
//! Owns one client, which has the group's name and never joins it. [`super::start`] uses it before the job joins, and
//! `dig-ingest offsets` for a stopped group.
//!
//! * E1: an offset is committed together with the id of its topic, and a committed offset of another life of the log counts as
//!   none.
//! * Offsets are committed only for a group without members: [`Group::commit`] asks first, and the broker refuses it besides.
//!
//! Blocks the calling thread; each call to the broker is bounded. A command that ends early leaves either the old offsets or the
//! new ones.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::kafka;
use super::settings::{Input, Start, Topics};
use crate::log_life::broker::{Asker, Committed, Stored, Topic, list_of};
use crate::log_life::{Change, Facts, Verdict, judge_commit};
use crate::topic_partition::TopicPartition;

/// How long one call may take.
const CALL: Duration = Duration::from_secs(10);

/// A member of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub client_id: String,
    pub host: String,
}

/// A partition of an input topic, and what the group remembers of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    pub key: TopicPartition,
    /// Bounds of the log, and the topic's id.
    pub facts: Facts,
    pub committed: Option<Committed>,
}

impl GroupOffset {
    /// Where the group goes on: at the committed offset, if that is in the present life of the log.
    #[must_use]
    pub fn goes_on(&self) -> Option<i64> {
        let committed = self.committed.as_ref()?;
        match self.verdict(committed) {
            Verdict::Same => Some(committed.offset.max(self.facts.low)),
            Verdict::New { .. } => None,
        }
    }

    /// Why the committed offset does not count.
    #[must_use]
    pub fn outdated(&self) -> Option<Change> {
        match self.verdict(self.committed.as_ref()?) {
            Verdict::Same => None,
            Verdict::New { change, .. } => Some(change),
        }
    }

    fn verdict(&self, committed: &Committed) -> Verdict {
        // Only the job itself looks at messages to find a lost tail.
        judge_commit(
            committed.offset,
            committed.topic_id.as_ref(),
            &self.facts,
            None,
        )
    }
}

/// The group has members, so that its offsets are theirs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the group {group} has {count} members: stop every instance of the job first")]
pub struct HasMembers {
    pub group: String,
    pub count: String,
}

/// See the module's documentation.
pub struct Group {
    /// The client, with the group's name; it never joins.
    asker: Asker,
    name: String,
}

impl Group {
    /// # Errors
    /// Settings that the client refuses.
    pub fn open(kafka: &kafka::Config) -> anyhow::Result<Self> {
        let mut client = kafka.by_hand("group")?;
        client.set("group.id", &kafka.group);
        Ok(Self {
            asker: Asker::open(&client)?,
            name: kafka.group.clone(),
        })
    }

    /// The partitions of all input topics that exist. Asking for all topics creates none.
    ///
    /// # Errors
    /// The broker does not answer, or a pattern cannot be read.
    pub fn inputs(&self, input: &Input, topics: &Topics) -> anyhow::Result<Vec<TopicPartition>> {
        let reads = input.matcher()?;
        let all = self
            .asker
            .client()
            .fetch_metadata(None, CALL)
            .context("cannot ask for topics")?;
        let mut keys: Vec<TopicPartition> = all
            .topics()
            .iter()
            .filter(|topic| reads(topic.name()) && !topics.is_written(topic.name()))
            .flat_map(|topic| {
                let numbers = topic.partitions().iter();
                numbers.map(|partition| TopicPartition::new(topic.name(), partition.id()))
            })
            .collect();
        keys.sort();
        Ok(keys)
    }

    /// The members of the group; none of a group that does not exist.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn members(&self) -> anyhow::Result<Vec<Member>> {
        let list = self
            .asker
            .client()
            .fetch_group_list(Some(&self.name), CALL)
            .with_context(|| format!("no answer about group {}", self.name))?;
        let Some(group) = list.groups().iter().find(|group| group.name() == self.name) else {
            return Ok(Vec::new());
        };
        // A group that could not be described has no state.
        ensure!(
            !group.state().is_empty(),
            "the group {} is not described",
            self.name
        );
        Ok(group
            .members()
            .iter()
            .map(|member| Member {
                client_id: member.client_id().to_owned(),
                host: member.client_host().trim_start_matches('/').to_owned(),
            })
            .collect())
    }

    /// What the group remembers of these partitions, and where their logs begin and end.
    ///
    /// # Errors
    /// The broker does not answer, or a topic does not exist.
    pub fn places(&self, keys: &[TopicPartition]) -> anyhow::Result<Vec<GroupOffset>> {
        let mut names: Vec<&str> = keys.iter().map(|key| key.topic.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let topics = self.asker.topics(&names)?;
        let mut committed = match keys.is_empty() {
            true => Default::default(),
            false => self.asker.committed(keys.iter())?,
        };
        keys.iter()
            .map(|key| {
                let Some(Topic::There(id)) = topics.get(&key.topic) else {
                    anyhow::bail!("topic {} does not exist", key.topic);
                };
                Ok(GroupOffset {
                    facts: self.asker.facts(key, id.clone())?,
                    committed: committed.remove(key),
                    key: key.clone(),
                })
            })
            .collect()
    }

    /// The offset that `start` names, for each place.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn offsets(&self, places: &[GroupOffset], start: &Start) -> anyhow::Result<Vec<i64>> {
        let time = match start {
            Start::Earliest => return Ok(places.iter().map(|place| place.facts.low).collect()),
            Start::Latest => return Ok(places.iter().map(|place| place.facts.end).collect()),
            Start::At(time) => time.as_millisecond(),
        };
        let mut wanted = TopicPartitionList::new();
        for place in places {
            wanted
                .add_partition_offset(&place.key.topic, place.key.partition, Offset::Offset(time))
                .with_context(|| format!("{time} ms is no time that a broker knows"))?;
        }
        let act = "the brokers do not say which offsets belong to that time";
        let found = self
            .asker
            .client()
            .offsets_for_times(wanted, CALL)
            .context(act)?;
        places
            .iter()
            .map(|place| {
                let TopicPartition { topic, partition } = &place.key;
                let element = found.find_partition(topic, *partition).context(act)?;
                element.error().context(act)?;
                Ok(match element.offset() {
                    Offset::Offset(offset) => offset,
                    // Every message is older.
                    _ => place.facts.end,
                })
            })
            .collect()
    }

    /// Commits an offset for each place.
    ///
    /// # Errors
    /// [`HasMembers`]: nothing is committed; or the broker does not answer or refuses. After any other error it is not known
    /// whether the offsets are committed.
    pub fn commit(&self, moves: &[(&GroupOffset, i64)]) -> anyhow::Result<()> {
        let has = |count: String| HasMembers {
            group: self.name.clone(),
            count,
        };
        let members = self.members()?;
        if !members.is_empty() {
            return Err(has(members.len().to_string()).into());
        }
        let list = list_of(moves.iter().map(|(place, offset)| Stored {
            key: &place.key,
            offset: *offset,
            // The message before the offset was not read.
            epoch: -1,
            topic_id: place.facts.topic_id.as_ref(),
        }));
        match self.asker.client().commit(&list, CommitMode::Sync) {
            Ok(()) => Ok(()),
            // Somebody joined meanwhile: the broker takes offsets from members alone.
            Err(error)
                if matches!(
                    error.rdkafka_error_code(),
                    Some(
                        RDKafkaErrorCode::UnknownMemberId
                            | RDKafkaErrorCode::IllegalGeneration
                            | RDKafkaErrorCode::RebalanceInProgress
                    )
                ) =>
            {
                Err(has("new".to_owned()).into())
            }
            Err(error) => Err(error)
                .with_context(|| format!("the offsets of group {} were not committed", self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_life::TopicId;

    fn place(committed: Option<(i64, &str)>) -> GroupOffset {
        GroupOffset {
            key: TopicPartition::new("telemetry", 0),
            facts: Facts {
                topic_id: TopicId::new("b"),
                low: 10,
                end: 100,
            },
            committed: committed.map(|(offset, id)| Committed {
                offset,
                epoch: -1,
                topic_id: TopicId::new(id),
            }),
        }
    }

    #[test]
    fn e1_a_commit_of_another_life_counts_as_none() {
        assert_eq!(place(None).goes_on(), None);
        assert_eq!(place(Some((50, "b"))).goes_on(), Some(50));
        assert_eq!(
            place(Some((5, "b"))).goes_on(),
            Some(10),
            "retention went on"
        );
        assert_eq!(place(Some((50, "a"))).goes_on(), None);
        assert_eq!(place(Some((50, "a"))).outdated(), Some(Change::Recreated));
        assert_eq!(place(Some((101, "b"))).goes_on(), None);
        assert_eq!(
            place(Some((101, "b"))).outdated(),
            Some(Change::CommitAboveEnd)
        );
    }
}
