//! The board: where workers post how far they are, and the operations pages read it.
//!
//! Owns one slot per assigned partition. A worker posts into its own slot with plain atomic stores, at any rate,
//! without waiting for anybody; a reader may see one post's numbers mixed with the next one's, which the judgement
//! tolerates. A slot leaves the board when its worker drops it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::journey;
use super::status::{Partition, Pause, Snapshot, Totals, Waiting};

/// No watermark, no poll: a value that offsets and ages never take.
const UNSET: u64 = u64::MAX;

/// The job's board.
#[derive(Debug)]
pub struct Board {
    origin: Instant,
    streams: AtomicBool,
    assigned: AtomicBool,
    logged_in: AtomicBool,
    registry_read: AtomicBool,
    polled: AtomicU64,
    slots: watch::Sender<Vec<Arc<Numbers>>>,
    journey: OnceLock<journey::Shared>,
}

#[derive(Debug)]
struct Numbers {
    topic: String,
    partition: i32,
    read: AtomicU64,
    accepted: AtomicU64,
    dead_lettered: AtomicU64,
    held: AtomicU64,
    discarded: AtomicU64,
    waiting_records: AtomicU64,
    waiting_bytes: AtomicU64,
    releasing: AtomicU64,
    watermark: AtomicI64,
    pause: AtomicU8,
    /// Milliseconds since the board's origin.
    progress: AtomicU64,
}

/// A partition worker's place on the board; the only writer of its numbers.
#[derive(Debug)]
pub struct Slot {
    board: Weak<Board>,
    origin: Instant,
    numbers: Arc<Numbers>,
}

impl Board {
    /// An empty board; `now` is the moment its times are counted from.
    pub fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            origin: now,
            streams: AtomicBool::new(true),
            assigned: AtomicBool::new(false),
            logged_in: AtomicBool::new(false),
            registry_read: AtomicBool::new(false),
            polled: AtomicU64::new(UNSET),
            slots: watch::Sender::new(Vec::new()),
            journey: OnceLock::new(),
        })
    }

    /// Whether this process carries records at all; without a word it does.
    pub fn set_streams(&self, streams: bool) {
        self.streams.store(streams, Relaxed);
    }

    /// The place of the order journey, if this process does it; there is one.
    pub fn open_journey(&self, now: Instant) -> journey::Slot {
        let slot = journey::Slot::new(now);
        journey::Slot(Arc::clone(self.journey.get_or_init(|| slot.0)))
    }

    /// The group has told this instance its partitions.
    pub fn set_assigned(&self, assigned: bool) {
        self.assigned.store(assigned, Relaxed);
    }

    /// A login at the gateway succeeded.
    pub fn set_logged_in(&self, logged_in: bool) {
        self.logged_in.store(logged_in, Relaxed);
    }

    /// The device registry was read to its end, or is not used.
    pub fn set_registry_read(&self, read: bool) {
        self.registry_read.store(read, Relaxed);
    }

    /// The consumer thread polls at `now`.
    pub fn set_polled(&self, now: Instant) {
        self.polled.store(millis(self.origin, now), Relaxed);
    }

    /// Opens a slot for a partition that was assigned.
    pub fn open(self: &Arc<Self>, topic: &str, partition: i32, now: Instant) -> Slot {
        let numbers = Arc::new(Numbers {
            topic: topic.to_owned(),
            partition,
            read: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
            held: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
            waiting_records: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
            releasing: AtomicU64::new(0),
            watermark: AtomicI64::new(i64::MIN),
            pause: AtomicU8::new(Pause::None as u8),
            progress: AtomicU64::new(millis(self.origin, now)),
        });
        self.slots
            .send_modify(|slots| slots.push(Arc::clone(&numbers)));
        Slot {
            board: Arc::downgrade(self),
            origin: self.origin,
            numbers,
        }
    }

    /// Everything as it stands, partitions by topic and number.
    pub fn snapshot(&self) -> Snapshot {
        let at = |millis: u64| self.origin + Duration::from_millis(millis);
        let mut partitions: Vec<_> = self
            .slots
            .borrow()
            .iter()
            .map(|numbers| Partition {
                topic: numbers.topic.clone(),
                partition: numbers.partition,
                totals: numbers.totals(),
                waiting: numbers.waiting(),
                watermark: Some(numbers.watermark.load(Relaxed))
                    .filter(|offset| *offset != i64::MIN),
                pause: Pause::of_number(numbers.pause.load(Relaxed)),
                progress: at(numbers.progress.load(Relaxed)),
            })
            .collect();
        partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        Snapshot {
            streams: self.streams.load(Relaxed),
            journey: self.journey.get().map(journey::read),
            assigned: self.assigned.load(Relaxed),
            logged_in: self.logged_in.load(Relaxed),
            registry_read: self.registry_read.load(Relaxed),
            polled: Some(self.polled.load(Relaxed))
                .filter(|polled| *polled != UNSET)
                .map(at),
            partitions,
        }
    }
}

impl Numbers {
    fn totals(&self) -> Totals {
        Totals {
            read: self.read.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            dead_lettered: self.dead_lettered.load(Relaxed),
            held: self.held.load(Relaxed),
            discarded: self.discarded.load(Relaxed),
        }
    }

    fn waiting(&self) -> Waiting {
        Waiting {
            records: self.waiting_records.load(Relaxed),
            bytes: self.waiting_bytes.load(Relaxed),
            releasing: self.releasing.load(Relaxed),
        }
    }
}

