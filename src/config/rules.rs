//! Rules over several settings, or over values that their type cannot bound.
//!
//! A section whose module checks itself is asked; what concerns several sections is here.

use super::layers::Places;
use super::problem::Problem;
use super::schema::Schema;
use super::{SettingSource, Settings};
use crate::registry::Source;

/// Every rule that is broken, with the place of the value at fault; with `complete`, what is missing too.
pub fn broken(
    settings: &Settings,
    schema: &Schema,
    places: &Places,
    complete: bool,
) -> Vec<Problem> {
    let mut found = Found {
        schema,
        places,
        problems: Vec::new(),
    };
    kafka(settings, &mut found);
    input(settings, &mut found);
    pacing(settings, &mut found);
    found.adopt("feedback", settings.feedback.check());
    let verdict = settings.schema_registry.check();
    found.adopt(
        "schema_registry",
        verdict.map_err(|error| format!("{error:#}")),
    );
    if complete {
        let verdict = settings.dig.check().map_err(|error| format!("{error:#}"));
        found.adopt("dig", verdict);
    }
    found.adopt("orders", settings.orders.check());
    orders(settings, &mut found);
    found.adopt("ops", settings.ops.page.check());
    let verdict = settings.myadmin.check();
    found.adopt("myadmin", verdict.map_err(|error| format!("{error:#}")));
    sizes(settings, &mut found);
    let Settings {
        guard, ops, log, ..
    } = settings;
    found.rule(
        guard.share > 0.0 && guard.share <= 1.0,
        "guard.share",
        "a share lies above 0 and at most at 1",
        "give 1 to switch the guard off",
    );
    found.rule(
        guard.window_s > 0,
        "guard.window_s",
        "nothing can be measured over no time",
        "give at least 1 (second)",
    );
    found.rule(
        ops.stall_after_s > 0,
        "ops.stall_after_s",
        "a worker cannot be called stalled at once",
        "give at least 1 (second)",
    );
    if let Err(error) = log.filter() {
        let remedy = "give error, warn, info, debug or trace, or directives such as info,dig_ingest::dig=debug";
        found.rule(false, "log.level", &error, remedy);
    }
    found.problems
}

struct Found<'a> {
    schema: &'a Schema,
    places: &'a Places,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn rule(&mut self, holds: bool, key: &str, what: &str, remedy: &str) {
        if !holds {
            let (what, remedy) = (what.to_owned(), remedy.to_owned());
            self.problems.push(Problem {
                place: self.places.of(key),
                key: key.to_owned(),
                what,
                remedy,
            });
        }
    }

    /// Takes over what a section says about itself: the key is the first of its settings that the text names.
    fn adopt(&mut self, section: &str, verdict: Result<(), impl std::fmt::Display>) {
        let Err(error) = verdict else { return };
        let text = error.to_string();
        let text = text.strip_prefix(&format!("[{section}] ")).unwrap_or(&text);
        let names: Vec<&str> = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.')
            .collect();
        let key = names.iter().find_map(|name| {
            let name = name.strip_prefix(&format!("{section}.")).unwrap_or(name);
            let key = format!("{section}.{}", name.trim_matches('.'));
            self.schema.contains_key(&key).then_some(key)
        });
        let key = key.unwrap_or_else(|| section.to_owned());
        let what = text
            .strip_prefix(&format!("{key}: "))
            .unwrap_or(text)
            .to_owned();
        self.problems.push(Problem {
            place: self.places.of(&key),
            key,
            what,
            remedy: String::new(),
        });
    }
}

fn kafka(Settings { kafka, input, .. }: &Settings, found: &mut Found<'_>) {
    found.adopt("kafka", kafka.validate());
    if kafka.security_protocol.starts_with("sasl") && !kafka.sends_token() {
        found.rule(
            !kafka.sasl_username.is_empty(),
            "kafka.sasl_username",
            "SASL needs a user name",
            "set it, or give kafka.security_protocol = \"plaintext\" or \"ssl\"",
        );
        found.rule(
            !kafka.sasl_password.is_empty() || !kafka.sasl_password_file.is_empty(),
            "kafka.sasl_password_file",
            "SASL needs a password",
            "name a file that holds it, or set the variable DIG_INGEST__KAFKA__SASL_PASSWORD",
        );
    }
    found.rule(
        kafka.sasl_password.is_empty() || kafka.sasl_password_file.is_empty(),
        "kafka.sasl_password_file",
        "kafka.sasl_password is set too, and only one can count",
        "remove one of the two",
    );
    found.rule(
        input.drain_ms < u64::from(kafka.session_timeout_ms),
        "input.drain_ms",
        "a drain would outlast kafka.session_timeout_ms, and the group would give the partitions away meanwhile (O3)",
        "give less than the session timeout",
    );
}

/// The registry that the journey writes must be the one that the gate asks (G1).
fn orders(settings: &Settings, found: &mut Found<'_>) {
    let place = settings.registry.place(true);
    found.rule(
        !settings.orders.enabled || place == Some(Source::Topic),
        "registry.file",
        "orders write the device registry's topic, and the gate would follow this file (orders.enabled is true)",
        "unset it, or give registry.source = \"topic\"",
    );
}

