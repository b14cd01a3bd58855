//! `dig-ingest devices held`: what waits in the held topics, since when, and why.

use std::sync::Arc;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::commands::Report;
use crate::commands::console::{noteln, outln};
use crate::config::Settings;
use crate::pipeline::metadata_probe::Asker;
use crate::pipeline::release::{HeldPartition, Progress, rebuild};
use crate::topic_partition::TopicPartition;

/// How long the brokers may take to say which topics there are.
const ASK: Duration = Duration::from_secs(20);

/// What is held of one device in one partition.
#[derive(Debug, Serialize)]
struct Waiting {
    /// Its device id, or its serial while nobody knows whose that is.
    device: String,
    topic: String,
    partition: i32,
    records: u64,
    bytes: u64,
    /// When the oldest was written to its source.
    since: Option<String>,
    /// Why the newest was held.
    reason: String,
}

/// The report.
#[derive(Debug, Serialize)]
struct Found {
    records: u64,
    bytes: u64,
    devices: Vec<Waiting>,
}

/// Reads every held topic of the settings, beyond what the marks say is released. `name`: only this device id or serial.
///
/// # Errors
/// The brokers do not answer.
pub async fn run(
    settings: &Settings,
    name: Option<&str>,
    report: Report,
) -> anyhow::Result<ExitCode> {
    let (settings, wanted) = (settings.clone(), name.map(str::to_owned));
    let found = tokio::task::spawn_blocking(move || find(&settings, wanted.as_deref()))
        .await
        .context("reading the held topics failed")??;
    match report {
        Report::Json => outln!("{}", serde_json::to_string(&found)?),
        Report::Text => {
            for waiting in &found.devices {
                outln!(
                    "{}  {} records, {} bytes, since {}, {}  ({}/{})",
                    waiting.device,
                    waiting.records,
                    waiting.bytes,
                    waiting.since.as_deref().unwrap_or("an unknown time"),
                    waiting.reason,
                    waiting.topic,
                    waiting.partition
                );
            }
            noteln!(
                "{} records ({} bytes) of {} devices are held",
                found.records,
                found.bytes,
                found.devices.len()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn find(settings: &Settings, name: Option<&str>) -> anyhow::Result<Found> {
    let reads = settings.input.matcher()?;
    let topics = Asker::open(&settings.kafka.plain()?)?.cluster(ASK)?.topics;
    let mut devices = Vec::new();
    let inputs = topics.iter().filter(|(topic, _)| reads(topic));
    for (topic, &partitions) in inputs {
        let held_topic = settings.topics.held(topic);
        if !topics.contains_key(&held_topic) {
            continue;
        }
        for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
            let place = HeldPartition {
                kafka: settings.kafka.clone(),
                held: TopicPartition::new(&held_topic, partition),
                state_topic: settings.topics.state.clone(),
                asked: Arc::default(),
            };
            let mut told = |progress: Progress| {
                if let Progress::Failed(error) = progress {
                    tracing::warn!(%error, topic = place.held.topic, "reading held records");
                }
            };
            let rebuilt = rebuild(
                &place,
                &place.asker()?,
                &mut told,
                &CancellationToken::new(),
            )?;
            for (key, held) in rebuilt.hold.held() {
                let device = String::from_utf8_lossy(key).into_owned();
                if name.is_some_and(|name| name != device) {
                    continue;
                }
                let since = held
                    .since_ms
                    .and_then(|since| Timestamp::from_millisecond(since).ok());
                devices.push(Waiting {
                    device,
                    topic: held_topic.clone(),
                    partition,
                    records: held.records,
                    bytes: held.bytes,
                    since: since.map(|since| since.to_string()),
                    reason: held.reason.to_string(),
                });
            }
        }
    }
    devices.sort_by(|a, b| (&a.since, &a.device).cmp(&(&b.since, &b.device)));
    Ok(Found {
        records: devices.iter().map(|waiting| waiting.records).sum(),
        bytes: devices.iter().map(|waiting| waiting.bytes).sum(),
        devices,
    })
}
