//! A rehearsal of the job: what it would send from its committed offsets to the present ends, without sending, writing or
//! committing anything.
//!
//! Owns a manually assigned consumer for one partition at a time, and drives a [`Partition`] as a worker does, with a gateway that
//! accepts everything. It joins no group, so it disturbs no running job.
//!
//! It does not know what earlier records still wait in held topics, nor what the gateway would refuse. Bounded: a chunk of messages
//! and the records of the requests that are not full. Blocks the calling thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::dispatch::sated;
use super::gate::Gate;
use super::kafka;
use super::letter::Destination;
use super::partition::{Partition, Read};
use super::queues::Limits;
use super::replay::{Replay, header};
use super::request::{Request, Verdicts};
use super::settings::{Input, Topics};
use crate::access;
use crate::formats::{Formats, Intake, Limits as Bounds};
use crate::headers;
use crate::log_life::broker::Asker;
use crate::log_life::{Verdict, judge_commit};
use crate::poll;
use crate::record::Decoded;
use crate::record::decode::{Decoder, Shape};
use crate::record::origin::Origin;
use crate::record::validate::Rules;
use crate::registry::Snapshot;
use crate::topic_partition::TopicPartition;

/// Most messages and bytes of a chunk.
const CHUNK: usize = 500;
const CHUNK_BYTES: usize = 1024 * 1024;
/// How long a call to the broker may take.
const CALL: Duration = Duration::from_secs(20);
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);
/// How long the next message may take that the broker says it has.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the records are judged by, and how requests are packed.
pub struct Parts {
    pub shape: Box<dyn Fn(&str) -> Shape + Send>,
    /// The formats of topics whose messages are not plain JSON.
    pub formats: Formats,
    pub rules: Arc<Rules>,
    pub gate: Gate,
    pub devices: Snapshot,
    pub limits: Limits,
}

/// A request that would be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    pub topic: String,
    pub partition: i32,
    pub records: usize,
    pub bytes: usize,
    /// Serials in the order of the request, with their records.
    pub serials: Vec<(String, usize)>,
}

/// What a rehearsal came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub partitions: u64,
    pub messages: u64,
    pub records: u64,
    pub requests: u64,
    /// Records in those requests.
    pub sent: u64,
    /// Records that would become dead letters, and those that would be held, by reason.
    pub dead_lettered: BTreeMap<String, u64>,
    pub held: BTreeMap<String, u64>,
    /// Records of terminated devices that would be discarded.
    pub discarded: u64,
    /// Whether it ended before the ends of the partitions.
    pub stopped: bool,
}

/// A message as it was read.
struct Taken {
    offset: i64,
    timestamp_ms: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
    /// Whether it was replayed in the gateway's shape.
    native: bool,
}

/// Rehearses the job. `most`: messages after which it ends. `each` gets every request.
///
/// # Errors
/// The broker does not answer, or a partition cannot be read.
pub fn run(
    kafka: &kafka::Config,
    (input, topics): (&Input, &Topics),
    parts: &Parts,
    most: u64,
    each: &mut dyn FnMut(Planned),
    stop: &CancellationToken,
) -> anyhow::Result<Report> {
    let mut client = kafka.by_hand("rehearsal")?;
    // The client does not join the group; the name is needed to ask for its committed offsets.
    client.set("group.id", &kafka.group);
    let asker = Asker::open(&client)?;
    let consumer = access::plain_consumer(&client).context("cannot open a reader")?;
    let mut report = Report::default();
    for key in partitions(&consumer, input, topics)? {
        let (from, end) = bounds(&asker, &key)?;
        report.partitions += 1;
        let mut rehearsed = Rehearsed::new(&key, parts);
        let mut next = from;
        assign(&consumer, &key, from)?;
        while next < end && !report.stopped {
            let room = most.saturating_sub(report.messages);
            let chunk = read(&consumer, &key, &mut next, end, room)?;
            report.messages += chunk.len() as u64;
            rehearsed.take(&chunk, parts, &mut report)?;
            rehearsed.pack(false, parts.limits, &mut report, each);
            report.stopped = stop.is_cancelled() || report.messages >= most && next < end;
        }
        rehearsed.pack(true, parts.limits, &mut report, each);
        rehearsed.account(&mut report);
        if report.stopped {
            break;
        }
    }
    Ok(report)
}

/// All partitions of the input topics.
fn partitions(
    consumer: &BaseConsumer,
    input: &Input,
    topics: &Topics,
) -> anyhow::Result<Vec<TopicPartition>> {
    let reads = input.matcher()?;
    // All topics: asking for a name might create it.
    let metadata = consumer
        .fetch_metadata(None, CALL)
        .context("cannot ask for the input topics; check kafka.brokers and the network")?;
    let mut keys = Vec::new();
    for topic in metadata.topics() {
        let name = topic.name();
        if reads(name) && !topics.is_written(name) {
            let numbers = topic.partitions().iter().map(|partition| partition.id());
            keys.extend(numbers.map(|number| TopicPartition::new(name, number)));
        }
    }
    keys.sort();
    anyhow::ensure!(
        !keys.is_empty(),
        "input.topics: none of them exists on these brokers"
    );
    Ok(keys)
}

