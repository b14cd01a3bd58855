//! Whose trouble a failure is: the gateway's, or that of the records the request held. Pure.
//!
//! Owns the tally of successes and the row of failures that were blamed on records. Invariants:
//! * Q1: a failure is blamed on records only if the gateway has taken something else since the same records failed before, or if
//!   they are of one device that is known to fail alone. Every other failure is evidence against the gateway, so an outage opens
//!   the circuit with as few requests as if no device had ever failed.
//! * B-a: when requests of records that never failed before fail more often than they succeed, nothing is blamed on records.
//! * B-b: failures blamed on records are spaced as the probes of an open circuit once `failures_to_open` of them came in a row
//!   without any success in between.

use std::time::{Duration, Instant};

use super::Config;
use super::circuit::interval;

/// The balance of successes and failures is kept within this distance of zero.
const MOST: i32 = 8;
/// So many more failures than successes among the last fresh ones, and no failure is blamed on records.
const TOLERANCE: i32 = 4;

/// What is known of a request's records before the request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum History {
    /// Nothing.
    #[default]
    Fresh,
    /// They failed together when the gateway's successes were `seen`.
    Failed { seen: u64 },
    /// They are of one device, which fails alone; last when the successes were `seen`.
    Isolated { seen: u64 },
}

/// Who a failure is blamed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The gateway or the line to it: nothing is learnt about the records.
    Gateway,
    /// Nobody yet; the gateway works as far as is known.
    Unknown,
    /// The records: the gateway took others meanwhile.
    Records,
}

/// What a failed request teaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    pub blame: Blame,
    /// The successes so far, for [`History`].
    pub seen: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Requests the gateway has answered well.
    successes: u64,
    /// Successes less failures of fresh requests, of late.
    balance: i32,
    /// Failures blamed on records since the last success.
    in_a_row: u32,
    /// Until when requests of such records wait.
    until: Option<Instant>,
}

impl Evidence {
    /// The gateway has answered a request well.
    pub fn succeeded(&mut self, history: History) {
        self.successes += 1;
        if history == History::Fresh {
            self.balance = (self.balance + 1).min(MOST);
        }
        self.in_a_row = 0;
        self.until = None;
    }

    #[must_use]
    pub fn successes(&self) -> u64 {
        self.successes
    }

    /// The circuit closed: the gateway is back, whatever was before.
    pub fn restored(&mut self) {
        self.balance = self.balance.max(1);
    }

    /// Whether a failure of such records is theirs; then it is no evidence against the gateway. `closed`: the circuit is.
    pub fn blames_records(
        &mut self,
        config: &Config,
        now: Instant,
        history: History,
        closed: bool,
    ) -> bool {
        let proven = match history {
            History::Fresh => false,
            History::Failed { seen } => self.successes > seen && self.balance > -TOLERANCE,
            History::Isolated { seen } => closed || self.successes > seen,
        };
        let many = self.in_a_row >= config.failures_to_open;
        if !proven || (many && !closed) {
            if history == History::Fresh {
                self.balance = (self.balance - 1).max(-MOST);
            }
            return false;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        if let Some(step) = self.in_a_row.checked_sub(config.failures_to_open) {
            self.until = Some(now + interval(config, step));
        }
        true
    }

    /// Whether requests fail so often that nothing can be told from a single failure (B-a).
    #[must_use]
    pub fn unclear(&self) -> bool {
        self.balance <= -TOLERANCE
    }

    /// Whether requests of records that failed go one at a time (B-b).
    #[must_use]
    pub fn spaced(&self, config: &Config) -> bool {
        self.in_a_row >= config.failures_to_open
    }

    /// How long requests of records that failed wait, at `now`.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_blamed_only_when_the_gateway_took_others_since() {
        let (config, now) = (Config::default(), Instant::now());
        let mut evidence = Evidence::default();
        assert!(!evidence.blames_records(&config, now, History::Fresh, true));
        let seen = evidence.successes();
        let failed = History::Failed { seen };
        assert!(!evidence.blames_records(&config, now, failed, true));
        evidence.succeeded(History::Fresh);
        assert!(evidence.blames_records(&config, now, failed, true));
        let seen = evidence.successes();
        assert!(!evidence.blames_records(&config, now, History::Failed { seen }, true));
    }

    #[test]
    fn a_gateway_that_mostly_fails_is_the_one_to_blame() {
        let (config, now) = (Config::default(), Instant::now());
        let mut evidence = Evidence::default();
        for round in 0..100 {
            for _ in 0..3 {
                assert!(!evidence.blames_records(&config, now, History::Fresh, true));
            }
            evidence.succeeded(History::Fresh);
            let failed = History::Failed { seen: 0 };
            let blamed = evidence.blames_records(&config, now, failed, true);
            assert!(round < 4 || !blamed, "B-a: round {round}");
        }
        evidence.restored();
        let failed = History::Failed { seen: 0 };
        assert!(evidence.blames_records(&config, now, failed, true));
    }

    #[test]
    fn devices_that_fail_alone_are_probed_as_seldom_as_a_gateway_that_is_away() {
        let config = Config::default();
        let start = Instant::now();
        let mut evidence = Evidence::default();
        let (mut at, mut sent) = (Duration::ZERO, 0u64);
        let hour = Duration::from_secs(3_600);
        while at < hour {
            sent += 1;
            let now = start + at;
            assert!(evidence.blames_records(&config, now, History::Isolated { seen: 0 }, true));
            at += evidence.wait(now).unwrap_or(Duration::from_millis(1));
        }
        let most = crate::http::pacing::circuit::most_probes(&config, hour);
        assert!(
            sent <= u64::from(config.failures_to_open) + most,
            "B-b: {sent}"
        );
        evidence.succeeded(History::Fresh);
        assert_eq!(evidence.wait(start), None);
    }
}
