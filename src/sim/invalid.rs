//! Records found invalid after they were accepted: what `GET /invalidrecords` pages through.
//!
//! Keys are opaque, increase and have gaps (dig/API.md 10.2); reading removes nothing; a key is inclusive (U18).
//! A record gets its key when it starts to show, so that a reader who keeps a key misses nothing. Pure: the time is an argument.

use std::collections::{BinaryHeap, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::settings::Settings;

/// One invalid record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Invalid {
    /// When it was marked, and shows from; microseconds since the epoch.
    pub at_us: i64,
    /// Arrival, to keep the order of equals.
    number: u64,
    pub key: i64,
    pub user: String,
    pub cause: &'static str,
    /// The record's JSON.
    pub record: String,
}

/// A page of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub current: i64,
    pub next: i64,
    pub total: u64,
    pub records: Vec<Invalid>,
}

/// All of them.
pub struct InvalidRecords {
    waiting: BinaryHeap<std::cmp::Reverse<Invalid>>,
    shown: VecDeque<Invalid>,
    next_key: i64,
    arrivals: u64,
    rng: StdRng,
}

/// The published example's keys are of this size, beyond 30 bits.
const FIRST_KEY: i64 = 1_002_152_089;

impl InvalidRecords {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            waiting: BinaryHeap::new(),
            shown: VecDeque::new(),
            next_key: FIRST_KEY,
            arrivals: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Takes a record; it shows after the delay of the settings.
    pub fn add(
        &mut self,
        user: &str,
        cause: &'static str,
        record: Vec<u8>,
        now: i64,
        settings: &Settings,
    ) {
        let (low, high) = (settings.invalid_delay_min_ms, settings.invalid_delay_max_ms);
        let delay_ms = self.rng.random_range(low.min(high)..=high.max(low));
        self.arrivals += 1;
        self.waiting.push(std::cmp::Reverse(Invalid {
            at_us: now + delay_ms as i64 * 1000,
            number: self.arrivals,
            key: 0,
            user: user.to_owned(),
            cause,
            record: String::from_utf8(record).unwrap_or_default(),
        }));
    }

    /// How many show at `now`, and how many are still to come.
    pub fn counts(&mut self, now: i64, settings: &Settings) -> (usize, usize) {
        self.turn(now, settings);
        (self.shown.len(), self.waiting.len())
    }

    /// The page from `key` on; without a key, from the oldest.
    pub fn page(
        &mut self,
        user: &str,
        key: Option<i64>,
        most: usize,
        now: i64,
        settings: &Settings,
    ) -> Page {
        self.turn(now, settings);
        let from = key.unwrap_or(0);
        let start = self.shown.partition_point(|record| record.key < from);
        let mine = |record: &&Invalid| record.user == user;
        let mut rest = self.shown.iter().skip(start).filter(mine);
        let records: Vec<Invalid> = rest.by_ref().take(most).cloned().collect();
        // Behind the last one shown the next key is not known yet, only that it will be greater.
        let next = match (rest.next(), records.last()) {
            (Some(record), _) => record.key,
            (None, Some(last)) => last.key + 1,
            (None, None) => key.unwrap_or(self.next_key),
        };
        Page {
            current: key
                .or(records.first().map(|first| first.key))
                .unwrap_or(next),
            next,
            total: self.shown.iter().filter(mine).count() as u64,
            records,
        }
    }

    fn turn(&mut self, now: i64, settings: &Settings) {
        while self.waiting.peek().is_some_and(|next| next.0.at_us <= now) {
            let Some(std::cmp::Reverse(mut record)) = self.waiting.pop() else {
                return;
            };
            record.key = self.next_key;
            self.next_key += self.rng.random_range(2..20);
            self.shown.push_back(record);
        }
        let oldest = now - i64::from(settings.invalid_keep_days) * 86_400_000_000;
        while self
            .shown
            .front()
            .is_some_and(|record| record.at_us < oldest)
        {
            self.shown.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_everything_once_and_later_records_follow() {
        let settings = Settings {
            invalid_delay_min_ms: 10,
            invalid_delay_max_ms: 1000,
            ..Settings::default()
        };
        let mut invalid = InvalidRecords::new(3);
        for number in 0..25 {
            invalid.add(
                "u",
                "c",
                format!("{{\"n\":{number}}}").into_bytes(),
                0,
                &settings,
            );
        }
        invalid.add("other", "c", b"{}".to_vec(), 0, &settings);
        assert!(invalid.page("u", None, 10, 0, &settings).records.is_empty());
        assert_eq!(invalid.counts(0, &settings), (0, 26));
        let (mut key, mut seen) = (None, Vec::new());
        for now in [500_000, 1_000_000] {
            loop {
                let page = invalid.page("u", key, 10, now, &settings);
                key = Some(page.next);
                if page.records.is_empty() {
                    break;
                }
                assert!(
                    page.records
                        .iter()
                        .all(|record| record.at_us <= now && record.user == "u")
                );
                seen.extend(
                    page.records
                        .into_iter()
                        .map(|record| (record.key, record.record)),
                );
            }
        }
        assert_eq!(seen.len(), 25);
        assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(seen.last().unwrap().0 - seen[0].0 > 50, "keys have gaps");
        seen.sort_by(|a, b| a.1.cmp(&b.1));
        seen.dedup_by(|a, b| a.1 == b.1);
        assert_eq!(seen.len(), 25);
        // Reading removes nothing; keeping ends.
        assert_eq!(
            invalid
                .page("u", None, 50, 1_000_000, &settings)
                .records
                .len(),
            25
        );
        assert_eq!(invalid.page("u", None, 50, 1_000_000, &settings).total, 25);
        let later = 1_000_001 + 30 * 86_400_000_000;
        assert_eq!(invalid.page("u", None, 50, later, &settings).total, 0);
    }
}
