//! Logs: to stderr, as text or JSON lines, with a way to keep a repeated warning from flooding them.
//!
//! Levels by who must act: error, somebody now; warn, somebody soon; info, what an operator wants to read of a normal
//! day; debug, for the developer.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `text` for people, `json` for one object per line.
    pub format: Format,
    /// Least level shown, or directives such as `info,dig_ingest::dig=debug`.
    pub level: String,
    /// Seconds between two repetitions of the same warning; those between are counted and named by the next.
    pub repeat_s: u64,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Text,
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            format: Format::Text,
            level: "info".to_owned(),
            repeat_s: 10,
        }
    }
}

impl Config {
    /// The level setting as a filter.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn filter(&self) -> Result<EnvFilter, String> {
        EnvFilter::builder()
            .parse(&self.level)
            .map_err(|error| error.to_string())
    }

    /// A throttle at the configured rate.
    pub fn throttle(&self) -> Throttle {
        Throttle::new(Duration::from_secs(self.repeat_s))
    }
}

/// Starts logging for the whole process.
///
/// # Errors
/// The level cannot be read, or logging was started before.
pub fn start(config: &Config) -> anyhow::Result<()> {
    let filter = config
        .filter()
        .map_err(anyhow::Error::msg)
        .context("log.level")?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match config.format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => lines.json().flatten_event(true).with_ansi(false).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// Lets one occurrence of a repeated event through per period and counts the others.
///
/// ```
/// use std::time::{Duration, Instant};
/// let mut throttle = dig_ingest::ops::log::Throttle::new(Duration::from_secs(10));
/// let now = Instant::now();
/// assert_eq!(throttle.allow(now), Some(0));
/// assert_eq!(throttle.allow(now), None);
/// assert_eq!(throttle.allow(now + Duration::from_secs(10)), Some(1));
/// ```
#[derive(Debug)]
pub struct Throttle {
    period: Duration,
    last: Option<Instant>,
    suppressed: u64,
}

impl Throttle {
    /// A throttle that lets the first occurrence through.
    pub fn new(period: Duration) -> Self {
        Self {
            period,
            last: None,
            suppressed: 0,
        }
    }

    /// Whether an occurrence at `now` may be logged; if so, how many were kept back since the last one.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
        if self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < self.period)
        {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_counts_what_it_keeps_back() {
        let start = Instant::now();
        let mut throttle = Throttle::new(Duration::from_secs(10));
        assert_eq!(throttle.allow(start), Some(0));
        for second in 1..10 {
            assert_eq!(throttle.allow(start + Duration::from_secs(second)), None);
        }
        assert_eq!(throttle.allow(start + Duration::from_secs(10)), Some(9));
        assert_eq!(throttle.allow(start + Duration::from_secs(11)), None);
        assert_eq!(throttle.allow(start + Duration::from_secs(60)), Some(1));
    }

    #[test]
    fn a_bad_level_is_an_error_and_directives_are_not() {
        let config = |level: &str| Config {
            level: level.to_owned(),
            ..Config::default()
        };
        assert!(config("info,dig_ingest::dig=debug").filter().is_ok());
        assert!(config("info,dig_ingest=loudest").filter().is_err());
    }
}
