//! Sums of counters of the last minutes, so that the page's charts begin before the page was opened.
//!
//! Bounded: [`KEPT`] samples. Taken every [`EVERY`] by a task that ends once nobody has the history any more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::ops::metrics::Exposition;
use crate::ops::metrics::samples::Samples;
use crate::ops::status_registry::StatusRegistry;

/// Samples that are kept: a quarter of an hour.
const KEPT: usize = 180;
const EVERY: Duration = Duration::from_secs(5);

/// Sums over all topics and partitions at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Sample {
    /// Milliseconds since the epoch.
    at_ms: i64,
    read: f64,
    accepted: f64,
    dead_lettered: f64,
    held: f64,
    discarded: f64,
    requests: f64,
    memory_used: f64,
    lag: f64,
}

impl Sample {
    /// `lag`: messages behind what is committed, of all partitions.
    fn of(samples: &Samples, lag: f64, at_ms: i64) -> Self {
        let sum = |name: &str| samples.sum(name, None).unwrap_or_default();
        let ended = |outcome: &str| {
            let ends = samples.sum("dig_ingest_records_total", Some(("outcome", outcome)));
            ends.unwrap_or_default()
        };
        Self {
            at_ms,
            read: sum("dig_ingest_records_read_total"),
            accepted: ended("accepted"),
            dead_lettered: ended("dead_lettered"),
            held: ended("held"),
            discarded: ended("discarded"),
            requests: sum("dig_ingest_upload_answers_total"),
            memory_used: sum("dig_ingest_memory_permits_used_bytes"),
            lag,
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<VecDeque<Sample>>);

impl History {
    /// A history that grows for as long as somebody has it.
    pub(super) fn follow(exposition: Exposition, board: Arc<StatusRegistry>) -> Arc<Self> {
        let history = Arc::new(Self::default());
        let weak = Arc::downgrade(&history);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(EVERY);
            loop {
                tick.tick().await;
                let Some(history) = weak.upgrade() else {
                    return;
                };
                let samples = Samples::read(&exposition.render());
                let now_ms = jiff::Timestamp::now().as_millisecond();
                history.add(Sample::of(&samples, lag(&board), now_ms));
            }
        });
        history
    }

    fn add(&self, sample: Sample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// The samples, the oldest first.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().copied().collect()
    }
}

/// Messages that are in the logs and not committed, as `/status` has them.
fn lag(board: &StatusRegistry) -> f64 {
    let partitions = board.snapshot().partitions;
    let behind = partitions.iter().map(|partition| {
        let at = partition.position;
        let known = at.end.zip(at.committed.or(at.next));
        known.map_or(0, |(end, committed)| (end - committed).max(0))
    });
    behind.sum::<i64>() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_bounded_and_sums_what_metrics_say() {
        let text = "dig_ingest_records_total{outcome=\"held\",topic=\"a\"} 2\ndig_ingest_records_total{outcome=\"held\",topic=\"b\"} 3\n";
        let history = History::default();
        for at in 0..KEPT as i64 + 5 {
            history.add(Sample::of(&Samples::read(text), 7.0, at));
        }
        let samples = history.samples();
        assert_eq!((samples.len(), samples[0].at_ms), (KEPT, 5));
        assert_eq!((samples[0].held, samples[0].accepted), (5.0, 0.0));
        assert_eq!(samples[0].lag, 7.0);
    }
}
