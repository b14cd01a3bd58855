//! Repeated errors and warnings: one of a kind per period is written, those between are counted, and the next one says how many.
//!
//! Two are the same when they come from the same line of code about the same partition, with the same error, and (waits) of the same
//! kind and remedy. Other levels are never kept back. Remembers at most [`REMEMBERED`] kinds; beyond that, those that were quiet for a period are forgotten.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

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

    /// Whether nothing is kept back and the period has passed.
    fn is_over(&self, now: Instant) -> bool {
        self.suppressed == 0
            && self
                .last
                .is_none_or(|last| now.saturating_duration_since(last) >= self.period)
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

/// How the count of what was kept back is added to a line.
#[derive(Debug, Clone, Copy)]
pub(super) enum Suffix {
    Text,
    Json,
}

impl Suffix {
    fn add(self, line: &str, kept_back: u64) -> String {
        match (self, line.strip_suffix('}')) {
            (Self::Json, Some(open)) => format!("{open},\"kept_back\":{kept_back}}}"),
            _ => format!("{line} kept_back={kept_back}"),
        }
    }
}

/// Different warnings that are remembered; beyond it, what was quiet for a period is forgotten.
const REMEMBERED: usize = 1_000;

/// Writes events in the form of `F`, repeated errors and warnings only once per period.
pub(super) struct Limited<F> {
    form: F,
    period: Duration,
    suffix: Suffix,
    // A lock as every thread logs; held for a look-up.
    throttles: Mutex<HashMap<u64, Throttle>>,
}

impl<F> Limited<F> {
    pub(super) fn new(form: F, period: Duration, suffix: Suffix) -> Self {
        Self {
            form,
            period,
            suffix,
            throttles: Mutex::default(),
        }
    }

    /// How many like this were kept back since the last one; `None` if this one is kept back too.
    fn allow(&self, event: &Event<'_>, now: Instant) -> Option<u64> {
        if self.period.is_zero() || *event.metadata().level() > Level::WARN {
            return Some(0);
        }
        let mut likeness = Likeness(DefaultHasher::new());
        event.metadata().callsite().hash(&mut likeness.0);
        event.record(&mut likeness);
        let mut throttles = self
            .throttles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if throttles.len() >= REMEMBERED {
            throttles.retain(|_, throttle| !throttle.is_over(now));
        }
        throttles
            .entry(likeness.0.finish())
            .or_insert_with(|| Throttle::new(self.period))
            .allow(now)
    }
}

/// What makes two events of one line of code the same.
struct Likeness(DefaultHasher);

impl Visit for Likeness {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if matches!(
            field.name(),
            "topic" | "partition" | "error" | "facility" | "kind" | "remedy"
        ) {
            format!("{value:?}").hash(&mut self.0);
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self.allow(event, Instant::now()) {
            None => Ok(()),
            Some(0) => self.form.format_event(context, writer, event),
            Some(kept_back) => {
                let mut line = String::new();
                self.form
                    .format_event(context, Writer::new(&mut line), event)?;
                writeln!(writer, "{}", self.suffix.add(line.trim_end(), kept_back))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use tracing_subscriber::fmt::format;

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

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The wait for a right was not in the log, because another one had begun a moment before.
    fn wait(kind: &str, remedy: &str) {
        tracing::warn!(kind, subject = "any", remedy, "a wait begins");
    }

    fn complain(number: i32, error: &str) {
        tracing::warn!(partition = number, error, "the weather is bad");
        tracing::info!(partition = number, "for the record");
    }

    #[test]
    fn the_same_warning_is_written_once_per_period_and_others_are_not_touched() {
        let page = Page::default();
        let form = format::Format::default().with_ansi(false);
        let limited = Limited::new(form, Duration::from_secs(3_600), Suffix::Text);
        let written = page.clone();
        let lines = tracing_subscriber::fmt()
            .event_format(limited)
            .with_writer(move || written.clone())
            .finish();
        tracing::subscriber::with_default(lines, || {
            for _ in 0..3 {
                complain(1, "rain");
            }
            complain(2, "rain");
            complain(1, "snow");
            for _ in 0..2 {
                wait("log_life", "check the broker");
                wait("input_topic", "grant Read on one");
                wait("input_topic", "grant Read on another");
            }
        });
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(
            (count("the weather is bad"), count("for the record")),
            (3, 5),
            "{text}"
        );
        assert_eq!(count("a wait begins"), 3, "{text}");
    }

    #[test]
    fn what_was_kept_back_is_told_in_both_forms() {
        assert_eq!(Suffix::Text.add("WARN rain", 2), "WARN rain kept_back=2");
        let line = Suffix::Json.add(r#"{"level":"WARN"}"#, 2);
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["kept_back"], 2);
    }
}
