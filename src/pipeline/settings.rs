//! Settings of the pipeline's own sections that no single stage owns: `[input]`, `[topics]`, `[memory]`, `[guard]`.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// Settings (`[input]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Input {
    /// Topics to read. One that starts with `^` is a pattern (regular expression) over topic names.
    pub topics: Vec<String>,
    /// Mapping by topic name: a file in `mapping.dir`, or a shipped mapping's name. Topics not listed carry native records.
    pub mappings: BTreeMap<String, String>,
    /// Milliseconds a partition that is being taken away may finish the requests it has in flight.
    pub drain_ms: u64,
    /// Milliseconds the whole job may take to finish what it has in hand after SIGTERM.
    pub shutdown_ms: u64,
}

impl Input {
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
            drain_ms: 10_000,
            shutdown_ms: 25_000,
        }
    }
}

/// Settings (`[topics]`): the topics the job writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// Records that may not or could not be sent.
    pub dead_letter: String,
    /// Appended to an input topic's name: records of devices that are not active yet.
    pub held_suffix: String,
    /// What the gateway rejected later.
    pub invalid: String,
    /// Compacted: small cursors.
    pub state: String,
    /// Compacted: the device registry, when it is a topic.
    pub devices: String,
    /// Create missing topics at start (held topics with the partition count of their input).
    pub create: bool,
    /// Replication factor of created topics; -1 for the broker's default.
    pub replication: i32,
    /// Delete held records once everything below them is released.
    pub trim_held: bool,
    /// Seconds a letter may wait for the broker before an alarm is raised; it goes on waiting.
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
    /// Whether the job writes this topic, so that no pattern over input topics takes it in.
    #[must_use]
    pub fn is_written(&self, topic: &str) -> bool {
        let exact = [&self.dead_letter, &self.invalid, &self.state, &self.devices];
        let held = !self.held_suffix.is_empty() && topic.ends_with(&self.held_suffix);
        held || exact.into_iter().any(|name| name == topic)
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
    /// Bytes of decoded records in hand, all partitions together.
    pub total_bytes: u64,
    /// Bytes of decoded records in hand per partition.
    pub partition_bytes: u64,
    /// Messages of a partition that may be read beyond its last confirmed commit; what a crash may repeat.
    pub window_messages: u64,
    /// Messages of one read from a partition.
    pub chunk_messages: usize,
    /// Partitions this instance may come to own, all topics together; the memory formula counts their prefetch.
    pub partitions: u64,
    /// Devices the registry may come to have, and names of which records may be held; the memory formula counts them.
    pub devices: u64,
    /// Bytes the job may need by its own formula; sizes with default values are lowered to fit, and `run` refuses to start above it.
    /// 0: the limit of the control group, if there is one. `check` prints the formula.
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
    /// Share of messages (0 to 1) that may become dead letters within the window; above it the job stops. The worst device is left
    /// out, and two others must have dead letters. 1 switches the guard off.
    pub share: f64,
    /// Seconds the share is measured over.
    pub window_s: u64,
    /// Messages the window must hold before the guard may act.
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