impl Slot {
    /// Posts the running totals and the watermark. Settling a record is progress, and so is the first record that
    /// comes to an idle partition (L4).
    pub fn post(&self, totals: Totals, watermark: Option<i64>, now: Instant) {
        let before = self.numbers.totals();
        self.numbers.read.store(totals.read, Relaxed);
        self.numbers.accepted.store(totals.accepted, Relaxed);
        self.numbers
            .dead_lettered
            .store(totals.dead_lettered, Relaxed);
        self.numbers.held.store(totals.held, Relaxed);
        self.numbers.discarded.store(totals.discarded, Relaxed);
        self.numbers
            .watermark
            .store(watermark.unwrap_or(i64::MIN), Relaxed);
        if before.settled() != totals.settled() || before.in_hand() == 0 {
            self.progressed(now);
        }
    }

    /// Posts what waits in the held topic.
    pub fn hold(&self, waiting: Waiting) {
        self.numbers.waiting_records.store(waiting.records, Relaxed);
        self.numbers.waiting_bytes.store(waiting.bytes, Relaxed);
        self.numbers.releasing.store(waiting.releasing, Relaxed);
    }

    /// Declares why nothing is settled, or with [`Pause::None`] that it goes on; the end of a pause counts as
    /// progress, so that a partition is not called stalled for the time it was paused.
    pub fn pause(&self, pause: Pause, now: Instant) {
        let before = self.numbers.pause.swap(pause as u8, Relaxed);
        if before != Pause::None as u8 && pause == Pause::None {
            self.progressed(now);
        }
    }

    fn progressed(&self, now: Instant) {
        self.numbers
            .progress
            .store(millis(self.origin, now), Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(board) = self.board.upgrade() {
            board
                .slots
                .send_modify(|slots| slots.retain(|numbers| !Arc::ptr_eq(numbers, &self.numbers)));
        }
    }
}

fn millis(origin: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(origin).as_millis()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::super::status::{live, ready};
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn an_idle_partition_gets_the_whole_time_from_its_first_record() {
        let start = Instant::now();
        let board = Board::new(start);
        let slot = board.open("telemetry", 0, start);
        let first = start + LIMIT * 10;
        slot.post(
            Totals {
                read: 5,
                ..Totals::default()
            },
            None,
            first,
        );
        assert!(live(&board.snapshot(), first + LIMIT, LIMIT).live);
        // More records without a settled one are no progress.
        slot.post(
            Totals {
                read: 9,
                ..Totals::default()
            },
            None,
            first + LIMIT,
        );
        assert!(!live(&board.snapshot(), first + LIMIT * 2, LIMIT).live);
        slot.post(
            Totals {
                read: 9,
                accepted: 1,
                ..Totals::default()
            },
            Some(1),
            first + LIMIT * 2,
        );
        assert!(live(&board.snapshot(), first + LIMIT * 2, LIMIT).live);
        assert_eq!(board.snapshot().partitions[0].watermark, Some(1));
    }

    #[test]
    fn the_end_of_a_pause_starts_the_time_anew() {
        let start = Instant::now();
        let board = Board::new(start);
        let slot = board.open("telemetry", 0, start);
        slot.post(
            Totals {
                read: 5,
                ..Totals::default()
            },
            None,
            start,
        );
        slot.pause(Pause::Gateway, start);
        assert!(live(&board.snapshot(), start + LIMIT * 5, LIMIT).live);
        slot.pause(Pause::None, start + LIMIT * 5);
        assert!(live(&board.snapshot(), start + LIMIT * 6, LIMIT).live);
        assert!(!live(&board.snapshot(), start + LIMIT * 7, LIMIT).live);
    }

    #[test]
    fn a_dropped_slot_leaves_the_board() {
        let now = Instant::now();
        let board = Board::new(now);
        let (one, two) = (board.open("b", 1, now), board.open("a", 2, now));
        assert_eq!(board.snapshot().partitions.len(), 2);
        assert_eq!(board.snapshot().partitions[0].topic, "a");
        drop(one);
        assert_eq!(board.snapshot().partitions[0].partition, 2);
        drop(two);
        assert!(board.snapshot().partitions.is_empty());
    }

    #[test]
    fn readiness_follows_the_parts_that_run() {
        let now = Instant::now();
        let board = Board::new(now);
        board.set_streams(false);
        assert!(ready(&board.snapshot()).ready);
        let slot = board.open_journey(now);
        assert_eq!(ready(&board.snapshot()).missing.len(), 1);
        let figures = journey::Figures {
            lead: journey::Lead::Waiting {
                holder: "another".to_owned(),
            },
            orders: [].into(),
            units: [].into(),
            parked: 0,
            alarms: 0,
            outbox_waiting: 0,
            oldest_open_s: None,
        };
        slot.post(figures, now);
        assert!(ready(&board.snapshot()).ready, "who waits is ready (J1)");
        slot.fail("locked".to_owned(), now + LIMIT);
        let verdict = live(&board.snapshot(), now + LIMIT * 2, LIMIT);
        assert_eq!(verdict.paused[0].pause, Pause::Store);
        assert!(verdict.live, "a store that refuses is a pause (J2)");
        let verdict = live(&board.snapshot(), now + LIMIT * 3, LIMIT);
        assert_eq!(
            (verdict.live, verdict.stalled[0].part.as_str()),
            (false, "orders store")
        );
    }

    #[test]
    fn readiness_follows_the_three_marks() {
        let board = Board::new(Instant::now());
        assert_eq!(ready(&board.snapshot()).missing.len(), 3);
        board.set_assigned(true);
        board.set_logged_in(true);
        board.set_registry_read(true);
        assert!(ready(&board.snapshot()).ready);
    }
}
