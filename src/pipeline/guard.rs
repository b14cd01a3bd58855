//! The dead-letter share guard: stops the job before a changed contract or a bad deploy dead-letters a fleet.
//!
//! Owns a ring of counts per second. Every worker notes what it is about to do *before* a letter is written, so the letters of
//! the chunk that trips the guard are not written; their records stay unsettled and are read again after a restart.
//!
//! It stops nothing itself: it answers whether the limit is passed, and stays tripped.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::settings::Guard as Config;

/// The share is above the limit.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "{dead} of {records} records within {window_s} s would become dead letters (guard.share = {share}); \
     nothing of this is lost: mend the input or the rules, or raise guard.share, and start again"
)]
pub struct Tripped {
    pub dead: u64,
    pub records: u64,
    pub window_s: u64,
    pub share: f64,
}

#[derive(Debug, Default)]
struct Window {
    /// `(second, records, dead)`, oldest first.
    seconds: VecDeque<(u64, u64, u64)>,
    records: u64,
    dead: u64,
    tripped: Option<Tripped>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Guard {
    config: Config,
    start: Instant,
    // A lock: every worker notes one chunk at a time, a few hundred nanoseconds, never across an await.
    window: Mutex<Window>,
}

impl Guard {
    #[must_use]
    pub fn new(config: Config, start: Instant) -> Self {
        Self {
            config,
            start,
            window: Mutex::default(),
        }
    }

    /// Notes `records` read and `dead` about to become dead letters.
    ///
    /// # Errors
    /// The share is above the limit, now or before.
    pub fn note(&self, records: u64, dead: u64, now: Instant) -> Result<(), Tripped> {
        let second = now.saturating_duration_since(self.start).as_secs();
        let mut window = self
            .window
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(tripped) = window.tripped {
            return Err(tripped);
        }
        match window.seconds.back_mut() {
            Some(newest) if newest.0 == second => {
                newest.1 += records;
                newest.2 += dead;
            }
            _ => window.seconds.push_back((second, records, dead)),
        }
        window.records += records;
        window.dead += dead;
        while let Some(&(oldest, records, dead)) = window.seconds.front() {
            if oldest + self.config.window_s > second {
                break;
            }
            window.records -= records;
            window.dead -= dead;
            window.seconds.pop_front();
        }
        let over = window.dead as f64 > self.config.share * window.records as f64;
        if dead > 0 && over && window.records.max(window.dead) >= self.config.min_records {
            let tripped = Tripped {
                dead: window.dead,
                records: window.records,
                window_s: self.config.window_s,
                share: self.config.share,
            };
            window.tripped = Some(tripped);
            return Err(tripped);
        }
        Ok(())
    }

    /// The window's length.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_secs(self.config.window_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(share: f64) -> (Guard, Instant) {
        let start = Instant::now();
        (
            Guard::new(
                Config {
                    share,
                    window_s: 10,
                    min_records: 100,
                },
                start,
            ),
            start,
        )
    }

    #[test]
    fn trips_above_the_share_and_stays_tripped() {
        let (guard, now) = guard(0.5);
        assert!(guard.note(1_000, 500, now).is_ok());
        assert!(guard.note(10, 10, now).is_err());
        assert!(guard.note(100_000, 0, now).is_err());
    }

    #[test]
    fn needs_enough_records() {
        let (guard, now) = guard(0.1);
        assert!(guard.note(99, 99, now).is_ok());
        assert!(guard.note(1, 1, now).is_err());
    }

    #[test]
    fn forgets_what_is_older_than_the_window() {
        let (guard, now) = guard(0.5);
        assert!(guard.note(1_000, 400, now).is_ok());
        let later = now + Duration::from_secs(11);
        assert!(
            guard.note(50, 50, later).is_ok(),
            "only 50 records in the window"
        );
    }

    #[test]
    fn a_share_of_one_is_off() {
        let (guard, now) = guard(1.0);
        assert!(guard.note(1_000, 1_000, now).is_ok());
    }
}
