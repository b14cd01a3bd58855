//! The whole path of a record in process, without Kafka and HTTP: decode, validate, gate, queue, pack, settle.
//!
//! `cargo bench --bench path` measures time. `cargo bench --bench path -- --count N` only runs N records once, for
//! `valgrind --tool=callgrind`: the instructions of two runs of different N, subtracted, are those of the path.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, Throughput};
use dig_ingest::pipeline::gate::Gate;
use dig_ingest::pipeline::partition::{Partition, Read};
use dig_ingest::pipeline::queues::Limits;
use dig_ingest::pipeline::request::Verdicts;
use dig_ingest::record::Decoded;
use dig_ingest::record::decode::{Decoder, Shape};
use dig_ingest::record::validate::{Config, Rules};
use dig_ingest::registry::Snapshot;

// The allocator of the real binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHUNK: usize = 1024;
const NOW_US: i64 = 1_790_000_000_000_000;
const LIMITS: Limits = Limits {
    records: 5_000,
    bytes: 4 * 1024 * 1024,
};

struct Path {
    partition: Partition,
    decoder: Decoder,
    decoded: Decoded,
    devices: Snapshot,
    messages: Vec<String>,
    offset: i64,
    now: Instant,
}

impl Path {
    /// Messages of 160 bytes of so many serials.
    fn new(serials: usize) -> Self {
        let messages = (0..CHUNK.max(serials))
            .map(|n| {
                let serial = n % serials;
                format!(
                    r#"{{"Type":"GpsRecord","DateTime":"2026-09-21T10:00:00.{:06}Z","SerialNo":"CX{serial:010}","Latitude":47.37,"Longitude":8.541,"IsGpsValid":true,"IsIgnitionOn":true}}"#,
                    n % 1_000_000
                )
            })
            .collect();
        Self {
            partition: Partition::new("telemetry", 0, Gate::default()),
            decoder: Decoder::new(Shape::Native, Arc::new(Rules::new(&Config::default()))),
            decoded: Decoded::default(),
            devices: Snapshot::default(),
            messages,
            offset: 0,
            now: Instant::now(),
        }
    }

    /// One chunk in; requests out as they fill up, each accepted at once.
    fn chunk(&mut self) -> usize {
        let from = (self.offset as usize * 7) % (self.messages.len() - CHUNK + 1);
        let messages = &self.messages[from..from + CHUNK];
        self.decoded.outcomes.clear();
        for message in messages {
            self.decoder
                .decode(Some(message.as_bytes()), &(), NOW_US, &mut self.decoded);
        }
        let first = self.offset;
        let reads = messages.iter().enumerate().map(|(i, message)| Read {
            offset: first + i as i64,
            timestamp_ms: None,
            key: None,
            payload: Some(message.as_bytes()),
            records: 1,
        });
        let letters = self
            .partition
            .admit(reads, &mut self.decoded, None, &self.devices, self.now);
        assert!(letters.is_empty(), "every record is valid");
        self.offset += CHUNK as i64;
        while self.partition.queues().ready_records() >= LIMITS.records {
            let Some((request, ticket)) = self.partition.pack(LIMITS) else {
                break;
            };
            black_box(&request.body);
            self.partition
                .complete(&request, &ticket, &Verdicts::default());
            self.partition.recycle(request);
        }
        CHUNK
    }
}

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--count");
    if arguments.next().is_some() {
        let count: usize = arguments
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(100_000);
        let mut path = Path::new(1_000);
        let mut done = 0;
        while done < count {
            done += path.chunk();
        }
        println!("{done} records");
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("path");
    group.throughput(Throughput::Elements(CHUNK as u64));
    for serials in [1_000, 1_000_000] {
        let mut path = Path::new(serials);
        group.bench_function(format!("{serials} serials"), |bencher| {
            bencher.iter(|| path.chunk());
        });
    }
    group.finish();
    criterion.final_summary();
}
