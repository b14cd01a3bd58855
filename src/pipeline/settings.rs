//! Settings of the pipeline's own sections that no single stage owns: `[input]`, `[topics]`, `[memory]`, `[guard]`.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::formats;

/// Settings (`[input]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Input {
    /// Input topics (at least one). A name that starts with `^` is a regular expression over topic names.
    pub topics: Vec<String>,
    /// Mapping per input topic: a file in `mapping.dir`, or the name of a shipped mapping. A topic that is not listed carries native
    /// records.
    pub mappings: BTreeMap<String, String>,
    /// Where a group without offsets begins: `earliest`, `latest`, or a time such as `2026-07-01T00:00:00Z` (the first message written
    /// then or later). Counts once per group, for the partitions that exist when its first instance starts; a partition that is added
    /// later is read from its first message.
    pub start: String,
    /// Format of the messages per input topic: `json`, `json_with_header` (behind a schema registry's header), `avro` or `protobuf`; or a
    /// table, such as `{ format = "avro", schema = "FILE" }` (messages without header), `reader_schema` (Avro) and `message` (Protobuf).
    /// A topic that is not listed carries JSON.
    pub formats: BTreeMap<String, formats::Topic>,
    /// Drain timeout of a rebalance in milliseconds (below `kafka.session_timeout_ms`): time for the in-flight requests of a revoked
    /// partition to finish.
    pub drain_ms: u64,
    /// Shutdown timeout in milliseconds: time after SIGTERM for the whole job to finish in-flight requests and commit offsets.
    pub shutdown_ms: u64,
}

/// A beginning: the first message, the end of the log, or a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    At(Timestamp),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            time => time.parse().map(Self::At).map_err(|_| {
                format!("{time:?} is neither earliest nor latest nor a time such as 2026-07-01T00:00:00Z")
            }),
        }
    }
}

impl Input {
    /// Where a group without offsets begins.
    ///
    /// # Errors
    /// What is wrong with the setting.
    pub fn start(&self) -> Result<Start, String> {
        self.start.parse()
    }

    /// Whether a topic is read: named outright or by a pattern.
    ///
    /// # Errors
    /// The pattern that is none.
    pub fn matcher(&self) -> anyhow::Result<impl Fn(&str) -> bool + use<>> {
        let (patterns, names): (Vec<&String>, Vec<&String>) =
            self.topics.iter().partition(|topic| topic.starts_with('^'));
        let names: Vec<String> = names.into_iter().cloned().collect();
        let patterns = patterns
            .into_iter()
            .map(|pattern| {
                regex::Regex::new(pattern)
                    .with_context(|| format!("input.topics: {pattern:?} is no pattern"))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(move |topic: &str| {
            names.iter().any(|name| name == topic) || patterns.iter().any(|p| p.is_match(topic))
        })
    }
}

impl Default for Input {
    fn default() -> Self {
        Self {
            topics: vec!["telemetry".to_owned()],
            mappings: BTreeMap::new(),
            start: "earliest".to_owned(),
            formats: BTreeMap::new(),
            drain_ms: 10_000,
            shutdown_ms: 25_000,
        }
    }
}

/// Settings (`[topics]`): the topics the job writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// Dead-letter topic: records that must not or could not be sent.
    pub dead_letter: String,
    /// Suffix that makes the held topic from the name of an input topic. A held topic keeps records of devices that are not active yet or
    /// are in quarantine.
    pub held_suffix: String,
    /// Topic of invalid records: records that the gateway accepted and later rejected.
    pub invalid: String,
    /// State topic (compacted): small cursors of the job.
    pub state: String,
    /// Topic of the device registry (compacted); not used if the registry is a file.
    pub devices: String,
    /// Whether the job creates missing topics. A held topic gets as many partitions as its input topic.
    pub create: bool,
    /// Replication factor of topics that the job creates; -1: the broker's default.
    pub replication: i32,
    /// Whether records of a held topic are deleted once they and all records at lower offsets are released.
    pub trim_held: bool,
    /// Time in seconds before an alarm: a record written to a dead-letter or held topic is still not confirmed by the broker. The job
    /// keeps waiting.
    pub alarm_s: u64,
}

impl Topics {
    /// A comma-separated list of patterns that match every topic the job writes, as librdkafka's `topic.blacklist` takes it.
    #[must_use]
    pub fn written(&self) -> String {
        let exact = [&self.dead_letter, &self.invalid, &self.state, &self.devices];
        let mut patterns: Vec<String> = exact
            .iter()
            .map(|name| format!("^{}$", regex::escape(name)))
            .collect();
        if !self.held_suffix.is_empty() {
            patterns.push(format!("^.*{}$", regex::escape(&self.held_suffix)));
        }
        patterns.join(",")
    }
}

impl Topics {
    /// The name of the held topic of an input topic.
    #[must_use]
    pub fn held(&self, input: &str) -> String {
        format!("{input}{}", self.held_suffix)
    }

