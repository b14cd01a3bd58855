//! Steady state allocates nothing per record, and a million devices fit where they should: counted by an allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use dig_ingest::pipeline::gate::Gate;
use dig_ingest::pipeline::hold::Hold;
use dig_ingest::pipeline::partition::{Partition, Read};
use dig_ingest::pipeline::queues::Limits;
use dig_ingest::pipeline::request::Verdicts;
use dig_ingest::record::Decoded;
use dig_ingest::record::decode::{Decoder, Shape};
use dig_ingest::record::validate::{Config, Rules};
use dig_ingest::registry::{Device, Snapshot, State};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    /// Bytes of the calling thread that are not given back, and their highest since it was last set.
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static HIGHEST: Cell<i64> = const { Cell::new(0) };
}

fn grow(bytes: i64) {
    LIVE.with(|live| {
        live.set(live.get() + bytes);
        HIGHEST.with(|highest| highest.set(highest.get().max(live.get())));
    });
}

/// The most bytes that `work` has at once beside those that were there before.
pub fn most_bytes<T>(work: impl FnOnce() -> T) -> (T, i64) {
    HIGHEST.with(|highest| highest.set(LIVE.with(Cell::get)));
    let before = LIVE.with(Cell::get);
    let done = work();
    (done, HIGHEST.with(Cell::get) - before)
}

/// Counts what the calling thread allocates; the other tests of this binary do not see it.
pub struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter is a plain cell of this thread without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        grow(layout.size() as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        grow(size as i64 - layout.size() as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        grow(-(layout.size() as i64));
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

/// What src/pipeline/README.md (Held and released) says of the names that wait; the index is not part of the memory formula.
#[test]
fn a_held_name_takes_some_200_bytes() {
    const NAMES: u64 = 100_000;
    let before = LIVE.with(Cell::get);
    let mut hold = Hold::default();
    for n in 0..NAMES {
        let name = format!("{:015}", 356_938_000_000_000 + n);
        let at = Some(1_790_000_000_000);
        hold.found(name.as_bytes(), n as i64, 180, at, "device.unknown");
    }
    let each = (LIVE.with(Cell::get) - before) / NAMES as i64;
    eprintln!("{each} bytes per held name");
    assert!((100..400).contains(&each), "{each} bytes per held name");
    assert_eq!(hold.figures(), (NAMES, NAMES * 180, 0));
}

/// Also while somebody still reads the old snapshot and the most changes of one publication are made in a new one.
#[test]
fn a_million_devices_fit_in_200_megabytes() {
    const DEVICES: u64 = 1_000_000;
    const MOST: i64 = 200_000_000;
    let device = |n: u64, state| Device {
        device_id: format!("{:015}", 356_938_000_000_000 + n * 37).into(),
        serial: Some(format!("CX{n:010}").into()),
        state,
        order: Some(format!("SO-{:08}", n / 5).into()),
        since: jiff::Timestamp::from_microsecond(1_790_000_000_000_000 + n as i64).ok(),
    };
    HIGHEST.with(|highest| highest.set(LIVE.with(Cell::get)));
    let before = LIVE.with(Cell::get);
    let highest = || HIGHEST.with(Cell::get) - before;
    let mut snapshot = Snapshot::default();
    for n in 0..DEVICES {
        snapshot.set(&device(n, State::Pending)).expect("fits");
    }
    snapshot.shrink();
    let (filling, resting) = (highest(), LIVE.with(Cell::get) - before);
    HIGHEST.with(|highest| highest.set(LIVE.with(Cell::get)));
    for round in 0..20 {
        let read = snapshot.clone();
        for n in 0..512 {
            let n = (round * 512 + n) * 97 % DEVICES;
            snapshot.set(&device(n, State::Active)).expect("fits");
        }
        assert_eq!(read.len(), snapshot.len());
    }
    let changing = highest();
    for (when, bytes) in [
        ("filling", filling),
        ("resting", resting),
        ("changing", changing),
    ] {
        assert!(bytes < MOST, "{when}: {bytes} bytes");
        assert!(
            bytes > DEVICES as i64 * 39,
            "{when}: {bytes} bytes cannot hold the texts"
        );
    }
    eprintln!("filling {filling}, resting {resting}, changing {changing}");
    let allocated = COUNT.with(Cell::get);
    let mut found = 0;
    for n in (0..DEVICES).step_by(7) {
        let mut serial = *b"CX0000000000";
        let (mut rest, mut at) = (n, serial.len());
        while rest > 0 {
            at -= 1;
            serial[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let known = snapshot.with_serial(dig_ingest::record::serial_hash(&serial), &serial);
        found += u64::from(known.is_some_and(|known| known.serial().is_some()));
    }
    assert_eq!(found, DEVICES.div_ceil(7));
    assert_eq!(
        COUNT.with(Cell::get),
        allocated,
        "looking up allocates nothing"
    );
}