/// Where the job would begin, and the present end.
fn bounds(asker: &Asker, key: &TopicPartition) -> anyhow::Result<(i64, i64)> {
    let facts = asker.facts(key, asker.topic_id(&key.topic)?)?;
    let committed = asker.committed(std::iter::once(key))?.remove(key);
    let Some(committed) = committed else {
        return Ok((facts.low, facts.end));
    };
    let differs = asker.differs_from(key, &committed, &facts)?;
    let verdict = judge_commit(
        committed.offset,
        committed.topic_id.as_ref(),
        &facts,
        differs,
    );
    let from = match verdict {
        Verdict::Same => committed.offset.max(facts.low),
        Verdict::New { from, .. } => from,
    };
    Ok((from, facts.end))
}

fn assign(consumer: &BaseConsumer, key: &TopicPartition, from: i64) -> anyhow::Result<()> {
    let mut wanted = TopicPartitionList::new();
    wanted
        .add_partition_offset(&key.topic, key.partition, Offset::Offset(from))
        .context("an offset that no broker gives")?;
    consumer
        .assign(&wanted)
        .with_context(|| format!("cannot read {key}"))
}

/// The next messages of a partition, at most `room`; `next` is then behind them.
fn read(
    consumer: &BaseConsumer,
    key: &TopicPartition,
    next: &mut i64,
    end: i64,
    room: u64,
) -> anyhow::Result<Vec<Taken>> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    let until = Instant::now() + PATIENCE;
    while *next < end && chunk.len() < CHUNK && bytes < CHUNK_BYTES && (chunk.len() as u64) < room {
        anyhow::ensure!(
            Instant::now() < until,
            "{key} gave nothing at offset {next} for {} s; /readyz of the job says whether it cannot be read",
            PATIENCE.as_secs()
        );
        match poll::next(consumer, POLL) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => *next = end,
            Some(Err(error)) => {
                return Err(error).with_context(|| format!("cannot read {key}"));
            }
            // A message of the partition before may still come.
            Some(Ok(message))
                if message.topic() != key.topic || message.partition() != key.partition => {}
            Some(Ok(message)) if message.offset() >= end => *next = end,
            Some(Ok(message)) => {
                *next = message.offset() + 1;
                bytes += message.payload_len();
                let (mut replays, mut shape) = (None, None);
                let mut all = Vec::new();
                for (name, value) in headers::of(&message) {
                    all.push((name.to_owned(), value.to_vec()));
                    match name {
                        header::REPLAYS => replays = Some(value),
                        header::REPLAY_SHAPE => shape = Some(value),
                        _ => {}
                    }
                }
                chunk.push(Taken {
                    offset: message.offset(),
                    timestamp_ms: message.timestamp().to_millis(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: all,
                    native: Replay::of(replays, shape).is_some_and(|replay| replay.native),
                });
            }
        }
    }
    Ok(chunk)
}

/// One partition on rehearsal.
struct Rehearsed {
    input: TopicPartition,
    /// The worker's own state; it is told that everything is accepted and every letter written.
    partition: Partition,
    decoder: Intake,
    /// Decoder of replayed messages in the gateway's shape.
    native: Decoder,
    decoded: Decoded,
    /// Letters so far, as their offsets.
    letters: i64,
}

impl Rehearsed {
    fn new(input: &TopicPartition, parts: &Parts) -> Self {
        let topic = &input.topic;
        Self {
            input: input.clone(),
            partition: Partition::new(topic, input.partition, parts.gate.clone()),
            decoder: Intake::new(
                parts.formats.reader(topic, Bounds::of(&parts.rules)),
                Decoder::new((parts.shape)(topic), Arc::clone(&parts.rules)),
            ),
            native: Decoder::new(Shape::Native, Arc::clone(&parts.rules)),
            decoded: Decoded::default(),
            letters: 0,
        }
    }