    /// The name of the input topic of a held topic; `None` for the name of any other topic.
    #[must_use]
    pub fn input_of<'t>(&self, held: &'t str) -> Option<&'t str> {
        // Without a suffix (which the checks of the settings refuse) no name is that of a held topic.
        held.strip_suffix(&self.held_suffix)
            .filter(|_| !self.held_suffix.is_empty())
    }

    /// Whether the job writes this topic, so that no pattern over input topics takes it in.
    #[must_use]
    pub fn is_written(&self, topic: &str) -> bool {
        let exact = [&self.dead_letter, &self.invalid, &self.state, &self.devices];
        self.input_of(topic).is_some() || exact.into_iter().any(|name| name == topic)
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            dead_letter: "dig.dead-letter".to_owned(),
            held_suffix: ".held".to_owned(),
            invalid: "dig.invalid".to_owned(),
            state: "dig.state".to_owned(),
            devices: "dig.devices".to_owned(),
            create: true,
            replication: -1,
            trim_held: true,
            alarm_s: 30,
        }
    }
}

/// Settings (`[memory]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Memory limit in bytes for decoded records, all partitions together.
    pub total_bytes: u64,
    /// Memory limit in bytes for decoded records per partition (at most `memory.total_bytes`).
    pub partition_bytes: u64,
    /// Maximum number of messages read beyond the last confirmed commit of a partition (at least `memory.chunk_messages`).
    pub window_messages: u64,
    /// Maximum number of messages per read from a partition (1 or more).
    pub chunk_messages: usize,
    /// Number of partitions this instance may own, all topics together; an input of the memory formula.
    pub partitions: u64,
    /// Number of devices the registry may hold, and of names with held records; an input of the memory formula.
    pub devices: u64,
    /// Memory limit of the job in bytes, compared with the memory formula. Sizes left at their default are lowered until the formula fits;
    /// if the formula still exceeds the limit, `run` refuses to start. 0: the limit of the control group (container), if any. `check`
    /// prints the formula.
    pub limit_bytes: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            total_bytes: 256 * 1024 * 1024,
            partition_bytes: 64 * 1024 * 1024,
            window_messages: 500_000,
            chunk_messages: 1024,
            partitions: 16,
            devices: 100_000,
            limit_bytes: 0,
        }
    }
}

/// Bytes charged per message beside its payload: its place in the tracker, its record's slot, its serial's entry.
pub const MESSAGE_OVERHEAD: u64 = 128;

/// Settings (`[guard]`): a bad deploy must not dead-letter a fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Maximum fraction of messages (`0 < x <= 1`) that may become dead letters within the window; above it the job stops, so that a bad
    /// deployment cannot dead-letter the records of a whole fleet. The device with the most dead letters is left out, and at least two
    /// others must have dead letters: one device alone never stops the job. 1: guard disabled.
    pub share: f64,
    /// Length in seconds (1 or more) of the window over which `guard.share` is measured.
    pub window_s: u64,
    /// Minimum number of messages in the window before the guard may stop the job; dead letters of the device with the most are not
    /// counted.
    pub min_records: u64,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            share: 0.5,
            window_s: 60,
            min_records: 1_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_topic_is_named_after_its_input_topic_and_back() {
        let topics = Topics::default();
        let held = topics.held("telemetry");
        assert_eq!(topics.input_of(&held), Some("telemetry"));
        assert_eq!(topics.input_of("telemetry"), None);
        assert!(topics.is_written(&held) && !topics.is_written("telemetry"));
        let none = Topics {
            held_suffix: String::new(),
            ..topics
        };
        assert_eq!(none.input_of("telemetry"), None);
    }
}
