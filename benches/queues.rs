//! The offset tracker and the serial queues by themselves.

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dig_ingest::pipeline::offsets::{MessageSeq, OffsetTracker};
use dig_ingest::pipeline::queues::{Limits, SerialQueues, Tag};
use dig_ingest::record::serial_hash;

const RECORDS: usize = 5_000;
const BYTES: usize = 160;

fn offsets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("offsets");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("read and settle backwards", |bencher| {
        let mut tracker = OffsetTracker::new();
        let mut offset = 0;
        let mut open: Vec<MessageSeq> = Vec::with_capacity(RECORDS);
        bencher.iter(|| {
            for _ in 0..RECORDS {
                open.push(tracker.read(offset, 1));
                offset += 1;
            }
            for seq in open.drain(..).rev() {
                tracker.settle(seq);
            }
            black_box(tracker.watermark())
        });
    });
    group.finish();
}

fn pack(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queues");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for serials in [10usize, 1_000, 5_000] {
        let names: Vec<String> = (0..serials).map(|n| format!("CX{n:010}")).collect();
        let hashes: Vec<u64> = names
            .iter()
            .map(|name| serial_hash(name.as_bytes()))
            .collect();
        let mut queues = SerialQueues::new();
        let mut seq = 0;
        group.bench_function(format!("push and pack, {serials} serials"), |bencher| {
            bencher.iter(|| {
                let mut bytes = queues.spare();
                for n in 0..RECORDS {
                    let start = bytes.len();
                    bytes.extend_from_slice(names[n % serials].as_bytes());
                    bytes.resize(start + BYTES, b'.');
                }
                let chunk = queues.open_chunk(bytes, None, Instant::now());
                for n in 0..RECORDS {
                    let start = n * BYTES;
                    queues.push(
                        chunk,
                        start..start + BYTES,
                        start..start + 12,
                        hashes[n % serials],
                        Tag {
                            seq: MessageSeq(seq),
                            identity: seq,
                            place: 0,
                        },
                    );
                    seq += 1;
                }
                queues.seal(chunk);
                let limits = Limits {
                    records: RECORDS,
                    bytes: 4 * 1024 * 1024,
                };
                if let Some((request, ticket)) = queues.pack(limits) {
                    black_box(&request.body);
                    queues.complete(&ticket);
                    queues.recycle(request.body);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, offsets, pack);
criterion_main!(benches);
