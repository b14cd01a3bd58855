//! Logs: to stderr, as text or JSON lines; a repeated warning does not flood them.
//!
//! Levels by who must act: error, somebody now; warn, somebody soon; info, what an operator wants to read of a normal
//! day; debug, for the developer.
//!
//! Errors and warnings are limited here and nowhere else (`repeats`). Every line is redacted (C1), has its control characters
//! escaped and is handed to a writer that never waits ([`writer`], N1).

mod repeats;
pub mod writer;

use std::io::{self, IsTerminal};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format;
use tracing_subscriber::reload;

use crate::config::{printable, redact};
pub use repeats::Throttle;
use repeats::{Limited, Suffix};
use writer::{Form, Lines};

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Log format: `text` for people, `json` for one object per line.
    pub format: Format,
    /// Minimum log level, or directives such as `info,dig_ingest::dig=debug`.
    pub level: String,
    /// Interval in seconds between two repetitions of the same warning or error. 0: all are shown.
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
}

/// The process's log writer, once something was written through it.
static LINES: OnceLock<Arc<Lines>> = OnceLock::new();

fn lines(form: Form) -> io::Result<&'static Arc<Lines>> {
    if let Some(lines) = LINES.get() {
        return Ok(lines);
    }
    let started = Lines::to_stderr(form)?;
    Ok(LINES.get_or_init(|| started))
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
    let ansi = config.format == Format::Text && io::stderr().is_terminal();
    let form = match config.format {
        Format::Text => Form::Text,
        Format::Json => Form::Json,
    };
    let shown = match (config.format, ansi) {
        (Format::Text, false) => Shown::Text,
        (Format::Text, true) => Shown::Colours,
        (Format::Json, _) => Shown::Json,
    };
    let lines = Arc::clone(lines(form).context("cannot start the log's thread")?);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would write to standard error by itself, and panic when that fails.
        .log_internal_errors(false)
        .with_writer(Clean { lines, shown });
    let repeat = Duration::from_secs(config.repeat_s);
    let started = match config.format {
        Format::Text => {
            let form = format::Format::default().with_ansi(ansi);
            let subscriber = subscriber
                .with_ansi(ansi)
                .event_format(Limited::new(form, repeat, Suffix::Text))
                .with_filter_reloading();
            keep_level(subscriber.reload_handle());
            subscriber.try_init()
        }
        Format::Json => {
            let form = format::Format::default()
                .json()
                .flatten_event(true)
                .with_ansi(false);
            let subscriber = subscriber
                .fmt_fields(format::JsonFields::new())
                .event_format(Limited::new(form, repeat, Suffix::Json))
                .with_filter_reloading();
            keep_level(subscriber.reload_handle());
            subscriber.try_init()
        }
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// Replaces the filter of the running log.
type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

/// The filter of the running log, once it was started.
static LEVEL: OnceLock<SetFilter> = OnceLock::new();

fn keep_level<S: 'static>(handle: reload::Handle<EnvFilter, S>)
where
    reload::Handle<EnvFilter, S>: Send + Sync,
{
    let _ = LEVEL.set(Box::new(move |filter| handle.reload(filter)));
}

/// Gives the running log another level; where no log runs, only the level is checked.
///
/// # Errors
/// The level cannot be read.
pub fn set_level(config: &Config) -> anyhow::Result<()> {
    let filter = config.filter().map_err(anyhow::Error::msg)?;
    match LEVEL.get() {
        Some(set) => set(filter).context("the log takes no other level"),
        None => Ok(()),
    }
}

/// Whether anything was written through the log's writer.
#[must_use]
pub fn is_started() -> bool {
    LINES.get().is_some()
}

/// Writes one line of progress to standard error by the log's writer: it never waits. The text has no newline at its end.
pub fn progress(text: &str) {
    let line = printable::text(&redact::text(text)).into_owned() + "\n";
    // Without a thread there is no progress to be seen.
    if let Ok(lines) = lines(Form::Text) {
        lines.push(line.as_bytes());
    }
}

/// Waits until the log is written, at most `bound`.
pub fn flush(bound: Duration) {
    if let Some(lines) = LINES.get() {
        lines.flush(bound);
    }
}

/// How lines are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Text,
    /// Colour sequences of the formatter are kept; it escapes those of others itself.
    Colours,
    Json,
}

/// Redacts and escapes lines on their way to the writer.
#[derive(Debug, Clone)]
struct Clean {
    lines: Arc<Lines>,
    shown: Shown,
}

impl Clean {
    fn line(&self, text: &str) -> String {
        let text = redact::text(text.trim_end_matches('\n'));
        let mut line = match self.shown {
            Shown::Text => printable::text(&text).into_owned(),
            Shown::Colours => printable::coloured(&text).into_owned(),
            Shown::Json => printable::json(&text).into_owned(),
        };
        line.push('\n');
        line
    }
}

impl io::Write for Clean {
    // The formatter writes each event with one call.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if !event.is_empty() {
            let line = self.line(&String::from_utf8_lossy(event));
            self.lines.push(line.as_bytes());
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Clean {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
