//! Size limits: the largest record that each written topic takes, and the largest batch that all of them take.
//!
//! Owns the limits that the broker gave (`max.message.bytes`) and when they were asked for. It asks no broker itself.
//!
//! A topic that may not be described is taken to have the broker's default; each batch refused as too large halves that guess.
//! Where a topic refuses records within its stated limit, each refusal of a letter halves the size that is tried
//! ([`Limits::room`]).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The broker's default limit.
pub const USUAL: usize = 1_048_588;
/// Largest batch that the client makes, even where every topic takes more.
pub const BATCH: usize = 1_000_000;
/// No guess falls below this.
const LEAST: usize = 1_024;
/// How long an answer counts as fresh.
const FRESH: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Known {
    /// Limit by topic, as the broker gave it.
    bytes: HashMap<String, usize>,
    /// Limit by topic that the broker would not describe; halved by refusals.
    guessed: HashMap<String, usize>,
    /// When the broker was last asked, by topic.
    asked: HashMap<String, Instant>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Limits {
    /// A lock: workers look in once per letter; held for a look-up.
    known: Mutex<Known>,
    /// Largest record that the client itself takes, whatever the topic takes.
    client: usize,
}

impl Limits {
    /// `client`: the largest record the client takes.
    #[must_use]
    pub fn new(client: usize) -> Self {
        Self {
            known: Mutex::default(),
            client,
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The largest record this topic takes, as far as is known.
    #[must_use]
    pub fn of(&self, topic: &str) -> usize {
        let known = self.known();
        let bytes = known.bytes.get(topic).or_else(|| known.guessed.get(topic));
        bytes.copied().unwrap_or(USUAL).min(self.client)
    }

    /// The size tried next for a record that was refused as too large `refusals` times although it seemed to fit.
    #[must_use]
    pub fn room(&self, topic: &str, refusals: u32) -> usize {
        self.of(topic).checked_shr(refusals).unwrap_or(0)
    }

    /// Notes the broker's answer; `None` when it gave none.
    pub fn note(&self, topic: &str, bytes: Option<usize>, now: Instant) {
        let mut known = self.known();
        known.asked.insert(topic.to_owned(), now);
        if let Some(bytes) = bytes {
            known.bytes.insert(topic.to_owned(), bytes);
        }
    }

    /// Notes that a batch for this topic was refused as too large: an unknown limit is halved.
    pub fn refused(&self, topic: &str) {
        let mut known = self.known();
        if !known.bytes.contains_key(topic) {
            let guess = known.guessed.entry(topic.to_owned()).or_insert(USUAL);
            *guess = (*guess / 2).max(LEAST);
        }
    }

    /// Whether the broker was asked for this topic's limit a moment ago.
    #[must_use]
    pub fn fresh(&self, topic: &str, now: Instant) -> bool {
        let asked = self.known().asked.get(topic).copied();
        asked.is_some_and(|asked| now.saturating_duration_since(asked) < FRESH)
    }

    /// The largest batch that every known topic takes.
    #[must_use]
    pub fn batch(&self) -> usize {
        let known = self.known();
        let all = known.bytes.values().chain(known.guessed.values());
        let least = all.copied().min().unwrap_or(USUAL);
        least.min(BATCH).min(self.client).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_what_the_broker_says() {
        let (limits, now) = (Limits::new(usize::MAX), Instant::now());
        assert_eq!((limits.of("dead"), limits.batch()), (USUAL, BATCH));
        assert!(!limits.fresh("dead", now));
        limits.note("dead", Some(10_000), now);
        limits.note("held", Some(5_000_000), now);
        limits.note("state", None, now);
        assert_eq!(
            (limits.of("dead"), limits.of("held"), limits.of("state")),
            (10_000, 5_000_000, USUAL)
        );
        assert_eq!(
            limits.batch(),
            10_000,
            "one batch is for one topic, and any of them may come"
        );
        assert!(limits.fresh("state", now) && !limits.fresh("state", now + FRESH));
        assert_eq!(
            (limits.room("dead", 2), limits.room("dead", 99)),
            (2_500, 0)
        );
    }

    #[test]
    fn what_nobody_says_is_guessed_smaller_with_each_refusal() {
        let limits = Limits::new(usize::MAX);
        limits.refused("dead");
        assert_eq!((limits.of("dead"), limits.batch()), (USUAL / 2, USUAL / 2));
        for _ in 0..40 {
            limits.refused("dead");
        }
        assert_eq!(limits.of("dead"), LEAST);
        limits.note("dead", Some(10_000), Instant::now());
        limits.refused("dead");
        assert_eq!(limits.of("dead"), 10_000);
    }

    #[test]
    fn a_client_that_was_told_less_counts() {
        let limits = Limits::new(2_000);
        limits.note("dead", Some(10_000), Instant::now());
        assert_eq!((limits.of("dead"), limits.batch()), (2_000, 2_000));
    }
}