fn input(
    Settings {
        input,
        topics,
        schema_registry,
        ..
    }: &Settings,
    found: &mut Found<'_>,
) {
    found.rule(
        !input.topics.is_empty(),
        "input.topics",
        "there is nothing to read",
        "name at least one topic",
    );
    found.rule(
        input.topics.iter().all(|topic| !topic.trim().is_empty()),
        "input.topics",
        "a topic's name is empty",
        "remove it",
    );
    if let Err(error) = input.start() {
        let remedy = "give earliest, latest, or a time with its zone";
        found.rule(false, "input.start", &error, remedy);
    }
    let written = [
        ("topics.dead_letter", &topics.dead_letter),
        ("topics.invalid", &topics.invalid),
        ("topics.state", &topics.state),
    ];
    for (key, name) in written {
        found.rule(
            !name.trim().is_empty(),
            key,
            "a topic's name is empty",
            "name a topic",
        );
    }
    found.rule(
        !topics.held_suffix.is_empty(),
        "topics.held_suffix",
        "held records would go into the topic they came from",
        "give a suffix such as .held",
    );
    let mut patterns = Vec::new();
    for topic in &input.topics {
        match topic.starts_with('^').then(|| regex::Regex::new(topic)) {
            None => {}
            Some(Ok(pattern)) => patterns.push(pattern),
            Some(Err(error)) => {
                let what = format!(
                    "the pattern {topic} cannot be read: {}",
                    last_line(&error.to_string())
                );
                found.rule(
                    false,
                    "input.topics",
                    &what,
                    "correct the regular expression",
                );
            }
        }
    }
    let reads = |name: &str| {
        input.topics.iter().any(|topic| topic == name) || patterns.iter().any(|p| p.is_match(name))
    };
    for (key, name) in written {
        let what = format!(
            "{name} is written by this job and read as input, so its records would go in circles"
        );
        found.rule(
            !reads(name),
            key,
            &what,
            "give the two different names, or make the input pattern narrower",
        );
    }
    for topic in &input.topics {
        let held = topics.held(topic);
        let what = format!("{held} is where held records of {topic} go, and it is read as input");
        let remedy = "remove it from the input, or give another topics.held_suffix";
        found.rule(
            topic.starts_with('^') || !reads(&held),
            "input.topics",
            &what,
            remedy,
        );
    }
    for topic in input.mappings.keys() {
        let what = format!("there is a mapping for {topic}, which is not read");
        found.rule(
            reads(topic),
            "input.mappings",
            &what,
            "add the topic to input.topics, or remove its mapping",
        );
    }
    for (topic, format) in &input.formats {
        let what = format!("there is a format for {topic}, which is not read");
        found.rule(
            reads(topic),
            "input.formats",
            &what,
            "add the topic to input.topics, or remove its format",
        );
        let name = format.format.name();
        let what =
            format!("{topic} is {name} without a `schema` file, and schema_registry.urls is empty");
        found.rule(
            !format.asks_registry() || !schema_registry.urls.is_empty(),
            "input.formats",
            &what,
            "set schema_registry.urls, or give the topic a schema file: { format = \"...\", schema = \"FILE\" }",
        );
    }
}

fn sizes(Settings { batch, memory, .. }: &Settings, found: &mut Found<'_>) {
    found.rule(
        (1..=5000).contains(&batch.max_records),
        "batch.max_records",
        "a request holds at least 1 record, and the gateway takes at most 5000",
        "give a number from 1 to 5000",
    );
    found.rule(
        batch.max_bytes >= 1024,
        "batch.max_bytes",
        "not even a few records fit",
        "give at least 1024 (bytes)",
    );
    found.rule(
        memory.partition_bytes <= memory.total_bytes,
        "memory.partition_bytes",
        "one partition may hold more than all together (memory.total_bytes)",
        "give at most memory.total_bytes",
    );
    found.rule(
        batch.max_bytes as u64 <= memory.partition_bytes,
        "batch.max_bytes",
        "a full request does not fit into a partition's memory (memory.partition_bytes)",
        "give less, or give the partition more",
    );
    found.rule(
        memory.chunk_messages > 0,
        "memory.chunk_messages",
        "nothing would be read",
        "give at least 1",
    );
    found.rule(
        memory.window_messages >= memory.chunk_messages as u64,
        "memory.window_messages",
        "less than one read (memory.chunk_messages)",
        "give at least memory.chunk_messages",
    );
}

fn pacing(Settings { pacing, .. }: &Settings, found: &mut Found<'_>) {
    let (floor, start, cap) = (
        pacing.concurrency_floor,
        pacing.concurrency_start,
        pacing.concurrency_cap,
    );
    if floor <= start && start <= cap {
        return found.adopt("pacing", pacing.check());
    }
    // Of the three the one that was given is at fault.
    let keys = [
        "pacing.concurrency_cap",
        "pacing.concurrency_start",
        "pacing.concurrency_floor",
    ];
    let given = keys
        .into_iter()
        .find(|key| found.places.of(key) != SettingSource::Default);
    let what = format!("floor {floor} <= start {start} <= cap {cap} does not hold");
    let remedy = "give pacing.concurrency_floor, _start and _cap in that order";
    found.rule(false, given.unwrap_or(keys[0]), &what, remedy);
}

fn last_line(text: &str) -> &str {
    text.lines()
        .last()
        .unwrap_or(text)
        .trim_start_matches("error: ")
}

/// The problem of a job that would need more memory than it is given.
pub(super) fn too_much(places: SettingSource, total: u64, limit: u64) -> Problem {
    Problem {
        place: places,
        key: "memory.limit_bytes".to_owned(),
        what: format!("the job may need {total} bytes and is given {limit}"),
        remedy: "give the job more memory, or lower memory.partitions (the partitions this instance may own), memory.devices, \
                 memory.total_bytes, kafka.prefetch_kib_per_partition, batch.max_bytes or pacing.concurrency_cap"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests;