    fn take(&mut self, chunk: &[Taken], parts: &Parts, report: &mut Report) -> anyhow::Result<()> {
        let now = jiff::Timestamp::now().as_microsecond();
        self.decoded.clear();
        let mut counts = Vec::with_capacity(chunk.len());
        for message in chunk {
            let before = self.decoded.records();
            let value = message.value.as_deref();
            let (devices, out) = (&parts.devices, &mut self.decoded);
            if message.native {
                self.native.decode(value, devices, now, out);
            } else {
                let origin = Origin {
                    topic: &self.input.topic,
                    partition: self.input.partition,
                    offset: message.offset,
                    timestamp_ms: message.timestamp_ms,
                    key: message.key.as_deref(),
                    headers: &message.headers,
                };
                let call = (&origin, devices, now);
                self.decoder.decode_asking(None, value, call, out)?;
            }
            counts.push((self.decoded.records() - before) as u32);
        }
        let reads = chunk.iter().zip(&counts).map(|(message, &records)| Read {
            offset: message.offset,
            timestamp_ms: message.timestamp_ms,
            key: message.key.as_deref(),
            payload: message.value.as_deref(),
            records,
        });
        let letters = self.partition.admit(
            reads,
            &mut self.decoded,
            None,
            &parts.devices,
            Instant::now(),
        );
        for letter in letters {
            let counts = match letter.destination {
                Destination::DeadLetter => &mut report.dead_lettered,
                Destination::Held => &mut report.held,
            };
            *counts.entry(letter.reason.code.clone()).or_default() += u64::from(letter.records);
            self.partition.letter_written(&letter, self.letters);
            self.letters += 1;
        }
        Ok(())
    }

    /// Packs the requests that are full; with `flush` all.
    fn pack(
        &mut self,
        flush: bool,
        limits: Limits,
        report: &mut Report,
        each: &mut dyn FnMut(Planned),
    ) {
        while flush || sated(self.partition.queues(), limits) {
            let Some((request, ticket)) = self.partition.pack(limits) else {
                break;
            };
            report.requests += 1;
            report.sent += request.records.len() as u64;
            each(self.planned(&request));
            self.partition
                .complete(&request, &ticket, &Verdicts::default());
            self.partition.recycle(request);
        }
    }

    fn planned(&self, request: &Request) -> Planned {
        let ends = request.batches.iter().skip(1).map(|at| *at as usize);
        let ends = ends.chain([request.records.len()]);
        let serials = request.batches.iter().zip(ends).map(|(from, to)| {
            let from = *from as usize;
            (serial(request, from), to - from)
        });
        Planned {
            topic: self.input.topic.clone(),
            partition: self.input.partition,
            records: request.records.len(),
            bytes: request.body.len(),
            serials: serials.collect(),
        }
    }

    fn account(&self, report: &mut Report) {
        let account = self.partition.account();
        report.records += account.read;
        report.discarded += account.discarded;
    }
}

/// The serial of a record of a request.
fn serial(request: &Request, record: usize) -> String {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "SerialNo")]
        serial: String,
    }
    request
        .records
        .get(record)
        .and_then(|span| request.body.get(span.start as usize..span.end as usize))
        .and_then(|bytes| serde_json::from_slice::<Named>(bytes).ok())
        .map_or_else(|| "?".to_owned(), |named| named.serial)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(serial: &str, second: u32) -> Taken {
        let text = format!(
            r#"{{"Type":"VinRecord","DateTime":"2026-01-31T12:00:{second:02}Z","SerialNo":"{serial}","VehicleIdentificationNumber":"1HGCM82633A004352"}}"#
        );
        Taken {
            offset: second.into(),
            timestamp_ms: None,
            key: None,
            value: Some(text.into_bytes()),
            headers: Vec::new(),
            native: false,
        }
    }

    #[test]
    fn requests_are_packed_as_the_job_packs_them() {
        let parts = Parts {
            shape: Box::new(|_| Shape::Native),
            formats: Formats::default(),
            rules: Arc::new(Rules::new(&crate::record::validate::Config {
                past_days: 10_000,
                ..Default::default()
            })),
            gate: Gate::default(),
            devices: Snapshot::default(),
            limits: Limits {
                records: 3,
                bytes: 1 << 20,
            },
        };
        let mut chunk: Vec<Taken> = (0..5)
            .map(|n| record(["CX0000000001", "CX0000000002"][n as usize % 2], n))
            .collect();
        chunk.push(Taken {
            value: Some(b"no".to_vec()),
            ..record("CX0000000001", 9)
        });
        let mut rehearsed = Rehearsed::new(&TopicPartition::new("telemetry", 0), &parts);
        let (mut report, mut requests) = (Report::default(), Vec::new());
        rehearsed
            .take(&chunk, &parts, &mut report)
            .expect("no schema is asked for");
        rehearsed.pack(false, parts.limits, &mut report, &mut |planned| {
            requests.push(planned)
        });
        rehearsed.pack(true, parts.limits, &mut report, &mut |planned| {
            requests.push(planned)
        });
        rehearsed.account(&mut report);
        assert_eq!(requests[0].serials, [("CX0000000001".to_owned(), 3)]);
        assert_eq!(requests[1].serials, [("CX0000000002".to_owned(), 2)]);
        assert_eq!((report.requests, report.sent, report.records), (2, 5, 6));
        assert_eq!(report.dead_lettered.values().sum::<u64>(), 1);
    }
}
