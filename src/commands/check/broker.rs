//! What the broker says: does it answer, are the topics there, have they the partitions they need.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Tried;
use crate::config::Settings;
use crate::pipeline::gate::Mode;
use crate::pipeline::metadata_probe::{Asker, Cluster, Trouble};
use crate::registry::Source;

/// Asks the broker; gives the results and how many input partitions there are, if it answered.
pub(super) fn ask(settings: &Settings, timeout: Duration) -> (Vec<Tried>, Option<u64>) {
    match cluster(settings, timeout) {
        Ok(Cluster { brokers, topics }) => {
            let subject = format!("broker {}", settings.kafka.brokers);
            let mut tried = vec![Tried::good(
                subject,
                format!("answers; {brokers} in the cluster"),
            )];
            let partitions = judge(settings, &topics, &mut tried);
            (tried, Some(partitions))
        }
        Err(failed) => (vec![failed], None),
    }
}

/// What the brokers say about themselves.
fn cluster(settings: &Settings, timeout: Duration) -> Result<Cluster, Tried> {
    let subject = format!("broker {}", settings.kafka.brokers);
    let client = settings.kafka.plain().map_err(|error| {
        Tried::bad(
            subject.clone(),
            format!("{error:#}"),
            "correct the settings in [kafka]",
        )
    })?;
    Asker::open(&client)
        .and_then(|asker| asker.cluster(timeout))
        .map_err(|Trouble { what, remedy }| Tried::bad(subject, what, remedy))
}

fn judge(settings: &Settings, there: &BTreeMap<String, usize>, tried: &mut Vec<Tried>) -> u64 {
    let Settings {
        input,
        topics,
        gate,
        ..
    } = settings;
    let mut read: BTreeMap<&str, usize> = BTreeMap::new();
    for wanted in &input.topics {
        if wanted.starts_with('^') {
            let pattern = regex::Regex::new(wanted);
            let held = |name: &str| topics.input_of(name).is_some();
            let matching: Vec<_> = there
                .iter()
                .filter(|(name, _)| {
                    pattern.as_ref().is_ok_and(|pattern| pattern.is_match(name)) && !held(name)
                })
                .collect();
            tried.push(if matching.is_empty() {
                let found = "no topic matches";
                Tried::bad(
                    format!("input {wanted}"),
                    found,
                    "create the topics, or correct input.topics",
                )
            } else {
                let names: Vec<_> = matching
                    .iter()
                    .map(|(name, count)| format!("{name} ({count})"))
                    .collect();
                Tried::good(
                    format!("input {wanted}"),
                    format!("topics (partitions): {}", names.join(", ")),
                )
            });
            read.extend(
                matching
                    .into_iter()
                    .map(|(name, count)| (name.as_str(), *count)),
            );
        } else if let Some(count) = there.get(wanted) {
            tried.push(Tried::good(
                format!("input {wanted}"),
                format!("{count} partitions"),
            ));
            read.insert(wanted, *count);
        } else {
            let remedy = match nearest(wanted, there) {
                Some(near) => format!(
                    "did you mean {near}? else create it; input topics are not created by the job"
                ),
                None => {
                    "create it, or correct input.topics; input topics are not created by the job"
                        .to_owned()
                }
            };
            tried.push(Tried::bad(
                format!("input {wanted}"),
                "does not exist",
                remedy,
            ));
        }
    }
    let registry = settings.registry.place(gate.mode == Mode::Registry);
    if settings.orders.enabled || registry == Some(Source::Topic) {
        tried.push(written(&topics.devices, None, there, topics.create));
    }
    for name in [&topics.dead_letter, &topics.invalid, &topics.state] {
        tried.push(written(name, None, there, topics.create));
    }
    if gate.mode == Mode::Registry {
        for (name, count) in &read {
            tried.push(written(
                &topics.held(name),
                Some(*count),
                there,
                topics.create,
            ));
        }
    }
    read.values().map(|count| *count as u64).sum()
}

/// A topic the job writes; a held topic must have as many partitions as its input.
fn written(
    name: &str,
    partitions: Option<usize>,
    there: &BTreeMap<String, usize>,
    create: bool,
) -> Tried {
    let subject = format!("topic {name}");
    match (there.get(name), partitions) {
        (Some(count), Some(wanted)) if *count != wanted => Tried::bad(
            subject,
            format!("{count} partitions, and its input has {wanted}"),
            "give it as many partitions as its input: a record is held under its own partition number",
        ),
        (Some(count), _) => Tried::good(subject, format!("{count} partitions")),
        (None, _) if create => {
            Tried::good(subject, "does not exist; `run` creates it (topics.create)")
        }
        (None, _) => Tried::bad(
            subject,
            "does not exist",
            "create it, or set topics.create = true",
        ),
    }
}

fn nearest<'a>(name: &str, there: &'a BTreeMap<String, usize>) -> Option<&'a str> {
    crate::config::nearest(name, there.keys().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;

    fn settings(sets: &[String]) -> Settings {
        Settings::load_from(None, [], sets).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_broker_that_answers_is_asked_for_the_topics() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("telemetry", 6, 1).unwrap();
        cluster.create_topic("telemetry.held", 4, 1).unwrap();
        let brokers = format!("kafka.brokers={}", cluster.bootstrap_servers());
        let sets = |more: &[&str]| {
            let mut sets = vec![brokers.clone()];
            sets.extend(more.iter().map(|set| (*set).to_owned()));
            settings(&sets)
        };
        let timeout = Duration::from_secs(30);

        let (tried, partitions) = ask(&sets(&[]), timeout);
        assert!(tried.iter().all(|one| one.ok), "{tried:#?}");
        assert_eq!(partitions, Some(6));

        let (tried, _) = ask(
            &sets(&["input.topics=telemetri", "topics.create=false"]),
            timeout,
        );
        let bad: Vec<_> = tried
            .iter()
            .filter(|one| !one.ok)
            .map(|one| one.subject.as_str())
            .collect();
        assert_eq!(
            bad,
            [
                "input telemetri",
                "topic dig.dead-letter",
                "topic dig.invalid",
                "topic dig.state"
            ]
        );
        assert!(
            tried[1].remedy.contains("did you mean telemetry?"),
            "{tried:#?}"
        );

        let (tried, _) = ask(&sets(&["gate.mode=registry"]), timeout);
        let held = tried
            .iter()
            .find(|one| one.subject == "topic telemetry.held")
            .unwrap();
        assert!(
            !held.ok && held.found == "4 partitions, and its input has 6",
            "{held:?}"
        );

        let (tried, partitions) = ask(&sets(&["input.topics=^tele.*"]), timeout);
        assert_eq!(tried[1].found, "topics (partitions): telemetry (6)");
        assert_eq!(partitions, Some(6));
    }

    #[test]
    fn a_broker_that_is_not_there_fails_with_a_remedy() {
        // A port that was free a moment ago and that nobody listens on.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let (tried, partitions) = ask(
            &settings(&[format!("kafka.brokers=127.0.0.1:{port}")]),
            Duration::from_secs(1),
        );
        assert_eq!((tried.len(), tried[0].ok, partitions), (1, false, None));
        assert!(
            tried[0].remedy.starts_with("check kafka.brokers"),
            "{tried:?}"
        );
    }
}
