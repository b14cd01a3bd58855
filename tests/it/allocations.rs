//! Steady state allocates nothing per record: counted by an allocator, on the whole path in process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use dig_ingest::pipeline::gate::Gate;
use dig_ingest::pipeline::partition::{Partition, Read};
use dig_ingest::pipeline::queues::Limits;
use dig_ingest::pipeline::request::Verdicts;
use dig_ingest::record::Decoded;
use dig_ingest::record::decode::{Decoder, Shape};
use dig_ingest::record::validate::{Config, Rules};
use dig_ingest::registry::Snapshot;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Counts what the calling thread allocates; the other tests of this binary do not see it.
pub struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter is a plain cell of this thread without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(old, layout) }
    }
}

#[test]
fn steady_state_allocates_nothing_per_record() {
    const CHUNK: usize = 1_000;
    let messages: Vec<String> = (0..CHUNK)
        .map(|n| {
            format!(
                r#"{{"Type":"GpsRecord","DateTime":"2026-09-21T10:00:00.{n:06}Z","SerialNo":"CX{:010}","Latitude":43.4516,"Longitude":-79.5,"Speed":88.5,"IsGpsValid":true,"IsIgnitionOn":true}}"#,
                n % 300
            )
        })
        .collect();
    let mut partition = Partition::new("telemetry", 0, Gate::default());
    let mut decoder = Decoder::new(Shape::Native, Arc::new(Rules::new(&Config::default())));
    let mut decoded = Decoded::default();
    let devices = Snapshot::default();
    let mut offset = 0;
    let limits = Limits {
        records: 5_000,
        bytes: 4 * 1024 * 1024,
    };
    let mut chunk = |requests: &mut u64| {
        for message in &messages {
            decoder.decode(
                Some(message.as_bytes()),
                &(),
                1_790_000_000_000_000,
                &mut decoded,
            );
        }
        let first = offset;
        let reads = messages.iter().enumerate().map(|(n, message)| Read {
            offset: first + n as i64,
            timestamp_ms: None,
            key: None,
            payload: Some(message.as_bytes()),
            records: 1,
        });
        let letters = partition.admit(reads, &mut decoded, None, &devices, Instant::now());
        assert!(letters.is_empty());
        offset += CHUNK as i64;
        if partition.queues().ready_records() >= limits.records
            && let Some((request, ticket)) = partition.pack(limits)
        {
            partition.complete(&request, &ticket, &Verdicts::default());
            partition.recycle(request);
            *requests += 1;
        }
    };
    let mut requests = 0;
    (0..40).for_each(|_| chunk(&mut requests));
    let (before, requests_before) = (COUNT.with(Cell::get), requests);
    (0..100).for_each(|_| chunk(&mut requests));
    let allocated = COUNT.with(Cell::get) - before;
    let packed = requests - requests_before;
    assert!(packed >= 15, "requests were packed: {packed}");
    // A request has a handful of vectors of its own; 100,000 records share them.
    assert!(
        allocated <= 40 * packed,
        "{allocated} allocations for 100000 records in {packed} requests"
    );
}
